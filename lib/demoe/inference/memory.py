"""How much memory a restoration may take and needs, and the way through a network that follows from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from demoe.models import fused_block
from demoe.models.demoe import DeMoE
from demoe.models.layers import NAFBlock
from demoe.models.nafnet import NAFNet

from . import allocator, strips
from .fold import FoldedBlock
from .strip_operations import CACHED
from .strip_runner import ROOMS, working_type

OVERLAP = 128  # pixels that neighbouring tiles share
SAMPLE = 2 << 20  # pixels of the first pass over a photograph that is cut into tiles
SLACK = 1.45  # over the maps counted where tiles are sampled, and on a GPU: what convolutions need besides, and waste
SAFETY = 1.2  # over what ``estimate`` counts, which no measured need has reached
CONTAINER = Path("/sys/fs/cgroup")  # where Linux says what a container may take
CROP, MARGIN = 512, 64  # pixels: side of a sample crop, and what its rim leaves out of the averages


@dataclass(frozen=True)
class Plan:
    """How a photograph goes through a network."""

    tile: int | None  # side of a tile in pixels; None: whole, which is exact
    recompute: int = 0  # of ``strips.forward``
    bytes: int = 0  # estimated need beyond the photograph and the network


def memory_size(text: str) -> int:
    """Bytes of "3G", "512M", "2.5 GiB" (1024-based) or a plain number. Raises ``ValueError`` for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is no amount of memory: write 3G or 800M")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def budget(max_memory: int | None, device: torch.device) -> int:
    """Bytes that a restoration may add. ``max_memory`` is for the whole process; None: four fifths of what is free.

    Memory that the process has freed but kept (``allocator``) is given back first: it is there to be used.
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return int(0.8 * free) if max_memory is None else max_memory - torch.cuda.memory_allocated(device)
    allocator.give_back()
    if max_memory is not None:
        return max_memory - psutil.Process().memory_info().rss
    free = psutil.virtual_memory().available
    limit = CONTAINER / "memory.max"
    if limit.is_file() and limit.read_text().strip().isdigit():
        stat = CONTAINER / "memory.stat"
        counts = dict(line.split() for line in (stat.read_text().splitlines() if stat.is_file() else ()))
        used = int((CONTAINER / "memory.current").read_text())
        free = min(
            free, int(limit.read_text()) - used + int(counts.get("inactive_file", 0))
        )  # that of files is given back
    return int(0.8 * free)


def estimate(model: NAFNet | DeMoE, height: int, width: int, recompute: int = 0, k: int | None = 1) -> int:
    """Bytes that ``strips.forward`` needs for one picture beside the picture and the network: an upper estimate.

    Held at once: the maps that are kept, strips at work, the convolutions' weights as ``Packed``, the output. How many
    strips was measured. One picture's need varies from run to run by a factor of up to 1.8, with the places that the
    allocator happens to choose; the largest is estimated.
    """
    unit = 2 ** len(model.encoders)
    height, width = height + -height % unit, width + -width % unit
    config, item = model.config, working_type(model).itemsize
    row = config.width * width  # values in a row of the full resolution
    top = item * row * height  # its map; each level's is half of that above
    mixed = 1 if k == 1 or not model.num_experts else (k or model.num_experts)
    need = top * (2, 1.5, 1, 0.75)[recompute]
    experts = [expert for moe in getattr(model, "experts", ()) for expert in moe.experts]
    if not all(isinstance(expert, (NAFBlock, FoldedBlock)) for expert in experts):
        need += 13 * top  # those run on the whole map
    # Freed blocks under the allocator's threshold stay with the process, in holes that the next map does not always
    # fit: measured, as much again, of at most four such blocks.
    need += min(need, 4 * max(allocator.MMAP))
    cached = min(CACHED, top)  # bytes of a strip of a map that is kept, a dozen of them in a block
    rows = min(strips.rows_for(model, width), height) if recompute else 0
    strip = item * row * rows  # of the largest level, computed anew
    fused = fused_block.computes(working_type(model))
    waiting = 4 if fused else 10  # strips, about, in each block of the chain
    moes = getattr(config, "moe_per_level", 0)
    chain = 1 + sum(config.encoder_blocks[:1]) + sum(config.decoder_blocks[-1:]) + moes
    need += 12 * cached + waiting * chain * strip + 8 * 4 * row * rows  # the last: float32 behind intro, before ending
    need += (mixed - 1) * max(
        1.6 * waiting * cached, 2 * waiting * strip * moes, min(top, ROOMS // mixed)
    )  # a further expert's own
    if model.mlp_branch is not None:  # the router's features, in float32, of a strip of the last level
        last = min(height * width // unit**2, CACHED // (item * config.width * unit))  # pixels
        need += 4 * 4 * model.mlp_branch.conv_bottleneck[0].out_channels * last
    weights = sum(value.numel() * value.element_size() for value in (*model.parameters(), *model.buffers()))
    need += (1.25 if mixed == 1 else 2.5) * weights  # up to three copies: of one expert in five, or of all
    need += 3 * height * width * next(model.parameters()).element_size()  # the output, in the picture's type
    return int(SAFETY * need) + (48 << 20)


def at_once(model: NAFNet | DeMoE, height: int, width: int, k: int | None = 1) -> int:
    """Bytes that an optimized network on a GPU needs for one picture, estimated by counting; not yet measured on one.

    Two maps of the full resolution stay for the decoder; a block holds ten more, in an MoEBlock for each expert mixed.
    """
    unit = 2 ** len(model.encoders)
    pixels = (height + -height % unit) * (width + -width % unit)
    several = 1 if k == 1 or not model.num_experts else (k or model.num_experts)
    maps = model.config.width * working_type(model).itemsize * (2 + 10 * several)  # bytes a pixel
    return int(SLACK * pixels * (maps + 4 * model.config.width)) + (128 << 20)  # the first map is float32


def plan(model: NAFNet | DeMoE, height: int, width: int, free: int, k: int | None = 1, tile: int | None = None) -> Plan:
    """The fastest exact way that fits ``free`` bytes, else tiles of a size that does. ``tile`` asks for that size.

    Raises ``MemoryError`` if not even the smallest tile fits.
    """
    if tile is not None:
        if tile < 2 * OVERLAP or tile % 2 ** len(model.encoders):
            raise ValueError(f"a tile has at least {2 * OVERLAP} pixels a side, in whole multiples of 16, got {tile}")
        return Plan(tile)
    for recompute in range(strips.MAX_RECOMPUTE + 1):  # narrow networks gain little: their strips weigh more
        need = estimate(model, height, width, recompute, k)
        if need <= free:
            return Plan(None, recompute, need)
    crops = 4 * model.config.width * (2.25 * min(SAMPLE, height * width) + 12 * CROP**2)  # float32
    sampled = int(SLACK * crops) + 12 * height * width + (128 << 20)
    if height * width <= SAMPLE:  # then the picture itself is the sample
        sampled = estimate(model, height, width, 0, k) + 12 * height * width
    for side in (4096, 2048, 1024, 512, 2 * OVERLAP):
        need = estimate(model, side, side, 0, k) + 12 * height * width
        if side < max(height, width) and max(need, sampled) <= free:
            return Plan(side, 0, need)
    raise MemoryError(f"not enough memory for {width}x{height} pixels: {max(free, 0) >> 20} MiB are left for the work")
