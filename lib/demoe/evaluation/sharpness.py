"""How sharp a picture is, without the sharp one: Metric Q (Zhu and Milanfar 2010, IEEE Trans. Image Processing 19(12)).

It needs no weights, and it falls with blur as well as with noise, so that it prefers neither a soft picture nor a noisy
one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 8  # side in pixels; the publication's
SIGNIFICANCE = 0.001  # of "this patch has a direction", against white noise; the publication's


def direction_threshold(patch: int = PATCH, significance: float = SIGNIFICANCE) -> float:
    """The coherence that a ``patch`` x ``patch`` piece of white noise exceeds with that probability."""
    root = significance ** (1 / (patch**2 - 1))
    return math.sqrt((1 - root) / (1 + root))


def metric_q(image: Tensor) -> Tensor:
    """Metric Q of each of (B, 3, H, W) in [0, 1], at least 8 pixels a side: (B,) float64, higher is better.

    The luma is cut into patches; of the gradients in each, s1 >= s2 are the singular values and
    R = (s1 - s2) / (s1 + s2) the coherence. Q is the sum of s1 R over the patches whose R passes
    ``direction_threshold``, over the number of all patches. Our change: luma is divided by its mean, or the brighter
    of two equally sharp pictures would win.
    Raises ``ValueError`` for another shape.
    """
    if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < PATCH:
        raise ValueError(
            f"Metric Q takes pictures (B, 3, H, W) of {PATCH} pixels a side or more, got {tuple(image.shape)}"
        )
    luma = (image.double() * image.new_tensor([0.299, 0.587, 0.114]).double().view(1, 3, 1, 1)).sum(1)  # (B, H, W)
    luma = luma / luma.mean((1, 2), keepdim=True).clamp(min=1e-3)
    gy, gx = torch.gradient(luma, dim=(1, 2))
    xx, yy, xy = (_patch_sums(product) for product in (gx * gx, gy * gy, gx * gy))  # (B, h, w) each
    # Squared singular values of the (64, 2) gradients are the eigenvalues of their 2x2 Gram matrix.
    half, apart = (xx + yy) / 2, torch.sqrt(((xx - yy) / 2).square() + xy.square())
    s1, s2 = (half + apart).sqrt(), (half - apart).clamp(min=0).sqrt()
    coherence = (s1 - s2) / (s1 + s2).clamp(min=1e-12)
    return (s1 * coherence * (coherence >= direction_threshold())).mean((1, 2))


def _patch_sums(values: Tensor) -> Tensor:
    """Sums over whole patches, (B, H, W) -> (B, H // 8, W // 8); what is left at the right and below is not used."""
    return F.avg_pool2d(values.unsqueeze(1), PATCH).squeeze(1) * PATCH**2
