"""Figures of notebook 05: restored crops (the paper's Figure 5), and gains with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from demoe.data.pairs import PairedSet
from demoe.evaluation.comparison import COMPARATORS, MAIN, WITHOUT, median_gain, worst_crop
from demoe.evaluation.methods import Compared, Made

from .figures import METHOD_COLOURS, frame, intervals, row_label, show

AVERAGE = "Average"
FRAME = "#F0E442"  # yellow: seen on dark and bright pictures, and in print


@dataclass(frozen=True)
class Row:
    """A picture in Figure 5. ``images`` are (3, H, W) in [0, 1], one a column."""

    label: str  # its set
    images: Sequence[Tensor]
    titles: Sequence[str]  # "27.02 dB"
    crop: tuple[int, int, int]  # top, left, side in pixels: what the lower half shows larger


COLUMNS = {  # role -> head of its column; narrow, so that the sizes stand in the tables
    "input": "blurred",
    **{name: name for name in COMPARATORS},
    "NAFNet": "NAFNet",
    "DeMoE": "DeMoE k=1",
    MAIN: "DeMoE k=1",
    "DeMoE*": "DeMoE*",
}


def chosen(
    sets: Sequence[PairedSet], entries: Sequence[Compared], scores: pd.DataFrame, device: str = "cpu"
) -> tuple[list[Row], list[str]]:
    """What Figure 5 shows, by rule, and the heads of its columns with their steps; nothing is picked by hand.

    Of every set the picture that gains the median PSNR by the longer trained DeMoE over the input; of the picture the
    square crop that lacks most (``comparison.worst_crop``). The last column is the sharp picture.
    """
    by_role = {one.role: one for one in entries}
    roles = [role for role in COLUMNS if role in by_role]
    rows = []
    for pairs in sets:
        key = median_gain(scores, pairs.name, by_role[MAIN].method, by_role["input"].method)
        blurred, sharp = pairs.pair(list(pairs.keys).index(key))
        psnr = scores[(scores["set"] == pairs.name) & (scores.image == key)].set_index("method").psnr
        made = [by_role[role].make(blurred[None].to(device), pairs) for role in roles]
        images = [(one.image if isinstance(one, Made) else one)[0].cpu() for one in made]
        titles = [f"{psnr[by_role[role].method]:.2f} dB" for role in roles]
        rows.append(Row(pairs.name, [*images, sharp], [*titles, ""], worst_crop(blurred, sharp)))
    return rows, [*(heading(by_role[role]) for role in roles), "sharp\n"]


def heading(one: Compared) -> str:
    """Two lines: the network and how long it learned, because not all columns learned equally long."""
    return f"{COLUMNS[one.role]}\n{one.steps}"


def figure_5(rows: Sequence[Row], columns: Sequence[str], width: float = 1.35) -> Figure:
    """Every picture with a frame around the crop, and below it the crop enlarged. One column a method."""
    shapes = [row.images[0].shape[-2:] for row in rows]
    heights = [part for height, across in shapes for part in (height / across, 1.0)]
    size = (width * len(columns) + 0.3, width * sum(heights) + 0.22 * len(rows) + 0.5)
    figure, axes = plt.subplots(
        2 * len(rows), len(columns), figsize=size, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for i, row in enumerate(rows):
        top, left, side = row.crop
        for j, (image, title) in enumerate(zip(row.images, row.titles, strict=True)):
            whole, zoom = axes[2 * i, j], axes[2 * i + 1, j]
            show(whole, image, f"{columns[j]}\n{title}" if i == 0 else title)
            whole.title.set_fontsize(6.5)
            show(zoom, image[:, top : top + side, left : left + side])
            frame(whole, top, left, side, side, FRAME)
            frame(zoom, 0, 0, side, side, FRAME)
        row_label(axes[2 * i, 0], row.label)
    return figure


def gains(differences: pd.DataFrame, methods: pd.DataFrame) -> Figure:
    """Average PSNR over the blurred input, of the same pictures, with its 95 % interval; a colour and mark a group.

    With and without LOLBlur, where ``differences`` has both (``comparison.role_differences``).
    """
    rows = differences[(differences["second"] == "input") & (differences.metric == "psnr")]
    titles = {AVERAGE: "all sets", WITHOUT: "without LOLBlur"}
    panels = [name for name in titles if (rows["set"] == name).any()]
    shown = methods[methods.role.isin(rows[rows["set"] == AVERAGE]["first"])].reset_index(drop=True)
    size = (5.0 + 2.5 * len(panels), 0.3 * len(shown) + 1.3)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        of_panel = rows[rows["set"] == name].set_index("first")
        for i, (group, members) in enumerate(shown.groupby("group", sort=False)):
            style = {"fmt": "os^D"[i % 4], "color": METHOD_COLOURS[1 + i % 4], "lw": 2, "label": group}
            intervals(axis, members.index, of_panel.loc[members.role], **style)
        axis.axvline(0, color="0.35", ls="--", lw=1)
        axis.set_title(titles[name], fontsize=9)
        axis.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(shown)), shown.method)
    axes[0, 0].invert_yaxis()
    text = "PSNR over the blurred input (dB), mean of the sets; lines: 95 % bootstrap over scenes"
    figure.supxlabel(text, fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(labels), fontsize=8)
    return figure
