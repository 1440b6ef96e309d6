"""Notebook 10 laid out: the released networks, the paper's numbers in columns of their own."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.tasks import EXPERTS, expert_index
from demoe.evaluation.expert_specialisation import matrix
from demoe.evaluation.released import BASELINE, COMPARED, DEMOE, MANUAL, SHOWN, WRONG
from demoe.evaluation.statistics import shown

from .comparison_tables import NONE, paper
from .tables import Layout, Read, bare, best, interval, sets_in_order

PAPER_METHODS = {BASELINE: "NAFNet", DEMOE: "DeMoE_k1"}
METRICS = {"psnr": 2, "ssim": 3}


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
    return pd.DataFrame(columns, index=pd.Index(names, name="PSNR (dB) / SSIM"))


def _paper(method: str, name: str) -> str:
    values = {metric: paper("table1_aio", PAPER_METHODS.get(method, ""), name, metric) for metric in METRICS}
    if any(map(math.isnan, values.values())):
        return NONE
    return " / ".join(f"{values[metric]:.{decimals}f}" for metric, decimals in METRICS.items())


def differences(read: Read) -> pd.DataFrame:
    """What the rows differ by in dB on the same pictures, with 95 % intervals, a column a set."""
    table = read("10_differences").query("metric == 'psnr'")
    names = sets_in_order(table)
    cells = table.assign(
        pair=table["first"] + " over " + table["second"], text=[interval(row) for _, row in table.iterrows()]
    ).pivot(index="pair", columns="set", values="text")
    pairs = [pair for pair in (f"{first} over {second}" for first, second in COMPARED) if pair in cells.index]
    return cells.loc[pairs, names].rename_axis("PSNR (dB) [95 % interval]").rename_axis(None, axis=1)


def experts(read: Read) -> pd.DataFrame:
    """PSNR of each set (down) restored by each expert (across), the set's own in bold, and its lead over the rest."""
    means = matrix(read("10_scores"))
    leads = read("10_differences").query("metric == 'psnr'")
    leads = leads[(leads["first"] == MANUAL) & (leads["second"] == WRONG)].set_index("set")
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
