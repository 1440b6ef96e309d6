"""Training batches synthesised as they are needed, on the device that trains: no pair is ever seen twice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from demoe.blur import sets
from demoe.blur.job import Options
from demoe.tasks import expert_index

from .batches import Batch, Share


class Fresh(Dataset):
    """``Fresh(names, patch, batch, seed)[step]``: new synthetic pairs of ``patch`` pixels, every set equally often.

    A function of (seed, step). Each set's share of a batch is made in one go on ``device``; on the CPU the pairs are
    the same bytes whatever the batch size, on a GPU equal to rounding. ``share`` as for ``Batches``.
    """

    share = Share()

    def __init__(
        self,
        names: Sequence[str],
        patch: int,
        batch: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        options: Options | None = None,
    ):
        self.names, self.patch, self.batch, self.seed = tuple(names), patch, batch, seed
        self.device, self.options = torch.device(device), options or Options()

    @property
    def fast(self) -> bool:
        """Whether the batches come so fast that no worker process need make them ahead."""
        return self.device.type != "cpu"

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
            labels += [_label(name)] * len(indices)
        return Batch(torch.cat(blurred), torch.cat(sharp), torch.tensor(labels))


def _label(name: str) -> int:
    try:
        return expert_index(name)
    except ValueError:
        return -1
