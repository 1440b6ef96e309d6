"""Training batches as a pure function of (seed, step): resuming needs no generator state, workers change nothing."""

from __future__ import annotations

import signal
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from demoe.blur import sets
from demoe.blur.job import Options
from demoe.core import provenance

from .pairs import PairedSet
from .real.catalog import expert_label


class Batch(NamedTuple):
    """One training step's data."""

    blurred: Tensor  # (B, 3, P, P) float32 in [0, 1]
    sharp: Tensor  # (B, 3, P, P)
    labels: Tensor  # (B,) int64, expert indices; -1 for what belongs to no expert, or has no blur to speak of


class Share(NamedTuple):
    """One process's equal part of every batch."""

    which: int = 0  # the process
    among: int = 1  # how many there are

    def of(self, step: int, batch: int) -> range:
        """The positions, counted through all batches, of its part of the batch of ``step``.

        Raises ``ValueError`` for a batch that cannot be shared equally.
        """
        if batch % self.among:
            raise ValueError(f"a batch of {batch} cannot be shared equally by {self.among} processes: start fewer")
        size = batch // self.among
        first = step * batch + self.which * size
        return range(first, first + size)


@dataclass(eq=False)
class Batches(Dataset):
    """Random crops and flips of all sets mixed; an epoch shows every entry of every set once, in random order.

    ``Batches(sets, patch, batch, seed)[step]`` is always the same batch, whatever was asked for before; of it each of
    several processes gets its ``share``. Raises ``ValueError`` naming the picture that is smaller than the patch or has
    no sharp counterpart.
    """

    sets: list[PairedSet]
    patch: int
    batch: int
    seed: int = 0
    share: Share = field(default_factory=Share)

    def __post_init__(self):
        self.ends = list(accumulate(len(pairs) for pairs in self.sets))
        if not self.sets or not self.ends[-1]:
            raise ValueError("there are no pairs to train on")

    def __getitem__(self, step: int) -> Batch:
        crops, labels = [], []
        for position in self.share.of(step, self.batch):
            rng = np.random.default_rng([self.seed, 1, position])
            epoch, place = divmod(position, self.ends[-1])
            entry = int(_order(self.seed, epoch, self.ends[-1])[place])
            which = bisect_right(self.ends, entry)
            pairs = self.sets[which]
            place = entry - (self.ends[which - 1] if which else 0)
            crops.append(self._crop(pairs, place, rng))
            labels.append(pairs.label_of(place))
        blurred, sharp = (torch.stack(side) for side in zip(*crops, strict=True))
        return Batch(blurred, sharp, _labels(labels))

    def _crop(self, pairs: PairedSet, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        height, width = pairs.size(i)
        if min(height, width) < self.patch:
            raise ValueError(
                f"{pairs.name}: picture {pairs.keys[i]} is {width}x{height}, smaller than the {self.patch}-pixel crops"
            )
        top, left = (int(rng.integers(side - self.patch + 1)) for side in (height, width))
        flips = [axis for axis in (-1, -2) if rng.random() < 0.5]
        both = pairs.read(i, (top, left, self.patch, self.patch))
        if both[1] is None:
            raise ValueError(f"{pairs.name} has no sharp pictures: it can be restored, but not trained on")
        blurred, sharp = (side.float().div_(pairs.peak) for side in both)
        return (blurred.flip(flips), sharp.flip(flips)) if flips else (blurred, sharp)


def _labels(experts: Sequence[int | None]) -> Tensor:
    return torch.tensor([-1 if expert is None else expert for expert in experts])


@lru_cache(maxsize=4)  # a batch spans two epochs at most
def _order(seed: int, epoch: int, entries: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(entries)


def workers_for(batches: Batches | Fresh, cores: int | None = None) -> int:
    """How many processes read ahead: none for pictures in memory or made on a GPU, else one a core and at most 8."""
    if isinstance(batches, Batches):
        at_hand = all(pairs.data == "synthetic" for pairs in batches.sets)
    else:
        at_hand = torch.device(batches.device).type != "cpu"
    return 0 if at_hand else min(8, cores or provenance.cores())


def ahead(batches: Batches, first: int, steps: int, workers: int = 0, pin: bool = False) -> Iterator[Batch]:
    """The batches of steps ``first`` .. ``steps`` - 1 in order, read ahead by ``workers`` processes if any.

    The batches are the same whatever the number of workers, and an error in a worker is raised here as its own self.
    """
    if not workers:
        for step in range(first, steps):
            yield batches[step]
        return
    # Spawned, not forked: a forked child may hang on locks that a thread of this process held.
    loader = DataLoader(
        _Guarded(batches),
        batch_size=None,
        sampler=range(first, steps),
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=2,
        multiprocessing_context="spawn",
        worker_init_fn=_deaf,
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch


def _deaf(worker: int) -> None:
    """Ctrl-C goes to all processes of a terminal: it is the training's to answer, which saves its state first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Guarded(Dataset):
    """Hands errors over as values: the loader would bury their sentence under a worker's traceback."""

    def __init__(self, batches: Batches):
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | Exception:
        try:
            return self.batches[step]
        except (ValueError, OSError) as error:
            return error


@dataclass(eq=False)
class Fresh(Dataset):
    """``Fresh(names, patch, batch, seed)[step]``: new synthetic pairs of ``patch`` pixels, every set equally often.

    They are made as they are needed, on the device that trains: no pair is ever seen twice. A function of (seed, step).
    Each set's share of a batch is made in one go on ``device``; on the CPU the pairs are the same bytes whatever the
    batch size, on a GPU equal to rounding. ``share`` as for ``Batches``.
    """

    names: Sequence[str]
    patch: int
    batch: int
    seed: int = 0
    device: torch.device | str = "cpu"
    options: Options = field(default_factory=Options)
    share: Share = field(default_factory=Share)

    def __getitem__(self, step: int) -> Batch:
        shares: dict[str, list[int]] = {}
        for position in self.share.of(step, self.batch):
            index, which = divmod(position, len(self.names))  # the sets take turns, also across steps
            shares.setdefault(self.names[which], []).append(index)
        blurred, sharp, labels = [], [], []
        for name, indices in shares.items():
            made = sets.synthesize_batch(
                name, "train", indices, size=self.patch, seed=self.seed, device=self.device, options=self.options
            )
            blurred.append(made.blurred)
            sharp.append(made.sharp)
            labels += [expert_label(name) if named else None for named in made.named]
        return Batch(torch.cat(blurred), torch.cat(sharp), _labels(labels))
