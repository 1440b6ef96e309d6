"""The two figures: time against megapixels with the floor under it, and how time grows with experts."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from demoe.core.provenance import Stamp
from demoe.models.demoe import DeMoEConfig
from demoe.report import figures

from .machine import floor_seconds
from .targets import Tables, pick

LOOKS = {  # (side, precision): label, colour, marker
    ("plain", "float32"): ("plain formulation, float32", "#000000", "s"),
    ("ours", "float32"): ("ours as it is, float32", "#E69F00", "^"),
    ("optimized", "float32"): ("demoe.optimize, float32", "#0072B2", "o"),
    ("optimized", "bfloat16"): ("demoe.optimize, bfloat16", "#D55E00", "D"),
}


def times(tables: Tables) -> pd.DataFrame:
    """Times of one picture with one expert: megapixels, side, precision, allocator, ms; smallest picture first."""
    single = pick(tables["inference"], batch=1, network="DeMoE", k=1)
    rows = [single]
    if "sizes" in tables:
        rows.append(tables["sizes"].assign(allocator=single.allocator.iloc[0]))
    if "memory" in tables:  # one call each, of pictures too large for many
        rows.append(tables["memory"][~tables["memory"].case.isin(single.case)])
    table = pd.concat(rows).assign(megapixels=lambda table: table.height * table.width / 1e6)
    return table[["megapixels", "side", "precision", "allocator", "ms"]].sort_values("megapixels")


def against_size(tables: Tables) -> Figure:
    """Time against megapixels, log-log. Dashed: the plain side with the allocator's defaults. Grey: counted floors."""
    rows = times(tables)
    figure, axis = plt.subplots(figsize=(6.4, 4.4))
    _lines(axis, pick(rows, allocator="raised" if "raised" in set(rows.allocator) else "default"), "megapixels")
    if "raised" in set(rows.allocator):
        _lines(axis, pick(rows, allocator="default", side="plain"), "megapixels", "--", ", system's allocator")
    if "machine" in tables:
        _floors(axis, tables, rows.megapixels.min(), rows.megapixels.max())
    axis.set(xscale="log", yscale="log", xlabel="megapixels of the picture", ylabel="time of one picture (ms)")
    axis.set_title("DeMoE, one expert: time against size")
    axis.grid(which="minor", alpha=0.12)
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _lines(axis: plt.Axes, rows: pd.DataFrame, x: str, style: str = "-", more: str = "") -> None:
    for (side, precision), (label, colour, marker) in LOOKS.items():
        line = pick(rows, side=side, precision=precision).sort_values(x)
        if len(line):
            axis.plot(line[x], line.ms, style, color=colour, marker=marker, ms=4.5, lw=1.4, label=label + more)


def _floors(axis: plt.Axes, tables: Tables, low: float, high: float) -> None:
    peaks = tables["machine"].set_index("quantity").per_second
    config = DeMoEConfig(width=int(tables["inference"].channels.iloc[0]))
    sizes = np.geomspace(low, high, 20)
    for precision, item, style in (("float32", 4, "-"), ("bfloat16", 2, ":")):
        if f"flops_{precision}" in peaks:
            limits = (peaks[f"flops_{precision}"], peaks["bytes"], item)
            ms = [1000 * floor_seconds(config, 1, int(1e6 * size), *limits) for size in sizes]
            label = f"floor, {precision} (counted operations and\nbytes at the measured peaks)"
            axis.plot(sizes, ms, style, color="0.6", lw=2, zorder=1, label=label)


def growth(tables: Tables) -> Figure:
    """Milliseconds against the number of experts mixed, and of experts there are to choose from."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True)
    mixing = pick(tables["inference"], network="DeMoE")
    several = mixing[mixing.k > 1].iloc[0]
    mixing = pick(mixing, case=several.case, allocator=several.allocator)
    panels = ((mixing, "k", "experts mixed, k (of 5)"), (tables["experts"], "num_experts", "experts there are (k = 1)"))
    for axis, (table, column, label) in zip(axes, panels, strict=True):
        _lines(axis, table, column)
        axis.set(xlabel=label, xticks=sorted(table[column].unique()))
    axes[0].set(ylabel=f"time of one picture, {several.case} (ms)", ylim=(0, None), title="Time against k")
    axes[1].set_title("Time against their number")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2, loc="outside upper center")
    return figure


def draw(tables: Tables, folder: str, mark: Stamp) -> list[Path]:
    """Saves what the tables are there for, as ``figures/bench/<folder>-*.png`` and .pdf; the PNGs' paths."""
    made = []
    if "inference" in tables:
        made.append(figures.save(against_size(tables), f"{folder}-time", mark))
        if "experts" in tables and (tables["inference"].k > 1).any():
            made.append(figures.save(growth(tables), f"{folder}-growth", mark))
    plt.close("all")
    return made
