"""What TLC changes, drawn: a panel a network with the paper's differences above ours, and the gain against size."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from demoe.core.paper import DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC, NAFNET_TLC
from demoe.core.tasks import EXPERTS, expert_index

from .figures import BLUE, COLOURS, MARKERS, intervals, legend
from .tables import bare, where
from .tlc_tables import paper_gains

PANELS = (NAFNET_TLC, DEMOE_TLC, DEMOE_PARTIAL, DEMOE_EXPERTS)


def gains(table: pd.DataFrame) -> Figure:
    """PSNR with TLC minus without, of ``by_size.network_gains``: the paper's above, ours with 95 % intervals below.

    The two rows have scales of their own, because the sets and the networks differ.
    """
    paper = paper_gains().query("metric == 'psnr'")
    figure, axes = plt.subplots(2, len(PANELS), figsize=(9, 4.6), sharey="row")
    for (top, bottom), network in zip(axes.T, PANELS, strict=True):
        ours = where(table, network=network, metric="psnr")
        names = list(ours["set"])
        theirs = paper[paper.network == network].set_index("set").gain.reindex([bare(name) for name in names])
        palette = [BLUE if name == "Average" else COLOURS["low_light"] for name in names]
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
    return figure


def by_size(table: pd.DataFrame, windows: Mapping[str, int]) -> Figure:
    """Gain in PSNR against the side of the picture, of ``by_size.gains_by_size``; the thick line is the sets' average.

    ``windows``: the smallest window of each network, pixels; a dotted line marks it.
    """
    figure, axes = plt.subplots(1, len(windows), figsize=(9, 3), sharey=True, squeeze=False)
    for axis, (network, window) in zip(axes[0], windows.items(), strict=True):
        rows = table[table.network == network]
        for name, line in rows[rows["set"] != "Average"].groupby("set", sort=False):
            i = expert_index(name)
            axis.plot(line.side, line["mean"], color=COLOURS[EXPERTS[i]], marker=MARKERS[i], ms=4, lw=1, label=name)
        average = rows[rows["set"] == "Average"]
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
