"""How figures look and where they go. Colours are Okabe and Ito's: told apart in print and by the colour-blind."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator
from torch import Tensor

from demoe.core.files import figures_dir, replacing
from demoe.core.provenance import Stamp
from demoe.core.tasks import COLOURS as COLOURS
from demoe.core.tasks import EXPERTS

METHOD_COLOURS = ["#999999", "#0072B2", "#D55E00", "#E69F00", "#009E73"]
GREY, BLUE, RED, ORANGE, GREEN = METHOD_COLOURS
WIDTH = 9.5  # inches at most: about 900 pixels of a page, where text of 8 points is 10 pixels high
MARKERS = "osD^vPX*"  # besides colours, one an expert, a set or a method
plt.style.use(Path(__file__).with_suffix(".mplstyle"))


def save(figure: Figure, name: str, mark: Stamp) -> Path:
    """Stamps ``figure`` at its foot, writes ``figures/<profile>/<name>.png`` and ``.pdf``, returns the PNG's path.

    A figure wider than ``WIDTH`` is drawn anew at that width, so that its text can be read on a page. A notebook shows
    the PNG, with ``described`` as its alternative text, which is in the file too.
    """
    if figure.get_figwidth() > WIDTH:
        figure.set_size_inches(figure.get_size_inches() * WIDTH / figure.get_figwidth())
    figure.text(0.995, -0.01, mark.line(), ha="right", va="top", fontsize=6, color="0.45")
    known = {"Description": mark.line(), "Title": described(figure, name)}
    for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", known)):
        file = figures_dir(mark.profile) / f"{name}.{suffix}"
        with replacing(file) as partial:
            figure.savefig(partial, format=suffix, bbox_inches="tight", metadata=metadata)
    if "ipykernel" in sys.modules:
        from IPython.display import Image, display

        plt.close(figure)  # else the kernel shows it a second time, without words
        pixels = int.from_bytes(file.read_bytes()[16:20])  # the width, in every PNG's header
        display(Image(file, width=round(pixels * 96 / plt.rcParams["savefig.dpi"]), alt=known["Title"]))
    return file


def described(figure: Figure, name: str) -> str:
    """What a figure shows, in one line for those who do not see it: titles, axes and legends as they are written."""
    words = [name, *(text.get_text() for one in figure.legends for text in one.get_texts())]
    for axis in figure.axes:
        words += [axis.get_title(), axis.get_ylabel(), axis.get_xlabel()]
    return "; ".join(dict.fromkeys(" ".join(word.split()) for word in words if word.strip()))


def show(axis: plt.Axes, image: Tensor, title: str = "") -> None:
    """One picture, (3, H, W) or (1, H, W) in [0, 1], without axes."""
    axis.imshow(image.detach().cpu().clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(title)
    axis.axis("off")


def pictures(rows: list[list[tuple[str, Tensor]]], row_labels: list[str] | None = None, width: float = 2.0) -> Figure:
    """A grid of titled pictures, one list a row."""
    columns = max(len(row) for row in rows)
    aspect = max(row[0][1].shape[-2] / row[0][1].shape[-1] for row in rows)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(width * columns, (width * aspect + 0.25) * len(rows)), squeeze=False
    )
    for i, row in enumerate(rows):
        for axis in axes[i]:
            axis.axis("off")
        for axis, (title, image) in zip(axes[i], row, strict=False):
            show(axis, image, title)
        if row_labels:
            row_label(axes[i, 0], row_labels[i])
    return figure


def row_label(axis: plt.Axes, text: str) -> None:
    """Text, upright, to the left of the first picture of a row."""
    place = {"transform": axis.transAxes, "rotation": 90, "ha": "right", "va": "center"}
    axis.text(-0.06, 0.5, text, fontsize=9, **place)


def frame(axis: plt.Axes, top: float, left: float, height: float, width: float, colour: str, lw: float = 1.2) -> None:
    """A rectangle around pixels of a picture, whose first has its middle at 0, 0."""
    corner = (left - 0.5, top - 0.5)
    axis.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, lw=lw, clip_on=False))


def heat_map(axis: plt.Axes, table: pd.DataFrame, own: Mapping[str, str] | None = None, **style) -> None:
    """A table as a heat map with its values; ``own``: for rows, by name, the column that gets a frame.

    ``style`` goes to ``seaborn.heatmap``.
    """
    style = {"annot": True, "fmt": ".2f", "cmap": "Blues", "cbar": False, "annot_kws": {"fontsize": 8}} | style
    sns.heatmap(table.astype(float), ax=axis, **style)
    for row, name in enumerate(table.index):
        if own and own.get(name) in table:
            corner = (list(table).index(own[name]) + 0.03, row + 0.04)
            axis.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor=RED, lw=1.8))
    axis.set(xlabel="", ylabel="")
    axis.tick_params(axis="y", rotation=0)


def intervals(axis: plt.Axes, places: Sequence[float], table: pd.DataFrame, across: bool = True, **style) -> None:
    """Means with their intervals, columns mean, low and high, at ``places``: ``across`` the axis, or upright.

    Without an interval the mean alone; ``style`` goes to ``errorbar``.
    """
    reach = table[["low", "high"]].sub(table["mean"], axis=0).abs().fillna(0).to_numpy(float).T
    style = {"fmt": "o", "ms": 5, "lw": 1.8} | style
    if across:
        axis.errorbar(table["mean"], places, xerr=reach, **style)
    else:
        axis.errorbar(places, table["mean"], yerr=reach, **style)


def scales_differ(axis: Axis, other: Axis) -> None:
    """Says below the label of an axis how many times finer or coarser its scale is than another's, if twice or more."""
    ratio = np.ptp(other.get_view_interval()) / np.ptp(axis.get_view_interval())
    word, times = ("finer", ratio) if ratio > 1 else ("coarser", 1 / ratio)
    if times >= 2:
        axis.set_label_text(f"{axis.label.get_text()}\n(scale {times:.0f} times {word} than the other's)")


def legend(figure: Figure, handles: Sequence | None = None, place: str = "upper center", **style) -> None:
    """One legend for all panels, outside of them so that it covers nothing; without ``handles``, the first panel's."""
    handles = figure.axes[0].get_legend_handles_labels()[0] if handles is None else handles
    figure.legend(handles=handles, loc=f"outside {place}", **{"ncols": len(handles)} | style)


def choices(routing: pd.DataFrame, by: str) -> pd.DataFrame:
    """The router's confusion: the share of pictures given to each expert (across), a row a "set" or a true "label"."""
    table = pd.crosstab(routing[by], routing.predicted, normalize="index")
    return table.reindex(columns=list(EXPERTS), fill_value=0.0)


def router_bars(weights: dict[str, float], title: str = "What the router sees") -> Figure:
    """The router's softmax as horizontal bars, one an expert."""
    figure, axis = plt.subplots(figsize=(5, 1.9))
    sns.barplot(x=list(weights.values()), y=list(weights), hue=list(weights), palette=COLOURS, saturation=1, ax=axis)
    for bars in axis.containers:
        axis.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
    axis.set(xlim=(0, 1.12), xlabel="router weight (sums to 1)", ylabel="", title=title)
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.grid(axis="y", visible=False)
    return figure


def training_curves(stage1: pd.DataFrame, stage2: pd.DataFrame, smooth: int = 15) -> Figure:
    """Losses, router accuracy, gradient norm and learning rate of both stages against optimiser steps.

    A network that comes with the package has no log: its panels stay empty, and say so."""
    panels = {
        "pixel": ("Pixel loss", "L1 loss (images in [0, 1])"),
        "accuracy": ("Router accuracy while training (stage 1)", "fraction of the batch"),
        "grad_norm": ("Gradient norm", "gradient norm"),
        "lr": ("Learning rate", "learning rate"),
    }
    figure, axes = plt.subplots(2, 2, figsize=(8, 4.8))
    for axis, (column, (title, label)) in zip(axes.flat, panels.items(), strict=True):
        for name, log, colour in (("stage 1", stage1, BLUE), ("stage 2", stage2, RED)):
            if column not in log or (column == "accuracy" and name == "stage 2"):
                continue
            mean = log[column].rolling(1 if column == "lr" else smooth, min_periods=1).mean()
            axis.plot(log.step, log[column], color=colour, alpha=0.25, lw=0.8)
            axis.plot(log.step, mean, color=colour, lw=1.6, label=name)
        axis.set(title=title, ylabel=label, xlabel="optimiser step")
        if not axis.lines:
            axis.text(0.5, 0.5, "no log comes with the package", ha="center", transform=axis.transAxes, fontsize=8)
            continue
        axis.set(**({"ylim": (0, 1.02)} if column == "accuracy" else {"yscale": "log"}))
        if column in ("pixel", "grad_norm"):
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("")
    if axes[0, 0].lines:
        axes[0, 0].legend()
    return figure


def gains(differences: pd.DataFrame, over: str = "input") -> Figure:
    """PSNR over the ``over``, a set a column, with 95 % intervals where there are scenes enough.

    Two panels: LOLBlur, where brightness decides, has a scale of its own, with the averages. ``differences``:
    ``statistics.differences``.
    """
    rows = differences[(differences.metric == "psnr") & (differences.second == over)]
    names = list(rows["set"].unique())
    dark = [name for name in names if name.startswith("LOLBlur")]
    averages = [name for name in names if name.startswith("Average")]
    groups = [[name for name in names if name not in (*dark, *averages)], [*dark, *averages]]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), width_ratios=[max(1, len(group)) for group in groups])
    methods = rows["first"].unique()
    for axis, group in zip(axes, groups, strict=True):
        for i, method in enumerate(methods):
            here = rows[rows["first"] == method].set_index("set").loc[group]
            places = np.arange(len(group)) + (i - (len(methods) - 1) / 2) * 0.6 / len(methods)
            style = {"fmt": "soD^vPX"[i], "color": METHOD_COLOURS[1 + i % 4], "capsize": 3, "lw": 1.2}
            intervals(axis, places, here, False, label=method, **style)
        axis.axhline(0, color="0.3", lw=0.8)
        axis.set_xticks(range(len(group)), [name.replace(" without", "\nwithout") for name in group])
        axis.set_xlim(-0.5, len(group) - 0.5)
        axis.grid(axis="x", visible=False)
    axes[0].set_ylabel(f"PSNR over the {over} (dB)")
    legend(figure)
    return figure


def confusion(routing: pd.DataFrame) -> Figure:
    """How often the router names each blur, a row a set."""
    figure, axis = plt.subplots(figsize=(4.6, 3.8))
    heat_map(axis, choices(routing, "label").reindex(EXPERTS, fill_value=0.0), vmin=0, vmax=1)
    axis.set(xlabel="router's choice", ylabel="true blur", title="Share of test pictures")
    axis.set_xticklabels(EXPERTS, rotation=30, ha="right")
    return figure


def cost_plane(table: pd.DataFrame, side: int, ensemble: float) -> Figure:
    """Figure 6 (left) as a plane: MACs against runtime, the paper's and measured here; discs are as large as the
    parameters.

    Columns: row, params, macs, runtime_ms, paper_macs_g, paper_runtime_ms. ``ensemble``: parameters of
    DeMoE-5, five networks like the NAFNet of which one runs, so that it stands on the NAFNet's place.
    """
    table = table.dropna(subset=["params"])
    nafnet = table[table.row == "NAFNet"].iloc[0]
    five = nafnet.to_dict() | {"row": "DeMoE-5", "params": ensemble}
    table = pd.concat([pd.DataFrame([five]), table], ignore_index=True)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    panels = (
        ("paper_macs_g", "paper_runtime_ms", 1, "paper: RTX 4090, 3x256x256"),
        ("macs", "runtime_ms", 1e9, f"here: 3x{side}x{side}"),
    )
    colours = sns.color_palette("colorblind", len(table))
    for axis, (across, up, unit, title) in zip(axes, panels, strict=True):
        for row, colour in zip(table.to_dict("records"), colours, strict=True):
            area = row["params"] / 1e6
            face = "none" if row["row"] == "DeMoE-5" else colour
            style = {"facecolor": face, "edgecolor": colour, "alpha": 0.8, "lw": 1.3}
            label = f"{row['row']}, {area:.1f} M"
            axis.scatter(float(row[across]) / unit, float(row[up]), 14 * area, label=label, **style)
        axis.set(xscale="log", yscale="log", title=title, xlabel="MACs (G), 3x256x256", ylabel="runtime (ms)")
        axis.margins(0.2)
    handles = axes[0].get_legend_handles_labels()[0]
    legend(figure, handles, "right center", ncols=1, title="parameters", labelspacing=1.4)
    return figure


def costs(table: pd.DataFrame, side: int) -> Figure:
    """Figure 6 (left): parameters, MACs and measured runtime. Columns: row, params, macs, runtime_ms.

    ``side`` is that of the square pictures timed. Networks that are not installed are left out.
    """
    table = table.dropna(subset=["params"]).astype({"params": float, "macs": float}).sort_values("macs")
    figure, axes = plt.subplots(1, 3, figsize=(9, 0.3 * len(table) + 1.0), sharey=True)
    panels = (
        ("params", 1e6, "parameters (M)"),
        ("macs", 1e9, "MACs (G), 3x256x256"),
        ("runtime_ms", 1, f"runtime here (ms), 3x{side}x{side}"),
    )
    palette = [RED if "DeMoE" in row else BLUE for row in table.row]
    for axis, (column, unit, label) in zip(axes, panels, strict=True):
        sns.barplot(x=table[column] / unit, y=table.row, hue=table.row, palette=palette, saturation=1, ax=axis)
        for bars in axis.containers:
            axis.bar_label(bars, fmt="%.4g", padding=2, fontsize=7)
        axis.set(xlabel=label, ylabel="")
        axis.margins(x=0.18)
        axis.grid(axis="y", visible=False)
    return figure
