"""What a file says besides its pixels, ICC profile and EXIF: XMP, resolution and PNG's colour chunks are carried along.

IPTC, comments and text are not; that they were there is told.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass

from PIL import Image

from . import exif

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, XMP_TAG, _IPTC = 282, 283, 296, 700, 33723
_INCHES = {2: 1.0, 3: 2.54}  # TIFF's resolution unit -> dots an inch of one dot a unit
_PNG_COLOUR = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4}  # chunk -> its length
_PNG_XMP = b"XML:com.adobe.xmp\0"  # the name of the text that is XMP
_IPTC_RESOURCE = 0x0404  # of Photoshop's blocks the one with words; the others are settings of that program
_ORIENTATION = (rb'(tiff:Orientation\s*=\s*["\'])[2-8]', rb"(<tiff:Orientation>\s*)[2-8]")


@dataclass(frozen=True)
class Metadata:
    """What goes along to the result, each where its format can hold it."""

    xmp: bytes | None = None  # an XML packet; its orientation is 1, as that of the pixels
    dpi: tuple[float, float] | None = None  # dots an inch, across and down, of the upright picture
    png_colour: bytes | None = None  # PNG's gAMA, cHRM, sRGB and cICP chunks as they stand, which only PNG can hold
    lost: tuple[str, ...] = ()  # names of what the file has and the result will not have


NOTHING = Metadata()


def read(image: Image.Image | None, data: bytes, orientation: int = 1) -> Metadata:
    """Of a Pillow image whose EXIF orientation was ``orientation``, or of the bytes of a TIFF file alone.

    What cannot be understood is left out.
    """
    try:
        if data.startswith(exif.TIFF):
            found, orientation = _of_tiff(data)
        else:
            xmp, lost = image.info.get("xmp"), []
            if _IPTC_RESOURCE in image.info.get("photoshop", {}):
                lost.append("IPTC data")
            if image.info.get("comment") and image.format in ("JPEG", "MPO"):
                lost.append("its comment")
            colour, text = _png_chunks_of(data) if image.format == "PNG" else (None, False)
            if text:
                lost.append("its text")
            found = Metadata(upright(xmp), _dpi(image.info.get("dpi")), colour, tuple(lost))
    except Exception:  # every kind of damage has its own exception here
        return NOTHING
    turned = found.dpi[::-1] if found.dpi and orientation in (5, 6, 7, 8) else found.dpi
    return Metadata(found.xmp, turned, found.png_colour, found.lost)


def upright(xmp: bytes | str | None) -> bytes | None:
    """The XMP packet of a picture that has been turned upright; its length stays."""
    if not xmp or not isinstance(xmp, (bytes, str)):  # a damaged TIFF may call it a number
        return None
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    for pattern in _ORIENTATION:
        xmp = re.sub(pattern, rb"\g<1>1", xmp)
    return xmp


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_chunks(more: Metadata) -> bytes:
    """The chunks that hold these, to stand before the pixels."""
    chunks = more.png_colour or b""
    if more.dpi:
        chunks += png_chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in more.dpi), 1))
    if more.xmp:
        chunks += png_chunk(b"iTXt", _PNG_XMP + b"\0\0\0\0" + more.xmp)
    return chunks


def _of_tiff(data: bytes) -> tuple[Metadata, int]:
    tags = Image.Exif()
    tags.load_from_fp(io.BytesIO(data))
    xmp = tags.get(XMP_TAG)
    scale = _INCHES.get(tags.get(_RESOLUTION_UNIT))  # without a unit the numbers only give the shape of a pixel
    dpi = _dpi([float(tags[tag]) * scale for tag in (_X_RESOLUTION, _Y_RESOLUTION)]) if scale else None
    lost = ("IPTC data",) if _IPTC in tags else ()
    return Metadata(upright(xmp), dpi, None, lost), tags.get(exif.ORIENTATION, 1)


def _dpi(values) -> tuple[float, float] | None:
    if not values:
        return None
    across, down = (float(value) for value in values)
    return (across, down) if 1 <= across <= 65535 and 1 <= down <= 65535 else None  # JPEG has 16 bits for each


def _png_chunks_of(data: bytes) -> tuple[bytes | None, bool]:
    """(the colour chunks, whether there is text that is not XMP)."""
    colour, text, at = {}, False, 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if _PNG_COLOUR.get(name) == length:
            colour.setdefault(name, data[at + 8 : at + 8 + length])
        text |= name in (b"tEXt", b"zTXt", b"iTXt") and not data.startswith(_PNG_XMP, at + 8)
        at += 12 + length
    return b"".join(png_chunk(name, body) for name, body in colour.items()) or None, text
