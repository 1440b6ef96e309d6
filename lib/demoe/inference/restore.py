"""One picture, or a batch of one size, through a network: no gradients, evaluation mode, output in [0,1]."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from demoe.models.outputs import Restored, as_restored, experts_of

from . import strips
from .fold import foldable_network
from .optimize import OptimizedNetwork, on_gpu
from .strip_operations import without_tf32


class NotFinite(RuntimeError):
    """A network's output holds NaN or infinity."""


@torch.no_grad()
def restore(
    model: nn.Module | OptimizedNetwork,
    image: Tensor,
    *,
    expert: str | Sequence[str | None] | strips.Chooser | None = None,
    k: int | None = 1,
) -> Restored:
    """The restored picture, clamped to [0,1], with the router's logits and the weights that mixed the experts.

    ``image`` is (3,H,W) or (B,3,H,W) in [0,1], any H, W >= 1, on the model's device; a picture without batch dimension
    comes back without one, in all three fields. ``expert`` and ``k`` are those of ``DeMoE``; ``expert``
    may also be a function that makes the experts' weights (1,N) of one picture's logits. Other networks have no
    experts: ``weights`` is None then, and so is ``logits`` unless there is a router. Evaluation mode is set for the
    call and the modes found are put back. Raises ``ValueError`` for another shape or an expert that is not there, and
    ``NotFinite``, a ``RuntimeError``, for an output that is not finite.

    NAFNet and DeMoE run optimized (``demoe.optimize``): the same to rounding. ``model`` may be what ``optimize`` made.
    """
    check(model, image, expert)
    batch = image if image.ndim == 4 else image.unsqueeze(0)  # (B,3,H,W)
    fast = model if isinstance(model, OptimizedNetwork) else None if callable(expert) else on_gpu(model)
    with evaluation_mode(model) if fast is None else nullcontext():
        if fast is not None:
            out = fast(batch, expert, k)
        elif foldable_network(model) and (batch.device.type == "cpu" or callable(expert)):
            out = strips.forward(model, batch, expert, k)  # the same to rounding, in less time and memory
        elif experts_of(model):
            out = model(batch, expert=expert, k=k)
        else:
            out = as_restored(model(batch))
    out = finished(out)
    return out if image.ndim == 4 else Restored(*(None if field is None else field[0] for field in out))


def check(model: nn.Module, image: Tensor, expert: object) -> None:
    """Raises ``ValueError`` for what ``restore`` does not take."""
    if image.ndim not in (3, 4) or image.shape[-3] != 3 or 0 in image.shape:
        raise ValueError(f"expected a picture of shape (3, H, W) or a batch (B, 3, H, W), got {tuple(image.shape)}")
    if expert is not None and not experts_of(model):
        raise ValueError(f"{type(model).__name__} has no experts to choose from: leave the expert out")


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then the modes found are put back.

    Module by module: ``model.train()`` would wake parts that a caller had frozen, such as the router's BatchNorm.
    """
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True


@contextmanager
def in_float32(model: nn.Module) -> Iterator[nn.Module]:
    """The network in float32 (a copy if it is in another type), without TF32 and autocast for a while."""
    kinds = {parameter.dtype for parameter in model.parameters()}
    place = next((parameter.device.type for parameter in model.parameters()), "cpu")
    with torch.autocast(place, enabled=False), without_tf32():
        yield model if kinds <= {torch.float32} else copy.deepcopy(model).float()


def finished(out: Restored) -> Restored:
    """With the image clamped to [0,1]. Raises ``NotFinite`` if it is not finite."""
    if not out.image.isfinite().all():
        raise NotFinite(
            "the network's output is not finite (NaN or infinity): the weights are damaged or the numbers overflowed; "
            "try other weights, or float32"
        )
    return out._replace(image=out.image.clamp(0, 1))
