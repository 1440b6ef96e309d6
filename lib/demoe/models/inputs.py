"""What every network here takes: a batch of pictures, and a sentence for whoever gives it something else."""

from __future__ import annotations

import torch
from torch import Tensor

# Values that a picture in [0, 1] may reach by noise, sharpening or resampling; not stated in the paper, our choice.
LOWEST, HIGHEST = -0.5, 1.5


def check_pictures(x: object, values: bool = True) -> None:
    """Raises ``TypeError`` for what is no tensor of floats and ``ValueError`` for what is no batch (B, 3, H, W).

    With ``values`` also for numbers far outside [0, 1], as those of 8-bit pictures: on a CPU alone, because a GPU would
    have to be waited for, and not while a program is traced or compiled.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"a network takes a tensor (B, 3, H, W) of floats in [0, 1], not {type(x).__name__}: "
            "demoe.deblur takes files, arrays and Pillow images"
        )
    if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape:
        raise ValueError(f"expected a batch of pictures (B, 3, H, W), got {tuple(x.shape)}{_remedy(x)}")
    if not x.is_floating_point():
        raise TypeError(f"expected floats in [0, 1], got {x.dtype}: 8-bit pictures need x.float() / 255")
    if not values or type(x) is not Tensor or x.device.type != "cpu" or torch.compiler.is_compiling():
        return
    low, high = (bound.item() for bound in x.detach().aminmax())
    if low < LOWEST or high > HIGHEST:
        remedy = "divide 8-bit pictures by 255" if low >= 0 else "undo the normalisation first"
        raise ValueError(f"expected floats in [0, 1], got values from {low:.4g} to {high:.4g}: {remedy}")


def _remedy(x: Tensor) -> str:
    """What to write instead of ``x``, where its shape tells."""
    shape = tuple(x.shape)
    if x.ndim == 3 and shape[0] == 3:
        return ": one picture needs a batch dimension, x[None]"
    if x.ndim == 3 and shape[2] == 3:
        return ": channels come first, x.permute(2, 0, 1)[None]"
    if x.ndim == 4 and shape[3] == 3:
        return ": channels come first, x.permute(0, 3, 1, 2)"
    if (x.ndim == 4 and shape[1] == 1) or x.ndim == 2:
        return ": a gray picture needs three equal channels"
    if x.ndim == 4 and shape[1] == 4:
        return ": leave the transparency out, x[:, :3]"
    return ""
