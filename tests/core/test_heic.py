"""HEIC files, where pillow-heif is installed, and the sentence where it is not."""

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from demoe.core import images
from demoe.core.images import ImageError


def exif(orientation):
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "Camera", orientation
    return tags.tobytes()


def test_without_the_extra_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    file = tmp_path / "a.HEIC"
    file.write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0")
    with pytest.raises(ImageError, match=r"a\.HEIC is a HEIC image, which needs pillow-heif: pip install 'demoe\[heic"):
        images.read_photograph(file)


def test_results_of_heic_are_png(tmp_path):
    assert images.result_name(tmp_path / "a.HeIc").name == "a.png"
    assert images.result_name(tmp_path / "a.JPG").name == "a.JPG"
    with pytest.raises(ValueError, match="not a supported"):
        images.write_photograph(tmp_path / "a.heic", images.from_array(np.zeros((2, 2), np.uint8)))


@pytest.fixture
def heif():
    return pytest.importorskip("pillow_heif", reason="pillow-heif is an optional extra")


def test_pixels_rotation_exif_and_profile(tmp_path, heif):
    array = np.zeros((20, 34, 3), np.uint8)
    array[:10, :17] = 255, 0, 0  # red in the first quarter
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = heif.from_bytes("RGB", (34, 20), array.tobytes())
    file.info["icc_profile"], file.info["icc_profile_type"] = profile, "prof"
    data = io.BytesIO()
    xmp = b'<x tiff:Orientation="%d"/>'
    file.save(data, quality=-1, chroma=444, exif=exif(6), xmp=xmp % 6, matrix_coefficients=0)
    (tmp_path / "a.HEIC").write_bytes(data.getvalue())
    photograph = images.read_photograph(tmp_path / "a.HEIC")
    assert photograph.size == (20, 34) and photograph.bit_depth == 8  # turned once, not twice
    red = photograph.pixels[0] - photograph.pixels[1]
    assert red[:17, 10:].mean() > 0.95 and red[17:].mean() < 0.05 and red[:17, :10].mean() < 0.05
    assert photograph.metadata.icc_profile == profile and photograph.metadata.xmp == xmp % 1
    tags = Image.Exif()
    tags.load(photograph.metadata.exif)
    assert tags[0x010F] == "Camera" and tags[0x0112] == 1
    images.write_photograph(tmp_path / "a.png", photograph)
    again = images.read_photograph(tmp_path / "a.png")
    assert torch.equal(again.pixels, photograph.pixels) and again.metadata.exif == photograph.metadata.exif
    assert again.metadata == photograph.metadata


def test_ten_bits_count_as_sixteen(tmp_path, heif):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).repeat(64 * 3).reshape(64, 64, 3)
    data = io.BytesIO()
    heif.from_bytes("RGB;16", (64, 64), ramp.tobytes()).save(data, quality=-1, chroma=444, matrix_coefficients=0)
    (tmp_path / "a.heic").write_bytes(data.getvalue())
    photograph = images.read_photograph(tmp_path / "a.heic")
    assert photograph.bit_depth == 16 and photograph.pixels.max() == 1 and photograph.pixels.min() == 0
    assert (photograph.pixels - torch.from_numpy(ramp / 65535).permute(2, 0, 1)).abs().max() < 2 / 1023


def test_alpha_and_damage(tmp_path, heif):
    array = np.random.default_rng(0).integers(0, 256, (16, 16, 4)).astype(np.uint8)
    data = io.BytesIO()
    heif.from_bytes("RGBA", (16, 16), array.tobytes()).save(data, quality=-1, chroma=444, matrix_coefficients=0)
    (tmp_path / "a.heif").write_bytes(data.getvalue())
    photograph = images.read_photograph(tmp_path / "a.heif")
    assert np.array_equal((photograph.alpha[0] * 255).round().numpy(), array[..., 3])
    for cut in (40, 200, len(data.getvalue()) - 100):
        (tmp_path / "cut.heic").write_bytes(data.getvalue()[:cut])
        with pytest.raises(ImageError, match=r"cut\.heic is damaged"):
            images.read_photograph(tmp_path / "cut.heic")


def test_size_is_decided_before_decoding(tmp_path, heif, monkeypatch):
    data = io.BytesIO()
    heif.from_bytes("RGB", (20, 10), bytes(600)).save(data)
    (tmp_path / "a.heic").write_bytes(data.getvalue())
    monkeypatch.setattr("demoe.core.samples.MAX_PIXELS", 199)
    with pytest.raises(ImageError, match="20x10 pixels"):
        images.read_photograph(tmp_path / "a.heic")
