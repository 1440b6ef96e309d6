"""Weights arranged for oneDNN: the plain convolutions' results at any size, and no stale weights."""

import pytest
import torch
import torch.nn.functional as F
from conftest import shake

from demoe.inference.fold import FoldedBlock, made
from demoe.inference.strip_operations import (
    Mean,
    Packed,
    Weights,
    _onednn_types,
    add_convolution,
    conv3,
    convolution,
    shuffled,
)
from demoe.models.layers import NAFBlock

SIZES = ((7, 5), (1, 1), (16, 33), (7, 5), (64, 3))


def maps(channels, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    for height, width in SIZES:
        x = torch.randn(1, channels, height, width, generator=generator).to(dtype)
        yield x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("ins", "outs"), [(32, 64), (5, 3)])
def test_equal_to_the_plain_convolutions_at_every_size(ins, outs, dtype, digits):
    torch.manual_seed(0)
    weight, bias = torch.randn(outs, ins, 1, 1, dtype=dtype), torch.randn(outs, dtype=dtype)
    each, added = torch.randn(ins, 1, 3, 3, dtype=dtype), torch.randn(ins, dtype=dtype)
    one, three = Packed(weight), Packed(each, ins)
    with torch.no_grad():
        for x in maps(ins, dtype):
            wanted = F.conv2d(x.double(), weight.double(), bias.double())
            torch.testing.assert_close(convolution(x, one, bias).double(), wanted, rtol=digits, atol=10 * digits)
            there = torch.ones_like(wanted, dtype=dtype).contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(
                add_convolution(there, x, one, bias).double(), 1 + wanted, rtol=digits, atol=10 * digits
            )
            wanted = F.conv2d(x.double(), each.double(), added.double(), padding=1, groups=ins)
            found = torch.cat(list(conv3(iter(x.split(4, dim=2)), three, added)), dim=2)
            torch.testing.assert_close(found.double(), wanted, rtol=digits, atol=10 * digits)
    here = dtype in _onednn_types()
    assert len(one.arranged) == Packed.SIZES * here and len(three.arranged) == here
    assert all(weight.is_mkldnn for weight in (*one.arranged.values(), *three.arranged.values()))


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-7), (torch.float16, 1e-7), (torch.bfloat16, 2**-8)])
def test_the_mean_of_strips_is_that_of_the_map(dtype, allowed):
    """Of bfloat16 to what each row's sum is rounded by; flat maps are the hardest, and in float16 wide ones."""
    flat = [torch.full((1, 2, 5, width), 20.2, dtype=dtype) for width in (300, 1280, 4000)]
    for x in (*maps(32, dtype), *(1 + one for one in maps(32, dtype)), *flat):
        mean = Mean()
        for strip in x.split(6, dim=2):
            mean.add(strip)
        found = mean.value()
        assert found.dtype == torch.float32 and found.shape == (1, x.shape[1], 1, 1)
        rows = x.double().sum(3).abs().sum(2) / x[0, 0].numel()  # (1, C): each row's sum is rounded
        wanted = x.double().mean((2, 3), keepdim=True)
        assert ((found - wanted).abs() <= allowed * rows[..., None, None] + 1e-7).all()


def test_a_blocks_weights_are_kept_until_they_change():
    block = FoldedBlock(shake(NAFBlock(8)))
    first = made(block, Weights)
    assert made(block, Weights) is first
    block.w4.mul_(2)
    changed = made(block, Weights)
    assert changed is not first and made(block, Weights) is changed
    block.to(torch.bfloat16)
    assert made(block, Weights).w1.weight.dtype == torch.bfloat16


def test_a_new_tensor_cannot_pass_for_the_one_it_replaced():
    conv = torch.nn.Conv2d(8, 8, 1, bias=False)
    for value in range(20):  # freed memory is given to the next of its size
        conv.weight = torch.nn.Parameter(torch.full((8, 8, 1, 1), float(value)))
        assert made(conv, shuffled).weight.unique().tolist() == [value]
