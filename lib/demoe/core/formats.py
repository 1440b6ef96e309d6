"""The one reader of picture files, for photographs and for training data: what a file is, and its picture."""

from __future__ import annotations

import logging
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from . import decoders, tiff_decoder
from .files import first_line
from .samples import Picture, Refused

MAX_BYTES = 2 << 30  # of a file: more than the largest picture that is read needs, even without compression

_FORMATS = {  # suffixes, in lower case (any letter case is accepted), how files begin, and what opens them
    "PNG": (".png", rb"\x89PNG\r\n\x1a\n", decoders.open_png),
    "JPEG": (".jpg .jpeg .jpe .jfif", rb"\xff\xd8\xff", decoders.open_jpeg),
    "TIFF": (".tif .tiff", rb"II\*\0(?!....CR)|MM\0\*|II\+\0|MM\0\+", tiff_decoder.open_tiff),
    "WebP": (".webp", rb"RIFF....WEBP", decoders.open_webp),
    "BMP": (".bmp", rb"BM", decoders.open_bmp),
    "AVIF": (".avif", rb"....ftyp(avi[fs]|m[is]f1.*avif)", decoders.open_avif),
    "HEIC": (".heic .heif .hif", rb"....ftyp(hei[cxms]|hev[cx]|m[is]f1)", decoders.open_heic),
    "JPEG XL": (".jxl", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", decoders.open_jxl),
}
FORMAT_OF = {suffix: name for name, (suffixes, *_) in _FORMATS.items() for suffix in suffixes.split()}
_OTHERS = {  # how files begin that are told by name and not read
    rb"\Z": "empty (0 bytes)",
    rb"GIF8": "a GIF image, which is not read",
    rb"8BPS": "a Photoshop document: save it as TIFF",
    rb"%PDF": "a PDF document, not an image",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": "a JPEG 2000 image, which is read inside TIFF only",
    rb"v/1\x01": "an OpenEXR image, which is not read",
    rb"#\?RADIANCE|#\?RGBE": "a Radiance HDR image, which is not read",
    rb"II\*\0....CR|....ftypcrx|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|II\x1a\0\0\0HEAP|\0MRM|FOVb": tiff_decoder.RAW_FILE,
    rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ": "a video: demoe frames reads those",
    rb"version https://git-lfs": "the pointer of a Git LFS file, not its content",
    rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg)": "an SVG or XML file, which is not read",
    rb"(?i)\s*<(?:!doctype html|html)": "a web page, not an image",
}

# Their warnings about odd files would stand beside our one sentence.
for _library in ("tifffile", "imagecodecs", "PIL"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)


class ImageError(ValueError):
    """A file that is no readable image. The message is one sentence and names the file."""


def format_of(head: bytes) -> str | None:
    """The format of a file that begins with these bytes (64 tell all): as in ``Picture``, or None."""
    return next((name for name, (_, start, _) in _FORMATS.items() if re.match(start, head, re.DOTALL)), None)


@contextmanager
def opened(path: Path, data: bytes | None = None) -> Iterator[Picture]:
    """The picture in a file, or in ``data``, the content that ``path`` stands for; the content decides, not the suffix.

    Whatever goes wrong inside becomes an ``ImageError``: a missing file, a folder, a pipe or device, more than 2 GiB,
    an empty, foreign, cut or damaged file, more than 200 million pixels, samples that are not read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' about damage: what is wrong is said here
            yield _picture(path, data)
    except MemoryError:
        raise ImageError(f"{path} needs more memory to be read than there is") from None
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist") from None
    except Refused as error:
        raise ImageError(f"{path} {error}") from None
    except Exception as error:  # every decoder has its own exceptions for damage
        if isinstance(error, OSError) and error.filename:
            raise ImageError(f"{path} cannot be opened: {error.strerror or error}") from error
        detail = "" if isinstance(error, UnicodeError) else first_line(error)  # at times no more than a tag's number
        kind = (
            "of a kind that is not read" if re.search("not supported|Unsupported|not a known", detail) else "incomplete"
        )
        raise ImageError(f"{path} is damaged or {kind}" + (f": {detail}" if " " in detail else "")) from error


def _picture(path: Path, data: bytes | None) -> Picture:
    """Raises ``Refused``, and for damage whatever its decoder raises."""
    if data is None:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise Refused("is a folder, not an image file")
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for whoever writes to it
            raise Refused("is a pipe, a device or the like, not an image file")
        if status.st_size > MAX_BYTES:
            raise Refused(f"is too large: {status.st_size / 2**30:.1f} GiB, and at most {MAX_BYTES / 2**30:g} are read")
    with path.open("rb") if data is None else BytesIO(data) as stream:
        head = stream.read(64)
        format = format_of(head)
        if format is None:
            kind = next((kind for start, kind in _OTHERS.items() if re.match(start, head, re.DOTALL)), None)
            known = "PNG, JPEG, TIFF, WebP, BMP, HEIC, AVIF or JPEG XL image"
            raise Refused(f"is {kind}" if kind else f"is not a {known}")
        stream.seek(0)
        return _FORMATS[format][2](stream.read())
