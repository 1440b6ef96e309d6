"""Strips give what the plain forward gives: odd sizes, every k, manual experts, all heights, all ways to keep maps."""

import pytest
import torch
from conftest import shake

from demoe.inference import strip_runner, strips
from demoe.inference.fold import FoldedBlock, folded
from demoe.models import fused_block
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

SIZES = [(37, 51), (1, 1), (130, 67), (16, 16), (97, 16)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return shake(DeMoE(DeMoEConfig(width=4)))


def close(found, expected):
    """To 1e-6 of the picture's largest value; logits and weights likewise."""
    for a, b in zip(found, expected, strict=True):
        if b is None:
            assert a is None
        else:
            assert a.shape == b.shape and a.dtype == b.dtype
            assert (a - b).abs().max() <= 1e-6 * b.abs().max().clamp(min=1)


def picture(*size, batch=1):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("recompute", [0, 1, 2, 3])
@pytest.mark.parametrize("rows", [16, 48, None])
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_a_strip_at_a_time_equals_the_plain_forward(model, size, rows, recompute):
    x = picture(*size)
    close(strips.forward(model, x, rows=rows, recompute=recompute), model(x))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("size", [*SIZES, (5, 600)])
@torch.no_grad()
def test_blocks_as_one_operation_and_strip_by_strip(model, size, fused):
    x = picture(*size)
    for wish in ({}, {"k": 3}, {"expert": "defocus"}):
        close(strips.forward(model, x, **wish, fused=fused), model(x, **wish))


@pytest.mark.skipif(fused_block.operations() is None, reason="no C++ compiler")
@torch.no_grad()
def test_a_fused_network_runs_no_block_in_strips(model, monkeypatch):
    expected = strips.forward(model, picture(40, 24), fused=False)
    monkeypatch.setattr(strip_runner, "Weights", None)
    close(strips.forward(model, picture(40, 24)), expected)
    with pytest.raises(TypeError):
        strips.forward(model, picture(40, 24), fused=False)


@pytest.mark.parametrize("recompute", [0, 1, 3])
@pytest.mark.parametrize(
    "wish", [{"k": 3}, {"k": 5}, {"k": None}, {"expert": "low_light"}, {"expert": "GoPro", "k": 3}]
)
@pytest.mark.parametrize("rooms", [0, strip_runner.ROOMS])  # bytes: experts' gated maps computed twice, or kept
@torch.no_grad()
def test_mixes_and_manual_experts(model, wish, recompute, rooms, monkeypatch):
    monkeypatch.setattr(strip_runner, "ROOMS", rooms)
    x = picture(53, 37)
    close(strips.forward(model, x, **wish, rows=16, recompute=recompute), model(x, **wish))


@torch.no_grad()
def test_a_batch_is_its_pictures(model):
    x = picture(35, 20, batch=3)
    wish = ["defocus", None, "low_light"]
    close(strips.forward(model, x, wish, rows=16), model(x, wish))


CHANGES = [
    {"expert": "restormer"},
    {"expert": "plk"},
    {"expert": "wavelet"},
    {"expert": "darkir"},
    {"fusion": "residual"},
    {"fusion": "attention"},
    {"moe_per_level": 2},
]


@pytest.mark.parametrize(("number", "recompute"), [(i, way) for i in range(len(CHANGES)) for way in (0, 1, 3)])
@torch.no_grad()
def test_other_experts_and_fusions(number, recompute, monkeypatch):
    """Any two of network, way to keep maps, and room for experts' maps meet; not all three."""
    change, rooms = CHANGES[number], (0, strip_runner.ROOMS)[(number + recompute) % 2]
    monkeypatch.setattr(strip_runner, "ROOMS", rooms)
    torch.manual_seed(0)
    config = {"width": 4, "encoder_blocks": (1, 2), "middle_blocks": 1, "decoder_blocks": (1, 1), **change}
    other = shake(DeMoE(DeMoEConfig(**config)))
    x = picture(45, 30)
    for k in (1, 3):
        close(strips.forward(other, x, k=k, rows=8, recompute=recompute), other(x, k=k))


@pytest.mark.parametrize("router", [False, True])
@torch.no_grad()
def test_nafnet(router):
    torch.manual_seed(0)
    net = shake(
        NAFNet(NAFNetConfig(width=4, encoder_blocks=(1, 2), middle_blocks=1, decoder_blocks=(0, 2), router=router))
    )
    x = picture(30, 41)
    for recompute in range(4):
        found = strips.forward(net, x, rows=4, recompute=recompute)
        close(found, net(x))


@torch.no_grad()
def test_k_1_runs_the_chosen_experts_alone(model, monkeypatch):
    x = picture(20, 20)
    chosen = int(model(x).weights.argmax())
    seen = set()
    once = strip_runner.Run._first_pass
    monkeypatch.setattr(
        strip_runner.Run,
        "_first_pass",
        lambda run, y, block, *number: (seen.add(block), once(run, y, block, *number))[1],
    )
    strips.forward(model, x)
    experts = {expert: i for moe in folded(model).experts for i, expert in enumerate(moe.experts)}
    assert {experts[block] for block in seen if block in experts} == {chosen}


@torch.no_grad()
def test_statistics_of_one_crop_that_is_the_picture_are_the_pictures(model):
    x = picture(48, 32)
    known = strips.statistics(model, [x], k=3)
    expected = model(x, k=3)
    torch.testing.assert_close(known.logits, expected.logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(known.weights, expected.weights, rtol=1e-5, atol=1e-6)
    twin = folded(model)
    used = (
        1
        + sum(
            isinstance(block, FoldedBlock)
            for part in (twin.encoders, twin.middle_blks, twin.decoders)
            for block in part.modules()
        )
        - 1
        + 3 * len(twin.experts)
    )
    assert len(known.scales) == used
    close(strips.forward(model, x, k=3, rows=16, scales=known.scales), expected)
    wrong = {block: 2 * scale for block, scale in known.scales.items()}
    assert not torch.allclose(strips.forward(model, x, k=3, rows=16, scales=wrong).image, expected.image, atol=1e-3)


@torch.no_grad()
def test_statistics_of_crops_are_means_over_them_without_their_margins(model):
    x = picture(32, 32, batch=2)
    block = model.encoders[0].modules_list[0]
    gated = block.sg(block.conv2(block.conv1(block.norm1(model.intro(x)))))[..., 8:-8, 8:-8]
    expected = block.sca[1](gated.mean((0, 2, 3), keepdim=True))
    for recompute in (0, 1, 3):
        known = strips.statistics(model, x.split(1), "defocus", margin=8, recompute=recompute)
        found = known.scales[folded(model).encoders[0].modules_list[0]]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    mixed = strips.statistics(model, x.split(1), lambda _: torch.tensor([[0.5, 0.5, 0, 0, 0]]))
    assert mixed.weights.tolist() == [[0.5, 0.5, 0, 0, 0]]


def test_input_is_left_alone_and_progress_counts_blocks(model):
    x = picture(40, 24)
    before, calls = x.clone(), []
    out = strips.forward(model, x, rows=16, progress=lambda: calls.append(1))
    assert torch.equal(x, before) and not out.image.requires_grad
    assert len(calls) == 23


def test_bad_arguments(model):
    x = picture(20, 20)
    with pytest.raises(ValueError, match="multiple of 16"):
        strips.forward(model, x, rows=20)
    with pytest.raises(ValueError, match="recompute"):
        strips.forward(model, x, recompute=4)
    with pytest.raises(ValueError, match="Identity"):
        strips.forward(torch.nn.Identity(), x)
    with pytest.raises(ValueError, match="2 experts named for 1"):
        strips.forward(model, x, ["defocus", "defocus"])
    with pytest.raises(ValueError, match="crops"):
        strips.statistics(model, [picture(20, 16)])
    with pytest.raises(ValueError, match="training"):
        strips.forward(NAFNet(NAFNetConfig(width=2)).train(), x)


@pytest.mark.parametrize(("recompute", "kept", "roomy"), [(0, True, True), (1, False, False)])
@torch.no_grad()
def test_the_second_way_keeps_neither_the_largest_map_for_the_decoder_nor_its_gates(
    model, recompute, kept, roomy, monkeypatch
):
    encode, first = strip_runner.Run.encode, strip_runner.Run._first_pass
    skips, widths = [], set()

    def encoding(run, strips):
        y, found = encode(run, strips)
        skips.append(found[0])
        return y, found

    monkeypatch.setattr(strip_runner.Run, "encode", encoding)
    monkeypatch.setattr(
        strip_runner.Run, "_first_pass", lambda run, y, *rest: widths.add(y.maps[0].shape[1]) or first(run, y, *rest)
    )
    strips.forward(model, picture(40, 24), recompute=recompute)
    assert isinstance(skips[0], strip_runner.Kept) is kept and (model.config.width in widths) is roomy
