"""Figures of notebook 05: restored crops (the paper's Figure 5), and gains with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from demoe.evaluation.comparison import WITHOUT, worst_crop

from .claims import AVERAGE
from .figures import METHOD_COLOURS, frame, intervals, legend, row_label, show
from .tables import where

FRAME = "#F0E442"  # yellow: seen on dark and bright pictures, and in print


def figure_5(rows: Sequence[tuple[str, str, list[tuple[str, Tensor]]]], width: float = 1.35) -> Figure:
    """Figure 5: ``comparison.examples``, one column a method, with a frame around the crop that lacks most
    (``comparison.worst_crop``), and below it the crop enlarged. Heads of columns stand above the first row alone."""
    shapes = [images[0][1].shape[-2:] for _, _, images in rows]
    heights, columns = [part for height, across in shapes for part in (height / across, 1.0)], len(rows[0][2])
    size = (width * columns + 0.3, width * sum(heights) + 0.22 * len(rows) + 0.5)
    figure, axes = plt.subplots(2 * len(rows), columns, figsize=size, squeeze=False, height_ratios=heights)
    for i, (name, _, images) in enumerate(rows):
        top, left, side = worst_crop(images[0][1], images[-1][1])
        for whole, zoom, (title, image) in zip(axes[2 * i], axes[2 * i + 1], images, strict=True):
            show(whole, image, title if i == 0 else title.rpartition("\n")[2])
            whole.title.set_fontsize(6.5)
            show(zoom, image[:, top : top + side, left : left + side])
            frame(whole, top, left, side, side, FRAME)
            frame(zoom, 0, 0, side, side, FRAME)
        row_label(axes[2 * i, 0], name)
    return figure


def gains(differences: pd.DataFrame, methods: pd.DataFrame) -> Figure:
    """Average PSNR over the blurred input, of the same pictures, with its 95 % interval; a colour and mark a group.

    With and without LOLBlur, where ``differences`` has both (``comparison.role_differences``).
    """
    rows = where(differences, second="input", metric="psnr")
    titles = {AVERAGE: "all sets", WITHOUT: "without LOLBlur"}
    panels = [name for name in titles if (rows["set"] == name).any()]
    shown = methods[methods.role.isin(where(rows, set=AVERAGE)["first"])].reset_index(drop=True)
    size = (5.0 + 2.5 * len(panels), 0.3 * len(shown) + 1.3)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        of_panel = where(rows, set=name).set_index("first")
        for i, (group, members) in enumerate(shown.groupby("group", sort=False)):
            style = {"fmt": "os^D"[i % 4], "color": METHOD_COLOURS[1 + i % 4], "lw": 2, "label": group}
            intervals(axis, members.index, of_panel.loc[members.role], **style)
        axis.axvline(0, color="0.35", ls="--", lw=1)
        axis.set_title(titles[name])
        axis.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(shown)), shown.method)
    axes[0, 0].invert_yaxis()
    figure.supxlabel(
        "PSNR over the blurred input (dB), mean of the sets; lines: 95 % bootstrap over scenes", fontsize=8
    )
    legend(figure)
    return figure
