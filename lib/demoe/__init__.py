"""DeMoE, reproduced: one network for camera shake, object motion, low-light blur and defocus.

``demoe.load(path)`` gives a network, ``demoe.deblur(photo)`` deblurs a photograph,
``demoe.optimize(network)`` makes one faster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from demoe.core import __version__ as __version__

if TYPE_CHECKING:
    from demoe.app.photos import deblur
    from demoe.inference.optimize import optimize
    from demoe.models.checkpoints import load

__all__ = ["deblur", "load", "optimize"]
_HOMES = {"deblur": "demoe.app.photos", "load": "demoe.models.checkpoints", "optimize": "demoe.inference.optimize"}


def __getattr__(name: str) -> object:
    # On first use, so that `demoe --help` does not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'demoe' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What ``demoe.<Tab>`` offers."""
    return ["__version__", *__all__]
