"""How fast could pure PyTorch be here? The calls to its library that a folded block cannot do without, and no others.

Five convolutions with weights arranged beforehand, two norms, two gates, one sum over the pixels, as often as the
picture has blocks and strips, always on the same strip. Left out are seams between strips, skips, changes of
resolution, the first and last convolution, and the whole map's memory. Whoever is faster has fused these calls into
kernels, for which PyTorch needs a compiler on a CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from demoe.fast.cpu import Kept
from demoe.fast.fold import FoldedBlock, folded, gate
from demoe.fast.operations import Mean, Norm, Packed, Weights, add_convolution, conv3, convolution
from demoe.model.demoe import DeMoE

from .options import Case


def alone(model: DeMoE, case: Case, dtype: torch.dtype) -> Callable[[], None]:
    """A call without arguments that does this work for the pictures of ``case``, on a CPU, with one expert."""
    network = folded(model, None if dtype == torch.float32 else dtype)
    work: list[tuple[FoldedBlock, Tensor, Packed, int]] = []
    unit = 2 ** len(network.encoders)
    height, width = (side + -side % unit for side in (case.height, case.width))
    for level, blocks in enumerate(_blocks(network)):
        shape = (1, network.config.width << level, height >> level, width >> level)
        whole = Kept([torch.empty(shape, dtype=dtype, device="meta")], height >> level)
        strips = Counter(strip.shape for strip in whole.cut(whole.cached))  # the last may be smaller
        for form, times in strips.items():
            strip = torch.randn(form, dtype=dtype).contiguous(memory_format=torch.channels_last)
            work += [(block, strip, Packed(block.w3), times * case.batch) for block in blocks]

    @torch.no_grad()
    def run() -> None:
        for block, strip, third, times in work:
            norm, weights, total = Norm(block), Weights.of(block), Mean()
            for _ in range(times):
                y = convolution(norm(strip), weights.w1, block.b1)
                (y,) = conv3(iter((y,)), weights.w2, block.b2)
                y = gate(y)
                total.add(y)
                add_convolution(strip, y, third, block.b3)
                y = gate(convolution(norm(strip), weights.w4, block.b4))
                add_convolution(strip, y, weights.w5, block.b5)

    return run


def _blocks(network: DeMoE) -> list[list[FoldedBlock]]:
    """The blocks that one picture meets, by level from the largest maps down."""
    levels = [list(encoder.modules_list) for encoder in network.encoders] + [[]]
    places = [network.middle_blks, *network.decoders]
    per_level = network.config.moe_per_level
    for number, place in enumerate(places):
        moes = network.experts[number * per_level : (number + 1) * per_level]
        levels[len(places) - 1 - number] += [*place.modules_list, *(moe.experts[0] for moe in moes)]
    return levels
