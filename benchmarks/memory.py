"""Peak memory of restoring one picture: a process of its own for each figure, since none gives all back."""

from __future__ import annotations

import contextlib
import gc
import time
from pathlib import Path

import pandas as pd
import psutil
import torch

from demoe.inference.allocator import give_back
from demoe.models.demoe import DeMoE

from .inference import BASE, GPU_WARM_UP, pictures, restoring, sides
from .options import Case, Options, has_bfloat16
from .timing import wait
from .weights import shaken


def plans(options: Options) -> list[dict]:
    """What is measured, a process each: case, side, precision, allocator.

    The plain formulation takes 18 GB for twelve megapixels, so there it runs with ``--full`` alone.
    """
    case = middle_case(options)
    ours = [("optimized", "float32"), *([("optimized", "bfloat16")] if has_bfloat16(options.device) else [])]
    allocators = ("raised", "default") if options.device == "cpu" else ("default",)
    found = []
    for here in allocators:
        everything = options.full or here == allocators[0]
        found += [
            {"case": case, "side": side, "precision": precision, "allocator": here}
            for side, precision in ((BASE, ("ours", "float32"), *ours) if everything else (BASE, ours[0]))
        ]
        found += [
            {"case": options.large, "side": side, "precision": precision, "allocator": here}
            for side, precision in (*ours, *([BASE] if options.full else []))
        ]
    return found


def middle_case(options: Options) -> Case:
    """The largest of the pictures that are timed, one alone."""
    return max((case for case in options.cases if case.batch == 1), key=lambda case: case.megapixels)


def measure(options: Options, case: Case, side: str, precision: str) -> pd.DataFrame:
    """One row: case, height, width, side, precision, ms (of one call), extra_bytes (the peak above the start).

    The start is after a first pass over a small picture, which loads what PyTorch loads late. On a GPU the peak is that
    of as many calls as it takes until the picture's size has its graph, the time that of one more.
    """
    device, key = options.device, (side, precision)
    made = sides(shaken(DeMoE(options.demoe)), device, precision == "bfloat16")
    network = made[key]
    made.clear()
    small = Case("warm-up", 1, 64, 64)
    restoring(network, "DeMoE", side, small, 1, pictures(small, device))()
    call = restoring(network, "DeMoE", side, case, 1, pictures(case, device))
    before = _reset(device)
    if torch.device(device).type == "cuda":
        for _ in range(GPU_WARM_UP):
            call()
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    seconds = time.perf_counter() - start
    return pd.DataFrame(
        [
            {
                "case": case.name,
                "height": case.height,
                "width": case.width,
                "side": side,
                "precision": precision,
                "ms": 1000 * seconds,
                "extra_bytes": _peak(device) - before,
            }
        ]
    )


def _reset(device: str) -> int:
    """Begins a new peak; bytes in use now."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    gc.collect()
    give_back()  # else what other networks took and freed counts as in use now, and the call has it for nothing
    with contextlib.suppress(OSError):  # else the peak is that of the process's whole life, which is no less
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the highest resident set
    return psutil.Process().memory_info().rss


def _peak(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    info = psutil.Process().memory_info()
    return getattr(info, "peak_wset", info.rss)  # Windows has it; elsewhere what is left in use is a lower bound
