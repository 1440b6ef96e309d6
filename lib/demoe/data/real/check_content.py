"""What a sample of pairs looks like: which side is the sharp one, and whether another pair's picture fits better.

These tests are recommendations of the layouts' own research, not measured on the real sets: they warn, no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from demoe.data.pairs import FilePair

from . import lmdb_files, pixels
from .findings import Split

THUMB = 64  # longer side of a thumbnail, pixels
MOST = 0.8  # of the sample
TIE = 1.02  # gradients or means closer than this tell nothing
BETTER = 0.1  # by which a neighbour's correlation must beat that of the pair for one pair to be suspicious
ALIKE = 0.15  # mean correlation below which pictures have nothing to do with each other
UNLIKE, USUAL = 0.5, 0.8  # a pair below the one is suspicious where half of the sample is above the other
REACH = 3  # neighbours on each side that are compared
CLEARLY = 1.3  # gradients of the blurred side, over the sharp one's, that make a single pair suspicious
FITS = 0.5  # and what it must be at least
# Gray levels by which averaging in linear light lifts the mean of GoPro's blurred side; 0.2 and 2.4 on synthetic pairs.
GAMMA = 1.0


@dataclass
class Look:
    """What one pair of the sample looks like."""

    index: int
    fault: str = ""  # why it cannot be read
    alike: bool = False  # two equal pictures
    reversed: bool = False  # the blurred side is the sharper one
    clearly: bool = False
    lift: float = 0.0  # gray levels by which the blurred side is brighter
    fit: float = float("nan")  # correlation of the two pictures
    near: dict[int, float] = field(default_factory=dict)  # and with the sharp picture so many places further on


def check(
    split: Split,
    title: str,
    damaged: Iterable[Path] = (),
    sample: int = 24,
    seed: int = 0,
    *,
    dark: bool = False,
    brighter: str = "",
    progress: bool = True,
) -> dict[str, float | int]:
    """Looks at ``sample`` pairs, chosen by ``seed``, and adds problems; returns the numbers behind them.

    ``title`` names the split for people and is part of the seed. ``dark`` and ``brighter`` are those of ``Dataset``.
    """
    damaged = set(damaged)
    usable = [i for i, pair in enumerate(split.pairs) if pair.sharp and _is_usable(pair, damaged)]
    among = set(usable)
    if not usable or sample < 1:
        return {}
    rng = np.random.default_rng([seed, zlib.crc32(title.encode())])
    chosen = sorted(rng.choice(usable, min(sample, len(usable)), replace=False).tolist())
    thumbs = lru_cache(maxsize=16)(lambda path: _thumbnail(_gray(path)))  # neighbours come one after the other
    looks = [
        _look(split.pairs, i, among, thumbs, dark)
        for i in tqdm(chosen, desc=f"content of {title}", leave=False, disable=not progress)
    ]
    faults = [look.fault for look in looks if look.fault]
    if faults:
        message = f"{len(faults)} of {len(chosen)} sampled pairs cannot be read"
        split.note("error", "undecodable", message, "fetch these files again; --decode looks at all", faults)
    looks = [look for look in looks if not look.fault]
    if not looks:
        return {}
    _note_roles(split, looks)
    message = "[pair has|pairs have] two identical pictures"
    fix = "look for the blurred ones: from these nothing can be learnt"
    split.note("warning", "identical", message, fix, _names(split, [look for look in looks if look.alike]))
    _note_shift(split, looks)
    lift = sum(look.lift for look in looks) / len(looks)
    if brighter and split.variant != brighter and lift > GAMMA:
        message = f"the blurred side is {lift:.1f} gray levels brighter, as {brighter} is and {split.variant} is not"
        fix = "find out which one this copy holds; the two score about 3 dB apart"
        split.note("warning", "variant", message, fix)
    swapped = sum(look.reversed for look in looks)
    return {"sampled": len(looks), "reversed": swapped, "mean_difference": round(lift, 3)}


def _is_usable(pair: FilePair, damaged: set[Path]) -> bool:
    readable = lmdb_files.available() or not any(map(lmdb_files.split, (pair.blurred, pair.sharp)))
    return readable and not {pair.blurred, pair.sharp} & damaged


def _look(
    pairs: Sequence[FilePair], i: int, usable: set[int], thumbs: Callable[[Path], np.ndarray], dark: bool
) -> Look:
    try:
        blurred, sharp = _gray(pairs[i].blurred), _gray(pairs[i].sharp)
    except (ValueError, OSError) as error:  # damaged inside, which otherwise only --decode finds
        return Look(i, str(error))
    thumbnail, near = _thumbnail(blurred), {}
    for step in range(-REACH, REACH + 1):
        with suppress(ValueError, OSError):  # a damaged neighbour is told of when its own turn comes
            if step and i + step in usable:
                near[step] = _correlation(thumbnail, thumbs(pairs[i + step].sharp))
    return Look(
        i,
        alike=np.array_equal(blurred, sharp),
        reversed=_is_reversed(blurred, sharp, dark),
        clearly=_is_reversed(blurred, sharp, dark, CLEARLY),
        lift=float(blurred.mean() - sharp.mean()),
        fit=_correlation(thumbnail, _thumbnail(sharp)),
        near=near,
    )


def _names(split: Split, looks: Iterable[Look]) -> list[str]:
    return [f"{split.pairs[look.index].blurred} and {split.pairs[look.index].sharp}" for look in looks]


def _note_roles(split: Split, looks: list[Look]) -> None:
    swapped = sum(look.reversed for look in looks)
    clearly = [look for look in looks if look.clearly]
    if swapped > MOST * len(looks):
        message = f"in {swapped} of {len(looks)} pairs the blurred side is the sharper one"
        why, files = "the two folders are probably swapped", [split.blurred[0], split.sharp[0]]
        split.note("warning", "roles", f"{message}: {why}", "look at a few pairs", files)
    elif clearly:
        message = f"in {len(clearly)} of {len(looks)} pairs the blurred side is clearly the sharper one"
        fix = "look at these pairs: their two pictures may be exchanged"
        split.note("warning", "roles", message, fix, _names(split, clearly))


def _gray(path: Path) -> np.ndarray:
    """(H, W) float32, 0 to 255."""
    return pixels.read_pixels(path).float().mean(0).numpy()


def _thumbnail(gray: np.ndarray) -> np.ndarray:
    height, width = gray.shape
    scale = min(1, THUMB / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BOX))


def _is_reversed(blurred: np.ndarray, sharp: np.ndarray, dark: bool, margin: float = TIE) -> bool:
    """Whether the side called blurred is the sharp one, its gradients at least ``margin`` times the other's.

    Where one side is dark, the brightness tells: raised to equal brightness, its noise would pass for sharpness.
    """
    means = blurred.mean() + 1e-6, sharp.mean() + 1e-6
    if dark and max(means) > 1.1 * min(means):
        return bool(means[0] > means[1])
    scale = means if dark else (1, 1)
    gradients = [_gradient(side) / unit for side, unit in zip((blurred, sharp), scale, strict=True)]
    return bool(gradients[0] > margin * gradients[1])


def _gradient(gray: np.ndarray) -> float:
    return sum(float(np.abs(np.diff(gray, axis=axis)).mean()) for axis in (0, 1) if gray.shape[axis] > 1)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two thumbnails; NaN for a picture without contrast, or of another shape."""
    if one.shape != other.shape or one.std() < 1e-3 or other.std() < 1e-3:
        return float("nan")
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _note_shift(split: Split, looks: list[Look]) -> None:
    """Warns of a whole split that is shifted, else of single pairs whose neighbour fits better."""
    for step in sorted({step for look in looks for step in look.near}, key=abs):
        both = [(look.fit, look.near[step]) for look in looks if step in look.near]
        both = [fits for fits in both if np.isfinite(fits).all()]
        alike = bool(both) and sum(other for _, other in both) / len(both) > ALIKE
        if len(both) > 2 and alike and sum(other > own + 0.002 for own, other in both) > MOST * len(both):
            place = f"{abs(step)} {'after' if step > 0 else 'before'}"
            message = f"the sharp picture {place} its own fits better in most pairs: the pairing is shifted"
            split.note("warning", "shift", message, "look for a missing or an additional file")
            return
    usual = np.median([look.fit for look in looks if np.isfinite(look.fit)] or [0])
    odd = []
    for look in looks:
        best = max((value for value in look.near.values() if np.isfinite(value)), default=float("nan"))
        exchanged = np.isfinite([look.fit, best]).all() and best > FITS and best - look.fit > BETTER
        if exchanged or (np.isfinite(look.fit) and look.fit < UNLIKE and usual > USUAL):
            odd.append(look)
    if odd:
        message = f"the two pictures of {len(odd)} of {len(looks)} pairs do not look like one scene"
        fix = "look at these pairs: they may be shifted or exchanged"
        split.note("warning", "shift", message, fix, _names(split, odd))
