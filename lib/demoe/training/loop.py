"""The training loop: one function, read from top to bottom. The same for both stages."""

from __future__ import annotations

import copy
import io
import json
import math
import sys
import time
import zipfile
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from demoe.data.batches import Batches, ahead
from demoe.paths import naming, set_aside, write_bytes, write_text

from .losses import LossFunction
from .stages import trainable, training_mode


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """Learning rate at ``step`` of ``steps``: half a cosine from ``start`` to ``end`` (Appendix C)."""
    return end + (start - end) * (1 + math.cos(math.pi * step / max(1, steps))) / 2


def train(
    model: nn.Module,
    batches: Batches,
    loss_function: LossFunction,
    run_dir: Path,
    *,
    steps: int,
    learning_rate: float = 1e-3,  # at the start; paper
    min_learning_rate: float = 1e-7,  # at the end; paper
    weight_decay: float = 1e-3,  # AdamW's; not stated in the paper
    betas: tuple[float, float] = (0.9, 0.9),  # AdamW's; paper
    seed: int = 0,  # of the dropout masks; batches carry their own
    device: str | torch.device = "cpu",
    workers: int = 0,  # processes that read batches ahead; they change nothing but the time
    checkpoint_every: int = 200,  # steps
    log_every: int = 20,  # steps; checkpointed steps are logged as well
    label: str = "training",  # on the progress bar
    progress: bool = True,
) -> nn.Module:
    """Trains ``model`` in place for ``steps`` optimiser steps and returns it in evaluation mode.

    Writes ``metrics.jsonl`` (a line every ``log_every`` steps: losses, gradient norm, learning rate, seconds since the
    start, and how many of them were spent waiting for data) and ``state.pt`` into ``run_dir``. If ``state.pt`` is
    there, training continues from it: on a CPU the result equals that of a run never interrupted, bit for bit. One that
    is damaged is set aside, and training starts from the beginning. Raises ``FloatingPointError`` when the loss is no
    longer finite.
    """
    device = torch.device(device)
    run_dir.mkdir(parents=True, exist_ok=True)
    state_file, metrics_file = run_dir / "state.pt", run_dir / "metrics.jsonl"
    amp = device.type == "cuda"  # bfloat16 where it is fast; float32 on a CPU

    # Model and optimiser.
    model.to(device, memory_format=torch.channels_last)
    parameters = trainable(model)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)

    # Continue where an earlier run stopped. The log is part of the checkpoint, so that the two always agree.
    first, lines = _resume(state_file, model, optimizer) if state_file.exists() else (0, "")
    write_text(metrics_file, lines)

    # Steps.
    training_mode(model)
    began, waited = time.perf_counter(), 0.0
    data = ahead(batches, first, steps, workers, pin=device.type == "cuda")
    with naming(metrics_file), metrics_file.open("a") as log, tqdm(
        total=steps, initial=first, desc=label, unit="step", disable=not progress, mininterval=1, miniters=1
    ) as bar:
        for step in range(first, steps):
            asked = time.perf_counter()
            item = next(data)
            waited += time.perf_counter() - asked
            batch = type(item)(*(side.to(device, non_blocking=True) for side in item))
            torch.manual_seed(seed * 1_000_003 + step)  # dropout: a function of the step, so that resuming is exact
            rate = cosine(step, steps, learning_rate, min_learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                blurred = batch.blurred.contiguous(memory_format=torch.channels_last)
                losses = loss_function(model, batch._replace(blurred=blurred))
            losses["total"].backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            last = step == steps - 1
            save = (step + 1) % checkpoint_every == 0 and not last
            if step % log_every == 0 or save or last:
                values = {name: round(value.item(), 7) for name, value in losses.items()}
                if not math.isfinite(values["total"] + norm.item()):  # before a checkpoint could keep it
                    raise FloatingPointError(
                        f"loss {values['total']} and gradient norm {norm.item()} at step {step} of {run_dir.name}: "
                        "start again with a lower learning rate"
                    )
                line = {"step": step, **values, "grad_norm": round(norm.item(), 6), "lr": rate}
                times = {"seconds": round(time.perf_counter() - began, 3), "waited": round(waited, 3)}
                lines += json.dumps(line | times) + "\n"
                log.write(json.dumps(line | times) + "\n")
                log.flush()
                bar.set_postfix(loss=f"{values['total']:.4f}", refresh=False)
            bar.update()
            if save:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                _save(state_file, state | {"step": step + 1, "log": lines})
    return model.eval()


def _resume(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, str]:
    """The step to go on with and the log so far, with model and optimiser as they were then.

    A checkpoint that is damaged, or another network's, is set aside: (0, "") and everything as it was.
    """
    content = file.read_bytes()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:  # PyTorch itself does not look at the check sums
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"{broken} is damaged")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        step, lines = int(state["step"]), str(state["log"])
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return step, lines
    except (MemoryError, torch.OutOfMemoryError):  # says nothing about the file
        raise
    except Exception:  # every kind of damage has its own exception here
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        place = set_aside(file)
        print(f"{file} is damaged: it was set aside as {place.name}, and training starts from the beginning.",
              file=sys.stderr, flush=True)
        return 0, ""


def _save(file: Path, state: dict) -> None:
    """A checkpoint appears whole or not at all."""
    content = io.BytesIO()  # a full disk must not stop PyTorch in the middle of writing: it may end the process
    torch.save(state, content)
    write_bytes(file, content.getvalue())
