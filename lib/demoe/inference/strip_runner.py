"""One picture, strip by strip, on its way through a folded network: what ``strips`` is built on.

A map that is kept in memory is worked on in strips that fit the processor's cache, in two passes a block: norm, first
convolution, depth-wise convolution, gate and the sums for the channel attention; then all the rest, in place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, tee

import torch
from torch import Tensor, nn

from demoe.models import fused_block
from demoe.models.demoe import DeMoE
from demoe.models.moe import MoEBlock, Router, fused
from demoe.models.nafnet import NAFNet

from . import allocator
from .fold import FoldedBlock, gate, made
from .strip_halves import Halves, first_half, pixels, second_half
from .strip_operations import (
    FusedWeights,
    Kept,
    Mean,
    Source,
    Weights,
    conv3,
    convolution,
    empty,
    lowered,
    raised,
    square,
)

TALL = 64  # rows of a kept map's strips for the fused block, which takes two of their neighbours' besides; our choice
LARGE = 32 << 20  # bytes of a map for which holes that others have left in the allocator's memory are worth giving back
ROOMS = 256 << 20  # bytes of gated maps, one an expert, that a mixture keeps, else it computes them twice; our choice


class Run:
    """One picture on its way through a folded network.

    ``expert``: a name, a function that makes the experts' weights (1, N) of the router's logits (1, N), or None for the
    router's own ``k`` best.
    """

    def __init__(
        self, model, expert, k, recompute, scales, progress=None, margin=0, alone=False, height=0, rows=0, fused=True
    ):
        self.model, self.expert, self.k, self.recompute = model, expert, k, recompute
        self.scales, self.progress = scales, progress
        self.margin = margin  # pixels of the full resolution that averages leave out at each side of a strip
        self.alone = alone  # each strip is a picture of its own, not the continuation of the one before
        self.height, self.rows = height, rows  # of the padded picture and of its strips
        self.dtype = working_type(model)
        cpu = model.intro.weight.device.type == "cpu" and fused_block.computes(self.dtype)
        self.fused = fused_block.operations() if fused and cpu and not alone and not margin else None
        self.rooms: list[Kept] = []
        self.logits = self.weights = None
        self.shares: list[float] = []

    def network(self, picture: Source) -> Iterator[Tensor]:
        """The residual's strips, (1, 3, rows, W), of a picture's."""
        model = self.model
        experts = iter(getattr(model, "experts", ()))
        moes = model.config.moe_per_level if model.num_experts else 0
        y, skips = self.encode(picture)
        if model.num_experts:
            self.weights = self._gate()
            self.shares = self.weights[0].tolist()  # once: a GPU's host waits for it
        y = self._blocks(y, model.middle_blks)
        for _ in range(moes):
            y = self._moe(y, next(experts))
        for level, (decoder, up) in reversed(
            list(enumerate(zip(reversed(model.decoders), reversed(model.ups), strict=True)))
        ):
            skip, lazy, self.rooms = skips.pop(), level < self.recompute - 1, []
            if isinstance(skip, Kept) and max(one.nbytes for one in skip.maps) >= LARGE:
                allocator.give_back()  # the next room may not fit into the one that the encoder had
            y = raised(y, skip, up[0])
            y = y if lazy or isinstance(y, Kept) else self._keep(y())
            y = self._blocks(y, decoder)
            for _ in range(moes):
                y = self._moe(y, next(experts))
            if level > 0 and not isinstance(y, Kept):
                y = self._keep(y())
        self.rooms = []
        ending = model.ending
        return conv3((strip.to(ending.weight.dtype) for strip in y()), ending.weight, ending.bias, self.alone)

    def encode(self, picture: Source) -> tuple[Source, list[Source]]:
        """The encoder's last map and the skips from the top down; the router has then been asked."""
        model = self.model
        y: Source = lambda: (  # noqa: E731
            strip.to(self.dtype) for strip in conv3(picture(), model.intro.weight, model.intro.bias, self.alone)
        )
        skips: list[Source] = []
        for level, (encoder, down) in enumerate(zip(model.encoders, model.downs, strict=True)):
            lazy = level < self.recompute - 1
            again = self._again(y, encoder) if self.recompute == 1 and level == 0 else None
            y = y if lazy else self._keep(y())  # before the blocks begin, what it is made of can then be freed
            y = self._blocks(y, encoder)  # (1, C, H, W)
            skips.append(again or y)
            self.rooms = []  # before the next level takes memory
            y = lowered(y, down)
        y = self._keep(y())
        router = model.mlp_branch
        if router is not None:
            self.logits = self._route(y, router)
        return y, skips

    def _gate(self) -> Tensor:
        if self.expert is None or isinstance(self.expert, str):
            return self.model.gate(self.logits, self.expert, self.k)  # (1, N)
        return self.expert(self.logits)

    def _route(self, y: Kept, router: Router) -> Tensor:
        total, dtype = Mean(), router.attention[0].weight.dtype
        for strip in y.cut(y.cached):
            z = router.conv_bottleneck(strip.to(dtype))
            total.add(self._inside(z * router.attention(z), strip.shape[1]))  # (1, 256, rows, W)
        return router.classifier[1:](total.value().to(dtype))  # (1, N)

    def _keep(self, strips: Iterator[Tensor]) -> Kept:
        """A new map of these strips."""
        if self.alone:
            return Kept(list(strips), None)
        first = next(strips)
        part = first.shape[1] // self.model.config.width  # of the full resolution, a side
        if first.shape[2] == self.height // part:
            return Kept([first], self.rows // part)
        kept = Kept([empty(first, self.height // part)], self.rows // part)
        return kept.replace(chain((first,), strips), first.shape[2])

    def _blocks(self, y: Source, blocks: Iterable[nn.Module]) -> Source:
        """Blocks in sequence: in the place of a map that is kept; another is computed anew for each pass."""
        for block in blocks:
            y = self._block(y, block)
        return y

    def _again(self, y: Source, blocks: Iterable[FoldedBlock]) -> Source:
        """The strips of ``y`` behind blocks whose channel attention is known when they are asked for."""
        for block in blocks:
            y = lambda y=y, block=block: second_half(  # noqa: E731
                self._first_half(y(), block), block, self.scales[block], self.fused
            )
        return y

    def _first_half(self, strips: Iterator[Tensor], block: FoldedBlock) -> Halves:
        return first_half(strips, block, self.fused, self.alone)

    def _block(self, y: Source, block: nn.Module) -> Source:
        """One block: in the place of its input where that is kept."""
        if not isinstance(block, FoldedBlock):
            return self._whole(y, block)
        if not isinstance(y, Kept):
            self._measure(y, [block])
            result = self._again(y, [block])
        elif self.recompute == 1 and y.maps[0].shape[1] == self.model.config.width:
            self._twice(y, block)
            result = y
        else:
            # The first pass's result is kept for the second: one more map, a third less to compute.
            result, gates = y, self._first_pass(y, block)
            if self._fusable(y):
                pairs, operations = zip(y.maps, self.rooms[0].maps, strict=True), self.fused
            else:
                pairs, operations = zip(y.cut(y.cached), gates, strict=True), None
            deque(second_half(pairs, block, self.scales[block], operations), maxlen=0)
        self._tick()
        return result

    def _first_pass(self, y: Kept, block: FoldedBlock, number: int = 0) -> list[Tensor]:
        """The gated features of a map's strips, in room ``number``; the channel attention is known then."""
        if self.rooms and [one.shape for one in self.rooms[0].maps] != [one.shape for one in y.maps]:
            self.rooms = []  # freed before new ones are taken
        if len(self.rooms) == number:
            self.rooms.append(Kept([empty(one, one.shape[2]) for one in y.maps], y.rows))
        places = self.rooms[number].cut(y.cached)
        if self._fusable(y):
            _, mean = self.fused.first(
                pixels(y.maps[0]), *made(block, FusedWeights).first, pixels(self.rooms[number].maps[0])
            )
            if block not in self.scales:
                self.scales[block] = block.attention(mean[..., None, None])
            return places
        weights, total, known = made(block, Weights), Mean(), block in self.scales
        for (x, above, below), place in zip(y.around(y.cached), places, strict=True):
            wide = convolution(weights.norm(x), weights.w1, block.b1)  # (1, 2C, rows + above + below, W)
            inner = above and below
            wide = square(wide, weights.w2, block.b2, beyond=0 if inner else 1)
            gate(wide if inner else wide[:, :, above : wide.shape[2] - below], out=place)  # (1, C, rows, W)
            if not known:
                total.add(self._inside(place, x.shape[1]))
        if not known:
            self.scales[block] = block.attention(total.value())
        return places

    def _twice(self, y: Kept, block: FoldedBlock) -> None:
        """A block in the place of its input, in little more memory: both passes compute the gated features."""
        fused = self.fused if self._fusable(y) else None
        rows = TALL if fused else y.cached
        self._measure(lambda: iter(y.cut(rows)), [block])
        pairs = first_half(iter(y.cut(rows)), block, fused, self.alone)
        deque(second_half(pairs, block, self.scales[block], fused), maxlen=0)

    def _fusable(self, y: Kept) -> bool:
        return self.fused is not None and len(y.maps) == 1 and y.maps[0].permute(0, 2, 3, 1).is_contiguous()

    def _moe(self, y: Source, moe: MoEBlock) -> Source:
        shares = [(share, expert) for share, expert in zip(self.shares, moe.experts, strict=True) if share]
        experts = [expert for _, expert in shares]
        if not all(isinstance(expert, FoldedBlock) for expert in experts):
            return self._whole(y, lambda x: moe(x, self.weights))
        if moe.fusion == "sum" and [share for share, _ in shares] == [1]:
            return self._block(y, experts[0])
        strips = (lambda: iter(y.cut(y.cached))) if isinstance(y, Kept) else y
        gates = None
        if isinstance(y, Kept) and len(experts) * sum(one.nbytes for one in y.maps) <= ROOMS:
            gates = [self._first_pass(y, expert, number) for number, expert in enumerate(experts)]
        else:
            self._measure(strips, experts)

        def mixed() -> Iterator[Tensor]:
            own, *streams = tee(strips(), 1 + len(experts))
            if gates is None:
                firsts = [self._first_half(stream, expert) for stream, expert in zip(streams, experts, strict=True)]
            else:
                firsts = [zip(stream, known, strict=True) for stream, known in zip(streams, gates, strict=True)]
            halves = [((x.clone(), gated) for x, gated in first) for first in firsts]
            outs = [
                second_half(half, expert, self.scales[expert], self.fused)
                for half, expert in zip(halves, experts, strict=True)
            ]
            for x, *parts in zip(own, *outs, strict=True):
                mix = sum(share * part for (share, _), part in zip(shares, parts, strict=True))  # (1, C, rows, W)
                yield fused(moe.fusion, x, mix)

        self._tick()
        return y.replace(mixed(), y.cached) if isinstance(y, Kept) else mixed

    def _whole(self, y: Source, block: Callable[[Tensor], Tensor]) -> Kept:
        """A block that cannot work in strips, on the whole map; on each map where several are kept."""
        y = y if isinstance(y, Kept) else self._keep(y())
        y.replace((block(one) for one in y.maps), None)
        self._tick()
        return y

    def _measure(self, y: Source, blocks: Sequence[FoldedBlock]) -> None:
        """The channel attention of blocks that all read the map ``y``, unless it is known."""
        blocks = [block for block in blocks if block not in self.scales]
        if not blocks:
            return
        totals = [Mean() for _ in blocks]
        halves = [self._first_half(stream, block) for stream, block in zip(tee(y(), len(blocks)), blocks, strict=True)]
        for parts in zip(*halves, strict=True):
            for total, (x, gated) in zip(totals, parts, strict=True):
                total.add(self._inside(gated, x.shape[1]))
        for block, total in zip(blocks, totals, strict=True):
            self.scales[block] = block.attention(total.value())

    def _inside(self, x: Tensor, channels: int) -> Tensor:
        """Without the margin, whose size in pixels shrinks as the number of channels of the level grows."""
        edge = self.margin * self.model.config.width // channels
        return x[:, :, edge : x.shape[2] - edge, edge : x.shape[3] - edge]

    def _tick(self) -> None:
        if self.progress is not None:
            self.progress()


def working_type(model: NAFNet | DeMoE) -> torch.dtype:
    """The type of the maps: that of all but the router and the two convolutions that read and write the picture."""
    blocks = (block.w1.dtype for block in model.modules() if isinstance(block, FoldedBlock))
    return next(blocks, next((down.weight.dtype for down in model.downs), model.intro.weight.dtype))
