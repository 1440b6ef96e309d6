"""How many synthetic patches a second: every set, on the processor and on a GPU where there is one.

``python -m demoe.blur.bench`` prints the table for the default sizes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from . import sources
from .job import Options
from .sets import SETS, synthesize_batch

POOL = 8  # dead-leaves scenes: they are painted once and kept, so that a measurement of minutes need not paint 64


def patches_per_second(
    names: Sequence[str] = SETS,
    size: int = 256,
    *,
    batch: int = 8,
    rounds: int = 5,
    devices: Sequence[str] | None = None,
    split: str = "train",
    progress: bool = True,
) -> pd.DataFrame:
    """One row a set and device: set, device, threads, size, batch, patches_per_second, low, high, ms_per_patch.

    Each of ``rounds`` rounds times one batch of every set, the sets taking turns in a rotating order, so that what
    else the machine does meets all alike. The figure is the median of the rounds, ``low`` and ``high`` their range. A
    round before them warms up (sources read, FFT plans made); a GPU is waited for before the clock is read. Photographs
    decoded and scenes painted are kept in memory, as in a training. ``devices`` defaults to all that are there.
    """
    devices = devices or (["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
    options = Options(canvas=partial(sources.sharp_canvas, pool=POOL))
    for seed in range(POOL):
        sources.dead_leaves(split, seed)
    cases = [(name, device) for device in devices for name in names]
    seconds: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    for turn in tqdm(range(rounds + 1), desc="timing synthesis", unit="round", leave=False, disable=not progress):
        shift = turn % len(cases)
        indices = range(turn * batch, (turn + 1) * batch)
        for name, device in cases[shift:] + cases[:shift]:
            _wait(device)
            start = time.perf_counter()
            synthesize_batch(name, split, indices, size=size, device=device, options=options)
            _wait(device)
            if turn:
                seconds[name, device].append(time.perf_counter() - start)
    rows = []
    for (name, device), measured in seconds.items():
        rates = batch / np.array(measured)
        rows.append({
            "set": name, "device": device, "threads": torch.get_num_threads(), "size": size, "batch": batch,
            "patches_per_second": float(np.median(rates)), "low": rates.min(), "high": rates.max(),
            "ms_per_patch": 1000 / float(np.median(rates)),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    print(patches_per_second().round(1).to_string(index=False))
