"""TIFF's decoder, as ``decoders`` has those of the other formats: tifffile does the work."""

from __future__ import annotations

from io import BytesIO
from itertools import islice

import numpy as np
import tifffile
from PIL import Image

from . import metadata
from .samples import MAX_PIXELS, Picture, Refused, from_pillow, gray_palette, of_depth, straight, unit

RAW_FILE = "a camera's raw file: develop it first, for example to a 16-bit TIFF"
_TIFF_COLOURS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3, "YCBCR": 3, "CIELAB": 3, "SEPARATED": 4}
_PILLOW_MODES = {"YCBCR": "YCbCr", "CIELAB": "LAB", "SEPARATED": "CMYK"}  # what Pillow turns into RGB
_TIFF_LOST = {metadata.IPTC_TAG: "IPTC data", 37724: "its layers", 33922: "its georeference", 34264: "its georeference"}
_TIFF_LOST |= {42112: "GDAL's metadata", 301: "its transfer function", 319: "its primaries"}
_IN_RGB = (6, 7, 33003, 33004, 33005, 34712, 34892, 50001, 50002)  # compressions whose decoders give RGB


def open_tiff(data: bytes) -> Picture:
    """By tifffile: the largest page, wherever a preview stands."""
    file = tifffile.TiffFile(BytesIO(data))
    pages = [page for top in islice(file.pages, 1000) for page in (top, *islice(top.pages or (), 100))]
    pages = [page for page in pages if not page.subfiletype & 4] or [file.pages.first]  # 4: a mask
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
    more = page.samplesperpixel - _TIFF_COLOURS[kind] - alpha
    same = sum((other.imagewidth, other.imagelength) == (page.imagewidth, page.imagelength) for other in pages)
    notes = [f"first of {same} frames"] * (same > 1) + [f"largest of {len(pages)} pages"] * (same == 1 < len(pages))
    notes += ["CMYK turned into RGB"] * (kind == "SEPARATED") + ["Lab turned into RGB"] * (kind == "CIELAB")
    notes += ["floating-point samples rounded to 16 bits"] * (page.dtype is not None and page.dtype.kind == "f")
    notes += ["black and white turned into gray"] * (page.bitspersample == 1 and kind.startswith("MINIS"))
    lost = ["extra channels" if more > 1 else "extra channel"] * (more > 0)

    def told(tag: int) -> object:
        return tags.valueof(tag, first.valueof(tag))

    info: dict = {"xmp": told(metadata.XMP_TAG), "icc_profile": None if kind == "SEPARATED" else told(metadata.ICC_TAG)}
    colours = () if info["icc_profile"] else (301, 319)  # which a profile describes better
    lost += [name for tag, name in _TIFF_LOST.items() if tag in tags and (tag > 319 or tag in colours)]
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


def _tiff_samples(page: tifffile.TiffPage, kind: str, alpha: int) -> np.ndarray:
    colours, mode = _TIFF_COLOURS[kind], _PILLOW_MODES.get(kind)
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
