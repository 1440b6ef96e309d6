"""Notebook 10 laid out: the released networks, the paper's numbers in columns of their own."""

from __future__ import annotations

import pandas as pd

from demoe.core.tasks import EXPERTS, expert_index
from demoe.evaluation.expert_specialisation import matrix
from demoe.evaluation.released import BASELINE, COMPARED, DEMOE, MANUAL, SHOWN, WRONG
from demoe.evaluation.statistics import MISSING

from .tables import Read, bare, best, interval, number, paper_cell, sets_in_order, where

PAPER_METHODS = {BASELINE: "NAFNet", DEMOE: "DeMoE_k1"}


def quality(read: Read) -> pd.DataFrame:
    """Methods down, sets across: "PSNR / SSIM" here, then the paper's; the best PSNR of a set here in bold."""
    summary = read("10_summary")
    means = summary.pivot(index="method", columns=["metric", "set"], values="mean")
    means = means.reindex([name for name in SHOWN if name in means.index])
    columns: dict[tuple[str, str], list[str]] = {}
    for name in sets_in_order(summary):
        psnr, ssim = best(means["psnr", name]), [number(value, 3, missing=MISSING) for value in means["ssim", name]]
        columns[name, "here"] = [" / ".join(pair) for pair in zip(psnr, ssim, strict=True)]
        theirs = [PAPER_METHODS.get(method, "") for method in means.index]
        columns[bare(name), "paper (real)"] = [
            paper_cell("table1_aio", row, bare(name), ("psnr", "ssim")) for row in theirs
        ]
    return pd.DataFrame(columns, index=means.index.rename("PSNR (dB) / SSIM"))


def differences(read: Read) -> pd.DataFrame:
    """What the rows differ by in dB on the same pictures, with 95 % intervals, a column a set."""
    table = where(read("10_differences"), metric="psnr")
    cells = {}
    for first, second in COMPARED:
        rows = where(table, first=first, second=second).set_index("set")
        cells |= {f"{first} over {second}": rows.apply(interval, axis=1)} if len(rows) else {}
    return (
        pd.DataFrame(cells).T[sets_in_order(table)].rename_axis("PSNR (dB) [95 % interval]").rename_axis(columns=None)
    )


def experts(read: Read) -> pd.DataFrame:
    """PSNR of each set (down) restored by each expert (across), the set's own in bold, and its lead over the rest."""
    means = matrix(read("10_scores"))
    leads = where(read("10_differences"), metric="psnr", first=MANUAL, second=WRONG).set_index("set")
    found = means[list(EXPERTS)].map("{:.2f}".format).rename_axis("PSNR (dB)").rename_axis(None, axis=1)
    for name in found.index:
        own = EXPERTS[expert_index(name)]
        found.loc[name, own] = f"**{found.loc[name, own]}**"
    return found.assign(**{f"own expert over {WRONG} [95 %]": [interval(leads.loc[name]) for name in found.index]})


def router(read: Read) -> pd.DataFrame:
    """How many pictures of each blur (down) the router took for which (across)."""
    routing = read("10_routing")
    counts = pd.crosstab(routing.label, routing.predicted).reindex(index=EXPERTS, columns=EXPERTS, fill_value=0)
    right = routing.groupby("label").correct.mean().reindex(list(EXPERTS))
    found = counts.astype(str).assign(right=["-" if pd.isna(share) else f"{share:.1%}" for share in right])
    return found.rename_axis("true blur").rename_axis(columns=None)
