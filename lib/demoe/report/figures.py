"""How figures look and where they go. Colours are Okabe and Ito's: told apart in print and by the colour-blind."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from demoe.core.files import figures_dir
from demoe.core.provenance import Stamp
from demoe.core.tasks import EXPERTS

COLOURS = {
    "defocus": "#0072B2",
    "global_motion": "#E69F00",
    "local_motion": "#009E73",
    "synth_global_motion": "#CC79A7",
    "low_light": "#56B4E9",
}
METHOD_COLOURS = ["#999999", "#0072B2", "#D55E00", "#E69F00", "#009E73"]
STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "figure.constrained_layout.use": True,
}
plt.rcParams.update(STYLE)


def save(figure: Figure, name: str, mark: Stamp) -> Path:
    """Stamps ``figure`` at its foot, writes ``figures/<profile>/<name>.png`` and ``.pdf``, returns the PNG's path."""
    folder = figures_dir(mark.profile)
    folder.mkdir(parents=True, exist_ok=True)
    figure.text(0.995, -0.01, mark.line(), ha="right", va="top", fontsize=6, color="0.45")
    for suffix in (".pdf", ".png"):
        partial = folder / f"{name}.partial{suffix}"
        metadata = {"CreationDate": None} if suffix == ".pdf" else {"Description": mark.line()}
        figure.savefig(partial, bbox_inches="tight", metadata=metadata)
        partial.replace(folder / f"{name}{suffix}")
    return folder / f"{name}.png"


def show(axis: plt.Axes, image: Tensor, title: str = "") -> None:
    """One picture, (3, H, W) or (1, H, W) in [0, 1], without axes."""
    axis.imshow(image.detach().cpu().clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, fontsize=8)
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
            axes[i, 0].text(
                -0.06,
                0.5,
                row_labels[i],
                transform=axes[i, 0].transAxes,
                rotation=90,
                ha="right",
                va="center",
                fontsize=9,
            )
    return figure


def router_bars(weights: dict[str, float], title: str = "What the router sees") -> Figure:
    """The router's softmax as horizontal bars, one an expert."""
    figure, axis = plt.subplots(figsize=(5, 1.9))
    names = list(weights)
    bars = axis.barh(names, [weights[name] for name in names], color=[COLOURS[name] for name in names])
    axis.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
    axis.set(xlim=(0, 1.12), xlabel="router weight (sums to 1)", title=title)
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure


def training_curves(stage1: pd.DataFrame, stage2: pd.DataFrame, smooth: int = 15) -> Figure:
    """Losses, router accuracy, gradient norm and learning rate of both stages against optimiser steps."""
    figure, axes = plt.subplots(2, 2, figsize=(8, 4.8))
    for name, log, colour in (("stage 1", stage1, "#0072B2"), ("stage 2", stage2, "#D55E00")):
        mean = log.rolling(smooth, min_periods=1).mean()
        for axis, column in ((axes[0, 0], "pixel"), (axes[1, 0], "grad_norm")):
            axis.plot(log.step, log[column], color=colour, alpha=0.25, lw=0.8)
            axis.plot(log.step, mean[column], color=colour, lw=1.6, label=name)
        axes[1, 1].plot(log.step, log.lr, color=colour, lw=1.6, label=name)
    axes[0, 1].plot(stage1.step, stage1.accuracy, color="#0072B2", alpha=0.25, lw=0.8)
    axes[0, 1].plot(stage1.step, stage1.accuracy.rolling(smooth, min_periods=1).mean(), color="#0072B2", lw=1.6)
    axes[0, 0].set(ylabel="L1 loss (images in [0, 1])", yscale="log", title="Pixel loss")
    axes[0, 1].set(ylabel="fraction of the batch", ylim=(0, 1.02), title="Router accuracy while training (stage 1)")
    axes[1, 0].set(ylabel="gradient norm", yscale="log", title="Gradient norm")
    axes[1, 1].set(ylabel="learning rate", yscale="log", title="Learning rate")
    for axis in axes.flat:
        axis.set_xlabel("optimiser step")
    for axis in (axes[0, 0], axes[1, 1]):
        axis.legend(frameon=False)
    return figure


def psnr_bars(summary: pd.DataFrame) -> Figure:
    """PSNR of every method on every set, from ``statistics.summarise``'s table."""
    methods, names = list(summary.method.unique()), list(summary.set.unique())
    figure, axis = plt.subplots(figsize=(8, 3))
    width = 0.8 / len(methods)
    table = summary.pivot(index="set", columns="method", values="psnr").loc[names, methods]
    for i, method in enumerate(methods):
        places = np.arange(len(names)) + (i - (len(methods) - 1) / 2) * width
        axis.bar(places, table[method], width, label=method, color=METHOD_COLOURS[i % len(METHOD_COLOURS)])
    axis.set_xticks(range(len(names)), names)
    axis.set(ylabel="PSNR (dB)")
    axis.legend(ncols=len(methods), frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axis.grid(axis="x", visible=False)
    return figure


def confusion(routing: pd.DataFrame) -> Figure:
    """How often the router names each blur, a row a set."""
    table = pd.crosstab(routing.label, routing.predicted, normalize="index")
    table = table.reindex(index=EXPERTS, columns=EXPERTS, fill_value=0.0)
    figure, axis = plt.subplots(figsize=(4.6, 3.8))
    axis.imshow(table, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(table.to_numpy()):
        for j, value in enumerate(row):
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value > 0.6 else "black")
    axis.set_xticks(range(len(EXPERTS)), EXPERTS, rotation=30, ha="right")
    axis.set_yticks(range(len(EXPERTS)), EXPERTS)
    axis.set(xlabel="router's choice", ylabel="true blur", title="Share of test pictures")
    axis.grid(visible=False)
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
    for axis, (column, unit, label) in zip(axes, panels, strict=True):
        highlighted = ["#D55E00" if "DeMoE" in row else "#0072B2" for row in table.row]
        bars = axis.barh(table.row, table[column] / unit, color=highlighted)
        axis.bar_label(bars, fmt="%.3g", padding=2, fontsize=7)
        axis.set(xlabel=label)
        axis.margins(x=0.18)
        axis.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    return figure
