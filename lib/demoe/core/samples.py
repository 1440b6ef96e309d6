"""Samples of pictures: what numbers in a file mean, how a picture lies, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

MAX_PIXELS = 200_000_000  # beyond this a picture is taken for a decompression bomb


class Refused(ValueError):
    """A picture that is understood but not read. The message is a sentence without its subject: "is ...", "has ..."."""


@dataclass(eq=False)
class Picture:
    """A file's picture before its pixels are decoded. ``Refused`` if there are more of them than are read."""

    format: str  # a value of FORMAT_OF or READ_ONLY
    stored_size: tuple[int, int]  # (width, height), before turning
    bits: int  # a sample, as the file says
    orientation: int  # EXIF's 1..8
    stored: Callable[[], np.ndarray]  # (H,W,C) samples as the file has them
    info: Mapping  # what the file says besides, by Pillow's names: exif, xmp, icc_profile, dpi
    data: bytes  # the whole file
    notes: tuple[str, ...] = ()  # what a person is told about what is read
    lost: tuple[str, ...] = ()  # names of what the file has and the result will not have

    def __post_init__(self):
        width, height = self.stored_size
        if width * height > MAX_PIXELS:
            raise Refused(f"is {width}x{height} pixels; at most {MAX_PIXELS // 1_000_000} million are read")
        if width < 1 or height < 1:
            raise ValueError("no pixels at all")

    @property
    def turned(self) -> bool:
        """Whether upright width and height are exchanged."""
        return self.orientation >= 5

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        return self.stored_size[::-1] if self.turned else self.stored_size

    def samples(self) -> np.ndarray:
        """(H,W,C) upright: uint8 or uint16, or float32 in [0,1]. C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGB, alpha."""
        samples = self.stored()
        if samples.shape[1::-1] != self.stored_size:
            raise ValueError("sizes that contradict one another")
        if self.turned:
            samples = samples.swapaxes(0, 1)
        if self.orientation in (2, 3, 6, 7):
            samples = samples[:, ::-1]
        if self.orientation in (3, 4, 7, 8):
            samples = samples[::-1]
        return np.ascontiguousarray(samples)


def unit(array: np.ndarray, peak: int | None = None) -> np.ndarray:
    """(H,W) or (H,W,C) integers 0..peak, or floats in [0,1], as (H,W,C) float32 in [0,1]."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise Refused("has values that are not finite (NaN or infinity)")
        if array.min() < -1e-3 or array.max() > 1 + 1e-3:
            raise Refused(f"has floating-point values from {array.min():.4g} to {array.max():.4g}; expected 0 to 1")
        scaled = np.clip(array, 0, 1, dtype=np.float32, casting="unsafe")
    elif array.dtype in (np.uint8, np.uint16):
        scaled = array.astype(np.float32)
        scaled /= np.float32(peak or np.iinfo(array.dtype).max)
    else:
        raise Refused(f"has samples of type {array.dtype}; 8-bit, 16-bit and floating-point ones are read")
    return scaled[..., None] if scaled.ndim == 2 else scaled


def of_depth(array: np.ndarray, bits: int) -> np.ndarray:
    """Samples of ``bits`` bits as ``Picture.samples`` are: as they stand if they fill their type, else float32."""
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype == bool or (array.dtype == np.uint8 and bits in (1, 2, 4)):
        return array.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    if array.dtype.kind == "u" and bits < 16 and array.max() >= 2**bits:
        raise ValueError(f"samples of more than their {bits} bits")
    return array if array.dtype in (np.uint8, np.uint16) and bits in (8, 16) else unit(array, peak=2**bits - 1)


def from_pillow(image: Image.Image) -> np.ndarray:
    """The samples, as ``Picture.samples`` are, of a Pillow image in any mode. CMYK becomes sRGB."""
    mode = image.mode
    if mode == "F":
        return unit(np.asarray(image))
    if mode.startswith("I"):  # 32-bit integers are how some programs hand over 16-bit gray
        array = np.asarray(image)
        if array.min() < 0 or array.max() > 65535:
            raise Refused("has integer values outside 0..65535")
        return array.astype(np.uint16)[..., None]
    if mode == "CMYK":
        with suppress(ImageCms.PyCMSError):  # by its profile where that is sound, else by Pillow's formula
            profile = io.BytesIO(image.info.get("icc_profile"))
            return np.asarray(
                ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            )
    transparent = mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    target = ("L" if mode in ("1", "L", "LA", "La") else "RGB") + "A" * transparent
    samples = np.asarray(image.convert(target))
    return gray_palette(samples) if mode in ("P", "PA") else of_depth(samples, 8)


def gray_palette(samples: np.ndarray) -> np.ndarray:
    """(H,W,3 or 4) colours of a palette, as gray where all of them are."""
    return np.delete(samples, (1, 2), axis=-1) if (samples[..., :1] == samples[..., 1:3]).all() else samples


def straight(samples: np.ndarray) -> np.ndarray:
    """float32 samples whose colours are times alpha, the last channel, without it."""
    alpha = samples[..., -1:]
    colour = np.divide(samples[..., :-1], alpha, out=np.zeros_like(samples[..., :-1]), where=alpha > 0)
    return np.concatenate((np.clip(colour, 0, 1), alpha), axis=-1)
