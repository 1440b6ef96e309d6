"""Photographs of any size within a memory budget: whole and exact where that fits, feathered tiles beyond it.

Tiles do not use averages of their own for the channel attention: those would differ from tile to tile and seams would
show. All tiles use the same ones, gathered in a first pass over crops that are spread over the photograph (at most
``SAMPLE`` pixels, each crop without its rim). With these fixed the network looks about 125 pixels far and no further,
so that neighbouring tiles agree where they overlap, and the overlap is blended with weights that add up to one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core.precision import warn_of_emulation
from demoe.models.layers import UNet, pad_to_multiple
from demoe.models.outputs import Restored, experts_of

from . import strips
from .fold import folded
from .memory import CROP, MARGIN, OVERLAP, SAMPLE, Plan, at_once, budget, plan
from .optimize import OptimizedNetwork, on_gpu
from .restore import NotFinite, check, evaluation_mode, finished, in_float32, restore

TILE = 1024  # pixels
Route = Literal["image", "tile"]


@dataclass(frozen=True, eq=False)
class TileMap:
    """The router's decisions on a photograph, one a tile. R rows and C columns of tiles, N experts."""

    tops: list[int]  # (R,) first row of each row of tiles, pixels
    lefts: list[int]  # (C,)
    tile: int  # side in pixels; tiles overlap, and the last of a row or column may be shorter
    size: tuple[int, int]  # (height, width) of the photograph
    router: Tensor  # (R, C, N) softmax of the router, on the CPU
    weights: Tensor  # (R, C, N) what mixed the experts

    @property
    def experts(self) -> Tensor:
        """(R, C): index of the strongest expert of each tile."""
        return self.weights.argmax(2)

    def regions(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(from, to) in pixels of each row and each column of tiles: where that tile has more to say than the next."""
        found = []
        for starts, size in ((self.tops, self.size[0]), (self.lefts, self.size[1])):
            cuts = [0, *((a + b + self.tile) // 2 for a, b in pairwise(starts)), size]
            found.append(list(pairwise(cuts)))
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Large:
    """A restored photograph and how it came about."""

    image: Tensor  # (3, H, W) in [0, 1], in the type that was given
    logits: Tensor | None  # (N,); with one decision a tile, the mean over tiles
    weights: Tensor | None  # (N,); with one decision a tile, the mean over tiles
    plan: Plan
    map: TileMap | None = None  # None with one decision
    recomputed: bool = False  # the first result was not finite, and a second one in float32 was


def restore_large(
    model: nn.Module | OptimizedNetwork,
    image: Tensor,
    *,
    expert: str | strips.Chooser | None = None,
    k: int | None = 1,
    max_memory: int | None = None,
    route: Route = "image",
    tile: int | None = None,
    bf16: bool = False,
    progress: bool = False,
) -> Large:
    """One photograph (3, H, W) in [0, 1] of any size, on the model's device, restored within a memory budget.

    ``expert`` may also be a function that makes the experts' weights of the router's logits, of each tile with one
    decision a tile. ``max_memory``: bytes for
    the whole process (on a GPU: for its memory); None takes four fifths of what is free. ``route``: one router decision
    for the photograph, or one a tile. ``tile``: cut into tiles of this side even where the whole would fit. ``bf16``:
    compute in bfloat16, faster where the processor has it (a warning says where not), in half the memory, more than
    50 dB from float32; averages and the router stay in float32. A network that is neither NAFNet nor DeMoE runs
    plainly. On a GPU a picture that fits goes through the optimized network. What ``optimize`` made for a CPU is
    taken too, in the type it was made for.

    A result that is not finite is computed once more, in float32 without TF32 and autocast. Raises as ``restore`` does
    (``NotFinite`` if the second result is no better), and ``MemoryError`` if nothing fits the budget.
    """
    if route not in ("image", "tile"):
        raise ValueError(f"unknown route {route!r}: choose image or tile")
    if image.ndim != 3:
        raise ValueError(f"expected one picture of shape (3, H, W), got {tuple(image.shape)}")
    if bf16 and isinstance(model, OptimizedNetwork) and model.dtype != torch.bfloat16:
        raise ValueError("this network was optimized for float32: leave bf16 out, or optimize it for torch.bfloat16")
    if bf16:
        warn_of_emulation(image.device.type)
    if isinstance(model, OptimizedNetwork):
        if model.network is None:
            raise ValueError(
                "a photograph may need tiles, which a network optimized for a GPU cannot do: give the network "
                "itself, and it is optimized where that is possible"
            )
        model = model.network
    check(model, image, expert)
    if route == "tile" and isinstance(model, UNet) and not experts_of(model):
        raise ValueError(f"{type(model).__name__} has no experts to choose tile by tile: use route image")

    def attempt(network: nn.Module, bf16: bool = False, fast: OptimizedNetwork | None = None) -> Large:
        given = image.to(next((parameter.dtype for parameter in network.parameters()), image.dtype))
        if not isinstance(network, UNet):
            return Large(restore(network, given).image.to(image.dtype), None, None, Plan(None))
        network = folded(network, torch.bfloat16 if bf16 else None)  # once: statistics belong to its very blocks
        per_tile = route == "tile" and (expert is None or callable(expert))
        free = budget(max_memory, image.device)
        # Where each tile mixes others, all experts run in the first pass; a function may mix them all.
        mixed = callable(expert) or (per_tile and k != 1)
        found = plan(network, *image.shape[-2:], free, None if mixed else k, tile)
        if per_tile and found.tile is None:
            found = replace(found, tile=TILE)
        with torch.no_grad(), evaluation_mode(network):
            out = decisions = None
            if found.tile is not None:
                out, decisions = _tiled(network, given[None], expert, k, per_tile, found.tile, progress)
            elif fast is not None and at_once(network, *image.shape[-2:], k) <= free:
                with suppress(torch.OutOfMemoryError):  # strips need less
                    out = finished(fast(given[None], expert, k))
            if out is None:
                with tqdm(desc="deblurring", unit="block", leave=False, disable=not progress) as bar:
                    ways = {"recompute": found.recompute, "progress": bar.update}
                    out = finished(strips.forward(network, given[None], expert, k, **ways))
        restored, *rest = (None if field is None else field[0] for field in out)
        return Large(restored.to(image.dtype), *rest, found, decisions)

    try:
        return attempt(model, bf16, None if callable(expert) else on_gpu(model, torch.bfloat16 if bf16 else None))
    except NotFinite:
        with in_float32(model) as network:
            return replace(attempt(network), recomputed=True)


def _tiled(model, image, expert, k, per_tile, tile, progress) -> tuple[Restored, TileMap | None]:
    unit = 2 ** len(model.encoders)
    crops = sample(image, unit)
    margin = MARGIN if len(crops) > 1 else 0
    gather: Callable = lambda wish: strips.statistics(model, crops, wish, k, margin=margin)  # noqa: E731
    # Tiles that mix several experts each mix others: all must be known.
    known = strips.statistics(model, crops, None, None, margin=margin) if per_tile and k != 1 else gather(expert)
    tops, lefts = (starts(size, tile, unit) for size in image.shape[-2:])
    by_expert: dict[int, strips.Statistics] = {}
    every: strips.Statistics | None = None
    out, logits, weights = torch.zeros_like(image), [], []
    bar = tqdm(total=len(tops) * len(lefts), desc="deblurring", unit="tile", leave=False, disable=not progress)
    with bar:
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                part = image[:, :, top : top + tile, left : left + tile]
                wish, scales = expert, known.scales
                if per_tile:
                    own = strips.logits(model, part, known.scales)
                    share = expert(own) if callable(expert) else model.gate(own, None, k)
                    logits.append(own)
                    weights.append(share)
                    wish = lambda _, share=share: share  # noqa: E731
                    # Attention after an expert depends on which expert ran: one set for each chosen.
                    if k == 1 and share.count_nonzero() == 1:
                        chosen = int(share.argmax())
                        if chosen not in by_expert:
                            by_expert[chosen] = gather(wish)
                        scales = by_expert[chosen].scales
                    elif k == 1:  # the router was unsure of this one: all are known to a second set
                        every = every or strips.statistics(model, crops, None, None, margin=margin)
                        scales = every.scales
                elif known.weights is not None:
                    wish = lambda _: known.weights  # noqa: E731
                piece = finished(strips.forward(model, part, wish, None, scales=scales)).image
                rows = ramp(part.shape[2], tile, tops, i, image.device).to(image.dtype)
                columns = ramp(part.shape[3], tile, lefts, j, image.device).to(image.dtype)
                out[:, :, top : top + tile, left : left + tile] += piece * rows[:, None] * columns
                bar.update()
    if not per_tile:
        return Restored(out.clamp_(0, 1), known.logits, known.weights), None
    logits, weights = torch.cat(logits), torch.cat(weights)
    grid = (len(tops), len(lefts), -1)
    decisions = TileMap(
        tops,
        lefts,
        tile,
        tuple(image.shape[-2:]),
        logits.float().softmax(1).view(grid).cpu(),
        weights.float().view(grid).cpu(),
    )
    return Restored(out.clamp_(0, 1), logits.mean(0, keepdim=True), weights.mean(0, keepdim=True)), decisions


def sample(image: Tensor, unit: int) -> list[Tensor]:
    """The picture itself if it is small, else crops spread evenly over it."""
    height, width = image.shape[-2:]
    side_h, side_w = (max(min(CROP, size // unit * unit), 2 * MARGIN + unit) for size in (height, width))
    if height * width <= SAMPLE or side_h > height or side_w > width:  # the last: a very long strip of a picture
        return [pad_to_multiple(image, unit)]
    count = max(1, SAMPLE // (side_h * side_w))
    rows = max(1, min(count, round((count * height / width) ** 0.5)))
    columns = max(1, count // rows)
    tops, lefts = (
        (torch.linspace(0, (size - side) // unit, count).long() * unit).tolist()
        for size, side, count in ((height, side_h, rows), (width, side_w, columns))
    )
    return [image[:, :, top : top + side_h, left : left + side_w] for top in tops for left in lefts]


def starts(size: int, tile: int, unit: int) -> list[int]:
    """Where tiles begin along one side, each overlapping the next by ``OVERLAP`` at least; the last may be shorter.

    At multiples of ``unit``, because halving the resolution depends on which rows and columns are even.
    """
    found = [0]
    while found[-1] + tile < size:
        found.append(found[-1] + (tile - OVERLAP) // unit * unit)
    return found


def ramp(length: int, tile: int, starts: list[int], i: int, device: torch.device) -> Tensor:
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
