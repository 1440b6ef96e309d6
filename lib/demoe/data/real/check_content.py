"""What a sample of pairs looks like: which side is the sharp one, and whether another pair's picture fits better.

These tests are recommendations of the layouts' own research, not measured on the real sets: they warn, no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from . import lmdb_files, pixels
from .description import Dataset
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


def check(
    dataset: Dataset, split: Split, damaged: Iterable[Path], sample: int, seed: int, progress: bool = True
) -> dict[str, float | int]:
    """Looks at ``sample`` pairs, chosen by ``seed``, and adds problems; returns the numbers behind them."""
    damaged = set(damaged)
    usable = [
        i
        for i, pair in enumerate(split.pairs)
        if pair.sharp and not {pair.blurred, pair.sharp} & damaged and _readable(pair.blurred, pair.sharp)
    ]
    if not usable or sample < 1:
        return {}
    among = set(usable)
    rng = np.random.default_rng([seed, zlib.crc32(f"{dataset.name} {split.name}".encode())])
    chosen = sorted(rng.choice(usable, min(sample, len(usable)), replace=False).tolist())
    thumbs = lru_cache(maxsize=16)(lambda path: _thumbnail(_gray(path)))  # neighbours come one after the other
    reversed_, lifts, fits, tested, damage, clearly = 0, [], [], 0, [], []
    for i in tqdm(chosen, desc=f"content of {dataset.name} {split.name}", leave=False, disable=not progress):
        try:
            blurred, sharp = _gray(split.pairs[i].blurred), _gray(split.pairs[i].sharp)
        except (ValueError, OSError) as error:  # damaged inside, which otherwise only --decode finds
            damage.append(str(error))
            continue
        near = {}
        for step in range(-REACH, REACH + 1):
            with suppress(ValueError, OSError):  # a damaged neighbour is told of when its own turn comes
                if step and i + step in among:
                    near[step] = thumbs(split.pairs[i + step].sharp)
        tested += 1
        reversed_ += _is_reversed(blurred, sharp, dataset.dark)
        if _is_reversed(blurred, sharp, dataset.dark, CLEARLY):
            clearly.append(f"{split.pairs[i].blurred} and {split.pairs[i].sharp}")
        lifts.append(float(blurred.mean() - sharp.mean()))
        own = _correlation(_thumbnail(blurred), _thumbnail(sharp))
        fits.append((i, own, {step: _correlation(_thumbnail(blurred), other) for step, other in near.items()}))
    if damage:
        split.note(
            "error",
            "undecodable",
            f"{len(damage)} of {len(chosen)} sampled pairs cannot be read",
            "fetch these files again; --decode looks at all",
            damage,
        )
    if not tested:
        return {}
    if reversed_ > MOST * tested:
        split.note(
            "warning",
            "roles",
            f"in {reversed_} of {tested} pairs the blurred side is the sharper one: the two "
            "folders are probably swapped",
            "look at a few pairs",
            [split.blurred[0], split.sharp[0]],
        )
    elif clearly:
        split.note(
            "warning",
            "roles",
            f"in {len(clearly)} of {tested} pairs the blurred side is clearly the sharper one",
            "look at these pairs: their two pictures may be exchanged",
            clearly,
        )
    _shift(split, fits)
    lift = sum(lifts) / len(lifts)
    if dataset.name == "GoPro" and split.variant == "blur" and lift > GAMMA:
        split.note(
            "warning",
            "variant",
            f"the blurred side is {lift:.1f} gray levels brighter, as blur_gamma is and blur is not",
            "find out which one this copy holds; the two score about 3 dB apart",
        )
    return {"sampled": tested, "reversed": reversed_, "mean_difference": round(lift, 3)}


def _readable(*paths: Path) -> bool:
    return lmdb_files.available() or not any(map(lmdb_files.split, paths))


def _gray(path: Path) -> np.ndarray:
    """(H, W) float32, 0 to 255."""
    return pixels.read(path).float().mean(0).numpy()


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


def _shift(split: Split, fits: list[tuple[int, float, dict[int, float]]]) -> None:
    """Warns of a whole split that is shifted, else of single pairs whose neighbour fits better."""
    for step in sorted({step for _, _, near in fits for step in near}, key=abs):
        both = [(own, near[step]) for _, own, near in fits if step in near and np.isfinite([own, near[step]]).all()]
        alike = bool(both) and sum(other for _, other in both) / len(both) > ALIKE
        if len(both) > 2 and alike and sum(other > own + 0.002 for own, other in both) > MOST * len(both):
            place = f"{abs(step)} {'after' if step > 0 else 'before'}"
            split.note(
                "warning",
                "shift",
                f"the sharp picture {place} its own fits better in most pairs: the pairing is shifted",
                "look for a missing or an additional file",
            )
            return
    odd = []
    usual = np.median([own for _, own, _ in fits if np.isfinite(own)] or [0])
    for i, own, near in fits:
        best = max((value for value in near.values() if np.isfinite(value)), default=float("nan"))
        exchanged = np.isfinite([own, best]).all() and best > FITS and best - own > BETTER
        if exchanged or (np.isfinite(own) and own < UNLIKE and usual > USUAL):
            odd.append(f"{split.pairs[i].blurred} and {split.pairs[i].sharp}")
    if odd:
        split.note(
            "warning",
            "shift",
            f"the two pictures of {len(odd)} of {len(fits)} pairs do not look like one scene",
            "look at these pairs: they may be shifted or exchanged",
            odd,
        )
