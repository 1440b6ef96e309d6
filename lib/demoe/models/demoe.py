"""DeMoE: an encoder, a router that names the blur, and a decoder of experts (Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core.tasks import expert_index

from .layers import BlockList, NAFBlock, UNet, downsample, ending, intro, upsample
from .moe import MoEBlock, NoiseOn, Router, noisy_weights, top_k_weights


@dataclass(frozen=True)
class DeMoEConfig:
    """Sizes of a DeMoE. Block counts run from the full resolution down (encoder) and from the bottom up (decoder)."""

    width: int = 32  # channels at full resolution
    encoder_blocks: tuple[int, ...] = (2, 2, 2, 2)
    middle_blocks: int = 2
    decoder_blocks: tuple[int, ...] = (2, 2, 2, 2)
    num_experts: int = 5
    moe_per_level: int = 1  # MoEBlocks after the blocks of the middle and of each decoder level
    expert: str = "naf"  # naf | restormer | plk | wavelet | darkir (Table 7)
    fusion: str = "sum"  # sum | residual | attention (Table 5, left)


DEMOE_PRESETS = {
    "demoe": DeMoEConfig(),  # Table 1: 20.15 M, 11.05 G
    "width_64": DeMoEConfig(width=64),  # Table 5: 79.71 M, 42.77 G
    "more_middle": DeMoEConfig(middle_blocks=12),  # Table 5: 38.67 M, 15.11 G
    "more_moe": DeMoEConfig(moe_per_level=2),  # Table 5: 32.54 M, 13.18 G
    "residual": DeMoEConfig(fusion="residual"),
    "attention": DeMoEConfig(fusion="attention"),
    "restormer_experts": DeMoEConfig(expert="restormer"),  # Table 7
    "plk_experts": DeMoEConfig(expert="plk"),
    "wavelet_experts": DeMoEConfig(expert="wavelet"),
    "darkir_experts": DeMoEConfig(expert="darkir"),
}


class DeMoE(UNet):
    """(B, 3, H, W) in [0, 1] -> ``Restored``. Any H, W >= 1: zeros are padded and cropped inside.

    ``expert``: ``None`` lets the router choose; a name (an expert's or a dataset's, see ``tasks``) takes that expert
    for all images; a list of names, or ``None`` for the router, takes one an image. ``k``: how many experts mix
    at inference; ``None`` mixes all with the router's own softmax. In training mode the gating is always soft and ``k``
    is not used (Section 3.3).

    ``router_noise`` is the standard deviation of Gaussian noise on what gates in training mode, drawn anew for each
    image and expert (Figure 6 right; form and size are not stated in the paper): on the logits or, with ``noise_on``
    "weights", on the normalised weights (``moe.noisy_weights``). It is no part of the configuration: inference has
    none.
    """

    router_noise: float = 0.0
    noise_on: NoiseOn = "logits"

    def __init__(self, config: DeMoEConfig):
        super().__init__()
        if len(config.encoder_blocks) != len(config.decoder_blocks):
            raise ValueError(f"encoder and decoder need the same number of levels, got {config}")
        self.config = config
        self.intro = intro(config.width)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        self.experts = nn.ModuleList()  # the middle's MoEBlocks, then each decoder level's, bottom up
        channels = config.width
        for count in config.encoder_blocks:
            self.encoders.append(BlockList(*(NAFBlock(channels) for _ in range(count))))
            self.downs.append(downsample(channels))
            channels *= 2
        self.mlp_branch = Router(channels, config.num_experts)
        self.middle_blks = BlockList(*(NAFBlock(channels) for _ in range(config.middle_blocks)))
        self._add_experts(channels)
        for count in config.decoder_blocks:
            self.ups.append(upsample(channels))
            channels //= 2
            self.decoders.append(BlockList(*(NAFBlock(channels) for _ in range(count))))
            self._add_experts(channels)
        self.ending = ending(config.width)

    def _add_experts(self, channels: int) -> None:
        c = self.config
        for _ in range(c.moe_per_level):
            self.experts.append(MoEBlock(channels, c.num_experts, c.expert, c.fusion))

    @property
    def num_experts(self) -> int:
        """How many there are to choose from."""
        return self.config.num_experts

    def decode(self, y: Tensor, skips: list[Tensor], weights: Tensor) -> Tensor:
        """The residual image, (B, 3, H, W), from the encoder's features under given expert weights."""
        experts = iter(self.experts)
        y = self.middle_blks(y)
        for _ in range(self.config.moe_per_level):
            y = next(experts)(y, weights)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            y = decoder(up(y) + skip)  # (B, C/2, 2H, 2W) a level
            for _ in range(self.config.moe_per_level):
                y = next(experts)(y, weights)
        return self.ending(y)  # (B, 3, H, W)

    def gate(self, logits: Tensor, expert: str | Sequence[str | None] | None = None, k: int | None = 1) -> Tensor:
        """Expert weights (B, N), rows summing to one, from the router's logits and the caller's wishes.

        Raises ``ValueError`` for an unknown expert, a list of the wrong length, or a ``k`` outside 1..N.
        """
        if self.training and self.router_noise:
            return noisy_weights(logits.float(), self.router_noise * torch.randn_like(logits.float()), self.noise_on)
        soft = F.softmax(logits.float(), dim=1)
        if self.training:
            return soft
        weights = top_k_weights(soft, k)
        chosen = chosen_experts(expert, *weights.shape)
        if any(i >= 0 for i in chosen):
            index = torch.tensor(chosen, device=logits.device)
            one_hot = F.one_hot(index.clamp(min=0), weights.shape[1]).to(weights.dtype)
            weights = torch.where(index.unsqueeze(1) < 0, weights, one_hot)
        return weights


def chosen_experts(expert: str | Sequence[str | None] | None, images: int, experts: int) -> list[int]:
    """The number of the expert that each image shall take, -1 for the router's choice; ``expert`` is ``DeMoE``'s.

    Raises ``ValueError`` for an unknown expert, one beyond the ``experts`` there are, and a list of the wrong length.
    """
    names = [expert] * images if expert is None or isinstance(expert, str) else list(expert)
    if len(names) != images:
        raise ValueError(f"{len(names)} experts named for {images} images: give one name, or one an image")
    numbers = [-1 if name is None or name == "auto" else expert_index(name) for name in names]
    if max(numbers, default=-1) >= experts:
        raise ValueError(f"{expert!r} is not among the {experts} experts of this network")
    return numbers
