import pytest
import torch
import torch.nn.functional as F

from demoe.models.layers import LayerNorm2d, NAFBlock, SimpleGate, downsample, pad_to_multiple, upsample


@pytest.mark.parametrize("channels_last", [False, True])
def test_layer_norm_equals_the_written_out_formula(channels_last):
    x = torch.randn(2, 6, 5, 7)
    norm = LayerNorm2d(6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).square().mean(1, keepdim=True)
    expected = (x - mean) / torch.sqrt(variance + 1e-6)
    expected = expected * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
    given = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    torch.testing.assert_close(norm(given), expected, rtol=1e-5, atol=1e-5)


def test_a_new_block_is_the_identity_and_learns_to_be_another():
    x = torch.randn(1, 4, 7, 9)
    block = NAFBlock(4)
    torch.testing.assert_close(block(x), x)
    torch.nn.init.ones_(block.beta)
    assert not torch.allclose(block(x), x)


def test_block_equals_its_equations():
    block = NAFBlock(4)
    for parameter in (block.beta, block.gamma):
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 4, 5, 3)
    y = F.conv2d(block.norm1(x), block.conv1.weight, block.conv1.bias)
    y = F.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1, groups=8)
    y = y[:, :4] * y[:, 4:]
    y = y * F.conv2d(y.mean((2, 3), keepdim=True), block.sca[1].weight, block.sca[1].bias)
    middle = x + block.beta * F.conv2d(y, block.conv3.weight, block.conv3.bias)
    z = F.conv2d(block.norm2(middle), block.conv4.weight, block.conv4.bias)
    z = F.conv2d(z[:, :4] * z[:, 4:], block.conv5.weight, block.conv5.bias)
    torch.testing.assert_close(block(x), middle + block.gamma * z)


def test_gate_halves_the_channels():
    x = torch.randn(2, 6, 3, 5)
    torch.testing.assert_close(SimpleGate()(x), x[:, :3] * x[:, 3:])


@pytest.mark.parametrize("size", [(1, 1), (16, 32), (17, 31)])
def test_padding_adds_zeros_at_the_right_and_below(size):
    x = torch.rand(1, 3, *size) + 1
    padded = pad_to_multiple(x, 16)
    assert padded.shape[-2] % 16 == 0 and padded.shape[-1] % 16 == 0
    assert padded.shape[-2] - size[0] < 16 and padded.shape[-1] - size[1] < 16
    torch.testing.assert_close(padded[..., : size[0], : size[1]], x)
    assert padded.sum() == x.sum()


def test_down_and_up_change_size_and_channels():
    x = torch.randn(1, 4, 6, 10)
    assert downsample(4)(x).shape == (1, 8, 3, 5)
    assert upsample(4)(x).shape == (1, 2, 12, 20)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_gates_own_backward_equals_autograds(memory_format):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 5, 7, generator=generator, dtype=torch.float64).contiguous(memory_format=memory_format)
    weight = torch.randn(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    value = SimpleGate()(ours)
    (value * weight).sum().backward()
    first, second = theirs.chunk(2, 1)
    (first * second * weight).sum().backward()
    assert torch.equal(value.detach(), (first * second).detach())
    assert torch.equal(ours.grad, theirs.grad)
    assert torch.autograd.gradcheck(SimpleGate(), (x[:, :, :2, :2].clone().requires_grad_(),))
