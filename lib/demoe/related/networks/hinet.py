"""HINet (Chen et al., CVPR Workshops 2021): two U-Nets in a row, the deep levels of their encoders half normalised.

The names are those of the authors' code, so that their weights load.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from demoe.models.outputs import as_restored

from .shared import Fusion, Network

LEVELS = 5


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ConvBlock(nn.Module):
    """3x3, LeakyReLU, 3x3, LeakyReLU, added to 1x1 of the input: (B, C, H, W) -> (B, C', H, W).

    ``half_normalised``: after the first 3x3 the first half of the channels is normalised, each channel of each picture
    for itself. ``fused``: what stage 1 had at this level, in its encoder and in its decoder, is added through 3x3.
    ``halves``: it has a layer that halves the size.
    """

    def __init__(
        self, inputs: int, outputs: int, halves: bool = False, fused: bool = False, half_normalised: bool = False
    ):
        super().__init__()
        self.identity = nn.Conv2d(inputs, outputs, 1)
        self.conv_1, self.conv_2 = _conv(inputs, outputs), _conv(outputs, outputs)
        self.relu = nn.LeakyReLU(0.2)
        self.norm = nn.InstanceNorm2d(outputs // 2, affine=True) if half_normalised else None
        if fused:
            self.csff_enc, self.csff_dec = _conv(outputs, outputs), _conv(outputs, outputs)
        if halves:
            self.downsample = nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor, encoded: Tensor | None = None, decoded: Tensor | None = None) -> Tensor:
        y = self.conv_1(x)
        if self.norm is not None:
            first, second = y.chunk(2, 1)
            # A map of one pixel has no deviation: it is left as it is (the authors' code stops there).
            y = torch.cat((self.norm(first) if first[0, 0].numel() > 1 else first, second), 1)
        y = self.relu(self.conv_2(self.relu(y))) + self.identity(x)
        return y if encoded is None else y + self.csff_enc(encoded) + self.csff_dec(decoded)


class UpBlock(nn.Module):
    """(B, C, h, w) and a skip (B, C/2, 2h, 2w) -> (B, C/2, 2h, 2w)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv_block = ConvBlock(inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv_block(torch.cat((self.up(x), skip), 1))


class SupervisedAttention(nn.Module):
    """Features and the blurred picture -> features for stage 2, and the picture that stage 1 restores."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = _conv(channels, channels), _conv(channels, 3), _conv(3, channels)

    def forward(self, x: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        restored = self.conv2(x) + picture  # (B, 3, H, W)
        return self.conv1(x) * self.conv3(restored).sigmoid() + x, restored


class HINet(Network):
    """Two pictures of full size, one a stage. Published sizes: ``wf`` 64, 88,668,806 parameters, and 32, 22,176,070.

    Encoders are half normalised from level ``hin_position_left`` to ``hin_position_right``, 0 the finest; the defaults
    are those of the weights for GoPro. The normalisation depends on how large a picture is: the authors evaluate on
    crops as large as those of training (``in_windows``). A prior may enter after the last three blocks of each decoder.
    """

    multiple = 2 ** (LEVELS - 1)

    def __init__(self, wf: int = 64, hin_position_left: int = 3, hin_position_right: int = 4):
        super().__init__()
        widths = [wf * 2**level for level in range(LEVELS)]
        self.conv_01, self.conv_02 = _conv(3, wf), _conv(3, wf)
        for stage in (1, 2):
            down = nn.ModuleList()
            for level, (inputs, outputs) in enumerate(zip([wf, *widths], widths, strict=False)):
                halves, hin = level < LEVELS - 1, hin_position_left <= level <= hin_position_right
                down.append(ConvBlock(inputs, outputs, halves, halves and stage == 2, hin))
            setattr(self, f"down_path_{stage}", down)
            finer = widths[-2::-1]
            up = (UpBlock(2 * width, width) for width in finer)
            setattr(self, f"up_path_{stage}", nn.ModuleList(up))
            setattr(self, f"skip_conv_{stage}", nn.ModuleList(_conv(width, width) for width in finer))
        self.sam12, self.cat12 = SupervisedAttention(wf), nn.Conv2d(2 * wf, wf, 1)
        self.last = _conv(wf, 3)
        self.fusions = nn.ModuleList(Fusion(widths[level], level) for _ in (1, 2) for level in (2, 1, 0))

    def stages(self, x: Tensor) -> list[Tensor]:
        encoded, decoded = self._stage(1, self.conv_01(x), [None] * LEVELS, [None] * LEVELS)
        features, first = self.sam12(decoded[0], x)
        start = self.cat12(torch.cat((self.conv_02(x), features), 1))
        _, decoded = self._stage(2, start, encoded, decoded)
        return [first, self.last(decoded[0]) + x]

    def _stage(
        self, stage: int, x: Tensor, encoded: list[Tensor | None], decoded: list[Tensor | None]
    ) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """A U-Net's features (B, wf 2^level, H / 2^level, W / 2^level): encoder's and decoder's, fine to coarse; at the
        deepest level, which stage 2 does not see, None. The arguments are those of the stage before."""
        found: list[Tensor | None] = []
        for block, *before in zip(getattr(self, f"down_path_{stage}"), encoded, decoded, strict=True):
            x = block(x, *before)
            if len(found) < LEVELS - 1:
                found.append(x)
                x = block.downsample(x)
        back: list[Tensor | None] = [None]
        ups, skips = getattr(self, f"up_path_{stage}"), getattr(self, f"skip_conv_{stage}")
        fusions = (nn.Identity(), *self.fusions[3 * stage - 3 : 3 * stage])
        for up, skip, fusion, level in zip(ups, skips, fusions, found[::-1], strict=True):
            x = fusion(up(x, skip(level)))
            back.append(x)
        return [*found, None], back[::-1]


@torch.no_grad()
def in_windows(network: nn.Module, x: Tensor, side: int = 256) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] restored as HINet's authors evaluate it, clamped: (B, 3, H, W).

    The network, in evaluation mode, sees windows of ``side`` pixels, as few as cover the picture, at even steps; the
    last ones end with it. Where they overlap the mean is taken. Shorter sides go in whole.
    """
    total, count = torch.zeros_like(x), torch.zeros_like(x[:1, :1])  # (B, 3, H, W), (1, 1, H, W)
    for top in _starts(x.shape[-2], side):
        for left in _starts(x.shape[-1], side):
            window = ..., slice(top, top + side), slice(left, left + side)
            total[window] += as_restored(network(x[window])).image
            count[window] += 1
    return (total / count).clamp(0, 1)


def _starts(length: int, side: int) -> list[int]:
    """The first pixels of the windows along an axis."""
    rest, windows = max(length - side, 0), -(-length // side)
    step = -(-rest // max(windows - 1, 1))
    return [min(number * step, rest) for number in range(windows)]
