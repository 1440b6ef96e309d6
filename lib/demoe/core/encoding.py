"""Encoding of picture files: Pillow where it can hold the samples, imagecodecs for 16 bits."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import accumulate

import imagecodecs
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .metadata import EXIF_IFD, EXIF_PREFIX, GPS_IFD, ICC_TAG, TEXT_TAGS, XMP_TAG, Metadata, as_stored


def encode(format: str, samples: np.ndarray, more: Metadata) -> bytes:
    """The file's bytes for (H,W,C) samples, uint8 or, for PNG and TIFF, uint16; C as of ``Picture.samples``.

    PNG, TIFF, WebP and BMP are lossless; JPEG has quality 95 without chroma subsampling. Raises ``ValueError`` for
    alpha in JPEG and BMP.
    """
    channels, exif, profile = samples.shape[-1], more.exif, more.icc_profile
    if channels in (2, 4) and format in ("JPEG", "BMP"):
        raise ValueError(f"a {format} file cannot hold transparency; write a .png, .tif or .webp")
    space = b"GRAY" if channels <= 2 and format != "WebP" else b"RGB "  # WebP has no gray
    if profile and profile[16:20] != space:
        profile = None
    if format == "PNG":
        return _encode_png(samples, profile, more)
    if format == "TIFF":
        return _encode_tiff(samples, profile, more)
    image = Image.fromarray(samples[..., 0] if channels == 1 else samples)
    options: dict = {}
    if format == "JPEG":
        options = {"quality": 95, "subsampling": 0}
        if exif and len(exif) > 65533:  # one JPEG segment
            exif = None
        if more.xmp and len(more.xmp) <= 65504:  # one segment, too
            options["xmp"] = more.xmp
    if format == "WebP":
        if channels <= 2:
            image = image.convert("RGB" if channels == 1 else "RGBA")
        options = {"lossless": True, "exact": True, "xmp": more.xmp or b""}  # exact: also the colours where alpha is 0
    elif more.dpi:
        options["dpi"] = more.dpi
    if format != "BMP":
        options |= {"icc_profile": profile} | ({"exif": exif} if exif else {})
    file = BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _encode_png(samples: np.ndarray, profile: bytes | None, more: Metadata) -> bytes:
    pixels = samples[..., 0] if samples.shape[-1] == 1 else samples
    data = imagecodecs.png_encode(pixels, level=6, strategy=imagecodecs.PNG.STRATEGY.FILTERED)
    chunks = b""
    if more.dpi:
        chunks += png_chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in more.dpi), 1))
    if more.xmp:
        chunks += png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + more.xmp)
    if profile:
        chunks += png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
    if more.exif:
        chunks += png_chunk(b"eXIf", more.exif.removeprefix(EXIF_PREFIX))
    head = 8 + 12 + 13  # signature and IHDR
    return data[:head] + chunks + data[head:]


def _encode_tiff(samples: np.ndarray, profile: bytes | None, more: Metadata) -> bytes:
    """Little-endian, in strips that are compressed side by side; Pillow writes the directories in front of them."""
    height, width, channels = samples.shape
    rows = min(height, max(1, (256 << 10) // samples[0].nbytes))  # of a strip of 256 KiB
    parts = [samples[top : top + rows] for top in range(0, height, rows)]
    with ThreadPoolExecutor() as pool:
        strips = list(pool.map(lambda part: imagecodecs.deflate_encode(imagecodecs.delta_encode(part, axis=1)), parts))
    lengths = [len(strip) for strip in strips]
    tags: dict[int, object] = {256: width, 257: height, 258: (8 * samples.itemsize,) * channels, 277: channels}
    tags |= {259: 8, 317: 2}  # Deflate of differences between neighbours
    tags |= {262: 2 if channels >= 3 else 1} | ({338: 2} if channels in (2, 4) else {})  # RGB or gray; straight alpha
    tags |= {273: [0, *accumulate(lengths[:-1])], 278: rows, 279: lengths}
    tags |= {282: more.dpi[0], 283: more.dpi[1], 296: 2} if more.dpi else {}
    tags |= {XMP_TAG: more.xmp} if more.xmp else {}
    tags |= {ICC_TAG: profile} if profile else {}
    if more.exif:
        exif = Image.Exif()
        exif.load(more.exif)
        tags |= {tag: as_stored(exif[tag]) for tag in TEXT_TAGS if tag in exif}
        tags |= {tag: exif.get_ifd(tag) for tag in (EXIF_IFD, GPS_IFD) if exif.get_ifd(tag)}
    directory, file = ImageFileDirectory_v2(b"II*\0\0\0\0\0"), BytesIO()
    for tag, value in tags.items():
        directory[tag] = value
    directory.save(file)  # and adds its own length to the strips' places
    return b"".join((file.getvalue(), *strips))
