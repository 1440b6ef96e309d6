"""The experts of a MoEBlock as one computation: what a GPU prefers to a loop over experts.

The sum over experts of Equation 2, with every expert on every image, as in training. The experts' parameters are
stacked anew in each call, so state dicts and optimisers know nothing of it. The loop in ``moe`` stays the reference.
How the experts are computed is not stated in the paper; our choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .experts import expert_block
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


# The mixture-of-experts block (Section 3.3, Equation 2) and its two other fusions (Equations 7 and 8).


Fusion = Literal["sum", "residual", "attention"]
NoiseOn = Literal["logits", "weights"]


def top_k_weights(weights: Tensor, k: int | None) -> Tensor:
    """Keep the ``k`` largest of each row of (B, N) weights and scale them to sum to one; the others become zero.

    ``k=None`` keeps all, unscaled. The authors' release renormalises; the paper does not say. Raises ``ValueError``
    for a ``k`` outside 1..N.
    """
    if k is None:
        return weights
    if not 1 <= k <= weights.shape[1]:
        raise ValueError(f"k must be between 1 and {weights.shape[1]}, got {k}")
    values, chosen = weights.topk(k, dim=1)  # (B, k) both
    return torch.zeros_like(weights).scatter(1, chosen, values / values.sum(dim=1, keepdim=True))


def noisy_weights(logits: Tensor, noise: Tensor, on: NoiseOn) -> Tensor:
    """Expert weights (..., N) by a softmax of ``logits`` with ``noise`` of their shape: on the logits before it, or on
    the weights after it, where what falls below zero is cut off and the rest scaled to sum to one (those that all fall
    there stay as they were).

    The paper adds noise "to the router weights" while training (Figure 6 right) and does not say to which. A sure
    router's weights hardly feel noise on the logits, whose gaps are several times as large. Raises ``ValueError`` for
    another word.
    """
    if on not in ("logits", "weights"):
        raise ValueError(f"noise on {on!r}: choose logits or weights")
    if on == "logits":
        return F.softmax(logits + noise, dim=-1)
    weights = F.softmax(logits, dim=-1)
    moved = (weights + noise).clamp(min=0)
    total = moved.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, moved / total.clamp(min=1e-12), weights)


def normalised_entropy(probabilities: Tensor | Sequence) -> Tensor:
    """Entropy of (..., N) probabilities over log N, (...) float64: 0 where one expert has all the weight, 1 where all
    have the same; 0 for a single expert. The one unit in which tables, limits and warnings have it."""
    p = torch.as_tensor(probabilities, dtype=torch.float64)
    if p.shape[-1] < 2:
        return torch.zeros(p.shape[:-1], dtype=torch.float64)
    return (-torch.special.xlogy(p, p).sum(-1) / math.log(p.shape[-1])).clamp(0, 1)


def fused(fusion: Fusion, x: Tensor, mixed: Tensor) -> Tensor:
    """A MoEBlock's output, of its input and the experts' weighted sum, in the one shape that all three have."""
    if fusion == "residual":
        return x + mixed  # Equation 7
    return x * mixed if fusion == "attention" else mixed  # Equations 8 and 2


class MoEBlock(nn.Module):
    """N experts on one feature map, mixed by one weight an image.

    forward: features (B, C, H, W), weights (B, N) -> (B, C, H, W). While training every expert runs on every image,
    so that all get gradients; otherwise an expert runs only on the images that give it weight.
    """

    def __init__(self, channels: int, num_experts: int = 5, expert: str = "naf", fusion: Fusion = "sum"):
        super().__init__()
        if fusion not in ("sum", "residual", "attention"):
            raise ValueError(f"unknown fusion {fusion!r}: choose sum, residual or attention")
        self.fusion = fusion
        self.experts = nn.ModuleList(expert_block(expert, channels) for _ in range(num_experts))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        mixed = self._dense(x, weights) if self.training else self._sparse(x, weights)  # (B, C, H, W)
        return fused(self.fusion, x, mixed)

    def _dense(self, x: Tensor, weights: Tensor) -> Tensor:
        recomputed = any(getattr(expert, "recomputed", False) for expert in self.experts)
        if x.is_cuda and not recomputed and stackable(self.experts):
            return dense(x, weights, self.experts)  # a third of the kernel launches; on a CPU slower
        columns = weights.to(x.dtype).view(*weights.shape, 1, 1, 1).unbind(1)  # N x (B, 1, 1, 1)
        return sum(column * expert(x) for column, expert in zip(columns, self.experts, strict=True))

    def _sparse(self, x: Tensor, weights: Tensor) -> Tensor:
        used = (weights != 0).cpu()  # (B, N); the one moment at which the host learns which experts run
        if len(x) == 1 or bool((used == used[0]).all()):  # all images agree: no gathering of images
            chosen = used[0].nonzero().flatten().tolist()
            if len(chosen) == 1 and bool((weights[:, chosen[0]] == 1).all()):
                return self.experts[chosen[0]](x)
            return sum(weights[:, i].to(x.dtype).view(-1, 1, 1, 1) * self.experts[i](x) for i in chosen)
        mixed = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            images = used[:, i].nonzero().flatten().to(x.device)  # (b,)
            if len(images):
                share = weights[images, i].to(x.dtype).view(-1, 1, 1, 1)
                mixed.index_add_(0, images, (share * expert(x[images])).to(x.dtype))  # (b, C, H, W)
        return mixed


# The attention-based router: which blur is this? (Section 3.2; layer sizes from the authors' release.)


class Router(nn.Module):
    """(B, C, H, W) features of the encoder's end -> (B, N) logits over the N blur types.

    A bottleneck, a spatial attention map multiplied in, the average over all pixels, a two-layer classifier.
    """

    def __init__(self, channels: int, num_experts: int = 5):
        super().__init__()
        self.conv_bottleneck = nn.Sequential(
            nn.Conv2d(channels, 256, 1), nn.BatchNorm2d(256), nn.ReLU(inplace=True), nn.Dropout2d(0.2)
        )
        self.attention = nn.Sequential(nn.Conv2d(256, 1, 1), nn.Sigmoid())
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(256, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(128, num_experts),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_bottleneck(x)  # (B, 256, H, W)
        x = x * self.attention(x)
        return self.classifier(x)  # (B, N)
