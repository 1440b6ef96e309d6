"""Photographs of any size within a memory budget: whole and exact where that fits, feathered tiles beyond it.

Tiles do not use averages of their own for the channel attention: those would differ from tile to tile and seams would
show. All tiles use the same ones, gathered in a first pass over crops that are spread over the photograph (at most
``SAMPLE`` pixels, each crop without its rim). With these fixed the network looks about 125 pixels far and no further,
so that neighbouring tiles agree where they overlap, and the overlap is blended with weights that add up to one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.model.demoe import DeMoE, Restored
from demoe.model.layers import NAFBlock
from demoe.model.nafnet import NAFNet

from . import strips
from .restore import check, evaluation_mode, finished, restore

TILE, OVERLAP = 1024, 128  # pixels
SAMPLE = 2 << 20  # pixels of the first pass over a photograph that is cut into tiles
CROP, MARGIN = 512, 64  # pixels: side of a sample crop, and what its rim leaves out of the averages
Route = Literal["image", "tile"]


@dataclass(frozen=True)
class Plan:
    """How a photograph goes through a network."""

    tile: int | None  # side of a tile in pixels; None: whole, which is exact
    recompute: int = 0  # of ``strips.forward``
    bytes: int = 0  # estimated need beyond the photograph and the network


@dataclass(frozen=True, eq=False)
class Large:
    """A restored photograph and how it came about."""

    image: Tensor  # (3, H, W) in [0, 1]
    logits: Tensor | None  # (N,); with one decision a tile, the mean over tiles
    weights: Tensor | None  # (N,); with one decision a tile, the mean over tiles
    plan: Plan
    experts: Tensor | None = None  # (rows, columns) of tiles, the strongest expert's index; None with one decision


def memory_size(text: str) -> int:
    """Bytes of "3G", "512M", "2.5 GiB" (1024-based) or a plain number. Raises ``ValueError`` for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is no amount of memory: write 3G or 800M")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def budget(max_memory: int | None, device: torch.device) -> int:
    """Bytes that a restoration may add. ``max_memory`` is for the whole process; None: four fifths of what is free."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return int(0.8 * free) if max_memory is None else max_memory - torch.cuda.memory_allocated(device)
    if max_memory is not None:
        return max_memory - psutil.Process().memory_info().rss
    free = psutil.virtual_memory().available
    limit, used = (Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory.current"))
    if limit.is_file() and limit.read_text().strip().isdigit():  # a container's
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return int(0.8 * free)


def estimate(model: NAFNet | DeMoE, height: int, width: int, recompute: int = 0, k: int | None = 1) -> int:
    """Bytes that ``strips.forward`` needs for one picture beside the picture and the network: maps, strips, output."""
    unit = 2 ** len(model.encoders)
    height, width = height + -height % unit, width + -width % unit
    item = next(model.parameters()).element_size()
    channels = model.config.width
    top = channels * height * width * item  # the map of the full resolution; each level's is half of that above
    strip = channels * min(strips.rows_for(model, width), height) * width * item
    blocks = (1 + len(model.encoders[0]) if isinstance(model, NAFNet) else 5) if recompute else 0
    several = 1 if k == 1 else (k or 5)
    need = top * (2.0, 1.25, 1.0)[recompute] + strip * (12 + 6 * blocks * (1 + recompute)) * several
    if any(not isinstance(expert, NAFBlock) for moe in getattr(model, "experts", ()) for expert in moe.experts):
        need += 10 * top  # those run on the whole map
    return int(1.3 * need + 3 * height * width * item + (128 << 20))


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
    crops = 4 * model.config.width * (1.25 * min(SAMPLE, height * width) + 12 * CROP**2)  # float32
    sampled = int(1.3 * crops) + 12 * height * width + (128 << 20)
    for side in (4096, 2048, 1024, 512, 2 * OVERLAP):
        need = estimate(model, side, side, 0, k) + 12 * height * width
        if side < max(height, width) and max(need, sampled) <= free:
            return Plan(side, 0, need)
    raise MemoryError(f"not enough memory for {width}x{height} pixels: {max(free, 0) >> 20} MiB are left for the work")


def restore_large(
    model: nn.Module,
    image: Tensor,
    *,
    expert: str | None = None,
    k: int | None = 1,
    max_memory: int | None = None,
    route: Route = "image",
    tile: int | None = None,
    progress: bool = False,
) -> Large:
    """One photograph (3, H, W) in [0, 1] of any size, on the model's device, restored within a memory budget.

    ``max_memory``: bytes for the whole process (on a GPU: for its memory); None takes four fifths of what is free.
    ``route``: one router decision for the photograph, or one a tile. ``tile``: cut into tiles of this side even where
    the whole would fit. A network that is neither NAFNet nor DeMoE runs plainly. Raises as ``restore`` does, and
    ``MemoryError`` if nothing fits the budget.
    """
    if route not in ("image", "tile"):
        raise ValueError(f"unknown route {route!r}: choose image or tile")
    if image.ndim != 3:
        raise ValueError(f"expected one picture of shape (3, H, W), got {tuple(image.shape)}")
    check(model, image, expert)
    if not isinstance(model, (NAFNet, DeMoE)):
        out = restore(model, image)
        return Large(out.image, None, None, Plan(None))
    if route == "tile" and not isinstance(model, DeMoE):
        raise ValueError(f"{type(model).__name__} has no experts to choose tile by tile: use route image")
    height, width = image.shape[-2:]
    found = plan(model, height, width, budget(max_memory, image.device), k, tile)
    if route == "tile" and expert is None and found.tile is None:
        found = replace(found, tile=TILE)
    with torch.no_grad(), evaluation_mode(model):
        if found.tile is None:
            with tqdm(desc="deblurring", unit="block", leave=False, disable=not progress) as bar:
                out = strips.forward(model, image[None], expert, k, recompute=found.recompute, progress=bar.update)
            out, experts = finished(out), None
        else:
            out, experts = _tiled(model, image[None], expert, k, route, found.tile, progress)
    return Large(*(None if field is None else field[0] for field in out), found, experts)


def _tiled(model, image, expert, k, route, tile, progress) -> tuple[Restored, Tensor | None]:
    unit = 2 ** len(model.encoders)
    crops = _sample(image, unit)
    margin = MARGIN if len(crops) > 1 else 0
    per_tile = route == "tile" and expert is None
    gather: Callable = lambda wish: strips.statistics(model, crops, wish, k, margin=margin, recompute=1)  # noqa: E731
    known = gather(expert)
    tops, lefts = (_starts(size, tile, unit) for size in image.shape[-2:])
    by_weights: dict[tuple[float, ...], strips.Statistics] = {}
    out, logits, weights = torch.zeros_like(image), [], []
    bar = tqdm(total=len(tops) * len(lefts), desc="deblurring", unit="tile", leave=False, disable=not progress)
    with bar:
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                part = image[:, :, top : top + tile, left : left + tile]
                wish, scales = expert, known.scales
                if per_tile:
                    own = strips.logits(model, part, known.scales)
                    share = model.gate(own, None, k)
                    logits.append(own)
                    weights.append(share)
                    # Attention after an expert depends on which expert ran; one set for each that was chosen.
                    key = tuple((share if k == 1 else known.weights)[0].tolist())
                    if key not in by_weights:
                        by_weights[key] = gather(key)
                    scales, wish = by_weights[key].scales, tuple(share[0].tolist())
                elif known.weights is not None:
                    wish = tuple(known.weights[0].tolist())
                piece = finished(strips.with_weights(model, part, wish, scales)).image
                rows = _ramp(part.shape[2], tile, tops, i, image.device)
                columns = _ramp(part.shape[3], tile, lefts, j, image.device)
                out[:, :, top : top + tile, left : left + tile] += piece * rows[:, None] * columns
                bar.update()
    if not per_tile:
        return Restored(out.clamp_(0, 1), known.logits, known.weights), None
    mean = [torch.cat(parts).mean(0, keepdim=True) for parts in (logits, weights)]
    chosen = torch.cat(weights).argmax(1).view(len(tops), len(lefts)).cpu()
    return Restored(out.clamp_(0, 1), *mean), chosen


def _sample(image: Tensor, unit: int) -> list[Tensor]:
    """The picture itself if it is small, else crops spread evenly over it."""
    height, width = image.shape[-2:]
    if height * width <= SAMPLE:
        return [nn.functional.pad(image, (0, -width % unit, 0, -height % unit))]
    side_h, side_w = min(CROP, height // unit * unit), min(CROP, width // unit * unit)
    side_h, side_w = (max(side, 2 * MARGIN + unit) for side in (side_h, side_w))
    if side_h > height or side_w > width:  # a very long strip of a picture
        return [nn.functional.pad(image, (0, -width % unit, 0, -height % unit))]
    count = max(1, SAMPLE // (side_h * side_w))
    rows = max(1, min(count, round((count * height / width) ** 0.5)))
    columns = max(1, count // rows)
    tops, lefts = ((torch.linspace(0, (size - side) // unit, count).long() * unit).tolist()
                   for size, side, count in ((height, side_h, rows), (width, side_w, columns)))
    return [image[:, :, top : top + side_h, left : left + side_w] for top in tops for left in lefts]


def _starts(size: int, tile: int, unit: int) -> list[int]:
    """Where tiles begin along one side, each overlapping the next by ``OVERLAP`` at least; the last may be shorter.

    At multiples of ``unit``, because halving the resolution depends on which rows and columns are even.
    """
    starts = [0]
    while starts[-1] + tile < size:
        starts.append(starts[-1] + (tile - OVERLAP) // unit * unit)
    return starts


def _ramp(length: int, tile: int, starts: list[int], i: int, device: torch.device) -> Tensor:
    """Blending weights of tile ``i`` along one side, (length,): over all tiles they add up to one at each pixel.

    The blend takes a quarter of ``OVERLAP`` in the middle of where two tiles overlap, away from their edges.
    """
    at = torch.arange(length, device=device, dtype=torch.float32) + starts[i] + 0.5
    weight = torch.ones(length, device=device)
    for before, after, rising in ((i - 1, i, True), (i, i + 1, False)):
        if before < 0 or after >= len(starts):
            continue
        middle = (starts[after] + starts[before] + tile) / 2
        rise = ((at - middle) / (OVERLAP / 4) + 0.5).clamp(0, 1)
        weight = weight * (rise if rising else 1 - rise)
    return weight


def compare(model: NAFNet | DeMoE, image: Tensor, tile: int = TILE, k: int | None = 1) -> dict[str, float]:
    """Tiled against whole on one photograph (3, H, W): printed, and returned.

    Keys: max_difference, mean_difference, psnr (dB, between the two), whole_seconds, tiled_seconds, peak_mib (of the
    process so far; it never falls).
    """
    import resource
    import sys

    results, seconds = [], []
    for side in (tile, None):
        start = time.perf_counter()
        results.append(restore_large(model, image, k=k, tile=side).image)
        seconds.append(time.perf_counter() - start)
    difference = (results[0] - results[1]).abs().double()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    error = max(difference.square().mean().item(), 1e-20)
    found = {"max_difference": difference.max().item(), "mean_difference": difference.mean().item(),
             "psnr": -10 * torch.tensor(error).log10().item(), "whole_seconds": seconds[1],
             "tiled_seconds": seconds[0], "peak_mib": peak}
    height, width = image.shape[-2:]
    print(f"{width}x{height}, tiles of {tile} against whole: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()))
    return found
