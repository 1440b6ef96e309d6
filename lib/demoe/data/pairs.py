"""Sets of blurred and sharp pairs, all with one face: a name, a label, a length and ``pair(i)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from demoe import images
from demoe.blur import sets
from demoe.provenance import code_hash
from demoe.tasks import expert_index


@dataclass(frozen=True)
class PairedSet:
    """Pairs of one blur type.

    ``name`` is what people are shown ("GoPro" or "GoPro-syn", never the one for the other); ``data`` is "real" or
    "synthetic"; ``read(i)`` gives pair ``i`` as two uint8 tensors (3, H, W), blurred first.
    """

    name: str
    data: str
    keys: Sequence[str]  # one readable name a pair
    read: Callable[[int], tuple[Tensor, Tensor]]

    @property
    def label(self) -> int:
        """The index of the expert that this set belongs to."""
        return expert_index(self.name)

    def __len__(self) -> int:
        return len(self.keys)

    def pair(self, i: int) -> tuple[Tensor, Tensor]:
        """Pair ``i`` as float32 (3, H, W) in [0, 1]: blurred, sharp."""
        blurred, sharp = self.read(i)
        return blurred.float() / 255, sharp.float() / 255


def synthetic(
    dataset: str, split: str, count: int, size: int, seed: int = 0, cache: Path | None = None, progress: bool = True
) -> PairedSet:
    """``count`` synthetic pairs (size x size) in the manner of ``dataset``, made once and held as 8-bit pictures.

    Deterministic by (seed, dataset, split, index). With ``cache``, the pictures are kept in that folder as well.
    """
    recipe = code_hash("blur")  # a cache made by other code is not used
    file = cache / f"{dataset}-{split}-{count}x{size}-s{seed}-{recipe}.npz" if cache else None
    if file and file.exists():
        with np.load(file) as stored:
            pixels, keys = torch.from_numpy(stored["pixels"]), [str(key) for key in stored["keys"]]
    else:
        pixels = torch.empty(count, 2, 3, size, size, dtype=torch.uint8)
        keys = []
        bar = tqdm(range(count), desc=f"making {dataset}-syn ({split})", leave=False, disable=not progress)
        for i in bar:
            made = sets.synthesize(dataset, split, i, size=size, seed=seed)
            pixels[i, 0] = (made.blurred * 255).round().byte()
            pixels[i, 1] = (made.sharp * 255).round().byte()
            keys.append(f"{i:04d}_{made.source}")
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{np.random.SeedSequence().entropy}.tmp")
            with partial.open("wb") as stream:
                np.savez(stream, pixels=pixels.numpy(), keys=np.array(keys))
            partial.replace(file)
    return PairedSet(f"{dataset}-syn", "synthetic", keys, lambda i: (pixels[i, 0], pixels[i, 1]))


def folder(name: str, blurred: Path, sharp: Path) -> PairedSet:
    """Real pairs: two folders of pictures with equal names (suffixes may differ).

    Raises ``FileNotFoundError`` for a missing or empty folder, ``ValueError`` naming the first picture without a
    partner; reading raises ``ValueError`` for a pair of different sizes.
    """
    pictures = []
    for place in (blurred, sharp):
        if not place.is_dir():
            raise FileNotFoundError(f"{name}: there is no folder {place}")
        found = {file.relative_to(place).with_suffix("").as_posix(): file for file in images.list_photographs(place)}
        if not found:
            raise FileNotFoundError(f"{name}: no pictures in {place}")
        pictures.append(found)
    inputs, targets = pictures
    alone = sorted(inputs.keys() ^ targets.keys())
    if alone:
        has, lacks = (blurred, sharp) if alone[0] in inputs else (sharp, blurred)
        raise ValueError(f"{name}: {alone[0]} in {has} has no partner in {lacks} ({len(alone)} without a partner)")
    keys = sorted(inputs)

    def read(i: int) -> tuple[Tensor, Tensor]:
        pair = [(images.read(side[keys[i]]).pixels * 255).round().byte() for side in (inputs, targets)]
        if pair[0].shape != pair[1].shape:
            sizes = " and ".join(f"{p.shape[2]}x{p.shape[1]}" for p in pair)
            raise ValueError(f"{inputs[keys[i]]} and {targets[keys[i]]} are a pair of different sizes: {sizes}")
        return pair[0], pair[1]

    return PairedSet(name, "real", keys, read)
