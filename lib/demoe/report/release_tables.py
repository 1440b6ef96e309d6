"""Notebook 10 laid out: the released networks, the paper's numbers in columns of their own."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.tasks import EXPERTS, PAPER_ORDER, expert_index
from demoe.evaluation.expert_specialisation import matrix
from demoe.evaluation.released import BASELINE, COMPARED, DEMOE, MANUAL, SHOWN, WRONG
from demoe.evaluation.statistics import shown

from .comparison_tables import NONE, paper
from .tables import Layout, Read, best

PAPER_METHODS = {BASELINE: "NAFNet", DEMOE: "DeMoE_k1"}
METRICS = {"psnr": 2, "ssim": 3}


def bare(name: str) -> str:
    """The set that a synthetic one stands in for."""
    return name.removesuffix("-syn")


def sets_in_order(table: pd.DataFrame) -> list[str]:
    """Those of Table 1's order that are there, then the average."""
    names = list(table["set"].unique())
    order = [f"{name}{suffix}" for name in (*PAPER_ORDER, "Average") for suffix in ("", "-syn")]
    return [name for name in order if name in names]


def quality(read: Read) -> pd.DataFrame:
    """Methods down, sets across: "PSNR / SSIM" here, then the paper's; the best PSNR of a set here in bold."""
    summary = read("10_summary")
    means = summary.set_index(["method", "set", "metric"])["mean"]
    names = [name for name in SHOWN if name in set(summary.method)]
    columns: dict[tuple[str, str], list[str]] = {}
    for one in sets_in_order(summary):
        psnr = best([means[name, one, "psnr"] for name in names])
        columns[one, "here"] = [
            f"{text} / {shown(means[name, one, 'ssim'], METRICS['ssim'])}"
            for name, text in zip(names, psnr, strict=True)
        ]
        columns[bare(one), "paper (real)"] = [_paper(name, bare(one)) for name in names]
    table = pd.DataFrame(columns, index=names)
    table.index.name = "PSNR (dB) / SSIM"
    return table


def _paper(method: str, name: str) -> str:
    values = {metric: paper("table1_aio", PAPER_METHODS.get(method, ""), name, metric) for metric in METRICS}
    if any(map(math.isnan, values.values())):
        return NONE
    return " / ".join(f"{values[metric]:.{decimals}f}" for metric, decimals in METRICS.items())


def differences(read: Read) -> pd.DataFrame:
    """What the rows differ by in dB on the same pictures, with 95 % intervals, a column a set."""
    table = read("10_differences").query("metric == 'psnr'")
    names = sets_in_order(table)
    rows = {}
    for first, second in COMPARED:
        here = table[(table["first"] == first) & (table["second"] == second)].set_index("set")
        if len(here):
            rows[f"{first} over {second}"] = {name: interval(here.loc[name]) for name in names}
    found = pd.DataFrame(rows).T
    found.index.name = "PSNR (dB) [95 % interval]"
    return found


def interval(row: pd.Series, decimals: int = 2) -> str:
    """ "+0.52 [+0.31, +0.74]"; the mean alone where there were too few scenes for an interval."""
    text = f"{row['mean']:+.{decimals}f}"
    return text if math.isnan(row["low"]) else f"{text} [{row['low']:+.{decimals}f}, {row['high']:+.{decimals}f}]"


def experts(read: Read) -> pd.DataFrame:
    """PSNR of each set (down) restored by each expert (across), the set's own in bold, and its lead over the rest."""
    means = matrix(read("10_scores"))
    leads = read("10_differences").query("metric == 'psnr'")
    leads = leads[(leads["first"] == MANUAL) & (leads["second"] == WRONG)].set_index("set")
    rows = {}
    for name in means.index:
        own = EXPERTS[expert_index(name)]
        cells = {
            one: f"**{means.loc[name, one]:.2f}**" if one == own else f"{means.loc[name, one]:.2f}" for one in EXPERTS
        }
        rows[name] = cells | {f"own expert over {WRONG} [95 %]": interval(leads.loc[name])}
    found = pd.DataFrame(rows).T
    found.index.name = "PSNR (dB)"
    return found


def router(read: Read) -> pd.DataFrame:
    """How many pictures of each blur (down) the router took for which (across)."""
    routing = read("10_routing")
    counts = pd.crosstab(routing.label, routing.predicted).reindex(index=EXPERTS, columns=EXPERTS, fill_value=0)
    right = routing.groupby("label").correct.mean().reindex(list(EXPERTS))
    found = counts.astype(str).assign(right=["-" if pd.isna(share) else f"{share:.1%}" for share in right])
    found.index.name, found.columns.name = "true blur", None
    return found


LAYOUTS: dict[str, Layout] = {
    "10_quality": Layout(
        quality,
        "The released networks on pictures that training has not seen. Paper (Table 1): real sets and larger "
        "networks, longer trained; the two columns of a set cannot be compared with each other. Bold: best PSNR.",
    ),
    "10_differences": Layout(
        differences, "The same pictures, one method over another: means with 95 % bootstrap intervals over scenes."
    ),
    "10_experts": Layout(
        experts,
        "Each expert on each set, chosen by hand; bold: the expert of the set's own blur. Beside them, how "
        "far it is ahead of the mean over the four others, with a 95 % bootstrap interval over scenes.",
    ),
    "10_router": Layout(router, "The router's choices on the same pictures, counted."),
}
