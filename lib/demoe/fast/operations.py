"""The operations that strips of a map go through: norm, convolutions, averages; and all of them without TF32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .fold import FoldedBlock


class Mean:
    """The average over all pixels of strips: sums of half precision in float32, of strips in float64."""

    def __init__(self):
        self.total, self.pixels = 0, 0

    def add(self, strip: Tensor) -> None:
        wide = strip if strip.element_size() >= 4 else strip.float()
        self.total = self.total + wide.sum((2, 3), keepdim=True).double()  # (1, C, 1, 1)
        self.pixels += strip.shape[2] * strip.shape[3]
        self.dtype = wide.dtype

    def value(self) -> Tensor:
        return (self.total / self.pixels).to(self.dtype)


class Norm:
    """A folded block's norm, with the weight and bias of a norm that has none: the library is faster so."""

    def __init__(self, block: FoldedBlock):
        self.weight, self.bias, self.eps = torch.ones_like(block.b5), torch.zeros_like(block.b5), block.eps

    def __call__(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


def conv3(
    strips: Iterator[Tensor], weight: Tensor, bias: Tensor, groups: int = 1, alone: bool = False
) -> Iterator[Tensor]:
    """A 3x3 convolution: a strip is finished once the one below it is there.

    ``alone``: each strip is a picture of its own.

    Each strip is worked on as if zeros were around it; the two rows where it meets the next are then replaced.
    """
    current = next(strips)
    done = F.conv2d(current, weight, bias, padding=1, groups=groups)
    above = torch.zeros_like(current[:, :, :1])
    for below in strips:
        coming = F.conv2d(below, weight, bias, padding=1, groups=groups)
        if not alone:
            rows = [above] * (current.shape[2] == 1) + [current[:, :, -2:], below[:, :, :2]]
            rows += [torch.zeros_like(above)] * (below.shape[2] == 1)
            rows = torch.cat([part.permute(0, 2, 3, 1) for part in rows], dim=1)  # (1, 4, W, C), contiguous
            seam = F.conv2d(rows.permute(0, 3, 1, 2), weight, bias, padding=(0, 1), groups=groups)
            done[:, :, -1:], coming[:, :, :1] = seam[:, :, :1], seam[:, :, 1:]
            above = current[:, :, -1:]
        yield done
        current, done = below, coming
    yield done


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution. With one thread PyTorch would take a slower way, with one pass more."""
    if x.device.type == "cpu" and x.dtype in _onednn_types():
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, [0, 0], [1, 1], [1, 1], 1, "none", [], "")
    return F.conv2d(x, weight, bias)


def add_convolution(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x`` plus a 1x1 convolution of ``y``, in the place of ``x``: one pass less than two steps."""
    if x.device.type == "cpu" and x.dtype in _onednn_types():
        return torch.ops.mkldnn._convolution_pointwise_.binary(x, y, weight, bias, [0, 0], [1, 1], [1, 1], 1, "add",
                                                               1.0, None, [], None)
    return x.add_(F.conv2d(y, weight, bias))


@lru_cache(maxsize=1)
def _onednn_types() -> tuple[torch.dtype, ...]:
    """The types in which oneDNN's convolutions, which PyTorch's compiler uses too, can be called here."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise_"):
        return ()
    return (torch.float32, torch.bfloat16) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else (torch.float32,)


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
