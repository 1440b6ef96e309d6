"""The networks of Liang et al. that spandrel's packages hold, at their published sizes: Uformer, Restormer, MPRNet.

NAFNet, the fifth beside DPDNet, is the project's own (``models/nafnet.py``).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.models.comparators import spandrel_network
from demoe.models.layers import pad_to_multiple


class _Size(NamedTuple):
    module: str
    options: dict
    multiple: int  # of the sides
    channels: int = 3  # of what goes in


_EXTRA = "spandrel_extra_arches.architectures"
SIZES = {
    "Uformer-T": _Size("spandrel.architectures.Uformer", {"embed_dim": 16, "modulator": True}, 128),  # squares alone
    "Restormer": _Size(f"{_EXTRA}.Restormer", {}, 8),
    "Restormer-DP": _Size(f"{_EXTRA}.Restormer", {"inp_channels": 6, "dual_pixel_task": True}, 8, 6),
    "MPRNet": _Size(f"{_EXTRA}.MPRNet", {"n_feat": 96, "scale_unetfeats": 48, "scale_orsnetfeats": 32}, 8),
    "MPRNet-lite": _Size(f"{_EXTRA}.MPRNet", {"n_feat": 40, "scale_unetfeats": 40, "scale_orsnetfeats": 32}, 8),
}


@dataclass(frozen=True)
class SpandrelConfig:
    """Which network it is, the argument of the class."""

    name: str = "Restormer"  # of SIZES


class SpandrelNetwork(nn.Module):
    """(B, 3, H, W) in [0, 1] -> a list of pictures, (B, 3, H, W), not clamped, the best last: MPRNet's three, or one.

    ``name`` is one of ``SIZES``: "-DP" takes two views of a dual-pixel sensor, (B, 6, H, W). Any H, W >= 1: zeros are
    padded, for Uformer to a square, and cropped. Raises ``ValueError`` for another name, and
    ``ModuleNotFoundError`` where spandrel's package is not installed.
    """

    def __init__(self, name: str = "Restormer"):
        super().__init__()
        if name not in SIZES:
            raise ValueError(f"unknown network {name!r}: choose one of {', '.join(SIZES)}")
        self.config, size = SpandrelConfig(name), SIZES[name]
        self.multiple = size.multiple
        # Uformer reads numbers off a tensor while it is built, which it cannot on the device "meta" of a loader.
        with torch.device("cpu") if name == "Uformer-T" else nullcontext():
            self.network = spandrel_network(size.module, **size.options)

    def to(self, *args, memory_format=None, **kwargs) -> SpandrelNetwork:
        """As every module's, but for the memory format: spandrel's networks hold parameters that have not four axes."""
        return super().to(*args, **kwargs)

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[-2:]
        if self.config.name == "Uformer-T":
            side = max(height, width)
            x = F.pad(x, (0, side - width, 0, side - height))
        found = self.network(pad_to_multiple(x.contiguous(), self.multiple))  # (B, 3, H', W'), or the best first
        stages = [found] if isinstance(found, Tensor) else found[::-1]
        return [stage[..., :height, :width] for stage in stages]
