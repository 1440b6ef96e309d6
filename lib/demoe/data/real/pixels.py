"""Pictures of data sets: size, header and pixels, by the one reader of picture files (``core.formats``).

A path may lead into an LMDB (``lmdb_files``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from demoe.core import formats
from demoe.core.samples import Picture

from . import lmdb_files

SUFFIXES = tuple(formats.FORMAT_OF)  # lower case; any letter case is accepted
Window = tuple[int, int, int, int]  # top, left, height, width, in pixels


@dataclass(frozen=True)
class Header:
    """What a file says about itself before any pixel is decoded. ``fault`` is "" or says what is wrong with it."""

    format: str = ""  # "PNG", "JPEG", "BMP", "TIFF", ...; "" if not known
    size: tuple[int, int] = (0, 0)  # width, height
    depth: int = 0  # bits a sample
    fault: str = ""


def _opened(path: Path) -> AbstractContextManager[Picture]:
    return formats.opened(path, lmdb_files.value(path) if lmdb_files.split(path) else None)


def header(path: Path) -> Header:
    """The header; a PNG or JPEG that does not end where a picture of its format ends has a fault, too."""
    try:
        with _opened(path) as picture:
            return Header(picture.format, picture.size, picture.bits)
    except ValueError as error:
        return Header(fault=str(error).removeprefix(f"{path} "))


def fault(path: Path) -> str:
    """What is wrong with a file, every pixel of which is read; "" if nothing is."""
    try:
        read_pixels(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path} ")
    return ""


def size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels, of which none is decoded. ``ValueError`` naming a file that is no picture."""
    with _opened(path) as picture:
        return picture.size[::-1]


def read_pixels(path: Path, window: Window | None = None, bits: int = 8) -> Tensor:
    """The picture, or its ``window``, as (3, H, W): uint8, or int32 0..65535 with ``bits=16``. Gray is tripled, alpha
    dropped, the camera's orientation applied.

    16-bit samples become 8-bit ones as value >> 8, which is what Pillow and OpenCV give and single-image results rest
    on; 8-bit samples become 16-bit ones as value * 257, others are rounded to 16 bits first. ``ValueError`` naming a
    file that is missing or damaged and a window that is not inside the picture, and where a package to read it
    with is missing.
    """
    if bits not in (8, 16):
        raise ValueError(f"pictures are read with 8 or 16 bits a sample, not {bits}")
    with _opened(path) as picture:
        samples = picture.samples()  # (H,W,C)
    if window is not None:
        top, left, height, width = window
        rows, columns = samples.shape[:2]
        if min(top, left) < 0 or min(height, width) < 1 or top + height > rows or left + width > columns:
            raise ValueError(f"{path}: the window {window} (top, left, height, width) is not inside the picture")
        samples = samples[top : top + height, left : left + width]
    samples = samples[..., :1].repeat(3, -1) if samples.shape[-1] <= 2 else samples[..., :3]
    if samples.dtype.kind == "f":
        samples = (samples.astype(np.float64) * 65535).round().astype(np.uint16)
    if bits == 8 and samples.dtype == np.uint16:
        samples = (samples >> 8).astype(np.uint8)
    elif bits == 16:
        samples = samples.astype(np.int32) * (257 if samples.dtype == np.uint8 else 1)
    return torch.from_numpy(np.array(samples.transpose(2, 0, 1), order="C"))
