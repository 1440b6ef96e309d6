"""The networks the paper compares with (Table 1): for the cost table, and to be trained, slimmed, saved and loaded.

PromptIR is written here, SFHFormer beside it. Restormer and FFTFormer come from spandrel's packages, an optional extra:
``pip install -e '.[comparators]'``. All take (B, 3, H, W) in [0, 1], any H, W >= 1 -> ``Restored`` of the same shape.

At width 32, the paper's for NAFNet and DeMoE, each has its published size, that of a configuration's defaults. Narrower
profiles take a slim one: few blocks and few channels, chosen so that a training step costs about as much as one of
NAFNet or DeMoE there. A slim network says how the architecture does in a minute of training, nothing about the
published one: ``label`` says so.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .experts import RestormerBlock
from .layers import pad_to_multiple
from .outputs import Restored
from .sfhformer import SFHFormer, SFHFormerConfig

NOT_INSTALLED = "not installed: pip install -e '.[comparators]'"
PUBLISHED_FROM = 32  # a profile's width from which on the published sizes are taken


@dataclass(frozen=True)
class RestormerConfig:
    """Sizes of a Restormer (Zamir et al., CVPR 2022)."""

    width: int = 48  # channels at full resolution
    blocks: tuple[int, int, int, int] = (4, 6, 6, 8)  # a level, full resolution first; the decoder repeats the first 3
    refinement_blocks: int = 4
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)


@dataclass(frozen=True)
class PromptIRConfig(RestormerConfig):
    """Sizes of a PromptIR (Potlapalli et al., NeurIPS 2023). The defaults are the published ones: 35.59 M, 158.4 G."""

    feed_forward: float = 2.66
    prompt_channels: tuple[int, int, int] = (64, 128, 320)  # after decoder level 2, after level 3, after the latent
    prompt_sizes: tuple[int, int, int] = (64, 32, 16)  # height and width of the stored prompts
    prompt_length: int = 5  # components a prompt is mixed from
    prompt_heads: int = 4  # heads of the blocks that take the prompts in
    # The authors' code holds six 1x1 convolutions that nothing calls; the published parameters include them.
    unused_layers: bool = True


class PromptBlock(nn.Module):
    """A stored prompt, mixed by what the features say and resized to them: (B, C, H, W) -> (B, P, H, W)."""

    def __init__(self, channels: int, prompt_channels: int, size: int, length: int):
        super().__init__()
        self.components = nn.Parameter(torch.rand(length, prompt_channels, size, size))
        self.mix = nn.Linear(channels, length)
        self.conv = nn.Conv2d(prompt_channels, prompt_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = F.softmax(self.mix(x.mean(dim=(-2, -1))), dim=1)  # (B, L)
        prompt = torch.einsum("bl,lpij->bpij", weights, self.components)  # (B, P, size, size)
        return self.conv(F.interpolate(prompt, x.shape[-2:], mode="bilinear"))  # (B, P, H, W)


class PromptIR(nn.Module):
    """Restormer whose decoder is told the degradation by learnt prompts.

    Level 1 is the full resolution; each level below halves it and doubles the channels.
    """

    def __init__(self, config: PromptIRConfig):
        super().__init__()
        c = self.config = config
        widths = [c.width * 2**level for level in range(4)]
        one, two, three, four = widths
        self.intro = nn.Conv2d(3, one, 3, padding=1, bias=False)
        self.encoders = nn.ModuleList(self._blocks(w, c.heads[i], c.blocks[i]) for i, w in enumerate(widths))
        self.downs = nn.ModuleList(_halve(w) for w in widths[:3])

        self.prompts = nn.ModuleList(
            PromptBlock(w, p, size, c.prompt_length)
            for w, p, size in zip((two, three, four), c.prompt_channels, c.prompt_sizes, strict=True)
        )
        joined = [w + p for w, p in zip((two, three, four), c.prompt_channels, strict=True)]
        self.prompt_blocks = nn.ModuleList(self._blocks(w, c.prompt_heads, 1) for w in joined)
        targets = (two, three, three)  # the latent leaves its prompt with level 3's channels
        self.prompt_reduce = nn.ModuleList(_pointwise(w, t) for w, t in zip(joined, targets, strict=True))

        self.ups = nn.ModuleList(_double(w) for w in targets)
        # Level 1 keeps the concatenated channels; its decoder is twice as wide.
        half = three // 2
        self.merge = nn.ModuleList((nn.Identity(), _pointwise(half + two, two), _pointwise(half + three, three)))
        self.decoders = nn.ModuleList(self._blocks(w, c.heads[i], c.blocks[i]) for i, w in enumerate((two, two, three)))
        self.refinement = self._blocks(two, c.heads[0], c.refinement_blocks)
        self.ending = nn.Conv2d(two, 3, 3, padding=1, bias=False)
        if c.unused_layers:
            p1, p2, p3 = c.prompt_channels
            pairs = ((p1, p1), (p2, p2), (p3, 256), (one + p1, one), (two + p2, two), (three + 256, three))
            self.unused = nn.ModuleList(_pointwise(*pair) for pair in pairs)

    def _blocks(self, channels: int, heads: int, count: int) -> nn.Sequential:
        return nn.Sequential(*(RestormerBlock(channels, heads, self.config.feed_forward) for _ in range(count)))

    def forward(self, x: Tensor) -> Restored:
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, 8)  # (B, 3, H', W')
        y = self.intro(padded)  # (B, C, H', W')
        skips = []
        for level in range(3):
            y = self.encoders[level](y)
            skips.append(y)
            y = self.downs[level](y)  # (B, 2C, H/2, W/2) a level
        y = self.encoders[3](y)  # (B, 8C, H'/8, W'/8)
        for level in (2, 1, 0):
            y = torch.cat((y, self.prompts[level](y)), dim=1)
            y = self.prompt_reduce[level](self.prompt_blocks[level](y))
            y = torch.cat((self.ups[level](y), skips[level]), dim=1)  # twice the height and width
            y = self.decoders[level](self.merge[level](y))
        y = self.ending(self.refinement(y)) + padded  # (B, 3, H', W')
        return Restored(y[..., :height, :width])


def _pointwise(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def _halve(channels: int) -> nn.Module:
    """(B, C, H, W) -> (B, 2C, H/2, W/2)."""
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def _double(channels: int) -> nn.Module:
    """(B, C, H, W) -> (B, C/2, 2H, 2W)."""
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))


def spandrel_network(module: str, **sizes) -> nn.Module:
    """A network of spandrel's packages, (B, 3, H, W) -> the same: the class that ``module`` is named by, of ``sizes``.

    Raises ``ModuleNotFoundError``, which says how to install it, where the package is missing.
    """
    name = module.rpartition(".")[2]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, about how an architecture we do not use is written
            network = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ModuleNotFoundError(f"{name} is {NOT_INSTALLED}", name=module.partition(".")[0]) from error
    return network(**sizes)


@dataclass(frozen=True)
class FFTFormerConfig:
    """Sizes of an FFTFormer (Kong et al., CVPR 2023)."""

    width: int = 48  # channels at full resolution
    blocks: tuple[int, int, int] = (6, 6, 12)  # a level, full resolution first; the decoder repeats them
    refinement_blocks: int = 4


class _Spandrel(nn.Module):
    """A network of spandrel's, made fit for any H, W >= 1: zeros are padded and cropped.

    Raises ``ModuleNotFoundError`` where spandrel's package is missing.
    """

    module: str
    multiple: int  # of which its height and width must be

    def __init__(self, config: RestormerConfig | FFTFormerConfig):
        super().__init__()
        self.config = config
        sizes = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
        names = {"width": "dim", "blocks": "num_blocks", "refinement_blocks": "num_refinement_blocks"}  # there
        sizes = {names.get(key, key): value for key, value in sizes.items()}
        self.network = spandrel_network(self.module, **sizes)

    def forward(self, x: Tensor) -> Restored:
        height, width = x.shape[-2:]
        return Restored(self.network(pad_to_multiple(x, self.multiple))[..., :height, :width])  # (B, 3, H, W)


class Restormer(_Spandrel):
    """spandrel's Restormer."""

    module, multiple = "spandrel_extra_arches.architectures.Restormer", 8


class FFTFormer(_Spandrel):
    """spandrel's FFTFormer."""

    module, multiple = "spandrel.architectures.FFTformer", 32

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
    last = model.network.output if isinstance(model, _Spandrel) else model.ending
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return model


def label(config: Config) -> str:
    """What a table calls the network: "Restormer", or "Restormer (width 8, 1+1+1+1 blocks)" for another size."""
    name = next(name for name, (_, kind) in NETWORKS.items() if isinstance(config, kind))
    if config == NETWORKS[name][1]():
        return name
    return f"{name} (width {config.width}, {'+'.join(map(str, config.blocks))} blocks)"
