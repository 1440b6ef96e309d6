"""Losses on pixels that deblurring networks are trained with. Each takes (B, C, H, W) twice and gives a scalar."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CharbonnierLoss(nn.Module):
    """sqrt(d^2 + eps^2) of the difference d, averaged: an L1 that is smooth at 0, where it gives ``eps``.

    The paper names it as Uformer's own; eps is that of MPRNet's code.
    """

    def __init__(self, eps: float = 1e-3):
        super().__init__()
        self.eps = eps

    def forward(self, restored: Tensor, sharp: Tensor) -> Tensor:
        return ((restored - sharp).square() + self.eps**2).sqrt().mean()


class EdgeLoss(nn.Module):
    """Charbonnier of the Laplacians, as MPRNet's code has it: 1e-3 where both are equal.

    The Laplacian is x - G(4 Z(G(x))): G blurs with the outer product of (.05, .25, .4, .25, .05), borders replicated,
    and Z puts every pixel of an odd row or column (counted from 0) to zero. MPRNet adds it with weight 0.05.
    """

    def __init__(self):
        super().__init__()
        row = torch.tensor((0.05, 0.25, 0.4, 0.25, 0.05))
        self.register_buffer("kernel", torch.outer(row, row))  # (5, 5)
        self.charbonnier = CharbonnierLoss()

    def _blurred(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 5, 5)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), kernel, groups=channels)

    def _laplacian(self, x: Tensor) -> Tensor:
        blurred, kept = self._blurred(x), torch.zeros_like(x)
        kept[..., ::2, ::2] = 4 * blurred[..., ::2, ::2]
        return x - self._blurred(kept)

    def forward(self, restored: Tensor, sharp: Tensor) -> Tensor:
        return self.charbonnier(self._laplacian(restored), self._laplacian(sharp))


class PSNRLoss(nn.Module):
    """10 log10(mse + 1e-8) of each picture, averaged: minus the PSNR in dB; -80 where both are equal.

    The paper names it as NAFNet's own; the 1e-8 is that of NAFNet's and HINet's code.
    """

    def forward(self, restored: Tensor, sharp: Tensor) -> Tensor:
        error = (restored - sharp).square().mean((1, 2, 3))  # (B,)
        return 10 * (error + 1e-8).log10().mean()


class FrequencyLoss(nn.Module):
    """L1 of real and imaginary parts of the unnormalised two-dimensional FFT, as in MIMO-UNet's code.

    MIMO-UNet adds it with weight 0.1.
    """

    def forward(self, restored: Tensor, sharp: Tensor) -> Tensor:
        spectrum = torch.view_as_real(torch.fft.fft2(restored - sharp))  # (B, C, H, W, 2)
        return spectrum.abs().mean()
