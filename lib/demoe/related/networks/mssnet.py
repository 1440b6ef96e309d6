"""MSSNet (Kim et al., ECCVW 2022): three scales of one, two and three U-Nets, each fed by the one before.

The names are those of the authors' code, so that their weights load.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import stage_unet
from .shared import Network, Residual, named

STAGES = ("1_1", "2_1", "2_2", "3_1", "3_2", "3_3")  # scale and stage


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def _double(channels: int) -> nn.Sequential:
    """(B, C, h, w) -> (B, C, 2h, 2w), bilinear, then 1x1."""
    return named(scaleUp=stage_unet.resized(2, channels, channels))


def _shuffled_tail(channels: int) -> nn.Sequential:
    """(B, C, h, w) -> the residual (B, 3, 2h, 2w)."""
    return named(tail=_conv(channels, 12), shuffle=nn.PixelShuffle(2))


class MSSNet(Network):
    """Restored pictures of every stage: one at half size, then five at full size.

    Scale 1 works on the half picture and scale 2 on the picture, both with 2x2 pixels unshuffled to channels, scale 3
    on the picture as it is. ``wf`` channels at a U-Net's first level, ``scale`` and ``vscale`` more below. Priors may
    enter at both additions of all six decoders.
    """

    multiple = 16

    def __init__(self, wf: int = 54, scale: int = 42, vscale: int = 42):
        super().__init__()
        widths = (wf, wf + scale, wf + scale + vscale)
        activation = nn.PReLU()

        def block(channels: int) -> nn.Module:
            # 3x3, the PReLU that the whole network shares, 3x3
            first, second = _conv(channels, channels), _conv(channels, channels)
            return Residual(body=nn.Sequential(first, activation, second))

        for number, channels in enumerate((12, 12, 3), 1):
            self.add_module(f"shallow_feat{number}", nn.Sequential(_conv(channels, wf), block(wf)))
        self.up_scale1_feat, self.up_scale2_feat = _double(wf), _double(wf)
        self.fusion12, self.fusion23 = _conv(2 * wf, wf), _conv(2 * wf, wf)
        for stage in STAGES:
            self.add_module(f"E{stage}", stage_unet.Encoder(block, widths, earlier=stage != "1_1"))
            self.add_module(f"D{stage}", stage_unet.Decoder(block, widths))
            self.add_module(f"tail{stage}", _conv(wf, 3) if stage.startswith("3") else _shuffled_tail(wf))
        self.fusions = nn.ModuleList(fusion for _ in STAGES for fusion in stage_unet.fusions(widths))

    def stages(self, x: Tensor) -> list[Tensor]:
        size = (x.shape[-2] // 2, x.shape[-1] // 2)
        half = F.interpolate(x, size, mode="bilinear", align_corners=True)  # (B, 3, H/2, W/2)
        features = self.shallow_feat1(F.pixel_unshuffle(half, 2))  # (B, C, H/4, W/4)
        found, encoded, decoded = [], [], []
        for index, stage in enumerate(STAGES):
            if stage == "2_1":
                shallow = self.shallow_feat2(F.pixel_unshuffle(x, 2))  # (B, C, H/2, W/2)
                features = self.fusion12(torch.cat((shallow, self.up_scale1_feat(decoded[0])), 1))
            elif stage == "3_1":
                features = self.fusion23(torch.cat((self.shallow_feat3(x), self.up_scale2_feat(decoded[0])), 1))
            if stage in ("2_1", "3_1"):
                encoded, decoded = _doubled(encoded), _doubled(decoded)
            encoded = self.get_submodule(f"E{stage}")(features, encoded, decoded)
            decoded = self.get_submodule(f"D{stage}")(encoded, self.fusions[2 * index : 2 * index + 2])
            features = decoded[0]
            picture = half if stage == "1_1" else x
            found.append(picture + self.get_submodule(f"tail{stage}")(features))
        return found


def _doubled(levels: Sequence[Tensor]) -> list[Tensor]:
    return [F.interpolate(level, scale_factor=2, mode="bilinear") for level in levels]
