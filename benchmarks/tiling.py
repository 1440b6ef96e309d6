"""How far a photograph restored in tiles is from the same photograph restored whole, and what is seen at seams."""

from __future__ import annotations

import resource
import sys
import time
from itertools import pairwise

import torch
from torch import Tensor

from demoe.inference.memory import OVERLAP
from demoe.inference.tiles import TILE, restore_large, starts
from demoe.models.layers import UNet


def compare_tiles(
    model: UNet, image: Tensor, tile: int = TILE, k: int | None = 1, expert: str | None = None
) -> dict[str, float]:
    """Tiled against whole on one photograph (3, H, W): printed, and returned.

    Keys: max_difference, mean_difference (of the range 0..1), psnr (dB, between the two), seam (the largest step in the
    difference across any row or column boundary where tiles are blended, averaged along it; 0..1), elsewhere (the
    same where none are blended), whole_seconds, tiled_seconds, peak_mib (of the process so far; it never falls).
    """
    results, seconds = [], []
    for side in (tile, None):
        start = time.perf_counter()
        results.append(restore_large(model, image, k=k, expert=expert, tile=side))
        seconds.append(time.perf_counter() - start)
    if results[1].plan.tile is not None:
        raise MemoryError("the photograph does not fit into memory whole, so that there is nothing to compare with")
    difference = (results[0].image - results[1].image).double()
    steps = [
        (difference.diff(dim=axis).abs().mean((0, 3 - axis)), starts(image.shape[axis], tile, 2 ** len(model.encoders)))
        for axis in (1, 2)
    ]  # (length - 1,) each
    inside, outside = zip(*(_steps(values, tile, places) for values, places in steps), strict=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    error = max(difference.square().mean().item(), 1e-20)
    found = {
        "max_difference": difference.abs().max().item(),
        "mean_difference": difference.abs().mean().item(),
        "psnr": -10 * torch.tensor(error).log10().item(),
        "seam": max(inside),
        "elsewhere": max(outside),
        "whole_seconds": seconds[1],
        "tiled_seconds": seconds[0],
        "peak_mib": peak,
    }
    height, width = image.shape[-2:]
    keys = ("max_difference", "mean_difference", "seam", "elsewhere")
    largest, mean, seam, other = (255 * found[key] for key in keys)
    print(
        f"{width}x{height}, tiles of {tile} against whole, in 8-bit levels (0 to 255): largest difference "
        f"{largest:.3f}, mean {mean:.4f}, {found['psnr']:.1f} dB; largest mean step along a seam {seam:.4f}, along "
        f"any other line {other:.4f}; whole {seconds[1]:.1f} s, tiles {seconds[0]:.1f} s; peak of the process "
        f"{peak:.0f} MiB"
    )
    return found


def _steps(values: Tensor, tile: int, places: list[int]) -> tuple[float, float]:
    """The largest of (length - 1,) values where tiles are blended, and elsewhere; 0 where there are none."""
    blended = torch.zeros(len(values), dtype=torch.bool)
    for before, after in pairwise(places):
        middle = (before + after + tile) // 2
        blended[max(0, middle - OVERLAP // 8 - 1) : middle + OVERLAP // 8 + 1] = True
    return tuple(part.max().item() if len(part) else 0.0 for part in (values[blended], values[~blended]))
