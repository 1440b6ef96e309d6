"""The maps on their way through a network in strips: kept in memory, or given strip by strip; and from size to size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from .fold import made
from .operations import add_shuffled, convolution, packed, shuffled

Source = Callable[[], Iterator[Tensor]]  # gives a map's strips from the top, as often as it is called
CACHED = 4 << 20  # bytes of a strip in a block's passes, our choice: with less, calls cost what caches gain


class Kept:
    """A map in memory, or several: strips are views of it, so that later results can take its place."""

    def __init__(self, maps: Sequence[Tensor], rows: int | None):
        self.maps = maps  # (1, C, H, W) each
        self.rows = rows  # of a strip for whoever does not choose; None: maps that are pictures of their own, uncut
        first = maps[0]
        pairs = CACHED // (2 * first.element_size() * first.shape[1] * first.shape[3])
        self.cached = rows and 2 * max(1, pairs)  # rows of a strip that stays in the processor's cache

    def __call__(self) -> Iterator[Tensor]:
        return iter(self.cut(self.rows))

    def cut(self, rows: int | None) -> list[Tensor]:
        return list(self.maps) if rows is None else list(self.maps[0].split(rows, dim=2))

    def around(self, rows: int | None) -> Iterator[tuple[Tensor, int, int]]:
        """The strips of ``cut``, each with the row above it and the one below, and how many of these there are."""
        for whole in self.maps:
            height = whole.shape[2]
            for top in range(0, height, rows or height):
                bottom = min(top + (rows or height), height)
                above, below = int(top > 0), int(bottom < height)
                yield whole[:, :, top - above : bottom + below], above, below

    def replace(self, strips: Iterable[Tensor], rows: int | None) -> Kept:
        """The same memory with other content. A strip may be computed from this map's at its place and below."""
        for place, strip in zip(self.cut(rows), strips, strict=True):
            place.copy_(strip)
        return self


def lowered(y: Source, down: nn.Conv2d) -> Source:
    """Half the size: strips (1, C, rows, W) -> (1, 2C, rows/2, W/2)."""
    strips, weight = (lambda: y.cut(y.cached)) if isinstance(y, Kept) else y, made(down, packed)
    return lambda: (convolution(strip, weight, down.bias) for strip in strips())


def raised(y: Source, skip: Source, up: nn.Conv2d) -> Source:
    """Twice the size of ``y``, added to ``skip``: in its place where that is kept."""
    weight = made(up, shuffled)
    if not isinstance(skip, Kept):
        return lambda: (add_shuffled(strip, deep, weight) for deep, strip in zip(y(), skip(), strict=True))
    for deep, strip in zip(y.cut(y.cached), skip.cut(y.cached and 2 * y.cached), strict=True):
        add_shuffled(strip, deep, weight)
    return skip


def empty(like: Tensor, height: int) -> Tensor:
    """A new channels-last map as wide as ``like``."""
    shape = (1, like.shape[1], height, like.shape[3])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
