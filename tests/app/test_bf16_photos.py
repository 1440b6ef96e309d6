"""Photographs in bfloat16 on request: near the float32 result, whole and in tiles, from Python and the command line."""

import pytest
import torch
from conftest import shake

from demoe.app.cli import main
from demoe.core import images
from demoe.inference.optimize import optimize
from demoe.inference.tiles import restore_large
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig

TINY = {"width": 8, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = shake(DeMoE(DeMoEConfig(**TINY)))
    with torch.no_grad():
        network.ending.weight.mul_(0.1)  # a residual of a few hundredths, as a trained one
        network.ending.bias.mul_(0.1)
    return network


@pytest.mark.parametrize("way", [{}, {"tile": 256}, {"tile": 256, "route": "tile"}])
def test_near_float32_whole_and_in_tiles(model, way):
    x = torch.rand(3, 270, 301, generator=torch.Generator().manual_seed(1))
    exact, found = (restore_large(model, x, bf16=bf16, **way) for bf16 in (False, True))
    assert found.image.dtype == torch.float32 and found.plan.tile == exact.plan.tile
    error = (found.image - exact.image).square().mean()
    assert 1e-12 < error < 1e-5  # not float32, and above 50 dB
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_other_networks_run_as_they_are():
    x = torch.rand(3, 6, 7)
    assert torch.equal(restore_large(torch.nn.Identity(), x, bf16=True).image, x)


def test_on_the_command_line(model, tmp_path, home):
    checkpoints.save(model, tmp_path / "net.safetensors")
    photo = images.from_array(torch.rand(40, 50, 3, generator=torch.Generator().manual_seed(2)).numpy())
    images.write_photograph(tmp_path / "a.png", photo)
    results = []
    for extra in ([], ["--bf16"]):
        out = tmp_path / ("out" + "".join(extra))
        assert (
            main(
                [
                    "deblur",
                    str(tmp_path / "a.png"),
                    "-o",
                    str(out),
                    "--weights",
                    str(tmp_path / "net.safetensors"),
                    "--device",
                    "cpu",
                    "--no-guard",
                    *extra,
                ]
            )
            == 0
        )
        results.append(images.read_photograph(out / "a.png").pixels)
    difference = (results[0] - results[1]).abs()
    assert 0 < difference.max() <= 3 / 255  # of 8 bits: rounding, and bfloat16's own


@torch.no_grad()
def test_bf16_keeps_the_contrasts_that_the_router_uses():
    """Read in bfloat16, steps of less than 1/256 around 0.7 would be gone before the first convolution."""
    torch.manual_seed(0)
    model = shake(DeMoE(DeMoEConfig(**TINY)))
    weight = model.intro.weight
    colours = weight[:, :, 1, 1] - weight[:, :, 1, 1].mean(1, keepdim=True)
    weight.zero_()[:, :, 1, 1] = 1000 * colours  # differences of colours alone, which no border disturbs
    model.intro.bias.zero_()
    x = 0.7 + 0.001 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected, found = model(x), optimize(model, torch.bfloat16)(x)
    rounded = model(x.bfloat16().float())
    error, lost = ((other.logits - expected.logits).abs().max() for other in (found, rounded))
    assert error < 0.2 * lost
    assert torch.equal(found.weights, expected.weights)
