"""The gathered network by the Triton kernels of ``triton_kernels``: three launches a block, five where channels
are many.

A GPU of today needs about two microseconds a launch even in a CUDA graph, and the compiled network's many small kernels
each read and write whole maps. What a block cannot avoid is two visits: its channel attention wants the average over
the picture before it goes on. Needs Triton, which PyTorch brings along for NVIDIA GPUs on Linux; no other part of the
package imports this module unasked. Fused kernels are not stated in the paper; our choice.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.library import triton_op, wrap_triton

from . import gpu_forward, triton_kernels

CHANNELS = (16, 32, 64, 128, 256, 512, 1024)  # Triton's tiles have powers of two, its products at least 16
TYPES = (torch.float32, torch.bfloat16)
TALL, WIDE = 8, 8  # pixels of a tile of the depth-wise convolution; with its surround 10 x 10 are read
PARTS = 256  # partial sums a picture at most: each program behind the attention adds them all up
PROGRAMS = 1056  # of the tail at most, eight for each of an H200's 132 processors: beyond, each does several tiles


class Tiles(NamedTuple):
    """How work is cut for a number of channels: so that no kernel runs out of registers on an H200; not yet timed."""

    product: tuple[int, int, int, int]  # pixels, columns, channels at a time, warps
    tail: tuple[int, int, int] | None  # pixels, channels at a time, warps; None: three products, more programs each


def tiles(channels: int, dtype: torch.dtype) -> Tiles:
    """The tiles for features (B, H, W, ``channels``). Products of float32 do without tensor cores, in small steps."""
    if dtype == torch.bfloat16:
        wide = min(2 * channels, 64)
        product = (64, wide, min(channels, 64), 4) if channels <= 128 else (32, 64, 64, 4)
        tail = {128: (32, 32, 4), 256: (16, 32, 8)}.get(channels, (64, min(channels, 32), 4))
    else:
        product = (64, min(2 * channels, 64), 16, 4 if channels <= 64 else 8) if channels <= 128 else (32, 64, 16, 4)
        tail = {64: (64, 16, 8), 128: (32, 16, 8), 256: (16, 16, 8)}.get(channels, (64, 16, 4))
    return Tiles(product, tail) if channels <= 256 else Tiles((32, 32, product[2], 8), None)


def fits(x: Tensor) -> bool:
    """Whether the kernels take these features (B, H, W, C), by their channels and type."""
    return x.shape[-1] in CHANNELS and x.dtype in TYPES


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU (TRITON_INTERPRET=1 when this module was imported)."""
    return not isinstance(triton_kernels.product, triton.JITFunction)


def check(device: torch.device) -> None:
    """Raises ``RuntimeError`` where no kernel can run: without a GPU, and without the interpreter in its place."""
    if device.type != "cuda" and not interpreted():
        raise RuntimeError(f"fused kernels need a GPU, and the network is on {device}: leave out fused=True")


def block(x: Tensor, w: gpu_forward._Weights, eps: float, rows: Tensor | None = None, taps: bool = False) -> Tensor:
    """``gpu_forward.block``, by kernels where they take these channels: (B, H, W, C) -> (B, H, W, C)."""
    return fused_block(x, list(w), eps, rows) if fits(x) else gpu_forward.block(x, w, eps, rows, taps)


def down(part: gpu_forward.Convolution, x: Tensor) -> Tensor:
    """(B, 2H, 2W, C) -> (B, H, W, 2C)."""
    return fused_down(x, part.weight, part.bias) if fits(x) else part(x)


def up(part: gpu_forward.Up, x: Tensor, skip: Tensor) -> Tensor:
    """(B, H, W, C) and what was skipped, (B, 2H, 2W, C/2) -> their sum, (B, 2H, 2W, C/2)."""
    return fused_up(x, part.weight, skip) if fits(x) and fits(skip) else part(x) + skip


WAYS = gpu_forward.Ways(block, down, up)


def start_block(x: Tensor, weights: list[Tensor], eps: float, rows: Tensor | None = None) -> Tensor:
    """``gpu_forward.block``: (B, H, W, C), the tensors of its weights in their order, the norms' eps -> (B, H, W, C).

    ``rows``: int64 (B), which of the weights' rows each image takes; ``None`` if there is one for all, or one each.
    Takes what ``fits`` says, on a GPU. To rounding the same, and the same bits for an image whatever batch it is in.
    """
    batch, height, width, channels = x.shape
    w1, b1, w2, b2, ws, bs, w3, b3, w4, b4, w5, b5 = weights
    x, chosen = x.contiguous(), weights[1] if rows is None else rows  # weights: not read
    cut, pixels = tiles(channels, x.dtype), height * width
    parts = min(triton.cdiv(height, TALL) * triton.cdiv(width, WIDE), PARTS)
    at_once = max(1, min(triton.next_power_of_2(parts), 8192 // channels))  # partial sums loaded
    wide = x.new_empty((batch, height, width, 2 * channels))
    gated, out = torch.empty_like(x), torch.empty_like(x)
    sums = x.new_empty((batch, parts, channels), dtype=torch.float32)

    def product(
        source: Tensor,
        weight: Tensor,
        bias: Tensor,
        out: Tensor,
        skip: Tensor | None = None,
        norm: bool = False,
        scale: bool = False,
        gate: bool = False,
    ) -> None:
        spots, columns, inputs, warps = cut.product
        columns = min(columns, out.shape[3])
        grid = (triton.cdiv(pixels, spots), out.shape[3] // columns, batch)
        wrap_triton(triton_kernels.product)[grid](
            *(source, weight, bias, bias if skip is None else skip, out, sums, ws, bs, chosen, pixels, parts, eps),
            *map(_step, (weight, bias, ws, bs)),
            CHOSEN=rows is not None,
            C=channels,
            N=weight.shape[2],
            NORM=norm,
            SCALE=scale,
            GATE=gate,
            SKIP=skip is not None,
            M=spots,
            COLUMNS=columns,
            K=inputs,
            PARTS=at_once,
            num_warps=warps,
            num_stages=2,
        )

    product(x, w1, b1, wide, norm=True)  # (B, H, W, 2C)
    some = min(channels, 32)  # with as many warps as leave each thread eight of a tile's values
    wrap_triton(triton_kernels.depthwise)[(parts, channels // some, batch)](
        *(wide, w2, b2, gated, sums, chosen, height, width, _step(w2), _step(b2)),
        CHOSEN=rows is not None,
        C=channels,
        CHANNELS=some,
        TALL=TALL,
        WIDE=WIDE,
        num_warps=some // 4,
    )
    if cut.tail is not None:
        spots, inputs, warps = cut.tail
        behind = weights[4:]  # of the attention and what follows
        wrap_triton(triton_kernels.tail)[(min(triton.cdiv(pixels, spots), PROGRAMS), 1, batch)](
            *(x, gated, sums, *behind, out, chosen, pixels, parts, eps),
            *map(_step, behind),
            CHOSEN=rows is not None,
            C=channels,
            M=spots,
            K=inputs,
            PARTS=at_once,
            num_warps=warps,
            num_stages=2,
        )
        return out
    between = torch.empty_like(x)
    product(gated, w3, b3, between, x, scale=True)
    product(between, w4, b4, gated, norm=True, gate=True)
    product(gated, w5, b5, out, between)
    return out


def start_down(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 2x2 convolution of stride 2: (B, 2H, 2W, C), (N, C, 2, 2), (N) -> (B, H, W, N)."""
    weight = weight.permute(0, 2, 3, 1).contiguous()  # (N, 2, 2, C), as it lies already in channels-last memory
    out = x.new_empty((len(x), x.shape[1] // 2, x.shape[2] // 2, len(weight)))
    return _resample(x, weight, bias, bias, out, True)


def start_up(x: Tensor, weight: Tensor, skip: Tensor) -> Tensor:
    """A 1x1 convolution, PixelShuffle(2) and a sum: (B, H, W, C), (2 2 N/4, C), (B, 2H, 2W, N/4) -> as the last."""
    return _resample(x, weight, weight, skip.contiguous(), skip.new_empty(skip.shape), False)


def _resample(x: Tensor, weight: Tensor, bias: Tensor, skip: Tensor, out: Tensor, down: bool) -> Tensor:
    spots, columns, inputs, warps = tiles(x.shape[3], x.dtype).product
    columns = min(columns, out.shape[3])
    height, width = (out if down else x).shape[1:3]
    wrap_triton(triton_kernels.resample)[(triton.cdiv(height * width, spots), len(weight) // columns, len(x))](
        *(x.contiguous(), weight, bias, skip, out, height, width),
        C=x.shape[3],
        N=len(weight),
        DOWN=down,
        M=spots,
        COLUMNS=columns,
        K=inputs,
        num_warps=warps,
        num_stages=2,
    )
    return out


def _step(weight: Tensor) -> int:
    """Values from one image's weights to the next's; 0 where all share them."""
    return weight.stride(0) if len(weight) > 1 else 0


# Operators, so that compilers take each for one call, or look inside; what they give is told without starting kernels.
fused_block = triton_op("demoe::fused_block", start_block, mutates_args=())
fused_down = triton_op("demoe::fused_down", start_down, mutates_args=())
fused_up = triton_op("demoe::fused_up", start_up, mutates_args=())
fused_block.register_fake(lambda x, weights, eps, rows=None: x.new_empty(x.shape))
fused_down.register_fake(lambda x, weight, bias: x.new_empty((len(x), x.shape[1] // 2, x.shape[2] // 2, len(weight))))
fused_up.register_fake(lambda x, weight, skip: skip.new_empty(skip.shape))
