"""The plain side of every comparison: DeMoE and NAFNet as published eager code computes them, written for the purpose.

What is known of that code is kept: images in channels-first memory; a channel layer norm of its own with mean, variance
and normalisation as separate operations and a backward to match (as NAFNet's release has it); the gate by ``chunk``;
``beta`` and ``gamma`` as multiplications of their own; channel attention through ``AdaptiveAvgPool2d``; experts in
a Python loop with a boolean mask over the images for each. The host asks of every expert whether an image wants it, and
every use of a mask makes the host wait for the number of its images: that is the time between the paper's 8 and
13.1 ms. In training all experts run on all images, through the same masks. ``counting.fingerprint`` counts what this
comes to beside what was counted of the original.

Names and shapes of the parameters are those of ``demoe.models``: a state dict of one loads into the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.layers import BlockList, downsample, upsample
from demoe.models.moe import Router
from demoe.models.nafnet import NAFNet, NAFNetConfig
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
    """(B, C, H, W) -> (B, C, H, W), normalised over C."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return _Normalise.apply(x, self.weight, self.bias, self.eps)


def gate(x: Tensor) -> Tensor:
    """(B, 2C, H, W) -> (B, C, H, W)."""
    first, second = x.chunk(2, dim=1)
    return first * second


class PlainBlock(nn.Module):
    """NAFNet's block, an operation a line: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = PlainNorm(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = PlainNorm(channels)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

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
    """Experts in a loop with a mask each: features (B, C, H, W) -> (B, C, H, W).

    ``values`` (B, k) are the weights of the experts ``chosen`` (B, k).
    """

    def __init__(self, channels: int, num_experts: int):
        super().__init__()
        self.experts = nn.ModuleList(PlainBlock(channels) for _ in range(num_experts))

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
    """NAFNet or, with experts, DeMoE: (B, 3, H, W) -> ``Restored``, without logits where there is no router.

    The router chooses ``k`` experts, or ``expert``: the index of one expert an image. Raises ``ValueError`` for
    variants that the paper's own code does not have.
    """

    def __init__(self, config: NAFNetConfig | DeMoEConfig):
        super().__init__()
        mixing = isinstance(config, DeMoEConfig)
        if mixing and (config.moe_per_level, config.expert, config.fusion) != (1, "naf", "sum"):
            raise ValueError(f"the plain formulation is that of the paper's own DeMoE, not of {config}")
        blocks = BlockList if mixing else nn.Sequential
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        channels = config.width
        self.intro = nn.Conv2d(3, channels, 3, padding=1)
        self.ending = nn.Conv2d(channels, 3, 3, padding=1)
        for count in config.encoder_blocks:
            self.encoders.append(blocks(*(PlainBlock(channels) for _ in range(count))))
            self.downs.append(downsample(channels))
            channels *= 2
        self.mlp_branch = Router(channels, config.num_experts) if mixing or config.router else None
        self.middle_blks = blocks(*(PlainBlock(channels) for _ in range(config.middle_blocks)))
        self.experts = nn.ModuleList([PlainMoE(channels, config.num_experts)]) if mixing else None
        for count in config.decoder_blocks:
            self.ups.append(upsample(channels))
            channels //= 2
            self.decoders.append(blocks(*(PlainBlock(channels) for _ in range(count))))
            if mixing:
                self.experts.append(PlainMoE(channels, config.num_experts))

    def forward(self, x: Tensor, k: int = 1, expert: Sequence[int] | None = None) -> Restored:
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
        if self.experts is not None:
            weights = F.softmax(logits, dim=1)  # (B, N)
            if expert is not None:
                weights = torch.eye(weights.shape[1], device=x.device)[torch.tensor(expert, device=x.device)]
            values, index = torch.topk(weights, weights.shape[1] if self.training else k, dim=1)  # (B, k) both
            chosen = (values / values.sum(dim=1, keepdim=True), index)
        y = self.middle_blks(y)
        if self.experts is not None:
            y = self.experts[0](y, *chosen)
        for level, (decoder, up) in enumerate(zip(self.decoders, self.ups, strict=True), 1):
            y = up(y)  # (B, C/2, 2H, 2W) a level
            y = y + skips[-level]
            y = decoder(y)
            if self.experts is not None:
                y = self.experts[level](y, *chosen)
        y = self.ending(y)
        y = y + padded
        return Restored(y[:, :, :height, :width], logits, weights)


def plain(model: NAFNet | DeMoE) -> Plain:
    """The plain formulation of a network of ours, with a copy of its weights, in its mode (training or not)."""
    made = Plain(model.config)
    made.load_state_dict(model.state_dict())
    return made.to(next(model.parameters()).device).train(model.training)
