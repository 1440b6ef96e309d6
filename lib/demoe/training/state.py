"""A training's whole state on disk, in parts small enough for any way of carrying them to another machine.

``<run>/state/`` holds the parts and ``manifest.json``, which names them and their SHA-256. The manifest is replaced
last, so a state appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from demoe.core.files import set_aside, write_bytes, write_text

PART_BYTES = 15 << 20  # under the 16 MB that notebook services and mail let through
MANIFEST = "manifest.json"


class Progress(NamedTuple):
    """How far a training is, apart from its tensors."""

    step: int  # the next one
    log: str  # the lines of metrics.jsonl so far
    seconds: float  # spent on it so far
    waited: float  # of them, for data


def save(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
    compact: bool = False,
) -> None:
    """Writes the state of a training to ``folder``, in place of the one there.

    ``average`` is the moving average of the weights ({} where there is none). ``compact`` stores the weights in 16 bits
    and leaves the optimiser's moments out: a quarter of a network's and none of its optimiser's size. With betas of
    0.9 AdamW forgets its moments within a few tens of steps, so little is lost; but what follows is no longer, bit for
    bit, what an undisturbed training gives. Raises ``OSError`` where it cannot be written.
    """
    weights = {"model": model.state_dict(), "average": average}
    if compact:
        weights = {name: {key: _half(value) for key, value in group.items()} for name, group in weights.items()}
    state = weights | {"optimizer": None if compact else optimizer.state_dict()} | progress._asdict()
    content = io.BytesIO()  # a full disk must not stop PyTorch in the middle of writing: it may end the process
    torch.save(state, content)
    whole = content.getbuffer()
    parts = {}
    for number, start in enumerate(range(0, len(whole), PART_BYTES)):
        part = bytes(whole[start : start + PART_BYTES])
        name = f"{progress.step:07d}-{number:03d}.part"
        write_bytes(folder / name, part)
        parts[name] = hashlib.sha256(part).hexdigest()
    described = {"step": progress.step, "compact": compact, "parts": parts}
    write_text(folder / MANIFEST, json.dumps(described, indent=2) + "\n")
    for old in set(folder.glob("*.part")) - {folder / name for name in parts}:
        old.unlink()


def load(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
) -> Progress | None:
    """Puts the state in ``folder`` into model, optimiser and ``average``, and tells how far the training was.

    None if there is no state, or it is damaged, incomplete or another network's: it is then set aside, and everything
    is as it was.
    """
    if not folder.exists():
        return None
    try:
        described = json.loads((folder / MANIFEST).read_text())
        content = b"".join(_checked(folder / name, digest) for name, digest in described["parts"].items())
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        progress = Progress(int(state["step"]), str(state["log"]), float(state["seconds"]), float(state["waited"]))
        weights, mean = model.state_dict(), state["average"]
        for mine, theirs in ((weights, state["model"]), (average, mean)):  # looked at before anything is changed
            if [(key, value.shape) for key, value in mine.items()] != [(k, v.shape) for k, v in theirs.items()]:
                raise ValueError("it is another network's")
        if state["optimizer"] is not None:
            optimizer.load_state_dict(state["optimizer"])
    except (MemoryError, torch.OutOfMemoryError):  # says nothing about the files
        raise
    except Exception:  # every kind of damage has its own exception here
        place = set_aside(folder)
        print(
            f"{folder} is damaged: it was set aside as {place.name}, and training starts from the beginning.",
            file=sys.stderr,
            flush=True,
        )
        return None
    model.load_state_dict(state["model"])
    for key, value in average.items():
        value.copy_(mean[key])
    return progress


def step_of(folder: Path) -> int | None:
    """The step from which the state in ``folder`` goes on; None if there is none that can be read."""
    try:
        return int(json.loads((folder / MANIFEST).read_text())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def _checked(file: Path, digest: str) -> bytes:
    part = file.read_bytes()
    if hashlib.sha256(part).hexdigest() != digest:
        raise ValueError(f"{file.name} is damaged")
    return part
