"""Where tiles and sample crops lie in a photograph, how tiles are blended, and what the router said of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .memory import CROP, MARGIN, OVERLAP, SAMPLE


@dataclass(frozen=True, eq=False)
class TileMap:
    """The router's decisions on a photograph, one a tile. R rows and C columns of tiles, N experts."""

    tops: list[int]  # (R,) first row of each row of tiles, pixels
    lefts: list[int]  # (C,)
    tile: int  # side in pixels; tiles overlap, and the last of a row or column may be shorter
    size: tuple[int, int]  # (height, width) of the photograph
    router: Tensor  # (R, C, N) softmax of the router, on the CPU
    weights: Tensor  # (R, C, N) what mixed the experts

    @property
    def experts(self) -> Tensor:
        """(R, C): index of the strongest expert of each tile."""
        return self.weights.argmax(2)

    def regions(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(from, to) in pixels of each row and each column of tiles: where that tile has more to say than the next."""
        found = []
        for starts, size in ((self.tops, self.size[0]), (self.lefts, self.size[1])):
            cuts = [0, *((a + b + self.tile) // 2 for a, b in pairwise(starts)), size]
            found.append(list(pairwise(cuts)))
        return tuple(found)


def sample(image: Tensor, unit: int) -> list[Tensor]:
    """The picture itself if it is small, else crops spread evenly over it."""
    height, width = image.shape[-2:]
    if height * width <= SAMPLE:
        return [nn.functional.pad(image, (0, -width % unit, 0, -height % unit))]
    side_h, side_w = min(CROP, height // unit * unit), min(CROP, width // unit * unit)
    side_h, side_w = (max(side, 2 * MARGIN + unit) for side in (side_h, side_w))
    if side_h > height or side_w > width:  # a very long strip of a picture
        return [nn.functional.pad(image, (0, -width % unit, 0, -height % unit))]
    count = max(1, SAMPLE // (side_h * side_w))
    rows = max(1, min(count, round((count * height / width) ** 0.5)))
    columns = max(1, count // rows)
    tops, lefts = (
        (torch.linspace(0, (size - side) // unit, count).long() * unit).tolist()
        for size, side, count in ((height, side_h, rows), (width, side_w, columns))
    )
    return [image[:, :, top : top + side_h, left : left + side_w] for top in tops for left in lefts]


def starts(size: int, tile: int, unit: int) -> list[int]:
    """Where tiles begin along one side, each overlapping the next by ``OVERLAP`` at least; the last may be shorter.

    At multiples of ``unit``, because halving the resolution depends on which rows and columns are even.
    """
    found = [0]
    while found[-1] + tile < size:
        found.append(found[-1] + (tile - OVERLAP) // unit * unit)
    return found


def ramp(length: int, tile: int, starts: list[int], i: int, device: torch.device) -> Tensor:
    """Blending weights of tile ``i`` along one side, (length,): over all tiles they add up to one at each pixel.

    The blend takes a quarter of ``OVERLAP`` in the middle of where two tiles overlap, away from their edges.
    """
    at = torch.arange(length, device=device, dtype=torch.float32) + starts[i] + 0.5
    weight = torch.ones(length, device=device)
    for before, after, rising in ((i - 1, i, True), (i, i + 1, False)):
        if before < 0 or after >= len(starts):
            continue
        middle = (starts[after] + starts[before] + tile) / 2
        rise = ((at - middle) / (OVERLAP / 4) + 0.5).clamp(0, 1)
        weight = weight * (rise if rising else 1 - rise)
    return weight
