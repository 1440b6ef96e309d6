"""Several processes, one training: what ``torchrun`` starts, found out and hidden from the rest.

Every process makes the same network and takes its share of every batch; gradients are averaged, so the weights stay
the same in all. Batch normalisation uses the whole batch on GPUs; on CPUs (gloo, for tests) each process its share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this one; 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def processes() -> Iterator[None]:
    """Joins the processes that ``torchrun`` started while the block runs; without ``torchrun`` it does nothing."""
    if "LOCAL_RANK" not in os.environ or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def synchronised(model: nn.Module) -> nn.Module:
    """The model with batch normalisation over all processes, where there are several and they have GPUs."""
    if world() > 1 and torch.cuda.is_available():
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def average(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each scalar over all processes."""
    if world() == 1:
        return values
    both = torch.stack([value.float() for value in values.values()])
    dist.all_reduce(both)
    return dict(zip(values, (both / world()).unbind(), strict=True))


def agree(flag: bool) -> bool:
    """Whether any process says so: all of them stop together, or none."""
    if world() == 1:
        return flag  # a tensor would make a GPU wait for every step
    said = torch.tensor(float(flag), device="cuda" if torch.cuda.is_available() else "cpu")
    return bool(average({"stop": said})["stop"])


def check_same(number: int, what: str) -> None:
    """Raises ``RuntimeError`` naming ``what`` unless the number is the same in all processes; waits for all of them."""
    if world() == 1:
        return
    found = [0] * world()
    dist.all_gather_object(found, number)
    if len(set(found)) > 1:
        raise RuntimeError(f"the processes disagree about {what}: use a disk that all of them see")


def wait() -> None:
    """Until all processes are here."""
    if world() > 1:
        dist.barrier()
