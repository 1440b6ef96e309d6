"""The two losses of Section 3.4: pixels by L1, the blur type by cross-entropy."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from demoe.data.batches import Batch

Losses = dict[str, Tensor]  # "total" is what is minimised; the others are logged
LossFunction = Callable[[nn.Module, Batch], Losses]


def stage1_loss(class_weight: float) -> LossFunction:
    """L = L_pixel + lambda_cl L_class for a NAFNet with router; the paper's lambda_cl is 0.001."""

    def loss(model: nn.Module, batch: Batch) -> Losses:
        return _both(*model.classify(batch.blurred), batch, class_weight)

    return loss


def end_to_end_loss(class_weight: float) -> LossFunction:
    """The same two losses for a DeMoE that is trained as a whole from scratch (Figure 6 right).

    Which losses the paper used there is not stated; our choice: without the second nothing would tell the router what
    the blurs are.
    """

    def loss(model: nn.Module, batch: Batch) -> Losses:
        restored = model(batch.blurred)
        return _both(restored.image, restored.logits, batch, class_weight)

    return loss


def _both(image: Tensor, logits: Tensor, batch: Batch, class_weight: float) -> Losses:
    """The losses of images (B, 3, P, P) and logits (B, N)."""
    pixel = F.l1_loss(image.float(), batch.sharp)
    label = F.cross_entropy(logits.float(), batch.labels)
    accuracy = (logits.detach().argmax(1) == batch.labels).float().mean()
    return {"total": pixel + class_weight * label, "pixel": pixel, "class": label, "accuracy": accuracy}


def stage2_loss(model: nn.Module, batch: Batch) -> Losses:
    """L = L_pixel for a DeMoE whose encoder and router no longer learn."""
    pixel = F.l1_loss(model(batch.blurred).image.float(), batch.sharp)
    return {"total": pixel, "pixel": pixel}


def pixel_loss(model: nn.Module, batch: Batch) -> Losses:
    """L1 alone, for a network without router (Section 3.1's task-specific ones)."""
    pixel = F.l1_loss(model(batch.blurred).float(), batch.sharp)
    return {"total": pixel, "pixel": pixel}
