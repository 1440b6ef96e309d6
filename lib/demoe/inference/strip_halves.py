"""The two halves of a folded block on strips: what comes before its channel attention, and what comes after.

Each by the fused block where it is compiled and given, else operation by operation. A strip belongs to whoever takes
it: the second half writes its result there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor

from .fold import FoldedBlock, gate, made
from .strip_operations import FusedWeights, Packed, Weights, add_convolution, conv3, convolution

Halves = Iterator[tuple[Tensor, Tensor]]  # of each strip: itself and its gated features, (1, C, rows, W) both


def first_half(strips: Iterator[Tensor], block: FoldedBlock, fused=None, alone: bool = False) -> Halves:
    """Norm, first convolution, depth-wise convolution, gate. A strip is given once the one below it is there.

    ``fused``: the compiled operations. ``alone``: each strip is a picture of its own; then nothing is fused.
    """
    return _fused_first_half(strips, block, fused) if fused else _first_half(strips, block, alone)


def _first_half(strips: Iterator[Tensor], block: FoldedBlock, alone: bool) -> Halves:
    waiting: deque[Tensor] = deque()
    weights = made(block, Weights)

    def widened() -> Iterator[Tensor]:
        for x in strips:
            waiting.append(x)
            yield convolution(weights.norm(x), weights.w1, block.b1)  # (1, 2C, rows, W)

    for y in conv3(widened(), weights.w2, block.b2, alone):
        yield waiting.popleft(), gate(y)


def _fused_first_half(strips: Iterator[Tensor], block: FoldedBlock, fused) -> Halves:
    weights = made(block, FusedWeights).first
    current, above = pixels(next(strips)), []
    for following in chain(strips, (None,)):
        below = [] if following is None else [pixels(following)]
        rows = torch.cat([*above, current, *(one[:, :1] for one in below)], dim=1)  # (1, rows and neighbours, W, C)
        gated, _ = fused.first(rows, *weights)  # its means are of the neighbours' rows, too
        start, count = len(above), current.shape[1]
        above = [current[:, -1:].clone()]  # what was given may be overwritten
        yield current.permute(0, 3, 1, 2), gated[:, start : start + count].permute(0, 3, 1, 2)
        current = below[0] if below else current


def second_half(
    pairs: Iterable[tuple[Tensor, Tensor]], block: FoldedBlock, scale: Tensor, fused=None
) -> Iterator[Tensor]:
    """The rest of a block, in the place of each strip of its input; the gated features are used up.

    ``scale``: the channel attention, (1, C, 1, 1). It goes into the third convolution's weight, or into the features
    where these are fewer.
    """
    if fused:
        weights = made(block, FusedWeights)
        scale = scale.flatten(1).to(weights.exact)  # (1, C)
        for x, gated in pairs:
            _, out = fused.second(pixels(x), pixels(gated), scale, *weights.second, True)
            yield out.permute(0, 3, 1, 2)
        return
    weights, third = made(block, Weights), None
    for x, gated in pairs:
        if x[0, 0].numel() < x.shape[1]:
            add_convolution(x, gated.mul_(scale), weights.w3, block.b3)
        else:
            third = third or Packed((block.w3 * scale.view(1, -1, 1, 1)).to(block.w3.dtype))
            add_convolution(x, gated, third, block.b3)  # (1, C, rows, W)
        y = gate(convolution(weights.norm(x), weights.w4, block.b4))
        yield add_convolution(x, y, weights.w5, block.b5)


def pixels(x: Tensor) -> Tensor:
    """(B, C, H, W), channels last -> (B, H, W, C), in the same memory."""
    return x.permute(0, 2, 3, 1).contiguous()
