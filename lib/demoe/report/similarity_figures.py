"""Figures of the similarity sections: bars a layer (2, 7, 8, 9), controls, experts (11) and encoder features (13)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from demoe.core.tasks import EXPERTS, expert_index
from demoe.evaluation.embedding import PICTURED, POOLED, READINGS
from demoe.evaluation.expert_specialisation import SCALES
from demoe.evaluation.similarity_controls import COMPARISONS
from demoe.evaluation.weight_similarity import HIGH, KINDS

from .figures import COLOURS

BLUE, ORANGE, RED = "#0072B2", "#E69F00", "#D55E00"
MARKERS = "osD^v"  # one an expert or set, besides its colour
PLURAL = {
    "3x3 convolution": "3x3 convolutions",
    "1x1 convolution": "1x1 convolutions",
    "LayerNorm": "layer normalisations",
    "SCA": "SCA",
}
PARTS = ("encoder", "middle", "decoder")
ROWS = {POOLED: "averaged features", PICTURED: "CLIP on drawn features"}


def layer_grid(table: pd.DataFrame, value: str, line: bool = True) -> Figure:
    """Figures 7, 8 and 9: a row a pair of networks, a column a kind of layer, a bar a layer from input to output.

    ``table`` is one comparison and measure of ``Study.measured``; ``value`` names what the bars are. ``line`` draws the
    limit of 0.7. Pairs with the low-light sets, LOLBlur and the control, have their own colour.
    """
    pairs = list(dict.fromkeys(zip(table["first"], table["second"], strict=True)))
    figure, axes = plt.subplots(
        len(pairs),
        len(KINDS),
        figsize=(7.5, 0.85 * len(pairs) + 0.9),
        squeeze=False,
        sharey=True,
        sharex="col",
        gridspec_kw={"width_ratios": [1, 1.7, 1.2, 1]},
    )
    limits = _limits(table)
    for row, (first, second) in enumerate(pairs):
        here = table[(table["first"] == first) & (table["second"] == second)]
        for column, kind in enumerate(KINDS):
            axis = axes[row, column]
            _bars(axis, here[here.kind == kind], _colour(first, second), line, limits)
            axis.tick_params(labelsize=7, length=2)
        axes[row, 0].set_ylabel(f"{first}\n{second}", fontsize=6.5, rotation=0, ha="right", va="center", labelpad=6)
    for axis, kind in zip(axes[-1], KINDS, strict=True):
        axis.set_xlabel(PLURAL[kind], fontsize=8)
    _legend(figure, pairs, value, line)
    return figure


def pair_panels(table: pd.DataFrame, kind: str = KINDS[0], columns: int = 5) -> Figure:
    """Figure 2: the layers of one kind, a panel a pair of networks, a bar a layer, the limit of 0.7 in red."""
    pairs = list(dict.fromkeys(zip(table["first"], table["second"], strict=True)))
    pairs.sort(key=lambda pair: _colour(*pair) == ORANGE)  # the pairs that the caption excepts come last
    rows = -(-len(pairs) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(7.5, 1.45 * rows + 0.6), squeeze=False, sharex=True, sharey=True
    )
    limits = _limits(table[table.kind == kind])
    for axis in axes.flat[len(pairs) :]:
        axis.axis("off")
    for axis, (first, second) in zip(axes.flat, pairs, strict=False):
        here = table[(table["first"] == first) & (table["second"] == second) & (table.kind == kind)]
        _bars(axis, here, _colour(first, second), True, limits)
        axis.set_title(f"{first} and\n{second}", fontsize=7)
        axis.tick_params(labelsize=7, length=2)
    figure.supxlabel(f"{PLURAL[kind]}, from input to output", fontsize=8)
    figure.supylabel("Pearson's r, mean over filters", fontsize=8)
    _legend(figure, pairs, "", True)
    return figure


def _bars(axis: plt.Axes, layers: pd.DataFrame, colour: str, line: bool, limits: tuple[float, float]) -> None:
    """One panel: bars in the order of the layers, the middle of the network shaded, constant layers left blank."""
    place = np.arange(len(layers))
    axis.bar(place, layers.value.fillna(0), width=0.85, color=colour, linewidth=0)
    parts = layers.level.str.split().str[0].replace({"intro": "encoder", "ending": "decoder"}).to_numpy()
    ticks = []
    for part in PARTS:
        where = np.flatnonzero(parts == part)
        if len(where):
            ticks.append((where.mean(), part[:3]))
            if part == "middle":
                axis.axvspan(where[0] - 0.5, where[-1] + 0.5, color="0.92", zorder=0, linewidth=0)
    axis.set_xticks([x for x, _ in ticks], [name for _, name in ticks])
    if line:
        axis.axhline(HIGH, color=RED, lw=0.9, zorder=3)
    axis.set(ylim=limits, xlim=(-0.8, len(layers) - 0.2))
    axis.set_yticks([tick for tick in (-1, -0.5, 0, 0.5, 1) if tick >= limits[0]])
    axis.axhline(0, color="0.4", lw=0.6)
    axis.grid(axis="x", visible=False)


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    return (min(-0.05, 1.05 * float(table.value.min())), 1.05)


def _is_dark(name: str) -> bool:
    return name.startswith("LOL")


def _colour(first: str, second: str) -> str:
    return ORANGE if _is_dark(first) or _is_dark(second) else BLUE


def _legend(figure: Figure, pairs: Sequence[tuple[str, str]], value: str, line: bool) -> None:
    """Above the panels, so that it covers nothing."""
    dark = sorted({name for pair in pairs for name in pair if _is_dark(name)})
    handles = []
    if any(_colour(*pair) == BLUE for pair in pairs):
        handles.append(Patch(color=BLUE, label="well-lit sets"))
    if dark:
        handles.append(Patch(color=ORANGE, label=f"with {' or '.join(dark)}"))
    if line:
        handles.append(Line2D([], [], color=RED, lw=1.2, label="0.7, high correlation"))
    title = f"{value}; a bar a layer, from input to output" if value else None
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=8,
    )


def comparison_boxes(table: pd.DataFrame, measure: str, label: str) -> Figure:
    """Every comparison of notebook 03, a panel a kind of layer: boxes over layers and pairs, the mean as a dot."""
    table = table[(table.measure == measure) & table.kind.isin(KINDS)].dropna(subset="value")
    names = [name for name in COMPARISONS if name in set(table.comparison)]
    figure, axes = plt.subplots(1, len(KINDS), figsize=(7.5, 0.36 * len(names) + 1.0), sharey=True, sharex=True)
    for axis, kind in zip(axes, KINDS, strict=True):
        for i, name in enumerate(names):
            values = table[(table.comparison == name) & (table.kind == kind)].value
            if values.empty:
                axis.text(0.1, i, "constant\nbefore training", ha="center", va="center", fontsize=6, color="0.35")
                continue
            axis.boxplot(
                values,
                positions=[i],
                orientation="horizontal",
                widths=0.6,
                showfliers=False,
                whis=(5, 95),
                medianprops={"color": "black"},
                boxprops={"color": BLUE},
                whiskerprops={"color": BLUE},
                capprops={"color": BLUE},
            )
            axis.plot(values.mean(), i, "o", color=RED, ms=4, zorder=4)
        axis.axvline(HIGH, color=RED, lw=0.8, ls="--")
        axis.set_title(PLURAL[kind], fontsize=8)
        axis.set(xticks=[0, 0.5, 1], xlabel=label)
        axis.xaxis.label.set_size(8)
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].invert_yaxis()
    handles = [
        Line2D([], [], marker="o", ls="", color=RED, ms=4, label="mean"),
        Patch(facecolor="none", edgecolor=BLUE, label="middle half of layers and pairs, whiskers 5 to 95 %"),
        Line2D([], [], color=RED, lw=0.8, ls="--", label="0.7"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def expert_bars(correlations: dict[str, pd.DataFrame]) -> Figure:
    """Figure 11: a row a way to start, a column a kind of layer; at each level of the decoder a bar a pair of experts.

    ``correlations``: ``experts.correlations`` by how the experts started. Layers of a kind within a MoEBlock are
    averaged.
    """
    figure, axes = plt.subplots(
        len(correlations),
        len(KINDS),
        figsize=(7.5, 1.7 * len(correlations) + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    shown = [
        table[table.kind.isin(KINDS)].groupby(["kind", "level", "first", "second"]).value.mean()
        for table in correlations.values()
    ]
    low = min(float(means.min()) for means in shown)
    for row, (start, table) in zip(axes, correlations.items(), strict=True):
        levels = list(dict.fromkeys(table.level))
        for axis, kind in zip(row, KINDS, strict=True):
            means = table[table.kind == kind].groupby(["level", "first", "second"], sort=False).value.mean()
            for i, level in enumerate(levels):
                values = means[level].to_numpy()
                places = i + (np.arange(len(values)) - (len(values) - 1) / 2) * 0.8 / len(values)
                axis.bar(places, values, 0.7 / len(values), color=BLUE if i % 2 == 0 else "#56B4E9", linewidth=0)
            axis.axhline(HIGH, color=RED, lw=0.9)
            axis.axhline(0, color="0.4", lw=0.6)
            axis.set(ylim=(min(-0.05, 1.05 * low), 1.05))
            _level_ticks(axis, levels)
            axis.grid(axis="x", visible=False)
        row[0].set_ylabel(f"started {start}\nPearson's r", fontsize=8)
    for axis, kind in zip(axes[-1], KINDS, strict=True):
        axis.set_xlabel(PLURAL[kind], fontsize=8)
    handles = [Patch(color=BLUE), Patch(color="#56B4E9"), Line2D([], [], color=RED, lw=1.2)]
    labels = ["a bar a pair of experts, ten a level", "the same (levels alternate)", "0.7, high correlation"]
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def _level_ticks(axis: plt.Axes, levels: Sequence[str]) -> None:
    names = [name.replace("decoder", "dec.") for name in levels]
    axis.set_xticks(range(len(levels)), names, fontsize=7, rotation=45, ha="right")


def expert_matrix(matrices: dict[str, pd.DataFrame]) -> Figure:
    """PSNR of each set (down) restored by each expert (across), a panel a way to start; colour: distance to the row's
    best expert. A frame marks the expert of the set's own blur."""
    figure, axes = plt.subplots(1, len(matrices), figsize=(3.75 * len(matrices), 3.1), squeeze=False, sharey=True)
    experts = list(EXPERTS)
    behind = {name: table[experts].sub(table[experts].max(axis=1), axis=0) for name, table in matrices.items()}
    worst = min(-0.1, min(float(table.to_numpy().min()) for table in behind.values()))
    for axis, (name, table) in zip(axes[0], matrices.items(), strict=True):
        picture = axis.imshow(behind[name], cmap="cividis", vmin=worst, vmax=0, aspect="auto")
        for i, set_name in enumerate(table.index):
            for j, expert in enumerate(EXPERTS):
                dark = behind[name].iloc[i, j] < worst / 2
                axis.text(
                    j,
                    i,
                    f"{table.loc[set_name, expert]:.2f}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if dark else "black",
                )
            own = expert_index(set_name)
            axis.add_patch(plt.Rectangle((own - 0.48, i - 0.46), 0.96, 0.92, fill=False, edgecolor=RED, lw=1.8))
        axis.set_xticks(range(len(EXPERTS)), [one.replace("_", "\n") for one in EXPERTS], fontsize=6.5)
        axis.set_yticks(range(len(table)), table.index, fontsize=8)
        axis.set(title=f"experts started {name}", xlabel="expert chosen by hand")
        axis.title.set_size(9)
        axis.grid(visible=False)
    axes[0, 0].set_ylabel("test set")
    figure.colorbar(picture, ax=list(axes[0]), label="PSNR behind the row's best (dB)", shrink=0.9)
    return figure


def movement(tables: dict[str, pd.DataFrame]) -> Figure:
    """How far each expert moved, from ``experts.moved`` by how they started: a panel a kind of layer, a dot a level."""
    kinds = [*KINDS, SCALES]
    figure, axes = plt.subplots(
        len(tables), len(kinds), figsize=(7.5, 1.75 * len(tables) + 0.6), squeeze=False, sharex=True, sharey="col"
    )
    for row, (start, table) in zip(axes, tables.items(), strict=True):
        levels = list(dict.fromkeys(table.level))
        for axis, kind in zip(row, kinds, strict=True):
            here = table[table.kind == kind].groupby(["expert", "level"], sort=False).change.mean()
            for expert, marker in zip(EXPERTS, MARKERS, strict=True):
                axis.plot(range(len(levels)), here[expert].loc[levels], f"{marker}-", ms=3, lw=1, color=COLOURS[expert])
            _level_ticks(axis, levels)
            axis.tick_params(axis="y", labelsize=7)
        row[0].set_ylabel(f"started {start}\nchange / length at start", fontsize=8)
        row[-1].set_ylabel("root mean square", fontsize=7)
    for axis, kind in zip(axes[-1], kinds, strict=True):
        axis.set_ylim(bottom=0)  # after all rows are drawn, else the first one sets the top for all
        axis.set_xlabel(PLURAL.get(kind, kind), fontsize=7.5)
    handles = [
        Line2D([], [], marker=marker, ms=3, color=COLOURS[name], label=name)
        for name, marker in zip(EXPERTS, MARKERS, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(EXPERTS), frameon=False, fontsize=7.5)
    return figure


def encoder_views(points: pd.DataFrame, numbers: pd.DataFrame) -> Figure:
    """Figure 13: t-SNE of the test pictures, a column a baseline, a row a reading, separability above each panel.

    A reading without points has no row: a line below the figure says why.
    """
    baselines, readings = list(dict.fromkeys(points.baseline)), list(dict.fromkeys(points.reading))
    figure, axes = plt.subplots(len(readings), len(baselines), figsize=(7.6, 2.3 * len(readings) + 0.6), squeeze=False)
    sets = {
        name: (MARKERS[i % len(MARKERS)], COLOURS[EXPERTS[expert_index(name)]])
        for i, name in enumerate(dict.fromkeys(points.set))
    }
    for row, reading in zip(axes, readings, strict=True):
        for axis, baseline in zip(row, baselines, strict=True):
            here = points[(points.reading == reading) & (points.baseline == baseline)]
            number = numbers[(numbers.reading == reading) & (numbers.baseline == baseline)].iloc[0]
            for name, (marker, colour) in sets.items():
                cloud = here[here.set == name]
                axis.scatter(cloud.x, cloud.y, s=11, marker=marker, linewidths=0.3, edgecolors="white", color=colour)
            axis.set(xticks=[], yticks=[])
            axis.set_title(
                f"{baseline}\n5-NN {number.knn:.2f} (chance {number.knn_shuffled:.2f})\n"
                f"silhouette {round(number.silhouette, 2) + 0:.2f}",
                fontsize=7,
            )
        row[0].set_ylabel(f"{ROWS[reading]}\nt-SNE 2 (no unit)", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("t-SNE 1 (no unit)", fontsize=8)
    for reading in READINGS:
        if reading not in readings:
            figure.supxlabel(f"No row for {reading}: {numbers[numbers.reading == reading].note.iloc[0]}.", fontsize=7)
    handles = [
        Line2D([], [], ls="", marker=marker, ms=5, color=colour, label=name) for name, (marker, colour) in sets.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=8)
    return figure
