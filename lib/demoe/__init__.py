"""DeMoE, reproduced: one network for camera shake, object motion, low-light blur and defocus.

``demoe.load(path)`` gives a network, ``demoe.deblur(photo)`` deblurs a photograph,
``demoe.optimize(network)`` makes one faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demoe.core import __version__ as __version__

if TYPE_CHECKING:
    from demoe.app.photos import deblur
    from demoe.inference.optimize import optimize
    from demoe.models.checkpoints import load

__all__ = ["deblur", "load", "optimize"]


def __getattr__(name: str):
    # On first use, so that `demoe --help` does not wait for torch.
    if name == "load":
        from demoe.models.checkpoints import load

        return load
    if name == "deblur":
        from demoe.app.photos import deblur

        return deblur
    if name == "optimize":
        from demoe.inference.optimize import optimize

        return optimize
    raise AttributeError(f"module 'demoe' has no attribute {name!r}")
