"""What a sample of pairs looks like: which side is the sharp one, and whether another pair's picture fits better.

These tests are recommendations of the layouts' own research, not measured on the real sets: they warn, no more.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from demoe.data.pairs import FilePair

from . import pixels
from .findings import Split

THUMB = 64  # longer side of a thumbnail, pixels
MOST = 0.8  # of the sample
TIE = 1.02  # gradients or means closer than this tell nothing
BETTER = 0.1  # by which a neighbour's correlation must beat that of the pair for one pair to be suspicious
ALIKE = 0.15  # mean correlation below which pictures have nothing to do with each other
UNLIKE, USUAL = 0.5, 0.8  # a pair below the one is suspicious where half of the sample is above the other
STEPS = (-3, -2, -1, 1, 2, 3)  # neighbours that are compared
CLEARLY = 1.3  # gradients of the blurred side, over the sharp one's, that make a single pair suspicious
FITS = 0.5  # and what it must be at least
# Gray levels by which averaging in linear light lifts the mean of GoPro's blurred side; 0.2 and 2.4 on synthetic pairs.
GAMMA = 1.0


@dataclass(frozen=True)
class Look:
    """What one pair of the sample looks like."""

    files: str  # the two, for people
    alike: bool  # two equal pictures
    sharpness: float  # of the blurred side, as a multiple of the sharp one's
    lift: float  # gray levels by which the blurred side is brighter
    fits: dict[int, float]  # correlation with the sharp picture so many places further on; 0: with its own


def check(
    split: Split,
    title: str,
    readable: Collection[Path],
    sample: int = 24,
    seed: int = 0,
    *,
    dark: bool = False,
    brighter: str = "",
    progress: bool = True,
) -> dict[str, float | int]:
    """Looks at ``sample`` of the ``readable`` pairs, chosen by ``seed``, and adds problems; returns the numbers behind
    them.

    ``title`` names the split for people and is part of the seed. ``dark`` and ``brighter`` are those of ``Dataset``.
    """
    usable = [i for i, pair in enumerate(split.pairs) if pair.blurred in readable and pair.sharp in readable]
    if not usable or sample < 1:
        return {}
    rng = np.random.default_rng([seed, zlib.crc32(title.encode())])
    chosen = sorted(rng.choice(usable, min(sample, len(usable)), replace=False).tolist())
    neighbours = {i: split.pairs[i].sharp for i in usable}
    thumbnail = lru_cache(maxsize=16)(lambda path: _thumbnail(_gray(path)))  # neighbours come one after the other
    looks, faults = [], []
    for i in tqdm(chosen, desc=f"content of {title}", leave=False, disable=not progress):
        near = {step: neighbours[i + step] for step in STEPS if i + step in neighbours}
        try:
            looks.append(_look(split.pairs[i], near, thumbnail, dark))
        except (ValueError, OSError) as error:  # damaged inside, which otherwise only --decode finds
            faults.append(str(error))
    if faults:
        message = f"{len(faults)} of {len(chosen)} sampled pairs cannot be read"
        split.note("error", "undecodable", message, "fetch these files again; --decode looks at all", faults)
    if not looks:
        return {}
    swapped = [look for look in looks if look.sharpness > TIE]
    _note_roles(split, looks, len(swapped))
    message = "[pair has|pairs have] two identical pictures"
    fix = "look for the blurred ones: from these nothing can be learnt"
    split.note("warning", "identical", message, fix, [look.files for look in looks if look.alike])
    _note_shift(split, looks)
    lift = sum(look.lift for look in looks) / len(looks)
    if brighter and split.variant != brighter and lift > GAMMA:
        message = f"the blurred side is {lift:.1f} gray levels brighter, as {brighter} is and {split.variant} is not"
        fix = "find out which one this copy holds; the two score about 3 dB apart"
        split.note("warning", "variant", message, fix)
    return {"sampled": len(looks), "reversed": len(swapped), "mean_difference": round(lift, 3)}


def _look(pair: FilePair, near: dict[int, Path], thumbnail: Callable[[Path], np.ndarray], dark: bool) -> Look:
    blurred, sharp = _gray(pair.blurred), _gray(pair.sharp)
    small = _thumbnail(blurred)
    fits = {0: _correlation(small, _thumbnail(sharp))}
    for step, path in near.items():
        with suppress(ValueError, OSError):  # a damaged neighbour is told of when its own turn comes
            fits[step] = _correlation(small, thumbnail(path))
    lift, alike = float(blurred.mean() - sharp.mean()), np.array_equal(blurred, sharp)
    return Look(f"{pair.blurred} and {pair.sharp}", alike, _sharpness(blurred, sharp, dark), lift, fits)


def _note_roles(split: Split, looks: list[Look], swapped: int) -> None:
    clearly = [look.files for look in looks if look.sharpness > CLEARLY]
    if swapped > MOST * len(looks):
        message = f"in {swapped} of {len(looks)} pairs the blurred side is the sharper one"
        why, files = "the two folders are probably swapped", [split.blurred[0], split.sharp[0]]
        split.note("warning", "roles", f"{message}: {why}", "look at a few pairs", files)
    elif clearly:
        message = f"in {len(clearly)} of {len(looks)} pairs the blurred side is clearly the sharper one"
        split.note("warning", "roles", message, "look at these pairs: their two pictures may be exchanged", clearly)


def _gray(path: Path) -> np.ndarray:
    """(H, W) float32, 0 to 255."""
    return pixels.read_pixels(path).float().mean(0).numpy()


def _thumbnail(gray: np.ndarray) -> np.ndarray:
    height, width = gray.shape
    scale = min(1, THUMB / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BOX))


def _sharpness(blurred: np.ndarray, sharp: np.ndarray, dark: bool) -> float:
    """Gradients of the side called blurred, as a multiple of those of the other.

    Where one side is dark, the brightness tells: raised to equal brightness, its noise would pass for sharpness.
    """
    means = blurred.mean() + 1e-6, sharp.mean() + 1e-6
    if dark and max(means) > 1.1 * min(means):
        return math.inf if means[0] > means[1] else 0.0
    first, second = (
        _gradient(side) / (mean if dark else 1) for side, mean in zip((blurred, sharp), means, strict=True)
    )
    if not second:
        return math.inf if first else 0.0
    return first / second


def _gradient(gray: np.ndarray) -> float:
    return sum(float(np.abs(np.diff(gray, axis=axis)).mean()) for axis in (0, 1) if gray.shape[axis] > 1)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two thumbnails; NaN for a picture without contrast, or of another shape."""
    if one.shape != other.shape or one.std() < 1e-3 or other.std() < 1e-3:
        return math.nan
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _note_shift(split: Split, looks: list[Look]) -> None:
    """Warns of a whole split that is shifted, else of single pairs whose neighbour fits better."""
    for step in sorted(STEPS, key=abs):
        both = np.array([(look.fits[0], look.fits[step]) for look in looks if step in look.fits]).reshape(-1, 2)
        own, other = both[np.isfinite(both).all(1)].T
        better = (other > own + 0.002).sum() > MOST * len(own)
        if len(own) > 2 and other.mean() > ALIKE and better:
            place = f"{abs(step)} {'after' if step > 0 else 'before'}"
            message = f"the sharp picture {place} its own fits better in most pairs: the pairing is shifted"
            split.note("warning", "shift", message, "look for a missing or an additional file")
            return
    usual = np.median([look.fits[0] for look in looks if np.isfinite(look.fits[0])] or [0])
    odd = []
    for look in looks:
        own, *others = look.fits.values()
        best = max(filter(math.isfinite, others), default=math.nan)
        exchanged = best > FITS and best - own > BETTER
        if exchanged or (own < UNLIKE and usual > USUAL):
            odd.append(look.files)
    if odd:
        message = f"the two pictures of {len(odd)} of {len(looks)} pairs do not look like one scene"
        split.note("warning", "shift", message, "look at these pairs: they may be shifted or exchanged", odd)
