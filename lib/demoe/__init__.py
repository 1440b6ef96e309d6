"""DeMoE, reproduced: one network for camera shake, object motion, low-light blur and defocus.

``demoe.deblur(photo)`` deblurs a photograph, and ``.save(path)`` of the result writes it. ``demoe.load()`` gives the
network that comes along, ``demoe.load(path)`` that of a file, ``demoe.from_pretrained(name)`` fetches one, and
``demoe.optimize(network)`` makes one faster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from demoe.core import __version__ as __version__

if TYPE_CHECKING:
    from demoe.app.hub import from_pretrained
    from demoe.app.networks import load
    from demoe.app.photos import Deblurred, deblur
    from demoe.inference.optimize import optimize

__all__ = ["Deblurred", "deblur", "from_pretrained", "load", "optimize"]
_HOMES = {
    "Deblurred": "demoe.app.photos",
    "deblur": "demoe.app.photos",
    "from_pretrained": "demoe.app.hub",
    "load": "demoe.app.networks",
    "optimize": "demoe.inference.optimize",
}


def __getattr__(name: str) -> object:
    # On first use, so that `demoe --help` does not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'demoe' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What ``demoe.<Tab>`` offers."""
    return ["__version__", *__all__]
