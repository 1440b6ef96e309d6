"""A person's own pairs, DIR/blur and DIR/sharp with equal names; what is wrong with them, before a training starts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import psutil
from torch import Tensor
from tqdm.auto import tqdm

from demoe.core.files import checksum

from . import pairs as paired
from .composition import select
from .pairs import PairedSet
from .real import check_content, check_files
from .real.description import Dataset
from .real.findings import LEVELS, Problem, Split
from .real.pixels import Window

WINDOW = 512  # side of the middle of a pair in which a misalignment is looked for, pixels
FARTHEST = 32  # misalignment that is looked for, pixels
APART = 3  # misalignment that is told, pixels; blur alone, whose paths are seldom centred, stays below in most pairs
EXPLAINED = 0.7  # of the squared difference that must remain, at most, when the misalignment is taken back
TWICE = 0.8  # of the peak: where the opposite place has more, the picture lies there as well
LOOKED_AT = 100  # pairs whose alignment is measured, at most


def own_pairs(place: Path) -> PairedSet:
    """The pairs of ``place``/blur and ``place``/sharp, called "own-" and the folder's name: never a dataset's.

    Raises ``FileNotFoundError`` and ``ValueError`` as ``pairs.folder`` does. What is in the pictures is
    ``complaints``' to say.
    """
    return paired.folder(f"own-{place.resolve().name}", place / "blur", place / "sharp")


def fingerprint(pairs: PairedSet) -> str:
    """Eight digits that change with any picture of ``pairs``, with its name, and with the order of the pairs.

    Files count by their bytes, not by their times: a copy of a folder is the same set. Pictures in memory count by
    their pixels.
    """
    with ThreadPoolExecutor() as pool:
        if pairs.entries:
            files = [file for entry in pairs.entries for file in (entry.blurred, entry.sharp) if file]
            digests = pool.map(checksum, files)
        else:
            digests = pool.map(lambda i: _pixels_digest(pairs.read(i, None)), range(len(pairs)))
        lines = [*pairs.keys, "", *digests]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def _pixels_digest(sides: Iterable) -> str:
    digest = hashlib.sha256()
    for side in sides:
        digest.update(b"" if side is None else side.contiguous().numpy().tobytes())
    return digest.hexdigest()


def held_out(pairs: PairedSet, share: float) -> tuple[PairedSet, PairedSet]:
    """``pairs`` without the ``share`` (0 to below 1) on which a training is watched, and that share: one pair at least.

    Where there are folders inside, they are taken for scenes and held out whole, so that no neighbour of a frame is
    trained on. Chosen by a hash of the scene's or the picture's name: pictures that are added later change little. Not
    stated in the paper, whose sets come split; our choice. Raises ``ValueError`` where nothing would be left of either.
    """
    scenes: dict[str, list[int]] = {}
    for i, key in enumerate(pairs.keys):
        scenes.setdefault(key.rpartition("/")[0], []).append(i)
    if len(scenes) < 2:
        scenes = {key: [i] for i, key in enumerate(pairs.keys)}
    if not 0 <= share < 1:
        raise ValueError(f"the share of held-out pairs is {share:g}: it must be from 0 to below 1")
    if share and len(scenes) < 2:
        raise ValueError(
            f"{pairs.name} is one pair: none can be held out to watch the training; add more, or hold out 0"
        )
    wanted, out = math.ceil(share * len(pairs)), set()
    by_hash = sorted(scenes, key=lambda scene: hashlib.sha256(scene.encode()).digest())
    for scene in by_hash[:-1]:
        if len(out) < wanted:
            out.update(scenes[scene])
    return select(pairs, [i for i in range(len(pairs)) if i not in out]), select(pairs, sorted(out))


def in_memory(pairs: PairedSet, share: float = 0.25) -> PairedSet | None:
    """``pairs`` whose pictures are read whole, once, when first asked for: a crop of a large file costs its decoding.

    None where they would take more than ``share`` of the memory that is free.
    """
    sizes = [math.prod(pairs.size(i)) for i in range(len(pairs))]
    needed = sum(sizes) * 2 * 3 * (4 if pairs.peak > 255 else 1)  # bytes of two sides of three channels
    if needed > share * psutil.virtual_memory().available:
        return None
    whole = lru_cache(maxsize=None)(lambda i: pairs.read(i, None))

    def read(i: int, window: Window | None) -> tuple[Tensor, Tensor | None]:
        if window is None:
            return whole(i)
        top, left, height, width = window
        blurred, sharp = (
            None if side is None else side[:, top : top + height, left : left + width] for side in whole(i)
        )
        return blurred, sharp

    return replace(pairs, read=read)


def misalignment(blurred: np.ndarray, sharp: np.ndarray) -> tuple[int, int]:
    """Rows and columns by which ``blurred`` lies further down and right than ``sharp``, both (H, W), up to 32 pixels.

    The peak of the cross-correlation, half whitened: where blur has left nothing there is nothing to add up. (0, 0)
    where moving ``sharp`` so leaves more than ``EXPLAINED`` of the squared difference, and where the other direction
    fits nearly as well, as in a double exposure, which is a blur. Our choice.
    """
    window = np.outer(*(np.hanning(side) for side in sharp.shape))
    spectra = [np.fft.rfft2((side - side.mean()) * window) for side in (blurred, sharp)]
    product = spectra[0] * spectra[1].conj()
    peaks = np.fft.irfft2(product / np.sqrt(np.abs(product) + 1e-6), s=sharp.shape)
    reach = [min(FARTHEST, side // 4) for side in sharp.shape]
    near = np.roll(peaks, reach, axis=(0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    down, right = (
        int(peak - far) for peak, far in zip(np.unravel_index(near.argmax(), near.shape), reach, strict=True)
    )
    mirrored = near[reach[0] - down, reach[1] - right]
    inner = tuple(slice(far, side - far) for far, side in zip(reach, sharp.shape, strict=True))
    moved = np.roll(sharp, (down, right), axis=(0, 1))  # what comes in at the other side is not in ``inner``
    before, after = (float(np.square(blurred[inner] - side[inner]).mean()) for side in (sharp, moved))
    moves = after < EXPLAINED * before and mirrored < TWICE * near.max()
    return (down, right) if moves else (0, 0)


def _misaligned(pairs: PairedSet, progress: bool) -> list[str]:
    """Pairs whose sides lie ``APART`` or more from each other, and by how much: at most ``LOOKED_AT`` are measured."""
    found = []
    chosen = np.unique(np.linspace(0, len(pairs) - 1, LOOKED_AT).round().astype(int))
    for i in tqdm(chosen, desc=f"alignment of {pairs.name}", leave=False, disable=not progress):
        height, width = pairs.size(i)
        sides = min(height, WINDOW), min(width, WINDOW)
        middle = ((height - sides[0]) // 2, (width - sides[1]) // 2, *sides)
        down, right = misalignment(*(side.float().mean(0).numpy() / pairs.peak for side in pairs.read(i, middle)))
        if math.hypot(down, right) >= APART:
            found.append(f"{pairs.keys[i]} by ({right}, {down}) pixels")
    return found


def complaints(pairs: PairedSet, patch: int, sample: int = 500, progress: bool = True) -> list[Problem]:
    """What stands against training on ``pairs`` with crops of ``patch`` pixels, the worst first, with names.

    Errors, looked for in all pairs, keep from it: files that cannot be read, two sizes in one pair, pictures smaller
    than the crops. Warnings do not: identical sides, exchanged ones, pictures of two scenes or a shifted pairing, seen
    in ``sample`` pairs, evenly chosen by a fixed seed, and sides that lie beside each other, by ``misalignment``, in
    100 pairs. Of pictures in memory, only the sizes are looked at.
    """
    split = Split("", "own", Path(), "")
    if pairs.entries:
        split.pairs = list(pairs.entries)
        split.blurred, split.sharp = [pairs.entries[0].blurred.parent], [pairs.entries[0].sharp.parent]
        readable = check_files.check(Dataset(pairs.name), split, progress=progress)
        check_content.check(split, pairs.name, readable, sample, progress=progress)
        split.problems = [problem for problem in split.problems if problem.kind != "patches"]
    if not any(problem.kind == "damaged" for problem in split.problems):
        sizes = {key: pairs.size(i) for i, key in enumerate(pairs.keys)}
        small = [f"{key} is {width}x{height}" for key, (height, width) in sizes.items() if min(height, width) < patch]
        message = f"[picture is|pictures are] smaller than the {patch}-pixel crops"
        split.note("error", "small", message, "take them out of both folders", small)
    if pairs.entries and not any(problem.level == "error" for problem in split.problems):
        beside = _misaligned(pairs, progress)
        message = "[pair is|pairs are] misaligned (right, down)"
        split.note(
            "warning", "misaligned", message, "align their pictures: the network would learn to move them", beside
        )
    return sorted(split.problems, key=lambda problem: LEVELS.index(problem.level))
