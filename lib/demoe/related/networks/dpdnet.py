"""DPDNet (Abuolaim and Brown, ECCV 2020): a U-Net that removes defocus, of two dual-pixel views or of one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.models.layers import pad_to_multiple

LEVELS = 5  # with the bottleneck


@dataclass(frozen=True)
class DPDNetConfig:
    """Sizes of a DPDNet, the arguments of the class. The defaults are the published ones."""

    width: int = 64  # channels at full resolution; they double at each level
    in_channels: int = 6  # 6: two views of a dual-pixel sensor, three colours each; 3: one picture
    dropout: float = 0.4  # after the two deepest levels


class DPDNet(nn.Module):
    """(B, in_channels, H, W) in [0, 1] -> a list with one picture, (B, 3, H, W), in [0, 1].

    Any H, W >= 1: zeros are padded to multiples of 16 and cropped (the published code takes multiples alone). Published
    sizes have 31,033,423 parameters for 3 channels, 31,035,151 for 6. ``Conv2d`` modules are registered in the order
    of their use. Weights start as in the published code: He's normal distribution, biases at zero.
    """

    def __init__(self, width: int = 64, in_channels: int = 6, dropout: float = 0.4):
        super().__init__()
        self.config = DPDNetConfig(width, in_channels, dropout)
        widths = [width * 2**level for level in range(LEVELS)]
        self.encoders = nn.ModuleList(map(_two, [in_channels, *widths[:-1]], widths))
        self.decoders = nn.ModuleList()
        for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True):
            up = nn.Conv2d(coarse, fine, 2)  # padded in ``forward``
            self.decoders.append(nn.ModuleDict({"up": up, "convs": _two(2 * fine, fine)}))
        self.to_rgb, self.ending = nn.Conv2d(width, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, 2 ** (LEVELS - 1))
        skips = []
        for level, encoder in enumerate(self.encoders):
            x = encoder(F.max_pool2d(x, 2) if level else x)  # (B, 2^level width, H / 2^level, W / 2^level)
            if level >= LEVELS - 2:
                x = self.dropout(x)
            skips.append(x)
        skips.pop()
        for decoder in self.decoders:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.relu(decoder["up"](F.pad(x, (0, 1, 0, 1))))  # half the channels
            x = decoder["convs"](torch.cat((skips.pop(), x), 1))
        x = self.ending(F.relu(self.to_rgb(x))).sigmoid()  # (B, 3, H', W')
        return [x[..., :height, :width]]

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Takes over the weights of the published network, whose layers are numbered in the order of their use.

        ``state`` has weight (out, in, height, width) and bias of each in turn. Raises ``ValueError`` where one does not
        fit.
        """
        own = self.state_dict()
        if [value.shape for value in state.values()] != [value.shape for value in own.values()]:
            raise ValueError(f"these are not the {len(own)} tensors of a DPDNet of {self.config}, in the order of use")
        self.load_state_dict(dict(zip(own, state.values(), strict=True)))


def _two(channels: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
    )
