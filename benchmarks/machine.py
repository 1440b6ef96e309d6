"""What the machine can do at best: the floor that no formulation gets under."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
import torch.nn.functional as F

from demoe.inference.fold import FoldedBlock
from demoe.inference.strip_operations import FusedWeights
from demoe.models import fused_block
from demoe.models.demoe import DeMoEConfig
from demoe.models.layers import NAFBlock

from .options import Options, has_bfloat16
from .timing import interleaved

SIDE = 2048  # of the matrices multiplied: large enough for the peak, small enough for a second
CHANNELS = 256  # of the block whose products are timed
COPIED = 256 << 20  # bytes copied, beyond the caches of most machines


def measure(options: Options) -> pd.DataFrame:
    """A row a quantity: quantity (flops_float32, flops_bfloat16, bytes), per_second, the best of the rounds.

    FLOP/s of a large matrix product, as such, as a convolution, or on a CPU of the fused block's own, whichever is
    fastest, a multiply-accumulate counted as two; and bytes read plus bytes written by a copy.
    """
    device = options.device
    side = 4 * SIDE if options.gpu else SIDE
    calls = {}
    for precision in ("float32", "bfloat16") if has_bfloat16(device) else ("float32",):
        a = torch.rand(side, side, device=device).to(getattr(torch, precision))
        calls[f"flops_{precision}"] = (2 * side**3, lambda a=a: torch.mm(a, a))
        # The same product as a 1x1 convolution, which another library may do, and faster.
        x = a.view(1, side, side, 1).permute(0, 2, 1, 3)  # (1, side, side, 1), channels last
        weight = a.view(side, side, 1, 1)
        calls[f"flops_{precision} as a convolution"] = (2 * side**3, lambda x=x, weight=weight: F.conv2d(x, weight))
        if not options.gpu and fused_block.computes(a.dtype):
            calls[f"flops_{precision} of a block"] = _half_a_block(a.dtype)
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    calls["bytes"] = (2 * COPIED, lambda: target.copy_(source))
    clock = options.clock | {"seconds": 20, "label": "peak of the machine"}
    taken = interleaved({name: call for name, (_, call) in calls.items()}, options.rounds, **clock)
    rates = {name: work / min(taken[name]) for name, (work, _) in calls.items()}
    best: dict[str, float] = {}
    for name, rate in rates.items():
        quantity = name.partition(" ")[0]
        best[quantity] = max(rate, best.get(quantity, 0.0))
    return pd.DataFrame(best.items(), columns=["quantity", "per_second"])


def _half_a_block(dtype: torch.dtype) -> tuple[float, Callable[[], object]]:
    """Operations of the products in the second half of a folded block, and a call that does it."""
    side, operations = 64, fused_block.operations()
    block = FoldedBlock(NAFBlock(CHANNELS)).to(dtype)
    weights = FusedWeights(block)
    x = torch.rand(1, side, side, CHANNELS).to(dtype)
    scale = torch.rand(1, CHANNELS, dtype=weights.exact)
    return 2 * side**2 * 4 * CHANNELS**2, lambda: operations.second(x, x, scale, *weights.second)


def counted(config: DeMoEConfig, height: int, width: int, item: int = 4) -> dict[str, float]:
    """Floating-point operations and bytes of one picture with one expert, counted. ``item``: bytes a value.

    Operations are those of the convolutions, a multiply-accumulate being two; norms, gates and sums are left out. Bytes
    suppose that a block reads and writes five maps. They are two passes over memory, the fewest that its average over
    the picture allows: the first reads the map and writes the gated one, the second reads both and writes the map.
    Other layers read once and write once, and weights are read once.
    """
    levels = zip(config.encoder_blocks, reversed(config.decoder_blocks), strict=True)
    counts = [down + up for down, up in levels] + [config.middle_blocks]  # blocks of each level, the middle last
    macs, values, weights = 0.0, 0.0, 0.0
    for level, count in enumerate(counts):
        blocks, channels = count + config.moe_per_level, config.width << level
        pixels = height * width / 4**level
        # A pixel of a block: C to 2C twice and C to C twice by 1x1, and 3x3 over each of 2C channels.
        block = 6 * channels**2 + 18 * channels
        macs += pixels * blocks * block
        values += pixels * channels * 5 * blocks
        weights += blocks * (block + channels**2)  # the channel attention works on one value a channel
        if level < len(config.encoder_blocks):  # the layers down and up, and the sum with what was skipped
            macs += pixels * 4 * channels**2
            values += pixels * channels * (1.5 + 1.5 + 2)
            weights += 16 * channels**2
    ends = 2 * 27 * config.width  # first and last layer
    values += (6 + 2 * config.width) * height * width
    return {"operations": 2 * (macs + ends * height * width), "bytes": item * (values + weights + ends)}


def floor_seconds(config: DeMoEConfig, height: int, width: int, flops: float, bandwidth: float, item: int = 4) -> float:
    """The longer of computing at the peak and moving bytes at the peak, s."""
    work = counted(config, height, width, item)
    return max(work["operations"] / flops, work["bytes"] / bandwidth)
