"""The mixture-of-experts block (Section 3.3, Equation 2) and its two other fusions (Equations 7 and 8)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from . import stacked
from .experts import expert_block

Fusion = Literal["sum", "residual", "attention"]


def top_k_weights(weights: Tensor, k: int | None) -> Tensor:
    """Keep the ``k`` largest of each row of (B, N) weights and scale them to sum to one; the others become zero.

    ``k=None`` keeps all, unscaled. The authors' release renormalises; the paper does not say. Raises ``ValueError``
    for a ``k`` outside 1..N.
    """
    if k is None:
        return weights
    if not 1 <= k <= weights.shape[1]:
        raise ValueError(f"k must be between 1 and {weights.shape[1]}, got {k}")
    values, chosen = weights.topk(k, dim=1)  # (B, k) both
    return torch.zeros_like(weights).scatter(1, chosen, values / values.sum(dim=1, keepdim=True))


class MoEBlock(nn.Module):
    """N experts on one feature map, mixed by one weight an image.

    forward: features (B, C, H, W), weights (B, N) -> (B, C, H, W). While training every expert runs on every image,
    so that all get gradients; otherwise an expert runs only on the images that give it weight.
    """

    def __init__(self, channels: int, num_experts: int = 5, expert: str = "naf", fusion: Fusion = "sum"):
        super().__init__()
        if fusion not in ("sum", "residual", "attention"):
            raise ValueError(f"unknown fusion {fusion!r}: choose sum, residual or attention")
        self.fusion = fusion
        self.experts = nn.ModuleList(expert_block(expert, channels) for _ in range(num_experts))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        mixed = self._dense(x, weights) if self.training else self._sparse(x, weights)  # (B, C, H, W)
        if self.fusion == "residual":
            return x + mixed  # Equation 7
        if self.fusion == "attention":
            return x * mixed  # Equation 8
        return mixed  # Equation 2

    def _dense(self, x: Tensor, weights: Tensor) -> Tensor:
        recomputed = any(getattr(expert, "recomputed", False) for expert in self.experts)
        if x.is_cuda and not recomputed and stacked.stackable(self.experts):
            return stacked.dense(x, weights, self.experts)  # a third of the kernel launches; on a CPU slower
        columns = weights.to(x.dtype).view(*weights.shape, 1, 1, 1).unbind(1)  # N x (B, 1, 1, 1)
        return sum(column * expert(x) for column, expert in zip(columns, self.experts, strict=True))

    def _sparse(self, x: Tensor, weights: Tensor) -> Tensor:
        used = (weights != 0).cpu()  # (B, N); the one moment at which the host learns which experts run
        if len(x) == 1 or bool((used == used[0]).all()):  # all images agree: no gathering of images
            chosen = used[0].nonzero().flatten().tolist()
            if len(chosen) == 1 and bool((weights[:, chosen[0]] == 1).all()):
                return self.experts[chosen[0]](x)
            return sum(weights[:, i].to(x.dtype).view(-1, 1, 1, 1) * self.experts[i](x) for i in chosen)
        mixed = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            images = used[:, i].nonzero().flatten().to(x.device)  # (b,)
            if len(images):
                share = weights[images, i].to(x.dtype).view(-1, 1, 1, 1)
                mixed.index_add_(0, images, share * expert(x[images]))  # (b, C, H, W)
        return mixed
