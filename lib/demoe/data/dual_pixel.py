"""DPDD as papers on defocus train on it: 16 bits, both dual-pixel views or their mean, patches of 512 pixels.

The conventions are those of DPDNet's code (Abuolaim and Brown, ECCV 2020). What AIO-Blur takes of the same set is
``aio_blur.one_set("DPDD", ...)``: whole pictures, as the camera combined both views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import correlate1d
from torch import Tensor
from tqdm.contrib.concurrent import thread_map

from demoe.core.files import write_text

from .pairs import PairedSet, Window
from .real import pixels, recognition
from .real.roots import Roots

SIDE, OVERLAP, DROPPED = 512, 0.6, 0.3  # of training patches; those of validation overlap by 0.01, none is dropped
KERNELS = (3, 7, 11, 15)  # sides of the Sobel filters that tell a homogeneous patch


def dual_pixel(split: str, roots: Roots, single: bool = False) -> PairedSet:
    """DPDD on disk, 16 bits: blurred is the left and the right view, (6, H, W), or, ``single``, their mean, (3, H, W).

    Means of an odd sum are rounded up. Raises as ``recognition.paired_set`` does, and ``FileNotFoundError`` naming a
    view that is not there.
    """
    pairs = recognition.paired_set("DPDD", split, roots, bits=16)
    views = [_views(entry.blurred) for entry in pairs.entries]
    note = "mean of both views" if single else "left and right view"
    return replace(pairs, read=partial(_read, pairs.read, views, single), notes=[note] * len(pairs), entries=())


def _views(combined: Path) -> list[Path]:
    """Where the views of a picture "train_c/source/1P0A0890.png" lie: "train_l/source/1P0A0890_L.png", and "r"."""
    source = combined.parent
    split = source.parent.name.removesuffix("_c")
    found = [
        source.parent.with_name(f"{split}_{side}") / source.name / f"{combined.stem}_{side.upper()}{combined.suffix}"
        for side in "lr"
    ]
    if missing := [file for file in found if not file.is_file()]:
        where = f"{split}_l and {split}_r lie beside {split}_c in dd_dp_dataset_canon"
        raise FileNotFoundError(f"DPDD: {missing[0]} is not there: dual-pixel pictures need both views; {where}")
    return found


def _read(
    combined: partial, views: Sequence[list[Path]], single: bool, i: int, window: Window | None = None
) -> tuple[Tensor, Tensor]:
    left, right = (pixels.read_pixels(file, window, bits=16) for file in views[i])  # (3, H, W) each
    return (left + right + 1) // 2 if single else torch.cat((left, right)), combined(i, window)[1]


def patches(
    pairs: PairedSet,
    side: int = SIDE,
    overlap: float = OVERLAP,
    dropped: float = DROPPED,
    file: Path | None = None,
    progress: bool = True,
) -> PairedSet:
    """Square patches of all ``pairs``, (side, side), without the most homogeneous ones of every picture.

    They lie int((1 - overlap) side) pixels apart, the last row and column flush with the border. Of each picture's n
    patches the int(dropped n) are left out whose sharp side has the least ``sharpness``. With ``file``, a CSV, what
    was found is kept there, and found again when the pairs or the numbers are others. Raises ``ValueError`` naming a
    picture that is smaller than a patch.
    """
    numbers = f"{side} {overlap:g} {dropped:g}"
    known = pd.read_csv(file, dtype={"pair": str, "numbers": str}) if file and file.is_file() else None
    if known is None or list(known.pair.unique()) != list(pairs.keys) or set(known.numbers) != {numbers}:
        find = partial(_chosen, pairs, side, int((1 - overlap) * side), dropped)
        text = f"patches of {pairs.name}"
        found = thread_map(find, range(len(pairs)), desc=text, leave=False, disable=not progress)
        rows = [(key, *place) for key, places in zip(pairs.keys, found, strict=True) for place in places]
        known = pd.DataFrame(rows, columns=["pair", "top", "left"]).assign(numbers=numbers)
        if file:
            write_text(file, known.to_csv(index=False, lineterminator="\n"))
    which = {key: i for i, key in enumerate(pairs.keys)}
    places = [(which[pair], top, left) for pair, top, left in zip(known.pair, known.top, known.left, strict=True)]
    return replace(
        pairs,
        keys=[f"{pairs.keys[i]}/{top}-{left}" for i, top, left in places],
        read=partial(_patch, pairs.read, places, side),
        size=partial(_size, side),
        notes=[pairs.notes[i] for i, *_ in places] if pairs.notes else (),
        entries=(),
    )


def _patch(whole: partial, places: Sequence[tuple[int, int, int]], side: int, i: int, window: Window | None = None):
    which, top, left = places[i]
    down, right, height, width = window or (0, 0, side, side)
    return whole(which, (top + down, left + right, height, width))


def _size(side: int, i: int) -> tuple[int, int]:
    return side, side


def _chosen(pairs: PairedSet, side: int, stride: int, dropped: float, i: int) -> list[tuple[int, int]]:
    """Top and left of the patches of picture ``i`` that stay, by rows."""
    height, width = pairs.size(i)
    if min(height, width) < side:
        raise ValueError(f"{pairs.name}: picture {pairs.keys[i]} is {width}x{height}, smaller than patches of {side}")
    tops, lefts = (sorted({*range(0, length - side + 1, stride), length - side}) for length in (height, width))
    places = [(top, left) for top in tops for left in lefts]
    if not (out := int(dropped * len(places))):
        return places
    sharp = pairs.read(i, None)[1].numpy() / pairs.peak  # (3, H, W)
    gray = np.tensordot((0.299, 0.587, 0.114), sharp, 1)  # (H, W)
    energies = np.array([sharpness(gray[top : top + side, left : left + side]) for top, left in places])  # (n, 4)
    energies -= energies.min(0)
    energies /= np.maximum(energies.max(0), np.finfo(float).tiny)  # 0 to 1 among the patches of this picture
    order = energies.prod(1).argsort(kind="stable")
    return [places[index] for index in sorted(order[out:])]


def sharpness(gray: np.ndarray) -> list[float]:
    """The sum of the gradient's length over a picture (H, W), by Sobel filters of each of ``KERNELS``, not scaled.

    Borders are mirrored without their last pixel, as OpenCV does.
    """
    found = []
    for size in KERNELS:
        smooth = np.poly1d((1, 1)) ** (size - 1)  # binomial coefficients
        slope = np.poly1d((1, 1)) ** (size - 2) * np.poly1d((-1, 1))
        along = [
            correlate1d(correlate1d(gray, slope.coeffs, axis, mode="mirror"), smooth.coeffs, 1 - axis, mode="mirror")
            for axis in (0, 1)
        ]
        found.append(float(np.hypot(*along).sum()))
    return found
