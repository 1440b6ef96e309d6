"""Table 6 (TLC) laid out: the paper's numbers beside ours, and what TLC changes with its intervals."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC, NAFNET, NAFNET_TLC, published
from demoe.evaluation.metrics import LABELS
from demoe.evaluation.statistics import MISSING, summarise

from .tables import DECIMALS, NONE, Read, bare, best, interval, number, where

PUBLISHED = {  # our rows, and what they are called among the published numbers
    NAFNET: "NAFNet",
    NAFNET_TLC: "NAFNet_tlc",
    DEMOE: "DeMoE_k1",
    DEMOE_TLC: "DeMoE_k1_tlc",
    DEMOE_PARTIAL: "DeMoE_k1_partial_tlc",
}
COMPARED = ((NAFNET_TLC, NAFNET), (DEMOE_TLC, DEMOE), (DEMOE_PARTIAL, DEMOE), (DEMOE_EXPERTS, DEMOE))
METRICS = {"psnr": "psnr", "ssim": "ssim", "lpips_vgg": "lpips"}  # ours, and what the paper calls them


def paper_scores() -> pd.DataFrame:
    """Table 6 as published: rows (metric, method) with our names for both, a column a set and "Average"."""
    numbers = where(published(), table="table6_tlc")
    wide = numbers.pivot(index=["metric", "method"], columns="dataset", values="value")
    rows = {(metric, row): wide.loc[METRICS[metric], method] for metric in METRICS for row, method in PUBLISHED.items()}
    return pd.DataFrame(rows).T.rename_axis(["metric", "method"])


def paper_gains() -> pd.DataFrame:
    """What TLC changes in the published Table 6. Columns: network, plain, set ("GoPro", "Average"), metric, gain."""
    scores, parts = paper_scores(), []
    for network, plain in COMPARED:
        if network in PUBLISHED:
            gain = scores.xs(network, level="method") - scores.xs(plain, level="method")
            rows = gain.round(3).rename_axis(columns="set").stack().rename("gain").reset_index()
            parts.append(rows.assign(network=network, plain=plain))
    return pd.concat(parts, ignore_index=True)[["network", "plain", "set", "metric", "gain"]]


def table_6(read: Read) -> pd.DataFrame:
    """From ``09_scores``: metrics and methods down, sets across, each set ours and then the paper's; best in bold."""
    means, paper = summarise(read("09_scores")), paper_scores()
    methods, blocks = means["method"].unique(), {}
    for metric, theirs in METRICS.items():
        here = means.pivot(index="method", columns="set", values=metric).loc[methods]
        there = paper.loc[metric].reindex(methods)
        style = {"decimals": DECIMALS[theirs], "lowest": "↓" in LABELS[metric]}
        columns: dict[tuple[str, str], list[str]] = {}
        for name in means["set"].unique():
            columns[name, "here"] = best(here[name], **style)
            columns[bare(name), "paper (real)"] = best(there[bare(name)], **style, missing=NONE)
        blocks[LABELS[metric]] = pd.DataFrame(columns, index=methods)
    return pd.concat(blocks, names=["metric", "method"])


def gains(read: Read) -> pd.DataFrame:
    """From ``09_gains``: what TLC changes, a row a network and set, ours with its interval beside the paper's."""
    ours, paper = read("09_gains"), paper_gains().set_index(["network", "set", "metric"]).gain
    rows: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for (network, name), group in ours.groupby(["network", "set"], sort=False):
        cells = rows[network, name] = {}
        for metric, theirs in METRICS.items():
            row, gain = group[group.metric == metric].iloc[0], paper.get((network, bare(name), metric), math.nan)
            cells[LABELS[metric], "here"] = interval(row, DECIMALS[theirs] + 1, missing=MISSING)
            cells[LABELS[metric], "paper (real)"] = number(gain, DECIMALS[theirs], True, NONE)
        cells["pictures", "here"] = str(int(group["images"].max()))
    return pd.DataFrame(rows).T.rename_axis(["with TLC against without", "set"])
