"""Reading a picture of a data set, or a window of it, without decoding more than the format asks for.

An uncompressed BMP or TIFF is mapped and only the window's bytes are touched; a PNG is inflated down to the window's
last row; all others are decoded whole. A path may lead into an LMDB (``lmdb_files``).
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from demoe.core import formats

from . import lmdb_files

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")  # lower case; any letter case is accepted
Window = tuple[int, int, int, int]  # top, left, height, width, in pixels

_PNG = b"\x89PNG\r\n\x1a\n"
_IEND = b"\0\0\0\0IEND\xaeB`\x82"
_HEAD = 33  # PNG: signature and IHDR
_TAIL = 4096  # some programs write a little behind the end of a picture
_SAMPLES = {0: 1, 2: 3, 6: 4}  # PNG colour type: gray, RGB, RGBA


@dataclass(frozen=True)
class Header:
    """What a file says about itself before any pixel is decoded. ``fault`` is "" or says what is wrong with it."""

    format: str  # "PNG", "JPEG", "BMP", "TIFF", ...; "" if not known
    height: int
    width: int
    depth: int  # bits a sample
    fault: str = ""


def size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels, from the file's head. ``ValueError`` naming a file that is no picture."""
    found = header(path, whole=False)
    if found.fault:
        raise ValueError(f"{path} {found.fault}")
    return found.height, found.width


def header(path: Path, whole: bool = True) -> Header:
    """The header; with ``whole`` also whether the file ends where a picture of its format ends (PNG, JPEG)."""
    nothing = Header("", 0, 0, 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about damage: what is wrong is said here
            if lmdb_files.split(path):
                data = lmdb_files.value(path)
                return _header(io.BytesIO(data), len(data), whole)
            with path.open("rb") as stream:
                return _header(stream, path.stat().st_size, whole)
    except FileNotFoundError:
        return Header(**nothing.__dict__ | {"fault": "does not exist"})
    except OSError as error:
        return Header(**nothing.__dict__ | {"fault": f"cannot be opened: {error.strerror or error}"})


def _header(stream, length: int, whole: bool) -> Header:
    if not length:
        return Header("", 0, 0, 0, "is empty (0 bytes)")
    head = stream.read(_HEAD)
    if head.startswith(_PNG):
        if len(head) < _HEAD or head[12:16] != b"IHDR" or zlib.crc32(head[12:29]) != int.from_bytes(head[29:33], "big"):
            return Header("PNG", 0, 0, 0, "is damaged: its PNG header is broken")
        width, height, depth = struct.unpack_from(">IIB", head, 16)
        if _has_exif(stream):
            stream.seek(0)
            with Image.open(stream) as image:
                width, height = (height, width) if _turned(image) else (width, height)
        fault = "is cut short: the end of the PNG is missing" if whole and _IEND not in _tail(stream, length) else ""
        return Header("PNG", height, width, depth, fault)
    stream.seek(0)
    try:
        with Image.open(stream) as image:
            width, height = image.size
            if image.format == "TIFF":  # Pillow gives the size after turning
                width, height = image.tag_v2[256], image.tag_v2[257]
            if _turned(image):
                width, height = height, width
            depth = 16 if image.mode.startswith("I") else 8
            if image.format == "TIFF":
                bits = image.tag_v2.get(258, (8,))
                depth = max(bits) if isinstance(bits, tuple) else bits
            found = Header(image.format, height, width, depth)
    except Exception:  # no picture, or a TIFF that Pillow has no mode for (16-bit colour)
        found = _deep_tiff(stream)
    if found.format == "JPEG" and whole and b"\xff\xd9" not in _tail(stream, length):
        return Header("JPEG", found.height, found.width, found.depth, "is cut short: the end of the JPEG is missing")
    return found


def _has_exif(stream) -> bool:
    """Whether a PNG, read up to its first chunk after IHDR, has EXIF before its pixels."""
    while len(head := stream.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        if head[4:] == b"eXIf":
            return True
        stream.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    return False


def _turned(image: Image.Image) -> bool:
    """Whether the camera lay on its side: EXIF orientation 5 to 8."""
    if "exif" in image.info or image.format == "TIFF":
        try:
            return image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        except Exception:  # damaged EXIF never spoils a picture
            return False
    return False


def _deep_tiff(stream) -> Header:
    stream.seek(0)
    try:
        with tifffile.TiffFile(stream) as file:
            page = file.pages.first
            sides = page.imagelength, page.imagewidth
            orientation = page.tags.valueof(274, 1)  # 5 to 8: the camera lay on its side
            return Header("TIFF", *(sides[::-1] if orientation in (5, 6, 7, 8) else sides), page.bitspersample)
    except Exception:  # every kind of damage has its own exception here
        return Header("", 0, 0, 0, "is no readable image (PNG, JPEG, BMP, TIFF), or damaged")


def _tail(stream, length: int) -> bytes:
    stream.seek(max(0, length - _TAIL))
    return stream.read(_TAIL)


def read(path: Path, window: Window | None = None, bits: int = 8) -> Tensor:
    """The picture, or its ``window``, as (3, H, W): uint8, or int32 0..65535 with ``bits=16``. Gray is tripled, alpha
    dropped, EXIF orientation applied.

    16-bit samples become 8-bit ones as value >> 8, which is what Pillow and OpenCV give and single-image results rest
    on; 8-bit samples become 16-bit ones as value * 257. ``ValueError`` naming a file that is missing or damaged and a
    window that is not inside the picture; ``RuntimeError`` where a package to read it with is missing.
    """
    if bits not in (8, 16):
        raise ValueError(f"pictures are read with 8 or 16 bits a sample, not {bits}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about damage: what is wrong is said here
            samples = _samples(path, window)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except lmdb_files.NoPackage:
        raise
    except formats.Refused as error:
        raise ValueError(f"{path} {error}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is damaged, or no readable image (PNG, JPEG, BMP, TIFF, WebP)") from None
    except Exception as error:  # every decoder has its own exceptions for damage
        sentence = (str(error).strip().splitlines() or [""])[0]
        detail = f": {sentence}" if " " in sentence else ""  # at times no more than a tag's number
        sentence = sentence if str(path) in sentence else f"{path} is damaged or incomplete{detail}"
        raise ValueError(sentence) from None
    if samples is _OUTSIDE:
        raise ValueError(f"{path}: the window {window} (top, left, height, width) is not inside the picture")
    samples = samples[..., :1].repeat(3, -1) if samples.shape[-1] <= 2 else samples[..., :3]
    if bits == 8 and samples.dtype == np.uint16:
        samples = (samples >> 8).astype(np.uint8)
    elif bits == 16:
        samples = samples.astype(np.int32) * (257 if samples.dtype == np.uint8 else 1)
    return torch.from_numpy(np.array(samples.transpose(2, 0, 1), order="C"))  # a copy: nothing of a mapped file is kept


def _samples(path: Path, window: Window | None) -> np.ndarray:
    samples = None if lmdb_files.split(path) else _mapped(path, window)
    if samples is not None:
        return samples
    data = lmdb_files.value(path) if lmdb_files.split(path) else path.read_bytes()
    if not data:
        raise ValueError(f"{path} is empty (0 bytes)")
    return _crop(_decode(data, window), window)


_OUTSIDE = np.empty(0)


def _crop(samples: np.ndarray, window: Window | None) -> np.ndarray:
    if window is None:
        return samples
    top, left, height, width = window
    if min(top, left) < 0 or min(height, width) < 1 or top + height > len(samples) or left + width > samples.shape[1]:
        return _OUTSIDE
    return samples[top : top + height, left : left + width]


def _decode(data: bytes, window: Window | None) -> np.ndarray:
    """(H or fewer rows, W, C) uint8 or uint16 samples; at least the rows of ``window``."""
    if data.startswith(_PNG):
        if _IEND not in data[-_TAIL:]:
            raise ValueError("the end of the PNG is missing")
        depth, kind, _, _, interlaced = data[24:29]
        # eXIf and tRNS: where these letters occur by chance, the long way gives the same.
        if depth >= 8 and kind in _SAMPLES and not interlaced and b"eXIf" not in data and b"tRNS" not in data:
            formats.check_size(*struct.unpack_from(">II", data, 16))
            samples = imagecodecs.png_decode(_rows(data, window[0] + window[2]) if window else data)
            return samples[..., None] if samples.ndim == 2 else samples
    with Image.open(io.BytesIO(data)) as image:
        plain = image.mode in ("L", "RGB") and image.format in ("JPEG", "BMP") and "exif" not in image.info
        if plain:
            formats.check_size(*image.size)
            samples = np.asarray(image)
            return samples[..., None] if samples.ndim == 2 else samples
    decoded = formats.decode(data)
    peak, kind = (65535, np.uint16) if decoded.bit_depth == 16 else (255, np.uint8)
    return (decoded.samples * peak).round().astype(kind)


def _rows(data: bytes, rows: int) -> bytes:
    """A PNG of the first ``rows`` rows of a non-interlaced one: inflated so far, and stored without compression."""
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    if not 0 < rows < height:
        return data
    left = rows * (1 + width * _SAMPLES[kind] * depth // 8)  # bytes; each row starts with its filter's number
    inflate, parts, at = zlib.decompressobj(), [], _HEAD
    while left and at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"IDAT":
            if zlib.crc32(data[at + 4 : at + 8 + length]) != int.from_bytes(data[at + 8 + length : at + 12 + length]):
                raise ValueError("some of its pixels are damaged")  # without this, bit rot would be trained on
            parts.append(inflate.decompress(data[at + 8 : at + 8 + length], left))
            left -= len(parts[-1])
        at += 12 + length
    if left:
        raise ValueError("pixels are missing")
    head = struct.pack(">II", width, rows) + data[24:29]
    return _PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(b"".join(parts), 0)) + _IEND


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _mapped(path: Path, window: Window | None) -> np.ndarray | None:
    """The window of an uncompressed BMP or TIFF as a view of the file; None for all others."""
    suffix = path.suffix.lower()
    if window is None or suffix not in (".bmp", ".tif", ".tiff"):
        return None
    view = _map_bmp(path) if suffix == ".bmp" else _map_tiff(path)
    return None if view is None else _crop(view, window)


def _map_bmp(path: Path) -> np.ndarray | None:
    with Image.open(path) as image:
        if image.format != "BMP" or image.mode != "RGB" or len(image.tile) != 1:
            return None
        codec, _, offset, args = image.tile[0]
        if codec != "raw" or args[0] != "BGR":
            return None
        (width, height), (_, stride, direction) = image.size, args
    rows = np.memmap(path, np.uint8, "r", offset, (height, stride))[:, : 3 * width].reshape(height, width, 3)
    return rows[::direction, :, ::-1]


def _map_tiff(path: Path) -> np.ndarray | None:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        turned = 0x0112 in page.tags and page.tags[0x0112].value != 1
        plain = page.photometric.name in ("MINISBLACK", "RGB") and page.axes in ("YX", "YXS") and not turned
        if not plain or not page.is_memmappable or page.is_tiled or page.dtype not in (np.uint8, np.uint16):
            return None
    view = tifffile.memmap(path, page=0, mode="r")
    return view[..., None] if view.ndim == 2 else view
