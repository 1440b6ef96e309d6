"""Notebook 02, the datasets: their sizes, gallery, error histograms, embedded pictures, and what was found, as rows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from demoe.core.paper import published
from demoe.core.tasks import EXPERTS, TASKS
from demoe.data.composition import BINS, histogram, published_sizes
from demoe.data.pairs import PairedSet
from demoe.data.real.catalog import OOD_EXPERT, expert_label

from .claims import Claim, claim
from .figures import COLOURS, MARKERS, legend, show
from .tables import bare, where

MADE = ("LOLBlur", "GoPro")  # sets whose blur was made of videos: not "real-world" in Figure 4
OTHER_BLUR = {"RSBlur": "camera and object motion"}  # than that of its expert's set


def published_pairs(table: str) -> pd.DataFrame:
    """Numbers of pairs that the paper gives in a figure or table: sets down, what is counted across."""
    return where(published(), table=table).pivot(index="dataset", columns="metric", values="value")


def sizes(training: Sequence[PairedSet], test: Sequence[PairedSet], data: str) -> pd.DataFrame:
    """Figure 4, right: pairs to train on and to evaluate with, the paper's and those at hand (``data``), whether the
    real set shows the real world, and its type of blur in the paper's words, a row a set."""
    theirs = published_pairs("figure4_datasets").rename(columns={"eval": "evaluation"})[["train", "evaluation"]]
    counts = [{bare(pairs.name): len(pairs) for pairs in sets} for sets in (training, test)]
    ours = pd.DataFrame(dict(zip(theirs, counts, strict=True)), index=[*counts[0], *OOD_EXPERT])
    both = theirs.add_prefix("paper ").join(ours.add_prefix(f"{data} "), how="right").astype("Int64")
    both["real-world"] = ["no" if name in MADE else "yes" for name in both.index]
    both["blur type"] = [OTHER_BLUR.get(name) or TASKS[expert_label(name)].blur for name in both.index]
    return both.rename_axis("set").reset_index()


def table_4(originals: Sequence[PairedSet], composed: Sequence[PairedSet], data: str) -> pd.DataFrame:
    """Table 4: pairs of each set as they are and as an epoch shows them, and their shares of it; the paper's first."""
    sides = {"original": originals, "final": composed}
    names = [bare(pairs.name) for pairs in originals]
    ours = pd.DataFrame({f"{data} {side}": [len(pairs) for pairs in sets] for side, sets in sides.items()}, names)
    ours.loc["AIO-Blur"] = ours.sum()
    theirs = published_pairs("table4_aio_blur")[[f"{side}_samples" for side in sides]].astype(int)
    table = theirs.set_axis([f"paper {side}" for side in sides], axis=1).join(ours, how="right")
    for of in ("paper", data):
        table[f"{of} share"] = table[f"{of} final"] / table.loc["AIO-Blur", f"{of} final"]
    return table


def gallery(samples: list[tuple[str, Tensor, Tensor | None, str]], columns: int = 3) -> Figure:
    """Blurred and sharp side by side with what was done, a block a sample: (name, blurred, sharp or None, note)."""
    rows = -(-len(samples) // columns)
    figure = plt.figure(figsize=(3.2 * columns, 2.15 * rows))
    blocks = figure.subfigures(rows, columns, squeeze=False, wspace=0.03, hspace=0.02)
    for block in blocks.flat[len(samples) :]:
        block.set_visible(False)
    for block, (name, blurred, sharp, note) in zip(blocks.flat, samples, strict=False):
        block.suptitle(name, fontsize=9, fontweight="bold")
        left, right = block.subplots(1, 2)
        show(left, blurred, "input")
        if sharp is None:
            right.axis("off")
            right.text(0.5, 0.5, "no sharp picture", ha="center", va="center", fontsize=8, transform=right.transAxes)
        else:
            show(right, sharp, "sharp")
        block.supxlabel("\n".join(textwrap.wrap(note, 46)), fontsize=7)
    return figure


def error_histograms(errors: np.ndarray, name: str) -> Figure:
    """Figure 10: errors of the blurred pictures of LOLBlur, in many bins and in the four that pairs are drawn from."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9))
    left.hist(errors, bins=min(50, max(5, len(errors) // 6)), color="#0072B2")
    left.set(title=f"{name}: distribution of the error", xlabel="MSE, pictures in [0, 1]", ylabel="pairs")
    edges, place = histogram(errors)
    counts = np.bincount(place, minlength=BINS)
    colours = ["#0072B2"] * (BINS - 1) + ["#999999"]
    bars = right.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours, edgecolor="white")
    right.bar_label(bars, labels=[*map(str, counts[:-1]), f"{counts[-1]}, left out"], padding=2, fontsize=8)
    right.set(title="The four bins that pairs are drawn from", xlabel="MSE, pictures in [0, 1]", ylabel="pairs")
    right.margins(y=0.12)
    return figure


def scatters(panels: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> Figure:
    """Embedded pictures (N, 2), their sets (N,) and a title, a panel each: coloured by the blur of their set; sets
    outside AIO-Blur are hollow."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.9 * len(panels) + 1.6, 3.9), squeeze=False)
    for axis, (points, groups, title) in zip(axes[0], panels, strict=True):
        for i, name in enumerate(dict.fromkeys(groups)):
            colour = COLOURS[EXPERTS[expert_label(name)]]
            hollow = name.removesuffix("-syn") in OOD_EXPERT
            edge, face = (colour, "none") if hollow else ("white", colour)
            style = {"marker": MARKERS[i % len(MARKERS)], "edgecolors": edge, "facecolors": face, "lw": 0.9, "s": 22}
            axis.scatter(*points[groups == name].T, label=name, **style)
        axis.set(xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)", xticks=[], yticks=[])
        axis.set_title(title, fontsize=8)
    legend(figure, place="right center", ncols=1, title="test set")
    return figure


def claims(
    strength: pd.DataFrame, shares: pd.DataFrame, errors: np.ndarray, separable: pd.DataFrame, missing: str
) -> list[Claim]:
    """Notebook 02: ``blur_strength``'s table, ``shares`` with the columns here and paper, a row a set, LOLBlur's
    ``composition.errors``, the numbers of ``embedding.separability`` with the column features (whose they are; the
    first row decides), and why CLIP's features are missing, "" where they are not."""
    printed = published_pairs("table4_aio_blur")
    ruled = published_sizes(printed.original_samples.drop("AIO-Blur").astype(int).to_dict()).final
    wanted = printed.final_samples.astype(int)
    differing = [f"{name} {size} for {wanted[name]}" for name, size in ruled.items() if size != wanted[name]]
    bins = np.bincount(histogram(errors)[1], minlength=BINS) / len(errors)
    off = strength[~strength.within]
    outside = ", ".join(f"{row.set} {row.difference:+.1f} dB" for row in off.itertuples())
    apart = (shares.here - shares.paper).abs()
    test = "; no test of the paper's claim: this encoder was trained to tell these sets apart, CLIP was not"
    eyes = separable[separable["of"] == "features"]
    first = eyes.iloc[0]
    holds = None if missing else first.silhouette > 0.25 and first.knn > 3 * first.knn_shuffled
    told = [f"; {row.features}: silhouette {row.silhouette:.2f}, {row.knn:.0%}" for row in eyes[1:].itertuples()]
    names = {"knn": first.knn, "chance": first.knn_shuffled, "test": (test if missing else "") + "".join(told)}
    return [
        claim("demoe-data-calibration", strength.within.sum(), outside, unit=f"of {len(strength)}"),
        claim("demoe-t4-shares", apart.max(), str(apart.idxmax())),
        claim(
            "demoe-t4-counts", len(ruled) - len(differing), ", ".join(differing), not differing, unit=f"of {len(ruled)}"
        ),
        claim("demoe-f10-bins", bins[2], f"the bins hold {', '.join(f'{share:.0%}' for share in bins)}"),
        claim("demoe-f4-separable", first.silhouette, holds=holds, **names),
    ]
