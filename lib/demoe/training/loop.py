"""The training loop: one function, read from top to bottom. The same for both stages."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.optim.swa_utils import get_ema_multi_avg_fn, update_bn
from tqdm.auto import tqdm

from demoe.core.files import naming, write_text
from demoe.data.batches import Batch, Batches, Share, ahead
from demoe.models import layers

from . import distributed, state
from .interruption import interruption
from .losses import Criterion
from .stages import trainable, training_mode
from .step import Precision, TrainStep, compiling, compiling_pays, computed_in

MEASURED = 100  # batches, the last ones, whose statistics batch normalisation keeps for averaged weights


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """Learning rate at ``step`` of ``steps``: half a cosine from ``start`` to ``end`` (Appendix C)."""
    return end + (start - end) * (1 + math.cos(math.pi * step / max(1, steps))) / 2


class OutOfTime(Exception):
    """The time given to a training is over. Its state is saved: called again, it goes on where it stopped."""

    def __init__(self, step: int, steps: int):
        super().__init__(f"stopped after step {step} of {steps}: start the same command again to continue")
        self.step, self.steps = step, steps


def train(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    run_dir: Path,
    *,
    steps: int,
    learning_rate: float = 1e-3,  # at the start; paper
    min_learning_rate: float = 1e-7,  # at the end; paper
    weight_decay: float = 1e-3,  # AdamW's; not stated in the paper
    betas: tuple[float, float] = (0.9, 0.9),  # AdamW's; paper
    clip: float = 0.0,  # norm to which larger gradients are shortened; 0: none, as the paper
    precision: Precision | None = None,  # see ``step.computed_in``
    accumulate: int = 1,  # micro-batches a batch is cut into
    checkpointing: bool = False,  # keep less for the backward pass and compute it twice
    average: float = 0.0,  # decay of a moving average of the weights, which then is the result; 0: none, as the paper
    expert: str | None = None,  # the one that every crop goes through; None: the router mixes them
    seed: int = 0,  # of the dropout masks; batches carry their own
    device: str | torch.device = "cpu",
    workers: int = 0,  # processes that read batches ahead; they change nothing but the time
    checkpoint_every: int = 200,  # steps
    deadline: float | None = None,  # of time.monotonic(): when to save and stop
    log_every: int = 20,  # steps; checkpointed steps are logged as well
    logged: Callable[[dict], None] | None = None,  # is given every line of the log as it is written
    watch: Callable[[int, nn.Module], None] | None = None,  # looks at the network after so many steps, and at the end
    watch_every: int = 100,  # steps
    label: str = "training",  # on the progress bar
    progress: bool = True,
) -> nn.Module:
    """Trains ``model`` in place for ``steps`` optimiser steps and returns it in evaluation mode.

    Writes ``metrics.jsonl`` (a line every ``log_every`` steps: losses, gradient norm, learning rate, images seen,
    seconds spent on the training so far, and how many of them waiting for data) and ``state/`` into ``run_dir``. If
    there is a state, training continues from it: on a CPU the result equals that of a run never interrupted, bit for
    bit, unless a compiler is there only once. A damaged one is set aside, and training starts
    from the beginning. Under ``torchrun`` (``distributed.processes``) all processes train together, and the first
    writes; ``run_dir`` must be on a disk that all of them see. The time spent waiting is the host's: batches made on a
    GPU count only in part.

    Blocks are compiled where that pays (``step.compiling_pays``): on a GPU, and in long trainings in bfloat16 where the
    fused block has none.

    ``watch`` gets a copy of the network in evaluation mode, in the first process alone, before the state is saved: what
    it does changes nothing in the training. With ``expert`` the network trains in evaluation mode, in which one expert
    alone runs: nothing but the router would be different, and it must be frozen.

    With ``average`` the statistics of batch normalisation are measured for the averaged weights at the end, on the last
    ``MEASURED`` batches (``measure_statistics``).

    Raises ``OutOfTime`` at the deadline, ``KeyboardInterrupt`` after Ctrl-C, both when the state is saved,
    ``FloatingPointError`` when the loss is no longer finite, ``RuntimeError`` where the processes do not see the same
    state.
    """
    device = torch.device(device)
    run_dir.mkdir(parents=True, exist_ok=True)
    state_dir, metrics_file = run_dir / "state", run_dir / "metrics.jsonl"
    first_process = distributed.rank() == 0
    if distributed.world() > 1:
        batches.share = Share(distributed.rank(), distributed.world())

    # Model and optimiser.
    model = distributed.synchronised(model.to(device, memory_format=torch.channels_last))
    layers.checkpointing(model, checkpointing)
    parameters = trainable(model)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad and average}
    mean, move_average = {name: p.detach().clone() for name, p in learning.items()}, get_ema_multi_avg_fn(average)

    # Continue where an earlier run stopped. The log is part of the state, so that the two always agree.
    if not first_process:
        distributed.wait()  # the first process sets a damaged state aside before the others look
    found = state.load(state_dir, model, optimizer, mean) or state.Progress(0, "", 0.0, 0.0)
    if first_process:
        distributed.wait()
    first, lines, spent, waited = found
    distributed.check_same(first, f"the step from which {state_dir} goes on")  # and until all have read it
    precision = computed_in(precision, device, steps)
    compiled = compiling_pays(device, precision, steps)
    take = TrainStep(model, criterion, optimizer, precision, accumulate, compiled, clip, expert)

    # Steps.
    training_mode(model) if expert is None else model.eval()
    began = time.perf_counter() - spent
    data = ahead(batches, first, steps, workers, pin=device.type == "cuda")
    if first_process:
        write_text(metrics_file, lines)
    quiet = not progress or not first_process
    with (
        tqdm(total=steps, initial=first, desc=label, unit="step", disable=quiet, mininterval=1, miniters=1) as bar,
        ExitStack() as at_the_end,
    ):
        at_the_end.callback(layers.checkpointing, model, False)  # also when training was stopped
        at_the_end.callback(compiling, model, False)
        interrupted = at_the_end.enter_context(interruption())
        for step in range(first, steps):
            asked = time.perf_counter()
            item = next(data)
            waited += time.perf_counter() - asked
            batch = type(item)(*(side.to(device, non_blocking=True) for side in item))
            # Dropout is a function of the step, so that resuming is exact, and of the process.
            torch.manual_seed((seed * 1_000_003 + step) * distributed.world() + distributed.rank())
            rate = cosine(step, steps, learning_rate, min_learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses, norm = take(batch)
            if mean:
                move_average(list(mean.values()), [p.detach() for p in learning.values()], step)

            last = step == steps - 1
            time_is_up = deadline is not None and time.monotonic() > deadline
            stop = not last and distributed.agree(interrupted() or time_is_up)
            save = stop or ((step + 1) % checkpoint_every == 0 and not last)
            if step % log_every == 0 or save or last:
                values = {name: round(value.item(), 7) for name, value in distributed.average(losses).items()}
                if not math.isfinite(values["total"] + norm.item()):  # before a checkpoint could keep it
                    raise FloatingPointError(
                        f"loss {values['total']} and gradient norm {norm.item()} at step {step} of {run_dir.name}: "
                        "start again with a lower learning rate"
                    )
                if last and mean:
                    recent = range(max(0, steps - MEASURED), steps)
                    shown = tqdm(recent, desc=f"{label}: statistics", unit="batch", leave=False, disable=quiet)
                    _keep_average(model, mean, batches, shown)
                spent = time.perf_counter() - began
                images = (step + 1) * len(batch.labels) * distributed.world()
                line = {"step": step, **values, "grad_norm": round(norm.item(), 6), "lr": rate}
                line |= {"images": images, "seconds": round(spent, 3), "waited": round(waited, 3)}
                lines += json.dumps(line) + "\n"
                if first_process:
                    with naming(metrics_file), metrics_file.open("a") as log:
                        log.write(json.dumps(line) + "\n")
                    if logged is not None:
                        logged(line)
                bar.set_postfix(loss=f"{values['total']:.4f}", refresh=False)
            bar.update()
            if watch is not None and first_process and ((step + 1) % watch_every == 0 or last):
                watch(step + 1, deepcopy(model).eval())  # compiled blocks, which would see new sizes, are not copied
            if save and first_process:
                state.save(state_dir, state.Progress(step + 1, lines, spent, waited), model, optimizer, mean)
            if stop:
                distributed.wait()
                if interrupted():
                    raise KeyboardInterrupt(f"interrupted after step {step + 1} of {steps}: the same command goes on")
                raise OutOfTime(step + 1, steps)
    return model.eval()


def _keep_average(model: nn.Module, mean: dict[str, torch.Tensor], batches: Batches, steps: Iterable[int]) -> None:
    """Puts the averaged weights into ``model``, and batch normalisation's statistics for them, of those batches."""
    for name, value in mean.items():
        model.get_parameter(name).data.copy_(value)
    if next(iter(mean.values())).device.type == "cpu":
        batches.share = Share()  # processes do not share their batches' statistics here, so each measures the whole
    compiling(model, False)  # it would be compiled anew, for no gradients
    measure_statistics(model, (batches[step] for step in steps))


def measure_statistics(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Sets the running statistics of batch normalisation to their mean over ``batches``, of which there is one or more.

    Those of training belong to the weights as they moved, and to a few small batches. What evaluation uses should be of
    the weights that are kept (Izmailov et al., UAI 2018, Section 3.2), and of activations that no dropout scatters,
    since there is none in evaluation. Where any of it is frozen, as stage 2's router, all stays as it is. Not stated in
    the paper, which averages no weights; our choice. Leaves the model in evaluation mode.
    """
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    dropouts = {part: part.p for part in model.modules() if isinstance(part, _DropoutNd)}
    if all(p.requires_grad for norm in norms for p in norm.parameters()):
        for part in dropouts:
            part.p = 0.0
        update_bn(batches, model, next(model.parameters()).device)  # of a Batch the first side, which is blurred
        for part, share in dropouts.items():
            part.p = share
    model.eval()
