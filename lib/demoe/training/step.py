"""One optimiser step, made fast: mixed precision, compiled blocks, micro-batches, several devices."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from demoe.core.precision import native_bfloat16
from demoe.data.batches import Batch
from demoe.models import fused_block
from demoe.models.layers import NAFBlock
from demoe.models.outputs import as_restored

from . import distributed
from .losses import Criterion, Losses

Precision = Literal["float32", "bfloat16"]

COMPILED_FROM = 1000  # steps of a training on a CPU; not stated in the paper, our choice


def compiling_pays(device: torch.device, precision: Precision, steps: int) -> bool:
    """Whether a training of ``steps`` steps is shorter with its blocks compiled.

    On a GPU it is. On a CPU the fused block is faster (``models.fused_block``), but it may not have bfloat16 where the
    processor has: that gains a fifth, which makes up for the minute of compiling (once a machine: PyTorch keeps what it
    has compiled) after some 300 steps of four crops of 128 pixels at width 32; float32 gains nothing
    (``python -m benchmarks training``). PyTorch's compiler needs one for C++ there.
    """
    if device.type != "cpu":
        return True
    if fused_block.bfloat16():
        return False
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # as PyTorch looks for it
    return precision == "bfloat16" and steps >= COMPILED_FROM and shutil.which(compiler) is not None


def computed_in(precision: Precision | None, device: torch.device, steps: int) -> Precision:
    """What a training of ``steps`` steps that wishes for ``precision`` is computed in: bfloat16 where NAFBlocks gain.

    None wishes for bfloat16 on a GPU and for float32 on a CPU. Emulated, bfloat16 would take many times as long; on a
    CPU that has it natively it gains where the fused block multiplies in it or where blocks are compiled, and else
    takes longer than the fused block in float32.
    """
    wished = precision or ("bfloat16" if device.type == "cuda" else "float32")
    gains = device.type != "cpu" or fused_block.bfloat16() or compiling_pays(device, wished, steps)
    pays = native_bfloat16(device) and gains
    return wished if pays else "float32"


class TrainStep:
    """``step(batch)`` computes the gradients of one batch under ``criterion`` and updates the weights of ``model``.

    ``precision``: of the convolutions and products; "bfloat16" keeps weights, sums, norms and losses in float32.
    ``accumulate``: the batch is cut into that many equal micro-batches whose gradients are added up, for memory's
    sake; batch normalisation and dropout then see micro-batches. ``compiled``: the blocks are, in place, from the
    first call on until ``compiling(model, False)``; ``compiling_pays`` says when that is worth it. ``clip``: the
    norm to which larger gradients are shortened; 0: none. ``expert``: the one that the crops go through; None: the
    network's own choice. Under ``torchrun`` every process gives its share of the
    batch, and gradients and losses are averaged.
    Raises ``ValueError`` where the batch does not divide by ``accumulate``.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        precision: Precision = "float32",
        accumulate: int = 1,
        compiled: bool = False,
        clip: float = 0.0,
        expert: str | None = None,
    ):
        self.optimizer, self.precision, self.accumulate, self.clip = optimizer, precision, accumulate, clip
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if compiled:
            compiling(model, True)
        self.losses: nn.Module = _Losses(model, criterion, expert)
        if distributed.world() > 1:
            self.losses = DistributedDataParallel(self.losses, find_unused_parameters=True)

    def __call__(self, batch: Batch) -> tuple[Losses, Tensor]:
        """The losses of the batch and the norm of its gradients before the update; scalars, still on the device."""
        device = batch.blurred.device
        losses: Losses = {}
        if len(batch.blurred) % self.accumulate:
            raise ValueError(f"a batch of {len(batch.blurred)} cannot be cut into {self.accumulate} equal parts")
        parts = [Batch(*part) for part in zip(*(side.chunk(self.accumulate) for side in batch), strict=True)]
        for number, part in enumerate(parts):
            part = part._replace(blurred=part.blurred.contiguous(memory_format=torch.channels_last))
            together = number == len(parts) - 1 or distributed.world() == 1  # gradients are exchanged once a batch
            with nullcontext() if together else self.losses.no_sync():
                with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                    values = self.losses(part)
                (values["total"] / self.accumulate).backward()
            for name, value in values.items():
                losses[name] = losses.get(name, 0) + value.detach() / self.accumulate
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.clip:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return losses, norm


class _Losses(nn.Module):
    """A network with what it minimises: from the losses several processes see which parameters they depend on.

    The network alone is a part of it: a term may hold another, which is frozen.
    """

    def __init__(self, model: nn.Module, criterion: Criterion, expert: str | None):
        super().__init__()
        self.model, self.criterion = model, criterion
        self.choice = {} if expert is None else {"expert": expert}  # networks without experts know no such word

    def forward(self, batch: Batch) -> Losses:
        return self.criterion(as_restored(self.model(batch.blurred, **self.choice)), batch)


def compiling(model: nn.Module, on: bool) -> None:
    """Whether the NAFBlocks of ``model`` are compiled: few different ones, so little is compiled for much that runs.

    Where no compiler is at work (Triton's needs one for C, a CPU's one for C++), the blocks run as they are. Not to be
    left on after training: pictures come in many sizes, and each would be compiled for.
    """
    if on:
        torch._dynamo.config.suppress_errors = True
        torch._dynamo.config.recompile_limit = 64  # five levels, frozen or learning, training or not
    for block in model.modules():
        if isinstance(block, NAFBlock):
            block._compiled_call_impl = None  # where PyTorch keeps it, and what it leaves out of copies
            if on:
                block.compile(dynamic=False)
