"""The stacked experts against the loop over experts, in value and in every gradient."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import shake
from torch import nn

from demoe.models.layers import NAFBlock
from demoe.models.moe import MoEBlock, dense, normalised_entropy, stackable
from demoe.models.tlc import LocalAttention


def _experts(channels: int, count: int) -> nn.ModuleList:
    """Blocks whose every parameter is away from its start, beta, gamma and the norms' too."""
    torch.manual_seed(0)
    experts = nn.ModuleList(NAFBlock(channels) for _ in range(count))
    with torch.no_grad():
        for p in experts.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return experts


def _loop(x: torch.Tensor, weights: torch.Tensor, experts: nn.ModuleList) -> torch.Tensor:
    return sum(weights[:, i].view(-1, 1, 1, 1) * expert(x) for i, expert in enumerate(experts))


def _gradients(function, x, weights, experts):
    x, weights = x.clone().requires_grad_(), weights.clone().requires_grad_()
    y = function(x, weights, experts)
    target = torch.linspace(-1, 1, y.numel()).view(y.shape)
    inputs = [x, weights, *experts.parameters()]
    return y.detach(), torch.autograd.grad((y * target).sum(), inputs)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("batch", "channels", "count", "size"), [(2, 8, 5, (7, 5)), (1, 16, 1, (4, 9)), (3, 4, 3, (1, 6))]
)
def test_equal_to_the_loop_in_value_and_gradient(batch, channels, count, size, memory_format):
    experts = _experts(channels, count)
    x = torch.randn(batch, channels, *size).contiguous(memory_format=memory_format)
    weights = torch.randn(batch, count).softmax(dim=1)
    value, gradients = _gradients(dense, x, weights, experts)
    expected, slow = _gradients(_loop, x, weights, experts)
    assert (value - expected).abs().max() <= 1e-5 * expected.abs().max()
    names = ["x", "weights", *(name for name, _ in experts.named_parameters())]
    for name, got, want in zip(names, gradients, slow, strict=True):
        assert want.abs().max() > 0, name
        assert (got - want).abs().max() <= 1e-4 * want.abs().max(), name


def test_a_weight_of_one_is_that_expert_alone():
    experts, x = _experts(8, 4), torch.randn(4, 8, 5, 3)
    y = dense(x, torch.eye(4)[[2, 0, 3, 2]], experts)
    for i, e in enumerate([2, 0, 3, 2]):
        assert torch.allclose(y[i], experts[e](x[i : i + 1])[0], atol=1e-5)


def test_equal_in_float64_to_its_rounding():
    experts, x = _experts(8, 3).double(), torch.randn(2, 8, 6, 5).double()
    weights = torch.randn(2, 3).double()
    assert torch.allclose(dense(x, weights, experts), _loop(x, weights, experts), rtol=1e-12, atol=1e-12)


def test_close_under_bfloat16():
    experts, x = _experts(16, 5), torch.randn(2, 16, 8, 6)
    weights = torch.randn(2, 5).softmax(dim=1)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        y = dense(x, weights, experts).float()
    expected = _loop(x, weights, experts)
    assert (y - expected).square().mean() < 1e-3 * expected.square().mean()


def test_compiles_into_one_graph():
    experts, x, weights = _experts(4, 2), torch.randn(1, 4, 4, 4), torch.ones(1, 2)
    compiled = torch.compile(lambda x, w: dense(x, w, experts), backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(x, weights), dense(x, weights, experts))


def test_what_cannot_be_stacked_is_refused():
    experts = _experts(4, 2)
    assert stackable(experts)
    assert not stackable([*experts, nn.Identity()])
    assert not stackable(MoEBlock(8, 2, "plk").experts)
    local = _experts(4, 2)
    local[1].sca = LocalAttention(8, local[1].sca[1])
    assert not stackable(local)
    with pytest.raises(ValueError, match="only plain NAFBlocks"):
        dense(torch.zeros(1, 4, 3, 3), torch.ones(1, 3), [*experts, nn.Identity()])
    with pytest.raises(ValueError, match=r"weights must be \(2, 2\)"):
        dense(torch.zeros(2, 4, 3, 3), torch.ones(1, 2), experts)


def test_normalised_entropy_is_a_share_of_the_largest():
    shares = [0.7, 0.2, 0.1]
    for probabilities, expected in (
        ([0, 1, 0, 0, 0], 0),
        ([0.2] * 5, 1),
        ([0.5, 0.5, 0, 0], 0.5),
        ([1.0], 0),
        (shares, -sum(p * math.log(p) for p in shares) / math.log(3)),
    ):
        assert normalised_entropy(probabilities).item() == pytest.approx(expected, abs=1e-12)
    assert normalised_entropy(torch.full((2, 3, 5), 0.2)).shape == (2, 3)


def test_images_with_different_experts_under_autocast():
    block, x = shake(MoEBlock(8, num_experts=2)).eval(), torch.rand(2, 8, 5, 5).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = block(x, torch.eye(2))
    with torch.no_grad():
        torch.testing.assert_close(found.float(), block(x.float(), torch.eye(2)), rtol=0, atol=0.05)
