"""Peak memory of restoring one picture: a process of its own for each figure, since none gives all back."""

from __future__ import annotations

import contextlib
import gc
import time
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import torch

from demoe.inference import strips
from demoe.inference.allocator import give_back
from demoe.inference.fold import folded
from demoe.models.demoe import DeMoE

from .inference import BASE, Side, pictures, restoring, sides
from .options import GPU_WARM_UP, Case, Options, has_bfloat16
from .timing import wait
from .weights import shaken

LEANER: Side = ("leaner", "float32")  # optimized, the largest level's map for the decoder computed anew


def plans(options: Options) -> list[tuple[str, Case, Side]]:
    """What is measured, a process each: allocator, case, side with precision.

    The plain formulation takes 18 GB for twelve megapixels, so there it runs with ``--full`` alone.
    """
    middle = max((case for case in options.cases if case.batch == 1), key=lambda case: case.megapixels)
    ours = [("optimized", "float32"), *([("optimized", "bfloat16")] if has_bfloat16(options.device) else [])]
    plans = []
    for number, allocator in enumerate(("default",) if options.gpu else ("raised", "default")):
        few = [BASE, ours[0]] if number and not options.full else [BASE, ("ours", "float32"), *ours]
        plans += [(allocator, middle, side) for side in few]
        large = (*ours, *(() if options.gpu else (LEANER,)), *([BASE] if options.full else []))
        plans += [(allocator, options.large, side) for side in large]
    return plans


def measure(options: Options, case: Case, side: Side) -> pd.DataFrame:
    """One row: case, height, width, side, precision, ms (of one call), extra_bytes (the peak above the start).

    The start is after a first pass over a small picture, which loads what PyTorch loads late. On a GPU the peak is that
    of as many calls as it takes until the picture's size has its graph, the time that of one more.
    """
    device = options.device
    model = shaken(DeMoE(options.demoe))
    if side == LEANER:
        network = partial(strips.forward, folded(model), recompute=1)
    else:
        network = sides(model, device, side[1] == "bfloat16")[side]
    del model
    small = Case("warm-up", 1, 64, 64)
    restoring(network, "DeMoE", side[0], small, 1, pictures(small, device))()
    call = restoring(network, "DeMoE", side[0], case, 1, pictures(case, device))
    before = _reset(options)
    for _ in range(GPU_WARM_UP if options.gpu else 0):
        call()
    wait()
    start = time.perf_counter()
    call()
    wait()
    row = case.columns | {"side": side[0], "precision": side[1], "ms": 1000 * (time.perf_counter() - start)}
    return pd.DataFrame([row | {"extra_bytes": _peak(options) - before}]).drop(columns="batch")


def _reset(options: Options) -> int:
    """Begins a new peak; bytes in use now."""
    if options.gpu:
        torch.cuda.reset_peak_memory_stats(options.device)
        return torch.cuda.memory_allocated(options.device)
    gc.collect()
    give_back()  # else what other networks took and freed counts as in use now, and the call has it for nothing
    with contextlib.suppress(OSError):  # else the peak is that of the process's whole life, which is no less
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the highest resident set
    return psutil.Process().memory_info().rss


def _peak(options: Options) -> int:
    if options.gpu:
        return torch.cuda.max_memory_allocated(options.device)
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    info = psutil.Process().memory_info()
    return getattr(info, "peak_wset", info.rss)  # Windows has it; elsewhere what is left in use is a lower bound
