"""EXIF, kept as the bytes "Exif\\0\\0" + a small TIFF structure: upright, without the thumbnail of the old picture."""

from __future__ import annotations

import io
import struct

from PIL import Image

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how such a file begins
PREFIX = b"Exif\0\0"
ORIENTATION, EXIF_IFD, GPS_IFD = 0x0112, 0x8769, 0x8825
TEXT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)  # description, make, model, ..., copyright


def read(image: Image.Image | None, data: bytes) -> tuple[int, bytes | None]:
    """(orientation 1..8 that is still to be applied, EXIF bytes to keep) of a loaded image, or of TIFF bytes alone.

    EXIF that cannot be understood is left out: it never spoils a picture.
    """
    try:
        if data.startswith(TIFF):
            tags = Image.Exif()
            tags.load_from_fp(io.BytesIO(data))
            # Pillow turns a TIFF when it loads it, and then the loaded image has no orientation any more.
            left = tags if image is None else image.getexif()
            return left.get(ORIENTATION, 1), _from_tiff(tags)
        orientation = image.getexif().get(ORIENTATION, 1)
        raw = image.info.get("exif")
        return orientation, _upright(raw) if raw else None
    except Exception:  # every kind of damage has its own exception here
        return 1, None


def kept(raw: bytes | None) -> bytes | None:
    """EXIF of a picture that is upright already."""
    try:
        return _upright(raw) if raw else None
    except Exception:  # as above
        return None


def _from_tiff(tags: Image.Exif) -> bytes | None:
    """A TIFF file's tags about the photograph, without those about its storage."""
    kept = Image.Exif()
    for tag in TEXT_TAGS:
        if tag in tags:
            kept[tag] = tags[tag]
    for tag in (EXIF_IFD, GPS_IFD):
        if tags.get_ifd(tag):
            kept[tag] = dict(tags.get_ifd(tag))
    return kept.tobytes() if len(kept) else None


def _upright(raw: bytes) -> bytes:
    """Patch the orientation to 1 and unlink the thumbnail in place, so that a maker's private notes stay valid."""
    body = bytearray(raw.removeprefix(PREFIX))
    order = {b"II": "<", b"MM": ">"}[bytes(body[:2])]
    (start,) = struct.unpack_from(order + "I", body, 4)
    (entries,) = struct.unpack_from(order + "H", body, start)
    for at in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from(order + "H", body, at) == (ORIENTATION,):
            struct.pack_into(order + "HIHH", body, at + 2, 3, 1, 1, 0)  # one SHORT, 1
    struct.pack_into(order + "I", body, start + 2 + 12 * entries, 0)
    return PREFIX + bytes(body)
