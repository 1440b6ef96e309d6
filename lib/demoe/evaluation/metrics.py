"""Image quality against a sharp reference: PSNR and SSIM on RGB in [0, 1]."""

from __future__ import annotations

import torch
from pytorch_msssim import ssim as _ssim
from torch import Tensor


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each of (B, 3, H, W), peak 1, over all pixels and channels: (B,).

    The mean square error is floored at 1e-10 (100 dB), so that equal images give a number. Raises ``ValueError`` for
    different shapes.
    """
    _same_shape(image, reference)
    error = (image.double() - reference.double()).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp(min=1e-10))


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of each of (B, 3, H, W), data range 1, 11-pixel Gaussian window (Wang et al. 2004): (B,).

    pytorch-msssim's, as design and authors have it. Raises ``ValueError`` for different shapes or sides under 11.
    """
    _same_shape(image, reference)
    if min(image.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs at least 11x11 pixels, got {image.shape[-1]}x{image.shape[-2]}")
    return _ssim(image.double(), reference.double(), data_range=1.0, size_average=False)


def _same_shape(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"cannot compare images of shapes {tuple(image.shape)} and {tuple(reference.shape)}")
