"""DeMoE, reproduced: one network for camera shake, object motion, low-light blur and defocus.

``demoe.load(path)`` gives a network, ``demoe.deblur(photo)`` deblurs a photograph,
``demoe.optimize(network)`` makes one faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demoe.fast.optimize import optimize
    from demoe.model.checkpoints import load
    from demoe.photos import deblur

__all__ = ["deblur", "load", "optimize"]
__version__ = "0.1.0"


def __getattr__(name: str):
    # On first use, so that `demoe --help` does not wait for torch.
    if name == "load":
        from demoe.model.checkpoints import load

        return load
    if name == "deblur":
        from demoe.photos import deblur

        return deblur
    if name == "optimize":
        from demoe.fast.optimize import optimize

        return optimize
    raise AttributeError(f"module 'demoe' has no attribute {name!r}")
