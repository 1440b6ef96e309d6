"""Laws of the perceptual losses and of those on pixels."""

import copy

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance
from test_features import HEADS, slow, weights
from torch import nn

from demoe.related import features
from demoe.related.features import FrozenCNN
from demoe.related.perceptual import CNNLoss, MAELoss, VGGLoss
from demoe.related.pixel_losses import CharbonnierLoss, EdgeLoss, FrequencyLoss, PSNRLoss


def seven_blocks():
    state = {key: value for key, value in weights().items() if ".1." not in key and ".2." not in key}
    return state | {
        key.replace(".0.", f".{index}."): 0.9 * value for index in range(1, 7) for key, value in state.items()
    }


@pytest.fixture(scope="module")
def vit():
    return features.load_vit(seven_blocks(), heads=HEADS)  # patches of 4 pixels


# Of the authors' public code (erfect2020/TransformerPerceptualLoss, commits b5f5c03 and 0d33cd3) with the weights of
# ``seven_blocks`` in it and the pictures ``sides(0, 16, 16)``: the loss, the norm of its gradient to the restored
# picture, and three numbers of that gradient. Queries, keys and values are one feature there.
HALF_KEPT = ((0, 5, 2, 7, 11, 15, 9, 4), (6, 1, 3, 4, 14, 8, 12, 10))  # of 4 x 4 patches
RECORDED = {
    ("token", "whole", "local"): (3.8981240, 1.78115654, (-0.0206071995, 0.0128760887, 0.0173662025)),
    ("token", "whole", "global"): (0.036317289, 0.0183938649, (-1.92120806e-05, 6.04255009e-04, 6.09690615e-04)),
    ("token", "half", "local"): (3.7862661, 2.16336513, (0.0186970159, 0.0367442071, 0.0395729654)),
    ("token", "half", "global"): (0.0190574471, 0.0138729960, (4.01895843e-04, 3.19014099e-04, 2.36413412e-04)),
    ("qkv", "whole", "local"): (0.0782540739, 0.0524394438, (-0.00115156115, -3.48276313e-04, -3.99236073e-04)),
    ("qkv", "whole", "global"): (4.87461657e-04, 2.79119093e-04, (-6.94618029e-06, -4.96224902e-06, -2.80008607e-07)),
    ("qkv", "half", "local"): (0.0666077733, 0.0593205728, (-6.15034543e-04, -5.30164980e-04, -2.03454343e-04)),
    ("qkv", "half", "global"): (2.43726754e-04, 1.24301208e-04, (8.02430861e-07, -3.06976927e-07, 9.35394837e-07)),
}


@pytest.mark.parametrize("case", RECORDED, ids="-".join)
def test_the_authors_own_code_gave_the_same(vit, case):
    feature, kept, mode = case
    restored, sharp = sides(0, 16, 16)
    value = MAELoss(vit, mode, feature, preset="code")(
        restored, sharp, torch.tensor(HALF_KEPT) if kept == "half" else None
    )
    value.backward()
    recorded, norm, gradient = RECORDED[case]
    assert value.item() == pytest.approx(recorded, rel=1e-5)
    assert restored.grad.norm().item() == pytest.approx(norm, rel=1e-4)
    assert restored.grad[1, 2, 5, :3].tolist() == pytest.approx(gradient, rel=1e-3, abs=1e-4 * norm)


@pytest.mark.parametrize("kept", [None, ((3, 0), (1, 2))])
@pytest.mark.parametrize(
    ("mode", "feature", "layers", "preset"),
    [
        ("local", "token", (5,), "paper"),
        ("local", "token", range(6), "code"),
        ("global", "token", (5,), "paper"),
        ("global", "token", range(6), "code"),
        ("local", "query", (5,), "paper"),
        ("local", "key", (5,), "paper"),
        ("local", "value", (5,), "paper"),
    ],
)
def test_losses_and_gradients_agree_with_a_slow_formulation(vit, mode, feature, layers, preset, kept):
    """Token by token, channel by channel, in float64 (``test_features.slow``)."""
    restored, sharp = sides(3, 8, 8)
    state, total, pictures = seven_blocks(), 0.0, restored.detach().double().requires_grad_()
    for layer in layers:
        differences = []  # a list a picture, of the difference of each token
        for number, given in enumerate(zip(pictures, sharp.detach(), strict=True)):
            keep = None if kept is None else torch.tensor(kept[number])
            found, wanted = (slow(state, side, layer, keep)[feature] for side in given)
            if mode == "global":
                found, wanted = (torch.stack([token.sort().values for token in side]) for side in (found, wanted))
            differences.append(list(found - wanted))
        tokens, channels = len(differences[0]), len(differences[0][0])
        if mode == "local":
            total += sum(token.abs().sum() for one in differences for token in one) / (2 * tokens * channels)
        elif preset == "paper":
            total += sum((token**2).sum() ** 0.5 for one in differences for token in one) / 2
        else:
            total += sum((torch.cat(pair) ** 2).mean() ** 0.5 for pair in zip(*differences, strict=True))
    total = total * {"paper": 1, "code": 0.1 if mode == "local" else 1e-4}[preset]
    (expected,) = torch.autograd.grad(total, pictures)
    loss = MAELoss(vit, mode, feature, tuple(layers), preset=preset)
    value = loss(restored, sharp, None if kept is None else torch.tensor(kept))
    (gradient,) = torch.autograd.grad(value, restored)
    assert value.item() == pytest.approx(total.item(), rel=1e-5)
    assert (gradient - expected).norm().item() <= 1e-4 * expected.norm().item()


def cnn() -> FrozenCNN:
    torch.manual_seed(3)
    return FrozenCNN(nn.Conv2d(3, 5, 3, stride=2, padding=1), "random", features.HALF)


def sides(seed: int = 0, height: int = 16, width: int = 8):
    generator = torch.Generator().manual_seed(seed)
    restored = torch.rand(2, 3, height, width, generator=generator).requires_grad_()
    return restored, torch.rand(2, 3, height, width, generator=generator).requires_grad_()


def perceptual_losses(vit):
    torch.manual_seed(4)
    vgg = VGGLoss({f"features.{n}.{key}": value for n, key, value in _vgg_tensors()})
    yield from (CNNLoss(cnn()), vgg)
    for mode in ("local", "global"):
        yield MAELoss(vit, mode, preset="code")
        yield from (MAELoss(vit, mode, feature, (1, 5), 0.5) for feature in features.FEATURES)
        yield MAELoss(vit, mode, p=1)


def _vgg_tensors():
    channels = 3
    for number, width in ((0, 64), (2, 64), (5, 128), (7, 128), (10, 256), (12, 256), (14, 256)):
        yield number, "weight", 0.03 * torch.randn(width, channels, 3, 3)
        yield number, "bias", torch.zeros(width)
        channels = width


def test_equal_pictures_cost_nothing_and_gradients_reach_the_restored_picture_alone(vit):
    restored, sharp = sides()
    for loss in perceptual_losses(vit):
        assert not list(filter(lambda parameter: parameter.requires_grad, loss.parameters()))
        before = {key: value.clone() for key, value in loss.state_dict().items()}
        loss.train()
        equal = loss(restored, restored.detach().clone())
        (gradient,) = torch.autograd.grad(equal, restored)
        assert equal.item() == 0 and torch.equal(gradient, torch.zeros_like(gradient))
        value = loss(restored, sharp)
        assert value.shape == () and value.item() > 0
        value.backward()
        assert torch.isfinite(restored.grad).all() and restored.grad.abs().sum() > 0 and sharp.grad is None
        assert all(parameter.grad is None for parameter in loss.parameters())
        assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())
        restored.grad = None


def test_gradients_are_those_of_finite_differences(vit):
    restored, sharp = sides(1, 8, 8)
    direction = torch.randn(restored.shape, generator=torch.Generator().manual_seed(2))
    for mode in ("local", "global"):
        loss = MAELoss(copy.deepcopy(vit).double(), mode, layers=(1,))
        pictures, step = (restored.double(), sharp.double()), 1e-6
        (gradient,) = torch.autograd.grad(loss(*pictures), restored)
        with torch.no_grad():
            ends = [loss(pictures[0] + sign * step * direction, pictures[1]).item() for sign in (1, -1)]
        assert (gradient * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


def test_patches_that_are_left_out_have_no_gradient_and_both_sides_keep_the_same(vit):
    restored, sharp = sides()
    keep = torch.tensor([[0, 5, 2, 7], [6, 1, 3, 4]])  # of 4 x 2 patches
    loss = MAELoss(vit, mask_ratio=0.5)
    loss(restored, sharp, keep).backward()
    touched = F.max_pool2d(restored.grad.abs().sum(1, keepdim=True), 4).flatten(1)  # (2, 8)
    for picture, kept in zip(touched, keep, strict=True):
        assert picture[kept].min() > 0 and set(picture.nonzero().flatten().tolist()) == set(kept.tolist())
    seen = []
    handle = loss.vit.register_forward_hook(lambda module, given, found: seen.append(given[3]))
    torch.manual_seed(7)
    first = loss(restored, sharp)
    torch.manual_seed(7)
    again = loss(restored, sharp)
    later = loss(restored, sharp)
    handle.remove()
    assert first == again and first != later  # drawn anew, and the same again from the same generator
    assert all(torch.equal(seen[i], seen[i + 1]) for i in (0, 2, 4)) and seen[0].shape == (2, 4)
    assert all(len(set(kept.tolist())) == 4 for kept in seen[0])
    generator = torch.Generator().manual_seed(7)
    assert MAELoss(vit, mask_ratio=0.5, generator=generator)(restored, sharp) == first
    assert MAELoss(vit)(restored, sharp) == MAELoss(vit)(restored, sharp, torch.arange(8).expand(2, 8))


def test_local_loss_is_the_mean_over_pictures_tokens_and_channels(vit):
    restored, sharp = sides()
    found, wanted = (vit(side, (5,), "key")[0] for side in (restored, sharp))
    expected = (found - wanted).abs().sum() / found.numel()
    torch.testing.assert_close(MAELoss(vit, feature="key")(restored, sharp), expected)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_loss_is_optimal_transport_between_the_channels_of_each_token(vit, p):
    restored, sharp = sides()
    found, wanted = (vit(side, (5,))[0].detach().double().numpy() for side in (restored, sharp))
    expected = 0.0
    for picture in range(2):
        for token in range(found.shape[1]):
            u, v = sorted(found[picture, token]), sorted(wanted[picture, token])
            distance = sum(abs(a - b) ** p for a, b in zip(u, v, strict=True)) ** (1 / p)
            if p == 1:
                assert distance == pytest.approx(len(u) * wasserstein_distance(u, v), rel=1e-6)
            expected += distance / 2
    assert MAELoss(vit, "global", p=p)(restored, sharp).item() == pytest.approx(expected, rel=1e-5)


def test_no_order_of_the_channels_costs_less_than_the_sorted_one(vit):
    restored, sharp = sides()
    found, wanted = (vit(side, (5,))[0].detach() for side in (restored, sharp))
    best = MAELoss(vit, "global")._sorted_distance(found, wanted)
    for seed in range(5):
        order = torch.randperm(found.shape[-1], generator=torch.Generator().manual_seed(seed))
        moved = found[..., order]
        assert (moved - wanted).norm(dim=-1).sum(1).mean() >= best
        torch.testing.assert_close(MAELoss(vit, "global")._sorted_distance(moved, wanted), best)
        assert not torch.allclose(F.l1_loss(moved, wanted), F.l1_loss(found, wanted))  # the local loss sees the order


def test_the_code_preset_weighs_six_blocks(vit):
    restored, sharp = sides()
    parts = [MAELoss(vit, layers=(layer,))(restored, sharp) for layer in range(6)]
    torch.testing.assert_close(MAELoss(vit, preset="code")(restored, sharp), 0.1 * sum(parts))
    assert MAELoss(vit, feature="qkv", preset="code").layers == (5,)
    total = 0
    for found, wanted in zip(*(vit(side, range(6)) for side in (restored, sharp)), strict=True):
        difference = found.sort(-1).values - wanted.sort(-1).values
        total += sum(difference[:, token].square().mean().sqrt() for token in range(found.shape[1]))
    torch.testing.assert_close(MAELoss(vit, "global", preset="code")(restored, sharp), 1e-4 * total)


def test_cnn_loss_is_the_error_over_the_energy_of_the_sharp_features():
    network, (restored, sharp) = cnn(), sides(0, 9, 7)  # odd sizes
    (found,), (wanted,) = network(restored), network(sharp)
    torch.testing.assert_close(
        CNNLoss(network)(restored, sharp), (found - wanted).square().sum() / wanted.square().sum()
    )


def test_bad_options_are_refused(vit):
    for options, words in (
        ({"mode": "both"}, "unknown 'both': choose one of local, global"),
        ({"preset": "mine"}, "unknown 'mine'"),
        ({"mask_ratio": 1.0}, "mask_ratio 1.0 is not a share"),
        ({"p": 0.5}, "p is 0.5"),
    ):
        with pytest.raises(ValueError, match=words):
            MAELoss(vit, **options)
    with pytest.raises(ValueError, match="leaves none of 1 patches"):
        MAELoss(vit, mask_ratio=0.5)(*sides(0, 4, 4))
    with pytest.raises(ValueError, match="9x8 pixels do not divide"):
        MAELoss(vit)(*sides(0, 9, 8))


def test_losses_on_pixels_of_equal_pictures_and_of_a_constant_offset():
    restored, sharp = sides(0, 9, 7)  # odd sizes
    for loss, equal in ((CharbonnierLoss(), 1e-3), (EdgeLoss(), 1e-3), (PSNRLoss(), -80), (FrequencyLoss(), 0)):
        value = loss(restored, restored.detach())
        (gradient,) = torch.autograd.grad(value, restored)
        assert value.item() == pytest.approx(equal, rel=1e-5) and torch.isfinite(gradient).all()
        loss(restored, sharp).backward()
        assert torch.isfinite(restored.grad).all()
    moved = restored.detach() + 0.1
    assert CharbonnierLoss()(moved, restored).item() == pytest.approx((0.01 + 1e-6) ** 0.5, rel=1e-5)
    assert PSNRLoss()(moved, restored).item() == pytest.approx(-20, abs=1e-4)
    # Of a constant, only the lowest frequency differs: by H W c, one of 2 H W numbers.
    assert FrequencyLoss()(moved, restored).item() == pytest.approx(0.05, rel=1e-4)
    value = PSNRLoss()(restored, sharp)  # a mean of dB, not the dB of a mean
    errors = (restored - sharp).square().mean((1, 2, 3))
    torch.testing.assert_close(value, (10 * errors.log10()).mean())


def test_the_laplacian_agrees_with_a_slow_formulation():
    picture = torch.rand(7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    row = (0.05, 0.25, 0.4, 0.25, 0.05)

    def blurred(x):
        height, width = x.shape
        out = torch.zeros_like(x)
        for i in range(height):
            for j in range(width):
                for a in range(5):
                    for b in range(5):
                        near = x[min(max(i + a - 2, 0), height - 1), min(max(j + b - 2, 0), width - 1)]
                        out[i, j] += row[a] * row[b] * near
        return out

    kept = torch.zeros_like(picture)
    kept[::2, ::2] = blurred(picture)[::2, ::2]
    expected = picture - blurred(4 * kept)
    found = EdgeLoss()._laplacian(picture.expand(2, 3, 7, 6))
    torch.testing.assert_close(found[1, 2], expected, rtol=1e-6, atol=1e-6)
