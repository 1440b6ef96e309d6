"""Figures of the ablations: differences with their intervals, and cost against quality."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from demoe.experiments.ablations import BY_HAND, CHOICES, ROUTER

from .ablation_tables import REFERENCE, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7, WORDS, published_costs
from .figures import BLUE, GREEN, RED, intervals, legend

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")  # Okabe and Ito's, without DeMoE's
SHAPES = "osD^vP*X<>hpd"
STYLES = {ROUTER: ("o", BLUE, -0.14), BY_HAND: ("s", GREEN, 0.14)}
FOOTNOTE = "* against the baseline with classification loss, which has no experts; the others against DeMoE"
TICKS = (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 40)  # G


def differences(table: pd.DataFrame) -> Figure:
    """The PSNR of every row against its reference: here for both choices of the expert, with the interval over pictures
    (and, thin, over trainings), beside the paper's in a panel of its own, because the scales differ.

    ``table``: ``ablation_tables.results``."""
    every = table[table.method != table.reference].rename(columns={"difference": "mean"})
    part = every[every.choice == ROUTER].reset_index(drop=True)
    known, several = part.paper_difference.notna().any(), every.low_trainings.notna().any()
    size, places = (8, 0.34 * len(part) + 1.5), np.arange(len(part))
    figure, axes = plt.subplots(1, 2 if known else 1, figsize=size, sharey=True, squeeze=False)
    ours = axes[0, 0]
    for choice, (marker, colour, shift) in STYLES.items():
        rows = every[every.choice == choice]
        intervals(ours, places + shift, rows, fmt=marker, color=colour, ms=4, lw=2, label=WORDS[choice])
        if several:
            over = rows.assign(low=rows.low_trainings, high=rows.high_trainings)
            intervals(ours, places + shift, over, fmt="none", color="0.35", lw=0.8, capsize=3)
    title = "bar: 95 % over pictures" + ("; thin: over trainings" if several else "")
    ours.set(title=title, xlabel="difference in PSNR (dB), here")
    ours.set_yticks(places, [row.row + (" *" if row.reference != REFERENCE else "") for row in part.itertuples()])
    if known:
        axes[0, 1].plot(part.paper_difference, places, "D", color=RED, ms=5)
        label = "difference in PSNR (dB), paper (real sets)"
        axes[0, 1].set(title="paper: no intervals published", xlabel=label)
    for axis in axes[0]:
        axis.axvline(0, color="0.3", lw=0.9)
        axis.margins(x=0.08)
        axis.xaxis.set_major_locator(MaxNLocator(5))
    ours.set_ylim(len(part) - 0.5, -0.5)
    legend(figure)
    if any(part.reference != REFERENCE):
        figure.text(0.01, -0.04, FOOTNOTE, fontsize=7, va="top")
    return figure


def cost_and_quality(table: pd.DataFrame, counted: pd.DataFrame) -> Figure:
    """PSNR against MACs of the rows of Tables 5 and 7: the published numbers, and ours for both choices of the expert.

    ``counted`` has the columns experiment, size ("paper" or "here"), macs. No intervals: those of the differences,
    which say more than those of the averages, are in ``differences``.
    """
    part = table[table.table.isin([TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7])].drop_duplicates(["method", "choice"])
    here = counted[counted["size"] == "here"].set_index("experiment").macs / 1e9
    by = {choice: part[part.choice == choice] for choice in CHOICES}
    panels = [("paper, width 32", published_costs().macs_g, by[ROUTER], "paper_psnr")]
    panels += [(f"here, {WORDS[choice]}", here, by[choice], "psnr") for choice in CHOICES]
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 4.4))
    axes[1].sharey(axes[2])
    for axis, (title, macs, rows, column) in zip(axes, panels, strict=True):
        shown = macs[[method for method in rows.method if method in macs]]
        for i, row in enumerate(rows.itertuples()):
            if row.method in shown:
                style = {"ms": 7, "color": COLOURS[i % len(COLOURS)], "zorder": 3, "label": row.row}
                if row.method == REFERENCE:
                    style = {"ms": 10, "color": RED, "zorder": 2, "label": "DeMoE"}
                point, shape = (macs[row.method], getattr(row, column)), SHAPES[i % len(SHAPES)]
                axis.plot(*point, shape, mec="white", mew=0.6, alpha=0.8, **style)
        axis.set(xscale="log", xlabel="MACs (G), 3x256x256, k = 1", title=title)
        ticks = [tick for tick in TICKS if 0.9 * shown.min() < tick < 1.1 * shown.max()]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    axes[0].set(ylabel="PSNR (dB), mean of the five real sets")
    axes[1].set(ylabel="PSNR (dB), mean of the five sets here")
    legend(figure, axes[1].get_legend_handles_labels()[0], "lower center", ncols=3)
    return figure
