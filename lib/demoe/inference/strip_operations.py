"""What strips of a map go through: norm, convolutions, averages; the map itself; all of it without TF32.

oneDNN, PyTorch's library for convolutions on a CPU, rearranges a convolution's weights in every call. Strips are many
calls with the same weights, so theirs are rearranged once (``Packed``), those of a folded block for all pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core.devices import exact
from demoe.models import fused_block
from demoe.models.layers import normalise

from .fold import FoldedBlock, made

POINT = ([0, 0], [1, 1], [1, 1])  # padding, stride, dilation: of a 1x1 convolution
Source = Callable[[], Iterator[Tensor]]  # gives a map's strips from the top, as often as it is called
CACHED = 4 << 20  # bytes of a strip in a block's passes, our choice: with less, calls cost what caches gain
GEOMETRY = {1: POINT, 2: ([0, 0], [2, 2], [1, 1]), 3: ([1, 1], [1, 1], [1, 1])}  # by the side of the kernel


class Mean:
    """The average over all pixels of strips, which are summed in float64.

    Of bfloat16 rows are summed first, then, in float32, their sums: to turn every pixel into float32 would take four
    times as long. Each row's sum is rounded once; where rows are not alike, the errors average out.
    """

    def __init__(self):
        self.total, self.pixels = 0, 0

    def add(self, strip: Tensor) -> None:
        if strip.dtype == torch.bfloat16:
            sums = strip.permute(0, 2, 3, 1).sum(2).float().sum(1)[..., None, None]
        else:
            wide = strip.dtype if strip.element_size() >= 4 else torch.float32  # float16 ends at 65504
            sums = strip.sum((2, 3), keepdim=True, dtype=wide)
        self.total = self.total + exact(sums)  # (1, C, 1, 1)
        self.pixels += strip.shape[2] * strip.shape[3]
        self.like = sums

    def value(self) -> Tensor:
        return (self.total / self.pixels).to(self.like)


class Packed:
    """A convolution's weight as oneDNN reads it, for the functions below: 1x1; 2x2 with stride 2; 3x3 in groups.

    The weight itself where oneDNN does not run. The best arrangement of a weight that mixes channels depends on the
    map's size, and oneDNN would undo another one slowly; a few sizes are kept: with most of a picture's strips, its
    last, and their neighbours' rows. They are copies: of the experts that were used, a few times their weights' memory.
    """

    SIZES = 3

    def __init__(self, weight: Tensor, groups: int = 1):
        self.weight, self.groups = weight, groups
        self.geometry = GEOMETRY[weight.shape[2]]
        self.arranged: dict[tuple[int, ...], Tensor] = {}

    def of(self, x: Tensor) -> Tensor:
        """The weight for a map like ``x``."""
        if x.device.type != "cpu" or x.dtype not in _onednn_types():
            return self.weight
        size = tuple(x.shape) if self.groups == 1 else ()
        found = self.arranged.get(size)
        if found is None:
            arrange = torch.ops.mkldnn._reorder_convolution_weight
            found = arrange(self.weight, *self.geometry, self.groups, list(x.shape))
            for old in list(self.arranged)[: len(self.arranged) - self.SIZES + 1]:
                self.arranged.pop(old, None)  # another thread may have been here
            self.arranged[size] = found
        return found


class Weights:
    """A folded block's norm, and its convolutions' weights."""

    def __init__(self, block: FoldedBlock):
        # A norm that has no weight and bias is faster with such as change nothing, but for half precision.
        ones = {"weight": torch.ones_like(block.b5), "bias": torch.zeros_like(block.b5)}
        plain = ones if block.b5.element_size() >= 4 else {}
        self.norm: Callable[[Tensor], Tensor] = partial(normalise, eps=block.eps, **plain)
        self.w1, self.w3, self.w4, self.w5 = (Packed(w) for w in (block.w1, block.w3, block.w4, block.w5))
        self.w2 = Packed(block.w2, len(block.w2))


class FusedWeights:
    """A folded block's arguments for the two halves of the fused block, its 1x1 weights packed.

    ``exact``: the type of what is no map and no factor of a product; float32 where maps are bfloat16.
    """

    def __init__(self, block: FoldedBlock):
        pack, self.exact = fused_block.operations().pack, torch.promote_types(block.b1.dtype, torch.float32)
        w1, w3, w4, w5 = pack(block.w1), pack(block.w3), pack(block.w4, gated=True), pack(block.w5)
        b1, w2, b2, b3, b4, b5 = (
            one.to(self.exact) for one in (block.b1, block.w2.flatten(1), block.b2, block.b3, block.b4, block.b5)
        )
        self.first = (w1, b1, w2.contiguous(), b2, float(block.eps))
        self.second = (w3, b3, w4, b4, w5, b5, float(block.eps))


def conv3(strips: Iterator[Tensor], weight: Tensor | Packed, bias: Tensor, alone: bool = False) -> Iterator[Tensor]:
    """A 3x3 convolution: a strip is finished once the one below it is there.

    ``alone``: each strip is a picture of its own.

    Each strip is worked on as if zeros were around it; the two rows where it meets the next are then replaced.
    """
    current = next(strips)
    done = square(current, weight, bias)
    above = torch.zeros_like(current[:, :, :1])
    for below in strips:
        coming = square(below, weight, bias)
        if not alone:
            rows = [above] * (current.shape[2] == 1) + [current[:, :, -2:], below[:, :, :2]]
            rows += [torch.zeros_like(above)] * (below.shape[2] == 1)
            rows = torch.cat([part.permute(0, 2, 3, 1) for part in rows], dim=1)  # (1, 4, W, C), contiguous
            seam = square(rows.permute(0, 3, 1, 2), weight, bias, beyond=0)
            done[:, :, -1:], coming[:, :, :1] = seam[:, :, :1], seam[:, :, 1:]
            above = current[:, :, -1:]
        yield done
        current, done = below, coming
    yield done


def square(x: Tensor, weight: Tensor | Packed, bias: Tensor, beyond: int = 1) -> Tensor:
    """A 3x3 convolution with zeros at the sides, and ``beyond`` rows of them above and below."""
    groups, weight = (1, weight) if isinstance(weight, Tensor) else (weight.groups, weight.of(x))
    if weight.is_mkldnn:
        run, (_, *rest) = torch.ops.mkldnn._convolution_pointwise, GEOMETRY[3]
        return run(x, weight, bias, [beyond, 1], *rest, groups, "none", [], "")
    return F.conv2d(x, weight, bias, padding=(beyond, 1), groups=groups)


def convolution(x: Tensor, weight: Packed, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution, or a 2x2 one with stride 2. With one thread PyTorch would take a slower way for the first."""
    arranged, geometry = weight.of(x), weight.geometry
    if x.device.type == "cpu" and x.dtype in _onednn_types():
        return torch.ops.mkldnn._convolution_pointwise(x, arranged, bias, *geometry, 1, "none", [], "")
    return F.conv2d(x, arranged, bias, stride=geometry[1])


def add_convolution(x: Tensor, y: Tensor, weight: Packed, bias: Tensor) -> Tensor:
    """``x`` plus a 1x1 convolution of ``y``, in the place of ``x``: one pass less than two steps."""
    weight = weight.of(y)
    if x.device.type == "cpu" and x.dtype in _onednn_types():
        run = torch.ops.mkldnn._convolution_pointwise_.binary
        return run(x, y, weight, bias, *POINT, 1, "add", 1.0, None, [], None)
    return x.add_(F.conv2d(y, weight, bias))


def packed(conv: nn.Conv2d) -> Packed:
    return Packed(conv.weight)


def shuffled(conv: nn.Conv2d) -> Packed:
    """The weight of the 1x1 convolution in front of PixelShuffle(2) for ``add_shuffled``.

    Its results come in the order (2, 2, C) instead of (C, 2, 2), so that what belongs to a pixel lies together.
    """
    weight = conv.weight.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)  # (4C, I, 1, 1)
    return Packed(weight.contiguous())


def add_shuffled(x: Tensor, deep: Tensor, weight: Packed) -> Tensor:
    """``x`` (1, C, 2H, 2W) plus ``layers.upsample`` of ``deep`` (1, 2C, H, W), in the place of ``x``."""
    y = convolution(deep, weight, None).permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))  # (1, H, W, 2, 2, C)
    place = x.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (1, H, 2, W, 2, C)
    place.add_(y.transpose(2, 3))
    return x


class Kept:
    """A map in memory, or several: strips are views of it, so that later results can take its place."""

    def __init__(self, maps: Sequence[Tensor], rows: int | None):
        self.maps = maps  # (1, C, H, W) each
        self.rows = rows  # of a strip for whoever does not choose; None: maps that are pictures of their own, uncut
        first = maps[0]
        pairs = CACHED // (2 * first.element_size() * first.shape[1] * first.shape[3])
        self.cached = rows and 2 * max(1, pairs)  # rows of a strip that stays in the processor's cache

    def __call__(self) -> Iterator[Tensor]:
        return iter(self.cut(self.rows))

    def cut(self, rows: int | None) -> list[Tensor]:
        return list(self.maps) if rows is None else list(self.maps[0].split(rows, dim=2))

    def around(self, rows: int | None) -> Iterator[tuple[Tensor, int, int]]:
        """The strips of ``cut``, each with the row above it and the one below, and how many of these there are."""
        for whole in self.maps:
            height = whole.shape[2]
            for top in range(0, height, rows or height):
                bottom = min(top + (rows or height), height)
                above, below = int(top > 0), int(bottom < height)
                yield whole[:, :, top - above : bottom + below], above, below

    def replace(self, strips: Iterable[Tensor], rows: int | None) -> Kept:
        """The same memory with other content. A strip may be computed from this map's at its place and below."""
        for place, strip in zip(self.cut(rows), strips, strict=True):
            place.copy_(strip)
        return self


def lowered(y: Source, down: nn.Conv2d) -> Source:
    """Half the size: strips (1, C, rows, W) -> (1, 2C, rows/2, W/2)."""
    strips, weight = (lambda: y.cut(y.cached)) if isinstance(y, Kept) else y, made(down, packed)
    return lambda: (convolution(strip, weight, down.bias) for strip in strips())


def raised(y: Source, skip: Source, up: nn.Conv2d) -> Source:
    """Twice the size of ``y``, added to ``skip``: in its place where that is kept."""
    weight = made(up, shuffled)
    if not isinstance(skip, Kept):
        return lambda: (add_shuffled(strip, deep, weight) for deep, strip in zip(y(), skip(), strict=True))
    for deep, strip in zip(y.cut(y.cached), skip.cut(y.cached and 2 * y.cached), strict=True):
        add_shuffled(strip, deep, weight)
    return skip


def empty(like: Tensor, height: int) -> Tensor:
    """A new channels-last map as wide as ``like``."""
    shape = (1, like.shape[1], height, like.shape[3])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


@lru_cache(maxsize=1)
def _onednn_types() -> tuple[torch.dtype, ...]:
    """The types in which oneDNN's convolutions, which PyTorch's compiler uses too, can be called here."""
    if not torch.backends.mkldnn.is_available():
        return ()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        try:
            if dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported():
                x = torch.ones(1, 1, 1, 1, dtype=dtype)
                weight = torch.ops.mkldnn._reorder_convolution_weight(x, *POINT, 1, [1, 1, 1, 1])
                run = torch.ops.mkldnn._convolution_pointwise_.binary
                run(x, torch.ones_like(x), weight, torch.ones(1, dtype=dtype), *POINT, 1, "add", 1.0, None, [], None)
                if x.item() == 3:
                    found.append(dtype)
        except (AttributeError, RuntimeError, NotImplementedError):  # another version's, or another processor's
            continue
    return tuple(found)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Products and convolutions on a GPU with all digits of float32 for a while; nothing else is changed."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    with _all_digits(cuda, cuda), _all_digits(cudnn, getattr(cudnn, "conv", None)):
        yield


@contextmanager
def _all_digits(library, operation) -> Iterator[None]:
    try:
        holder, name, exact = library, "allow_tf32", False
        before = library.allow_tf32
    except RuntimeError:  # so PyTorch says that the caller has used its newer setting
        holder, name, exact = operation, "fp32_precision", "ieee"
        before = operation.fp32_precision
    if before == exact:
        yield
        return
    setattr(holder, name, exact)
    try:
        yield
    finally:
        setattr(holder, name, before)
