"""Notebook 15, blur or camera: the router's answers to one blur through other cameras, in tables, figures, rows."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from demoe.core.tasks import DATASETS, TASKS
from demoe.evaluation.counterfactual import CAMERAS, CHANGES, COLUMNS, NATIVE, SHARED
from demoe.evaluation.statistics import scene

from .claims import FAILS, HOLDS, UNDECIDED, Claim, claim
from .figures import COLOURS, GREY, MARKERS, ORANGE, heat_map, legend
from .router_claims import share_interval
from .tables import Read, number, where

REACHED = (
    0.8  # of answers to blur through the cameras of other sets; what we ask of a router that sees blur; our choice
)
LEARNT = 0.5  # of answers to each set's own camera, below which a router has learnt nothing to be tested; our choice
OTHER = "cameras of other sets"
PALETTE = {task.dataset: COLOURS[task.expert] for task in TASKS}


def other_cameras(routing: pd.DataFrame) -> pd.DataFrame:
    """The rows in which a blur is seen through the camera of another set."""
    return routing[routing.capture.isin(CAMERAS) & (routing.capture != routing.blur)]


def accuracy_table(read: Read) -> pd.DataFrame:
    """Right answers in percent, a row a network, a column a camera or change; the means over the five blurs."""
    return _shares(read("15_accuracy"), lambda part: part.groupby("network", sort=False))


def matrix_table(read: Read) -> pd.DataFrame:
    """The same, a row a network and blur."""
    return _shares(read("15_accuracy"), lambda part: part.groupby(["network", "blur"], sort=False))


def _shares(accuracy: pd.DataFrame, grouped) -> pd.DataFrame:
    cells = {
        capture: grouped(where(accuracy, capture=capture)).accuracy.mean().map(lambda one: number(100 * one, 0))
        for capture in COLUMNS
    }
    other = accuracy[accuracy.capture.isin(CAMERAS) & (accuracy.capture != accuracy.blur)]
    cells[OTHER] = grouped(other).accuracy.mean().map(lambda one: number(100 * one, 0))
    return pd.DataFrame(cells).rename_axis(columns=None)


def information_table(read: Read) -> pd.DataFrame:
    """Bits of the router's choice that blur and camera explain, and by chance."""
    found = read("15_information").set_index("network")
    heads = {
        "choice": "entropy of the choice",
        "blur": "explained by the blur",
        "camera": "by the camera",
        "by_chance": "either, by chance",
    }
    bits = found[list(heads)].map(lambda one: number(one, 2)).rename(columns=heads)
    for cause in ("blur", "camera"):
        bits[f"share of the {cause}"] = found[f"{cause}_share"].map(lambda one: f"{one:.0%}")
    return bits


def clusters_table(read: Read) -> pd.DataFrame:
    """How well neighbours in the encoder's features name the blur, and the camera."""
    found = read("15_clusters")
    cells = {
        (f"by {cause}", head): where(found, by=cause)
        .set_index("network")[column]
        .map(lambda one, d=digits: number(one, d))
        for cause in ("blur", "camera")
        for column, head, digits in (("knn", "5 nearest neighbours", 2), ("silhouette", "silhouette", 2))
    }
    cells["", "neighbours, names shuffled"] = (
        where(found, by="blur").set_index("network").knn_shuffled.map(lambda one: number(one, 2))
    )
    return pd.DataFrame(cells)


def matrices(accuracy: pd.DataFrame) -> Figure:
    """The share of right answers, a panel a network: blur down, camera or change across. Framed: the own camera."""
    networks = list(accuracy.network.unique())
    figure, axes = plt.subplots(len(networks), 1, figsize=(10, 2.6 * len(networks) + 0.6), squeeze=False, sharex=True)
    for axis, name in zip(axes[:, 0], networks, strict=True):
        shown = where(accuracy, network=name).pivot(index="blur", columns="capture", values="accuracy")
        ordered = shown.loc[list(DATASETS), list(COLUMNS)]
        heat_map(axis, ordered, {one: one for one in DATASETS}, vmin=0, vmax=1, xticklabels=list(COLUMNS))
        for edge in (3, 3 + len(CAMERAS)):
            axis.axvline(edge, color="white", lw=4)
        axis.set(title=name, ylabel="blur of")
    plt.setp(axes[-1, 0].get_xticklabels(), rotation=30, ha="right")
    axes[-1, 0].set_xlabel("camera (its own, shared, none, of each set), or the set's own picture after a change")
    return figure


def explained(information: pd.DataFrame) -> Figure:
    """Bits of each router's choice that the blur and the camera explain; a line at what chance gives."""
    figure, axis = plt.subplots(figsize=(6.5, 0.9 + 0.55 * len(information)))
    long = information.melt(["network", "by_chance"], ["blur", "camera"], "cause", "bits")
    palette = {"blur": PALETTE["DPDD"], "camera": ORANGE}
    sns.barplot(long, x="bits", y="network", hue="cause", palette=palette, saturation=1, ax=axis)
    for bars in axis.containers:
        axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    chance = float(information.by_chance.max())
    axis.axvline(chance, color=GREY, ls="--", lw=1.2)
    axis.set(xlim=(0, 1.15 * np.log2(len(DATASETS))), ylabel="")
    axis.set_xlabel("mutual information with the router's choice (bits; at most 2.32 together)")
    axis.get_legend().remove()
    axis.grid(axis="y", visible=False)
    handles: list = [Patch(color=colour, label=f"by the {cause}") for cause, colour in palette.items()]
    handles.append(Line2D([], [], color=GREY, ls="--", label="by chance"))
    legend(figure, handles)
    return figure


def clustered(points: pd.DataFrame, clusters: pd.DataFrame) -> Figure:
    """t-SNE of what encoders see, the same points twice: coloured by blur, and by camera. A row a network."""
    networks = list(points.network.unique())
    figure, axes = plt.subplots(len(networks), 2, figsize=(7.6, 3.3 * len(networks) + 0.4), squeeze=False)
    for row, name in zip(axes, networks, strict=True):
        part = where(points, network=name)
        for axis, cause in zip(row, ("blur", "camera"), strict=True):
            for marker, dataset in zip(MARKERS, DATASETS, strict=False):
                one = part[part[cause] == dataset]
                axis.scatter(one.x, one.y, s=14, marker=marker, color=PALETTE[dataset], lw=0, label=dataset)
            knn = where(clusters, network=name, by=cause).knn.iloc[0]
            axis.set_title(f"{name}\nby {cause}: neighbours right {knn:.0%}", fontsize=9)
            axis.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)")
        row[0].set_ylabel("t-SNE 2 (no unit)")
    legend(figure, axes[0, 0].get_legend_handles_labels()[0])
    return figure


def claims(
    routing: pd.DataFrame, information: pd.DataFrame, clusters: pd.DataFrame, networks: dict[str, str]
) -> list[Claim]:
    """Rows a network of ``networks``, its name in the tables by the word that its ids begin with.

    Undecided where the router is not even right on the sets as they are: then it has learnt neither blur nor camera.
    """
    rows = []
    for word, name in networks.items():
        part = where(routing, network=name)
        native = float(part[part.capture == NATIVE].correct.mean())
        learnt = native > LEARNT
        other = other_cameras(part)
        share, changed = float(other.correct.mean()), float(part[part.capture.isin(CHANGES)].correct.mean())
        low, high = share_interval(share, len(_scenes(other)))
        reached = HOLDS if low > REACHED else FAILS if high < REACHED else UNDECIDED
        names = {"network": word, "native": native, "changed": changed, "pictures": len(other)}
        names |= {"scenes": len(_scenes(other))}
        names |= {"shared": float(part[part.capture == SHARED].correct.mean())}
        holds = reached if learnt else UNDECIDED
        rows.append(claim("{network}-router-blur", share, holds=holds, low=low, high=high, **names))
        row = where(information, network=name).iloc[0]
        verdict = (HOLDS if row.blur > row.camera else FAILS) if learnt else UNDECIDED
        names = {"network": word, "camera": row.camera_share, "chance": row.by_chance, "bits": row.choice}
        rows.append(claim("{network}-router-information", row.blur_share, holds=verdict, **names))
        knn = where(clusters, network=name).set_index("by").knn
        shuffled = where(clusters, network=name).knn_shuffled.mean()
        verdict = (HOLDS if knn["blur"] > knn["camera"] else FAILS) if learnt else UNDECIDED
        names = {"network": word, "camera": knn["camera"], "chance": shuffled}
        rows.append(claim("{network}-encoder-blur", knn["blur"], holds=verdict, **names))
    return rows


def _scenes(seen: pd.DataFrame) -> set[str]:
    """The sharp sources of views: one is seen under several kinds of blur, and through every camera."""
    return {scene("-syn", key) for key in seen["image"]}
