"""NAFNet, the baseline f of the paper (Section 3.2), with or without the router that stage 1 trains beside it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .layers import NAFBlock, UNet, downsample, ending, intro, upsample
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


class NAFNet(UNet):
    """A U-Net of NAFBlocks that predicts the residual.

    (B, 3, H, W) in [0, 1], any H, W >= 1 -> ``Restored`` without weights, and without logits where there is no router.
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

    def gate(self, logits: Tensor | None, expert: object = None, k: int | None = 1) -> None:
        """No weights: there are no experts. Raises ``ValueError`` where one is asked for; ``k`` is not used."""
        if expert is not None:
            raise ValueError("NAFNet has no experts to choose from: leave the expert out")

    def decode(self, y: Tensor, skips: list[Tensor], weights: None = None) -> Tensor:
        """The residual image, (B, 3, H, W), from the encoder's features."""
        y = self.middle_blks(y)  # (B, 16C, H/16, W/16)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            y = decoder(up(y) + skip)  # (B, C/2, 2H, 2W) a level
        return self.ending(y)  # (B, 3, H, W)
