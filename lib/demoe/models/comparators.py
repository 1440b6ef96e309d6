"""The networks the paper compares with (Table 1): for the cost table, and to be trained, slimmed, saved and loaded.

PromptIR and SFHFormer are written here. Restormer and FFTFormer come from spandrel's packages, an optional extra:
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
from .layers import PictureConv2d, pad_to_multiple, upsample
from .outputs import Restored

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
