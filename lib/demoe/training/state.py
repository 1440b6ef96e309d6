"""A training's whole state on disk: one file, named by the next step, and ``SHA256SUMS``, which names that file.

The sums are replaced last, so a state in ``<run>/state/`` appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from demoe.core.files import SUMS, damaged, set_aside, write_bytes, write_text


class Progress(NamedTuple):
    """How far a training is, apart from its tensors."""

    step: int  # the next one
    log: str  # the lines of metrics.jsonl so far
    seconds: float  # spent on it so far
    waited: float  # of them, for data


def save(
    folder: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
) -> None:
    """Writes the state of a training to ``folder``, in place of the one there.

    ``average`` is the moving average of the weights ({} where there is none). Raises ``OSError`` where it cannot be
    written.
    """
    state = {"model": model.state_dict(), "average": average, "optimizer": optimizer.state_dict()}
    content = io.BytesIO()  # a full disk must not stop PyTorch in the middle of writing: it may end the process
    torch.save(state | progress._asdict(), content)
    file = folder / f"{progress.step:07d}.pt"
    write_bytes(file, content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()  # of what was to be written: a bad write shows
    write_text(folder / SUMS, f"{digest}  {file.name}\n")
    for old in set(folder.glob("*.pt")) - {file}:
        old.unlink()


def load(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
) -> Progress | None:
    """Puts the state in ``folder`` into model, optimiser and ``average``, and returns how far the training was.

    None if there is no state, or it is damaged, incomplete or another network's: it is then set aside, and everything
    is as it was.
    """
    if not folder.exists():
        return None
    try:
        if not is_whole(folder):
            raise ValueError("it is damaged or incomplete")
        state = torch.load(folder / f"{step_of(folder):07d}.pt", map_location="cpu", weights_only=True)
        progress = Progress(int(state["step"]), str(state["log"]), float(state["seconds"]), float(state["waited"]))
        weights, mean = model.state_dict(), state["average"]
        for mine, theirs in ((weights, state["model"]), (average, mean)):  # looked at before anything is changed
            if [(key, value.shape) for key, value in mine.items()] != [(k, v.shape) for k, v in theirs.items()]:
                raise ValueError("it is another network's")
        optimizer.load_state_dict(state["optimizer"])
    except (MemoryError, torch.OutOfMemoryError):  # says nothing about the files
        raise
    except Exception:  # every kind of damage has its own exception here
        remedy = f"it was set aside as {set_aside(folder).name}, and training starts from the beginning"
        print(f"{folder} is damaged: {remedy}.", file=sys.stderr, flush=True)
        return None
    model.load_state_dict(state["model"])
    for key, value in average.items():
        value.copy_(mean[key])
    return progress


def step_of(folder: Path) -> int | None:
    """The step from which the state in ``folder`` goes on; None if there is none that can be read."""
    try:
        return int((folder / SUMS).read_text(encoding="utf-8").split()[-1].removesuffix(".pt"))
    except (OSError, ValueError, IndexError):
        return None


def is_whole(folder: Path) -> bool:
    """Whether there is a state in ``folder`` that is as it was written."""
    return step_of(folder) is not None and not damaged(folder)
