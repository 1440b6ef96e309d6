"""Motion blur by the definition of an exposure, which knows nothing of PSFs, Fourier or corners."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def average_of_warps(image: Tensor, paths: list[np.ndarray], frame: object = None) -> Tensor:
    """The mean of a warp of ``image`` (B,C,H,W) per point of its path (N,3); black outside. As ``psf.motion_blur``."""
    height, width = image.shape[-2:]
    # grid_sample asks where an output pixel comes from: undo the translation, then the rotation, in units of half a
    # frame from the centre of the first to the centre of the last pixel.
    half_w, half_h = max(width - 1, 1) / 2, max(height - 1, 1) / 2
    x, y, roll = np.moveaxis(np.stack(paths), -1, 0)
    cosine, sine = np.cos(roll), np.sin(roll)
    rows = [
        [cosine, sine * half_h / half_w, (-cosine * x - sine * y) / half_w],
        [-sine * half_w / half_h, cosine, (sine * x - cosine * y) / half_h],
    ]
    theta = torch.from_numpy(np.moveaxis(np.array(rows), (0, 1), (-2, -1))).to(image.device, image.dtype)  # (B,N,2,3)
    total = torch.zeros_like(image)
    for moment in theta.unbind(1):
        grid = F.affine_grid(moment, list(image.shape), align_corners=True)
        total += F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return total / theta.shape[1]
