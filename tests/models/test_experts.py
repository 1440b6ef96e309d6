import pytest
import torch
import torch.nn.functional as F

from demoe.models.experts import (
    EXPERT_BLOCKS,
    ChannelAttention,
    DarkIRBlock,
    HaarTransform,
    PLKBlock,
    RestormerBlock,
    SpectralFeedForward,
    WaveletBlock,
    expert_block,
)

KINDS = tuple(EXPERT_BLOCKS)
SCALED = ("naf", "wavelet", "darkir")  # with beta and gamma


def awake(block):
    """The block with scales that are not zero, so that all of it takes part."""
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.uniform_(0.5, 1.5)
    return block


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_kinds():
    assert KINDS[:5] == ("naf", "restormer", "plk", "wavelet", "darkir")  # those of the paper
    with pytest.raises(ValueError, match=r"'swin'.*naf, restormer, plk, wavelet, darkir"):
        expert_block("swin", 8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 6), (7, 4), (31, 37)])
@pytest.mark.parametrize("channels", [4, 12])
def test_any_size(kind, size, channels):
    x = torch.randn(2, channels, *size)
    y = awake(expert_block(kind, channels))(x)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert not torch.equal(x, y)


@pytest.mark.parametrize("kind", SCALED)
def test_starts_as_the_identity(kind):
    x = torch.randn(2, 8, 9, 7)
    torch.testing.assert_close(expert_block(kind, 8)(x), x, rtol=0, atol=0)


def test_plk_starts_near_the_identity():
    x = torch.randn(2, 32, 9, 7)
    change = expert_block("plk", 32)(x) - x
    assert change.std() < 0.2 * x.std()


@pytest.mark.parametrize(
    ("kind", "last"), [("restormer", ("attention.project", "feed_forward.project")), ("plk", ("refine",))]
)
def test_residual(kind, last):
    block = expert_block(kind, 8)
    for name in last:
        for parameter in block.get_submodule(name).parameters():
            torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 8, 5, 6)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_batch_do_not_mix(kind):
    block = awake(expert_block(kind, 8)).eval()
    x = torch.randn(3, 8, 6, 5)
    torch.testing.assert_close(block(x)[1:2], block(x[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_everything(kind):
    block = awake(expert_block(kind, 8))
    x = torch.randn(2, 8, 8, 7, requires_grad=True)
    block(x).square().sum().backward()
    for name, parameter in [*block.named_parameters(), ("input", x)]:
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_on_a_black_image(kind):
    block = awake(expert_block(kind, 8))
    x = torch.zeros(1, 8, 6, 6, requires_grad=True)
    block(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision(kind):
    block = awake(expert_block(kind, 8))
    x = torch.randn(1, 8, 9, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = block(x).float()
    exact = block(x)
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("kind", KINDS)
def test_memory_format_does_not_matter(kind):
    block = awake(expert_block(kind, 8)).eval()
    x = torch.randn(2, 8, 9, 6)
    expected = block(x)
    block = block.to(memory_format=torch.channels_last)
    got = block(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_haar_reconstructs():
    haar = HaarTransform()
    x = torch.randn(2, 3, 10, 6)
    bands = haar.analysis(x)
    assert bands.shape == (2, 12, 5, 3)
    torch.testing.assert_close(haar.synthesis(bands), x)
    torch.testing.assert_close(bands.square().sum(), x.square().sum())  # orthonormal: energy is kept


def test_haar_by_hand():
    x = torch.randn(1, 2, 4, 6)
    bands = HaarTransform().analysis(x).view(4, 2, 2, 3)
    for c in range(2):
        for i in range(2):
            for j in range(3):
                (a, b), (d, e) = x[0, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].tolist()
                expected = torch.tensor([a + b + d + e, a + b - d - e, a - b + d - e, a - b - d + e]) / 2
                torch.testing.assert_close(bands[:, c, i, j], expected)


def test_wavelet_padding_is_seen_only_at_the_border():
    block = awake(WaveletBlock(4))
    block.sca = torch.nn.Identity()  # attention looks at the whole image, and so at the padding
    x = torch.randn(1, 4, 41, 40)
    odd, even = block(x), block(x[..., :40, :])
    torch.testing.assert_close(odd[..., :30, :], even[..., :30, :], rtol=1e-4, atol=1e-5)


def test_channel_attention_by_hand():
    layer = ChannelAttention(8, heads=2)
    with torch.no_grad():
        layer.temperature.uniform_(0.5, 2)
    x = torch.randn(1, 8, 3, 5)
    q, k, v = layer.depthwise(layer.qkv(x))[0].flatten(1).split(8)  # 3 x (C, HW)
    rows = []
    for head in range(2):
        for i in range(4 * head, 4 * head + 4):
            near = torch.stack([F.cosine_similarity(q[i], k[j], dim=0) for j in range(4 * head, 4 * head + 4)])
            share = torch.softmax(near * layer.temperature[head, 0, 0], dim=0)
            rows.append(share @ v[4 * head : 4 * head + 4])
    expected = layer.project(torch.stack(rows).view(1, 8, 3, 5))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_restormer_heads():
    assert [RestormerBlock(c).attention.heads for c in (4, 32, 48, 64, 512)] == [1, 1, 1, 2, 16]
    with pytest.raises(ValueError, match="10 channels do not divide into 4 heads"):
        RestormerBlock(10, heads=4)


def test_plk_reach():
    block = PLKBlock(256)  # a quarter of fewer than 132 goes through Fourier transforms, with rounding instead of zeros
    x = torch.randn(1, 256, 31, 31, requires_grad=True)
    block(x)[0, :, 15, 15].sum().backward()
    seen = x.grad.abs().sum(dim=(0, 1)) > 0
    reach = 2 + 8 + 1  # mixer, large kernel, attention
    assert seen[15].nonzero().flatten().tolist() == list(range(15 - reach, 15 + reach + 1))
    assert int(seen.sum()) == (2 * reach + 1) ** 2


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_spectral_feed_forward_with_nothing_to_do(size):
    layer = SpectralFeedForward(3)
    first, second = layer.magnitude[0], layer.magnitude[2]
    with torch.no_grad():
        for conv in (first, second):
            conv.weight.zero_()
            conv.bias.zero_()
        first.weight[:3, :, 0, 0] = torch.eye(3)
        second.weight[:, :3, 0, 0] = torch.eye(3)
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(layer(x), x, rtol=1e-4, atol=1e-5)


def test_darkir_multiplies():
    block = awake(DarkIRBlock(4))
    torch.nn.init.zeros_(block.beta)
    x = torch.randn(1, 4, 5, 6)
    x[..., 2, 3] = 0  # what multiplies the features leaves a zero at zero
    assert block(x)[..., 2, 3].abs().max() == 0
