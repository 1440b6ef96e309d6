"""The figure that only notebook 10 has: what each network gains over the blurred input."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from demoe.evaluation.released import BASELINE, DEMOE, INPUT, MANUAL

from .figures import BLUE, ORANGE, RED, intervals, legend
from .tables import sets_in_order, where

STYLES = {BASELINE: ("s", BLUE), DEMOE: ("o", RED), MANUAL: ("D", ORANGE)}


def gains(differences: pd.DataFrame) -> Figure:
    """PSNR over the input, a set a column, with 95 % intervals where there are scenes enough.

    Two panels: LOLBlur, where brightness decides, has a scale of its own.
    """
    rows = where(differences, metric="psnr", second=INPUT)
    names = sets_in_order(rows)
    dark = [name for name in names if name.startswith("LOLBlur")]
    groups = [[name for name in names if name not in (*dark, "Average")], [*dark, "Average"]]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), width_ratios=[max(1, len(group)) for group in groups])
    methods = [name for name in STYLES if name in set(rows["first"])]
    for axis, group in zip(axes, groups, strict=True):
        for i, method in enumerate(methods):
            here = rows[rows["first"] == method].set_index("set").loc[group]
            places, (marker, colour) = np.arange(len(group)) + 0.2 * (i - (len(methods) - 1) / 2), STYLES[method]
            intervals(axis, places, here, False, fmt=marker, color=colour, capsize=3, lw=1.2, label=method)
        axis.axhline(0, color="0.3", lw=0.8)
        axis.set_xticks(range(len(group)), group)
        axis.set_xlim(-0.5, len(group) - 0.5)
        axis.grid(axis="x", visible=False)
    axes[0].set_ylabel("PSNR over the input (dB)")
    legend(figure)
    return figure
