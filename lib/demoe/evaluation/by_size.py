"""One network against another on the same pictures, and on parts of them of several sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from torch import nn

from demoe.data.pairs import PairedSet, Window
from demoe.inference.restore import restore

from .benchmark import score
from .methods import Method
from .statistics import differences


def restorations(networks: Mapping[str, nn.Module]) -> dict[str, Method]:
    """The networks as ``benchmark.score`` takes them, DeMoE with the router's best expert."""
    return {name: lambda image, pairs, model=model: restore(model, image).image for name, model in networks.items()}


def network_gains(scores: pd.DataFrame, compared: Sequence[tuple[str, str]], seed: int = 0) -> pd.DataFrame:
    """What one network gains over another on the same pictures, with its interval, for each pair of ``compared``.

    Columns: network, plain (the two names), then set, metric, mean, low, high, images, missing, scenes as in
    ``statistics.difference``. Raises ``ValueError`` for a name that has no scores.
    """
    return differences(scores, compared, seed).rename(columns={"first": "network", "second": "plain"})


def gains_by_size(
    sets: Sequence[PairedSet],
    networks: Mapping[str, nn.Module],
    compared: Sequence[tuple[str, str]],
    sides: Sequence[int],
    device: str = "cpu",
    seed: int = 0,
    count: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """``network_gains`` in PSNR (dB) on the middles of the same pictures, for each of ``sides`` (pixels).

    ``compared`` are pairs of names in ``networks``; ``count`` pictures a set at most. Columns: side, then those of
    ``network_gains``.
    """
    wanted = {name: networks[name] for pair in compared for name in pair}
    parts = {}
    for side in sides:
        middles = [centre(pairs, side, count) for pairs in sets]
        scores = score(middles, restorations(wanted), device, progress, measured=("psnr",))
        parts[side] = network_gains(scores, compared, seed)
    return pd.concat(parts, names=["side"]).reset_index("side").reset_index(drop=True)


def centre(pairs: PairedSet, side: int, count: int | None = None) -> PairedSet:
    """The middle of each picture, ``side`` pixels high and wide where the picture is; ``count`` keeps the first ones.

    Raises ``ValueError`` for a side under one pixel.
    """
    if side < 1:
        raise ValueError(f"the middle of a picture has at least one pixel a side, got {side}")

    def place(i: int) -> Window:
        height, width = pairs.size(i)
        rows, columns = min(side, height), min(side, width)
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def read(i: int, window: Window | None = None):
        top, left, rows, columns = place(i)
        if window is not None:  # a part of the middle
            top, left, rows, columns = top + window[0], left + window[1], *window[2:]
        return pairs.read(i, (top, left, rows, columns))

    keys = tuple(pairs.keys)[:count]
    return replace(pairs, keys=keys, read=read, size=lambda i: place(i)[2:], notes=tuple(pairs.notes)[: len(keys)])
