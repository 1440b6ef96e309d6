"""What the machine can do at best: the floor that no formulation gets under."""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F

from demoe.models.demoe import DeMoEConfig

from .options import Options, has_bfloat16
from .timing import interleaved

SIDE = 2048  # of the matrices multiplied: large enough for the peak, small enough for a second
COPIED = 256 << 20  # bytes copied, beyond the caches of most machines


def measure(options: Options) -> pd.DataFrame:
    """A row a quantity: quantity (flops_float32, flops_bfloat16, bytes), per_second, the best of the rounds.

    FLOP/s of a large matrix product, as such or as a convolution, whichever is faster, a multiply-accumulate counted as
    two; and bytes read plus bytes written by a copy.
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
        calls[f"flops_{precision} again"] = (2 * side**3, lambda x=x, weight=weight: F.conv2d(x, weight))
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    calls["bytes"] = (2 * COPIED, lambda: target.copy_(source))
    clock = options.clock | {"seconds": 20, "label": "peak of the machine"}
    taken = interleaved({name: call for name, (_, call) in calls.items()}, options.rounds, **clock)
    rates = {name: work / min(taken[name]) for name, (work, _) in calls.items()}
    best = {name: max(rate, rates.get(f"{name} again", 0)) for name, rate in rates.items() if "again" not in name}
    return pd.DataFrame(best.items(), columns=["quantity", "per_second"])


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
