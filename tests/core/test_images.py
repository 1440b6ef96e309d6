"""Reading and writing photographs: bit-exact round trips, odd formats, one sentence for every bad file."""

import io
import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from orientations import UPRIGHT
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from demoe.core import encoding, formats, images, metadata
from demoe.core.files import PARTIAL
from demoe.core.images import ImageError, Photograph
from demoe.core.metadata import Metadata

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, ORIENTATION, EXIF_IFD, EXPOSURE, GPS_IFD, ALTITUDE = 0x010F, 0x0112, 0x8769, 0x829A, 0x8825, 6


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def as_samples(photograph):
    """(H,W,C) integers that the file must have held."""
    colour = photograph.pixels[:1] if photograph.gray else photograph.pixels
    planes = colour if photograph.alpha is None else torch.cat((colour, photograph.alpha))
    return (planes * (2**photograph.bit_depth - 1)).round().permute(1, 2, 0).numpy().astype(int)


def photograph_of(samples, **fields):
    """A Photograph of (H,W,C) integers, built without the module's own conversions."""
    peak = np.iinfo(samples.dtype).max
    planes = torch.from_numpy(samples.astype(np.float64) / peak).float().permute(2, 0, 1)
    channels = planes.shape[0]
    return Photograph(
        planes[:1].repeat(3, 1, 1) if channels <= 2 else planes[:3],
        planes[-1:] if channels in (2, 4) else None,
        8 if peak == 255 else 16,
        channels <= 2,
        **fields,
    )


def exif_with(orientation):
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "Camera", orientation
    exif[EXIF_IFD] = {EXPOSURE: 0.25}
    exif[GPS_IFD] = {ALTITUDE: 12.5}
    return exif.tobytes()


# Round trips.


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (37, 31)])
def test_lossless_round_trip(tmp_path, suffix, channels, dtype, size):
    samples = noise((*size, channels), dtype)
    images.write_photograph(tmp_path / f"a{suffix}", photograph_of(samples))
    back = images.read_photograph(tmp_path / f"a{suffix}")
    assert back.bit_depth == (8 if dtype == np.uint8 else 16)
    assert back.gray == (channels <= 2)
    assert (back.alpha is not None) == (channels in (2, 4))
    assert back.size == (size[1], size[0])
    assert np.array_equal(as_samples(back), samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_sample_value_survives(tmp_path, dtype):
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 16, 1)
    for channels in (1, 3):
        images.write_photograph(tmp_path / "a.png", photograph_of(every.repeat(channels, -1)))
        assert np.array_equal(as_samples(images.read_photograph(tmp_path / "a.png")), every.repeat(channels, -1))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_other_programs_read_what_is_written(tmp_path, channels):
    """Pillow for 8 bits, imagecodecs and tifffile for 16."""
    eight, sixteen = noise((9, 7, channels)), noise((9, 7, channels), np.uint16)
    for suffix in (".png", ".tif"):
        images.write_photograph(tmp_path / f"8{suffix}", photograph_of(eight))
        with Image.open(tmp_path / f"8{suffix}") as image:
            assert image.mode == ("L", "LA", "RGB", "RGBA")[channels - 1]
            assert np.array_equal(np.asarray(image).reshape(eight.shape), eight)
        images.write_photograph(tmp_path / f"16{suffix}", photograph_of(sixteen))
    assert np.array_equal(imagecodecs.png_decode((tmp_path / "16.png").read_bytes()).reshape(sixteen.shape), sixteen)
    assert np.array_equal(tifffile.imread(tmp_path / "16.tif").reshape(sixteen.shape), sixteen)


def test_webp_and_bmp_are_lossless_and_jpeg_is_close(tmp_path):
    smooth = (np.indices((40, 56)).sum(0)[..., None] * np.array([1, 2, 2]) + 20).astype(np.uint8)
    for suffix, tolerance in ((".webp", 0), (".bmp", 0), (".jpg", 4)):
        images.write_photograph(tmp_path / f"a{suffix}", photograph_of(smooth))
        back = images.read_photograph(tmp_path / f"a{suffix}")
        assert np.abs(as_samples(back) - smooth).max() <= tolerance
    with Image.open(tmp_path / "a.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # 4:4:4
    colour_and_alpha = noise((8, 9, 4))
    colour_and_alpha[:4, :, 3] = 0
    images.write_photograph(tmp_path / "b.webp", photograph_of(colour_and_alpha))
    assert np.array_equal(as_samples(images.read_photograph(tmp_path / "b.webp")), colour_and_alpha)
    images.write_photograph(tmp_path / "c.webp", photograph_of(colour_and_alpha[..., 2:]))  # gray and alpha
    gray = as_samples(images.read_photograph(tmp_path / "c.webp"))
    assert np.array_equal(gray, colour_and_alpha[..., [2, 2, 2, 3]])


def test_gray_stays_gray(tmp_path):
    for suffix in (".png", ".jpg", ".tif", ".bmp"):
        images.write_photograph(tmp_path / f"a{suffix}", photograph_of(noise((6, 5, 1))))
        with Image.open(tmp_path / f"a{suffix}") as image:
            assert image.mode == "L"
        photograph = images.read_photograph(tmp_path / f"a{suffix}")
        assert photograph.gray and torch.equal(photograph.pixels[0], photograph.pixels[2])


# What other programs write.


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1"])
def test_modes_from_pillow(tmp_path, mode):
    image = Image.fromarray(noise((11, 14, 4))).convert(mode)
    image.save(tmp_path / "a.png")
    photograph = images.read_photograph(tmp_path / "a.png")
    wide = image.convert("L") if mode == "1" else image
    assert np.array_equal(as_samples(photograph).squeeze(), np.asarray(wide))
    assert photograph.bit_depth == 8


def test_palette(tmp_path):
    image = Image.fromarray(noise((12, 10, 3))).quantize(16)
    image.save(tmp_path / "a.png")
    photograph = images.read_photograph(tmp_path / "a.png")
    assert not photograph.gray and photograph.alpha is None
    assert np.array_equal(as_samples(photograph), np.asarray(image.convert("RGB")))
    image.save(tmp_path / "b.png", transparency=3)
    alpha = as_samples(images.read_photograph(tmp_path / "b.png"))[..., 3]
    assert np.array_equal(alpha, np.where(np.asarray(image) == 3, 0, 255))
    grays = Image.fromarray(noise((5, 6)) // 64, "P")
    grays.putpalette([value for level in (0, 80, 160, 240) for value in (level,) * 3])
    grays.save(tmp_path / "c.png")
    assert images.read_photograph(tmp_path / "c.png").gray


def test_transparent_colour_of_a_gray_picture(tmp_path):
    samples = noise((7, 5)) // 32 * 32
    Image.fromarray(samples).save(tmp_path / "a.png", transparency=64)
    photograph = images.read_photograph(tmp_path / "a.png")
    assert photograph.gray
    assert np.array_equal(as_samples(photograph)[..., 1], np.where(samples == 64, 0, 255))


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_becomes_rgb(tmp_path, name):
    Image.new("RGB", (20, 12), (200, 40, 90)).convert("CMYK").save(tmp_path / name, quality=100)
    photograph = images.read_photograph(tmp_path / name)
    assert not photograph.gray
    assert np.abs(as_samples(photograph) - (200, 40, 90)).max() <= 3


def test_tiff_kinds_that_pillow_cannot_hold(tmp_path):
    path = tmp_path / "a.tif"
    deep = noise((9, 13, 3), np.uint16)
    tifffile.imwrite(path, np.moveaxis(deep, -1, 0), photometric="rgb", planarconfig="separate", byteorder=">")
    assert np.array_equal(as_samples(images.read_photograph(path)), deep)
    tifffile.imwrite(path, deep[..., 0], photometric="miniswhite")
    assert np.array_equal(as_samples(images.read_photograph(path))[..., 0], 65535 - deep[..., 0])
    floats = np.random.default_rng(0).random((5, 6, 3), dtype=np.float32)
    tifffile.imwrite(path, floats, photometric="rgb")
    assert torch.equal(images.read_photograph(path).pixels, torch.from_numpy(floats).permute(2, 0, 1))
    alpha = np.full((2, 2, 1), 32768, np.uint16)
    premultiplied = np.concatenate((np.full((2, 2, 3), 16384, np.uint16), alpha), -1)
    tifffile.imwrite(path, premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    assert np.array_equal(as_samples(images.read_photograph(path))[0, 0], (32768, 32768, 32768, 32768))
    cmyk = np.zeros((2, 3, 4), np.uint16)
    cmyk[..., 1] = 65535  # all magenta
    tifffile.imwrite(path, cmyk, photometric="separated")
    assert np.array_equal(as_samples(images.read_photograph(path))[0, 0], (65535, 0, 65535))


def test_content_decides_not_the_suffix(tmp_path):
    samples = noise((6, 9, 3), np.uint16)
    images.write_photograph(tmp_path / "a.png", photograph_of(samples))
    (tmp_path / "a.png").rename(tmp_path / "a.JPG")
    assert np.array_equal(as_samples(images.read_photograph(tmp_path / "a.JPG")), samples)


def test_first_of_several_frames_and_a_note(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime")]
    for name in ("a.tif", "a.png", "a.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        photograph = images.read_photograph(tmp_path / name)
        assert photograph.note == "first of 2 frames"
        assert as_samples(photograph)[0, 0].tolist() == [255, 0, 0]
    tifffile.imwrite(tmp_path / "b.tif", noise((3, 5, 4, 3), np.uint16), photometric="rgb")
    assert images.read_photograph(tmp_path / "b.tif").note == "first of 3 frames"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.jpg", "CMYK turned into RGB"),
        ("b.tif", "CMYK turned into RGB"),
        ("c.tif", "Lab turned into RGB"),
        ("d.png", "black and white turned into gray"),
        ("e.tif", "floating-point samples rounded to 16 bits"),
        ("f.tif", "CMYK turned into RGB"),
        ("g.png", ""),
        ("h.tif", ""),
        ("i.jpg", ""),
    ],
)
def test_conversions_are_told(tmp_path, name, words):
    path, colour = tmp_path / name, Image.fromarray(noise((6, 8, 3)))
    deep = {"e": np.full((4, 5, 3), 0.5, np.float32), "f": noise((4, 5, 4), np.uint16)}
    if name[0] in deep:
        tifffile.imwrite(path, deep[name[0]], photometric="separated" if name[0] == "f" else "rgb")
    else:
        modes = {"a": "CMYK", "b": "CMYK", "d": "1"}
        image = Image.new("LAB", (8, 6), (120, 20, 30)) if name[0] == "c" else colour.convert(modes.get(name[0], "RGB"))
        image.save(path)
    assert images.read_photograph(path).note == words


# Orientation, EXIF, colour profile.


def oriented(kind, array, orientation):
    """The bytes of a file whose tags say that its samples are to be turned."""
    file, image = io.BytesIO(), Image.fromarray(array.astype(np.uint8))
    tags, xmp = exif_with(orientation), f'<x tiff:Orientation="{orientation}"/>'.encode()
    if kind == "tif 16":
        tifffile.imwrite(file, array, photometric="rgb", extratags=[(ORIENTATION, "H", 1, orientation, True)])
    elif kind == "tif 16 deflate, big-endian":
        tifffile.imwrite(
            file,
            array,
            photometric="rgb",
            byteorder=">",
            compression="adobe_deflate",
            extratags=[(ORIENTATION, "H", 1, orientation, True)],
        )
    elif kind.startswith("tif"):
        options = {"quality": 100} if "jpeg" in kind else {}
        image.save(file, "TIFF", compression=kind.split()[1], tiffinfo={ORIENTATION: orientation}, **options)
    elif kind == "png by XMP alone":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(file, "PNG", pnginfo=info)
    else:
        options = {"lossless": True} if kind == "webp" else {"quality": 100, "subsampling": 0} if kind == "jpeg" else {}
        image.save(file, kind, exif=tags, xmp=xmp, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "kind",
    [
        "png",
        "jpeg",
        "webp",
        "png by XMP alone",
        "tif raw",
        "tif tiff_lzw",
        "tif jpeg",
        "tif 16",
        "tif 16 deflate, big-endian",
    ],
)
def test_every_kind_is_turned_upright_once(tmp_path, kind, orientation):
    ramp = np.indices((32, 48))  # smooth, for JPEG
    deep = kind.startswith("tif 16")
    array = np.stack((ramp[0] * 5, ramp[1] * 5, ramp.sum(0) * 3), -1).astype(np.uint16) * (257 if deep else 1)
    upright = UPRIGHT[orientation](array).astype(int)
    (tmp_path / "a").write_bytes(oriented(kind, array, orientation))
    suffix = ".tif" if kind.startswith("tif") else ".png"
    first = images.read_photograph(tmp_path / "a")
    images.write_photograph(tmp_path / f"b{suffix}", first)
    for photograph in (
        first,
        images.read_photograph(tmp_path / f"b{suffix}"),
    ):  # and not once more when it is read again
        assert photograph.size == upright.shape[1::-1]
        assert np.abs(as_samples(photograph) - upright).max() <= (12 if "jpeg" in kind else 0)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_and_profile_are_kept(tmp_path, suffix, dtype):
    images.write_photograph(
        tmp_path / "a.png", photograph_of(noise((8, 6, 3), dtype), metadata=Metadata(SRGB, exif_with(6)))
    )
    first = images.read_photograph(tmp_path / "a.png")
    assert first.size == (8, 6)  # 6 wide and 8 high, turned by a quarter
    images.write_photograph(tmp_path / f"b{suffix}", first)
    second = images.read_photograph(tmp_path / f"b{suffix}")
    assert second.size == (8, 6)
    for photograph in (first, second):
        exif = Image.Exif()
        exif.load(photograph.metadata.exif)
        assert exif[MAKE] == "Camera" and exif.get(ORIENTATION, 1) == 1
        assert exif.get_ifd(EXIF_IFD)[EXPOSURE] == 0.25
        assert exif.get_ifd(GPS_IFD)[ALTITUDE] == 12.5
        assert photograph.metadata.icc_profile == SRGB
    with Image.open(tmp_path / f"b{suffix}") as image:  # and another program finds them
        assert image.getexif()[MAKE] == "Camera"
        assert image.getexif().get_ifd(EXIF_IFD)[EXPOSURE] == 0.25
        assert image.info["icc_profile"] == SRGB


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>%d</tiff:Orientation>\xc3\xa9</x:xmpmeta>'


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_xmp_and_resolution_are_kept(tmp_path, suffix, dtype):
    more = Metadata(None, exif_with(1), XMP % 1, (300.0, 150.0))
    images.write_photograph(tmp_path / f"a{suffix}", photograph_of(noise((8, 6, 3), dtype), metadata=more))
    found = images.read_photograph(tmp_path / f"a{suffix}").metadata
    assert found.xmp == (None if suffix == ".bmp" else XMP % 1)
    assert found.dpi is None if suffix == ".webp" else found.dpi == pytest.approx((300, 150), abs=0.02)
    if dtype == np.uint8:  # another program finds them
        with Image.open(tmp_path / f"a{suffix}") as image:
            assert image.info.get("xmp") == found.xmp
            assert suffix == ".webp" or [round(float(value)) for value in image.info["dpi"]] == [300, 150]


def test_metadata_of_a_turned_picture_fits_it(tmp_path):
    file = tmp_path / "a.jpg"
    Image.fromarray(noise((8, 6, 3))).save(file, xmp=XMP % 6, dpi=(300, 150), exif=exif_with(6))
    more = images.read_photograph(file).metadata
    assert more.xmp == XMP % 1 and more.dpi == (150, 300)
    Image.fromarray(noise((8, 6, 3))).save(file)
    assert images.read_photograph(file).metadata.dpi is None  # no resolution is made up
    for dtype in (np.uint8, np.uint16):
        tifffile.imwrite(
            tmp_path / "a.tif",
            noise((8, 6, 3), dtype),
            photometric="rgb",
            resolution=(30, 15),
            resolutionunit="CENTIMETER",
            extratags=[(ORIENTATION, "H", 1, 6, True)],
        )
        assert images.read_photograph(tmp_path / "a.tif").metadata.dpi == pytest.approx((38.1, 76.2))
    tifffile.imwrite(tmp_path / "a.tif", noise((8, 6, 3)), photometric="rgb")
    assert images.read_photograph(tmp_path / "a.tif").metadata.dpi is None


def test_colours_that_only_png_describes_are_told(tmp_path):
    plain = imagecodecs.png_encode(noise((4, 5, 3)))

    def told(*chunks):
        chunks = b"".join(encoding.png_chunk(name, body) for name, body in chunks)
        (tmp_path / "a.png").write_bytes(plain[:33] + chunks + plain[33:])
        return images.read_photograph(tmp_path / "a.png").note

    usual, linear = (b"gAMA", struct.pack(">I", 45455)), (b"gAMA", struct.pack(">I", 100000))
    assert told(usual) == told(linear, (b"sRGB", b"\0")) == ""
    assert told(linear) == "gamma (gAMA) not kept"
    assert told((b"cICP", bytes((9, 16, 0, 1)))) == "HDR (PQ) not kept"
    assert told((b"cICP", bytes((12, 13, 0, 1)))) == "colour description (cICP) not kept"


def test_what_is_not_kept_is_told(tmp_path):
    info = PngInfo()
    info.add_text("Author", "somebody")
    picture = Image.fromarray(noise((8, 6, 3)))
    picture.save(tmp_path / "a.png", pnginfo=info)
    assert images.read_photograph(tmp_path / "a.png").note == "its text not kept"
    picture.save(tmp_path / "a.jpg", comment="by somebody")
    assert images.read_photograph(tmp_path / "a.jpg").note == "its comment not kept"
    picture.save(tmp_path / "a.tif", tiffinfo={33723: b"\x1c\x02\x05\x00\x05title"})
    assert images.read_photograph(tmp_path / "a.tif").note == "IPTC data not kept"
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", 10) + b"\x1c\x02\x05\x00\x05title"
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", 2 + len(block)) + block + data[2:])
    assert images.read_photograph(tmp_path / "b.jpg").note == "IPTC data not kept, its comment not kept"


def test_xmp_that_is_a_number_is_left_out(tmp_path):
    deep = noise((4, 5, 3), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", extratags=[(700, "I", 1, 2**32 - 1, True)])
    assert images.read_photograph(tmp_path / "a.tif").metadata.xmp is None


def test_xmp_of_an_unknown_encoding_never_spoils_a_picture(tmp_path):
    packet = b'<?xml version="1.0" encoding="cp-nobody"?><x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp", xmp=packet)
    assert images.read_photograph(tmp_path / "a.webp").metadata.xmp == packet


def test_letters_beyond_ascii_are_kept_from_jpeg_to_tiff_to_jpeg(tmp_path):
    exif, name = Image.Exif(), "Jörg Ж".encode()
    exif[0x013B] = "A" * len(name)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif.tobytes().replace(b"A" * len(name), name))
    images.write_photograph(tmp_path / "b.tif", images.read_photograph(tmp_path / "a.jpg"))
    images.write_photograph(tmp_path / "c.jpg", images.read_photograph(tmp_path / "b.tif"))
    assert name in (tmp_path / "b.tif").read_bytes() and name in (tmp_path / "c.jpg").read_bytes()


def test_long_xmp_never_spoils_a_jpeg(tmp_path):
    for xmp, kept in ((b"x" * 65504, True), (b"x" * 65505, False)):
        images.write_photograph(tmp_path / "a.jpg", photograph_of(noise((8, 6, 3)), metadata=Metadata(xmp=xmp)))
        assert images.read_photograph(tmp_path / "a.jpg").metadata.xmp == (xmp if kept else None)


def test_big_endian_exif_is_patched_in_place():
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", ORIENTATION, 3, 1, 8, 0) + struct.pack(">I", 99)
    tiff += b"private notes"
    patched = metadata.upright_exif(b"Exif\0\0" + tiff, (4, 5))
    assert len(patched) == 6 + len(tiff) and patched.endswith(b"private notes")
    assert struct.unpack_from(">HHIHHI", patched, 6 + 10) == (ORIENTATION, 3, 1, 1, 0, 0)  # no thumbnail either


def test_broken_exif_does_not_spoil_the_picture(tmp_path):
    Image.fromarray(noise((5, 4, 3))).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    photograph = images.read_photograph(tmp_path / "a.png")
    assert photograph.size == (4, 5)
    images.write_photograph(tmp_path / "b.jpg", photograph)


def test_profile_of_another_colour_space_is_left_out(tmp_path):
    images.write_photograph(
        tmp_path / "a.png", photograph_of(noise((4, 4, 1)), metadata=Metadata(SRGB))
    )  # gray pixels, RGB profile
    assert images.read_photograph(tmp_path / "a.png").metadata.icc_profile is None


# Bad input: one sentence that names the file.


def bad_files(folder):
    good = io.BytesIO()
    Image.fromarray(noise((64, 64, 3))).save(good, "JPEG")
    deep = imagecodecs.png_encode(noise((40, 40, 3), np.uint16))
    shallow = imagecodecs.png_encode(noise((40, 40, 3)))
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, noise((40, 40, 3), np.uint16), photometric="rgb", compression="adobe_deflate")
    plain = io.BytesIO()
    tifffile.imwrite(plain, noise((40, 40, 3), np.uint16), photometric="rgb")
    nan = io.BytesIO()
    tifffile.imwrite(nan, np.full((4, 4, 3), np.nan, np.float32), photometric="rgb")
    large = io.BytesIO()
    tifffile.imwrite(large, np.full((4, 4), 250, np.float32))
    header = struct.pack(">IIBBBBB", 60000, 60000, 16, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + deep[33:]
    files = {
        "text.png": (b"these are words, not pixels\n", "not a PNG"),
        "zero.jpg": (b"", "empty"),
        "cut.jpg": (good.getvalue()[: len(good.getvalue()) // 2], "damaged or incomplete"),
        "cut8.png": (shallow[: len(shallow) // 2], "damaged or incomplete"),
        "cut16.png": (deep[: len(deep) // 2], "damaged or incomplete"),
        "stub.png": (deep[:20], ""),
        "stub.tif": (tiff.getvalue()[:6], ""),
        "cut.tif": (tiff.getvalue()[:-2000], "damaged or incomplete"),
        "cutplain.tif": (plain.getvalue()[:-2000], "damaged or incomplete"),
        "nan.tif": (nan.getvalue(), "not finite"),
        "large.tif": (large.getvalue(), "expected 0 to 1"),
        "bomb.png": (bomb, "million"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder.png").mkdir()
    return {name: words for name, (_, words) in files.items()} | {"folder.png": "folder", "nowhere.png": "not exist"}


def test_bad_files_give_one_sentence(tmp_path):
    for name, words in bad_files(tmp_path).items():
        with pytest.raises(ImageError) as caught:
            images.read_photograph(tmp_path / name)
        message = str(caught.value)
        assert words in message and str(tmp_path / name) in message and "\n" not in message, name


def test_pipes_are_refused_and_not_listed(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert images.list_files(tmp_path) == [tmp_path / "gone.png"]
    with pytest.raises(ImageError, match=r"a\.png is a pipe"):
        images.read_photograph(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        images.read_photograph(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="a device"):
        images.read_photograph("/dev/zero")


def test_huge_files_are_refused_before_they_are_read(tmp_path, monkeypatch):
    huge, foreign = tmp_path / "huge.png", tmp_path / "foreign.png"
    huge.write_bytes(imagecodecs.png_encode(noise((4, 5, 3))))
    os.truncate(huge, 3 << 30)  # sparse: it takes no place
    with pytest.raises(ImageError, match=r"huge\.png is too large: 3\.0 GiB, and at most 2 are read"):
        images.read_photograph(huge)
    foreign.write_bytes(b"words, not pixels")
    closed = {name: (*how, None) for name, (*how, _) in formats._FORMATS.items()}
    monkeypatch.setattr(formats, "_FORMATS", closed)  # no opener is asked
    with pytest.raises(ImageError, match=r"foreign\.png is not a PNG"):
        images.read_photograph(foreign)


def test_size_limit(tmp_path, monkeypatch):
    for suffix, dtype in ((".png", np.uint8), (".png", np.uint16), (".tif", np.uint16)):
        images.write_photograph(tmp_path / f"a{suffix}", photograph_of(noise((5, 5, 3), dtype)))
        monkeypatch.setattr("demoe.core.samples.MAX_PIXELS", 25)
        images.read_photograph(tmp_path / f"a{suffix}")
        monkeypatch.setattr("demoe.core.samples.MAX_PIXELS", 24)
        with pytest.raises(ImageError, match="5x5"):
            images.read_photograph(tmp_path / f"a{suffix}")


def test_damage_never_escapes_as_another_exception(tmp_path):
    """Bytes overwritten at random: a picture or an ImageError, nothing else."""
    rng = np.random.default_rng(0)
    path = tmp_path / "a.bin"
    for suffix in images.SUFFIXES:
        dtype = np.uint16 if suffix in (".png", ".tif") else np.uint8
        whole = tmp_path / f"whole{suffix}"
        images.write_photograph(whole, photograph_of(noise((12, 10, 3), dtype), metadata=Metadata(SRGB, exif_with(6))))
        data = whole.read_bytes()
        for _ in range(30):
            damaged = bytearray(data)
            for place in rng.integers(0, min(len(data), 600), 4):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                assert images.read_photograph(path).pixels.isfinite().all()
            except ImageError as error:
                assert str(path) in str(error)


# Writing.


@pytest.mark.parametrize(
    ("written", "called", "result"),
    [
        ("a.png", "b.JPG", "b.png"),
        ("a.tif", "b.jpg", "b.tif"),
        ("a.tif", "b.bmp", "b.tif"),
        ("a.webp", "b.jpeg", "b.webp"),
        ("a.jpg", "b.png", "b.png"),
        ("a.png", "b.tif", "b.tif"),
        ("a.bmp", "b.webp", "b.webp"),
        ("a.jpg", "b.JPG", "b.JPG"),
        ("a.jpg", "b.heic", "b.png"),
    ],
)
def test_a_result_is_called_so_that_nothing_is_lost(tmp_path, written, called, result):
    images.write_photograph(tmp_path / written, photograph_of(noise((4, 5, 3))))
    source = (tmp_path / written).rename(tmp_path / called)
    assert images.result_name(Path("sub") / called, source) == Path("sub") / result
    told = written[-3:] != called[-3:].lower().replace("peg", "jpg")
    assert images.read_photograph(source).note.startswith("its content is ") == told


def test_a_result_of_what_cannot_be_read_keeps_its_name(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"words")
    for name in ("a.jpg", "b.jpg", "nowhere.jpg"):
        assert images.result_name(Path(name), tmp_path / name) == Path(name)


def test_long_names(tmp_path):
    photograph = photograph_of(noise((4, 5, 3)))
    longest = tmp_path / ("a" * 251 + ".png")  # 255 bytes
    images.write_photograph(longest, photograph)
    assert [file.name for file in tmp_path.iterdir()] == [longest.name]
    with pytest.raises(OSError) as caught:
        images.write_photograph(tmp_path / ("b" * 252 + ".png"), photograph)
    assert caught.value.filename.endswith("bbb.png") and PARTIAL not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == [longest.name]


def test_unsupported_suffix_and_alpha(tmp_path):
    photograph = photograph_of(noise((4, 5, 4)))
    for name, words in (
        ("a.gif", "not a supported"),
        ("a", "no suffix"),
        ("a.jpg", "transparency"),
        ("a.bmp", "transparency"),
    ):
        with pytest.raises(ValueError, match=words):
            images.write_photograph(tmp_path / name, photograph)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pixels", [torch.zeros(1, 4, 4), torch.zeros(3, 0, 4), torch.full((3, 2, 2), torch.nan)])
def test_pictures_that_cannot_be_written(tmp_path, pixels):
    with pytest.raises(ValueError, match="pixels"):
        images.write_photograph(tmp_path / "a.png", Photograph(pixels))
    with pytest.raises(ValueError, match="alpha"):
        images.write_photograph(tmp_path / "a.png", Photograph(torch.zeros(3, 4, 4), torch.zeros(1, 4, 5)))
    assert list(tmp_path.iterdir()) == []


def test_values_are_clamped_and_rounded(tmp_path):
    pixels = torch.tensor([-0.5, 1.5, 0.4999 / 255, 100.501 / 255]).repeat(3, 1, 1)
    images.write_photograph(tmp_path / "a.png", Photograph(pixels))
    assert as_samples(images.read_photograph(tmp_path / "a.png"))[0, :, 1].tolist() == [0, 255, 0, 101]


@pytest.mark.parametrize("suffix", images.SUFFIXES)
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    photograph = photograph_of(noise((8, 8, 3)))
    path.write_bytes(b"before")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(images, "encode", fail)
        with pytest.raises(ValueError, match="disk full"):
            images.write_photograph(path, photograph)
    with monkeypatch.context() as patch:
        patch.setattr(images.os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            images.write_photograph(path, photograph)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b"before")]
    images.write_photograph(path, photograph)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert images.read_photograph(path).size == (8, 8)


def test_list_photographs(tmp_path):
    for name in ("b.PNG", "a.jpg", "sub/c.Tiff", "notes.txt", ".hidden.png", ".cache/d.png", "sub/e.jpeg", "f.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in images.list_photographs(tmp_path)]
    assert found == ["a.jpg", "b.PNG", "f.heic", "sub/c.Tiff", "sub/e.jpeg"]
    with pytest.raises(NotADirectoryError, match=r"a\.jpg"):
        images.list_photographs(tmp_path / "a.jpg")


# Pictures in memory.


def test_from_array():
    eight = noise((5, 7, 3))
    assert np.array_equal(as_samples(images.from_array(eight)), eight)
    assert images.from_array(eight[..., 0]).gray
    assert images.from_array(noise((5, 7, 4), np.uint16)).bit_depth == 16
    assert images.from_array(noise((5, 7, 4), np.uint16)).alpha.shape == (1, 5, 7)
    assert torch.equal(images.from_array(eight / 255.0).pixels, images.from_array(eight).pixels)
    for bad in (
        np.zeros((3, 5, 7)),
        np.zeros(4),
        np.zeros((0, 4, 3)),
        np.full((2, 2), np.inf),
        np.full((2, 2), 255.0),
        np.zeros((2, 2), np.int64),
    ):
        with pytest.raises(ValueError):
            images.from_array(bad)


def test_from_pillow():
    deep = noise((4, 6), np.uint16)
    photograph = images.from_pillow(Image.fromarray(deep))
    assert photograph.gray and photograph.bit_depth == 16
    assert np.array_equal(as_samples(photograph)[..., 0], deep)
    assert np.array_equal(as_samples(images.from_pillow(Image.fromarray(deep.astype(np.int32))))[..., 0], deep)
    with pytest.raises(ValueError, match="outside"):
        images.from_pillow(Image.fromarray(deep.astype(np.int32) + 70000))
