"""The parts every network here is made of: channel layer norm, the simple gate, the NAFBlock, the U-Net's joints.

Source: NAFNet (Chen et al., ECCV 2022), Section 3, which DeMoE adopts (Section 3.2). Parameter names are those of both
public releases, so that their weights load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import fused_block
from .inputs import check_pictures
from .outputs import Restored


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of each pixel: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return normalise(x, self.eps, self.weight, self.bias)


def normalise(x: Tensor, eps: float, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """(B, C, H, W): over the channels of each pixel mean 0 and variance 1, then times ``weight`` (C) plus ``bias``."""
    x = x.permute(0, 2, 3, 1)  # (B, H, W, C), free in channels-last memory
    return F.layer_norm(x, x.shape[3:], weight, bias, eps).permute(0, 3, 1, 2)


class SimpleGate(nn.Module):
    """The product of the two halves of the channels, NAFNet's activation: (B, 2C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling():
            return _Gate.apply(x)  # (B, C, H, W)
        first, second = x.chunk(2, dim=1)  # 2 x (B, C, H, W)
        return first * second


class _Gate(torch.autograd.Function):
    """The gate with a backward that writes each half once; that of ``chunk`` fills two whole copies and adds them."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        first, second = x.chunk(2, dim=1)
        return first * second

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        first, second = x.chunk(2, dim=1)
        whole = torch.empty_like(x)
        left, right = whole.chunk(2, dim=1)
        torch.mul(grad, second, out=left)
        torch.mul(grad, first, out=right)
        return whole


class NAFBlock(nn.Module):
    """Depth-wise convolution with channel attention, then a gated feed-forward, both residual.

    (B, C, H, W) -> (B, C, H, W). ``beta`` and ``gamma`` scale the two branches and start at zero: a new block is the
    identity. ``recomputed`` blocks keep their input alone for the backward pass (``checkpointing``); ``fused`` ones are
    one operation on a CPU (``fused_block``).
    """

    recomputed: bool = False
    fused: bool = True

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = LayerNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.sg = SimpleGate()
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = LayerNorm2d(channels)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.recomputed and torch.is_grad_enabled():
            return checkpoint(self._forward, x, use_reentrant=False, preserve_rng_state=False)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        if self.fused and self._fusable(x) and fused_block.operations() is not None:
            return self._fused(x)
        y = self.conv2(self.conv1(self.norm1(x)))  # (B, 2C, H, W)
        y = self.sg(y)  # (B, C, H, W)
        y = y * self.sca(y)
        x = x + self._scaled(self.conv3, self.beta, y)
        y = self.conv4(self.norm2(x))  # (B, 2C, H, W)
        return x + self._scaled(self.conv5, self.gamma, self.sg(y))  # (B, C, H, W)

    def _fusable(self, x: Tensor) -> bool:
        """Whether ``_fused`` does the same: nobody listens to a part of the block, or has put another in its place."""
        parts = list(self.modules())[1:]
        heard = any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in parts)
        alike = self.conv1.weight.dtype == (torch.float32 if torch.is_autocast_enabled("cpu") else x.dtype)
        plain = [type(part) for part in parts] == PARTS and alike
        return plain and not heard and fused_block.usable(x)

    def _fused(self, x: Tensor) -> Tensor:
        layers = (self.norm1, self.conv1, self.conv2, self.sca[1], self.conv3, self.norm2, self.conv4, self.conv5)
        pairs = (one for layer in layers for one in (layer.weight, layer.bias))
        return fused_block.run(x, self.norm1.eps, self.norm2.eps, *pairs, self.beta, self.gamma)

    def _scaled(self, conv: nn.Conv2d, scale: Tensor, x: Tensor) -> Tensor:
        """``conv(x) * scale``; in training the scale goes into the 1x1 weights: passes over the picture less."""
        if not self.training:
            return conv(x) * scale  # (B, C, H, W)
        column = scale.view(-1, 1, 1, 1)
        return F.conv2d(x, conv.weight * column, conv.bias * scale.flatten())


_CONV, _SCA = nn.Conv2d, (nn.Sequential, nn.AdaptiveAvgPool2d, nn.Conv2d)
PARTS = [LayerNorm2d, _CONV, _CONV, SimpleGate, *_SCA, _CONV, LayerNorm2d, _CONV, _CONV]  # of a block, in this order


def fusing(model: nn.Module, on: bool) -> None:
    """Whether the NAFBlocks of ``model`` may run as one operation on a CPU: the same to rounding, and faster."""
    for block in model.modules():
        if isinstance(block, NAFBlock):
            block.fused = on


def checkpointing(model: nn.Module, on: bool) -> None:
    """Whether the NAFBlocks of ``model`` compute their inside twice in training instead of keeping it.

    Of a block's activations only the input is then kept: about a tenth of the memory, for a forward pass more.
    """
    for block in model.modules():
        if isinstance(block, NAFBlock):
            block.recomputed = on


class BlockList(nn.Module):
    """Blocks in sequence, held in ``modules_list`` because the authors' release names them so."""

    def __init__(self, *blocks: nn.Module):
        super().__init__()
        self.modules_list = nn.ModuleList(blocks)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.modules_list)

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = block(x)
        return x


class PictureConv2d(nn.Conv2d):
    """A convolution that reads or writes a picture, in float32 also under autocast.

    In bfloat16 a pixel has 8 bits and a rounding error of its own, as large as the fine contrasts that tell blurs
    apart.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "meta" or not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def intro(width: int) -> nn.Conv2d:
    """The first convolution: (B, 3, H, W) -> (B, width, H, W).

    Its initialisation is not stated in the paper; our choice. A blur shows in the finest contrasts, which are
    far weaker than brightness: with filters of random mean, short trainings never teach the router to see
    them. So three filters in four start with zero mean over their window and are magnified, the rest are subdued.
    """
    convolution = PictureConv2d(3, width, 3, padding=1)
    with torch.no_grad():
        weight = convolution.weight
        weight[: width // 4] *= 0.25
        weight[width // 4 :] -= weight[width // 4 :].mean(dim=(2, 3), keepdim=True)
        weight[width // 4 :] *= 4
    return convolution


def ending(width: int) -> nn.Conv2d:
    """The last convolution: (B, width, H, W) -> (B, 3, H, W). It starts at zero, so a new network is the identity.

    The initialisation is not stated in the paper; our choice.
    """
    convolution = PictureConv2d(width, 3, 3, padding=1)
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    return convolution


def downsample(channels: int) -> nn.Module:
    """Half the size, twice the channels: (B, C, H, W) -> (B, 2C, H/2, W/2)."""
    return nn.Conv2d(channels, 2 * channels, 2, stride=2)


def upsample(channels: int) -> nn.Module:
    """Twice the size, half the channels: (B, C, H, W) -> (B, C/2, 2H, 2W)."""
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Zeros added at the right and below until height and width divide by ``multiple``, as both releases do."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple))


class UNet(nn.Module):
    """What NAFNet and DeMoE share: an encoder, a decoder, and between them a look at the encoder's last features.

    (B, 3, H, W) in [0, 1] -> ``Restored``. Any H, W >= 1: zeros are padded and cropped inside. A network has ``intro``,
    ``encoders``, ``downs`` and ``mlp_branch`` (its router, or None), and says what ``gate`` and ``decode`` do. Raises
    ``TypeError`` and ``ValueError`` for anything else than a batch of pictures (``check_pictures``).
    """

    num_experts = 0  # to choose from, with ``expert`` and ``k``

    def forward(self, x: Tensor, expert: str | Sequence[str | None] | None = None, k: int | None = 1) -> Restored:
        check_pictures(x, values=not self.training)
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, 2 ** len(self.encoders))  # (B, 3, H', W')
        y, skips = self.encode(padded)  # (B, 16C, H'/16, W'/16)
        logits = None if self.mlp_branch is None else self.mlp_branch(y)  # (B, N)
        weights = self.gate(logits, expert, k)  # (B, N)
        y = self.decode(y, skips, weights) + padded  # (B, 3, H', W')
        return Restored(y[..., :height, :width], logits, weights)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features before the middle blocks, which the router reads, and the skips from the top down."""
        y = self.intro(x)  # (B, C, H, W)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            skips.append(y)
            y = down(y)  # (B, 2C, H/2, W/2) a level
        return y, skips
