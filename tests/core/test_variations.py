"""Two hundred pictures drawn from a seed, of every format and orientation: both readers agree, nothing is lost."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from orientations import UPRIGHT
from PIL import Image, ImageCms

from demoe.core import images
from demoe.data.real import pixels

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/>'


def ramp(rng, channels):
    """(H,W,C) in [0,1], smooth, for JPEG; alpha, the last of two or four, ends at zero."""
    height, width = rng.integers(9, 40, 2)
    rows, columns = np.indices((height, width)) / max(height, width)
    return np.stack([rows, columns, (rows + columns) / 2, 1 - rows][:channels], -1)


def tiff(rng):
    """Any byte order, size of offsets, depth, compression, cut and sequence of planes."""
    bits = int(rng.choice([8, 16, 32]))
    kind = str(rng.choice(["none", "lzw", "zlib", "zstd", "packbits", "jpeg", "jpeg2000", "jpegxl", "webp"]))
    channels = int(rng.choice([1, 3, 4])) if kind in ("none", "lzw", "zlib", "zstd", "packbits") else 3
    bits = 8 if kind in ("jpeg", "webp") else min(bits, 16) if kind in ("jpeg2000", "jpegxl") else bits
    order = "<" if kind in ("jpeg2000", "jpegxl") else str(rng.choice(["<", ">"]))  # tifffile cannot write the others
    values, orientation = ramp(rng, channels), int(rng.integers(1, 9))
    samples = values.astype(np.float32) if bits == 32 else (values * (2**bits - 1)).round().astype(f"u{bits // 8}")
    planes = channels > 1 and kind in ("none", "lzw", "zlib") and rng.random() < 0.3
    tags = [(274, "H", 1, orientation, True)] if rng.random() < 0.7 else [xmp_tag(orientation)]
    file, peak = io.BytesIO(), 1 if bits == 32 else 2**bits - 1
    tifffile.imwrite(
        file,
        np.moveaxis(samples, -1, 0) if planes else samples[..., 0] if channels == 1 else samples,
        byteorder=order,
        bigtiff=bool(rng.random() < 0.5),
        photometric="minisblack" if channels == 1 else "rgb",
        planarconfig=None if channels == 1 else "separate" if planes else "contig",
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression=None if kind == "none" else kind,
        compressionargs={"lossless": True} if kind in ("jpegxl", "webp") else {"level": 98} if kind == "jpeg" else None,
        predictor=bool(kind in ("lzw", "zlib", "zstd") and rng.random() < 0.5) or None,
        tile=(16, 16) if kind in ("none", "zlib", "jpeg2000") and not planes and rng.random() < 0.3 else None,
        iccprofile=SRGB if channels >= 3 and rng.random() < 0.5 else None,
        extratags=tags,
    )
    return file.getvalue(), UPRIGHT[orientation](samples.astype(np.float64) / peak), 0.1 if kind == "jpeg" else 1e-5


def xmp_tag(orientation):
    packet = XMP % orientation
    return (700, "B", len(packet), packet, True)


def by_pillow(rng, format):
    """Orientation in EXIF or, but for HEIC, in XMP; EXIF with the size before turning."""
    mode = str(rng.choice(["L", "RGB"] if format in ("JPEG", "HEIF") else ["L", "LA", "RGB", "RGBA"]))
    orientation, tags, file = int(rng.integers(1, 9)), Image.Exif(), io.BytesIO()
    samples = (ramp(rng, len(mode)) * 255).round().astype(np.uint8)
    image = Image.fromarray(samples[..., 0] if mode == "L" else samples)
    tags[0x010F] = "Camera"
    tags.get_ifd(0x8769).update({0xA002: image.width, 0xA003: image.height})
    options: dict = {"xmp": XMP % orientation}
    if format == "HEIF" or rng.random() < 0.7:
        tags[0x0112] = orientation
        options = {}
    options |= {"icc_profile": SRGB} if len(mode) >= 3 else {}
    options |= {
        "JPEG": {"quality": 98, "subsampling": 0, "progressive": bool(rng.random() < 0.5)},
        "WEBP": {"lossless": True, "exact": True},
        "HEIF": {"quality": -1, "chroma": 444, "matrix_coefficients": 0},
        "PNG": {},
    }[format]
    if format == "PNG" and "xmp" in options:
        options.pop("xmp")
        tags[0x0112] = orientation
    image.save(file, format, exif=tags.tobytes(), **options)
    expected = UPRIGHT[orientation](samples / 255)
    return file.getvalue(), expected, {"JPEG": 0.05, "HEIF": 0.02}.get(format, 1e-5)


def by_imagecodecs(rng):
    """JPEG of 12 bits, JPEG XL, AVIF of 10 bits, PNG of 16: no orientation."""
    values = ramp(rng, 3)
    kind = int(rng.integers(4))
    if kind == 0:
        return imagecodecs.jpeg8_encode((values * 4095).astype("u2"), bitspersample=12, level=99), values, 0.05
    if kind == 1:
        samples = (values * 65535).round().astype("u2")
        return imagecodecs.jpegxl_encode(samples, lossless=True), samples / 65535, 1e-5
    if kind == 2:
        return imagecodecs.avif_encode((values * 1023).astype("u2"), bitspersample=10, level=100), values, 0.05
    samples = (values * 65535).round().astype("u2")
    return imagecodecs.png_encode(samples), samples / 65535, 1e-5


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP", "HEIF", "imagecodecs"])
def test_variations(tmp_path, kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="pillow-heif is an optional extra").register_heif_opener()
    for seed in range(80 if kind == "TIFF" else 25):
        rng = np.random.default_rng([seed, len(kind)])
        data, expected, tolerance = (
            tiff(rng) if kind == "TIFF" else by_imagecodecs(rng) if kind == "imagecodecs" else by_pillow(rng, kind)
        )
        path = tmp_path / f"{seed}.png"
        path.write_bytes(data)
        agrees(path, expected, tolerance)
        photograph = images.read_photograph(path)
        assert not photograph.metadata.lost, (kind, seed)
        for suffix in (".png", ".tif"):
            images.write_photograph(tmp_path / f"out{suffix}", photograph)
            again = images.read_photograph(tmp_path / f"out{suffix}")
            assert again.note == "" and again.size == photograph.size, (kind, seed)
            assert again.metadata.icc_profile == (None if again.gray else photograph.metadata.icc_profile), (kind, seed)
            assert (again.metadata.exif is None) == (photograph.metadata.exif is None), (kind, seed)
            assert (again.pixels - photograph.pixels).abs().max() < 1e-4 and again.gray == photograph.gray, (kind, seed)


def agrees(path, expected, tolerance):
    """Size, window and whole of both readers, and what was drawn: (H,W,C) in [0,1], upright."""
    photograph, header = images.read_photograph(path), pixels.header(path)
    whole = pixels.read_pixels(path, bits=16)  # (3,H,W)
    height, width, channels = expected.shape
    assert header.size == photograph.size == pixels.size(path)[::-1] == (width, height), path
    assert not header.fault and torch.equal(pixels.read_pixels(path, (2, 1, 5, 7), 16), whole[:, 2:7, 1:8]), path
    assert (whole / 65535 - photograph.pixels).abs().max() < 1e-5, path
    planes = photograph.pixels if channels >= 3 else photograph.pixels[:1]
    planes = planes if channels in (1, 3) else torch.cat((planes, photograph.alpha))
    assert np.abs(planes.permute(1, 2, 0).numpy() - expected).max() <= tolerance, path
