"""Each format's decoder: looks at a file far enough to know its ``Picture``; libraries do the work."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO

import imagecodecs
import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from . import metadata
from .samples import Picture, Refused, from_pillow, gray_palette, of_depth, straight, unit

PNG = b"\x89PNG\r\n\x1a\n"
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}  # its colour primaries beyond those of sRGB
_SRGB = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)  # in PNG's cHRM
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # all that PNG's pixels need
_TOLD_CHUNKS = (b"acTL", b"gAMA", b"cHRM", b"cICP", b"sRGB")
_READ_CHUNKS = (*_TOLD_CHUNKS, b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"pHYs")
_UNTOLD_CHUNKS = {*b"tIME sBIT bKGD hIST sPLT fcTL fdAT caBX mDCV cLLI iDOT".split()}  # untrue of a result, or told
_KEPT_TEXT = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")


def _of_pillow(
    image: Image.Image,
    data: bytes,
    format: str,
    bits: int = 8,
    stored: Callable[[], np.ndarray] | None = None,
    lost: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> Picture:
    """The picture of an image that Pillow has opened; ``stored`` decodes it where Pillow itself does not."""
    frames, cmyk = getattr(image, "n_frames", 1), image.mode == "CMYK"
    notes = (*[f"first of {frames} frames"] * (frames > 1), *["CMYK turned into RGB"] * cmyk, *notes)
    info = image.info | ({"icc_profile": None} if cmyk else {})
    across, down = info.get("aspect") or (info.get("jfif_density") if info.get("jfif_unit") == 0 else None) or (1, 1)
    lost = (*lost, *["the shape of its pixels"] * (across != down))
    stored = stored or (lambda: from_pillow(image))
    return Picture(format, image.size, bits, metadata.orientation(info), stored, info, data, notes, lost)


def open_png(data: bytes) -> Picture:
    """Pixels by libpng from the chunks it needs. The others, before or behind the pixels, whole or damaged, by Pillow,
    and none of them spoils the picture."""
    head = data[:33]
    if head[12:16] == b"CgBI":
        raise Refused("is a PNG as Apple's tools make it for apps (CgBI), which is not read")
    if len(head) < 33 or head[12:16] != b"IHDR" or zlib.crc32(head[12:29]) != int.from_bytes(head[29:], "big"):
        raise ValueError("its PNG header is broken")
    bits, colour = head[24], head[25]
    pixels: list[memoryview] = []
    told: dict[bytes, bytes] = {}
    kept, lost, at, name = head, [], 8, b""
    while name != b"IEND":
        if at + 12 > len(data) or len(pixels) > 1_000_000:
            raise ValueError("the end of the PNG is missing")
        length, name = struct.unpack_from(">I4s", data, at)
        chunk = memoryview(data)[at : at + 12 + length]
        at += len(chunk)
        if name in _PIXEL_CHUNKS:
            pixels.append(chunk)
        elif name not in _READ_CHUNKS:
            told[name] = b""
        elif name not in told:
            body = bytes(chunk[8:-4])
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                lost.append(f"damaged {name.decode()}")
            elif name in _TOLD_CHUNKS:
                told[name] = body
            elif name.endswith((b"TXt", b"EXt")) and not body.startswith(_KEPT_TEXT):
                lost.append("its text")
            else:
                kept += chunk
    if b"cICP" in told:
        transfer = int.from_bytes(told[b"cICP"][1:2], "big")
        lost.append(f"HDR ({_HDR[transfer]})" if transfer in _HDR else "colour description (cICP)")
    elif b"sRGB" not in told and b"iCCP" not in kept:  # those that are not sRGB's
        lost += ["gamma (gAMA)"] * (told.get(b"gAMA", b"\0\0\xb1\x8f") != b"\0\0\xb1\x8f")
        points = [np.frombuffer(body[:32].ljust(32), ">u4") / 1e5 for body in (told.get(b"cHRM", _SRGB), _SRGB)]
        lost += ["its primaries (cHRM)"] * (not np.allclose(*points, atol=0.002))
    names = sorted(name.decode() for name in {*told} - {*_TOLD_CHUNKS} - _UNTOLD_CHUNKS if name.isalpha())
    lost += [f"further data ({', '.join(names[:5])})"] * bool(names)
    end = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))  # Pillow reads up to the pixels
    try:
        image = PngImageFile(BytesIO(kept + end))
    except Exception:  # text that is too long, a broken profile
        image = PngImageFile(BytesIO(head + end))
        lost.append("damaged metadata")
    image.n_frames = max(1, int.from_bytes(told.get(b"acTL", b"")[:4], "big"))

    def stored() -> np.ndarray:
        samples = imagecodecs.png_decode(b"".join((PNG, *pixels)))
        return gray_palette(samples) if colour == 3 else of_depth(samples, 16 if bits == 16 else 8)

    notes = ["black and white turned into gray"] * (bits == 1 and colour == 0)
    return _of_pillow(image, data, "PNG", bits, stored, dict.fromkeys(lost), notes)


_APP = re.compile(
    rb"JF|Exif|http|ICC_|MPF|urn|JP|Photoshop|Adobe|Ducky"
)  # how segments begin that are read, or told of


def open_jpeg(data: bytes) -> Picture:
    """By Pillow; frames that it does not know (12 bits, lossless) by libjpeg."""
    frame, at = 0, 2
    while at + 4 < len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # the first scan
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = frame or at
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if not frame or data[at : at + 2] != b"\xff\xda":
        raise Refused("is a JPEG without a frame of a kind that is read")
    if data.find(b"\xff\xd9", at) < 0:
        raise ValueError("the end of the JPEG is missing")
    bits = data[frame + 4]
    plain = bits == 8 and data[frame + 1] != 0xC3
    head = data if plain else data[: frame + 1] + b"\xc0" + data[frame + 2 : frame + 4] + b"\x08" + data[frame + 5 :]
    image = jpeg_factory(BytesIO(head))
    lost = ["its comment"] * ("comment" in image.info)
    lost += ["its damaged profile"] * (b"ICC_PROFILE\0" in data[:at] and not image.info.get("icc_profile"))
    others = {body[:30] for name, body in image.applist if name != "COM" and not _APP.match(body)}
    names = sorted({re.match(rb"\W*(\w*)", body)[1].decode() for body in others})
    lost += [f"further data ({', '.join(names)})"] * bool(names)
    notes = [f"{bits} bits a sample, of which a JPEG of ours keeps 8"] * (bits > 8)
    decode = None if plain else (lambda: of_depth(imagecodecs.jpeg8_decode(data), bits))
    return _of_pillow(image, data, "JPEG", bits, decode, lost, notes)


def open_webp(data: bytes) -> Picture:
    """By Pillow. Called by its name because ``Image.open`` has a limit of its own for pixels, as the others here."""
    return _of_pillow(WebPImageFile(BytesIO(data)), data, "WebP")


def open_bmp(data: bytes) -> Picture:
    """By Pillow, without alpha, which few programs read in a BMP and none of ours writes."""
    image = BmpImageFile(BytesIO(data))
    alpha = image.mode == "RGBA"
    stored = (lambda: np.asarray(image)[..., :3]) if alpha else None
    lost = ["its alpha"] * alpha + ["its profile"] * (data[14] >= 124 and data[70:74] in (b"DEBM", b"KNIL"))
    return _of_pillow(image, data, "BMP", stored=stored, lost=lost)


def _described(primaries: int, transfer: int) -> list[str]:
    """What a picture without a profile, whose colours these numbers of ITU-T H.273 describe, loses without them."""
    if transfer in _HDR:
        return [f"HDR ({_HDR[transfer]})"]
    return [f"the colours of {_WIDE[primaries]}"] if primaries in _WIDE else ["linear light"] * (transfer == 8)


def _boxes_lost(data: bytes) -> list[str]:
    """What boxes of HEIC and AVIF tell of: auxiliary pictures beside alpha, by their types, and the shape of pixels."""
    lost = []
    for kind in re.findall(rb"auxC\0\0\0\0(?!urn:mpeg:[!-~]*(?:alpha|auxid:1)\0)([!-~]+)\0", data):
        name = kind.decode().split(":")[-1]
        lost.append(
            "its gain map" if "gainmap" in name else "its depth map" if name in ("depth", "2") else f"its {name}"
        )
    shape = re.search(rb"\0\0\0\x10pasp(....)(....)", data, re.DOTALL)
    return lost + ["the shape of its pixels"] * bool(shape and shape[1] != shape[2])


def open_avif(data: bytes) -> Picture:
    """By Pillow, which rounds to 8 bits; deeper stills by imagecodecs, which crashes on one of several frames."""
    for sides in re.findall(rb"ispe\0\0\0\0(....)(....)", data, re.DOTALL):
        if max(sides) > struct.pack(">I", 32768):
            raise Refused("is an AVIF image with a side of more than 32768 pixels, which libavif does not read")
    image = AvifImageFile(BytesIO(data))
    bits = {2: 10, 3: 12}.get(data[data.find(b"av1C") + 6] >> 5 & 3, 8)  # AV1's high_bitdepth and twelve_bit
    nclx = data.find(b"colrnclx") + 8
    lost = _described(*struct.unpack_from(">HH", data, nclx)) if nclx > 8 and "icc_profile" not in image.info else []
    lost += _boxes_lost(data)
    if bits == 8 or image.n_frames > 1:
        return _of_pillow(image, data, "AVIF", lost=lost + [f"{bits} bits"] * (bits > 8))
    return _of_pillow(image, data, "AVIF", bits, lambda: of_depth(imagecodecs.avif_decode(data), bits), lost)


def open_heic(data: bytes) -> Picture:
    """By pillow-heif: the main picture, upright already, so that the orientation in EXIF says nothing any more."""
    try:
        import pillow_heif
    except ImportError:
        raise Refused("is a HEIC image, which needs pillow-heif: pip install 'demoe[heic]'") from None
    file = pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False)
    image = file[file.primary_index]
    bits, info = image.info.get("bit_depth", 8), image.info
    nclx = {} if info.get("icc_profile") else info.get("nclx_profile") or {}
    lost = _boxes_lost(data) + _described(nclx.get("color_primaries", 1), nclx.get("transfer_characteristics", 1))

    def stored() -> np.ndarray:
        array = np.asarray(image).reshape(*image.size[::-1], -1)  # uint8, or uint16 with samples in the upper bits
        if array.dtype == np.uint8 and "a" not in image.mode:
            return array
        samples = unit(array, 255 if array.dtype == np.uint8 else (2**bits - 1) << (16 - bits)).clip(0, 1)
        return straight(samples) if "a" in image.mode else samples

    notes = (f"main one of {len(file)} pictures",) * (len(file) > 1)
    return Picture("HEIC", image.size, bits, 1, stored, info, data, notes, tuple(lost))


def open_jxl(data: bytes) -> Picture:
    """By libjxl through imagecodecs, which turns it upright and gives no colour profile."""
    boxes, at = {}, 0
    while data[0] == 0 and at + 8 <= len(data):  # around the codestream
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + max(8, length) if length else len(data)
        boxes.setdefault(name, data[at + 8 : end])
        at = end
    code = boxes.get(b"jxlc") or boxes.get(b"jxlp", b"part" + data[:99])[4:]
    info = {"xmp": boxes.get(b"xml "), "exif": metadata.EXIF_PREFIX + boxes[b"Exif"][4:] if b"Exif" in boxes else None}
    lost = ("compressed metadata",) * (b"brob" in boxes) + ("its gain map",) * (b"jhgm" in boxes)
    head = int.from_bytes(code[2:82], "little")

    def take(*counts: int) -> int:
        """The next so many bits; of four numbers of bits, two bits before say which."""
        nonlocal head
        count = counts[take(2)] if len(counts) > 1 else counts[0]
        value, head = head & ((1 << count) - 1), head >> count
        return value

    def sides() -> tuple[int, int]:
        side = (lambda: 8 * (take(5) + 1)) if take(1) else (lambda: take(9, 13, 18, 30) + 1)
        height, ratio = side(), take(3)
        across, down = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
        return height * across // down or side(), height

    size, bits = sides(), 8
    if not take(1):  # not all as usual
        if take(1):
            size = size[::-1] if take(3) >= 4 else size  # orientation 5 to 8
            if take(1):
                sides()  # as it is meant to be shown
            if take(1):
                raise Refused("is a JPEG XL image with a preview inside, which is not read")
            if take(1):  # the rate of an animation, how often it is shown, whether it has time codes
                _ = take(0, 0, 10, 30), take(0, 0, 8, 10), take(0, 3, 16, 32), take(1)
        bits = 32 if take(1) else (8, 10, 12, 0)[take(2)] or take(6) + 1

    def stored() -> np.ndarray:
        samples = imagecodecs.jpegxl_decode(data)
        if samples.ndim == 4:
            picture.notes += (f"first of {len(samples)} frames",)
            samples = samples[0]
        if samples.shape[1:] == size[::-1]:
            raise Refused("is a JPEG XL image with extra channels, which is not read")
        return of_depth(samples, bits)

    picture = Picture("JPEG XL", size, bits, 1, stored, info, data, ("colours taken for sRGB",), lost)
    return picture
