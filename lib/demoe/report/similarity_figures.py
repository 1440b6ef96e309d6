"""Figures of the similarity sections: bars a layer (2, 7, 8, 9), controls, experts (11) and encoder features (13)."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from demoe.core.tasks import EXPERTS, expert_index
from demoe.evaluation.embedding import PICTURED, POOLED, READINGS
from demoe.evaluation.similarity_controls import COMPARISONS
from demoe.evaluation.weight_similarity import HIGH, KINDS

from .figures import BLUE, COLOURS, MARKERS, ORANGE, RED, heat_map, legend
from .tables import where

PLURAL = {
    "3x3 convolution": "3x3 convolutions",
    "1x1 convolution": "1x1 convolutions",
    "LayerNorm": "layer normalisations",
    "SCA": "SCA",
}
PARTS = ("encoder", "middle", "decoder")
ROWS = {POOLED: "averaged features", PICTURED: "CLIP on drawn features"}
LIMIT = Line2D([], [], color=RED, lw=1.2, label="0.7, high correlation")


def layer_grid(table: pd.DataFrame, value: str, line: bool = True) -> Figure:
    """Figures 7, 8 and 9: a row a pair of networks, a column a kind of layer, a bar a layer from input to output.

    ``table`` is one comparison and measure of ``Study.measured``; ``value`` names what the bars are. ``line`` draws the
    limit of 0.7. Pairs with the low-light sets, LOLBlur and the control, have their own colour.
    """
    pairs = dict(list(table.groupby(["first", "second"], sort=False)))
    shape, style = (len(pairs), len(KINDS)), {"width_ratios": [1, 1.7, 1.2, 1], "squeeze": False}
    figure, axes = plt.subplots(*shape, figsize=(7.5, 0.85 * len(pairs) + 0.9), sharey=True, sharex="col", **style)
    for row, ((first, second), here) in zip(axes, pairs.items(), strict=True):
        for axis, kind in zip(row, KINDS, strict=True):
            _bars(axis, here[here.kind == kind], _colour(first, second), line)
        row[0].set_ylabel(f"{first}\n{second}", rotation=0, ha="right", va="center", labelpad=6)
    for axis, kind in zip(axes[-1], KINDS, strict=True):
        axis.set(xlabel=PLURAL[kind], ylim=_limits(table))
    _legend(figure, pairs, line, f"{value}; a bar a layer, from input to output")
    return figure


def pair_panels(table: pd.DataFrame, kind: str = KINDS[0], columns: int = 5) -> Figure:
    """Figure 2: the layers of one kind, a panel a pair of networks, a bar a layer, the limit of 0.7 in red."""
    table = table[table.kind == kind]
    pairs = dict(list(table.groupby(["first", "second"], sort=False)))
    order = sorted(pairs, key=lambda pair: _colour(*pair) == ORANGE)  # the pairs that the caption excepts come last
    rows = -(-len(pairs) // columns)
    style = {"squeeze": False, "sharex": True, "sharey": True}
    figure, axes = plt.subplots(rows, columns, figsize=(7.5, 1.45 * rows + 0.6), **style)
    for axis, pair in zip(axes.flat, order, strict=False):
        _bars(axis, pairs[pair], _colour(*pair), True)
        axis.set(title="{} and\n{}".format(*pair), ylim=_limits(table))
    for axis in axes.flat[len(pairs) :]:
        axis.axis("off")
    figure.supxlabel(f"{PLURAL[kind]}, from input to output")
    figure.supylabel("Pearson's r, mean over filters")
    _legend(figure, order, True)
    return figure


def _bars(axis: plt.Axes, layers: pd.DataFrame, colour: str, line: bool) -> None:
    """One panel: bars in the order of the layers, the middle of the network shaded, constant layers left blank."""
    axis.bar(np.arange(len(layers)), layers.value.fillna(0), width=0.85, color=colour, linewidth=0)
    parts = layers.level.str.split().str[0].replace({"intro": "encoder", "ending": "decoder"}).to_numpy()
    places = {part: np.flatnonzero(parts == part) for part in PARTS if (parts == part).any()}
    if "middle" in places:
        axis.axvspan(places["middle"][0] - 0.5, places["middle"][-1] + 0.5, color="0.92", zorder=0, linewidth=0)
    axis.set_xticks([place.mean() for place in places.values()], [part[:3] for part in places])
    _scale(axis, line)
    axis.set_xlim(-0.8, len(layers) - 0.2)


def _scale(axis: plt.Axes, line: bool = True) -> None:
    """What panels of correlations share: zero, the limit of 0.7, few ticks."""
    if line:
        axis.axhline(HIGH, color=RED, lw=0.9, zorder=3)
    axis.axhline(0, color="0.4", lw=0.6)
    axis.locator_params(axis="y", nbins=4)
    axis.grid(axis="x", visible=False)
    axis.tick_params(length=2)


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    return (min(-0.05, 1.05 * float(table.value.min())), 1.05)


def _colour(first: str, second: str) -> str:
    return ORANGE if first.startswith("LOL") or second.startswith("LOL") else BLUE


def _legend(figure: Figure, pairs: Iterable[tuple[str, str]], line: bool, title: str | None = None) -> None:
    dark = sorted({name for pair in pairs for name in pair if name.startswith("LOL")})
    handles = [Patch(color=BLUE, label="well-lit sets")] if any(_colour(*pair) == BLUE for pair in pairs) else []
    handles += [Patch(color=ORANGE, label=f"with {' or '.join(dark)}")] if dark else []
    legend(figure, [*handles, LIMIT] if line else handles, title=title)


def comparison_boxes(table: pd.DataFrame, measure: str, label: str) -> Figure:
    """Every comparison of notebook 03, a panel a kind of layer: boxes over layers and pairs, the mean as a dot."""
    table = where(table, measure=measure).dropna(subset="value")
    names = [name for name in COMPARISONS if name in set(table.comparison)]
    figure, axes = plt.subplots(1, len(KINDS), figsize=(7.5, 0.36 * len(names) + 1.0), sharey=True, sharex=True)
    dot = {"marker": "o", "markerfacecolor": RED, "markeredgecolor": RED, "markersize": 4}
    style = {"whis": (5, 95), "showfliers": False, "showmeans": True, "meanprops": dot, "widths": 0.6}
    style |= {f"{part}props": {"color": BLUE} for part in ("box", "whisker", "cap", "median")}
    for axis, kind in zip(axes, KINDS, strict=True):
        values = dict(list(where(table, kind=kind).groupby("comparison").value))
        places = [i for i, name in enumerate(names) if name in values]
        axis.boxplot([values[names[i]] for i in places], positions=places, orientation="horizontal", **style)
        for i in {*range(len(names))} - {*places}:
            text = {"ha": "center", "va": "center", "fontsize": 6, "color": "0.35"}
            axis.text(0.1, i, "constant\nbefore training", **text)
        axis.axvline(HIGH, color=RED, lw=0.8, ls="--")
        axis.set(title=PLURAL[kind], xticks=[0, 0.5, 1], xlabel=label)
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    mean = Line2D([], [], marker="o", ls="", color=RED, ms=4, label="mean")
    box = Patch(facecolor="none", edgecolor=BLUE, label="middle half of layers and pairs, whiskers 5 to 95 %")
    legend(figure, [mean, box, Line2D([], [], color=RED, lw=0.8, ls="--", label="0.7")])
    return figure


def expert_bars(correlations: dict[str, pd.DataFrame]) -> Figure:
    """Figure 11: a row a way to start, a column a kind of layer; at each level of the decoder a bar a pair of experts.

    ``correlations``: ``weight_similarity.correlations`` by how the experts started. Layers of a kind within a
    MoEBlock are averaged.
    """
    size = (7.5, 1.7 * len(correlations) + 0.6)
    figure, axes = plt.subplots(len(correlations), len(KINDS), figsize=size, sharex=True, sharey=True, squeeze=False)
    for row, (start, table) in zip(axes, correlations.items(), strict=True):
        table = table.assign(pair=table["first"] + table["second"])
        for axis, kind in zip(row, KINDS, strict=True):
            here, style = where(table, kind=kind), {"saturation": 1, "errorbar": None, "legend": False, "gap": 0.2}
            palette = [BLUE] * here.pair.nunique()
            sns.barplot(here, x="level", y="value", hue="pair", palette=palette, ax=axis, **style)
            _scale(axis)
            axis.tick_params(axis="x", rotation=60)
            axis.set(xlabel=PLURAL[kind], ylabel=f"started {start}\nPearson's r")
            axis.label_outer()
    legend(figure, [Patch(color=BLUE, label="a bar a pair of experts, ten a level"), LIMIT])
    return figure


def expert_matrix(matrices: dict[str, pd.DataFrame]) -> Figure:
    """PSNR of each set (down) restored by each expert (across), a panel a way to start; colour: distance to the row's
    best expert. A frame marks the expert of the set's own blur."""
    size = (3.75 * len(matrices), 3.1)
    figure, axes = plt.subplots(1, len(matrices), figsize=size, squeeze=False, sharey=True)
    tables = {name: table[list(EXPERTS)] for name, table in matrices.items()}
    behind = {name: table.sub(table.max(axis=1), axis=0) for name, table in tables.items()}
    worst = min(-0.1, min(float(table.to_numpy().min()) for table in behind.values()))
    for axis, (name, table) in zip(axes[0], tables.items(), strict=True):
        own = {set_name: EXPERTS[expert_index(set_name)] for set_name in table.index}
        heat_map(axis, behind[name], own, annot=table, cmap="cividis", vmin=worst, vmax=0)
        axis.set_xticklabels([expert.replace("_", "\n") for expert in EXPERTS], fontsize=7, rotation=0)
        axis.set(xlabel="expert chosen by hand", title=f"experts started {name}")
    axes[0, 0].set_ylabel("test set")
    label = "PSNR behind the row's best (dB)"
    figure.colorbar(axes[0, -1].collections[0], ax=list(axes[0]), label=label, shrink=0.9)
    return figure


def encoder_views(points: pd.DataFrame, numbers: pd.DataFrame) -> Figure:
    """Figure 13: t-SNE of the test pictures, a column a baseline, a row a reading, separability above each panel.

    A reading without points has no row: a line below the figure says why.
    """
    baselines, readings, names = points.baseline.unique(), points.reading.unique(), list(points["set"].unique())
    size = (7.6, 2.3 * len(readings) + 0.6)
    figure, axes = plt.subplots(len(readings), len(baselines), figsize=size, squeeze=False)
    style = {
        "palette": {name: COLOURS[EXPERTS[expert_index(name)]] for name in names},
        "markers": dict(zip(names, MARKERS, strict=False)),
        **{"hue": "set", "style": "set", "s": 16, "linewidth": 0.3},
    }
    for row, reading in zip(axes, readings, strict=True):
        for axis, baseline in zip(row, baselines, strict=True):
            number = where(numbers, reading=reading, baseline=baseline).iloc[0]
            sns.scatterplot(where(points, reading=reading, baseline=baseline), x="x", y="y", ax=axis, **style)
            nearest = f"5-NN {number.knn:.2f} (chance {number.knn_shuffled:.2f})"
            title = f"{baseline}\n{nearest}\nsilhouette {round(number.silhouette, 2) + 0:.2f}"
            last = axis.get_subplotspec().is_last_row()
            axis.set(title=title, xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)" if last else "", ylabel="")
            axis.get_legend().remove()
        row[0].set_ylabel(f"{ROWS[reading]}\nt-SNE 2 (no unit)")
    for reading in READINGS:
        if reading not in readings:
            figure.supxlabel(f"No row for {reading}: {where(numbers, reading=reading).note.iloc[0]}.", fontsize=7)
    legend(figure)
    return figure
