"""TLC, the test-time local converter: channel attention from a window around each pixel instead of the whole picture.

Source: Chu et al., "Improving image restoration by revisiting global information aggregation", ECCV 2022; applied to
NAFNet and DeMoE in Table 6. A network is trained on crops and tested on whole pictures, whose averages are taken over
another area than in training. TLC averages over a window of 1.5 times the training crop, scaled down at each level of
the U-Net, so that they are alike again. No weight changes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core.paper import DEMOE, DEMOE_EXPERTS, DEMOE_PARTIAL, DEMOE_TLC, NAFNET, NAFNET_TLC
from demoe.core.tasks import expert_index

from .demoe import DeMoE
from .nafnet import NAFNet

FACTOR = 1.5  # window over training crop: that of NAFNet's release (384 for 256); not stated in the paper
CHUNK = 1 << 21  # values of a map summed at once: more falls out of the processor's cache, and costs memory
PARTIAL = ("RealBlur", "DPDD", "GoPro")  # whose experts gain by TLC in the paper; ReLoBlur's and LOLBlur's lose
Network = TypeVar("Network", NAFNet, DeMoE)


def local(
    model: Network,
    patch: int,
    experts: Sequence[str] | None = None,
    *,
    shared: bool = False,
    encoder_patch: int | None = None,
    factor: float = FACTOR,
) -> Network:
    """A copy of ``model`` with local statistics in its blocks' channel attention (SCA); ``model`` stays as it is.

    ``patch``: side in pixels of the crops that the network was trained on; ``encoder_patch`` that of the encoder's,
    where it learnt in another stage. The window is ``factor`` times that side, rounded up to a multiple of 2^levels as
    pictures are, and half of it at each level down. A picture no larger than the window gives exactly the plain
    network's result; of a longer one, a side within the window is averaged over its whole length.

    ``experts``: None converts all blocks; names (of experts or of their datasets) only these experts' blocks, and with
    ``shared`` also those outside the experts. The router always averages over the whole picture: it makes one decision
    a picture, and averages around each pixel would make one a pixel (Table 6: TLC is applied "to NAFNet blocks"). With
    a converted encoder it reads other features, though, and may decide otherwise. Blocks without SCA stay as they are
    (Restormer's and PLK's experts).

    State-dict names are unchanged, so a saved copy is loaded as the plain network. Raises ``ValueError`` for another
    network, a window under one pixel, an unknown expert, and where there is nothing to convert.
    """
    if not isinstance(model, (NAFNet, DeMoE)):
        raise ValueError(f"{type(model).__name__} has no channel attention that TLC knows: only NAFNet and DeMoE have")
    if experts is not None and not isinstance(model, DeMoE):
        raise ValueError(f"{type(model).__name__} has no experts to choose from: leave the experts out")
    if isinstance(experts, str):
        raise ValueError(f"experts are a list of names, such as [{experts!r}]")
    named = None if experts is None else {expert_index(name) for name in experts}
    sides = {"encoders": window(model, patch if encoder_patch is None else encoder_patch, factor)}
    other = window(model, patch, factor)
    model, found = copy.deepcopy(model), 0
    for name, level, block in _blocks(model):
        part, *rest = name.split(".")
        if named is not None and not (int(rest[-1]) in named if part == "experts" else shared):
            continue
        if hasattr(block, "sca"):
            block.sca = LocalAttention(sides.get(part, other) >> level, block.sca.get_submodule("1"))
            found += 1
    if not found:
        raise ValueError("TLC finds no channel attention to convert: the experts named have none, or none is named")
    return model


def table_6(nafnet: NAFNet, demoe: DeMoE, patch: int, decoder_patch: int) -> dict[str, NAFNet | DeMoE]:
    """The rows of Table 6 by name: ``nafnet`` and ``demoe`` as they are and converted.

    Each layer's window follows the crops on which it learnt last: ``patch`` pixels in stage 1 (all of ``nafnet``, the
    encoder of ``demoe``), ``decoder_patch`` in stage 2 (middle, decoder and experts). Both are 384 in the paper.

    "Partial" is not defined further than as TLC "only to experts where it yielded significant gains". The published
    row has exactly the full row's numbers on RealBlur, DPDD and GoPro, and almost its losses on the other two sets,
    which only happens if the blocks outside the experts are converted as well: our reading. ``DEMOE_EXPERTS``, with
    all of these global, is the other.
    """
    patches = {"patch": decoder_patch, "encoder_patch": patch}
    return {
        NAFNET: nafnet,
        NAFNET_TLC: local(nafnet, patch),
        DEMOE: demoe,
        DEMOE_TLC: local(demoe, **patches),
        DEMOE_PARTIAL: local(demoe, experts=PARTIAL, shared=True, **patches),
        DEMOE_EXPERTS: local(demoe, experts=PARTIAL, **patches),
    }


def window(model: NAFNet | DeMoE, patch: int, factor: float = FACTOR) -> int:
    """Side in pixels of the window at full resolution, for training crops of ``patch`` pixels.

    Raises ``ValueError`` if it is under one pixel.
    """
    side, unit = factor * patch, 2 ** len(model.encoders)
    if not 1 <= side < float("inf"):
        raise ValueError(f"a window needs at least one pixel a side, got {factor} times {patch}")
    return -int(-side // unit) * unit


def windows(model: nn.Module) -> dict[str, int]:
    """The window's side, in pixels of its map, of every block that is converted, by the block's name."""
    return {
        name.removesuffix(".sca"): part.window
        for name, part in model.named_modules()
        if isinstance(part, LocalAttention)
    }


def _blocks(model: NAFNet | DeMoE) -> Iterator[tuple[str, int, nn.Module]]:
    """Every block with its name and its level: 0 at full resolution, one more at each halving."""
    levels = len(model.encoders)
    places = [(f"encoders.{i}", blocks, i) for i, blocks in enumerate(model.encoders)]
    places += [(f"decoders.{i}", blocks, levels - 1 - i) for i, blocks in enumerate(model.decoders)]
    places.append(("middle_blks.0", model.middle_blks, levels))
    if isinstance(model, DeMoE):
        each = model.config.moe_per_level
        places += [(f"experts.{i}", mixed.experts, levels - i // each) for i, mixed in enumerate(model.experts)]
    for name, blocks, level in places:
        for j, block in enumerate(blocks):
            yield f"{name}.{j}", level, block


class LocalAttention(nn.Module):
    """In place of a block's SCA: (B, C, H, W) -> the factors for each pixel, (B, C, H, W).

    They are (B, C, 1, 1), exactly those of SCA, where the map is no larger than the window. As in TLC, the window is
    shifted inwards where it would leave the map: near a border the factors are those of the last full window. With an
    even side it reaches one pixel farther to the right and below. Zeros that pad a picture count, as they do in SCA.
    """

    def __init__(self, window: int, convolution: nn.Conv2d):
        super().__init__()
        self.window = window
        self.add_module("1", convolution)  # the name that it has in SCA, behind the average

    def forward(self, x: Tensor) -> Tensor:
        convolution = self.get_submodule("1")
        height, width = (min(self.window, side) for side in x.shape[-2:])
        if (height, width) == tuple(x.shape[-2:]):
            return convolution(F.adaptive_avg_pool2d(x, 1))
        y = convolution(means(x, height, width))  # (B, C, H - h + 1, W - w + 1): before it is repeated
        up, left = (height - 1) // 2, (width - 1) // 2
        return F.pad(y, (left, width - 1 - left, up, height - 1 - up), mode="replicate")

    def __getitem__(self, index: int) -> nn.Module:
        """Refused: who takes SCA apart, as strips and tiles do, gathers averages over the whole picture."""
        raise ValueError(
            "a network with local statistics (TLC) cannot run in strips or tiles, which need one average a picture: "
            "use demoe.inference.restore.restore, or the plain network"
        )


def means(x: Tensor, height: int, width: int) -> Tensor:
    """Means over all windows of ``height`` x ``width`` inside a map: (B, C, H, W) -> (B, C, H - h + 1, W - w + 1).

    Sums of two, four, eight ... neighbours are built from each other, so the cost grows with the logarithm of the
    window. An integral image costs more and is worse: differences of its large sums lose digits. Half precision is
    summed in float32.
    """
    step = max(1, CHUNK // (x.shape[0] * x.shape[2] * x.shape[3]))
    parts = []
    for part in x.split(step, dim=1):
        total = _sums(_sums(part if part.dtype == torch.float64 else part.float(), width, 3), height, 2)
        parts.append((total / (height * width)).to(x.dtype))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _sums(x: Tensor, count: int, dim: int) -> Tensor:
    """Sums of ``count`` neighbours along ``dim``, which becomes shorter by ``count - 1``."""
    length = x.shape[dim] - count + 1
    doubled, span, at, total = x, 1, 0, None  # doubled: the sums of ``span`` neighbours
    while True:
        if count & span:  # the window is made of pieces, one for each binary digit of its length
            piece = doubled.narrow(dim, at, length)
            total = piece if total is None else total + piece
            at += span
        if 2 * span > count:
            return total
        rest = doubled.shape[dim] - span
        doubled = doubled.narrow(dim, 0, rest) + doubled.narrow(dim, span, rest)
        span *= 2
