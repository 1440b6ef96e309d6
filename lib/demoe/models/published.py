"""Networks that others trained, from a file of weights: read by our own loader, or built by spandrel (an extra).

The architecture is told from the tensors' names and shapes. What such a network was trained on is not in the file: its
row says whose weights they are, and never stands for a training of this project.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from demoe.core.files import checksum

from . import checkpoints
from .checkpoint_files import CheckpointError, read_weights
from .comparators import NOT_INSTALLED
from .outputs import Restored


@dataclass(frozen=True)
class Published:
    """A network from a file, in evaluation mode."""

    label: str  # what a table calls it: "Restormer (weights motion_deblurring.pth)"
    model: nn.Module  # (B, 3, H, W) in [0, 1], any H, W >= 1 -> ``Restored``
    sha256: str  # of the file, for the configuration of a run


class _Foreign(nn.Module):
    """spandrel's network as the ones here are called: any size, pictures in [0, 1]."""

    def __init__(self, descriptor):
        super().__init__()
        self.network = descriptor.model
        self._descriptor = descriptor  # pads to what the network needs, and picks one of several outputs

    def forward(self, x: Tensor) -> Restored:
        return Restored(torch.cat([self._descriptor(image[None]) for image in x]))  # (B, 3, H, W)


def load(path: str | Path, device: str | torch.device = "cpu") -> Published:
    """The network in ``path``: ours, the releases of DeMoE and NAFNet, or what spandrel knows (Restormer, MPRNet, ...).

    Raises ``CheckpointError``, one sentence, for a damaged file, an architecture that nobody here knows, one that is
    not for restoring RGB pictures at their own size, and where spandrel would be needed and is not installed.
    """
    path = Path(path)
    try:
        model = checkpoints.load(path, device)
        kind = type(model).__name__
    except CheckpointError:
        contents = read_weights(path)  # of a file that is damaged, or no checkpoint at all, it says so again
        if contents.record:
            raise
        descriptor = _spandrel(path, contents.tensors)
        model, kind = _Foreign(descriptor).to(device).eval(), descriptor.architecture.name
    return Published(f"{kind} (weights {path.name})", model, checksum(path))


def load_all(paths: Sequence[str | Path], device: str | torch.device = "cpu") -> list[Published]:
    """``load`` for several files; two of one name are told apart by the beginning of their hash."""
    networks = [load(path, device) for path in paths]
    labels = [one.label for one in networks]
    return [
        one if labels.count(one.label) == 1 else replace(one, label=f"{one.label} {one.sha256[:6]}") for one in networks
    ]


def _spandrel(path: Path, state: dict[str, Tensor]):
    """spandrel's description of the network that has these tensors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, about how some architectures are written
            import spandrel
            import spandrel_extra_arches
    except ImportError:
        raise CheckpointError(
            f"{path} is no NAFNet or DeMoE, and spandrel, which knows other networks, is {NOT_INSTALLED}."
        ) from None
    registry = spandrel.MAIN_REGISTRY.copy()
    registry.add(*spandrel_extra_arches.EXTRA_REGISTRY)
    try:
        with torch.random.fork_rng(devices=[]):  # building it must not move the caller's random numbers
            found = spandrel.ModelLoader("cpu", registry=registry).load_from_state_dict(state)
    except Exception as error:  # its own errors, and those of the architecture that it took the tensors for
        raise CheckpointError(
            f"{path} is a checkpoint of a network that nobody here knows, nor does spandrel ({type(error).__name__})."
        ) from None
    sizes = (found.input_channels, found.output_channels, found.scale)
    if not isinstance(found, spandrel.ImageModelDescriptor) or sizes != (3, 3, 1):
        name = found.architecture.name
        raise CheckpointError(f"{path} holds a {name} that does not restore RGB pictures at their own size.")
    return found
