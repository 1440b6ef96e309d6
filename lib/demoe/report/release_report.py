"""Notebook 10: the released networks in tables and rows, the paper's numbers in columns of their own."""

from __future__ import annotations

import pandas as pd

from demoe.evaluation.released import BASELINE, COMPARED, DEMOE, INPUT, SHOWN

from .claims import Claim, averaged, claim, pair
from .tables import PSNR_AND_SSIM, Read, bare, best, harm, interval, number, paper_cell

PAPER_METHODS = {BASELINE: "NAFNet", DEMOE: "DeMoE_k1"}


def quality(read: Read) -> pd.DataFrame:
    """Methods down, sets across: "PSNR / SSIM" here, then the paper's; the best PSNR of a set here in bold."""
    summary = read("10_summary")
    means = summary.pivot(index="method", columns=["metric", "set"], values="mean")
    means = means.reindex([name for name in SHOWN if name in means.index])
    columns: dict[tuple[str, str], list[str]] = {}
    for name in summary["set"].unique():
        psnr, ssim = means["psnr", name], means["ssim", name]
        marks = [harm(value, psnr[INPUT]) for value in psnr]
        cells = zip(best(psnr), marks, ssim, strict=True)
        columns[name, "here"] = [f"{text}{mark} / {number(value, 3)}" for text, mark, value in cells]
        theirs = [PAPER_METHODS.get(method, "") for method in means.index]
        columns[bare(name), "paper (real)"] = [
            paper_cell("table1_aio", row, bare(name), ("psnr", "ssim")) for row in theirs
        ]
    return pd.DataFrame(columns, index=means.index.rename(PSNR_AND_SSIM))


def differences(read: Read) -> pd.DataFrame:
    """What the rows differ by in dB on the same pictures, with 95 % intervals, a column a set."""
    table = read("10_differences")
    rows = {names: pair(table, *names) for names in COMPARED}
    cells = {" over ".join(names): part.apply(interval, axis=1) for names, part in rows.items() if len(part)}
    return (
        pd.DataFrame(cells).T[table["set"].unique()].rename_axis("PSNR (dB) [95 % interval]").rename_axis(columns=None)
    )


def claims(table: pd.DataFrame) -> list[Claim]:
    """Each of ``released.COMPARED`` that is there: the averages, and beside them every set.

    ``table`` is ``released.released_differences``'; a network without its baseline has fewer rows.
    """
    pairs = {names: pair(table, *names) for names in COMPARED}
    return [
        averaged("release-{first}-{second}", rows, first=first, second=second)
        for (first, second), rows in pairs.items()
        if len(rows)
    ]


def photographs(table: pd.DataFrame) -> list[Claim]:
    """Real photographs, without a sharp picture to compare with: what was done to them (``app.photos``)."""
    warned = table[table.warnings.fillna("").astype(str) != ""]
    counts = ", ".join(f"{name} {count}" for name, count in table.expert.value_counts().items())
    counts = f"{counts or 'none'}; left as they are: {table.expert.isna().sum()}"
    of = {"unit": f"of {len(table)}"}
    changes = {"factor": table.sharpness.median(), "median": table.change.median(), "most": table.change.max()}
    which = f"number {', '.join(map(str, warned.photograph))}; " if len(warned) else ""
    return [
        claim("release-photographs", (table.sharpness > 1.05).sum(), **changes, **of),
        claim("release-doubt", len(warned), f"{which}the router chose {counts}", **of),
    ]
