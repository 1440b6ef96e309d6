"""How fast could pure PyTorch be here? The calls to its library that a folded network cannot do without, and no others.

A block's are five convolutions with weights arranged beforehand, two norms, two gates, one sum over the pixels; a
level's the changes of resolution, with the sum that a skip is; then the first and the last convolution. They are made
as often as the picture has blocks, levels and strips, always on the same strip, so that caches serve as well as they
can. Left out are rows that strips share, the router, the channel attention, and the whole map's memory. Whoever is
faster has fused these calls into kernels, for which PyTorch needs a compiler on a CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from demoe.inference import strip_operations as operations
from demoe.inference.fold import FoldedBlock, folded, gate, made
from demoe.models.demoe import DeMoE

from .options import Case


def alone(model: DeMoE, case: Case, dtype: torch.dtype) -> Callable[[], None]:
    """A call without arguments that does this work for the pictures of ``case``, on a CPU, with one expert."""
    network = folded(model, None if dtype == torch.float32 else dtype)
    work: list[tuple[Callable[[], object], int]] = []
    depth = len(network.encoders)
    height, width = (side + -side % 2**depth for side in (case.height, case.width))

    def noise(channels: int, rows: int, columns: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(1, channels, rows, columns, dtype=dtype).contiguous(memory_format=torch.channels_last)

    for level, blocks in enumerate(_blocks(network)):
        shape = (1, network.config.width << level, height >> level, width >> level)
        whole = operations.Kept([torch.empty(shape, dtype=dtype, device="meta")], height >> level)
        strips = Counter(strip.shape for strip in whole.cut(whole.cached))  # the last may be smaller
        for (_, channels, rows, columns), times in strips.items():
            strip = noise(channels, rows, columns)
            calls = [partial(_block, block, strip, operations.Packed(block.w3)) for block in blocks]
            if level == 0:
                for conv, width_in in ((network.intro, 3), (network.ending, channels)):
                    x = noise(width_in, rows, columns, conv.weight.dtype)
                    calls.append(partial(operations.square, x, conv.weight, conv.bias))
            if level < depth:  # to the next level and back to this one
                down, up = network.downs[level], network.ups[depth - 1 - level][0]
                deep = noise(2 * channels, rows // 2, columns // 2)
                calls.append(partial(operations.convolution, strip, made(down, operations.packed), down.bias))
                calls.append(partial(operations.add_shuffled, strip, deep, made(up, operations.shuffled)))
            work += [(call, times * case.batch) for call in calls]

    @torch.no_grad()
    def run() -> None:
        for call, times in work:
            for _ in range(times):
                call()

    return run


def _block(block: FoldedBlock, strip: Tensor, third: operations.Packed) -> None:
    weights, total = made(block, operations.Weights), operations.Mean()
    y = operations.convolution(weights.norm(strip), weights.w1, block.b1)
    y = gate(operations.square(y, weights.w2, block.b2))
    total.add(y)
    operations.add_convolution(strip, y, third, block.b3)
    y = gate(operations.convolution(weights.norm(strip), weights.w4, block.b4))
    operations.add_convolution(strip, y, weights.w5, block.b5)


def _blocks(network: DeMoE) -> list[list[FoldedBlock]]:
    """The blocks that one picture meets, by level from the largest maps down."""
    levels = [list(encoder.modules_list) for encoder in network.encoders] + [[]]
    per_level = network.config.moe_per_level
    for number, blocks in enumerate([network.middle_blks, *network.decoders]):
        moes = network.experts[number * per_level : (number + 1) * per_level]
        levels[-1 - number] += [*blocks.modules_list, *(moe.experts[0] for moe in moes)]
    return levels
