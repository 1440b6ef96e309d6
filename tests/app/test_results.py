"""What a person does with a result in Python: save it, show it, hand it to Pillow."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from demoe.app import photos
from demoe.core import images
from demoe.models.demoe import DeMoE, DeMoEConfig


@pytest.fixture(scope="module")
def model():
    """It changes nothing."""
    torch.manual_seed(0)
    return DeMoE(DeMoEConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))).eval()


@pytest.fixture
def result(model, tmp_path):
    exif = Image.Exif()
    exif[0x013B] = "Somebody"
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.tif", exif=exif, dpi=(300, 300))
    return photos.deblur(tmp_path / "photo.tif", model=model, guard=False)


def test_saved_with_its_metadata_in_the_format_of_the_suffix(result, tmp_path):
    for name in ("out.png", "new/out.jpg", "out.tif", "out.webp"):
        file = result.save(tmp_path / name)
        assert file == tmp_path / name and images.read_photograph(file).size == (12, 9)
        with Image.open(file) as written:
            assert written.getexif()[0x013B] == "Somebody"
    with pytest.raises(ValueError, match=r"\.xyz is not a supported image format"):
        result.save(tmp_path / "out.xyz")
    assert images.read_photograph(result.save(tmp_path / "out.png")).size == (12, 9)  # a result may be replaced


def test_saved_into_a_folder_it_is_called_as_the_photograph(result, model, tmp_path):
    assert result.save(f"{tmp_path}/restored/") == tmp_path / "restored/photo.tif"
    (tmp_path / "there").mkdir()
    assert result.save(tmp_path / "there") == tmp_path / "there/photo.tif"
    nameless = photos.deblur(torch.rand(3, 5, 6), model=model)
    with pytest.raises(ValueError, match=r"is a folder, and the photograph has no name: give a file"):
        nameless.save(tmp_path / "there")


def test_the_photograph_is_never_replaced(result, tmp_path):
    before = (tmp_path / "photo.tif").read_bytes()
    (tmp_path / "link.tif").symlink_to(tmp_path / "photo.tif")
    for place in (tmp_path / "photo.tif", tmp_path, tmp_path / "link.tif", tmp_path / "x/../photo.tif"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="the photograph itself, which is never replaced"):
            result.save(place)
    assert (tmp_path / "photo.tif").read_bytes() == before


def test_one_line_and_a_picture(result, model):
    assert repr(result).startswith("Deblurred(photo.tif, 12x9, ") and "\n" not in repr(result)
    assert repr(result).endswith("changed by 0.0 of 255 levels, 2 warnings)")  # the router is unsure, and no change
    assert repr(result.photograph) == "Photograph(12x9, RGB, 8 bit)"
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(result.to_pil()))
    wide = photos.deblur(torch.rand(3, 4, 2 * photos.PREVIEW), model=model)
    with Image.open(io.BytesIO(wide._repr_png_())) as shown:
        assert shown.size == (photos.PREVIEW, 2)
    assert repr(wide).startswith("Deblurred(2048x4, ")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillow_gets_what_it_gave(model, mode):
    array = np.random.default_rng(1).integers(0, 256, (7, 5, 4), dtype=np.uint8)
    given = Image.fromarray(array).convert(mode)
    given.info["icc_profile"] = b"a profile"
    found = photos.deblur(given, model=model).to_pil()
    assert found.mode == mode and np.array_equal(np.asarray(found), np.asarray(given))
    assert found.info["icc_profile"] == b"a profile"


def test_other_pictures(model):
    bytes_ = torch.arange(60, dtype=torch.uint8).view(3, 4, 5)
    assert torch.equal(photos.deblur(bytes_, model=model).image, bytes_ / 255)
    for wrong, words in (
        (torch.rand(4, 5, 3), r"channels come first, photo.permute\(2, 0, 1\)"),
        (torch.rand(2, 3, 4, 5), r"one picture at a time, batch\[0\]"),
        (255 * torch.rand(3, 4, 5), "expected 0 to 1"),
        (np.zeros((3, 4, 5), np.float32), r"expected \(H,W\), \(H,W,3\)"),
        (np.zeros((4, 5, 3), np.int64), "samples of type int64"),
    ):
        with pytest.raises(ValueError, match=words):
            photos.deblur(wrong, model=model)
