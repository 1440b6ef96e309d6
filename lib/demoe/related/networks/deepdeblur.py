"""DeepDeblur (Nah et al., CVPR 2017), in its authors' later PyTorch form: three scales, the coarser feeds the finer.

The names are those of the authors' code, so that their weights load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .shared import Fusion, Network, Residual, named


def _block(channels: int, kernel: int) -> Residual:
    """Convolution, ReLU, convolution, added to its input: (B, C, H, W) -> (B, C, H, W)."""
    first, second = (nn.Conv2d(channels, channels, kernel, padding=kernel // 2) for _ in range(2))
    return Residual(body=nn.Sequential(first, nn.ReLU(), second))


class Scale(nn.Module):
    """One scale: (B, 3 or 6, h, w) -> (B, 3, h, w)."""

    def __init__(self, inputs: int, blocks: int, channels: int, kernel: int):
        super().__init__()
        first, last = (nn.Conv2d(*pair, kernel, padding=kernel // 2) for pair in ((inputs, channels), (channels, 3)))
        self.body = nn.Sequential(first, *(_block(channels, kernel) for _ in range(blocks)), last)

    def forward(self, x: Tensor, fuse: Callable[[Tensor], Tensor]) -> Tensor:
        return self.body[-1](fuse(self.body[:-1](x)))  # (B, C, h, w) before the last convolution


def _double() -> nn.Sequential:
    """A coarser result as the finer scale sees it: (B, 3, h, w) -> (B, 3, 2h, 2w)."""
    return named(uppath=nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.PixelShuffle(2)))


class DeepDeblur(Network):
    """Restored pictures from the coarsest scale to full size, each from its level of a Gaussian pyramid.

    6 blocks are the semantic prior's simple version. A prior may enter behind the last block of each scale, without
    features of an encoder: added ones, of the first convolution, would not leave the network as it is at the start.
    """

    def __init__(self, n_resblocks: int = 19, n_feats: int = 64, kernel_size: int = 5, n_scales: int = 3):
        super().__init__()
        self.multiple = 2 ** (n_scales - 1)
        inputs = [6] * (n_scales - 1) + [3]  # from the finest to the coarsest, which is fed by none
        self.body_models = nn.ModuleList(Scale(number, n_resblocks, n_feats, kernel_size) for number in inputs)
        # Each leads from its scale to the finer one; at the finest there is none.
        self.conv_end_models = nn.ModuleList(_double() if scale else nn.Identity() for scale in range(n_scales))
        self.fusions = nn.ModuleList(Fusion(n_feats, min(scale, 2)) for scale in reversed(range(n_scales)))

    def forward(self, x: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """As every network here, or of a pyramid of one's own, from coarse to fine, each twice as large as the former.

        Raises ``ValueError`` for a pyramid of other sizes.
        """
        if isinstance(x, Tensor):
            return super().forward(x)
        count = len(self.body_models)
        height, width = x[0].shape[-2:] if len(x) else (0, 0)
        wanted = [(height << level, width << level) for level in range(count)]
        if [tuple(level.shape[-2:]) for level in x] != wanted:
            sizes = ", ".join("x".join(map(str, level.shape[-2:])) for level in x)
            raise ValueError(f"a pyramid has {count} levels from coarse to fine, each twice as large, not {sizes}")
        return self._from_pyramid(x)

    def stages(self, x: Tensor) -> list[Tensor]:
        pyramid = [x]
        while len(pyramid) < len(self.body_models):
            pyramid.append(halved(pyramid[-1]))
        return self._from_pyramid(pyramid[::-1])

    def _from_pyramid(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        found, coarser = [], None
        for scale, picture, fuse in zip(reversed(range(len(pyramid))), pyramid, self.fusions, strict=True):
            y = picture - 0.5  # (B, 3, h, w)
            if coarser is not None:
                y = torch.cat((y, coarser), 1)  # (B, 6, h, w)
            y = self.body_models[scale](y, fuse)  # (B, 3, h, w)
            found.append(y + 0.5)
            coarser = self.conv_end_models[scale](y)  # (B, 3, 2h, 2w)
        return found

    def released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' pictures are in 0 to 255: with biases of 1/255 of theirs, the same network is one for [0, 1]."""
        return {key: value / 255 if key.endswith(".bias") else value for key, value in state.items()}


def halved(x: Tensor) -> Tensor:
    """The next level of the authors' Gaussian pyramid, which is scikit-image's: (B, C, H, W) -> (B, C, H/2, W/2).

    A Gaussian of 2/3 pixels, borders mirrored with the outermost pixel repeated, then the mean of 2x2 pixels. H and W
    are even.
    """
    radius = 3
    steps = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-(steps**2) * (9 / 8))  # exp(-d^2 / (2 sigma^2)), sigma 2/3
    kernel = kernel / kernel.sum()
    channels = x.shape[1]
    for dim in (2, 3):
        size = x.shape[dim]
        places = torch.arange(-radius, size + radius, device=x.device) % (2 * size)
        x = x.index_select(dim, torch.minimum(places, 2 * size - 1 - places))  # 2 * radius more along dim
        shape = [1, 1, 1, 1]
        shape[dim] = len(kernel)
        x = F.conv2d(x, kernel.view(shape).expand(channels, *shape[1:]), groups=channels)
    return F.avg_pool2d(x, 2)
