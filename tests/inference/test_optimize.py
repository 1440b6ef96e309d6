"""An optimized network gives what the model gives: random weights, odd sizes, mixed experts, every k, bf16."""

import copy

import pytest
import torch
from conftest import shake

import demoe
from demoe.inference import strip_operations, tiles
from demoe.inference.fold import FoldedBlock, fold_network, folded
from demoe.inference.optimize import OptimizedNetwork
from demoe.inference.restore import restore
from demoe.models import tlc
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.layers import NAFBlock
from demoe.models.nafnet import NAFNet, NAFNetConfig

SMALL = {"width": 8, "encoder_blocks": (1, 2), "middle_blocks": 1, "decoder_blocks": (1, 1)}


def disturbed(model, seed=0):
    """``shake``, and the norms' weights and biases away from one and zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return shake(model, seed)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return disturbed(DeMoE(DeMoEConfig(**SMALL)))


def pictures(*size, batch=1):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def close(found, expected, tolerance=1e-5):
    assert type(found) is type(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype and not a.requires_grad
        assert (a - b).abs().max() <= tolerance


@pytest.mark.parametrize("size", [(37, 51), (1, 1), (70, 33), (2, 130)])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, None])
@torch.no_grad()
def test_any_size_and_k(model, size, k):
    x = pictures(*size)
    close(demoe.optimize(model)(x, k=k), model(x, k=k))


@pytest.mark.parametrize(
    "expert", ["low_light", "GoPro", ["defocus", None, "low_light", "RealBlur", "auto"], ["low_light"] * 5]
)
@torch.no_grad()
def test_experts_of_a_batch(model, expert):
    x = pictures(21, 34, batch=5)
    fast = demoe.optimize(model)
    close(fast(x, expert), model(x, expert))
    close(fast(x, expert, 3), model(x, expert, 3))


@torch.no_grad()
def test_a_batch_is_its_pictures_exactly(model):
    x, fast = pictures(24, 19, batch=3), demoe.optimize(model)
    together = fast(x, k=2)
    for i in range(3):
        assert all(torch.equal(a[0], b[i]) for a, b in zip(fast(x[i : i + 1], k=2), together, strict=True))


@pytest.mark.parametrize("cached", [1, 1 << 12, 1 << 30])  # bytes: strips of two rows, of some, whole maps
@torch.no_grad()
def test_any_height_of_strips(model, monkeypatch, cached):
    monkeypatch.setattr(strip_operations, "CACHED", cached)
    for size in ((53, 37), (28, 90)):  # 13 and 14 rows become 7: the last strip of the bottom has one
        x = pictures(*size)
        close(demoe.optimize(model)(x), model(x))
        close(demoe.optimize(model)(x, k=3), model(x, k=3))


@torch.no_grad()
def test_without_the_librarys_own_operators(model, monkeypatch):
    monkeypatch.setattr(strip_operations, "_onednn_types", lambda: ())
    x = pictures(37, 45)
    close(demoe.optimize(model)(x, k=3), model(x, k=3))


@torch.no_grad()
def test_another_layout_and_a_part_of_a_picture(model):
    x = pictures(40, 64).contiguous(memory_format=torch.channels_last)
    close(demoe.optimize(model)(x), model(x))
    close(demoe.optimize(model)(x[:, :, 3:30, 5:50]), model(x[:, :, 3:30, 5:50]))


@pytest.mark.parametrize("router", [False, True])
@torch.no_grad()
def test_nafnet(router):
    torch.manual_seed(0)
    net = disturbed(NAFNet(NAFNetConfig(**SMALL, router=router)))
    x, fast = pictures(29, 42, batch=2), demoe.optimize(net)
    found, expected = fast(x), net(x)
    assert type(found) is type(expected) and (found.logits is None) == (not router)
    close((found.image,), (expected.image,))
    if router:
        close((found.logits,), (expected.logits,))
    with pytest.raises(ValueError, match="no experts"):
        fast(x, "defocus")


@pytest.mark.parametrize(
    "change",
    [
        {"expert": "restormer"},
        {"expert": "wavelet"},
        {"expert": "darkir"},
        {"fusion": "residual"},
        {"fusion": "attention"},
        {"moe_per_level": 2},
    ],
)
@torch.no_grad()
def test_other_experts_and_fusions(change):
    torch.manual_seed(0)
    other = disturbed(DeMoE(DeMoEConfig(**SMALL, **change)))
    x = pictures(26, 35)
    scale = other(x).image.abs().max().item()
    close(demoe.optimize(other)(x), other(x), 1e-5 * max(1, scale))


@pytest.mark.parametrize("size", [(48, 65), (130, 90)])
@torch.no_grad()
def test_bf16_is_near(size):
    torch.manual_seed(0)
    model = disturbed(DeMoE(DeMoEConfig(**SMALL)))
    x = pictures(*size, batch=2)
    for k in (1, 3):
        expected, found = model(x, k=k), demoe.optimize(model, dtype=torch.bfloat16)(x, k=k)
        assert found.image.dtype == found.logits.dtype == torch.float32
        span = expected.image.max() - expected.image.min()
        psnr = -20 * ((found.image - expected.image).square().mean().sqrt() / span).log10()
        assert 50 < psnr < 90  # 90: float32 would be far above
        assert torch.equal(found.weights.argmax(1), expected.weights.argmax(1))
    net = NAFNet(NAFNetConfig(**SMALL))
    assert demoe.optimize(net, torch.bfloat16)(x).image.dtype == torch.float32


@torch.no_grad()
def test_sums_of_large_maps_keep_their_digits_in_bf16(model):
    """A sum over 2^16 pixels in bfloat16 would stop growing after a few hundred."""
    mean = strip_operations.Mean()
    strip = torch.full((1, 2, 256, 256), 0.5, dtype=torch.bfloat16)
    strip[:, 1] = 1.0078125
    mean.add(strip)
    assert mean.value().flatten().tolist() == [0.5, 1.0078125] and mean.value().dtype == torch.float32


def test_the_model_stays_as_it_is_and_no_gradient_leaks(model):
    learning = copy.deepcopy(model).train()
    before = {name: value.clone() for name, value in learning.state_dict().items()}
    shape = [type(part) for part in learning.modules()]
    fast = demoe.optimize(learning)
    x = pictures(24, 20).requires_grad_()
    out = fast(x)
    assert not out.image.requires_grad and not out.logits.requires_grad
    assert all(part.training for part in learning.modules()) and [type(part) for part in learning.modules()] == shape
    assert all(torch.equal(value, before[name]) for name, value in learning.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in learning.parameters())
    with torch.no_grad():
        close(out, copy.deepcopy(learning).eval()(x))
        for parameter in learning.parameters():
            parameter.data = torch.zeros_like(parameter)  # as moving a network does
    close(fast(x), out, 0)


def test_other_networks_come_back_themselves(model):
    for other in (torch.nn.Identity(), tlc.local(model, 16), torch.nn.Conv2d(3, 3, 1)):
        assert demoe.optimize(other) is other
    assert isinstance(demoe.optimize(model), OptimizedNetwork)


def test_bad_input(model):
    fast = demoe.optimize(model)
    for shape in ((3, 8, 8), (1, 4, 8, 8), (1, 3, 0, 8)):
        with pytest.raises(ValueError, match="expected a batch"):
            fast(torch.zeros(shape))
    with pytest.raises(ValueError, match="float16"):
        demoe.optimize(model, torch.float16)
    with pytest.raises(ValueError, match="k must be between"):
        fast(pictures(8, 8), k=6)
    with pytest.raises(ValueError, match="unknown expert"):
        fast(pictures(8, 8), "sharpen")
    with pytest.raises(ValueError, match="2 experts named for 1"):
        fast(pictures(8, 8), ["defocus"] * 2)


@torch.no_grad()
def test_one_folded_block_is_the_block():
    torch.manual_seed(0)
    block, x = NAFBlock(12), torch.randn(2, 12, 7, 10)
    for parameter in block.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    torch.testing.assert_close(FoldedBlock(block)(x), block(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="Identity cannot be folded"):
        FoldedBlock(torch.nn.Identity())
    with pytest.raises(ValueError, match="Identity cannot be folded"):
        fold_network(torch.nn.Identity())


@torch.no_grad()
def test_folding_happens_once_and_again_when_weights_change(model):
    model = copy.deepcopy(model)
    first = folded(model)
    assert folded(model) is first and folded(first) is first
    assert not any(isinstance(part, NAFBlock) for part in first.modules())
    assert first.encoders[0].modules_list[0].w1.data_ptr() != model.encoders[0].modules_list[0].conv1.weight.data_ptr()
    assert first.intro.weight.data_ptr() == model.intro.weight.data_ptr()  # no copy of what is not folded
    half = folded(model, torch.bfloat16)
    assert half.downs[0].weight.dtype == torch.bfloat16 and half.intro.weight.dtype == torch.float32
    assert model.downs[0].weight.dtype == torch.float32 and model.intro.weight.dtype == torch.float32
    assert half.mlp_branch.conv_bottleneck[0].weight.dtype == torch.float32
    x = pictures(20, 17)
    before = restore(model, x).image
    model.encoders[1].modules_list[0].beta.mul_(-1)
    changed = restore(model, x).image
    assert (changed - before).abs().max() > 1e-3
    torch.testing.assert_close(changed, model(x).image.clamp(0, 1), rtol=0, atol=1e-5)
    assert any(isinstance(part, FoldedBlock) for part in folded(model).modules())


def test_autocast_around_a_call_changes_nothing(model):
    x, fast = pictures(20, 37), demoe.optimize(model)
    plain, exact = fast(x, k=2), restore(model, x[0], k=2)
    with torch.autocast("cpu", torch.bfloat16):
        close(fast(x, k=2), plain, 0)
        close(restore(model, x[0], k=2), exact, 0)
        given = tiles.restore_large(model, x[0].repeat(1, 15, 8), tile=256)
    assert torch.equal(given.image, tiles.restore_large(model, x[0].repeat(1, 15, 8), tile=256).image)


def test_a_network_made_in_inference_mode():
    torch.manual_seed(0)
    with torch.inference_mode():
        inside = disturbed(DeMoE(DeMoEConfig(**SMALL)).eval())
        expected = inside(pictures(18, 23))
        clamped = restore(inside, pictures(18, 23)).image
        fast = demoe.optimize(inside)
    assert torch.equal(restore(inside, pictures(18, 23)).image, clamped)
    close(fast(pictures(18, 23)), expected)
    assert not any(value.is_inference() for value in fast.network.state_dict().values())
    large = torch.rand(3, 300, 280, generator=torch.Generator().manual_seed(5))
    apart = tiles.restore_large(inside, large, tile=256).image  # tiles need the statistics of one folded network
    assert (apart - restore(inside, large).image).abs().max() < 1e-4
    with torch.inference_mode():  # nothing is kept for it, so that a change is seen
        inside.ending.bias.add_(0.5)
        assert restore(inside, pictures(18, 23)).image.sum() > clamped.sum()


def test_folded_in_inference_mode_and_used_outside_it(model):
    model = copy.deepcopy(model)
    with torch.inference_mode():
        first = folded(model)
    assert folded(model) is first and not any(value.is_inference() for value in first.state_dict().values())


@torch.no_grad()
def test_the_model_may_change_afterwards(model):
    model, other = copy.deepcopy(model), disturbed(copy.deepcopy(model), seed=7)
    fast, x = demoe.optimize(model), pictures(25, 30)
    before = fast(x, k=None)
    model.load_state_dict(other.state_dict())
    close(fast(x, k=None), before, 0)
    close(demoe.optimize(model)(x, k=None), other(x, k=None))


@torch.no_grad()
def test_an_optimized_network_in_place_of_the_model(model):
    x, fast = pictures(31, 40)[0], demoe.optimize(model)
    close(restore(fast, x, expert="low_light"), restore(model, x, expert="low_light"), 0)
    close(restore(fast, x, k=3), restore(model, x, k=3), 0)
    found, expected = (demoe.deblur(x, model=one, guard=False) for one in (fast, model))
    assert torch.equal(found.image, expected.image) and found.weights == expected.weights
    large = torch.rand(3, 300, 280, generator=torch.Generator().manual_seed(5))
    found_tiled, expected_tiled = (demoe.deblur(large, model=one, tile=256, guard=False).image for one in (fast, model))
    assert torch.equal(found_tiled, expected_tiled)
    half = demoe.deblur(x, model=demoe.optimize(model, torch.bfloat16), guard=False).image
    direct = demoe.deblur(x, model=model, bf16=True, guard=False).image
    assert torch.equal(half, direct) and not torch.equal(half, found.image)
    with pytest.raises(ValueError, match="optimized for float32: leave bf16 out"):
        demoe.deblur(x, model=fast, bf16=True)
    plain = demoe.optimize(NAFNet(NAFNetConfig(**SMALL)))
    assert restore(plain, x).weights is None
    with pytest.raises(ValueError, match="no experts"):
        restore(plain, x, expert="defocus")
    fast.network = None  # as on a GPU
    with pytest.raises(ValueError, match="give the network itself"):
        demoe.deblur(x, model=fast)


def test_bfloat16_of_a_network_without_encoder_and_decoder():
    model = shake(NAFNet(NAFNetConfig(8, (), 1, ()))).eval()
    x = torch.rand(1, 3, 17, 13)
    with torch.no_grad():
        torch.testing.assert_close(demoe.optimize(model, torch.bfloat16)(x).image, model(x).image, rtol=0, atol=0.03)
