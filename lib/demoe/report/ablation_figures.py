"""Figures of the ablations: differences with their intervals, and cost against quality."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .ablation_tables import REFERENCE, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7
from .figures import METHOD_COLOURS

OURS, PAPER = METHOD_COLOURS[1:3]
MARKERS = "osD^vP*X<>hpd"


def differences(table: pd.DataFrame) -> Figure:
    """The PSNR of every row against its reference: here with the interval over pictures (and, thin, over trainings),
    beside the paper's in a panel of its own, because the scales differ. ``table``: ``ablation_tables.results``."""
    part = table[table.method != table.reference].reset_index(drop=True)
    known = part.paper_difference.notna().any()
    figure, axes = plt.subplots(1, 2 if known else 1, figsize=(8, 0.3 * len(part) + 1.2), sharey=True, squeeze=False)
    places = np.arange(len(part))
    ours = axes[0, 0]
    width = np.array([part.difference - part.low, part.high - part.difference])
    ours.errorbar(part.difference, places, xerr=width, fmt="o", color=OURS, ms=4, lw=2.2)
    if part.low_trainings.notna().any():
        over = np.array([part.difference - part.low_trainings, part.high_trainings - part.difference])
        ours.errorbar(part.difference, places, xerr=over, fmt="none", color="0.35", lw=0.8, capsize=3)
    trained = "bar: 95 % over pictures" + ("; thin: over trainings" if part.low_trainings.notna().any() else "")
    ours.set(xlabel="difference in PSNR (dB), here", title=trained)
    labels = [f"{row.row}" + (" *" if row.reference != REFERENCE else "") for row in part.itertuples()]
    ours.set_yticks(places, labels)
    if known:
        axes[0, 1].plot(part.paper_difference, places, "D", color=PAPER, ms=5)
        axes[0, 1].set(xlabel="difference in PSNR (dB), paper (real sets)", title="paper: no intervals published")
    for axis in axes[0]:
        axis.axvline(0, color="0.3", lw=0.9)
        axis.margins(x=0.08)
        axis.title.set_fontsize(8)
    ours.set_ylim(len(part) - 0.5, -0.5)
    if any(part.reference != REFERENCE):
        figure.text(0.01, -0.04, "* against the baseline with classification loss, the others against DeMoE",
                    fontsize=7, va="top")
    return figure


def cost_and_quality(table: pd.DataFrame, counted: pd.DataFrame) -> Figure:
    """PSNR against MACs, the paper's and ours, of the rows of Tables 5 and 7. The marker tells the network.

    ``counted`` has the columns experiment, size ("paper" or "here"), macs.
    """
    part = table[table.table.isin([TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7])].drop_duplicates("method")
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.6))
    colours = plt.get_cmap("cividis")(np.linspace(0, 0.85, len(part)))
    handles = []
    for side, axis, psnr in (("paper", axes[0], "paper_psnr"), ("here", axes[1], "psnr")):
        macs = counted[counted["size"] == side].set_index("experiment").macs / 1e9
        for i, row in enumerate(part.itertuples()):
            value, x = getattr(row, psnr), macs[row.method]
            reference = row.method == REFERENCE
            colour = PAPER if reference else colours[i]
            if side == "here" and row.low == row.low:
                spread = [[row.difference - row.low], [row.high - row.difference]]
                axis.errorbar(x, value, yerr=spread, fmt="none", color=colour, lw=1)
            handle = axis.plot(x, value, MARKERS[i % len(MARKERS)], color=colour, ms=8 if reference else 6, zorder=3,
                               ls="none", label="DeMoE" if reference else row.row)[0]
            if side == "paper":
                handles.append(handle)
        axis.set(xscale="log", xlabel="MACs (G), 3x256x256, k = 1")
        low, high = 0.9 * macs.min(), 1.1 * macs.max()
        ticks = [tick for tick in (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 40) if low < tick < high]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    axes[0].set(ylabel="PSNR (dB), mean of the five real sets", title="paper, width 32")
    axes[1].set(ylabel="PSNR (dB), mean of the five sets here", title="here; bar: 95 % over pictures")
    for axis in axes:
        axis.title.set_fontsize(9)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
