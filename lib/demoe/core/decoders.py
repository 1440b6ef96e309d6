"""Each format's decoder: opens a file far enough to know its ``Picture``; libraries do the work."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from . import metadata
from .metadata import Metadata
from .samples import MAX_PIXELS, Picture, Refused, cmyk_to_rgb, from_pillow, gray_palette, of_depth, straight, unit

PNG = b"\x89PNG\r\n\x1a\n"
RAW_FILE = "a camera's raw file: develop it first, for example to a 16-bit TIFF"
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # all that PNG's pixels need
_TOLD_CHUNKS = (b"acTL", b"gAMA", b"cICP", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"pHYs")
_KEPT_TEXT = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_LARGEST_CHUNK = 16 << 20  # bytes of one that is no pixels


def _of_pillow(
    image: Image.Image,
    stream: BinaryIO,
    format: str,
    bits: int = 8,
    stored: Callable[[], np.ndarray] | None = None,
    lost: tuple[str, ...] = (),
) -> Picture:
    """The picture of an image that Pillow has opened; ``stored`` decodes it where Pillow itself does not."""
    try:
        tags = Image.Image.getexif(image)  # PNG's own would decode the pixels to look behind them
    except Exception:  # damaged EXIF never spoils a picture
        tags = None
    orientation = metadata.orientation(tags, image.info.get("xmp"))
    size = image.size[::-1] if orientation >= 5 else image.size
    frames = getattr(image, "n_frames", 1)

    def further() -> tuple[bytes | None, bytes | None, Metadata]:
        stream.seek(0)
        profile, exif, more = metadata.collect(image.info, size, orientation >= 5, stream.read(), lost)
        return (None if image.mode == "CMYK" else profile), exif, more

    notes = [f"first of {frames} frames"] * (frames > 1) + ["CMYK turned into RGB"] * (image.mode == "CMYK")
    decode = stored or (lambda: from_pillow(image)[0])
    return Picture(format, image.size, bits, orientation, decode, further, tuple(notes))


def open_png(stream: BinaryIO) -> Picture:
    """Pixels by libpng from the chunks it needs. The others, before or behind the pixels, whole or damaged, by Pillow,
    and none of them spoils the picture."""
    head = stream.read(33)
    if len(head) < 33 or head[12:16] != b"IHDR" or zlib.crc32(head[12:29]) != int.from_bytes(head[29:33], "big"):
        raise ValueError("its PNG header is broken")
    bits, colour = head[24], head[25]
    pixels: list[tuple[int, int]] = []  # (place, length)
    told: dict[bytes, bytes] = {}
    kept, lost, at, name = head, [], 8, b""
    while name != b"IEND":
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8).ljust(8, b"\0"))
        if name == bytes(4) or len(pixels) > 1_000_000:
            raise ValueError("the end of the PNG is missing")
        if name in _PIXEL_CHUNKS:
            pixels.append((at, 12 + length))
        elif name in _TOLD_CHUNKS and name not in told:
            body = stream.read(min(length, _LARGEST_CHUNK))
            if zlib.crc32(name + body) != int.from_bytes(stream.read(4), "big"):
                lost.append(f"damaged {name.decode()}")
            elif name.endswith((b"TXt", b"EXt")) and not body.startswith(_KEPT_TEXT):
                lost.append("its text")
            elif name in (b"acTL", b"gAMA", b"cICP"):
                told[name] = body
            else:
                kept += struct.pack(">I", length) + name + body + struct.pack(">I", zlib.crc32(name + body))
        elif name == b"sRGB":
            told[name] = b""
        at += 12 + length
    if b"cICP" in told:
        lost.append(f"HDR ({_HDR[told[b'cICP'][1]]})" if told[b"cICP"][1] in _HDR else "colour description (cICP)")
    elif b"sRGB" not in told and b"iCCP" not in kept and told.get(b"gAMA", b"\0\0\xb1\x8f") != b"\0\0\xb1\x8f":
        lost.append("gamma (gAMA)")  # one that is not sRGB's
    end = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))  # Pillow reads up to the pixels
    try:
        image = PngImageFile(BytesIO(kept + end))
    except Exception:  # text that is too long, a broken profile
        image = PngImageFile(BytesIO(head + end))
        lost.append("damaged metadata")
    image.n_frames = max(1, int.from_bytes(told.get(b"acTL", b"")[:4], "big"))

    def stored() -> np.ndarray:
        parts = [PNG]
        for place, length in pixels:
            stream.seek(place)
            parts.append(stream.read(length))
        samples = imagecodecs.png_decode(b"".join(parts))
        return gray_palette(samples) if colour == 3 else of_depth(samples, 16 if bits == 16 else 8)

    picture = _of_pillow(image, stream, "PNG", bits, stored, tuple(dict.fromkeys(lost)))
    if bits == 1 and colour == 0:
        picture.notes += ("black and white turned into gray",)
    return picture


def open_jpeg(stream: BinaryIO) -> Picture:
    """By Pillow; frames that it does not know (12 bits, lossless) by libjpeg."""
    stream.seek(0)
    data = stream.read()
    frame = _jpeg_segment(data, lambda marker: 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC))
    if data.find(b"\xff\xd9", _jpeg_segment(data, lambda marker: marker == 0xDA)) < 0:
        raise ValueError("the end of the JPEG is missing")
    bits = data[frame + 4]
    plain = bits == 8 and data[frame + 1] != 0xC3
    head = data if plain else data[: frame + 1] + b"\xc0" + data[frame + 2 : frame + 4] + b"\x08" + data[frame + 5 :]
    image = jpeg_factory(BytesIO(head))
    lost = ("its comment",) * ("comment" in image.info)
    decode = None if plain else (lambda: of_depth(imagecodecs.jpeg8_decode(data), bits))
    picture = _of_pillow(image, stream, "JPEG", bits, decode, lost)
    if bits > 8:
        picture.notes += (f"{bits} bits a sample, of which a JPEG of ours keeps 8",)
    return picture


def _jpeg_segment(data: bytes, wanted: Callable[[int], bool]) -> int:
    """Where the first segment with such a marker begins."""
    at = 2
    while at + 4 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if wanted(marker):
            return at
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise Refused("is a JPEG without a frame of a kind that is read")


def open_webp(stream: BinaryIO) -> Picture:
    """By Pillow. Called by its name because ``Image.open`` has a limit of its own for pixels, as the others here."""
    return _of_pillow(WebPImageFile(stream), stream, "WebP")


def open_bmp(stream: BinaryIO) -> Picture:
    """By Pillow, without alpha, which few programs read in a BMP and none of ours writes."""
    image = BmpImageFile(stream)
    if image.mode != "RGBA":
        return _of_pillow(image, stream, "BMP")
    return _of_pillow(image, stream, "BMP", stored=lambda: np.asarray(image)[..., :3], lost=("its alpha",))


def open_avif(stream: BinaryIO) -> Picture:
    """By Pillow, which rounds to 8 bits; deeper stills by imagecodecs, which crashes on one of several frames."""
    stream.seek(0)
    data = stream.read()
    image = AvifImageFile(BytesIO(data))
    flags = data[data.find(b"av1C") + 6] >> 5 & 3  # high_bitdepth and twelve_bit of AV1's configuration
    bits = {2: 10, 3: 12}.get(flags, 8)
    transfer = data.find(b"colrnclx") + 10  # behind the primaries
    hdr = _HDR.get(int.from_bytes(data[transfer : transfer + 2], "big")) if transfer > 10 else None
    lost = (f"HDR ({hdr})",) * bool(hdr)
    if bits == 8 or image.n_frames > 1:
        return _of_pillow(image, stream, "AVIF", lost=lost + (f"{bits} bits",) * (bits > 8))
    return _of_pillow(image, stream, "AVIF", bits, lambda: of_depth(imagecodecs.avif_decode(data), bits), lost)


def open_heic(stream: BinaryIO) -> Picture:
    """By pillow-heif: the main picture, upright already, so that the orientation in EXIF says nothing any more."""
    try:
        import pillow_heif
    except ImportError:
        raise Refused("is a HEIC image, which needs pillow-heif: pip install 'demoe[heic]'") from None
    file = pillow_heif.open_heif(stream, convert_hdr_to_8bit=False)
    image = file[file.primary_index]
    bits, info = image.info.get("bit_depth", 8), image.info
    hdr = _HDR.get((info.get("nclx_profile") or {}).get("transfer_characteristics"))
    auxiliary = {"its gain map": "hdrgainmap", "its depth map": "depth"}
    lost = [what for what, word in auxiliary.items() if any(word in name.lower() for name in info.get("aux") or {})]
    lost += ["its depth map"] * bool(info.get("depth_images")) + [f"HDR ({hdr})"] * bool(hdr)

    def stored() -> np.ndarray:
        array = np.asarray(image)  # uint8, or uint16 with the samples in the upper bits
        array = array.reshape(*array.shape[:2], -1)
        if array.dtype == np.uint8 and "a" not in image.mode:
            return array
        samples = unit(array, 255 if array.dtype == np.uint8 else (2**bits - 1) << (16 - bits)).clip(0, 1)
        return straight(samples) if "a" in image.mode else samples

    def further() -> tuple[bytes | None, bytes | None, Metadata]:
        stream.seek(0)
        return metadata.collect(info, image.size, False, stream.read(), tuple(dict.fromkeys(lost)))

    notes = (f"first of {len(file)} frames",) if len(file) > 1 else ()
    return Picture("HEIC", image.size, bits, 1, stored, further, notes)


def open_jxl(stream: BinaryIO) -> Picture:
    """By libjxl through imagecodecs, which turns it upright and gives no colour profile."""
    stream.seek(0)
    data = stream.read()
    start, info, lost, at = 0, {}, [], 0
    while data[0] == 0 and at + 8 <= len(data):  # boxes around the codestream
        length, name = struct.unpack_from(">I4s", data, at)
        if name in (b"jxlc", b"jxlp") and not start:
            start = at + (8 if name == b"jxlc" else 12)
        info |= {"exif": metadata.EXIF_PREFIX + data[at + 12 : at + length]} if name == b"Exif" else {}
        info |= {"xmp": data[at + 8 : at + length]} if name == b"xml " else {}
        lost += ["compressed metadata"] if name == b"brob" else []
        at += max(8, length) if length else len(data)
    bits = int.from_bytes(data[start + 2 : start + 42], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def side(small: int) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height, ratio = side(small), take(3)
    num, den = ((0, 0), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    width = height * num // den if ratio else side(small)
    extra, depth = 0 if take(1) else take(1), 8
    if extra and take(3) >= 4:  # orientation 5 to 8
        width, height = height, width

    def stored() -> np.ndarray:
        samples = imagecodecs.jpegxl_decode(data)
        samples = samples[0] if samples.ndim == 4 else samples
        return of_depth(samples, 8 * samples.dtype.itemsize)

    def further() -> tuple[bytes | None, bytes | None, Metadata]:
        return metadata.collect(info, (width, height), False, data, tuple(lost))

    return Picture("JPEG XL", (width, height), depth, 1, stored, further, ("colours taken for sRGB",))


def open_tiff(stream: BinaryIO) -> Picture:
    """By tifffile: the largest page, wherever a preview stands."""
    stream.seek(0)
    file = tifffile.TiffFile(stream)
    pages = [page for page in _tiff_pages(file) if not page.subfiletype & 4] or [file.pages.first]  # 4: a mask
    page = max(pages, key=lambda page: page.imagewidth * page.imagelength)  # the first of equal ones
    kind = page.photometric.name
    if kind in ("CFA", "LINEAR_RAW") or 50706 in file.pages.first.tags:  # DNG's version
        raise Refused(f"is {RAW_FILE}")
    colours = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "SEPARATED": 4}.get(kind, 3)
    if kind not in _TIFF_KINDS or page.imagedepth != 1 or (kind in ("CIELAB", "PALETTE") and page.bitspersample > 8):
        raise Refused(f"is a {page.bitspersample}-bit TIFF of a kind that is not read ({kind})")
    if page.compression == 34887 and file.byteorder == ">" and page.bitspersample > 8:
        raise Refused("is a big-endian TIFF with LERC inside, which tifffile gives with its bytes exchanged")
    if page.nbytes > 16 * MAX_PIXELS:
        raise Refused(f"is too large: {page.samplesperpixel} samples a pixel")
    alpha = int(
        kind != "PALETTE" and page.extrasamples[:1] in ((1,), (2,))
    )  # 1: colours are times alpha; 0: not alpha but anything
    more = page.samplesperpixel - colours - alpha
    same = sum((other.imagewidth, other.imagelength) == (page.imagewidth, page.imagelength) for other in pages)
    notes = [f"first of {same} frames"] * (same > 1)
    notes += [f"largest of {len(pages)} pages"] * (same == 1 < len(pages)) + _TIFF_KINDS[kind] * (more >= 0)
    notes += ["floating-point samples rounded to 16 bits"] * (page.dtype is not None and page.dtype.kind == "f")
    notes += ["black and white turned into gray"] * (page.bitspersample == 1 and colours == 1)
    lost = ["extra channels" if more > 1 else "extra channel"] * (more > 0)
    tags = page.tags
    orientation = metadata.orientation({metadata.ORIENTATION: tags.valueof(274)}, tags.valueof(metadata.XMP_TAG))
    size = (page.imagewidth, page.imagelength)
    upright = size[::-1] if orientation >= 5 else size

    def stored() -> np.ndarray:
        if 0 in page.databytecounts:
            raise ValueError("some of its pixels are missing")
        return _tiff_samples(page, kind, colours, alpha)

    def further() -> tuple[bytes | None, bytes | None, Metadata]:
        stream.seek(0)
        data = stream.read()
        scale = {2: 1.0, 3: 2.54}.get(tags.valueof(296, 2), 0)  # inches; centimetres; else only the pixel's shape
        values = [tags.valueof(tag) for tag in (282, 283)]
        info = {"xmp": tags.valueof(metadata.XMP_TAG), "icc_profile": page.iccprofile}
        info["dpi"] = [scale * value[0] / value[1] for value in values] if all(values) and values[0][1] else None
        if metadata.IPTC_TAG in tags:
            lost.append("IPTC data")
        try:
            exif = metadata.exif_of_tiff(data, upright)
        except Exception:  # of BigTIFF, or damaged
            exif = None
            if metadata.EXIF_IFD in tags:
                lost.append("EXIF")
        profile, _, further = metadata.collect(info, upright, orientation >= 5, data, tuple(lost))
        return (None if kind == "SEPARATED" else profile), exif, further

    return Picture("TIFF", size, page.bitspersample, orientation, stored, further, tuple(notes))


_TIFF_KINDS = {
    "MINISBLACK": [],
    "MINISWHITE": [],
    "RGB": [],
    "PALETTE": [],
    "YCBCR": [],
    "SEPARATED": ["CMYK turned into RGB"],
    "CIELAB": ["Lab turned into RGB"],
}


def _tiff_pages(file: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    for page in islice(file.pages, 1000):
        yield page
        if page.pages is not None:
            yield from islice(page.pages, 100)


def _tiff_samples(page: tifffile.TiffPage, kind: str, colours: int, alpha: int) -> np.ndarray:
    array = page.asarray()
    if array.ndim == 2:
        array = array[..., None]
    elif page.axes.startswith("S"):  # planes one after the other
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] < colours + alpha:
        raise ValueError("sizes that contradict one another")
    array = array[..., : colours + alpha]
    if kind == "PALETTE":
        return gray_palette((page.colormap[:, array[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0))
    if kind in ("CIELAB", "YCBCR") and array.dtype == np.uint8 and page.compression not in _IN_RGB:
        mode = "LAB" if kind == "CIELAB" else "YCbCr"
        image = Image.frombytes(mode, array.shape[1::-1], np.ascontiguousarray(array[..., :3]).tobytes(), "raw", mode)
        return np.asarray(image.convert("RGB"))
    if kind == "SEPARATED" and array.dtype == np.uint8 and not alpha:
        image = Image.frombytes("CMYK", array.shape[1::-1], np.ascontiguousarray(array).tobytes())
        return np.asarray(cmyk_to_rgb(image, page.iccprofile))
    samples = of_depth(array, page.bitspersample)
    if kind == "MINISWHITE":
        peak = 1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max
        samples = np.concatenate((peak - samples[..., :1], samples[..., 1:]), axis=-1)
    if kind == "SEPARATED":
        samples = unit(samples)
        ink = 1 - samples[..., :4]
        samples = np.concatenate((ink[..., :3] * ink[..., 3:], samples[..., 4:]), axis=-1)
    return straight(unit(samples)) if alpha and page.extrasamples[0] == 1 else samples


_IN_RGB = (6, 7, 33003, 33004, 33005, 34712, 34892, 50001, 50002)  # compressions whose decoders give RGB
