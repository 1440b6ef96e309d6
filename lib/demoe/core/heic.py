"""HEIC, as phones write it: read through pillow-heif where that is installed (``pip install 'demoe[heic]'``)."""

from __future__ import annotations

import io

import numpy as np

SUFFIXES = (".heic", ".heif")  # lower case; any letter case is accepted
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_heic(data: bytes) -> bool:
    """Whether a file with these bytes begins as a HEIC file does."""
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS


def installed() -> bool:
    """Whether pillow-heif is there."""
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        return False
    return True


def decode(data: bytes, check_size) -> tuple[np.ndarray, int, bytes | None, bytes | None, bytes | None, int]:
    """(samples (H,W,C) float32 in [0,1], bit depth 8 or 16, ICC profile, EXIF, XMP, number of pictures) of HEIC bytes.

    The picture is the file's main one, already upright: libheif applies the file's rotation, and the orientation in
    EXIF, which the format forbids to apply besides, is to be reset. ``check_size(width, height)`` may refuse before
    anything is decoded. More than 8 bits a sample count as 16. pillow-heif has to be ``installed``; a damaged file
    raises whatever libheif raises.
    """
    import pillow_heif

    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    picture = file[file.primary_index]
    check_size(*picture.size)
    array = np.asarray(picture)  # uint8, or uint16 with the samples in the upper bits
    bits = picture.info.get("bit_depth", 8)
    peak = 255 if array.dtype == np.uint8 else (2**bits - 1) << (16 - bits)
    samples = array.reshape(*array.shape[:2], -1).astype(np.float32) / np.float32(peak)  # (H,W,C)
    samples = np.clip(samples, 0, 1)
    if "a" in picture.mode:  # colours times alpha
        alpha = samples[..., -1:]
        colour = np.divide(samples[..., :-1], alpha, out=np.zeros_like(samples[..., :-1]), where=alpha > 0)
        samples = np.concatenate((np.clip(colour, 0, 1), alpha), axis=-1)
    info = picture.info
    depth = 8 if bits <= 8 else 16
    return samples, depth, info.get("icc_profile"), info.get("exif"), info.get("xmp"), len(file)
