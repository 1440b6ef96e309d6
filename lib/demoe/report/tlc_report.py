"""Notebook 09, what TLC changes (appendix F, Table 6): tables, a figure and rows, the paper beside what is here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC, NAFNET, NAFNET_TLC, published
from demoe.core.tasks import EXPERTS, PAPER_ORDER, expert_index
from demoe.data.pairs import PairedSet
from demoe.evaluation.metrics import LABELS
from demoe.evaluation.statistics import AVERAGE, summarise

from .claims import UNDECIDED, Claim, beside, claim, difference, judged, of_sets, told_by_set, without
from .figures import BLUE, COLOURS, MARKERS, intervals, legend, scales_differ
from .tables import DECIMALS, Read, bare, best, harm, interval, number, where

PUBLISHED = {  # our rows, and what they are called among the published numbers
    NAFNET: "NAFNet",
    NAFNET_TLC: "NAFNet_tlc",
    DEMOE: "DeMoE_k1",
    DEMOE_TLC: "DeMoE_k1_tlc",
    DEMOE_PARTIAL: "DeMoE_k1_partial_tlc",
}
COMPARED = ((NAFNET_TLC, NAFNET), (DEMOE_TLC, DEMOE), (DEMOE_PARTIAL, DEMOE), (DEMOE_EXPERTS, DEMOE))
SAME = 1e-3  # dB; one network computed in two orders of operations differs by less; our choice
SAME_GAIN = 0.01  # dB; two gains that differ by less are called the same; our choice
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


def paper_psnr() -> pd.DataFrame:
    """``paper_gains`` in PSNR as text, "+0.14": networks down, sets across."""
    wide = where(paper_gains(), metric="psnr").pivot(index="network", columns="set", values="gain")
    return wide[[*PAPER_ORDER, AVERAGE]].map("{:+.2f}".format)


def partial_is_full() -> list[str]:
    """The sets on which the published partial TLC changes all three metrics by exactly as much as the full one."""
    gain = paper_gains().set_index(["network", "set", "metric"]).gain
    same = (gain[DEMOE_TLC] == gain[DEMOE_PARTIAL]).groupby("set").all()
    return same.index[same].tolist()


def windows_by_part(windows: Mapping[str, object]) -> pd.DataFrame:
    """The windows of blocks, by their names, counted by the part of the network. Columns: part, window, blocks."""
    found = pd.Series(windows)
    part = found.index.str.replace(r"[.]modules_list[.].*|[.]experts[.].*", "", regex=True)
    sizes = found.groupby([part, found], sort=False).size()
    return sizes.rename_axis(["part", "window"]).rename("blocks").reset_index()


def picture_sizes(sets: Sequence[PairedSet]) -> pd.DataFrame:
    """Columns: pictures, and of the largest its longer side (pixels); a row a set."""
    largest = {pairs.name: max(max(pairs.size(i)) for i in range(len(pairs))) for pairs in sets}
    return pd.DataFrame({"pictures": {pairs.name: len(pairs) for pairs in sets}, "largest side (pixels)": largest})


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
            marks = [harm(value, here[name]["input"]) if theirs == "psnr" else "" for value in here[name]]
            columns[name, "here"] = [text + mark for text, mark in zip(best(here[name], **style), marks, strict=True)]
            columns[bare(name), "paper (real)"] = best(there[bare(name)], **style)
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
            cells[LABELS[metric], "here"] = interval(row, DECIMALS[theirs] + 1)
            cells[LABELS[metric], "paper (real)"] = number(gain, DECIMALS[theirs], True)
        cells["pictures", "here"] = str(int(group["images"].max()))
    return pd.DataFrame(rows).T.rename_axis(["with TLC against without", "set"])


def gain_figure(table: pd.DataFrame) -> Figure:
    """PSNR with TLC minus without, of ``comparison.network_gains``: the paper's above, ours with 95 % intervals below.

    The two rows have scales of their own, because the sets and the networks differ.
    """
    paper = paper_gains().query("metric == 'psnr'")
    figure, axes = plt.subplots(2, len(COMPARED), figsize=(9, 4.6), sharey="row")
    for (top, bottom), (network, _) in zip(axes.T, COMPARED, strict=True):
        ours = where(table, network=network, metric="psnr")
        names = list(ours["set"])
        theirs = paper[paper.network == network].set_index("set").gain.reindex([bare(name) for name in names])
        palette = [BLUE if name.startswith(AVERAGE) else COLOURS["low_light"] for name in names]
        for axis, values in ((top, theirs), (bottom, ours.set_index("set")["mean"])):
            sns.barplot(x=values.index, y=values, hue=values.index, palette=palette, saturation=1, width=0.65, ax=axis)
            axis.axhline(0, color="0.3", lw=0.8)
            axis.set(xlabel="", ylabel="")
            axis.tick_params(axis="x", rotation=90)
            axis.grid(axis="x", visible=False)
        if theirs.isna().all():
            top.axis("off")
            top.text(0.5, 0.5, "not in the paper", transform=top.transAxes, ha="center", va="center", color="0.4")
        intervals(bottom, np.arange(len(ours)), ours, False, fmt="none", ecolor="black", lw=1, capsize=2)
        top.set_title(network.replace("DeMoE with TLC in", "DeMoE, TLC in"))
    axes[0, 0].set_ylabel("paper, real sets:\ngain in PSNR (dB)")
    axes[1, 0].set_ylabel("here:\ngain in PSNR (dB)")
    scales_differ(axes[1, 0].yaxis, axes[0, 0].yaxis)
    return figure


def size_figure(table: pd.DataFrame, windows: Mapping[str, int]) -> Figure:
    """Gain in PSNR against the side of the picture, of ``comparison.gains_by_size``; thick is the average of the sets.

    ``windows``: the smallest window of each network, pixels; a dotted line marks it.
    """
    figure, axes = plt.subplots(1, len(windows), figsize=(9, 3), sharey=True, squeeze=False)
    for axis, (network, window) in zip(axes[0], windows.items(), strict=True):
        rows = table[table.network == network]
        for name, line in rows[~rows["set"].str.startswith(AVERAGE)].groupby("set", sort=False):
            i = expert_index(name)
            axis.plot(line.side, line["mean"], color=COLOURS[EXPERTS[i]], marker=MARKERS[i], ms=4, lw=1, label=name)
        average = rows[rows["set"] == AVERAGE]
        axis.fill_between(average.side, average.low, average.high, color="0.5", alpha=0.25, lw=0)
        axis.plot(average.side, average["mean"], color="black", lw=2, label="Average, with\n95 % interval")
        axis.axvline(window, color="0.3", ls=":", lw=1.2)
        axis.set_xscale("log", base=2)
        axis.set_xticks(sides := sorted(rows.side.unique()), map(str, sides))
        axis.minorticks_off()
        axis.set(xlabel="side of the picture (pixels)", title=f"{network}\n(dotted: window, {window} pixels)")
    axes[0, 0].set_ylabel("gain in PSNR (dB)")
    legend(figure, place="right upper", ncols=1)
    return figure


def gain_claim(gains: pd.DataFrame, network: str, plain: str) -> Claim:
    """PSNR with TLC over without, on average and on each set, beside the paper's (``network_gains``)."""
    rows, theirs = _rows(gains, network, plain), _paper(network)
    known = {name: theirs[bare(name)] for name in rows.index if bare(name) in theirs}
    signs = {name: judged(rows.loc[name]).sign * known[name] for name in known if name != AVERAGE}
    printed = ", ".join(f"{bare(name)} {number(known[name], 2, True)}" for name in signs)
    same, opposite = (", ".join(name for name in signs if side * signs[name] > 0) for side in (1, -1))
    sides = f"the paper's direction on {same or 'none'}, the opposite on {opposite or 'none'}" if signs else ""
    names = {"network": network, "plain": plain, "words": f"real sets: {printed}" if signs else "no such row"}
    control, published = beside(without(rows, 3), told_by_set(rows), sides), known.get(AVERAGE, math.nan)
    return difference("demoe-t6-{network}", rows.loc[AVERAGE], control, published=published, **names)


def low_light_suffers_most(gains: pd.DataFrame) -> Claim:
    """The paper's reason against TLC: it hurts LOLBlur most (-0.71 dB)."""
    rows = of_sets(_rows(gains, DEMOE_TLC, DEMOE))
    row = rows.loc[rows["mean"].idxmin()]
    near = rows.index[(rows.low <= row.high) & (rows.index != row.name)]
    worse = judged(row).word == "worse"
    holds = bare(row.name) == "LOLBlur" if worse and not len(near) else None
    control = beside(row.name, f"not told apart from {', '.join(near)}" if worse and len(near) else "")
    interval = {"low": row.low, "high": row.high, "published": _paper(DEMOE_TLC)["LOLBlur"]}
    return claim("demoe-t6-lolblur", row["mean"], control, holds, **interval)


def partial(gains: pd.DataFrame) -> list[Claim]:
    """What is left of TLC where some experts stay global, in both readings of "partial".

    Undecided where on the set that lies farthest apart neither is known to do anything.
    """
    full, rows = of_sets(_rows(gains, DEMOE_TLC, DEMOE)), []
    for network in (DEMOE_PARTIAL, DEMOE_EXPERTS):
        mine = of_sets(_rows(gains, network, DEMOE))
        apart = (mine["mean"] - full["mean"]).abs()
        name, most = apart.idxmax(), apart.max()
        known = any(judged(table.loc[name]).word != UNDECIDED for table in (mine, full))
        holds = True if most < SAME_GAIN else False if known else None
        names = {"network": network, "set": name, "most": mine["mean"].abs().max()}
        rows.append(claim("demoe-t6-{network}-kept", most, holds=holds, **names))
    return rows


def identity(by_size: pd.DataFrame, windows: dict[str, int]) -> list[Claim]:
    """Whether pictures within the window are left as they are, and what happens beyond it.

    ``by_size`` is that of ``comparison.gains_by_size``, ``windows`` the smallest window of each network in pixels.
    """
    found = []
    for network, side in windows.items():
        rows = where(by_size, network=network)
        inside = rows[(rows.side <= side) & ~rows["set"].str.startswith(AVERAGE)]["mean"].abs()
        kept = bool(inside.max() < SAME) if len(inside) else None
        found.append(claim("demoe-t6-{network}-window", inside.max(), holds=kept, network=network, window=side))
        for beyond, part in rows[rows.side > side].groupby("side"):
            by_set, names = part.set_index("set"), {"network": network, "side": beyond}
            found.append(difference("demoe-t6-{network}-side-{side}", by_set.loc[AVERAGE], without(by_set, 3), **names))
    return found


def _rows(gains: pd.DataFrame, network: str, plain: str) -> pd.DataFrame:
    return where(gains, network=network, plain=plain, metric="psnr").set_index("set")


def _paper(network: str) -> dict[str, float]:
    """The paper's gains in PSNR by set; {} for a network that it does not have."""
    return where(paper_gains(), network=network, metric="psnr").set_index("set").gain.to_dict()
