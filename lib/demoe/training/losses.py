"""Losses as sums of terms; those of Section 3.4: pixels by L1, the blur type by cross-entropy.

A term sees what the network returned and the batch. Whatever else it needs is its own affair: a term may hold a frozen
network (a perceptual loss), which is then neither trained nor saved, because the training knows its own network alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from demoe.data.batches import Batch
from demoe.models.outputs import Restored

TermFunction = Callable[[Restored, Batch], Tensor]  # a scalar in float32
Losses = dict[str, Tensor]  # "total" is what is minimised; the others are logged


@dataclass(frozen=True)
class Term:
    """One part of a loss: ``weight`` times what ``function`` makes of output and batch, a scalar in float32.

    A term of weight 0 is logged, and adds nothing to what is minimised.
    """

    name: str  # in the log
    function: TermFunction
    weight: float = 1.0


class Criterion:
    """``Criterion([Term("pixel", l1, 1.0), ...])(output, batch)``: each term by its name, and their weighted "total".

    Raises ``ValueError`` where two terms have one name, or one is called "total".
    """

    def __init__(self, terms: Sequence[Term]):
        names = [term.name for term in terms]
        if len({*names, "total"}) != len(names) + 1:
            raise ValueError(f"terms need names of their own, other than total, got {', '.join(names)}")
        self.terms = tuple(terms)

    def __call__(self, output: Restored, batch: Batch) -> Losses:
        values = {term.name: term.function(output, batch) for term in self.terms}
        total = sum(term.weight * values[term.name] for term in self.terms)
        return {"total": total} | values


def l1(output: Restored, batch: Batch) -> Tensor:
    """The mean absolute difference of images, (B, 3, P, P)."""
    return F.l1_loss(output.image.float(), batch.sharp)


def cross_entropy(output: Restored, batch: Batch) -> Tensor:
    """Of the router's logits, (B, N), and the blur types; the mean over the images that have one (label 0 or more)."""
    known = (batch.labels >= 0).sum().clamp(min=1)
    return F.cross_entropy(output.logits.float(), batch.labels, ignore_index=-1, reduction="sum") / known


def accuracy(output: Restored, batch: Batch) -> Tensor:
    """The share of images whose blur type the router names, of those that have one."""
    known = (batch.labels >= 0).sum().clamp(min=1)
    return (output.logits.detach().argmax(1) == batch.labels).sum() / known
