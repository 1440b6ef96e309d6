"""Table 6 (TLC) laid out: the paper's numbers beside ours, and what TLC changes with its intervals."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC, NAFNET, NAFNET_TLC, published
from demoe.evaluation.statistics import MISSING, summarise

from .tables import Layout, Read, bare, best, interval, number

NONE = "-"  # no such number

PUBLISHED = {  # our rows, and what they are called among the published numbers
    NAFNET: "NAFNet",
    NAFNET_TLC: "NAFNet_tlc",
    DEMOE: "DeMoE_k1",
    DEMOE_TLC: "DeMoE_k1_tlc",
    DEMOE_PARTIAL: "DeMoE_k1_partial_tlc",
}
COMPARED = ((NAFNET_TLC, NAFNET), (DEMOE_TLC, DEMOE), (DEMOE_PARTIAL, DEMOE), (DEMOE_EXPERTS, DEMOE))
# Metrics of ours, what the paper calls them, and how many decimals a score and a difference get.
METRICS = {
    "psnr": ("psnr", "PSNR (dB) ↑", 2, 3),
    "ssim": ("ssim", "SSIM ↑", 3, 4),
    "lpips_vgg": ("lpips", "LPIPS VGG ↓", 3, 4),
}


def paper_scores() -> pd.DataFrame:
    """Table 6 as published: rows (metric, method) with our names for both, a column a set and "Average"."""
    numbers = published().query("table == 'table6_tlc'")
    wide = numbers.pivot(index=["metric", "method"], columns="dataset", values="value")
    rows = {
        (metric, row): wide.loc[theirs, method]
        for metric, (theirs, *_) in METRICS.items()
        for row, method in PUBLISHED.items()
    }
    return pd.DataFrame(rows).T.rename_axis(["metric", "method"])


def paper_gains() -> pd.DataFrame:
    """What TLC changes in the published Table 6. Columns: network, plain, set ("GoPro", "Average"), metric, gain."""
    scores = paper_scores()
    parts = []
    for network, plain in COMPARED:
        if network in PUBLISHED:
            both = (scores.xs(name, level="method").stack() for name in (network, plain))
            gain = next(both) - next(both)
            gain.index.names = ["metric", "set"]
            parts.append(gain.round(3).rename("gain").reset_index().assign(network=network, plain=plain))
    return pd.concat(parts, ignore_index=True)[["network", "plain", "set", "metric", "gain"]]


def table_6(read: Read) -> pd.DataFrame:
    """From ``09_scores``: metrics and methods down, sets across, each set ours and then the paper's; best in bold."""
    means, paper = summarise(read("09_scores")), paper_scores()
    methods, blocks = means["method"].unique(), {}
    for metric, (_, label, decimals, _) in METRICS.items():
        ours = means.pivot(index="method", columns="set", values=metric).loc[methods]
        theirs = paper.loc[metric].reindex(methods)
        style = {"decimals": decimals, "lowest": "↓" in label}
        columns: dict[tuple[str, str], list[str]] = {}
        for name in means["set"].unique():
            columns[name, "here"] = best(ours[name], **style)
            columns[bare(name), "paper (real)"] = best(theirs[bare(name)], **style, missing=NONE)
        blocks[label] = pd.DataFrame(columns, index=methods)
    return pd.concat(blocks, names=["metric", "method"])


def gains(read: Read) -> pd.DataFrame:
    """From ``09_gains``: what TLC changes, a row a network and set, ours with its interval beside the paper's."""
    ours, paper = read("09_gains"), paper_gains().set_index(["network", "set", "metric"]).gain
    rows = {}
    for (network, name), group in ours.groupby(["network", "set"], sort=False):
        cells = rows.setdefault((network, name), {})
        for metric, (_, label, _, decimals) in METRICS.items():
            theirs = paper.get((network, bare(name), metric), math.nan)
            cells[label, "here"] = interval(group[group.metric == metric].iloc[0], decimals, missing=MISSING)
            cells[label, "paper (real)"] = number(theirs, decimals - 1, True, NONE)
        cells["pictures", "here"] = str(int(group["images"].max()))
    return pd.DataFrame(rows).T.rename_axis(["with TLC against without", "set"])


LAYOUTS: dict[str, Layout] = {
    "09_table_6": Layout(
        table_6,
        "TLC at test time (Table 6 of the paper), on pictures larger than the training crops. Paper: real sets, other "
        "networks; the two columns of a set cannot be compared with each other.",
    ),
    "09_gains": Layout(
        gains,
        "What TLC changes on the same pictures, with 95 % bootstrap intervals over scenes, beside the differences of "
        "the published rows (Table 6 of the paper, real sets, without intervals).",
    ),
}
