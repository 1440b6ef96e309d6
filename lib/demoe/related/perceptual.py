"""Perceptual losses: "Image Deblurring by Exploring In-depth Properties of Transformer" (Liang et al.), and CNNs'.

Each is called with a restored and a sharp picture, (B, 3, H, W) in [0, 1], and gives a scalar in float32. Its frozen
network has no gradient, nor has the sharp picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import Feature, FrozenCNN, FrozenViT, vgg_conv3_3
from .weight_files import Weights

MODES = ("local", "global")
PRESETS = ("paper", "code")


class MAELoss(nn.Module):
    """Distance of the features that a frozen vision transformer has of the restored and of the sharp picture.

    ``mode`` "local" (Equation 5): the mean absolute difference over pictures, tokens and channels; the paper writes an
    unreduced norm, the authors' code takes the mean. "global" (Equations 6, 7): per token, the ``p``-norm of the
    difference of the sorted channels, summed over tokens, averaged over pictures (the latter not stated in the paper;
    our choice). ``p`` is not stated; 2 is the authors' code's. It is d^(1/p) times the p-Wasserstein distance of the d
    channels. Features of several ``layers`` (blocks, from 0; the paper's l = 5) are summed.

    ``mask_ratio``: the share of patches that is left out, drawn anew at every call from ``generator`` (None: torch's
    global one, which a training sets at every step, so that it resumes exactly), the same for both pictures. The paper
    has 0.5 for local, nothing for global.

    ``preset`` "code" is the authors' release: 0.1 times the sum over blocks 0 to 5 (of queries, keys or values block 5
    alone), or, global, 1e-4 times the root of the mean over pictures and channels of the squared sorted difference,
    summed over tokens and blocks. The paper's weights, to be put before "paper": 1 (local), 1e-5 (global).
    """

    def __init__(
        self,
        vit: FrozenViT,
        mode: Literal["local", "global"] = "local",
        feature: Feature = "token",
        layers: Sequence[int] = (5,),
        mask_ratio: float = 0.0,
        p: float = 2,
        preset: Literal["paper", "code"] = "paper",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        for value, known in ((mode, MODES), (preset, PRESETS)):
            if value not in known:
                raise ValueError(f"unknown {value!r}: choose one of {', '.join(known)}")
        if not 0 <= mask_ratio < 1:
            raise ValueError(f"mask_ratio {mask_ratio} is not a share from 0 to below 1")
        if not p >= 1:
            raise ValueError(f"p is {p}: a Wasserstein distance has one of at least 1")
        self.vit, self.mode, self.feature, self.mask_ratio, self.p = vit, mode, feature, mask_ratio, p
        self.preset, self.generator = preset, generator
        self.layers = tuple(layers)
        if preset == "code":
            self.layers = tuple(range(6)) if feature == "token" else (5,)

    def forward(self, restored: Tensor, sharp: Tensor, keep: Tensor | None = None) -> Tensor:
        """``keep``, (B, k): the indices of the patches that are looked at, instead of drawn ones."""
        keep = self.draw(restored) if keep is None else keep
        found = self.vit(restored, self.layers, self.feature, keep)
        with torch.no_grad():
            wanted = self.vit(sharp, self.layers, self.feature, keep)
        distance = F.l1_loss if self.mode == "local" else self._sorted_distance
        total = sum(distance(*sides) for sides in zip(found, wanted, strict=True))
        return total * {"paper": 1.0, "code": 0.1 if self.mode == "local" else 1e-4}[self.preset]

    def draw(self, pictures: Tensor) -> Tensor | None:
        """Indices of the patches that stay, (B, k), k = int(n (1 - mask_ratio)); None where all do.

        Drawn on the CPU: the same on every device. Raises ``ValueError`` where none would stay.
        """
        if not self.mask_ratio:
            return None
        rows, columns = self.vit.grid(pictures)
        count = int(rows * columns * (1 - self.mask_ratio))
        if not count:
            raise ValueError(f"mask_ratio {self.mask_ratio} leaves none of {rows * columns} patches")
        noise = torch.rand(len(pictures), rows * columns, generator=self.generator)
        return noise.argsort(1)[:, :count].to(pictures.device)

    def _sorted_distance(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Of features (B, 1 + n, C). The norm has gradient 0 where both sides are equal, not NaN."""
        difference = found.sort(-1).values - wanted.sort(-1).values
        if self.preset == "paper":
            return torch.linalg.vector_norm(difference, self.p, -1).sum(1).mean()  # (B, 1 + n) before both
        size = difference.shape[0] * difference.shape[2]
        return (torch.linalg.vector_norm(difference, 2, (0, 2)) / size**0.5).sum()


class CNNLoss(nn.Module):
    """Mean squared difference of a CNN's feature maps, divided by the mean square of the sharp picture's; their sum.

    It stands in for ``VGGLoss`` where VGG's weights are not: a choice of ours, never to be called VGG. Not
    ``relative``: the differences as they are.
    """

    def __init__(self, cnn: FrozenCNN, relative: bool = True):
        super().__init__()
        self.cnn, self.relative = cnn, relative

    def forward(self, restored: Tensor, sharp: Tensor) -> Tensor:
        found = self.cnn(restored)
        with torch.no_grad():
            wanted = self.cnn(sharp)
            scales = [one.square().mean().clamp(min=1e-12) if self.relative else 1 for one in wanted]
        return sum(F.mse_loss(*pair) / scale for *pair, scale in zip(found, wanted, scales, strict=True))


class VGGLoss(CNNLoss):
    """Mean squared difference at VGG-16's conv3_3, before its ReLU: the paper's baseline (Johnson et al.).

    Layer and weight are not stated in the paper; ours are this layer, and 0.01. ``weights`` is that of
    ``features.vgg_conv3_3``.
    """

    def __init__(self, weights: Weights | None = None):
        super().__init__(vgg_conv3_3(weights), relative=False)
