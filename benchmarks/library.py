"""How fast could pure PyTorch be here? The calls to its library that a folded network cannot do without, and no others.

A block's are five convolutions with weights arranged beforehand, two norms, two gates, one sum over the pixels; a
level's the changes of resolution, with the sum that a skip is; then the first and the last convolution. They are made
as often as the picture has blocks, levels and strips, always on the same strip, so that caches serve as well as they
can. Left out are rows that strips share, the router, the channel attention, and the whole map's memory. Whoever is
faster has fused these calls into kernels, for which PyTorch needs a compiler on a CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from demoe.inference.fold import FoldedBlock, folded, gate, made
from demoe.inference.strip_operations import (
    Kept,
    Mean,
    Packed,
    Weights,
    add_convolution,
    add_shuffled,
    convolution,
    packed,
    shuffled,
    square,
)
from demoe.models.demoe import DeMoE

from .options import Case


def alone(model: DeMoE, case: Case, dtype: torch.dtype) -> Callable[[], None]:
    """A call without arguments that does this work for the pictures of ``case``, on a CPU, with one expert."""
    network = folded(model, None if dtype == torch.float32 else dtype)
    work: list[tuple[Callable[[], object], int]] = []
    unit = 2 ** len(network.encoders)
    height, width = (side + -side % unit for side in (case.height, case.width))
    for level, blocks in enumerate(_blocks(network)):
        shape = (1, network.config.width << level, height >> level, width >> level)
        whole = Kept([torch.empty(shape, dtype=dtype, device="meta")], height >> level)
        strips = Counter(strip.shape for strip in whole.cut(whole.cached))  # the last may be smaller
        for form, times in strips.items():
            strip = _noise(form, dtype)
            calls = [partial(_block, block, strip, Packed(block.w3)) for block in blocks]
            calls += _ends(network, form) if level == 0 else ()
            calls += _joints(network, level, strip) if level < len(network.encoders) else ()
            work += [(call, times * case.batch) for call in calls]

    @torch.no_grad()
    def run() -> None:
        for call, times in work:
            for _ in range(times):
                call()

    return run


def _block(block: FoldedBlock, strip: Tensor, third: Packed) -> None:
    weights, total = made(block, Weights), Mean()
    y = gate(square(convolution(weights.norm(strip), weights.w1, block.b1), weights.w2, block.b2))
    total.add(y)
    add_convolution(strip, y, third, block.b3)
    y = gate(convolution(weights.norm(strip), weights.w4, block.b4))
    add_convolution(strip, y, weights.w5, block.b5)


def _joints(network: DeMoE, level: int, strip: Tensor) -> Iterator[Callable[[], object]]:
    """To the next level and back to this one."""
    down, up = network.downs[level], network.ups[len(network.ups) - 1 - level][0]
    deep = _noise((1, 2 * strip.shape[1], strip.shape[2] // 2, strip.shape[3] // 2), strip.dtype)
    yield partial(convolution, strip, made(down, packed), down.bias)
    yield partial(add_shuffled, strip, deep, made(up, shuffled))


def _ends(network: DeMoE, form: tuple[int, ...]) -> Iterator[Callable[[], object]]:
    """The first convolution and the last, for a strip of the first level."""
    for conv, channels in ((network.intro, 3), (network.ending, form[1])):
        yield partial(square, _noise((1, channels, *form[2:]), conv.weight.dtype), conv.weight, conv.bias)


def _noise(form: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn(form, dtype=dtype).contiguous(memory_format=torch.channels_last)


def _blocks(network: DeMoE) -> list[list[FoldedBlock]]:
    """The blocks that one picture meets, by level from the largest maps down."""
    levels = [list(encoder.modules_list) for encoder in network.encoders] + [[]]
    places = [network.middle_blks, *network.decoders]
    per_level = network.config.moe_per_level
    for number, place in enumerate(places):
        moes = network.experts[number * per_level : (number + 1) * per_level]
        levels[len(places) - 1 - number] += [*place.modules_list, *(moe.experts[0] for moe in moes)]
    return levels
