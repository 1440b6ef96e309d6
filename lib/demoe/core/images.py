"""Photographs on disk: decided once, here. RGB float32 in [0,1], upright, with what the file must get back.

PNG, JPEG, TIFF, WebP and BMP, and read only HEIC, AVIF and JPEG XL; 8 or 16 bits a sample, gray or colour, with or
without alpha. Nothing is ever resized.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import formats
from .encoding import encode
from .files import first_line, write_bytes
from .formats import ImageError as ImageError
from .metadata import NOTHING, Metadata, collect
from .samples import Refused, unit
from .samples import from_pillow as from_pillow_image

_HOLDS = {"JPEG": 0, "BMP": 1, "WebP": 2, "PNG": 3, "TIFF": 3}  # written; 1: without loss; 2: alpha; 3: also 16 bits
READABLE = tuple(formats.FORMAT_OF)  # suffixes, lower case; any letter case is accepted
SUFFIXES = tuple(suffix for suffix in READABLE if formats.FORMAT_OF[suffix] in _HOLDS)  # read and written
_SUFFIX_OF = {"WebP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}


@dataclass(frozen=True, eq=False, repr=False)
class Photograph:
    """A picture and what its file needs besides. Gray pictures have three equal channels and are written as gray."""

    pixels: torch.Tensor  # (3,H,W) float32 in [0,1], RGB as encoded in the file, upright
    alpha: torch.Tensor | None = None  # (1,H,W) float32 in [0,1]; never touched
    bit_depth: int = 8  # 8 or 16, of the file it came from; written at 16 where the format can
    gray: bool = False
    note: str = ""  # what a person should be told about this file, for example that only its first frame was read
    metadata: Metadata = NOTHING  # ICC profile, EXIF, XMP and resolution

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[-1], self.pixels.shape[-2]

    def __repr__(self) -> str:
        width, height = self.size
        kind = ("gray" if self.gray else "RGB") + " with alpha" * (self.alpha is not None)
        return f"Photograph({width}x{height}, {kind}, {self.bit_depth} bit{', ' * bool(self.note)}{self.note})"


def read_photograph(path: str | os.PathLike) -> Photograph:
    """The photograph in a file of a format of ``READABLE``; the content decides, not the suffix.

    EXIF or XMP orientation is applied. Palette, bilevel, Lab and CMYK become RGB or gray; of several frames the first
    is read, of a TIFF's pages the largest. ICC profile, EXIF, XMP and resolution are kept. ``note`` tells what is not:
    IPTC, comments, text, extra channels, gain and depth maps, motion videos, HDR, content credentials; also that
    colours were converted or that the name is that of another format. Raises ``ImageError`` as ``formats.opened``.
    """
    path = Path(path)
    with formats.opened(path) as picture:
        samples, metadata = picture.samples(), collect(picture)
    if metadata.icc_profile and metadata.icc_profile[16:20] != (b"GRAY" if samples.shape[-1] <= 2 else b"RGB "):
        metadata = replace(metadata, icc_profile=None, lost=(*metadata.lost, "its profile, of another colour space,"))
    named = formats.FORMAT_OF.get(path.suffix.lower(), picture.format)
    notes = [*picture.notes] + [f"its content is {picture.format}"] * (named != picture.format)
    notes += [f"{lost} not kept" for lost in metadata.lost]
    return _photograph(samples, ", ".join(notes), metadata)


def from_pillow(image: Image.Image) -> Photograph:
    """A Pillow image, taken as it stands: its EXIF orientation is not applied. ``ValueError`` for modes without RGB."""
    profile = None if image.mode == "CMYK" else image.info.get("icc_profile")  # CMYK becomes sRGB
    return _photograph(from_pillow_image(image), metadata=Metadata(profile))


def from_array(array: np.ndarray) -> Photograph:
    """(H,W) or (H,W,1) gray, (H,W,3) RGB or (H,W,4) RGBA; uint8, uint16, or floats in [0,1]. Else ``ValueError``."""
    array = np.asarray(array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) or 0 in array.shape:
        raise ValueError(f"an array of shape {array.shape} is no picture: expected (H,W), (H,W,3) or (H,W,4)")
    try:
        photograph = _photograph(unit(array))
    except Refused as error:
        raise ValueError(f"the array {error}") from None
    return replace(photograph, bit_depth=16 if array.dtype == np.uint16 else 8)


def _photograph(samples: np.ndarray, note: str = "", metadata: Metadata = NOTHING) -> Photograph:
    bit_depth = 8 if samples.dtype == np.uint8 else 16
    samples = unit(samples) if samples.dtype.kind == "u" else samples
    channels = torch.from_numpy(np.ascontiguousarray(samples.transpose(2, 0, 1)))  # (C,H,W)
    gray = channels.shape[0] <= 2
    colour = channels[:1].repeat(3, 1, 1) if gray else channels[:3].contiguous()
    alpha = channels[-1:].clone() if channels.shape[0] in (2, 4) else None
    return Photograph(colour, alpha, bit_depth, gray, note, metadata)


def write_photograph(path: str | os.PathLike, photograph: Photograph) -> None:
    """Write in the format of the suffix, replacing what is there: the file appears whole or not at all.

    PNG and TIFF keep 16 bits, the others hold 8. PNG, TIFF, BMP and WebP are lossless; JPEG has quality 95, 4:4:4. ICC
    profile, EXIF and XMP go along, except in BMP and, beyond 64 KB, EXIF and XMP in JPEG; the resolution except in
    WebP. Values are clamped to [0,1] and rounded; a gray picture's channels are averaged. Missing folders are made.
    Raises ``ValueError`` for another suffix, for alpha in JPEG and BMP, for shapes that do not fit and for pixels that
    are not finite.
    """
    path = Path(path)
    check_suffix(path)
    pixels, alpha = photograph.pixels.detach().cpu().float(), photograph.alpha
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        raise ValueError(f"{path}: a photograph has pixels of shape (3, H, W), not {tuple(pixels.shape)}")
    if not pixels.isfinite().all():
        raise ValueError(f"{path}: the pixels are not all finite")
    if photograph.gray:
        pixels = pixels.double().mean(0, keepdim=True).float()  # (1,H,W)
    if alpha is not None:
        if alpha.shape != (1, *pixels.shape[1:]):
            raise ValueError(f"{path}: alpha has shape {tuple(alpha.shape)}, expected {(1, *pixels.shape[1:])}")
        pixels = torch.cat((pixels, alpha.detach().cpu().float()))  # (2 or 4,H,W)
    format = formats.FORMAT_OF[path.suffix.lower()]
    deep = photograph.bit_depth == 16 and format in ("PNG", "TIFF")
    peak = 65535 if deep else 255
    samples = (pixels.clamp(0, 1) * peak).round().permute(1, 2, 0).numpy().astype(np.uint16 if deep else np.uint8)
    try:
        data = encode(format, np.ascontiguousarray(samples), photograph.metadata)
    except Exception as error:  # encoders' limits, for example a WebP side above 16383 pixels
        raise ValueError(f"{path} cannot be written: {first_line(error)}") from error
    write_bytes(path, data)


def check_suffix(path: str | os.PathLike) -> None:
    """Raises ``ValueError`` unless a photograph can be written under this name."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{path}: {path.suffix or 'no suffix'} is not a supported image format; use one of {', '.join(SUFFIXES)}"
        )


def result_name(name: Path, source: str | os.PathLike | None = None) -> Path:
    """The name under which the result of the photograph called ``name`` is written: its own; .png, which loses nothing,
    for formats that are only read.

    With ``source``, the file itself, its content counts: where the suffix's format holds less (a PNG called .jpg), the
    suffix becomes that of the content. A file that cannot be opened keeps its name: reading it will tell.
    """
    head = b""
    if source is not None and os.path.isfile(source):
        with suppress(OSError), open(source, "rb") as stream:
            head = stream.read(64)
    named, content = formats.FORMAT_OF.get(name.suffix.lower()), formats.format_of(head)
    if named and named not in _HOLDS:
        return name.with_suffix(".png")
    better = named and content and _HOLDS.get(content, 3) > _HOLDS[named]
    return name.with_suffix(_SUFFIX_OF.get(content, ".png")) if better else name


def list_photographs(folder: str | os.PathLike) -> list[Path]:
    """The files in a folder and its subfolders that have a readable image's suffix, sorted; without hidden ones.

    Raises ``NotADirectoryError`` if it is no folder.
    """
    return [path for path in list_files(folder) if path.suffix.lower() in READABLE]


def list_files(folder: str | os.PathLike) -> list[Path]:
    """Every file below a folder, sorted, without hidden ones (``.name``), those in hidden folders, pipes and devices.

    Links that lead nowhere are among them, so that reading them tells.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return sorted(
        path
        for path in folder.rglob("*")
        if (path.is_file() or not path.exists()) and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
