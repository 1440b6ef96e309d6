"""The plain side of every comparison: DeMoE and NAFNet as published eager code computes them, written for the purpose.

What is known of that code is kept: images in channels-first memory; a channel layer norm of its own with mean, variance
and normalisation as separate operations and a backward to match (as NAFNet's release has it); the gate by ``chunk``;
``beta`` and ``gamma`` as multiplications of their own; channel attention through ``AdaptiveAvgPool2d``; experts in
a Python loop with a boolean mask over the images for each. The host asks of every expert whether an image wants it, and
every use of a mask makes the host wait for the number of its images: that is the time between the paper's 8 and
13.1 ms. In training all experts run on all images, through the same masks. ``counting.fingerprint`` counts what this
comes to beside what was counted of the original.

The classes here hold no parameters of their own: ``plain`` copies a network of ours and computes it by them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.models.demoe import DeMoE
from demoe.models.layers import LayerNorm2d, NAFBlock, PictureConv2d
from demoe.models.moe import MoEBlock
from demoe.models.nafnet import NAFNet
from demoe.models.outputs import Restored


class _Normalise(torch.autograd.Function):
    """Channel layer norm step by step, and its gradient by hand."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean = x.mean(1, keepdim=True)  # (B, 1, H, W)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        normal = (x - mean) / (variance + eps).sqrt()  # (B, C, H, W)
        ctx.save_for_backward(normal, variance, weight)
        ctx.eps = eps
        return weight.view(1, -1, 1, 1) * normal + bias.view(1, -1, 1, 1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        normal, variance, weight = ctx.saved_tensors
        inner = grad * weight.view(1, -1, 1, 1)  # (B, C, H, W)
        mean = inner.mean(1, keepdim=True)
        along = (inner * normal).mean(1, keepdim=True)
        of_x = 1.0 / torch.sqrt(variance + ctx.eps) * (inner - normal * along - mean)
        of_weight = (grad * normal).sum(dim=3).sum(dim=2).sum(dim=0)  # (C,)
        return of_x, of_weight, grad.sum(dim=3).sum(dim=2).sum(dim=0), None


class PlainNorm(nn.Module):
    """``LayerNorm2d``: (B, C, H, W) -> (B, C, H, W), normalised over C."""

    def forward(self, x: Tensor) -> Tensor:
        return _Normalise.apply(x, self.weight, self.bias, self.eps)


def gate(x: Tensor) -> Tensor:
    """(B, 2C, H, W) -> (B, C, H, W)."""
    first, second = x.chunk(2, dim=1)
    return first * second


class PlainBlock(nn.Module):
    """``NAFBlock``, an operation a line: (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y = self.conv1(y)  # (B, 2C, H, W)
        y = self.conv2(y)
        y = gate(y)  # (B, C, H, W)
        y = y * self.sca(y)
        y = self.conv3(y)
        x = x + y * self.beta
        y = self.norm2(x)
        y = self.conv4(y)  # (B, 2C, H, W)
        y = gate(y)  # (B, C, H, W)
        y = self.conv5(y)
        return x + y * self.gamma


class PlainMoE(nn.Module):
    """``MoEBlock``, experts in a loop with a mask each: features (B, C, H, W) -> (B, C, H, W).

    ``values`` (B, k) are the weights of the experts ``chosen`` (B, k).
    """

    def forward(self, x: Tensor, values: Tensor, chosen: Tensor) -> Tensor:
        mixed = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            here = chosen == i  # (B, k)
            mask = here.any(dim=1)  # (B,)
            if not mask.any():
                continue
            share = values[mask][here[mask]].view(-1, 1, 1, 1)  # (b, 1, 1, 1)
            mixed[mask] += share * expert(x[mask])  # (b, C, H, W)
        return mixed


class Plain(nn.Module):
    """``NAFNet`` or ``DeMoE``: (B, 3, H, W) -> ``Restored``, without logits where there is no router.

    The router chooses ``k`` experts, or ``expert``: the index of one expert an image.
    """

    def forward(self, x: Tensor, k: int = 1, expert: Sequence[int] | None = None) -> Restored:
        experts = getattr(self, "experts", ())  # a NAFNet has none
        height, width = x.shape[2:]
        unit = 2 ** len(self.encoders)
        padded = F.pad(x, (0, -x.shape[3] % unit, 0, -x.shape[2] % unit))  # (B, 3, H', W')
        y, skips = self.intro(padded), []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            skips.append(y)
            y = down(y)  # (B, 2C, H/2, W/2) a level
        logits = None if self.mlp_branch is None else self.mlp_branch(y)  # (B, N)
        weights, chosen = None, ()
        if experts:
            weights = F.softmax(logits, dim=1)  # (B, N)
            if expert is not None:
                weights = torch.eye(weights.shape[1], device=x.device)[torch.tensor(expert, device=x.device)]
            values, index = torch.topk(weights, weights.shape[1] if self.training else k, dim=1)  # (B, k) both
            chosen = (values / values.sum(dim=1, keepdim=True), index)
        y = self.middle_blks(y)
        if experts:
            y = experts[0](y, *chosen)
        for level, (decoder, up) in enumerate(zip(self.decoders, self.ups, strict=True), 1):
            y = up(y)  # (B, C/2, 2H, 2W) a level
            y = y + skips[-level]
            y = decoder(y)
            if experts:
                y = experts[level](y, *chosen)
        y = self.ending(y)
        y = y + padded
        return Restored(y[:, :, :height, :width], logits, weights)


FORMULATIONS = {NAFNet: Plain, DeMoE: Plain, NAFBlock: PlainBlock, MoEBlock: PlainMoE}
FORMULATIONS |= {LayerNorm2d: PlainNorm, PictureConv2d: nn.Conv2d}


def plain(model: NAFNet | DeMoE) -> Plain:
    """The plain formulation of a network of ours, with a copy of its weights, in its mode (training or not).

    Raises ``ValueError`` for variants that the paper's own code does not have.
    """
    config = model.config
    if isinstance(model, DeMoE) and (config.moe_per_level, config.expert, config.fusion) != (1, "naf", "sum"):
        raise ValueError(f"the plain formulation is that of the paper's own DeMoE, not of {config}")
    made = copy.deepcopy(model)
    for module in made.modules():  # the same parameters, computed another way
        module.__class__ = FORMULATIONS.get(type(module), type(module))
    return made
