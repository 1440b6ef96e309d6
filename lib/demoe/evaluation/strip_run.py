"""One picture, strip by strip, on its way through a network: what ``strips`` is built on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, tee

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.model.demoe import DeMoE
from demoe.model.layers import NAFBlock
from demoe.model.moe import MoEBlock
from demoe.model.router import Router

Source = Callable[[], Iterator[Tensor]]  # gives a map's strips from the top, as often as it is called
Wish = str | Sequence[float] | Callable[[Tensor], Tensor] | None  # see ``Run``


class Kept:
    """A map in memory: strips that are views of one tensor, so that later results can take its place."""

    def __init__(self, strips: Sequence[Tensor]):
        self.strips = strips

    def __call__(self) -> Iterator[Tensor]:
        return iter(self.strips)

    def replace(self, strips: Iterable[Tensor]) -> Kept:
        """The same memory with other content. A strip may be computed from this map's at its place and below."""
        for place, strip in zip(self.strips, strips, strict=True):
            place.copy_(strip)
        return self


class Run:
    """One picture on its way through a network.

    ``expert``: a name, the experts' weights, a function that makes weights (1, N) of the router's logits (1, N), or
    None for the router's own ``k`` best.
    """

    def __init__(self, model, expert, k, recompute, scales, progress=None, margin=0, alone=False, height=0):
        self.model, self.expert, self.k, self.recompute = model, expert, k, recompute
        self.scales, self.progress = scales, progress
        self.margin = margin  # pixels of the full resolution that averages leave out at each side of a strip
        self.alone = alone  # each strip is a picture of its own, not the continuation of the one before
        self.height = height  # of the padded picture
        self.room: Sequence[Tensor] = ()
        self.logits = self.weights = None

    def network(self, picture: Source) -> Iterator[Tensor]:
        """The residual's strips, (1, 3, rows, W), of a picture's."""
        model = self.model
        is_demoe = isinstance(model, DeMoE)
        experts = iter(model.experts if is_demoe else ())
        moes = model.config.moe_per_level if is_demoe else 0
        y, skips = self.encode(picture)
        if is_demoe:
            self.weights = self._gate()
        y = self._blocks(y, _modules(model.middle_blks), False)
        for _ in range(moes):
            y = self._moe(y, next(experts))
        for level, (decoder, up) in reversed(list(enumerate(zip(reversed(model.decoders), reversed(model.ups),
                                                                strict=True)))):
            skip, lazy = skips.pop(), level < self.recompute
            y = lambda below=y, skip=skip, up=up: (  # noqa: E731
                up(deep).add_(strip) for deep, strip in zip(below(), skip(), strict=True))
            if isinstance(skip, Kept):
                y = skip.replace(y())
            y = self._blocks(y, _modules(decoder), lazy)
            for _ in range(moes):
                y = self._moe(y, next(experts))
            if level > 0 and not isinstance(y, Kept):
                y = self._keep(y())
        return self._conv3(y(), model.ending)

    def encode(self, picture: Source) -> tuple[Source, list[Source]]:
        """The encoder's last map and the skips from the top down; the router has then been asked."""
        model = self.model
        y: Source = lambda: self._conv3(picture(), model.intro)  # noqa: E731
        skips = []
        for level, (encoder, down) in enumerate(zip(model.encoders, model.downs, strict=True)):
            y = self._blocks(y, _modules(encoder), level < self.recompute)  # (1, C, H, W)
            skips.append(y)
            y = lambda skip=y, down=down: (down(strip) for strip in skip())  # noqa: E731  (1, 2C, H/2, W/2) a level
        y = self._keep(y())
        router = model.mlp_branch
        if router is not None:
            self.logits = self._route(y, router)
        return y, skips

    def _gate(self) -> Tensor:
        if self.expert is None or isinstance(self.expert, str):
            return self.model.gate(self.logits, self.expert, self.k)  # (1, N)
        if callable(self.expert):
            return self.expert(self.logits)
        return torch.tensor([list(self.expert)], device=self.logits.device)

    def _route(self, y: Source, router: Router) -> Tensor:
        total, pixels = 0, 0
        for strip in y():
            z = router.conv_bottleneck(strip)
            z = self._inside(z * router.attention(z), strip.shape[1])  # (1, 256, rows, W)
            total, pixels = total + z.sum((2, 3)).double(), pixels + z.shape[2] * z.shape[3]
        return router.classifier[1:]((total / pixels).to(z.dtype)[..., None, None])  # (1, N)

    def _keep(self, strips: Iterator[Tensor]) -> Kept:
        """A new map of these strips."""
        if self.alone:
            return Kept(list(strips))
        first = next(strips)
        channels = first.shape[1]
        kept = Kept(self._empty(first, self.height * self.model.config.width // channels))
        return kept.replace(chain((first,), strips))

    @staticmethod
    def _empty(first: Tensor, height: int) -> Sequence[Tensor]:
        """Views of a new map whose first strip has the size of ``first``."""
        shape = (1, first.shape[1], height, first.shape[3])
        whole = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)
        return whole.split(first.shape[2], dim=2)

    def _blocks(self, y: Source, blocks: Iterable[nn.Module], lazy: bool) -> Source:
        """Blocks in sequence. The map after each is kept, or computed anew for each pass if ``lazy``."""
        y = y if lazy or isinstance(y, Kept) else self._keep(y())
        for block in blocks:
            y = self._block(y, block)
        return y

    def _block(self, y: Source, block: nn.Module) -> Source:
        """One block: in the place of its input where that is kept."""
        if not isinstance(block, NAFBlock):
            return self._whole(y, block)
        if isinstance(y, Kept) and block not in self.scales:
            # The first pass's result is kept for the second: one more map, a third less to compute.
            total = _Mean()
            gates = self._gates(y)
            for place, (x, gated) in zip(gates, self._first_half(y(), block), strict=True):
                total.add(self._inside(gated, x.shape[1]))
                place.copy_(gated)
            self.scales[block] = block.sca[1](total.value())
            y.replace(_second_half(zip(y(), gates, strict=True), block, self.scales[block]))
        else:
            self._measure(y, [block])
            result = lambda y=y: _second_half(self._first_half(y(), block), block, self.scales[block])  # noqa: E731
            y = y.replace(result()) if isinstance(y, Kept) else result
        self._tick()
        return y

    def _gates(self, y: Kept) -> Sequence[Tensor]:
        """Room for a map like ``y``: that of the block before if it fits."""
        if [strip.shape for strip in self.room] != [strip.shape for strip in y.strips]:
            self.room = ()  # freed before the new one is taken
            self.room = [torch.empty_like(strip) for strip in y.strips] if self.alone else self._empty(
                y.strips[0], sum(strip.shape[2] for strip in y.strips))
        return self.room

    def _moe(self, y: Source, moe: MoEBlock) -> Source:
        shares = [(share, expert) for share, expert in zip(self.weights[0].tolist(), moe.experts, strict=True) if share]
        experts = [expert for _, expert in shares]
        if not all(isinstance(expert, NAFBlock) for expert in experts):
            return self._whole(y, lambda x: moe(x, self.weights))
        if moe.fusion == "sum" and [share for share, _ in shares] == [1]:
            return self._block(y, experts[0])
        self._measure(y, experts)

        def mixed() -> Iterator[Tensor]:
            own, *streams = tee(y(), 1 + len(experts))
            outs = [_second_half(self._first_half(stream, expert), expert, self.scales[expert])
                    for stream, expert in zip(streams, experts, strict=True)]
            for x, *parts in zip(own, *outs, strict=True):
                mix = sum(share * part for (share, _), part in zip(shares, parts, strict=True))  # (1, C, rows, W)
                yield {"sum": lambda x, mix: mix, "residual": torch.add, "attention": torch.mul}[moe.fusion](x, mix)

        self._tick()
        return y.replace(mixed()) if isinstance(y, Kept) else mixed

    def _whole(self, y: Source, block: Callable[[Tensor], Tensor]) -> Kept:
        """A block that cannot work in strips, on the whole map; on each strip where strips are pictures."""
        y = y if isinstance(y, Kept) else self._keep(y())
        if self.alone:
            result = y.replace(block(strip) for strip in y())
        else:
            heights = [strip.shape[2] for strip in y.strips]
            result = y.replace(block(torch.cat(tuple(y.strips), dim=2)).split(heights, dim=2))
        self._tick()
        return result

    def _measure(self, y: Source, blocks: Sequence[NAFBlock]) -> None:
        """The channel attention of blocks that all read the map ``y``, unless it is known."""
        blocks = [block for block in blocks if block not in self.scales]
        if not blocks:
            return
        totals = [_Mean() for _ in blocks]
        halves = [self._first_half(stream, block) for stream, block in zip(tee(y(), len(blocks)), blocks, strict=True)]
        for parts in zip(*halves, strict=True):
            for total, (x, gated) in zip(totals, parts, strict=True):
                total.add(self._inside(gated, x.shape[1]))
        for block, total in zip(blocks, totals, strict=True):
            self.scales[block] = block.sca[1](total.value())

    def _first_half(self, strips: Iterator[Tensor], block: NAFBlock) -> Iterator[tuple[Tensor, Tensor]]:
        """(input, gated features) of each strip: norm, first convolution, depth-wise convolution, gate."""
        waiting: deque[Tensor] = deque()

        def widened() -> Iterator[Tensor]:
            for x in strips:
                waiting.append(x)
                yield block.conv1(block.norm1(x))  # (1, 2C, rows, W)

        for y in self._conv3(widened(), block.conv2):
            yield waiting.popleft(), block.sg(y)

    def _conv3(self, strips: Iterator[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
        """A 3x3 convolution: a strip is worked on once the one below it is there."""
        if self.alone:
            yield from (conv(strip) for strip in strips)
            return
        current = next(strips)
        above = torch.zeros_like(current[:, :, :1])
        for below in strips:
            window = torch.cat((above, current, below[:, :, :1]), dim=2)  # (1, C, rows + 2, W)
            above, current = current[:, :, -1:].clone(), below
            yield F.conv2d(window, conv.weight, conv.bias, padding=(0, 1), groups=conv.groups)
        window = torch.cat((above, current, torch.zeros_like(above)), dim=2)
        yield F.conv2d(window, conv.weight, conv.bias, padding=(0, 1), groups=conv.groups)

    def _inside(self, x: Tensor, channels: int) -> Tensor:
        """Without the margin, whose size in pixels shrinks as the number of channels of the level grows."""
        edge = self.margin * self.model.config.width // channels
        return x[:, :, edge : x.shape[2] - edge, edge : x.shape[3] - edge]

    def _tick(self) -> None:
        if self.progress is not None:
            self.progress()


class _Mean:
    """The average over all pixels of strips; sums of strips are added in float64."""

    def __init__(self):
        self.total, self.pixels = 0, 0

    def add(self, strip: Tensor) -> None:
        self.total = self.total + strip.sum((2, 3), keepdim=True).double()  # (1, C, 1, 1)
        self.pixels += strip.shape[2] * strip.shape[3]
        self.dtype = strip.dtype

    def value(self) -> Tensor:
        return (self.total / self.pixels).to(self.dtype)


def _second_half(pairs: Iterable[tuple[Tensor, Tensor]], block: NAFBlock, scale: Tensor) -> Iterator[Tensor]:
    """The rest of a NAFBlock. Channel attention and beta are folded into conv3, gamma into conv5."""
    beta, gamma = block.beta.view(-1, 1, 1, 1), block.gamma.view(-1, 1, 1, 1)
    weight3, bias3 = block.conv3.weight * beta * scale, block.conv3.bias * beta.flatten()
    weight5, bias5 = block.conv5.weight * gamma, block.conv5.bias * gamma.flatten()
    for x, gated in pairs:
        x = F.conv2d(gated, weight3, bias3).add_(x)  # (1, C, rows, W)
        y = block.sg(block.conv4(block.norm2(x)))
        yield x.add_(F.conv2d(y, weight5, bias5))


def _modules(blocks: nn.Module) -> Iterable[nn.Module]:
    return getattr(blocks, "modules_list", blocks)
