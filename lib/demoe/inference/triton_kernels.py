"""Triton kernels of a folded NAFBlock for a GPU, features being (B, H, W, C): its arithmetic with few trips to memory.

A pixel's channels lie side by side, so a 1x1 convolution is a product of (pixels, C) with (C, N), and what stands
around it, norms, gates, sums, is done while the tile is in registers. Products of float32 have all its digits (no
TF32); those of bfloat16 are summed up in float32, and norms, attention and sums over the picture are float32 always.
Sums over pixels are formed in a fixed order without atomic operations: the same call gives the same bits. Fused kernels
are not stated in the paper; our choice. ``fused`` starts them.

Throughout: B images (the grid's last dimension), P pixels an image, C channels, a power of two. Weights are row
``rows[image]`` of several where they are CHOSEN, else row ``image``; a weight's ``_step`` leads from row to row, and is
0 where there is but one. Places in memory are counted in 64 bits, those within a tile in 32.
"""

from __future__ import annotations

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")  # Triton's interpreter stands in for a GPU


@triton.jit
def _add_product(total, a, b):
    """total + a b: (M, N), (M, K), (K, N) -> (M, N), float32."""
    if INTERPRETED:  # it multiplies the bit patterns of bfloat16; in float32 their products are exact, as on a GPU
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")


@triton.jit
def _norm(x, eps, C: tl.constexpr):
    """Mean and 1 / deviation of each row: (M, C) -> (M), (M), float32."""
    mean = tl.sum(x, 1) / C
    centred = x - mean[:, None]
    return mean, tl.rsqrt(tl.sum(centred * centred, 1) / C + eps)


@triton.jit
def _mean(sums, pixels, parts, C: tl.constexpr, PARTS: tl.constexpr):
    """An image's average from its partial sums (parts, C): -> (C), float32."""
    channels = tl.arange(0, C)
    total = tl.zeros((C,), tl.float32)
    for start in range(0, parts, PARTS):
        rows = start + tl.arange(0, PARTS)
        total += tl.sum(tl.load(sums + rows[:, None] * C + channels, mask=rows[:, None] < parts, other=0.0), 0)
    return total / pixels


@triton.jit
def _attention(mean, weight, bias, rows, C: tl.constexpr):
    """Channel attention's factors for some channels: mean (C), weight (C, C) out by in, rows (K) -> (K), float32."""
    weights = tl.load(weight + rows[:, None] * C + tl.arange(0, C)).to(tl.float32)  # (K, C)
    return tl.sum(weights * mean[None, :], 1) + tl.load(bias + rows).to(tl.float32)


@triton.jit
def product(
    x,
    weight,
    bias,
    skip,
    out,
    sums,
    attention,
    attention_bias,
    rows,
    pixels,
    parts,
    eps,
    weight_step,
    bias_step,
    attention_step,
    attention_bias_step,
    CHOSEN: tl.constexpr,
    C: tl.constexpr,
    N: tl.constexpr,
    NORM: tl.constexpr,
    SCALE: tl.constexpr,
    GATE: tl.constexpr,
    SKIP: tl.constexpr,
    M: tl.constexpr,
    COLUMNS: tl.constexpr,
    K: tl.constexpr,
    PARTS: tl.constexpr,
):
    """A 1x1 convolution and what stands around it: x (B, P, C), weight (C, N), bias (N) -> out (B, P, N or N/2).

    NORM: of x over its channels, before. SCALE: x times channel attention, before; ``sums`` (B, parts, C). GATE: the
    product of the two halves of N, after. SKIP: plus skip (B, P, N), last. Grid: P / M, columns of out / COLUMNS, B.
    """
    image = tl.program_id(2).to(tl.int64)
    row = tl.load(rows + image) if CHOSEN else image
    start = tl.program_id(0) * M
    spots = tl.arange(0, M)
    inside = (start + spots < pixels)[:, None]
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    x += (image * pixels + start) * C
    weight += row * weight_step
    if NORM:
        everything = tl.load(x + spots[:, None] * C + tl.arange(0, C), mask=inside, other=0.0)  # (M, C)
        mean, scale = _norm(everything.to(tl.float32), eps, C)
    if SCALE:
        average = _mean(sums + image * parts * C, pixels, parts, C, PARTS)
        attention += row * attention_step
        attention_bias += row * attention_bias_step
    first = tl.zeros((M, COLUMNS), tl.float32)
    second = tl.zeros((M, COLUMNS), tl.float32)
    for k in range(0, C, K):
        channels = k + tl.arange(0, K)
        a = tl.load(x + spots[:, None] * C + channels, mask=inside, other=0.0)  # (M, K)
        if NORM:
            a = ((a.to(tl.float32) - mean[:, None]) * scale[:, None]).to(a.dtype)
        if SCALE:
            factors = _attention(average, attention, attention_bias, channels, C)
            a = (a.to(tl.float32) * factors[None, :]).to(a.dtype)
        there = weight + channels[:, None] * N + columns  # (K, COLUMNS)
        first = _add_product(first, a, tl.load(there))
        if GATE:
            second = _add_product(second, a, tl.load(there + N // 2))
    bias += row * bias_step
    first += tl.load(bias + columns).to(tl.float32)[None, :]
    WIDE: tl.constexpr = N // 2 if GATE else N
    if GATE:
        first *= second + tl.load(bias + columns + N // 2).to(tl.float32)[None, :]
    place = (image * pixels + start) * WIDE
    offsets = spots[:, None] * WIDE + columns
    if SKIP:
        first += tl.load(skip + place + offsets, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place + offsets, first.to(out.dtype.element_ty), mask=inside)


@triton.jit
def depthwise(
    x,
    weight,
    bias,
    out,
    sums,
    rows,
    height,
    width,
    weight_step,
    bias_step,
    CHOSEN: tl.constexpr,
    C: tl.constexpr,
    CHANNELS: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
):
    """The depth-wise 3x3 convolution, zeros around, gate and sums: x (B, H, W, 2C) -> out (B, H, W, C), sums.

    weight (3, 3, 2C), bias (2C). A program takes every parts-th tile of TALL x WIDE pixels and leaves the sum over them
    in sums (B, parts, C), float32. Grid: parts, C / CHANNELS, B.
    """
    part, parts, image = tl.program_id(0), tl.num_programs(0), tl.program_id(2).to(tl.int64)
    row = tl.load(rows + image) if CHOSEN else image
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    weight += row * weight_step + channels
    bias += row * bias_step + channels
    above, beside = tl.arange(0, TALL * WIDE) // WIDE, tl.arange(0, TALL * WIDE) % WIDE  # within a tile
    across = tl.cdiv(width, WIDE)
    total = tl.zeros((CHANNELS,), tl.float32)
    for tile in range(part, tl.cdiv(height, TALL) * across, parts):
        top, left = tile // across * TALL, tile % across * WIDE
        corner = (image * height + top) * width + left  # the tile's first pixel
        y, z = top + above, left + beside
        offsets = (above * width + beside)[:, None] * (2 * C) + channels  # (pixels, CHANNELS)
        first = tl.zeros((TALL * WIDE, CHANNELS), tl.float32) + tl.load(bias).to(tl.float32)[None, :]
        second = tl.zeros((TALL * WIDE, CHANNELS), tl.float32) + tl.load(bias + C).to(tl.float32)[None, :]
        for i in tl.static_range(-1, 2):
            for j in tl.static_range(-1, 2):
                there = (y + i >= 0) & (y + i < height) & (z + j >= 0) & (z + j < width)
                near = x + (corner + i * width + j) * (2 * C) + offsets
                tap = weight + ((i + 1) * 3 + j + 1) * (2 * C)
                a = tl.load(near, mask=there[:, None], other=0.0).to(tl.float32)
                b = tl.load(near + C, mask=there[:, None], other=0.0).to(tl.float32)
                first += a * tl.load(tap).to(tl.float32)[None, :]
                second += b * tl.load(tap + C).to(tl.float32)[None, :]
        gated = first * second
        inside = ((y < height) & (z < width))[:, None]
        offsets = (above * width + beside)[:, None] * C + channels
        tl.store(out + corner * C + offsets, gated.to(out.dtype.element_ty), mask=inside)
        total += tl.sum(tl.where(inside, gated, 0.0), 0)
    tl.store(sums + (image * parts + part) * C + channels, total)


@triton.jit
def tail(
    x,
    gated,
    sums,
    ws,
    bs,
    w3,
    b3,
    w4,
    b4,
    w5,
    b5,
    out,
    rows,
    pixels,
    parts,
    eps,
    ws_step,
    bs_step,
    w3_step,
    b3_step,
    w4_step,
    b4_step,
    w5_step,
    b5_step,
    CHOSEN: tl.constexpr,
    C: tl.constexpr,
    M: tl.constexpr,
    K: tl.constexpr,
    PARTS: tl.constexpr,
):
    """All behind the gate: x, gated (B, P, C), sums (B, parts, C) -> out (B, P, C).

    conv3 times channel attention, plus x; norm; conv4, gate, conv5, added. ws (C, C) out by in, w3 (C, C), w4 (C, 2C),
    w5 (C, C). A tile's features stay in registers between the convolutions, K channels of those between conv4 and conv5
    at a time. A program takes M pixels, and where the grid has fewer programs than that makes, every so many-th M.
    Grid: at most P / M, 1, B.
    """
    image = tl.program_id(2).to(tl.int64)
    row = tl.load(rows + image) if CHOSEN else image
    ws += row * ws_step
    bs += row * bs_step
    w3 += row * w3_step
    w4 += row * w4_step
    b4 += row * b4_step
    w5 += row * w5_step
    everything, spots = tl.arange(0, C), tl.arange(0, M)
    third = tl.load(b3 + row * b3_step + everything).to(tl.float32)
    fifth = tl.load(b5 + row * b5_step + everything).to(tl.float32)
    average = _mean(sums + image * parts * C, pixels, parts, C, PARTS)  # (C)
    for tile in range(tl.program_id(0), tl.cdiv(pixels, M), tl.num_programs(0)):
        inside = (tile * M + spots < pixels)[:, None]
        place = (image * pixels + tile * M) * C
        offsets = spots[:, None] * C + everything  # (M, C)
        y = tl.zeros((M, C), tl.float32)
        for k in range(0, C, K):
            channels = k + tl.arange(0, K)
            a = tl.load(gated + place + spots[:, None] * C + channels, mask=inside, other=0.0)  # (M, K)
            a = (a.to(tl.float32) * _attention(average, ws, bs, channels, C)[None, :]).to(a.dtype)
            y = _add_product(y, a, tl.load(w3 + channels[:, None] * C + everything))
        y += third[None, :] + tl.load(x + place + offsets, mask=inside, other=0.0).to(tl.float32)
        kept = y.to(out.dtype.element_ty)  # (M, C), as memory would hold it
        y = kept.to(tl.float32)
        mean, scale = _norm(y, eps, C)
        normal = ((y - mean[:, None]) * scale[:, None]).to(kept.dtype)  # (M, C)
        y += fifth[None, :]
        for j in range(0, C, K):
            columns = j + tl.arange(0, K)
            first = tl.zeros((M, K), tl.float32) + tl.load(b4 + columns).to(tl.float32)[None, :]
            second = tl.zeros((M, K), tl.float32) + tl.load(b4 + C + columns).to(tl.float32)[None, :]
            there = w4 + everything[:, None] * (2 * C) + columns  # (C, K)
            first = _add_product(first, normal, tl.load(there))
            second = _add_product(second, normal, tl.load(there + C))
            both = (first * second).to(kept.dtype)  # (M, K)
            y = _add_product(y, both, tl.load(w5 + columns[:, None] * C + everything))
        tl.store(out + place + offsets, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def resample(
    x,
    weight,
    bias,
    skip,
    out,
    height,
    width,
    C: tl.constexpr,
    N: tl.constexpr,
    DOWN: tl.constexpr,
    M: tl.constexpr,
    COLUMNS: tl.constexpr,
    K: tl.constexpr,
):
    """Between two levels, height and width being those of the smaller map. Grid: H W / M, N / COLUMNS, B.

    DOWN: a 2x2 convolution of stride 2: x (B, 2H, 2W, C), weight (N, 2, 2, C), bias (N) -> out (B, H, W, N). Else a 1x1
    convolution, PixelShuffle(2) and a sum: x (B, H, W, C), weight (2, 2, N/4, C), skip and out (B, 2H, 2W, N/4).
    """
    image = tl.program_id(2).to(tl.int64)
    spots = tl.program_id(0) * M + tl.arange(0, M)
    inside = (spots < height * width)[:, None]
    top, left = (image * height + spots // width) * 2, spots % width * 2  # of each spot's four in the larger map
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((M, COLUMNS), tl.float32)
    DEPTH: tl.constexpr = 4 * C if DOWN else C
    for k in range(0, DEPTH, K):
        if DOWN:
            quarter = k // C
            place = ((top + quarter // 2) * (2 * width) + left + quarter % 2) * C + k % C
        else:
            place = (image * height * width + spots) * C + k
        a = tl.load(x + place[:, None] + tl.arange(0, K), mask=inside, other=0.0)  # (M, K)
        there = weight + columns[None, :] * DEPTH + (k + tl.arange(0, K))[:, None]  # (K, COLUMNS)
        total = _add_product(total, a, tl.load(there))
    if DOWN:
        total += tl.load(bias + columns).to(tl.float32)[None, :]
        place = (image * height * width + spots)[:, None] * N + columns
    else:
        quarter = tl.program_id(1) * COLUMNS // (N // 4)
        place = ((top + quarter // 2) * (2 * width) + left + quarter % 2)[:, None] * (N // 4) + columns % (N // 4)
        total += tl.load(skip + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)
