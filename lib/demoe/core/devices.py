"""Where photographs are computed: the GPU of NVIDIA, of Apple, or the processor."""

from __future__ import annotations

import torch
from torch import Tensor

DEVICES = ("auto", "cuda", "mps", "cpu")
_OWNERS = {"cuda": "NVIDIA", "mps": "Apple"}


def choose(name: str | None = None) -> str:
    """The device called ``name``; of "auto" or None the first of cuda, mps and cpu that is there.

    Raises ``ValueError`` for a GPU that cannot be used on this machine.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name is None or name == "auto":
        return next((device for device, found in there.items() if found), "cpu")
    kind = torch.device(name).type
    if not there.get(kind, True):
        raise ValueError(f"no GPU of {_OWNERS[kind]} can be used on this machine: choose the device auto or cpu")
    return name


def exact(x: Tensor) -> Tensor:
    """``x`` in float64, which Apple's GPUs lack: then it is on the CPU."""
    return x.cpu().double() if x.device.type == "mps" else x.double()
