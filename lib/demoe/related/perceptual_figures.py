"""Notebook 11: figures."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from demoe.evaluation import statistics
from demoe.report.figures import BLUE, COLOURS, GREY, MARKERS, ORANGE, RED, legend, show
from demoe.report.tables import where

from .perceptual_report import DISTANCES, INPUT, NOTHING, RANDOM, START, looks_through, means
from .perceptual_study import BLOCK, PIXELS, blurred, self_similarity


def similarity_figure(vits: Mapping[str, object], picture: Tensor, place: tuple[float, float] = (0.5, 0.5)) -> Figure:
    """Figures 1 and 2: how alike the patch at ``place``, shares of height and width, is to all others, for pixels and
    each transformer; the sharp picture, (3, H, W), above the blurred one."""
    kinds = {PIXELS: None, **vits}
    figure, axes = plt.subplots(2, 1 + len(kinds), figsize=(2.1 * (1 + len(kinds)), 4.5), squeeze=False)
    for row, image in zip(axes, (picture, blurred(picture)), strict=True):
        show(row[0], image, "sharp" if image is picture else "blurred, 9 pixels")
        row[0].plot(place[1] * image.shape[2], place[0] * image.shape[1], "*", color=RED, ms=9)
        for axis, (name, vit) in zip(row[1:], kinds.items(), strict=True):
            similar, (rows, columns) = self_similarity(vit, image)
            at = int(place[0] * rows) * columns + int(place[1] * columns)
            axis.imshow(similar[at].view(rows, columns).numpy(), cmap="jet", vmin=-1 if vit is None else 0, vmax=1)
            axis.plot(at % columns, at // columns, "*", color="white", ms=7)
            axis.set_title(name if vit is None else f"ViT {name}, block {BLOCK}")
            axis.axis("off")
    return figure


def cost_figure(costs: pd.DataFrame, label: str) -> Figure:
    """Figure 8, times: ``perceptual_study.costs`` by blocks and by the share of patches left out."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    depth = where(costs, mask_ratio=0.0)
    masks = where(costs, blocks=BLOCK + 1)
    axes[0].plot(depth.blocks, 1e3 * depth.seconds, "o-", color=BLUE)
    axes[1].plot(100 * masks.mask_ratio, 1e3 * masks.seconds, "o-", color=ORANGE)
    axes[0].set(xlabel="blocks, nothing left out", ylabel=f"ms, loss and gradient ({label})", ylim=(0, None))
    axes[1].set(xlabel=f"patches left out (%), {BLOCK + 1} blocks")
    return figure


def linear(costs: pd.DataFrame) -> str:
    """What ``perceptual_study.costs`` says of Figure 8 in words: measured once, so that it is no claim."""
    depth, masks = where(costs, mask_ratio=0.0), where(costs, blocks=BLOCK + 1).set_index("mask_ratio").seconds
    line = stats.pearsonr(depth.blocks, depth.seconds).statistic ** 2
    return (
        f"time by blocks on a line: R² {line:.3f}; with half of the patches left out {masks[0.5] / masks[0]:.2f} times"
    )


def checkpoint_figure(errors: pd.DataFrame) -> Figure:
    """Figure 4: each loss while a network learns, as a share of its first value."""
    figure, axis = plt.subplots(figsize=(5, 3))
    for (name, part), style in zip(errors.groupby("loss", sort=False), ("o-", "s-", "D-", "^-"), strict=False):
        axis.plot(part.step, part.share, style, ms=4, label=name)
    axis.set(xlabel="step", ylabel="share of the first value")
    axis.legend()
    return figure


def plane(scores: pd.DataFrame) -> Figure:
    """PSNR against the distance in each network; hollow where that network was in the loss."""
    table = means(scores).drop(index=[INPUT, START], errors="ignore")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for axis, name in zip(axes, DISTANCES, strict=True):
        for i, (row, values) in enumerate(table.iterrows()):
            colour = GREY if row in (NOTHING, "half-more", RANDOM) else [*COLOURS.values()][i % len(COLOURS)]
            face = "none" if looks_through(row) == name else colour
            style = {"marker": MARKERS[i % len(MARKERS)], "mec": colour, "mfc": face, "ls": ""}
            axis.plot(values.psnr, values[name], label=row, **style)
        axis.set(xlabel="PSNR (dB)", ylabel=f"{statistics.LABELS[name]}")
        axis.locator_params(axis="x", nbins=4)
    legend(figure, place="right center", ncols=1)
    return figure
