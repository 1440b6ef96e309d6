"""Photographs on disk: decided once, here. RGB float32 in [0,1], upright, with what the file must get back.

PNG, JPEG, TIFF, WebP, BMP and (read only, an optional extra) HEIC; 8 or 16 bits a sample, gray or colour, with or
without alpha. Nothing is ever resized.
"""

from __future__ import annotations

import os
import stat
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from . import formats, heic
from .files import write_bytes
from .metadata import NOTHING, Metadata

SUFFIXES = tuple(formats.FORMAT_OF)  # read and written; lower case, any letter case is accepted
READABLE = SUFFIXES + heic.SUFFIXES
_HOLDS = {"JPEG": 0, "WebP": 1, "BMP": 1, "PNG": 2, "TIFF": 2, "HEIC": 2}  # 1: alpha, without loss; 2: also 16 bits
_SUFFIX_OF = {"WebP": ".webp", "BMP": ".bmp", "PNG": ".png", "TIFF": ".tif", "HEIC": ".png"}
MAX_BYTES = 2 << 30  # more than the largest picture that is read needs, even without compression


class ImageError(ValueError):
    """A file that is no readable image. The message is one sentence and names the file."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture and what its file needs besides. Gray pictures have three equal channels and are written as gray."""

    pixels: torch.Tensor  # (3,H,W) float32 in [0,1], RGB as encoded in the file, upright
    alpha: torch.Tensor | None = None  # (1,H,W) float32 in [0,1]; never touched
    bit_depth: int = 8  # 8 or 16, of the file it came from; written at 16 where the format can
    gray: bool = False
    icc_profile: bytes | None = None
    exif: bytes | None = None  # orientation already applied and reset
    note: str = ""  # what a person should be told about this file, for example that only its first frame was read
    more: Metadata = NOTHING  # XMP, resolution, PNG's colour chunks

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[-1], self.pixels.shape[-2]


def read(path: str | os.PathLike) -> Photograph:
    """The photograph in a PNG, JPEG, TIFF, WebP, BMP or HEIC file; the content decides, not the suffix.

    EXIF orientation is applied. Palette, bilevel and CMYK become RGB or gray; of several frames the first is read.
    ICC profile, EXIF, XMP, resolution and PNG's gAMA, cHRM, sRGB and cICP are kept; IPTC, a JPEG's comment and a PNG's
    text are not. ``note`` tells this, and that colours were converted or that the name is that of a lesser format.
    Raises ``ImageError`` for a missing file, a folder, a pipe or device, more than 2 GiB, an empty, foreign or damaged
    file, more than 200 million pixels, and floating-point samples that are not finite or outside [0,1].
    """
    path = Path(path)
    foreign = f"{path} is not a PNG, JPEG, TIFF, WebP, BMP or HEIC image"
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder, not an image file")
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for whoever writes to it
            raise ImageError(f"{path} is a pipe, a device or the like, not an image file")
        if status.st_size > MAX_BYTES:
            raise ImageError(
                f"{path} is too large: {status.st_size / 2**30:.1f} GiB, and at most {MAX_BYTES / 2**30:g} are read"
            )
        with path.open("rb") as stream:
            if (head := stream.read(12)) and formats.format_of(head) is None:
                raise UnidentifiedImageError
            stream.seek(0)
            data = stream.read()
    except UnidentifiedImageError:
        raise ImageError(foreign) from None
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist") from None
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror or error}") from error
    if not data:
        raise ImageError(f"{path} is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about size and damaged EXIF: both are decided here
            decoded = formats.decode(data)
    except UnidentifiedImageError:
        raise ImageError(foreign) from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path} is too large: at most {formats.MAX_PIXELS // 1_000_000} million pixels are read"
        ) from None
    except formats.Refused as error:
        raise ImageError(f"{path} {error}") from None
    except Exception as error:  # every decoder has its own exceptions for damage
        detail = _first_line(error)  # at times no more than a tag's number
        raise ImageError(f"{path} is damaged or incomplete" + (f": {detail}" if " " in detail else "")) from error
    notes = [f"first of {decoded.frames} frames"] * (decoded.frames > 1) + [decoded.converted] * bool(decoded.converted)
    if better := _better_format(data[:12], path):
        notes.append(f"its content is {better}")
    notes += [f"{lost} not kept" for lost in decoded.more.lost]
    return _photograph(
        decoded.samples, decoded.bit_depth, decoded.icc_profile, decoded.exif, ", ".join(notes), decoded.more
    )


def from_pillow(image: Image.Image) -> Photograph:
    """A Pillow image, taken as it stands: its EXIF orientation is not applied. ``ValueError`` for modes without RGB."""
    samples, bit_depth, icc_profile = formats.from_pillow(image)
    return _photograph(samples, bit_depth, icc_profile)


def from_array(array: np.ndarray) -> Photograph:
    """(H,W) or (H,W,1) gray, (H,W,3) RGB or (H,W,4) RGBA; uint8, uint16, or floats in [0,1]. Else ``ValueError``."""
    array = np.asarray(array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) or 0 in array.shape:
        raise ValueError(f"an array of shape {array.shape} is no picture: expected (H,W), (H,W,3) or (H,W,4)")
    try:
        samples = formats.unit(array)
    except formats.Refused as error:
        raise ValueError(f"the array {error}") from None
    return _photograph(samples, 16 if array.dtype == np.uint16 else 8)


def _photograph(
    samples: np.ndarray, bit_depth: int, icc_profile=None, exif=None, note: str = "", more: Metadata = NOTHING
) -> Photograph:
    channels = torch.from_numpy(np.ascontiguousarray(samples.transpose(2, 0, 1)))  # (C,H,W)
    gray = channels.shape[0] <= 2
    colour = channels[:1].repeat(3, 1, 1) if gray else channels[:3].contiguous()
    alpha = channels[-1:].clone() if channels.shape[0] in (2, 4) else None
    return Photograph(colour, alpha, bit_depth, gray, icc_profile, exif, note, more)


def write(path: str | os.PathLike, photograph: Photograph) -> None:
    """Write in the format of the suffix, replacing what is there: the file appears whole or not at all.

    PNG and TIFF keep 16 bits, the others hold 8. PNG, TIFF, BMP and WebP are lossless; JPEG has quality 95, 4:4:4. ICC
    profile, EXIF and XMP go along, save in BMP and, beyond 64 KB, EXIF and XMP in JPEG; the resolution save in WebP;
    PNG's gAMA, cHRM, sRGB and cICP in PNG only. Values are clamped to [0,1] and rounded; a gray picture's channels are
    averaged. Missing folders are made. Raises ``ValueError`` for another suffix, for alpha in JPEG, for shapes that
    do not fit and for pixels that are not finite.
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
    deep = photograph.bit_depth == 16 and formats.FORMAT_OF[path.suffix.lower()] in ("PNG", "TIFF")
    peak = 65535 if deep else 255
    samples = (pixels.clamp(0, 1) * peak).round().permute(1, 2, 0).numpy().astype(np.uint16 if deep else np.uint8)
    try:
        data = formats.encode(
            path.suffix, np.ascontiguousarray(samples), photograph.icc_profile, photograph.exif, photograph.more
        )
    except Exception as error:  # encoders' limits, for example a WebP side above 16383 pixels
        raise ValueError(f"{path} cannot be written: {_first_line(error)}") from error
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
    for HEIC.

    With ``source``, the file itself, its content counts: where the suffix's format holds less (a PNG called .jpg), the
    suffix becomes that of the content. A file that cannot be opened keeps its name: reading it will tell.
    """
    if name.suffix.lower() in heic.SUFFIXES:
        return name.with_suffix(".png")
    head = b""
    if source is not None and os.path.isfile(source):
        with suppress(OSError), open(source, "rb") as stream:
            head = stream.read(12)
    better = _better_format(head, name)
    return name.with_suffix(_SUFFIX_OF[better]) if better else name


def _better_format(head: bytes, name: Path) -> str | None:
    """The format of a file that begins so, if its name is that of one that holds less."""
    known, content = formats.FORMAT_OF.get(name.suffix.lower()), formats.format_of(head)
    return content if known and content and _HOLDS[content] > _HOLDS[known] else None


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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
