"""Learned and no-reference metrics: LPIPS through the package ``lpips``, the others through the optional ``pyiqa``.

What needs weights that are not there raises ``CannotMeasure``; the failure is remembered, so that it costs its seconds
once and not with every picture.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import pickle
import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from demoe.core.downloads import CannotMeasure, require
from demoe.core.files import first_line

# torchvision's ImageNet networks, under which lpips puts its own linear layers; VGG also fetches its classifier.
BACKBONES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}
LPIPS_SMALLEST = {"vgg": 16, "alex": 31}  # side in pixels; under it nothing is left after pooling
_TORCH_HOST = "https://download.pytorch.org"
_PYIQA_HOST = "https://huggingface.co"
PYIQA_FILES = {  # what pyiqa 0.1 looks for in torch's hub cache, below "pyiqa"
    "musiq": ("musiq_koniq_ckpt-e95806b9.pth",),
    "nrqm": ("NRQM_model.mat",),
    "niqe": ("niqe_modelparameters.mat",),
    "brisque": ("brisque_svm_weights.pth",),
    "pi": ("NRQM_model.mat", "niqe_modelparameters.mat"),
    "pieapp": ("PieAPPv0.1-0937b014.pth",),
}


@torch.no_grad()
def lpips(image: Tensor, reference: Tensor, net: str = "vgg", authors: bool = False) -> Tensor:
    """LPIPS 0.1 (Zhang et al. 2018) of (B, 3, H, W) in [0, 1] against its reference: (B,), lower is better.

    ``net`` is "vgg" (at least 16 pixels a side) or "alex" (at least 31). The network is made for [-1, 1], which the
    pictures are brought to; with ``authors`` they go in as they are, in [0, 1], which is what the authors' other
    published code does: its numbers are another quantity and must carry that label. Raises ``CannotMeasure`` where
    the weights are missing.
    """
    network = _network(net, str(image.device))
    if isinstance(network, CannotMeasure):
        raise network
    return network(image.float(), reference.float(), normalize=not authors).flatten()


def check_lpips(net: str) -> None:
    """Raises ``CannotMeasure`` where the weights of "vgg" or "alex" are neither here nor to be had."""
    require(f"LPIPS ({net})", [BACKBONES[net]], _TORCH_HOST, "checkpoints")


@lru_cache
def _network(net: str, device: str) -> nn.Module | CannotMeasure:
    try:
        check_lpips(net)
        import lpips as package

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision's, about the way in which lpips asks for its weights
            return package.LPIPS(net=net, verbose=False).requires_grad_(False).to(device)
    except CannotMeasure as error:
        return error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:  # half a file
        return CannotMeasure(
            f"weights damaged ({BACKBONES[net]})", f"{first_line(error)}; delete the file from torch's hub cache"
        )


@torch.no_grad()
def iqa(name: str, image: Tensor, reference: Tensor | None = None) -> Tensor:
    """The metric called ``name`` in ``PYIQA_FILES`` of (B, 3, H, W) in [0, 1], as pyiqa computes it: (B,).

    Pictures are rounded to 8 bits first, because these metrics are published for saved files. Only "pieapp" takes a
    reference. Raises ``CannotMeasure`` where pyiqa or the weights are missing, and for a picture that pyiqa refuses.
    """
    metric = _pyiqa(name, str(image.device))
    if isinstance(metric, CannotMeasure):
        raise metric
    pictures = [quantise(side).float() for side in (image, reference) if side is not None]
    try:
        return metric(*pictures).flatten()
    except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
        raise CannotMeasure(f"pyiqa refuses this picture ({first_line(error)})") from error


def check_iqa(name: str) -> None:
    """Raises ``CannotMeasure`` where pyiqa is not installed, or its weights are neither here nor to be had."""
    if importlib.util.find_spec("pyiqa") is None:
        raise CannotMeasure("pyiqa not installed", "pip install 'demoe[iqa]'")
    require(name, PYIQA_FILES[name], _PYIQA_HOST, "pyiqa")


@lru_cache
def _pyiqa(name: str, device: str) -> Callable[..., Tensor] | CannotMeasure:
    try:
        check_iqa(name)
        import pyiqa

        with contextlib.redirect_stdout(io.StringIO()):  # its word about every file
            return pyiqa.create_metric(name, device=device)
    except CannotMeasure as error:
        return error
    except Exception as error:  # many libraries' own: hubs, pickles, MATLAB files
        return CannotMeasure(f"pyiqa could not load {name}", first_line(error))


def quantise(image: Tensor) -> Tensor:
    """What an 8-bit file holds of a picture in [0, 1]: clamped, rounded to whole 255ths, float64 of the same shape."""
    return (image.double().clamp(0, 1) * 255).round() / 255
