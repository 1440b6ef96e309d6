import copy

import pytest
import torch
from conftest import shake
from torch import nn

from demoe.core.tasks import EXPERTS
from demoe.inference.tiles import restore_large
from demoe.models import tlc
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

PATCH = 16  # of training: the window is 24 pixels, 12 and 6 at the levels below


def nafnet(**changes) -> NAFNet:
    torch.manual_seed(0)
    given = {"width": 4, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1), "router": True}
    return shake(NAFNet(NAFNetConfig(**(given | changes))))


def demoe(**changes) -> DeMoE:
    torch.manual_seed(0)
    given = {"width": 4, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}
    return shake(DeMoE(DeMoEConfig(**(given | changes))))


class Slow(nn.Module):
    """Channel attention with a mean a pixel, written out: the window of ``side``, shifted inwards at the borders."""

    def __init__(self, side: int, convolution: nn.Module):
        super().__init__()
        self.side, self.convolution = side, convolution

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        h, w = min(self.side, height), min(self.side, width)
        found = torch.empty_like(x, dtype=torch.float64)
        for i in range(height):
            top = min(max(i - (h - 1) // 2, 0), height - h)
            for j in range(width):
                left = min(max(j - (w - 1) // 2, 0), width - w)
                found[:, :, i, j] = x[:, :, top : top + h, left : left + w].double().mean((2, 3))
        return self.convolution(found.to(x.dtype))


def slowly(model: nn.Module, sides: dict[str, int]) -> nn.Module:
    """``model`` with the slow formulation in the blocks named, and nothing of ``tlc``."""
    model = copy.deepcopy(model)
    for name, side in sides.items():
        block = model.get_submodule(name)
        block.sca = Slow(side, block.sca[1])
    return model


SIZES = [(9, 9, 5), (17, 12, 6), (8, 23, 8), (7, 30, 12), (31, 10, 11), (13, 13, 1), (14, 15, 13)]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("height", "width", "side"), SIZES)
def test_one_attention_equals_the_direct_formulation(height, width, side, channels_last):
    torch.manual_seed(1)
    x = 3 + torch.randn(2, 5, height, width)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    convolution = nn.Conv2d(5, 5, 1)
    torch.testing.assert_close(
        tlc.LocalAttention(side, convolution)(x), Slow(side, convolution)(x), rtol=1e-5, atol=1e-5
    )


PRECISIONS = [(torch.bfloat16, 2e-2), (torch.float16, 3e-3), (torch.float64, 1e-12)]


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_other_precisions(dtype, tolerance):
    torch.manual_seed(1)
    x = 3 + torch.randn(2, 5, 19, 26, dtype=torch.float64)
    convolution = nn.Conv2d(5, 5, 1).double()
    exact = Slow(9, convolution)(x)
    found = tlc.LocalAttention(9, copy.deepcopy(convolution).to(dtype))(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=tolerance)


def test_sums_do_not_overflow_half_precision():
    x = torch.full((1, 1, 64, 80), 100, dtype=torch.float16)  # a window's sum is 160 000, above all of float16
    assert torch.equal(tlc.means(x, 40, 40), torch.full((1, 1, 25, 41), 100, dtype=torch.float16))


def test_long_maps_keep_their_digits():
    torch.manual_seed(1)
    x = 100 + torch.randn(1, 3, 40, 5000)
    exact = x.double().unfold(3, 301, 1).mean(-1).unfold(2, 31, 1).mean(-1)
    torch.testing.assert_close(tlc.means(x, 31, 301).double(), exact, rtol=5e-7, atol=0)


def test_pieces_of_the_channels_make_no_difference(monkeypatch):
    x = torch.randn(2, 7, 20, 21)
    whole = tlc.means(x, 6, 9)
    monkeypatch.setattr(tlc, "CHUNK", 3 * 2 * 20 * 21)
    assert torch.equal(tlc.means(x, 6, 9), whole)


def test_borders_repeat_the_last_full_window():
    x = torch.arange(10.0).expand(1, 1, 10, 10)
    convolution = nn.Conv2d(1, 1, 1)
    nn.init.ones_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    found = tlc.LocalAttention(4, convolution)(x)
    # Windows begin at columns 0 to 6; pixel 1 is the first in the middle of one, as 4 columns have (4 - 1) // 2 before.
    expected = [1.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 7.5, 7.5]
    torch.testing.assert_close(found[0, 0], torch.tensor(expected).expand(10, 10))


@pytest.mark.parametrize(("height", "width"), [(45, 61), (21, 50), (39, 24)])  # the last two: longer one way only
@pytest.mark.parametrize("channels_last", [False, True])
@torch.no_grad()
def test_a_network_equals_the_direct_formulation(height, width, channels_last):
    x = torch.rand(2, 3, height, width)
    for model in (nafnet(), demoe()):
        if channels_last:
            model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        local = tlc.local(model, PATCH)
        expected = slowly(model, tlc.windows(local))(x)
        found, plain = local(x), model(x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert (found.image - plain.image).abs().max() > 1e-4  # else this shows nothing


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_a_network_in_half_precision(dtype):
    x = torch.rand(1, 3, 45, 61)
    local = tlc.local(nafnet(), PATCH)
    expected = local(x).image
    found = local.to(dtype)(x.to(dtype)).image
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("patch", [PATCH, 15, 11])  # windows of 24 pixels, of 22.5 rounded up to 24, of 16.5 to 20
@torch.no_grad()
def test_a_picture_within_the_window_is_untouched(patch):
    for model in (nafnet(), demoe()):
        local, side = tlc.local(model, patch), tlc.window(model, patch)
        for size in ((side, side), (side - 1, side), (side - 7, 5), (3, side)):
            x = torch.rand(1, 3, *size)
            pairs = [pair for pair in zip(local(x), model(x), strict=True) if pair != (None, None)]
            assert all(torch.allclose(*pair, rtol=1e-5, atol=1e-6) for pair in pairs), size  # one fused, one not
        x = torch.rand(1, 3, side + 1, side)
        assert not torch.equal(
            local.get_submodule("encoders.0")(local.intro(x)), model.get_submodule("encoders.0")(model.intro(x))
        )


def test_windows_are_one_and_a_half_patches_at_each_scale():
    model = NAFNet(NAFNetConfig(width=2))
    found = tlc.windows(tlc.local(model, 384))
    assert tlc.window(model, 384) == 576
    assert len(found) == 2 * 4 + 3 + 3 * 4
    for level in range(4):
        assert {found[f"encoders.{level}.{i}"] for i in range(2)} == {576 >> level}
        assert {found[f"decoders.{3 - level}.{i}"] for i in range(3)} == {576 >> level}
    assert {found[f"middle_blks.{i}"] for i in range(3)} == {36}
    assert tlc.windows(model) == {}


def test_windows_of_experts_and_of_an_encoder_with_another_patch():
    found = tlc.windows(tlc.local(demoe(moe_per_level=2), PATCH, encoder_patch=32))
    assert found["encoders.0.modules_list.0"] == 48 and found["encoders.1.modules_list.0"] == 24
    assert found["decoders.1.modules_list.0"] == 24 and found["middle_blks.modules_list.0"] == 6
    sides = [[found.pop(f"experts.{i}.experts.{j}") for j in range(5)] for i in range(6)]
    assert sides == [[side] * 5 for side in (6, 6, 12, 12, 24, 24)]


def test_the_original_stays_and_names_and_values_are_the_same():
    model = demoe()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    types = [type(part) for part in model.modules()]
    local = tlc.local(model, PATCH)
    assert list(local.state_dict()) == list(before) and local.config == model.config
    assert all(torch.equal(value, before[name]) for name, value in local.state_dict().items())
    with torch.no_grad():
        for parameter in local.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [type(part) for part in model.modules()] == types and tlc.windows(model) == {}
    model.load_state_dict(local.state_dict())  # and back


@torch.no_grad()
def test_named_experts_alone_are_converted():
    x, model = torch.rand(1, 3, 41, 47), demoe()
    local = tlc.local(model, PATCH, ["RealBlur", "defocus", "GoPro-syn"])
    assert {name.split(".")[-1] for name in tlc.windows(local)} == {"0", "1", "3"}
    assert all(name.startswith("experts.") for name in tlc.windows(local))
    for i, name in enumerate(EXPERTS):
        found, plain = local(x, expert=name), model(x, expert=name)
        assert torch.equal(found.logits, plain.logits)  # the encoder is as it was
        assert torch.equal(found.image, plain.image) == (i not in (0, 1, 3))


def test_named_experts_and_the_shared_blocks():
    model = demoe()
    every, some = (tlc.windows(tlc.local(model, PATCH, *given, shared=True)) for given in ((), (["GoPro"],)))
    assert {name for name in every if name not in some} == {
        f"experts.{i}.experts.{j}" for i in range(3) for j in (0, 1, 2, 4)
    }
    assert some == {name: side for name, side in every.items() if name in some}


def test_the_router_keeps_its_average():
    local = tlc.local(demoe(), PATCH)
    assert isinstance(local.mlp_branch.classifier[0], nn.AdaptiveAvgPool2d)
    assert not any("mlp_branch" in name for name in tlc.windows(local))


@torch.no_grad()
def test_a_batch_is_as_its_pictures():
    local, x = tlc.local(demoe(), PATCH), torch.rand(3, 3, 40, 52)
    together = local(x).image
    for i in range(3):
        torch.testing.assert_close(local(x[i : i + 1]).image[0], together[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["wavelet", "darkir"])
@torch.no_grad()
def test_other_experts_with_channel_attention(kind):
    model, x = demoe(expert=kind), torch.rand(1, 3, 37, 45)
    local = tlc.local(model, PATCH)
    torch.testing.assert_close(local(x).image, slowly(model, tlc.windows(local))(x).image, rtol=1e-5, atol=1e-5)
    assert any(name.startswith("experts.") for name in tlc.windows(local))


def test_experts_without_it_stay_global():
    model = demoe(expert="restormer")
    assert not any(name.startswith("experts.") for name in tlc.windows(tlc.local(model, PATCH)))
    with pytest.raises(ValueError, match="no channel attention to convert"):
        tlc.local(model, PATCH, ["GoPro"])


def test_converted_twice_has_the_second_window():
    model = nafnet()
    again = tlc.local(tlc.local(model, 64), PATCH)
    assert tlc.windows(again) == tlc.windows(tlc.local(model, PATCH))


def test_strips_are_refused_not_wrong():
    with pytest.raises(ValueError, match="cannot run in strips or tiles"):
        restore_large(tlc.local(demoe(), PATCH), torch.rand(3, 40, 50))


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (nafnet(), (PATCH, ["GoPro"]), "NAFNet has no experts"),
        (nafnet(), (0,), "at least one pixel"),
        (nafnet(), (float("nan"),), "at least one pixel"),
        (demoe(), (PATCH, ["fog"]), "unknown expert 'fog'"),
        (demoe(), (PATCH, "GoPro"), "list of names"),
        (demoe(), (PATCH, []), "nothing|none is named"),
        (nn.Identity(), (PATCH,), "only NAFNet and DeMoE"),
    ],
)
def test_what_cannot_be_converted_is_told(model, given, message):
    with pytest.raises(ValueError, match=message):
        tlc.local(model, *given)
