"""MIMO-UNet and MIMO-UNet+ (Cho et al., ICCV 2021): one U-Net that reads and restores a picture at three sizes.

The names are those of the authors' code, so that their weights load.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .shared import Fusion, Network, Residual, named


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A convolution, with a ReLU unless ``relu`` is False; a kernel of 4 is that of one that doubles the size."""
    if kernel == 4:
        convolution = nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=1)
    else:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    return named(main=nn.Sequential(convolution, *([nn.ReLU()] if relu else [])))


def _block(channels: int) -> Residual:
    """3x3, ReLU, 3x3, added to its input: (B, C, H, W) -> (B, C, H, W)."""
    return Residual(main=nn.Sequential(_conv(channels, channels, 3), _conv(channels, channels, 3, relu=False)))


def _blocks(channels: int, count: int) -> nn.Sequential:
    """Residual blocks in a row, encoder and decoder alike."""
    return named(layers=nn.Sequential(*(_block(channels) for _ in range(count))))


class ShallowConvolutions(nn.Module):
    """SCM, features of a smaller picture: (B, 3, h, w) -> (B, C, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        quarter, half = channels // 4, channels // 2
        self.main = nn.Sequential(
            _conv(3, quarter, 3), _conv(quarter, half, 1), _conv(half, half, 3), _conv(half, channels - 3, 1)
        )
        self.conv = _conv(channels, channels, 1, relu=False)

    def forward(self, picture: Tensor) -> Tensor:
        return self.conv(torch.cat((picture, self.main(picture)), 1))


class FeatureAttention(nn.Module):
    """FAM, features of the level above and of the smaller picture joined; (B, C, h, w) all of them."""

    def __init__(self, channels: int):
        super().__init__()
        self.merge = _conv(channels, channels, 3, relu=False)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        return x + self.merge(x * picture)


class AsymmetricFusion(nn.Module):
    """AFF: the features of all levels, resized (nearest) to one: three of (B, C_i, h_i, w_i) -> (B, C, h, w)."""

    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.conv = nn.Sequential(_conv(inputs, channels, 1), _conv(channels, channels, 3, relu=False))

    def forward(self, levels: list[Tensor], size: torch.Size) -> Tensor:
        return self.conv(torch.cat([F.interpolate(level, size) for level in levels], 1))


class MIMOUNet(Network):
    """Restored pictures at 1/4, 1/2 and full size. ``num_res``: residual blocks of each encoder and decoder level.

    A prior may enter after each of the two 1x1 convolutions that follow a concatenation.
    """

    multiple = 4
    dropout = 0.0  # of the channels of the two fused skips

    def __init__(self, width: int = 32, num_res: int = 8):
        super().__init__()
        if width < 16 or width % 4:
            raise ValueError(f"MIMO-UNet's width is a multiple of 4 from 16 on, not {width}")
        one, two, three = width, 2 * width, 4 * width
        self.Encoder = nn.ModuleList(_blocks(channels, num_res) for channels in (one, two, three))
        self.feat_extract = nn.ModuleList(
            (
                _conv(3, one, 3),
                _conv(one, two, 3, stride=2),
                _conv(two, three, 3, stride=2),
                _conv(three, two, 4),
                _conv(two, one, 4),
                _conv(one, 3, 3, relu=False),
            )
        )
        self.Decoder = nn.ModuleList(_blocks(channels, num_res) for channels in (three, two, one))
        self.Convs = nn.ModuleList((_conv(three, two, 1), _conv(two, one, 1)))
        self.ConvsOut = nn.ModuleList((_conv(three, 3, 3, relu=False), _conv(two, 3, 3, relu=False)))
        self.AFFs = nn.ModuleList(AsymmetricFusion(one + two + three, channels) for channels in (one, two))
        self.FAM1, self.SCM1 = FeatureAttention(three), ShallowConvolutions(three)
        self.FAM2, self.SCM2 = FeatureAttention(two), ShallowConvolutions(two)
        self.fusions = nn.ModuleList((Fusion(two, 1), Fusion(one, 0)))

    def stages(self, x: Tensor) -> list[Tensor]:
        half, quarter = x[..., ::2, ::2], x[..., ::4, ::4]  # nearest: (B, 3, H/2, W/2), (B, 3, H/4, W/4)
        first = self.Encoder[0](self.feat_extract[0](x))  # (B, C, H, W)
        second = self.Encoder[1](self.FAM2(self.feat_extract[1](first), self.SCM2(half)))  # (B, 2C, H/2, W/2)
        third = self.Encoder[2](self.FAM1(self.feat_extract[2](second), self.SCM1(quarter)))  # (B, 4C, H/4, W/4)
        skips = []
        for fuse, level in zip(self.AFFs, (first, second), strict=True):
            skip = fuse([first, second, third], level.shape[-2:])
            skips.append(F.dropout2d(skip, self.dropout, self.training) if self.dropout else skip)

        y = self.Decoder[0](third)
        found = [quarter + self.ConvsOut[0](y)]
        y = torch.cat((self.feat_extract[3](y), skips[1]), 1)  # (B, 4C, H/2, W/2)
        y = self.Decoder[1](self.fusions[0](self.Convs[0](y), None))  # (B, 2C, H/2, W/2)
        found.append(half + self.ConvsOut[1](y))
        y = torch.cat((self.feat_extract[4](y), skips[0]), 1)  # (B, 2C, H, W)
        y = self.Decoder[2](self.fusions[1](self.Convs[1](y), None))  # (B, C, H, W)
        return [*found, x + self.feat_extract[5](y)]


class MIMOUNetPlus(MIMOUNet):
    """MIMO-UNet+: more blocks, and dropout in training."""

    dropout = 0.1

    def __init__(self, width: int = 32, num_res: int = 20):
        super().__init__(width, num_res)
