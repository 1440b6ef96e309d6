"""Encoding of picture files: Pillow where it can hold the samples, imagecodecs and tifffile for 16 bits."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from . import metadata
from .metadata import NOTHING, Metadata


def encode(
    format: str, samples: np.ndarray, icc_profile: bytes | None, exif: bytes | None, more: Metadata = NOTHING
) -> bytes:
    """The file's bytes for (H,W,C) samples, uint8 or, for PNG and TIFF, uint16; C as of ``Picture.samples``.

    PNG, TIFF, WebP and BMP are lossless; JPEG has quality 95 without chroma subsampling. Raises ``ValueError`` for
    alpha in JPEG and BMP.
    """
    channels = samples.shape[-1]
    if channels in (2, 4) and format in ("JPEG", "BMP"):
        raise ValueError(f"a {format} file cannot hold transparency; write a .png, .tif or .webp")
    space = b"GRAY" if channels <= 2 and format != "WebP" else b"RGB "  # WebP has no gray
    if icc_profile and icc_profile[16:20] != space:
        icc_profile = None
    if format == "PNG":
        return _encode_png(samples, icc_profile, exif, more)
    if format == "TIFF":
        return _encode_tiff(samples, icc_profile, exif, more)
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
        options |= {"icc_profile": icc_profile} | ({"exif": exif} if exif else {})
    file = BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _encode_png(samples: np.ndarray, icc_profile: bytes | None, exif: bytes | None, more: Metadata) -> bytes:
    pixels = samples[..., 0] if samples.shape[-1] == 1 else samples
    data = imagecodecs.png_encode(pixels, level=6, strategy=imagecodecs.PNG.STRATEGY.FILTERED)
    chunks = b""
    if more.dpi:
        chunks += png_chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in more.dpi), 1))
    if more.xmp:
        chunks += png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + more.xmp)
    if icc_profile:
        chunks += png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    if exif:
        chunks += png_chunk(b"eXIf", exif.removeprefix(metadata.EXIF_PREFIX))
    head = 8 + 12 + 13  # signature and IHDR
    return data[:head] + chunks + data[head:]


def _encode_tiff(samples: np.ndarray, icc_profile: bytes | None, exif: bytes | None, more: Metadata) -> bytes:
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    extra = [(tag, "s", 0, str(tags[tag]).encode("utf-8"), True) for tag in metadata.TEXT_TAGS if tag in tags]
    folders = {tag: tags.get_ifd(tag) for tag in (metadata.EXIF_IFD, metadata.GPS_IFD) if tags.get_ifd(tag)}
    # tifffile refuses the tags of these two, so a neighbour keeps the place of each until it is filled in below.
    extra += [(tag - 1, "I", 1, 0, True) for tag in folders]
    if more.xmp:
        extra.append((metadata.XMP_TAG, "B", len(more.xmp), more.xmp, True))
    resolution = {"resolution": more.dpi, "resolutionunit": "INCH"} if more.dpi else {}
    file = BytesIO()
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
        directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
        for inner, value in values.items():
            if not isinstance(value, dict):  # a folder within the folder: interoperability tags, of no use here
                directory[inner] = value
        data += directory.tobytes(len(data))
    return bytes(data)
