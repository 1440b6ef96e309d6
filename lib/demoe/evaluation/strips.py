"""A NAFNet or DeMoE on a large picture, a strip of rows at a time: the plain forward's result in little memory.

A feature map is a sequence of strips, (1, C, rows, W) each, that runs through the network from top to bottom. All
layers but one look at most one row beyond a strip, so they work strip by strip. The one is the channel attention (SCA),
which needs the average over the whole picture: a first pass over the strips adds it up, a second uses it. The result
is therefore that of the plain forward up to float32 rounding, and there are no seams.

Between the passes a map is either kept or computed anew from the picture. ``recompute`` says for how many of the
largest levels it is computed anew: 0 is fastest and keeps about two maps of the full resolution, 1 about one, 2
three quarters of one, for two and four times the time. The strips in flight come on top; of a narrow network they
weigh so much that only very large pictures gain by 1 or 2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, tee
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.model.demoe import DeMoE, Restored
from demoe.model.layers import NAFBlock
from demoe.model.moe import MoEBlock
from demoe.model.nafnet import NAFNet
from demoe.model.router import Router

MAX_RECOMPUTE = 2  # the map of the second level has to be kept in any case
STRIP_BYTES = 4 << 20  # of one map's strip, our choice: larger ones fall out of the processor's cache
Source = Callable[[], Iterator[Tensor]]  # gives a map's strips from the top, as often as it is called


class Statistics(NamedTuple):
    """What a network takes from the whole of a picture, gathered from parts of it."""

    scales: dict[NAFBlock, Tensor]  # each block's channel attention, (1, C, 1, 1)
    logits: Tensor | None  # (1, N), the router's
    weights: Tensor | None  # (1, N), what mixed the experts


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


@torch.no_grad()
def forward(
    model: NAFNet | DeMoE,
    x: Tensor,
    expert: str | Sequence[str | None] | None = None,
    k: int | None = 1,
    *,
    rows: int | None = None,
    recompute: int = 0,
    scales: dict[NAFBlock, Tensor] | None = None,
    progress: Callable[[], object] | None = None,
) -> Restored:
    """(B, 3, H, W) in [0, 1] -> what ``model(x, expert, k)`` gives; for a NAFNet ``weights`` is None.

    ``rows``: rows of the full resolution in a strip, a multiple of 2^levels; None chooses. ``scales``: use these
    channel attentions instead of the picture's own, as a tile does. ``progress`` is called after each block. Experts
    other than NAFBlocks run on the whole map. Raises ``ValueError`` for another network, one in training mode, and
    bad numbers.
    """
    if not isinstance(model, (NAFNet, DeMoE)):
        raise ValueError(f"{type(model).__name__} cannot run in strips: only NAFNet and DeMoE can")
    if model.training:
        raise ValueError("a network in training mode cannot run in strips: call eval() first")
    unit = 2 ** len(model.encoders)
    rows = rows_for(model, x.shape[-1]) if rows is None else rows
    if rows < unit or rows % unit:
        raise ValueError(f"a strip has a multiple of {unit} rows, got {rows}")
    if not 0 <= recompute <= MAX_RECOMPUTE:
        raise ValueError(f"recompute must be between 0 and {MAX_RECOMPUTE}, got {recompute}")
    names = [expert] * len(x) if expert is None or isinstance(expert, str) else list(expert)
    if len(names) != len(x):
        raise ValueError(f"{len(names)} experts named for {len(x)} images: give one name, or one an image")
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    found = []
    for image, target, name in zip(x.split(1), out.split(1), names, strict=True):
        run = _Run(model, name, k, recompute, dict(scales or {}), progress, height=x.shape[2] + -x.shape[2] % unit)
        at = 0
        for strip, given in zip(run.network(lambda image=image: _picture(image, unit, rows)),
                                image.split(rows, dim=2), strict=True):
            height = given.shape[2]
            target[:, :, at : at + height] = strip[:, :, :height, : given.shape[3]] + given
            at += height
        found.append((run.logits, run.weights))
    logits, weights = (None if parts[0] is None else torch.cat(parts) for parts in zip(*found, strict=True))
    return Restored(out, logits, weights)


@torch.no_grad()
def with_weights(
    model: NAFNet | DeMoE, x: Tensor, expert: str | Sequence[float] | None, scales: dict[NAFBlock, Tensor]
) -> Restored:
    """One tile, (1, 3, H, W), under the channel attentions ``scales``; ``expert`` is a name or the experts' weights."""
    out = torch.empty_like(x)
    unit, rows = 2 ** len(model.encoders), rows_for(model, x.shape[-1])
    run = _Run(model, expert, None, 0, dict(scales), height=x.shape[2] + -x.shape[2] % unit)
    for strip, given, target in zip(run.network(lambda: _picture(x, unit, rows)), x.split(rows, dim=2),
                                    out.split(rows, dim=2), strict=True):
        target.copy_(strip[:, :, : given.shape[2], : given.shape[3]] + given)
    return Restored(out, run.logits, run.weights)


@torch.no_grad()
def logits(model: DeMoE, x: Tensor, scales: dict[NAFBlock, Tensor]) -> Tensor:
    """The router's opinion of one tile, (1, N), under given channel attentions; only the encoder runs."""
    unit, rows = 2 ** len(model.encoders), rows_for(model, x.shape[-1])
    run = _Run(model, None, None, 0, dict(scales), height=x.shape[2] + -x.shape[2] % unit)
    run.encode(lambda: _picture(x, unit, rows))
    return run.logits


@torch.no_grad()
def statistics(
    model: NAFNet | DeMoE,
    crops: Sequence[Tensor],
    expert: str | Sequence[float] | None = None,
    k: int | None = 1,
    *,
    margin: int = 0,
    recompute: int = 0,
    progress: Callable[[], object] | None = None,
) -> Statistics:
    """The channel attentions and the router's decision that crops of one picture, taken together, lead to.

    ``crops``: (1, 3, H, W) each, H and W multiples of 2^levels. ``margin`` pixels at each side of a crop are left out
    of the averages, because the zeros around a crop are not in the picture. ``expert`` may also be the experts'
    weights.
    """
    unit = 2 ** len(model.encoders)
    if not crops or any(side % unit or side <= 2 * margin for crop in crops for side in crop.shape[-2:]):
        raise ValueError(f"crops need sides that are multiples of {unit} and larger than two margins of {margin}")
    run = _Run(model, expert, k, recompute, {}, progress, margin, alone=True)
    for _ in run.network(lambda: iter(_nhwc(crop) for crop in crops)):
        pass
    return Statistics(run.scales, run.logits, run.weights)


def rows_for(model: NAFNet | DeMoE, width: int) -> int:
    """Rows of a strip of a picture ``width`` pixels wide: about ``STRIP_BYTES``, in whole rows of the last level."""
    unit = 2 ** len(model.encoders)
    return max(1, STRIP_BYTES // (4 * model.config.width * max(width, 1)) // unit) * unit


class _Run:
    """One picture on its way through a network."""

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


def _picture(x: Tensor, unit: int, rows: int) -> Iterator[Tensor]:
    """Strips of a picture, (1, 3, rows, W'), with the zeros that ``pad_to_multiple`` adds."""
    for strip in x.split(rows, dim=2):
        yield _nhwc(F.pad(strip, (0, -x.shape[3] % unit, 0, -strip.shape[2] % unit)))


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _modules(blocks: nn.Module) -> Iterable[nn.Module]:
    return getattr(blocks, "modules_list", blocks)
