"""The network that is used: the one that is named, or the default, which comes with the package."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from demoe.core.devices import choose
from demoe.core.files import project_root
from demoe.core.tasks import EXPERTS
from demoe.inference.memory import budget
from demoe.models import checkpoints, pretrained
from demoe.models.outputs import experts_of

from . import hub

PACKAGED_WEIGHTS = pretrained.PACKAGED
_HOW = "give one with --weights FILE or $DEMOE_WEIGHTS, or train one with ./run_all.sh or demoe train"


def load(path: str | os.PathLike | None = None, device: str | torch.device = "cpu") -> nn.Module:
    """The network in a file, in float32 and evaluation mode, on ``device``; without ``path`` the default network.

    ``path``: our own safetensors files, the authors' ``DeMoE.pt``, a NAFNet ``.pth``. The default is that of
    ``default_path``. Each call gives a network of its own. Raises ``checkpoints.CheckpointError`` (one sentence) for a
    file that holds none, ``FileNotFoundError`` where there is no file.
    """
    file = default_path() if path is None else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no weights file {file}: demoe.from_pretrained takes names and addresses")
    return checkpoints.load(file, device)


def default_model(weights: str | os.PathLike | None = None, device: str | None = None) -> nn.Module:
    """The network in ``weights``; else in the file that $DEMOE_WEIGHTS names; else the best in the package
    (``pretrained.RELEASES``); else the DeMoE trained last in this checkout.

    ``weights`` may also be a name, an address or a repository (``hub.find``). ``device`` is one of ``DEVICES``, "auto"
    by default. A file is loaded once for each device. Raises ``FileNotFoundError`` if there is none,
    ``checkpoints.CheckpointError`` for one that cannot be read and ``ValueError`` for a GPU that is not there.
    """
    device = choose(device)
    path = default_path(weights)
    return _load(path.resolve(), path.stat().st_mtime_ns, device)


def default_path(weights: str | os.PathLike | None = None) -> Path:
    """The file that ``default_model`` loads. Raises ``FileNotFoundError`` where none comes along and none is named."""
    if named := weights or os.environ.get("DEMOE_WEIGHTS"):
        return hub.find(named)
    if releases := pretrained.releases(PACKAGED_WEIGHTS):
        return releases[0].demoe
    runs = project_root().glob("results/*/runs/demoe-*/model.safetensors")
    if not (trained := sorted(runs, key=lambda path: path.stat().st_mtime_ns)):
        raise FileNotFoundError(f"no weights come with this installation; {_HOW}")
    return trained[-1]


def default_label() -> str:
    """What ``default_model`` uses when nothing is asked for, for a person to read. Raises as ``default_path``."""
    path = default_path()
    for release in pretrained.releases(PACKAGED_WEIGHTS):
        if release.demoe == path:
            return f"{release.name}, the small network that comes with demoe"
    return f"{path.parent.name}, trained in this checkout" if path.parent.parent.name == "runs" else path.name


def unfit(
    model: nn.Module, expert: str | None, k: int | None = 1, route: str = "image", max_memory: int | None = None
) -> str:
    """Why no photograph at all could be deblurred with these options; "" if they fit the network and this machine."""
    count, name = experts_of(model), type(model).__name__
    if not count and (expert is not None or route == "tile"):
        return f"this {name} has no experts to choose from: leave --expert and --route out"
    if count and expert is not None and EXPERTS.index(expert) >= count:
        return f"this {name} has {count} experts, and {expert} is not among them"
    if count and k is not None and k > count:
        return f"this {name} has {count} experts: --k is at most that"
    if max_memory is not None and budget(max_memory, next(model.parameters()).device) <= 0:
        return f"--max-memory of {max_memory >> 20} MiB is less than the program takes before the first picture"
    return ""


@lru_cache(maxsize=2)
def _load(path: Path, modified: int, device: str) -> nn.Module:
    """``modified`` is there so that a file which was written anew is read anew."""
    return checkpoints.load(path, device)
