"""Pictures of the router: Figure 12, its choices, its calibration, its signs of doubt, and what choosing is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from demoe.core.tasks import EXPERTS, TASKS
from demoe.evaluation import expert_choice
from demoe.evaluation.metrics import busiest_window

from .figures import BLUE, GREY, ORANGE, choices, frame, heat_map, intervals, legend, pictures, show
from .tables import where

MIDDLE = 256  # pixels a side of what is shown of a picture
ZOOM = 5  # a fifth of its shorter side is shown enlarged
DARK, SHOWN = 0.2, 0.3  # pictures whose input's median is below the one are shown brightened to the other
GROUPS = {"inside": "in distribution", "outside": "out of distribution"}
SIGNS = {
    "normalised_entropy": "normalised entropy of the softmax (0 to 1)",
    "distance": "distance to known features (0 to 2)",
}


def heat_maps(routing: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> Figure:
    """Figure 12 (above): the router's average output; below, which expert it chooses. A column a group of sets.

    A frame marks the expert of the set's blur; for a set outside AIO-Blur, the one that the paper chooses by hand.
    """
    most = max(len(names) for names in groups.values())
    figure, axes = plt.subplots(2, len(groups), figsize=(9.5, 1.6 + 0.75 * most), squeeze=False)
    labels = [f"{task.expert}\n({task.dataset})" for task in TASKS]
    for (above, below), (group, names) in zip(axes.T, groups.items(), strict=True):
        part = routing[routing["set"].isin(names)]
        own = part.groupby("set", sort=False).label.first().to_dict()
        average = part.groupby("set", sort=False)[list(EXPERTS)].mean()
        heat_map(above, average, own, vmin=0, vmax=1, xticklabels=False)
        heat_map(below, choices(part, "set").loc[list(own)], own, vmin=0, vmax=1)
        below.set_xticklabels(labels, fontsize=7, rotation=30, ha="right")
        above.set_title(f"{GROUPS.get(group, group)}: mean softmax weight")
        below.set_title(f"{GROUPS.get(group, group)}: share of pictures sent there")
    return figure


def reliability(bins: pd.DataFrame, errors: pd.DataFrame) -> Figure:
    """Reliability diagrams, a panel a group of ``router.calibration``: accuracy against confidence, pictures a bin."""
    groups = list(errors.group.unique())
    style = {"figsize": (3.2 * len(groups), 4.6), "height_ratios": [3, 1], "squeeze": False, "sharex": True}
    figure, axes = plt.subplots(2, len(groups), **style)
    styles = ({"color": BLUE, "marker": "o", "ls": "-"}, {"color": ORANGE, "marker": "s", "ls": ":"})
    for (above, below), group in zip(axes.T, groups, strict=True):
        above.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="calibrated")
        for row, style, shift in zip(where(errors, group=group).itertuples(), styles, (0.03, 0.51), strict=True):
            part = where(bins, group=group, temperature=row.temperature)
            name = "as it is" if row.temperature == 1 else f"temperature {row.temperature:.2f}"
            label = f"{name}, error {row.ece:.3f}"
            above.plot("confidence", "accuracy", data=part[part["count"] > 0], label=label, lw=1.2, ms=5, **style)
            width = part.high - part.low
            below.bar(part.low + shift * width, part["count"], width * 0.45, align="edge", color=style["color"])
        above.set(xlim=(0, 1), ylim=(-0.03, 1.03), title=group)
        below.set(xlabel="confidence (largest softmax weight)")
        below.legend(*above.get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, -0.55))
    axes[0, 0].set_ylabel("accuracy (share right)")
    axes[1, 0].set_ylabel("pictures")
    return figure


def signs(routing: pd.DataFrame, limits: Mapping[str, float], groups: Mapping[str, Sequence[str]]) -> Figure:
    """The two signs that a picture is unknown, a mark a picture, with each gate's limit (not from these pictures)."""
    names = [name for sets in groups.values() for name in sets]
    figure, axes = plt.subplots(1, 2, figsize=(9, 0.6 + 0.36 * len(names)), sharey=True)
    styles = {"inside": {"color": BLUE, "marker": "o"}, "outside": {"color": ORANGE, "marker": "^"}}
    for axis, (sign, head) in zip(axes, SIGNS.items(), strict=True):
        for i, name in enumerate(names):
            values = where(routing, set=name)[sign].to_numpy()
            places = i + np.linspace(-0.25, 0.25, len(values))
            axis.scatter(
                values, places, s=12, alpha=0.6, lw=0, **styles["inside" if name in groups["inside"] else "outside"]
            )
            axis.plot([np.median(values)] * 2, [i - 0.35, i + 0.35], color="black", lw=1.4)
        axis.axvline(limits[sign], color=GREY, ls="--", lw=1.2)
        axis.text(limits[sign], -0.75, " limit", fontsize=7, color="0.3", ha="left", va="center")
        axis.set(xlabel=head, ylim=(len(names) - 0.4, -1.1))
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(names)), names)
    keys = [Line2D([], [], ls="", ms=4, label=f"a picture, {GROUPS[name]}", **style) for name, style in styles.items()]
    keys += [
        Line2D([], [], color="black", marker="|", ls="", ms=9, mew=1.4, label="median of the set"),
        Line2D([], [], color=GREY, ls="--", lw=1.2, label="limit: 95 % of the pictures it is set by stay below"),
    ]
    legend(figure, keys, ncols=2)
    return figure


def worth(comparison: pd.DataFrame) -> Figure:
    """What each way of choosing gives over the router's k=1, with its interval, in and out of distribution.

    Among them what needs no choice: the untouched input and the baseline. Beside a method that changes only some of
    the pictures stands how many.
    """
    methods = [name for name in expert_choice.METHODS if name != expert_choice.ROUTER]
    plain, needy = (expert_choice.INPUT, expert_choice.BASELINE), expert_choice.NEEDS
    styles = [("black", "D") if name in plain else (ORANGE, "s") if name in needy else (BLUE, "o") for name in methods]
    figure, axes = plt.subplots(1, 2, figsize=(9, 0.9 + 0.33 * len(methods)), sharey=True)
    for axis, (group, title) in zip(axes, GROUPS.items(), strict=True):
        by = where(comparison, group=group, set="Average", quantity="gain").set_index("method").reindex(methods)
        for i, (colour, marker) in enumerate(styles):
            row = by.iloc[i]
            intervals(axis, [i], by.iloc[[i]], fmt=marker, color=colour)
            if row.changed < row.pictures:
                text = f"{row.changed:.0f} of {row.pictures:.0f}"
                axis.text(1.01, i, text, fontsize=7, va="center", transform=axis.get_yaxis_transform())
        axis.axvline(0, color=GREY, lw=1, ls="--")
        axis.set(xlabel="PSNR over the router's k=1 (dB)", title=title)
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(methods)), [f"{name} *" if name in needy else name for name in methods])
    axes[0].invert_yaxis()
    note = (
        "* and squares: needs the set's name or sharp pictures. Diamonds: no expert is chosen. Bars: 95 % "
        "bootstrap intervals.\nAt the right: how many pictures get another choice than the router's (all, where "
        "nothing stands)."
    )
    figure.supxlabel(note)
    return figure


def shown_pictures(routing: pd.DataFrame, name: str) -> list[str]:
    """The pictures of a set that Figure 14 shows, by rule: those of the median and of the least router confidence.

    Confidence is the largest softmax weight: known without sharp pictures, blind to what the experts make of a picture.
    """
    part = where(routing, set=name)
    confidence = part[list(EXPERTS)].max(axis=1).to_numpy()
    order = np.argsort(confidence, kind="stable")
    return [part.image.iloc[order[place]] for place in dict.fromkeys([(len(part) - 1) // 2, 0])]


def examples(pictures_shown: Sequence[tuple[str, str, list[tuple[str, Tensor]]]]) -> Figure:
    """Figure 14: ``expert_choice.examples``, one a row.

    Of large pictures the middle ``MIDDLE`` pixels are shown. The inset enlarges the framed square, that in which the
    input varies most. Dark pictures are multiplied by one factor in all columns, which stands beside the row.
    """
    rows, labels, places = [], [], []
    for name, key, images in pictures_shown:
        given = _middle(images[0][1])
        factor = brightening(given)
        rows.append([(title, (factor * _middle(image)).clamp(0, 1)) for title, image in images])
        labels.append(f"{name}\n{key}" + (f"\nshown {factor:.1f} x brighter" if factor > 1 else ""))
        places.append(busiest(given))
    figure = pictures(rows, labels, width=1.7)
    for axes, row, place in zip(np.array(figure.axes).reshape(len(rows), -1), rows, places, strict=True):
        for axis, (_, image) in zip(axes, row, strict=False):
            _enlarge(axis, image, *place)
    return figure


def brightening(image: Tensor) -> float:
    """1, or for a dark picture (3, H, W) in [0, 1] what brings its median to ``SHOWN``: lamps do not count."""
    middle = float(image.median())
    return 1.0 if middle >= DARK else round(SHOWN / max(middle, 0.01), 1)


def busiest(image: Tensor) -> tuple[int, int, int]:
    """Top, left and side of that square of (3, H, W), a ``ZOOM``-th of its shorter side, in which it varies most."""
    side = max(2, min(image.shape[-2:]) // ZOOM)
    return *busiest_window(image.detach().mean(0, keepdim=True), (side, side)), side


def _enlarge(axis: plt.Axes, image: Tensor, top: int, left: int, side: int) -> None:
    """Frames a square of a picture, and shows it enlarged in that corner which is farther from it."""
    frame(axis, top, left, side, side, ORANGE, 1.0)
    across = 0.54 if left + side / 2 < image.shape[-1] / 2 else 0.0
    inset = axis.inset_axes((across, 0.0 if top + side / 2 < image.shape[-2] / 2 else 0.54, 0.46, 0.46))
    show(inset, image[..., top : top + side, left : left + side])
    frame(inset, 0, 0, side, side, ORANGE, 2.0)


def _middle(image: Tensor) -> Tensor:
    top, left = (max(0, (side - MIDDLE) // 2) for side in image.shape[-2:])
    return image[..., top : top + MIDDLE, left : left + MIDDLE]
