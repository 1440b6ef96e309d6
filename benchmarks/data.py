"""Data: how fast is synthesis, and does loading keep up with training? Also behind ``python -m benchmarks loading``."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from demoe.blur import sources
from demoe.blur.job import Options
from demoe.blur.sets import SETS, synthesize_batch
from demoe.core.profiles import Profile
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.data.batches import Batches, Fresh, workers_for
from demoe.experiments import default_device
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training.loop import train
from demoe.training.losses import pixel_and_class_loss

POOL = 8  # dead-leaves scenes: they are painted once and kept, so that a measurement of minutes need not paint 64
WARM_UP = 3  # steps before the clock counts: first allocations, worker processes starting


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
        rows.append(
            {
                "set": name,
                "device": device,
                "threads": torch.get_num_threads(),
                "size": size,
                "batch": batch,
                "patches_per_second": float(np.median(rates)),
                "low": rates.min(),
                "high": rates.max(),
                "ms_per_patch": 1000 / float(np.median(rates)),
            }
        )
    return pd.DataFrame(rows)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def loading(
    profile: Profile,
    steps: int = 40,
    data_root: aio_blur.Where = None,
    progress: bool = True,
    device: str | None = None,
) -> pd.DataFrame:
    """How long a step of stage 1 takes and which share of it is spent waiting for data, for each way of loading.

    Columns: data, workers, steps, ms_per_step, waiting (fraction), images_per_second. The networks and the steps are
    the same in all rows; only where the batches come from differs.
    """
    device = device or default_device()
    sets = aio_blur.aio_blur(profile, "train", 0, data_root, progress)
    kept = Batches(sets, profile.patch, profile.batch)
    ways = [(f"kept pairs ({aio_blur.kind(sets)})", kept, workers_for(kept))]
    if aio_blur.kind(sets) == "synthetic":
        fresh = Fresh(DATASETS, profile.patch, profile.batch, device=device)
        ways.append((f"synthesised anew on the {device}", fresh, 0))
        if device == "cpu":
            ways.append(("synthesised anew, read ahead", fresh, 1))
    rows = []
    for name, batches, ahead in ways:
        first, last = _timed(profile, batches, steps, ahead, device, progress)
        seconds, waited = (last[key] - first[key] for key in ("seconds", "waited"))
        rows.append(
            {
                "data": name,
                "workers": ahead,
                "steps": steps,
                "ms_per_step": 1000 * seconds / steps,
                "waiting": waited / seconds,
                "images_per_second": steps * profile.batch / seconds,
            }
        )
    return pd.DataFrame(rows)


def _timed(profile: Profile, batches, steps: int, workers: int, device: str, progress: bool) -> tuple[dict, dict]:
    """The log lines at the end of the warm-up and at the end of the run."""
    torch.manual_seed(0)
    model = NAFNet(NAFNetConfig(width=profile.width, router=True))
    with tempfile.TemporaryDirectory(prefix="demoe-") as folder:
        train(
            model,
            batches,
            pixel_and_class_loss(profile.class_weight),
            Path(folder),
            steps=WARM_UP + steps,
            device=device,
            workers=workers,
            checkpoint_every=steps + WARM_UP + 1,
            log_every=1,
            label="timing",
            progress=progress,
        )
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return lines[WARM_UP - 1], lines[-1]
