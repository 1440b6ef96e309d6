"""The first stage of MPRNet (Zamir et al., CVPR 2021): a U-Net that encodes quarters of a picture and decodes halves.

The names are those of the authors' code, so that their weights load.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import stage_unet
from .shared import Network, named


class ChannelAttentionBlock(nn.Module):
    """3x3, PReLU, 3x3, each channel weighted by what their means say, added to the input: shapes stay."""

    def __init__(self, channels: int, activation: nn.PReLU, reduction: int = 4):
        super().__init__()
        self.CA = ChannelAttention(channels, reduction)
        first, second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.body = nn.Sequential(first, activation, second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.CA(self.body(x))


class ChannelAttention(nn.Module):
    """(B, C, H, W) times weights (B, C, 1, 1) between 0 and 1."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        squeezed = channels // reduction
        self.conv_du = nn.Sequential(
            stage_unet.pointwise(channels, squeezed), nn.ReLU(), stage_unet.pointwise(squeezed, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


def _halves(x: Tensor, dim: int) -> Tensor:
    """Both halves along ``dim`` as a batch: (B, ...) -> (2B, ...), the first ones first."""
    return torch.cat(x.chunk(2, dim))


def _whole(x: Tensor, dim: int) -> Tensor:
    """The inverse of ``_halves``."""
    return torch.cat(x.chunk(2), dim)


class MPRNetStage1(Network):
    """Stage 1 alone, the paper's simple version of MPRNet. One picture. Priors may enter at both additions.

    ``n_feat`` channels at full size, ``scale_unetfeats`` more at each size below. Neither quarters nor halves see each
    other, as in the whole MPRNet. The one PReLU is shared by all blocks.
    """

    multiple = 8

    def __init__(self, n_feat: int = 96, scale_unetfeats: int = 48):
        super().__init__()
        widths = (n_feat, n_feat + scale_unetfeats, n_feat + 2 * scale_unetfeats)
        activation = nn.PReLU()

        def block(channels: int) -> nn.Module:
            return ChannelAttentionBlock(channels, activation)

        self.shallow_feat1 = nn.Sequential(nn.Conv2d(3, n_feat, 3, padding=1, bias=False), block(n_feat))
        self.stage1_encoder = stage_unet.Encoder(block, widths)
        self.stage1_decoder = stage_unet.Decoder(block, widths)
        # What a first stage alone needs of the supervised attention module: from features to the residual.
        self.sam12 = named(conv2=stage_unet.pointwise(n_feat, 3))
        self.fusions = nn.ModuleList(stage_unet.fusions(widths))

    def stages(self, x: Tensor) -> list[Tensor]:
        quarters = _halves(_halves(x, 2), 3)  # (4B, 3, H/2, W/2)
        encoded = self.stage1_encoder(self.shallow_feat1(quarters))
        halves = [_whole(level, 3) for level in encoded]  # (2B, C, H/2, W), and coarser
        decoded, *_ = self.stage1_decoder(halves, [_on_whole(fusion) for fusion in self.fusions])
        return [x + _whole(self.sam12(decoded), 2)]

    def released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Stage 1 of a whole MPRNet's tensors."""
        mine = {key.split(".")[0] for key in self.state_dict()}
        unused = ("sam12.conv1.", "sam12.conv3.")  # they lead to stage 2
        return {key: value for key, value in state.items() if key.split(".")[0] in mine and not key.startswith(unused)}


def _on_whole(fusion: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """``fusion`` of whole pictures where top and bottom halves are worked on: a prior is one of the whole picture."""
    return lambda decoder, encoder: _halves(fusion(_whole(decoder, 2), _whole(encoder, 2)), 2)
