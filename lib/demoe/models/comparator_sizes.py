"""The compared networks (Table 1) with a configuration, so that they can be trained, slimmed, saved and loaded.

At width 32, the paper's for NAFNet and DeMoE, each has its published size. Narrower profiles take a slim one: few
blocks and few channels, chosen so that a training step costs about as much as one of NAFNet or DeMoE there. A slim
network says how the architecture does in a minute of training, nothing about the published one: ``label`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .comparators import PromptIR, PromptIRConfig, SFHFormer, SFHFormerConfig, spandrel_network
from .layers import pad_to_multiple
from .outputs import Restored

PUBLISHED_FROM = 32  # a profile's width from which on the published sizes are taken


@dataclass(frozen=True)
class RestormerConfig:
    """Sizes of a Restormer (Zamir et al., CVPR 2022). The defaults are the published ones."""

    width: int = 48  # channels at full resolution
    blocks: tuple[int, int, int, int] = (4, 6, 6, 8)  # a level, full resolution first; the decoder repeats the first 3
    refinement_blocks: int = 4
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)


@dataclass(frozen=True)
class FFTFormerConfig:
    """Sizes of an FFTFormer (Kong et al., CVPR 2023). The defaults are the published ones."""

    width: int = 48  # channels at full resolution
    blocks: tuple[int, int, int] = (6, 6, 12)  # a level, full resolution first; the decoder repeats them
    refinement_blocks: int = 4


class _Padded(nn.Module):
    """A network for multiples of some size, made fit for any H, W >= 1: zeros are padded and cropped."""

    multiple: int

    def forward(self, x: Tensor) -> Restored:
        height, width = x.shape[-2:]
        return Restored(self.network(pad_to_multiple(x, self.multiple))[..., :height, :width])  # (B, 3, H, W)


class Restormer(_Padded):
    """spandrel's Restormer: (B, 3, H, W) in [0, 1] -> ``Restored``. Raises ``ModuleNotFoundError`` without it."""

    multiple = 8

    def __init__(self, config: RestormerConfig | None = None):
        super().__init__()
        c = self.config = config or RestormerConfig()
        sizes = {"num_blocks": list(c.blocks), "num_refinement_blocks": c.refinement_blocks, "heads": list(c.heads)}
        self.network = spandrel_network(
            "spandrel_extra_arches.architectures.Restormer", "Restormer", dim=c.width, **sizes
        )


class FFTFormer(_Padded):
    """spandrel's FFTFormer: (B, 3, H, W) in [0, 1] -> ``Restored``. Raises ``ModuleNotFoundError`` without it."""

    multiple = 32

    def __init__(self, config: FFTFormerConfig | None = None):
        super().__init__()
        c = self.config = config or FFTFormerConfig()
        sizes = {"num_blocks": list(c.blocks), "num_refinement_blocks": c.refinement_blocks}
        self.network = spandrel_network("spandrel.architectures.FFTformer", "FFTformer", dim=c.width, **sizes)

    def to(self, *args, memory_format=None, **kwargs) -> FFTFormer:
        """As every module's, but for the memory format: some of its parameters have five dimensions, not four."""
        return super().to(*args, **kwargs)

    def forward(self, x: Tensor) -> Restored:
        return super().forward(x.contiguous())  # without channels last, which only costs time here


Config = PromptIRConfig | RestormerConfig | FFTFormerConfig | SFHFormerConfig
NETWORKS: dict[str, tuple[type[nn.Module], type]] = {  # in the order of Table 1
    "PromptIR": (PromptIR, PromptIRConfig),
    "Restormer": (Restormer, RestormerConfig),
    "FFTFormer": (FFTFormer, FFTFormerConfig),
    "SFHFormer": (SFHFormer, SFHFormerConfig),
}


def at_width(name: str, width: int) -> Config:
    """The size of the network called ``name`` for a profile whose NAFNet has ``width`` channels (a multiple of 4).

    Raises ``ValueError`` for an unknown name.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}")
    if width >= PUBLISHED_FROM:
        return NETWORKS[name][1]()
    slim: dict[str, Config] = {
        # Prompts keep a third of the published share of the channels, else they would cost more than the network.
        "PromptIR": PromptIRConfig(width, (1, 1, 1, 1), 1, prompt_channels=(4, 8, 16), prompt_sizes=(16, 8, 4)),
        "Restormer": RestormerConfig(width, (1, 1, 1, 1), 1),
        "FFTFormer": FFTFormerConfig(width // 2, (1, 1, 1), 1),  # twice the cost of the others at equal width
        "SFHFormer": SFHFormerConfig(width, (1, 1, 2, 1, 1)),
    }
    return slim[name]


def untrained(config: Config) -> nn.Module:
    """The network with random weights (torch's random numbers), its last convolution at zero: it returns its input.

    NAFNet and DeMoE start as the identity here too (a choice of ours): a short training would otherwise compare how
    long each network needs to unlearn its noise. The published codes leave the last convolution random. Raises
    ``ModuleNotFoundError`` where an optional package is missing.
    """
    model = next(network for network, kind in NETWORKS.values() if isinstance(config, kind))(config)
    last = model.network.output if isinstance(model, _Padded) else model.ending
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return model


def label(config: Config) -> str:
    """What a table calls the network: "Restormer", or "Restormer (width 8, 1+1+1+1 blocks)" for another size."""
    name = next(name for name, (_, kind) in NETWORKS.items() if isinstance(config, kind))
    if config == NETWORKS[name][1]():
        return name
    return f"{name} (width {config.width}, {'+'.join(map(str, config.blocks))} blocks)"
