"""Deblurring a photograph in every form it can have, with tiny networks."""

import numpy as np
import pytest
import torch
from conftest import shake
from PIL import Image

import demoe
from demoe.app import networks, photos
from demoe.core import images
from demoe.core.images import ImageError, Photograph
from demoe.core.tasks import EXPERTS
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

SMALL = DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))


def network(seed=0, identity=False):
    """A small DeMoE; with ``identity`` its residual is zero. Its experts differ."""
    torch.manual_seed(seed)
    model = shake(DeMoE(SMALL), seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.normal_()
        if identity:
            model.ending.weight.zero_()
            model.ending.bias.zero_()
    return model


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def identity():
    return network(identity=True)


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (33, 21)])
def test_an_identity_network_gives_the_file_back(tmp_path, identity, channels, dtype, size):
    peak = np.iinfo(dtype).max
    planes = torch.from_numpy(noise((channels, *size), dtype).astype(np.float32) / peak)
    pixels = planes[:1].repeat(3, 1, 1) if channels < 3 else planes[:3]
    alpha = planes[-1:] if channels in (2, 4) else None
    for suffix in (".png", ".tif"):
        source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
        images.write_photograph(source, Photograph(pixels, alpha, 8 if peak == 255 else 16, channels < 3))
        images.write_photograph(target, photos.deblur(source, model=identity).photograph)
        assert target.read_bytes() == source.read_bytes()


def test_every_form_of_a_picture_gives_the_same(tmp_path, model):
    array = noise((13, 18, 3))
    images.write_photograph(tmp_path / "a.png", images.from_array(array))
    tensor = torch.from_numpy(array / np.float32(255)).permute(2, 0, 1)
    expected = photos.deblur(tensor, model=model).image
    for photo in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        images.read_photograph(tmp_path / "a.png"),
        Image.fromarray(array),
        array,
        array / 255.0,
    ):
        assert torch.equal(photos.deblur(photo, model=model).image, expected)
    assert expected.shape == (3, 13, 18) and expected.min() >= 0 and expected.max() <= 1
    assert not torch.allclose(expected, tensor)


def test_what_comes_back(model):
    result = photos.deblur(torch.rand(3, 16, 12), model=model, k=2, guard=False)
    assert tuple(result.weights) == tuple(result.router) == EXPERTS
    assert sum(result.weights.values()) == pytest.approx(1) and sum(result.router.values()) == pytest.approx(1)
    assert sum(value > 0 for value in result.weights.values()) == 2
    assert result.expert == max(result.router, key=result.router.get)
    assert torch.equal(result.photograph.pixels, result.image)


def test_manual_expert(model):
    picture = torch.rand(3, 16, 12)
    auto = photos.deblur(picture, model=model, guard=False)
    assert torch.equal(photos.deblur(picture, model=model, expert="auto", guard=False).image, auto.image)
    restored = {}
    for name in EXPERTS:
        result = photos.deblur(picture, model=model, expert=name)
        assert result.expert == name and result.weights[name] == 1
        assert result.router == auto.router  # what the router thought, all the same
        restored[name] = result.image
    assert torch.equal(restored[auto.expert], auto.image)
    assert not torch.equal(restored["defocus"], restored["low_light"])
    assert photos.deblur(picture, model=model, expert="GoPro").expert == "synth_global_motion"


def test_gray_goes_in_as_three_channels_and_comes_out_as_their_mean(model):
    gray = noise((10, 11))
    result = photos.deblur(gray, model=model)
    colour = photos.deblur(np.repeat(gray[..., None], 3, -1), model=model)
    assert result.photograph.gray
    assert torch.allclose(result.image, colour.image.mean(0).expand(3, -1, -1))
    assert not torch.equal(colour.image[0], colour.image[1])


def test_alpha_profile_and_exif_go_along(tmp_path, model):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera", 6
    Image.fromarray(noise((8, 12, 4))).save(tmp_path / "a.png", exif=exif)
    result = photos.deblur(tmp_path / "a.png", model=model)
    before = images.read_photograph(tmp_path / "a.png")
    assert result.image.shape == (3, 12, 8)
    assert torch.equal(result.photograph.alpha, before.alpha)
    assert result.photograph.metadata.exif == before.metadata.exif is not None


@pytest.mark.parametrize(
    ("photo", "error"),
    [
        (torch.zeros(4, 5), ValueError),
        (torch.zeros(1, 4, 5), ValueError),
        (torch.zeros(3, 4, 5).int(), ValueError),
        (torch.full((3, 4, 5), 255.0), ValueError),
        (torch.full((3, 4, 5), torch.nan), ValueError),
        (np.zeros((4, 5, 2)), ValueError),
        (42, TypeError),
        ("nowhere.png", ImageError),
    ],
)
def test_what_is_no_photograph(model, photo, error):
    with pytest.raises(error):
        photos.deblur(photo, model=model)


def test_other_bad_arguments(model):
    picture = torch.rand(3, 4, 4)
    with pytest.raises(ValueError, match="unknown expert"):
        photos.deblur(picture, model=model, expert="sharpen")
    with pytest.raises(ValueError):
        photos.deblur(picture, model=model, k=0)
    with pytest.raises(ValueError, match="either a model"):
        photos.deblur(picture, model=model, weights="a.safetensors")


def test_a_network_without_experts():
    config = NAFNetConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))
    result = photos.deblur(torch.rand(3, 5, 6), model=NAFNet(config))
    assert result.image.shape == (3, 5, 6)
    assert result.expert is None and result.weights == {} == result.router


# Where the weights come from.


def test_default_model(tmp_path, monkeypatch):
    monkeypatch.delenv("DEMOE_WEIGHTS", raising=False)
    monkeypatch.setattr(networks, "PACKAGED_WEIGHTS", tmp_path / "package")
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "home"))
    with pytest.raises(FileNotFoundError, match="--weights FILE"):
        photos.default_model(device="cpu")
    picture = torch.rand(3, 8, 8)
    expected = {}
    trained = tmp_path / "home/results/smoke/runs/demoe-s0-1/model.safetensors"
    trained.parent.mkdir(parents=True)
    checkpoints.save(network(5), trained)
    trained_here = photos.deblur(picture, model=network(5)).image
    assert torch.equal(photos.deblur(picture, device="cpu").image, trained_here)  # none packaged: the one trained here
    (tmp_path / "package").mkdir()
    for seed, name in enumerate(("package/demoe-smoke.safetensors", "env.safetensors", "given.safetensors")):
        checkpoints.save(network(seed), tmp_path / name)
        expected[name] = photos.deblur(picture, model=network(seed)).image
    assert torch.equal(photos.deblur(picture, device="cpu").image, expected["package/demoe-smoke.safetensors"])
    monkeypatch.setenv("DEMOE_WEIGHTS", str(tmp_path / "env.safetensors"))
    assert torch.equal(demoe.deblur(picture, device="cpu").image, expected["env.safetensors"])
    given = tmp_path / "given.safetensors"
    assert torch.equal(photos.deblur(picture, weights=given, device="cpu").image, expected["given.safetensors"])
    assert networks.load(given) is not networks.load(given) and networks.load().config == SMALL  # $DEMOE_WEIGHTS'
    with pytest.raises(FileNotFoundError, match=r"missing.safetensors: demoe.from_pretrained takes names"):
        networks.load(tmp_path / "missing.safetensors")
    first = photos.default_model(given, "cpu")
    assert photos.default_model(str(given), "cpu") is first  # loaded once
    checkpoints.save(network(7), given)
    again = photos.deblur(picture, weights=given, device="cpu").image
    assert torch.equal(again, photos.deblur(picture, model=network(7)).image)  # a file written anew is read anew
    with pytest.raises(FileNotFoundError, match="missing"):
        photos.default_model(tmp_path / "missing.safetensors")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU"):
        photos.default_model(given, "cuda")


def test_public_names():
    assert demoe.deblur is photos.deblur
    assert demoe.load is networks.load
    with pytest.raises(AttributeError, match="sharpen"):
        demoe.sharpen  # noqa: B018
