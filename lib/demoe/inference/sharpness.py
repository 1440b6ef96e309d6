"""How sharp a picture is, told from the picture alone: what share of its coarser detail the finest detail has.

Blur takes fine detail first. In sharp photographs each octave of detail has about the same energy (their spectra fall
with the square of the frequency); through blur of a pixel or two the finest has less than half of the next. Noise is
measured and taken off, or a noisy blurred picture would pass for a sharp one. Not in the paper; our choice.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 32  # pixels a side of what is judged by itself
TEXTURED = 0.4  # share of the patches that is judged: those with most detail
DISTINCT = 0.25  # of the noise's energy, below which detail cannot be told from noise
SIGMAS = 1.0, 2.0, 4.0  # pixels: finest detail is what the first Gaussian takes away, and so on


def sharpness(luma: Tensor) -> float:
    """Of (H, W) in 8-bit levels: the median, over the patches with most detail, of the energy of the finest detail over
    that of the next octave. About 1 to 3 where sharp, below 0.7 where blurred; 0 without detail, and for pictures too
    small to tell."""
    if min(luma.shape) < 2 * PATCH:
        return 0.0
    level = noise(luma)
    smooth = [luma, *(gaussian(luma, sigma) for sigma in SIGMAS)]
    fine, medium, coarse = (_energy(a - b) for a, b in pairwise(smooth))  # (patches,) each
    gains = _gains()
    clean = fine - gains[0] * level**2
    clean = torch.where(clean < DISTINCT * gains[0] * level**2, 0.0, clean)
    medium = (medium - gains[1] * level**2).clamp(min=0)
    chosen = coarse >= torch.quantile(coarse, 1 - TEXTURED)
    return float((clean / (medium + 1))[chosen].median())


def noise(luma: Tensor) -> float:
    """Standard deviation of the noise of (H, W), from the median of the finest diagonal detail (Donoho)."""
    height, width = (side // 2 * 2 for side in luma.shape)
    a, b, c, d = (luma[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1))
    return float(((a - b - c + d) / 2).abs().median()) / 0.6745


def gaussian(luma: Tensor, sigma: float) -> Tensor:
    """(H, W) -> (H, W), with a Gaussian of ``sigma`` pixels; the picture goes on mirrored."""
    kernel = torch.from_numpy(_kernel(sigma))
    reach = len(kernel) // 2
    padded = F.pad(luma[None, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])[0, 0]


def _kernel(sigma: float) -> np.ndarray:
    at = np.arange(-int(4 * sigma), int(4 * sigma) + 1)
    kernel = np.exp(-0.5 * (at / sigma) ** 2)
    return (kernel / kernel.sum()).astype(np.float32)


@lru_cache
def _gains() -> list[float]:
    """Energy of white noise of variance 1 in each octave."""
    reach = int(4 * SIGMAS[-1])
    point = np.zeros(2 * reach + 1)
    point[reach] = 1
    kernels = [point, *(np.pad(_kernel(sigma), reach - int(4 * sigma)) for sigma in SIGMAS)]
    smooth = [np.outer(one, one) for one in kernels]
    return [float(((a - b) ** 2).sum()) for a, b in pairwise(smooth)]


def _energy(detail: Tensor) -> Tensor:
    return F.avg_pool2d(detail[None, None] ** 2, PATCH).flatten()
