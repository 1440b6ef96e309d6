"""The statistics of batch normalisation, measured anew for weights that were averaged.

The running statistics belong to the weights as they moved, and to a few small batches: with batches of 8 the last ones
decide. What evaluation uses should be those of the weights that are kept (Izmailov et al., UAI 2018, Section 3.2), of
many batches with equal say, and of activations that no dropout scatters, since there is none in evaluation.
Not stated in the paper, which averages no weights; our choice. ``torch.optim.swa_utils.update_bn`` would measure frozen
layers as well, such as stage 2's router, and with dropout.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from demoe.data.batches import Batch

from .stages import training_mode


@torch.no_grad()
def remeasure(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Sets the running statistics of every batch normalisation that learns to the mean over ``batches``.

    Frozen ones keep theirs, and so do all where there are no batches. Leaves the model in evaluation mode.
    """
    training_mode(model)
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.training]
    momenta = [norm.momentum for norm in norms]
    for part in model.modules():
        if isinstance(part, _DropoutNd):
            part.eval()
    device = next(model.parameters()).device
    try:
        for number, batch in enumerate(batches if norms else ()):
            for norm in norms:
                norm.momentum = 1 / (number + 1)  # the first batch replaces what was there
            model(batch.blurred.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()
