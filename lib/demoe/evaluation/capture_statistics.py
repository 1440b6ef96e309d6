"""What a camera leaves in a picture: gradients, fine detail, noise, blocks of JPEG, brightness. No network, no kind of
blur.

Two uses: synthetic pictures should have these as real photographs do; and where kinds of blur differ in them, a network
can tell the kinds without a look at the blur.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor

from demoe.inference.guard import blockiness

MEASURES = ("gradient", "detail", "noise", "chroma", "blockiness", "brightness")


def measure(image: Tensor) -> dict[str, float]:
    """Of one picture (3,H,W) in [0,1], each side 17 pixels or more; in 8-bit levels of its luma where not said.

    ``gradient``: mean absolute difference of neighbours. ``detail``: the variance above a quarter of the sampling
    frequency, levels squared. ``noise``: standard deviation by the median of diagonal Haar coefficients (Donoho and
    Johnstone 1994), which edges hardly move. ``chroma``: the same of the difference of red and blue. ``blockiness``:
    ``inference.guard``'s; 1: no grid of 8 pixels.
    ``brightness``: the mean. Raises ``ValueError`` for a smaller picture.
    """
    if min(image.shape[1:]) < 17:
        raise ValueError(f"a picture of {image.shape[2]}x{image.shape[1]} pixels is too small: 17 a side are needed")
    red, green, blue = (255 * image.double()).unbind(0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    steps = luma.diff(dim=0).abs(), luma.diff(dim=1).abs()
    window = torch.outer(*(torch.hann_window(side, dtype=torch.float64) for side in luma.shape))
    power = torch.fft.fft2((luma - luma.mean()) * window).abs().square() / window.square().sum() / luma.numel()
    y, x = (torch.fft.fftfreq(side, dtype=torch.float64) for side in luma.shape)
    return {
        "gradient": float(sum(one.mean() for one in steps) / 2),
        "detail": float(power[torch.hypot(y[:, None], x[None]) > 0.25].sum()),
        "noise": _sigma(luma),
        "chroma": _sigma(red - blue),
        "blockiness": blockiness(luma),
        "brightness": float(luma.mean()),
    }


def _sigma(plane: Tensor) -> float:
    """Standard deviation of noise from the diagonal Haar coefficients of (H,W)."""
    rows = plane[1:] - plane[:-1]
    diagonal = (rows[:, 1:] - rows[:, :-1]) / 2
    return float(diagonal.abs().median() / 0.6745)


def table(pictures: Iterable[tuple[str, Tensor]]) -> pd.DataFrame:
    """A row a picture: its group's name in ``set``, and ``MEASURES``."""
    return pd.DataFrame([{"set": name, **measure(image)} for name, image in pictures], columns=["set", *MEASURES])


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """The medians of each set, with the number of its pictures, in the order of their first rows."""
    grouped = rows.groupby("set", sort=False)
    return grouped[list(MEASURES)].median().assign(pictures=grouped.size()).reset_index()
