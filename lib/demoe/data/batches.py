"""Training batches as a pure function of (seed, step): resuming needs no generator state, and no order is lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .pairs import PairedSet


class Batch(NamedTuple):
    """One training step's data."""

    blurred: Tensor  # (B, 3, P, P) float32 in [0, 1]
    sharp: Tensor  # (B, 3, P, P)
    labels: Tensor  # (B,) int64, expert indices


class Batches:
    """Random crops and flips of all sets, each set as often as any other (Appendix B balances AIO-Blur).

    ``Batches(sets, patch, batch, seed)[step]`` is always the same batch. Raises ``ValueError`` when a picture is
    smaller than the patch.
    """

    def __init__(self, sets: list[PairedSet], patch: int, batch: int, seed: int = 0):
        self.sets, self.patch, self.batch, self.seed = sets, patch, batch, seed

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        # The sets take turns across steps, so each appears equally often whatever the batch size.
        turns = rng.permutation((step * self.batch + np.arange(self.batch)) % len(self.sets))
        crops = [self._crop(self.sets[turn], rng) for turn in turns]
        blurred, sharp = (torch.stack(side).float().div_(255) for side in zip(*crops, strict=True))
        return Batch(blurred, sharp, torch.tensor([self.sets[turn].label for turn in turns]))

    def _crop(self, pairs: PairedSet, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        i = int(rng.integers(len(pairs)))
        both = torch.stack(pairs.read(i))  # (2, 3, H, W) uint8
        height, width = both.shape[-2:]
        if min(height, width) < self.patch:
            raise ValueError(
                f"{pairs.name}: picture {pairs.keys[i]} is {width}x{height}, smaller than the {self.patch}-pixel crops"
            )
        top, left = (int(rng.integers(side - self.patch + 1)) for side in (height, width))
        crop = both[..., top : top + self.patch, left : left + self.patch]
        flips = [axis for axis in (-1, -2) if rng.random() < 0.5]
        crop = crop.flip(flips) if flips else crop
        return crop[0], crop[1]
