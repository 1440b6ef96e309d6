"""SFHFormer (Jiang et al., ECCV 2024), one of the networks that the paper compares with (Table 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import PictureConv2d, pad_to_multiple, upsample
from .outputs import Restored


@dataclass(frozen=True)
class SFHFormerConfig:
    """Sizes of an SFHFormer (Jiang et al., ECCV 2024). The defaults are its large model: 7.67 M, 52.32 G."""

    width: int = 32  # channels at full resolution; doubled at each of the two levels below
    blocks: tuple[int, int, int, int, int] = (6, 6, 10, 6, 6)  # down, down, bottom, up, up
    groups: int = 4  # candidate maps that the dynamic spectral convolution chooses between


class SpectralMixer(nn.Module):
    """A dynamic convolution on the Fourier spectrum of an image: (B, C, H, W) -> (B, C, H, W).

    Real and imaginary parts are 2C interleaved channels. A depth-wise convolution adds position, then each frequency
    mixes ``groups`` candidate 1x1 convolutions with weights of its own.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.groups = groups
        both = 2 * channels
        self.norm = nn.BatchNorm2d(both)
        self.position = nn.Conv2d(both, both, 3, padding=1, groups=both)
        self.candidates = nn.Conv2d(both, both * groups, 1, groups=groups)
        self.choice = nn.Sequential(nn.Conv2d(both, groups, 1), nn.Softmax(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        spectrum = torch.view_as_real(torch.fft.rfft2(x.float(), norm="ortho"))  # (B, C, H, W/2 + 1, 2)
        bins = spectrum.shape[3]
        y = spectrum.permute(0, 1, 4, 2, 3).reshape(batch, 2 * channels, height, bins)
        y = self.norm(y)
        y = y + self.position(y)
        weights = self.choice(y)  # (B, groups, H, W/2 + 1)
        y = self.candidates(y).view(batch, self.groups, 2 * channels, height, bins)
        y = F.gelu(torch.einsum("bgchw,bghw->bchw", y, weights))  # (B, 2C, H, W/2 + 1)
        y = y.view(batch, channels, 2, height, bins).permute(0, 1, 3, 4, 2).float().contiguous()
        return torch.fft.irfft2(torch.view_as_complex(y), s=(height, width), norm="ortho").to(x.dtype)  # (B, C, H, W)


class SpatialFrequencyMixer(nn.Module):
    """Half of the channels through dilated depth-wise convolutions, half through the spectrum, then attention."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        half = channels // 2
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.near = nn.Conv2d(half, half, 3, padding=1, groups=half)
        # In float32 also under autocast: on a CPU its gradient in bfloat16 is read from memory beyond the arrays.
        self.far = PictureConv2d(half, half, 3, padding=2, dilation=2, groups=half)
        self.spectral_in = nn.Sequential(nn.Conv2d(channels, 2 * channels, 1), nn.GELU())
        self.spectral = SpectralMixer(2 * channels, groups)
        self.spectral_out = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), nn.GELU())
        self.activation = nn.GELU()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(2 * channels, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.Sigmoid(),
        )
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        local, whole = self.expand(x).chunk(2, dim=1)  # 2 x (B, C, H, W)
        first, second = local.chunk(2, dim=1)  # 2 x (B, C/2, H, W)
        whole = self.spectral_in(whole)  # (B, 2C, H, W)
        whole = self.spectral_out(whole + self.spectral(whole))  # (B, C, H, W)
        y = self.activation(torch.cat((self.near(first), self.far(second), whole), dim=1))  # (B, 2C, H, W)
        return self.project(y * self.attention(y))  # (B, C, H, W)


class MultiScaleFeedForward(nn.Module):
    """A feed-forward whose hidden channels see 1x1, 3x3, 5x5 and 7x7 neighbourhoods: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        quarter = channels // 2  # of the 2C hidden channels
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.scales = nn.ModuleList(nn.Conv2d(quarter, quarter, k, padding=k // 2, groups=quarter) for k in (3, 5, 7))
        self.activation = nn.GELU()
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.expand(x).chunk(4, dim=1)  # 4 x (B, C/2, H, W)
        seen = [conv(part) for conv, part in zip(self.scales, others, strict=True)]
        return self.project(self.activation(torch.cat((first, *seen), dim=1)))


class SFHBlock(nn.Module):
    """Mixer and feed-forward, each after a batch norm and scaled from zero: a new block is the identity."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.mixer = SpatialFrequencyMixer(channels, groups)
        self.norm2 = nn.BatchNorm2d(channels)
        self.feed_forward = MultiScaleFeedForward(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x)) * self.beta
        return x + self.feed_forward(self.norm2(x)) * self.gamma


class SFHFormer(nn.Module):
    """A U-Net of two levels whose blocks mix in space and in frequency."""

    def __init__(self, config: SFHFormerConfig):
        super().__init__()
        c = self.config = config
        top, middle, bottom = c.width, 2 * c.width, 4 * c.width
        widths = (top, middle, bottom, middle, top)
        self.intro = nn.Conv2d(3, top, 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(SFHBlock(w, c.groups) for _ in range(count)))
            for w, count in zip(widths, c.blocks, strict=True)
        )
        self.downs = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in (top, middle))
        self.ups = nn.ModuleList(upsample(w) for w in (bottom, middle))
        self.merge = nn.ModuleList(nn.Conv2d(2 * w, w, 1) for w in (middle, top))
        self.ending = nn.Conv2d(top, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Restored:
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, 4)  # (B, 3, H', W')
        first = self.stages[0](self.intro(padded))  # (B, C, H', W')
        second = self.stages[1](self.downs[0](first))  # (B, 2C, H'/2, W'/2)
        y = self.stages[2](self.downs[1](second))  # (B, 4C, H'/4, W'/4)
        y = self.stages[3](self.merge[0](torch.cat((self.ups[0](y), second), dim=1)))  # (B, 2C, H'/2, W'/2)
        y = self.stages[4](self.merge[1](torch.cat((self.ups[1](y), first), dim=1)))  # (B, C, H', W')
        y = self.ending(y) + padded  # (B, 3, H', W')
        return Restored(y[..., :height, :width])
