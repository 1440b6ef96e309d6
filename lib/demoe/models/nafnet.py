"""NAFNet, the baseline f of the paper (Section 3.2), with or without the router that stage 1 trains beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from .layers import NAFBlock, downsample, ending, intro, pad_to_multiple, upsample
from .moe import Router


@dataclass(frozen=True)
class NAFNetConfig:
    """Sizes of a NAFNet. Block counts run from the full resolution down (encoder) and from the bottom up (decoder)."""

    width: int = 32  # channels at full resolution
    encoder_blocks: tuple[int, ...] = (2, 2, 2, 2)
    middle_blocks: int = 3
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 3)
    router: bool = False  # the classification branch of stage 1
    num_experts: int = 5  # classes of that branch


NAFNET_PRESETS = {
    "baseline": NAFNetConfig(),  # Table 1: 10.08 M, 11.02 G
    "baseline_router": NAFNetConfig(router=True),  # the network of stage 1
    "original": NAFNetConfig(encoder_blocks=(1, 1, 1, 28)),  # Table 5: 22.07 M, 20.37 G
    "nafnet_gopro_32": NAFNetConfig(32, (1, 1, 1, 28), 1, (1, 1, 1, 1)),  # NAFNet's own releases
    "nafnet_gopro_64": NAFNetConfig(64, (1, 1, 1, 28), 1, (1, 1, 1, 1)),
}


class Classified(NamedTuple):
    """A restored image and the router's opinion (``None`` where there is no router)."""

    image: Tensor  # (B, 3, H, W)
    logits: Tensor | None  # (B, N)


class NAFNet(nn.Module):
    """A U-Net of NAFBlocks that predicts the residual.

    (B, 3, H, W) in [0, 1], any H, W >= 1 -> (B, 3, H, W), not clamped.
    """

    def __init__(self, config: NAFNetConfig):
        super().__init__()
        if len(config.encoder_blocks) != len(config.decoder_blocks):
            raise ValueError(f"encoder and decoder need the same number of levels, got {config}")
        self.config = config
        self.intro = intro(config.width)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        channels = config.width
        for count in config.encoder_blocks:
            self.encoders.append(nn.Sequential(*(NAFBlock(channels) for _ in range(count))))
            self.downs.append(downsample(channels))
            channels *= 2
        self.middle_blks = nn.Sequential(*(NAFBlock(channels) for _ in range(config.middle_blocks)))
        self.mlp_branch = Router(channels, config.num_experts) if config.router else None
        for count in config.decoder_blocks:
            self.ups.append(upsample(channels))
            channels //= 2
            self.decoders.append(nn.Sequential(*(NAFBlock(channels) for _ in range(count))))
        self.ending = ending(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """The restored image alone, (B, 3, H, W)."""
        return self.classify(x).image

    def classify(self, x: Tensor) -> Classified:
        """The restored image and the router's logits."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, 2 ** len(self.encoders))  # (B, 3, H', W')
        y = self.intro(padded)  # (B, C, H', W')
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            skips.append(y)
            y = down(y)  # (B, 2C, H'/2, W'/2) a level
        logits = None if self.mlp_branch is None else self.mlp_branch(y)  # (B, N)
        y = self.middle_blks(y)  # (B, 16C, H'/16, W'/16)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            y = decoder(up(y) + skip)  # (B, C/2, 2H, 2W) a level
        y = self.ending(y) + padded  # (B, 3, H', W')
        return Classified(y[..., :height, :width], logits)
