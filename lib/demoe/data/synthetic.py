"""Synthetic stand-ins as paired sets: made once, held as 8-bit pictures, kept on disk where a cache is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from demoe.blur import sets
from demoe.blur.job import Options
from demoe.core.files import is_kept, kept, replacing
from demoe.core.provenance import code_hash

from .pairs import PairedSet, Window
from .real import catalog

FILE = "pictures.npz"
Pictures = tuple[np.ndarray, list[str], list[str], list[bool]]  # (count, 2, 3, size, size) uint8, keys, notes, named


def synthetic(
    dataset: str,
    split: str,
    count: int,
    size: int,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
    options: Options | None = None,
    source: str = "bundled",
) -> PairedSet:
    """``count`` synthetic pairs (size x size pixels) in the manner of ``dataset``, one of ``blur.sets.SETS``.

    Deterministic by (seed, dataset, split, index). With ``cache``, the pictures are kept in that folder, under a name
    that says everything they depend on: the code of ``blur`` and ``source``, which names the sharp pictures that
    ``options`` brings along. One that is damaged is made again, and two processes do not make the same one
    (``files.kept``). A set whose real model has no ground truth is handed out without it.
    """
    ground_truth = catalog.get(dataset).ground_truth
    recipe = code_hash("blur")  # a cache made by other code is not used
    capture = f"{options.capture}-{options.cameras:g}-" if options and options.capture != "set" else ""
    folder = cache / f"{dataset}-{split}-{count}x{size}-s{seed}-{source}-{capture}{recipe}" if cache else None

    def make() -> Pictures:
        pixels = np.empty((count, 2, 3, size, size), np.uint8)
        keys, notes, named = [], [], []
        bar = tqdm(range(count), desc=f"making {dataset}-syn ({split})", leave=False, disable=not progress)
        for i in bar:
            made = sets.synthesize(dataset, split, i, size=size, seed=seed, options=options)
            pixels[i, 0] = (made.blurred * 255).round().byte().numpy()
            pixels[i, 1] = (made.sharp * 255).round().byte().numpy()
            keys.append(f"{i:04d}_{made.source}")
            notes.append(made.note)
            named.append(made.named)
        return pixels, keys, notes, named

    stored, keys, notes, named = _kept(folder, make) if folder else make()
    pixels = torch.from_numpy(stored)

    def read(i: int, window: Window | None = None) -> tuple[Tensor, Tensor | None]:
        top, left, height, width = window or (0, 0, size, size)
        blurred, sharp = pixels[i, :, :, top : top + height, left : left + width]
        return blurred, sharp if ground_truth else None

    return PairedSet(f"{dataset}-syn", "synthetic", keys, read, lambda i: (size, size), notes=notes, named=named)


def _kept(folder: Path, make: Callable[[], Pictures]) -> Pictures:
    if not is_kept(folder, [FILE]):  # else nothing is locked or written: the folder may be another person's
        with kept(folder, [FILE]) as missing:
            if missing:
                pixels, keys, notes, named = make()
                with replacing(folder / FILE) as partial, partial.open("wb") as stream:
                    np.savez(stream, pixels=pixels, keys=np.array(keys), notes=np.array(notes), named=np.array(named))
    with np.load(folder / FILE) as stored:
        return stored["pixels"], *(stored[name].tolist() for name in ("keys", "notes", "named"))
