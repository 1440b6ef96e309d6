"""The experts of a MoEBlock as one computation: what a GPU prefers to a loop over experts.

The sum over experts of Equation 2, with every expert on every image, as in training. The experts' parameters are
stacked anew in each call, so state dicts and optimisers know nothing of it. The loop in ``moe`` stays the reference.
How the experts are computed is not stated in the paper; our choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import NAFBlock, SimpleGate


def stackable(experts: Sequence[nn.Module]) -> bool:
    """Whether ``dense`` can take these experts: plain NAFBlocks, with channel attention that pools the whole frame."""
    return all(type(e) is NAFBlock and isinstance(e.sca, nn.Sequential) for e in experts)  # else it pools a window


def dense(x: Tensor, weights: Tensor, experts: Sequence[NAFBlock]) -> Tensor:
    """The weighted sum of all experts' outputs: x (B, C, H, W), weights (B, N), N experts -> (B, C, H, W).

    Equal to ``sum(weights[:, i] * experts[i](x))`` in value and gradient, to rounding. Fastest in channels-last memory.
    Raises ``ValueError`` for weights of another shape, and for experts that ``stackable`` refuses.
    """
    if not stackable(experts):
        raise ValueError("only plain NAFBlocks can be stacked: run other experts one by one")
    batch, channels, height, width = x.shape
    count = len(experts)
    if weights.shape != (batch, count):
        raise ValueError(
            f"weights must be {(batch, count)} for {batch} images and {count} experts, got {tuple(weights.shape)}"
        )
    pixels, gate = batch * height * width, SimpleGate()
    flat = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C), free in channels-last memory

    # All experts read one input: one matrix product makes the channels of all. They are ordered (half, expert,
    # channel), so that the gate's two halves are two whole blocks of memory.
    weight, bias = _after_norm([e.norm1 for e in experts], [e.conv1 for e in experts])
    y = F.linear(F.layer_norm(flat, (channels,), eps=experts[0].norm1.eps), _halves(weight), _halves(bias))
    y = y.permute(0, 3, 1, 2)  # (B, 2NC, H, W), channels-last
    weight = _halves(torch.stack([e.conv2.weight for e in experts]))  # (2NC, 1, 3, 3)
    y = F.conv2d(y, weight, _halves(torch.stack([e.conv2.bias for e in experts])), padding=1, groups=len(weight))
    y = gate(y)  # (B, NC, H, W)

    weight, bias = _stack([e.sca[1] for e in experts])
    scale = y.mean(dim=(2, 3)).view(batch, count, channels).transpose(0, 1)  # (N, B, C)
    scale = torch.baddbmm(bias.unsqueeze(1), scale, weight.transpose(1, 2)).transpose(0, 1)  # (B, N, C)
    y = y * scale.reshape(batch, count * channels, 1, 1)

    # From here each expert has an input of its own: products in batches of experts.
    weight, bias = _scaled([e.conv3 for e in experts], [e.beta for e in experts])
    y = y.permute(0, 2, 3, 1).reshape(pixels, count, channels).transpose(0, 1)  # (N, BHW, C)
    y = torch.baddbmm(bias.unsqueeze(1), y, weight.transpose(1, 2))
    y = flat.reshape(pixels, channels) + y  # (N, BHW, C)
    weight, bias = _after_norm([e.norm2 for e in experts], [e.conv4 for e in experts])
    z = F.layer_norm(y, (channels,), eps=experts[0].norm2.eps)
    z = torch.baddbmm(bias.unsqueeze(1), z, weight.transpose(1, 2))  # (N, BHW, 2C)
    z = gate(z.transpose(1, 2)).transpose(1, 2)  # (N, BHW, C)
    weight, bias = _scaled([e.conv5 for e in experts], [e.gamma for e in experts])
    y = y + torch.baddbmm(bias.unsqueeze(1), z, weight.transpose(1, 2))  # (N, BHW, C)

    y = (y.view(count, batch, -1) * weights.to(y.dtype).t().unsqueeze(2)).sum(0)  # (B, HWC); no product for autocast
    return y.view(batch, height, width, channels).permute(0, 3, 1, 2)  # (B, C, H, W), channels-last


def _stack(convolutions: Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    """Weights (N, O, I) and biases (N, O) of 1x1 convolutions."""
    return torch.stack([c.weight for c in convolutions]).flatten(2), torch.stack([c.bias for c in convolutions])


def _after_norm(norms: Sequence[nn.Module], convolutions: Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    """The same with the weights and biases of the layer norms before them folded in.

    A product and a sum rather than a matrix product, which autocast would do in bfloat16.
    """
    weight, bias = _stack(convolutions)
    shift = torch.stack([n.bias for n in norms]).unsqueeze(1)  # (N, 1, I)
    scale = torch.stack([n.weight for n in norms]).unsqueeze(1)
    return weight * scale, bias + (weight * shift).sum(dim=2)


def _scaled(convolutions: Sequence[nn.Conv2d], scales: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The same with the factor of each output channel after them, (1, O, 1, 1), folded in."""
    weight, bias = _stack(convolutions)
    scale = torch.stack([s.flatten() for s in scales])  # (N, O)
    return weight * scale.unsqueeze(2), bias * scale


def _halves(x: Tensor) -> Tensor:
    """(N, 2C, ...) -> (2NC, ...), the first halves of all experts before the second."""
    return x.unflatten(1, (2, -1)).transpose(0, 1).flatten(0, 2)
