"""Figures of the ablations: differences with their intervals, and cost against quality."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from demoe.experiments.ablations import BY_HAND, CHOICES, ROUTER

from .ablation_tables import REFERENCE, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7, WORDS, published_costs
from .figures import METHOD_COLOURS

OURS, PAPER, HAND = METHOD_COLOURS[1], METHOD_COLOURS[2], METHOD_COLOURS[4]
MARKERS = "osD^vP*X<>hpd"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")  # Okabe and Ito's, without DeMoE's
STYLES = {ROUTER: ("o", OURS, -0.14), BY_HAND: ("s", HAND, 0.14)}


def differences(table: pd.DataFrame) -> Figure:
    """The PSNR of every row against its reference: here for both choices of the expert, with the interval over pictures
    (and, thin, over trainings), beside the paper's in a panel of its own, because the scales differ.

    ``table``: ``ablation_tables.results``."""
    every = table[table.method != table.reference]
    part = every[every.choice == ROUTER].reset_index(drop=True)
    known = part.paper_difference.notna().any()
    figure, axes = plt.subplots(1, 2 if known else 1, figsize=(8, 0.34 * len(part) + 1.5), sharey=True, squeeze=False)
    places, ours = np.arange(len(part)), axes[0, 0]
    several = every.low_trainings.notna().any()
    for choice in CHOICES:
        rows = every[every.choice == choice]
        marker, colour, shift = STYLES[choice]
        width = np.array([rows.difference - rows.low, rows.high - rows.difference])
        ours.errorbar(
            rows.difference, places + shift, xerr=width, fmt=marker, color=colour, ms=4, lw=2, label=WORDS[choice]
        )
        if several:
            over = np.array([rows.difference - rows.low_trainings, rows.high_trainings - rows.difference])
            ours.errorbar(rows.difference, places + shift, xerr=over, fmt="none", color="0.35", lw=0.8, capsize=3)
    ours.set(
        xlabel="difference in PSNR (dB), here",
        title="bar: 95 % over pictures" + ("; thin: over trainings" if several else ""),
    )
    ours.set_yticks(places, [row.row + (" *" if row.reference != REFERENCE else "") for row in part.itertuples()])
    if known:
        axes[0, 1].plot(part.paper_difference, places, "D", color=PAPER, ms=5)
        axes[0, 1].set(xlabel="difference in PSNR (dB), paper (real sets)", title="paper: no intervals published")
    for axis in axes[0]:
        axis.axvline(0, color="0.3", lw=0.9)
        axis.margins(x=0.08)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.title.set_fontsize(8)
    ours.set_ylim(len(part) - 0.5, -0.5)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    if any(part.reference != REFERENCE):
        figure.text(
            0.01,
            -0.04,
            "* against the baseline with classification loss, which has no experts; the others against DeMoE",
            fontsize=7,
            va="top",
        )
    return figure


def cost_and_quality(table: pd.DataFrame, counted: pd.DataFrame) -> Figure:
    """PSNR against MACs of the rows of Tables 5 and 7: the published numbers, and ours for both choices of the expert.

    ``counted`` has the columns experiment, size ("paper" or "here"), macs. No intervals: those of the differences,
    which say more than those of the averages, are in ``differences``.
    """
    part = table[table.table.isin([TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7])].drop_duplicates(["method", "choice"])
    here = counted[counted["size"] == "here"].set_index("experiment").macs / 1e9
    printed = published_costs().macs_g
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 4.4))
    axes[1].sharey(axes[2])
    panels = (
        ("paper, width 32", printed, part[part.choice == ROUTER].assign(value=lambda rows: rows.paper_psnr)),
        *(
            (f"here, {WORDS[choice]}", here, part[part.choice == choice].assign(value=lambda rows: rows.psnr))
            for choice in CHOICES
        ),
    )
    for axis, (title, macs, rows) in zip(axes, panels, strict=True):
        for i, row in enumerate(rows.itertuples()):
            if row.method not in macs:
                continue
            reference = row.method == REFERENCE
            axis.plot(
                macs[row.method],
                row.value,
                MARKERS[i % len(MARKERS)],
                ls="none",
                ms=10 if reference else 7,
                color=PAPER if reference else COLOURS[i % len(COLOURS)],
                mec="white",
                mew=0.6,
                alpha=0.8,
                zorder=2 if reference else 3,
                label="DeMoE" if reference else row.row,
            )
        axis.set(xscale="log", xlabel="MACs (G), 3x256x256, k = 1", title=title)
        shown = macs[[method for method in rows.method if method in macs]]
        low, high = 0.9 * shown.min(), 1.1 * shown.max()
        ticks = [tick for tick in (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 40) if low < tick < high]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.title.set_fontsize(9)
    axes[0].set(ylabel="PSNR (dB), mean of the five real sets")
    axes[1].set(ylabel="PSNR (dB), mean of the five sets here")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
