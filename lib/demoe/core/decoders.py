"""Each format's decoder: looks at a file far enough to know its ``Picture``; libraries do the work."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice

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
from .samples import MAX_PIXELS, Picture, Refused, from_pillow, gray_palette, of_depth, straight, unit

PNG = b"\x89PNG\r\n\x1a\n"
RAW_FILE = "a camera's raw file: develop it first, for example to a 16-bit TIFF"
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}  # its colour primaries beyond those of sRGB
_SRGB = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)  # in PNG's cHRM
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # all that PNG's pixels need
_TOLD_CHUNKS = (b"acTL", b"gAMA", b"cHRM", b"cICP", b"sRGB")
_READ_CHUNKS = (*_TOLD_CHUNKS, b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"pHYs")
_KEPT_TEXT = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")


def _of_pillow(
    image: Image.Image,
    data: bytes,
    format: str,
    bits: int = 8,
    stored: Callable[[], np.ndarray] | None = None,
    lost: tuple[str, ...] = (),
) -> Picture:
    """The picture of an image that Pillow has opened; ``stored`` decodes it where Pillow itself does not."""
    frames, cmyk = getattr(image, "n_frames", 1), image.mode == "CMYK"
    notes = [f"first of {frames} frames"] * (frames > 1) + ["CMYK turned into RGB"] * cmyk
    info = image.info | ({"icc_profile": None} if cmyk else {})
    across, down = info.get("aspect") or (info.get("jfif_density") if info.get("jfif_unit") == 0 else None) or (1, 1)
    lost += ("the shape of its pixels",) * (across != down)
    orientation = metadata.orientation(info)
    decode = stored or (lambda: from_pillow(image))
    return Picture(format, image.size, bits, orientation, decode, info, data, tuple(notes), lost)


def open_png(data: bytes) -> Picture:
    """Pixels by libpng from the chunks it needs. The others, before or behind the pixels, whole or damaged, by Pillow,
    and none of them spoils the picture."""
    head = data[:33]
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
        elif name in _READ_CHUNKS and name not in told:
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

    picture = _of_pillow(image, data, "PNG", bits, stored, tuple(dict.fromkeys(lost)))
    if bits == 1 and colour == 0:
        picture.notes += ("black and white turned into gray",)
    return picture


def open_jpeg(data: bytes) -> Picture:
    """By Pillow; frames that it does not know (12 bits, lossless) by libjpeg."""
    frame, at = 0, 2
    while data[at : at + 2] != b"\xff\xda":  # the first scan
        if at + 4 >= len(data) or data[at] != 0xFF:
            raise Refused("is a JPEG without a frame of a kind that is read")
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = frame or at
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if not frame:
        raise Refused("is a JPEG without a frame of a kind that is read")
    if data.find(b"\xff\xd9", at) < 0:
        raise ValueError("the end of the JPEG is missing")
    bits = data[frame + 4]
    plain = bits == 8 and data[frame + 1] != 0xC3
    head = data if plain else data[: frame + 1] + b"\xc0" + data[frame + 2 : frame + 4] + b"\x08" + data[frame + 5 :]
    image = jpeg_factory(BytesIO(head))
    lost = ("its comment",) * ("comment" in image.info)
    decode = None if plain else (lambda: of_depth(imagecodecs.jpeg8_decode(data), bits))
    picture = _of_pillow(image, data, "JPEG", bits, decode, lost)
    if bits > 8:
        picture.notes += (f"{bits} bits a sample, of which a JPEG of ours keeps 8",)
    return picture


def open_webp(data: bytes) -> Picture:
    """By Pillow. Called by its name because ``Image.open`` has a limit of its own for pixels, as the others here."""
    return _of_pillow(WebPImageFile(BytesIO(data)), data, "WebP")


def open_bmp(data: bytes) -> Picture:
    """By Pillow, without alpha, which few programs read in a BMP and none of ours writes."""
    image = BmpImageFile(BytesIO(data))
    alpha = image.mode == "RGBA"
    stored = (lambda: np.asarray(image)[..., :3]) if alpha else None
    return _of_pillow(image, data, "BMP", stored=stored, lost=("its alpha",) * alpha)


def _described(primaries: int, transfer: int) -> tuple[str, ...]:
    """What a picture without a profile, whose colours these numbers of ITU-T H.273 describe, loses without them."""
    if transfer in _HDR:
        return (f"HDR ({_HDR[transfer]})",)
    return (f"the colours of {_WIDE[primaries]}",) if primaries in _WIDE else ("linear light",) * (transfer == 8)


def open_avif(data: bytes) -> Picture:
    """By Pillow, which rounds to 8 bits; deeper stills by imagecodecs, which crashes on one of several frames."""
    image = AvifImageFile(BytesIO(data))
    flags = data[data.find(b"av1C") + 6] >> 5 & 3  # high_bitdepth and twelve_bit of AV1's configuration
    bits = {2: 10, 3: 12}.get(flags, 8)
    nclx = data.find(b"colrnclx") + 8
    lost = _described(*struct.unpack_from(">HH", data, nclx)) if nclx > 8 and "icc_profile" not in image.info else ()
    if bits == 8 or image.n_frames > 1:
        return _of_pillow(image, data, "AVIF", lost=lost + (f"{bits} bits",) * (bits > 8))
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
    names = " ".join(info.get("aux") or {}).lower()  # of auxiliary pictures
    lost = ["its gain map"] * ("hdrgainmap" in names)
    lost += ["its depth map"] * ("depth" in names or bool(info.get("depth_images")))
    lost += _described(nclx.get("color_primaries", 1), nclx.get("transfer_characteristics", 1))

    def stored() -> np.ndarray:
        array = np.asarray(image)  # uint8, or uint16 with the samples in the upper bits
        array = array.reshape(*array.shape[:2], -1)
        if array.dtype == np.uint8 and "a" not in image.mode:
            return array
        samples = unit(array, 255 if array.dtype == np.uint8 else (2**bits - 1) << (16 - bits)).clip(0, 1)
        return straight(samples) if "a" in image.mode else samples

    notes = (f"first of {len(file)} frames",) * (len(file) > 1)
    return Picture("HEIC", image.size, bits, 1, stored, info, data, notes, tuple(lost))


def open_jxl(data: bytes) -> Picture:
    """By libjxl through imagecodecs, which turns it upright and gives no colour profile."""
    start, info, lost, at = 0, {}, (), 0
    while data[0] == 0 and at + 8 <= len(data):  # boxes around the codestream
        length, name = struct.unpack_from(">I4s", data, at)
        if name in (b"jxlc", b"jxlp") and not start:
            start = at + (8 if name == b"jxlc" else 12)
        elif name == b"Exif":
            info["exif"] = metadata.EXIF_PREFIX + data[at + 12 : at + length]
        elif name == b"xml ":
            info["xmp"] = data[at + 8 : at + length]
        elif name in (b"brob", b"jhgm"):
            lost += ("compressed metadata" if name == b"brob" else "its gain map",)
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
    if not take(1) and take(1) and take(3) >= 4:  # orientation 5 to 8
        width, height = height, width

    def stored() -> np.ndarray:
        samples = imagecodecs.jpegxl_decode(data)
        if samples.ndim == 4:
            picture.notes += (f"first of {len(samples)} frames",)
            samples = samples[0]
        return of_depth(samples, 8 * samples.dtype.itemsize)

    picture = Picture("JPEG XL", (width, height), 8, 1, stored, info, data, ("colours taken for sRGB",), lost)
    return picture


_TIFF_COLOURS = {  # channels of each kind that is read, and what Pillow calls it where Pillow turns it into RGB
    "MINISBLACK": (1, ""),
    "MINISWHITE": (1, ""),
    "PALETTE": (1, ""),
    "RGB": (3, ""),
    "YCBCR": (3, "YCbCr"),
    "CIELAB": (3, "LAB"),
    "SEPARATED": (4, "CMYK"),
}
_TIFF_LOST = {metadata.IPTC_TAG: "IPTC data", 37724: "its layers", 33922: "its georeference", 34264: "its georeference"}
_IN_RGB = (6, 7, 33003, 33004, 33005, 34712, 34892, 50001, 50002)  # compressions whose decoders give RGB


def open_tiff(data: bytes) -> Picture:
    """By tifffile: the largest page, wherever a preview stands."""
    file = tifffile.TiffFile(BytesIO(data))
    pages = [page for page in _tiff_pages(file) if not page.subfiletype & 4] or [file.pages.first]  # 4: a mask
    page = max(pages, key=lambda page: page.imagewidth * page.imagelength)  # the first of equal ones
    kind, tags = page.photometric.name, page.tags
    first = file.pages.first.tags if len(page.treeindex) > 1 else tags  # a page below the first is told about there
    if kind in ("CFA", "LINEAR_RAW") or 33422 in tags or 50706 in file.pages.first.tags:  # CFA's pattern, DNG's version
        raise Refused(f"is {RAW_FILE}")
    if isinstance(page.bitspersample, tuple):
        raise Refused(f"is a TIFF of a kind that is not read: {page.bitspersample} bits")
    if kind not in _TIFF_COLOURS or page.imagedepth != 1 or (kind in ("CIELAB", "PALETTE") and page.bitspersample > 8):
        raise Refused(f"is a {page.bitspersample}-bit TIFF of a kind that is not read ({kind})")
    if page.compression == 34887 and file.byteorder == ">" and page.bitspersample > 8:
        raise Refused("is a big-endian TIFF with LERC inside, which tifffile gives with its bytes exchanged")
    if page.nbytes > 16 * MAX_PIXELS:
        raise Refused(f"is too large: {page.samplesperpixel} samples a pixel")
    alpha = int(kind != "PALETTE" and page.extrasamples[:1] in ((1,), (2,)))  # 0: not alpha but anything
    more = page.samplesperpixel - _TIFF_COLOURS[kind][0] - alpha
    same = sum((other.imagewidth, other.imagelength) == (page.imagewidth, page.imagelength) for other in pages)
    notes = [f"first of {same} frames"] * (same > 1) + [f"largest of {len(pages)} pages"] * (same == 1 < len(pages))
    notes += ["CMYK turned into RGB"] * (kind == "SEPARATED") + ["Lab turned into RGB"] * (kind == "CIELAB")
    notes += ["floating-point samples rounded to 16 bits"] * (page.dtype is not None and page.dtype.kind == "f")
    notes += ["black and white turned into gray"] * (page.bitspersample == 1 and kind.startswith("MINIS"))
    lost = ["extra channels" if more > 1 else "extra channel"] * (more > 0)
    lost += [name for tag, name in _TIFF_LOST.items() if tag in tags]

    def told(tag: int) -> object:
        return tags.valueof(tag, first.valueof(tag))

    info: dict = {"xmp": told(metadata.XMP_TAG), "icc_profile": None if kind == "SEPARATED" else told(metadata.ICC_TAG)}
    if 282 in tags and 283 in tags and tags.valueof(296, 2) in (2, 3):  # inches, centimetres
        info["dpi"] = page.get_resolution("INCH")
    lost += ["the shape of its pixels"] * ("dpi" not in info and tags.valueof(282) != tags.valueof(283))
    try:
        info["exif"] = metadata.exif_of_tiff(data, page.offset if first is tags else file.pages.first.offset)
    except Exception:  # of big-endian BigTIFF, or damaged
        lost += ["EXIF"] * any(tag in first for tag in (*metadata.TEXT_TAGS[4:], metadata.EXIF_IFD))
    orientation = metadata.orientation({"xmp": info["xmp"]}, told(metadata.ORIENTATION))

    def stored() -> np.ndarray:
        if 0 in page.databytecounts:
            raise ValueError("some of its pixels are missing")
        return _tiff_samples(page, kind, alpha)

    size = (page.imagewidth, page.imagelength)
    return Picture("TIFF", size, page.bitspersample, orientation, stored, info, data, tuple(notes), tuple(lost))


def _tiff_pages(file: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    for page in islice(file.pages, 1000):
        yield page
        if page.pages is not None:
            yield from islice(page.pages, 100)


def _tiff_samples(page: tifffile.TiffPage, kind: str, alpha: int) -> np.ndarray:
    colours, mode = _TIFF_COLOURS[kind]
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
    convert = not alpha if kind == "SEPARATED" else mode and page.compression not in _IN_RGB
    if convert and array.dtype == np.uint8:
        colour = np.ascontiguousarray(array[..., :colours])
        image = Image.frombytes(mode, colour.shape[1::-1], colour.tobytes(), "raw", mode)
        image.info["icc_profile"] = page.iccprofile
        return from_pillow(image)
    samples = of_depth(array, page.bitspersample)
    if kind == "MINISWHITE":
        peak = 1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max
        samples = np.concatenate((peak - samples[..., :1], samples[..., 1:]), axis=-1)
    if kind == "SEPARATED":
        samples = unit(samples)
        colour = (1 - samples[..., :3]) * (1 - samples[..., 3:4])
        samples = np.concatenate((colour, samples[..., 4:]), axis=-1)
    return straight(unit(samples)) if alpha and page.extrasamples[0] == 1 else samples
