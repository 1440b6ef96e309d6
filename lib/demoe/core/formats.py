"""Decoding and encoding of image files: Pillow where it can hold the samples, imagecodecs and tifffile for 16 bits.

``images`` is the public face; this module knows the file formats.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from dataclasses import dataclass

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from . import exif as exif_data
from . import heic, metadata
from .metadata import NOTHING, Metadata

FORMAT_OF = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WebP",
    ".bmp": "BMP",
}
MAX_PIXELS = 200_000_000  # beyond this a file is taken for a decompression bomb

_PNG = b"\x89PNG\r\n\x1a\n"
_CONVERTED = {
    "CMYK": "CMYK turned into RGB",
    "LAB": "Lab turned into RGB",
    "YCbCr": "YCbCr turned into RGB",
    "F": "floating-point samples rounded to 16 bits",
    "1": "black and white turned into gray",
}

# Its warnings about odd files would stand beside our one sentence.
for _library in ("tifffile", "imagecodecs", "PIL"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)


class Refused(ValueError):
    """A picture that is understood but not read. The message is a sentence without its subject: "is ...", "has ..."."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """``samples`` (H,W,C) float32 in [0,1], C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha, already upright."""

    samples: np.ndarray
    bit_depth: int  # 8 or 16
    icc_profile: bytes | None
    exif: bytes | None
    frames: int
    more: Metadata = NOTHING
    converted: str = ""  # what was done to samples that are neither RGB nor gray of 8 or 16 bits


def decode(data: bytes) -> Decoded:
    """The first picture in the bytes of a PNG, JPEG, TIFF, WebP, BMP or HEIC file, whatever the file's name.

    Raises ``Refused`` for what is understood but not read; a damaged file raises whatever its decoder raises.
    """
    if heic.is_heic(data):
        if not heic.installed():
            raise Refused("is a HEIC image, which needs pillow-heif: pip install 'demoe[heic]'")
        samples, bit_depth, profile, raw, xmp, frames = heic.decode(data, check_size)
        more = Metadata(metadata.upright(xmp))
        return Decoded(np.ascontiguousarray(samples), bit_depth, profile, exif_data.kept(raw), frames, more)
    if data.startswith(exif_data.TIFF):
        deep = _decode_deep_tiff(data)
        if deep is not None:
            return deep
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "WEBP", "BMP")) as image:
        check_size(*image.size)
        if data.startswith(_PNG) and data[24] == 16:  # IHDR: 8 signature, 8 chunk head, 4 width, 4 height, bit depth
            samples, bit_depth, profile = unit(imagecodecs.png_decode(data)), 16, image.info.get("icc_profile")
        else:
            samples, bit_depth, profile = from_pillow(image)
        orientation, exif = exif_data.read(image, data)
        more = metadata.read(image, data, orientation)
        frames = getattr(image, "n_frames", 1)
        converted = _CONVERTED.get(image.mode, "")
    return Decoded(_upright(samples, orientation), bit_depth, profile, exif, frames, more, converted)


def format_of(head: bytes) -> str | None:
    """The format of a file that begins with these 12 bytes or more: one of ``FORMAT_OF``, "HEIC" or None."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if heic.is_heic(head):
        return "HEIC"
    starts = {"PNG": _PNG, "JPEG": b"\xff\xd8\xff", "TIFF": exif_data.TIFF, "BMP": b"BM"}
    return next((name for name, start in starts.items() if head.startswith(start)), None)


def check_size(width: int, height: int) -> None:
    """Raises ``Refused`` if a picture of this size would not be read."""
    if width * height > MAX_PIXELS:
        raise Refused(f"is {width}x{height} pixels; at most {MAX_PIXELS // 1_000_000} million are read")


def from_pillow(image: Image.Image) -> tuple[np.ndarray, int, bytes | None]:
    """(samples (H,W,C) float32 in [0,1], bit depth, ICC profile that fits them) of a Pillow image in any mode."""
    profile = image.info.get("icc_profile")
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        array = np.asarray(image)
        if mode.startswith("I"):  # 32-bit integers are how some programs hand over 16-bit gray
            if array.min() < 0 or array.max() > 65535:
                raise Refused("has integer values outside 0..65535")
            array = array.astype(np.uint16)
        return unit(array), 16, profile
    if mode == "CMYK":
        return unit(np.asarray(_cmyk_to_rgb(image, profile))), 8, None
    transparent = mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    gray = mode in ("1", "L", "LA", "La")
    target = ("LA" if transparent else "L") if gray else ("RGBA" if transparent else "RGB")
    samples = unit(np.asarray(image.convert(target)))
    if mode in ("P", "PA") and (samples[..., :1] == samples[..., 1:3]).all():
        samples = np.delete(samples, (1, 2), axis=-1)  # a palette of grays
    return samples, 8, profile


def _cmyk_to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            return ImageCms.profileToProfile(
                image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except ImageCms.PyCMSError:
            pass  # a broken profile: convert without it
    return image.convert("RGB")


def unit(array: np.ndarray, peak: int | None = None) -> np.ndarray:
    """(H,W) or (H,W,C) integers 0..peak, or floats in [0,1], as (H,W,C) float32 in [0,1]."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise Refused("has values that are not finite (NaN or infinity)")
        if array.min() < -1e-3 or array.max() > 1 + 1e-3:
            raise Refused(f"has floating-point values from {array.min():.4g} to {array.max():.4g}; expected 0 to 1")
        scaled = np.clip(array, 0, 1, dtype=np.float32, casting="unsafe")
    elif array.dtype in (np.uint8, np.uint16):
        scaled = array.astype(np.float32) / np.float32(peak or np.iinfo(array.dtype).max)
    else:
        raise Refused(f"has samples of type {array.dtype}; 8-bit, 16-bit and floating-point ones are read")
    return scaled[..., None] if scaled.ndim == 2 else scaled


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the camera's EXIF orientation 1..8; anything else counts as 1."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return np.ascontiguousarray(samples)


# TIFF with 16-bit or floating-point samples. Everything else about TIFF (bilevel, palette, JPEG inside) is Pillow's.


def _decode_deep_tiff(data: bytes) -> Decoded | None:
    """A TIFF whose samples are wider than 8 bits; None for the others."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.bitspersample <= 8:
            return None
        check_size(page.imagewidth, page.imagelength)
        kind = page.photometric.name
        colours = {"MINISBLACK": 1, "MINISWHITE": 1, "RGB": 3, "SEPARATED": 4}.get(kind)
        if colours is None or page.imagedepth != 1:
            raise Refused(f"is a {page.bitspersample}-bit TIFF of a kind that is not read ({kind})")
        array = page.asarray()
        if page.axes.startswith("S"):  # planes one after the other
            array = np.moveaxis(array, 0, -1)
        samples = unit(array, peak=2**page.bitspersample - 1)
        if samples.shape[:2] != (page.imagelength, page.imagewidth) or samples.shape[-1] < colours:
            raise ValueError("sizes that contradict one another")
        if kind == "MINISWHITE":
            samples[..., :1] = 1 - samples[..., :1]
        profile = page.iccprofile
        if kind == "SEPARATED":
            ink = 1 - samples[..., :4]
            samples = np.concatenate((ink[..., :3] * ink[..., 3:], samples[..., 4:]), axis=-1)
            colours, profile = 3, None
        samples = samples[..., : colours + 1]  # a first extra sample is alpha, more of them are left out
        if page.extrasamples and page.extrasamples[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:  # colours times alpha
            alpha = samples[..., -1:]
            colour = np.divide(samples[..., :-1], alpha, out=np.zeros_like(samples[..., :-1]), where=alpha > 0)
            samples = np.concatenate((np.clip(colour, 0, 1), alpha), axis=-1)
        orientation, exif = exif_data.read(None, data)
        more = metadata.read(None, data)
        mode = "CMYK" if kind == "SEPARATED" else "F" if array.dtype.kind == "f" else ""
        return Decoded(
            _upright(samples, orientation), 16, profile, exif, len(file.pages), more, _CONVERTED.get(mode, "")
        )


# Encoding.


def encode(
    suffix: str, samples: np.ndarray, icc_profile: bytes | None, exif: bytes | None, more: Metadata = NOTHING
) -> bytes:
    """The file's bytes for (H,W,C) samples, uint8 or, for PNG and TIFF, uint16; C as in ``Decoded``.

    PNG, TIFF, WebP and BMP are lossless, JPEG has quality 95 without chroma subsampling and no alpha: ``ValueError``.
    """
    format = FORMAT_OF[suffix.lower()]
    channels = samples.shape[-1]
    if channels in (2, 4) and format == "JPEG":
        raise ValueError(f"a {format} file cannot hold transparency; write a .png, .tif or .webp")
    space = b"GRAY" if channels <= 2 and format != "WebP" else b"RGB "  # WebP has no gray
    if icc_profile and icc_profile[16:20] != space:
        icc_profile = None
    if format == "PNG":
        return _encode_png(samples, icc_profile, exif, more)
    if format == "TIFF":
        return _encode_tiff(samples, icc_profile, exif, more)
    image = Image.fromarray(samples[..., 0] if channels == 1 else samples)
    if format == "BMP" and channels in (2, 4):
        return _encode_bmp_with_alpha(image.convert("RGBA"))
    options: dict = {}
    if format == "JPEG":
        if exif and len(exif) > 65533:  # one JPEG segment
            exif = None
        options = {"quality": 95, "subsampling": 0}
        if more.xmp and len(more.xmp) <= 65504:  # one segment, too
            options["xmp"] = more.xmp
    if format == "WebP":
        if channels <= 2:
            image = image.convert("RGB" if channels == 1 else "RGBA")
        options = {"lossless": True, "exact": True}  # exact: also the colours where alpha is 0
        if more.xmp:
            options["xmp"] = more.xmp
    if more.dpi and format != "WebP":
        options["dpi"] = more.dpi
    if format != "BMP":
        options |= {"icc_profile": icc_profile} | ({"exif": exif} if exif else {})
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def _encode_bmp_with_alpha(image: Image.Image) -> bytes:
    """32 bits a pixel under a version 4 header, which names the alpha bits. Pillow's own writer leaves them unnamed."""
    pixels = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    head = struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    masks = struct.pack("<IIII4s48x", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")  # "sRGB", no gamma curves
    return struct.pack("<2sIHHI", b"BM", 14 + 108 + len(pixels), 0, 0, 14 + 108) + head + masks + pixels


def _encode_png(samples: np.ndarray, icc_profile: bytes | None, exif: bytes | None, more: Metadata) -> bytes:
    pixels = samples[..., 0] if samples.shape[-1] == 1 else samples
    data = imagecodecs.png_encode(pixels, level=6, strategy=imagecodecs.PNG.STRATEGY.FILTERED)
    chunks = metadata.png_chunks(more)
    if icc_profile:
        chunks += metadata.png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    if exif:
        chunks += metadata.png_chunk(b"eXIf", exif.removeprefix(exif_data.PREFIX))
    head = len(_PNG) + 12 + 13  # after IHDR, before the pixels
    return data[:head] + chunks + data[head:]


def _encode_tiff(samples: np.ndarray, icc_profile: bytes | None, exif: bytes | None, more: Metadata) -> bytes:
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    extra = [(tag, "s", 0, str(tags[tag]).encode("utf-8"), True) for tag in exif_data.TEXT_TAGS if tag in tags]
    folders = {tag: tags.get_ifd(tag) for tag in (exif_data.EXIF_IFD, exif_data.GPS_IFD) if tags.get_ifd(tag)}
    # tifffile refuses the tags of these two, so a neighbour keeps the place of each until it is filled in below.
    extra += [(tag - 1, "I", 1, 0, True) for tag in folders]
    if more.xmp:
        extra.append((metadata.XMP_TAG, "B", len(more.xmp), more.xmp, True))
    resolution = {"resolution": more.dpi, "resolutionunit": "INCH"} if more.dpi else {}
    file = io.BytesIO()
    channels = samples.shape[-1]
    tifffile.imwrite(
        file,
        samples[..., 0] if channels == 1 else samples,
        byteorder="<",
        metadata=None,
        software=False,
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="adobe_deflate",
        predictor=True,
        iccprofile=icc_profile,
        extratags=extra,
        **resolution,
    )
    data = bytearray(file.getvalue())
    for tag, values in folders.items():
        data += b"\0" * (len(data) % 2)  # a directory starts on an even byte
        entry = data.index(struct.pack("<HHII", tag - 1, 4, 1, 0))  # the file begins with its directory
        struct.pack_into("<HHII", data, entry, tag, 4, 1, len(data))
        data += _tiff_directory(values, len(data))
    return bytes(data)


def _tiff_directory(values: dict, place: int) -> bytes:
    directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in values.items():
        if not isinstance(value, dict):  # a folder within the folder: interoperability tags, of no use here
            directory[tag] = value
    return directory.tobytes(place)
