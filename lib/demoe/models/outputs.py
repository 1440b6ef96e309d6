"""What every network here returns, so that whoever uses one need not ask which it is."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Restored(NamedTuple):
    """A restored image, and what the network said of the blur where it says anything."""

    image: Tensor  # (B, 3, H, W), not clamped
    logits: Tensor | None = None  # (B, N), the router's, whatever expert was asked for; None without a router
    weights: Tensor | None = None  # (B, N), what mixed the experts: rows sum to one; None without experts


def experts_of(model: nn.Module) -> int:
    """How many experts the network mixes, so that it is called with ``expert`` and ``k``; 0 for one without."""
    return getattr(model, "num_experts", 0)


def as_restored(output: Restored | Tensor | list[Tensor]) -> Restored:
    """The output of a network that may be anybody's: an image alone, (B, 3, H, W), or the last of several, the best,
    becomes a ``Restored``."""
    if isinstance(output, Restored):
        return output
    return Restored(output[-1] if isinstance(output, list) else output)
