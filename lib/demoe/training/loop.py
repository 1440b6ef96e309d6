"""The training loop: one function, read from top to bottom. The same for both stages."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from demoe.data.batches import Batches, ahead

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
    there, training continues from it: on a CPU the result equals that of a run never interrupted, bit for bit. Raises
    ``FloatingPointError`` when the loss is no longer finite.
    """
    device = torch.device(device)
    run_dir.mkdir(parents=True, exist_ok=True)
    state_file, metrics_file = run_dir / "state.pt", run_dir / "metrics.jsonl"
    amp = device.type == "cuda"  # bfloat16 where it is fast; float32 on a CPU

    # Model and optimiser.
    model.to(device, memory_format=torch.channels_last)
    parameters = trainable(model)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)

    # Continue where an earlier run stopped.
    first = 0
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    _keep_lines_before(metrics_file, first)

    # Steps.
    training_mode(model)
    began, waited = time.perf_counter(), 0.0
    data = ahead(batches, first, steps, workers, pin=device.type == "cuda")
    with metrics_file.open("a") as log, tqdm(
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
                log.write(json.dumps(line | times) + "\n")
                log.flush()
                bar.set_postfix(loss=f"{values['total']:.4f}", refresh=False)
            bar.update()
            if save:
                _save(state_file, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1})
    return model.eval()


def _keep_lines_before(file: Path, step: int) -> None:
    """Drops from a log what a resumed run will write again, and a last line cut short by a crash."""
    kept = []
    if file.exists():
        for text in file.read_text().splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                break
            if line["step"] < step:
                kept.append(line)
        partial = file.with_suffix(".tmp")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        partial.replace(file)


def _save(file: Path, state: dict) -> None:
    """A checkpoint appears whole or not at all."""
    partial = file.with_suffix(".tmp")
    with partial.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
