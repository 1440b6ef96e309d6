"""Synthetic stand-ins as paired sets: made once, held as 8-bit pictures, kept on disk where a cache is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from demoe.blur import sets
from demoe.blur.job import Options
from demoe.provenance import code_hash

from .pairs import PairedSet, Window


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
    ``options`` brings along. A set whose real model has no ground truth is handed out without it.
    """
    recipe = code_hash("blur")  # a cache made by other code is not used
    kept = cache / f"{dataset}-{split}-{count}x{size}-s{seed}-{source}-{recipe}.npz" if cache else None
    if kept and kept.exists():
        with np.load(kept) as stored:
            pixels = torch.from_numpy(stored["pixels"])
            keys, notes = ([str(text) for text in stored[name]] for name in ("keys", "notes"))
    else:
        pixels = torch.empty(count, 2, 3, size, size, dtype=torch.uint8)
        keys, notes = [], []
        bar = tqdm(range(count), desc=f"making {dataset}-syn ({split})", leave=False, disable=not progress)
        for i in bar:
            made = sets.synthesize(dataset, split, i, size=size, seed=seed, options=options)
            pixels[i, 0] = (made.blurred * 255).round().byte()
            pixels[i, 1] = (made.sharp * 255).round().byte()
            keys.append(f"{i:04d}_{made.source}")
            notes.append(made.note)
        if kept:
            _keep(kept, pixels=pixels.numpy(), keys=np.array(keys), notes=np.array(notes))

    def read(i: int, window: Window | None = None) -> tuple[Tensor, Tensor | None]:
        top, left, height, width = window or (0, 0, size, size)
        blurred, sharp = pixels[i, :, :, top : top + height, left : left + width]
        return blurred, None if dataset in sets.WITHOUT_GROUND_TRUTH else sharp

    return PairedSet(f"{dataset}-syn", "synthetic", keys, read, lambda i: (size, size), notes=notes)


def _keep(file: Path, **arrays: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{np.random.SeedSequence().entropy}.tmp")
    with partial.open("wb") as stream:
        np.savez(stream, **arrays)
    partial.replace(file)
