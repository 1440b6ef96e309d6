"""What a file says besides its pixels: EXIF, XMP, ICC profile and resolution go along to the result, upright.

What cannot go along, or would promise what the result does not have, is left out and named.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from PIL import Image

from .samples import Picture

EXIF_PREFIX = b"Exif\0\0"  # EXIF is kept as these bytes and a small TIFF structure
ORIENTATION, EXIF_IFD, GPS_IFD = 0x0112, 0x8769, 0x8825
TEXT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)  # description, make, model, ..., copyright
TEXT_TAGS += (0x010D, 0x011D, 0x013C, 0x4746, 0x4749, *range(0x9C9B, 0x9CA0))  # names, host, rating, Windows' texts
_STORAGE = re.compile(r"ImageJ=|\{\"shape\"|<\?xml.{0,2000}<OME", re.DOTALL)  # descriptions of how a stack is stored
XMP_TAG, IPTC_TAG, ICC_TAG = 700, 33723, 34675
_BESIDE = {  # what may stand beside a picture: bytes found only in files that have it, words of XMP about it
    "IPTC data": ((b"8BIM\x04\x04",), r"(?!)"),  # of Photoshop's blocks; the others are settings of that program
    "content credentials": ((b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71",), r"dc/terms/provenance"),
    "extended XMP": ((b"http://ns.adobe.com/xmp/extension/\0",), r"HasExtendedXMP"),
    "its motion video": ((b"MotionPhoto_Data", b"ftypmp4", b"ftypiso", b"ftypqt  "), r"MotionPhoto|MicroVideo|OLivePh"),
    "its gain map": ((b"urn:iso:std:iso:ts:21496:-1\0",), r"GainMap|hdr-gain-map"),
    "its depth map": ((), r"[Dd]epth"),
    "its sound": ((), r"photos/1\.0/audio/"),
    "its second picture": ((), r"photos/1\.0/image/"),
}
_ANNOUNCING = re.compile(  # namespace, name and value in XMP of what speaks of something beside the picture
    r"http://ns\.google\.com/photos/(dd/|1\.0/((container|depthmap|image|audio)/|camera/(MotionPhoto|MicroVideo)))"
    r"|http://ns\.(adobe\.com/hdr-gain-map|apple\.com/(HDRGainMap|pixeldatainfo)|oplus\.com/photos)/"
    r"|http://ns\.adobe\.com/(xmp/note/HasExtendedXMP|xap/1\.0/Thumbnails)"
    r"|http://purl\.org/dc/terms/provenance=(https?:|self#)"
)


@dataclass(frozen=True)
class Metadata:
    """What goes along to the result, each where its format can hold it."""

    icc_profile: bytes | None = None
    exif: bytes | None = None  # its orientation is 1, as that of the pixels
    xmp: bytes | None = None  # an XML packet; its orientation is 1, too
    dpi: tuple[float, float] | None = None  # dots an inch, across and down, of the upright picture
    lost: tuple[str, ...] = ()  # names of what the file has and the result will not have


NOTHING = Metadata()


def orientation(info: Mapping, value: object = None) -> int:
    """The camera's orientation 1..8: ``value``, or EXIF's, or XMP's, else 1; ``info`` is that of a ``Picture``."""
    if value is None:
        tags = Image.Exif()
        with suppress(Exception):  # damaged EXIF never spoils a picture
            tags.load(_exif(info))
            value = tags.get(ORIENTATION)
    if value is None and (packet := _packet(info)):
        written = re.search(rb'tiff:Orientation\s*(?:=\s*["\']|>)\s*([1-8])', packet)
        value = int(written[1]) if written else 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def collect(picture: Picture) -> Metadata:
    """What the result of a picture gets. What cannot be understood is left out: it never spoils a picture."""
    info, size, data = picture.info, picture.size, picture.data
    missing, exif = [], None
    try:
        exif = upright_exif(raw, size) if (raw := _exif(info)) else None
    except Exception:  # every kind of damage has its own exception here
        missing.append("damaged EXIF")
    xmp, announced = _honest_xmp(_packet(info), size)
    missing += [name for name, (marks, _) in _BESIDE.items() if any(mark in data for mark in marks)]
    missing += ["its gain map"] * (data[4:8] == b"ftyp" and b"tmap" in data[8:128])  # of HEIC and AVIF
    dpi = None
    with suppress(KeyError, TypeError, ValueError, ZeroDivisionError):
        across, down = (float(value) for value in info["dpi"])
        if min(across, down) >= 1 and max(across, down) <= 65535:  # a JPEG has 16 bits for each
            dpi = (down, across) if picture.turned else (across, down)
    lost = tuple(dict.fromkeys((*missing, *announced, *picture.lost)))
    return Metadata(_bytes(info.get("icc_profile")), exif, xmp, dpi, lost)


def _exif(info: Mapping) -> bytes | None:
    """EXIF, also as ImageMagick wrote it before PNG had any. Raises ``ValueError`` where that is damaged."""
    old = info.get("Raw profile type exif")
    return info.get("exif") or (bytes.fromhex("".join(old.split("\n")[3:])) if old else None)


def _bytes(value: object) -> bytes | None:
    value = value.encode() if isinstance(value, str) else value
    return value if isinstance(value, bytes) and value else None  # a damaged TIFF may call it a number


def _packet(info: Mapping) -> bytes | None:
    """XMP as UTF-8, which its places in all formats but TIFF want."""
    packet = _bytes(info.get("xmp"))
    coding = json.detect_encoding(packet or b"")  # by the zeros beside the first letter, or the mark before it
    with suppress(UnicodeError):
        if coding.startswith(("utf-16", "utf-32")):
            return re.sub(r"^\ufeff?(<\?xml.*?\?>)?", "", packet.decode(coding), flags=re.DOTALL).strip("\0").encode()
    return packet


def upright_exif(raw: bytes, size: tuple[int, int]) -> bytes:
    """EXIF with orientation 1, width and height of the picture as it is, and without the thumbnail of the old picture.

    It is patched in place, so that a maker's private notes stay valid. ``size``: (width, height). Raises
    ``struct.error`` or ``KeyError`` for damaged EXIF.
    """
    body = bytearray(raw.removeprefix(EXIF_PREFIX))
    order = {b"II": "<", b"MM": ">"}[bytes(body[:2])]
    values = {0x0100: size[0], 0xA002: size[0], 0x0101: size[1], 0xA003: size[1], ORIENTATION: 1}

    starts = [*struct.unpack_from(order + "I", body, 4)]
    for start in starts:  # and then of the directory EXIF_IFD
        (entries,) = struct.unpack_from(order + "H", body, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHII", body, at)
            if tag == EXIF_IFD and value and len(starts) == 1:
                starts.append(value)
            elif tag in values and kind == 3 and values[tag] < 65536:  # SHORT
                struct.pack_into(order + "HIHH", body, at + 2, 3, 1, values[tag], 0)
            elif tag in values:  # LONG
                struct.pack_into(order + "HII", body, at + 2, 4, 1, values[tag])
        if start == starts[0]:  # what follows is the thumbnail
            struct.pack_into(order + "I", body, start + 2 + 12 * entries, 0)
    return EXIF_PREFIX + bytes(body)


def exif_of_tiff(data: bytes, offset: int) -> bytes | None:
    """A TIFF file's tags about the photograph, of the directory at ``offset``, without those about its storage."""
    tags, kept = Image.Exif(), Image.Exif()
    if data[3] == 43:
        raise ValueError("a big-endian BigTIFF, which Pillow does not read")
    tags.endian, tags.bigtiff = "<" if data[:2] == b"II" else ">", data[2] == 43
    tags.load_from_fp(io.BytesIO(data), offset)
    for tag in TEXT_TAGS:
        if tag in tags and not (tag == 0x010E and _STORAGE.match(str(tags[tag]))):
            kept[tag] = as_stored(tags[tag])
    for tag in (EXIF_IFD, GPS_IFD):
        if tags.get_ifd(tag):
            kept[tag] = dict(tags.get_ifd(tag))
    return kept.tobytes() if len(kept) else None


def as_stored(value: object) -> object:
    """Of one of ``TEXT_TAGS`` the bytes that it was read from: Pillow takes them for Latin-1, and writes only ASCII."""
    return value.encode("latin-1", "replace") if isinstance(value, str) else value


def _honest_xmp(xmp: bytes | None, size: tuple[int, int]) -> tuple[bytes | None, list[str]]:
    """The XMP packet of an upright picture of this size that is alone in its file, and names of what it announced
    besides. The thumbnail of the old picture is left out without a word, as that of EXIF.
    """
    if xmp is None:
        return None, []
    names = (b"tiff:ImageWidth", b"tiff:ImageLength", b"exif:PixelXDimension", b"exif:PixelYDimension")
    for name, value in zip((b"tiff:Orientation", *names), (1, *size, *size), strict=True):
        xmp = re.sub(rb"(<%b>\s*|%b\s*=\s*[\"'])\d+" % (name, name), rb"\g<1>%d" % value, xmp)

    def named(parts: str) -> list[str]:
        return [name for name, (_, words) in _BESIDE.items() if re.search(words, parts)]

    try:
        elements = minidom.parseString(xmp.strip(b"\0")).getElementsByTagName("*")
    except (ExpatError, ValueError, LookupError, RecursionError):  # LookupError: an encoding that nobody knows
        announced = named(xmp.decode("latin-1"))
        return (None, [*announced, "damaged XMP"]) if announced else (xmp, [])
    gone = []
    for element in elements:
        for node in (*element.attributes.values(), element):
            value = node.firstChild.nodeValue if node.firstChild else ""
            says = value if node.prefix == "xmlns" else f"{node.namespaceURI}{node.localName}={value}"
            if _ANNOUNCING.match(says) and node is not elements[0]:
                gone.append("" if node.prefix == "xmlns" else says + element.toxml() * (node is element))
                element.parentNode.removeChild(node) if node is element else element.removeAttributeNode(node)
    return (elements[0].toxml("utf-8") if gone else xmp), named(" ".join(gone))
