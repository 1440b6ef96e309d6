"""Data: how fast is synthesis, and does loading keep up with training? Also behind ``python -m benchmarks loading``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from demoe.blur import sources
from demoe.blur.job import Options
from demoe.blur.sets import SETS, synthesize_batch
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.data.batches import Batches, Fresh, workers_for
from demoe.data.setting import Setting
from demoe.experiments import default_device, specs
from demoe.experiments.runs import criterion
from demoe.models.nafnet import NAFNet
from demoe.training.loop import train

from . import options
from .timing import interleaved

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
    job = Options(canvas=partial(sources.sharp_canvas, pool=POOL))
    for seed in range(POOL):
        sources.dead_leaves(split, seed)

    def synthesise(name: str, device: str, starts: Iterator[int]) -> None:
        start = next(starts)
        synthesize_batch(name, split, range(start, start + batch), size=size, device=device, options=job)

    calls = {(name, device): partial(synthesise, name, device, count(0, batch)) for device in devices for name in names}
    taken = interleaved(calls, rounds, label="timing synthesis", progress=progress)
    table = pd.DataFrame([*taken], columns=["set", "device"])
    table = table.assign(threads=torch.get_num_threads(), size=size, batch=batch)
    rates = batch / np.array([*taken.values()])  # (calls, rounds)
    table["patches_per_second"], table["low"], table["high"] = np.median(rates, 1), rates.min(1), rates.max(1)
    return table.assign(ms_per_patch=1000 / table.patches_per_second)


def synthesis(settings: options.Options) -> pd.DataFrame:
    """``patches_per_second`` as a measurement of this machine has it."""
    size, devices = settings.patches[0], [settings.device]
    return patches_per_second(size=size, rounds=3, devices=devices, progress=settings.progress)


def waiting(settings: options.Options) -> pd.DataFrame:
    """``loading`` as a measurement of this machine has it, with the profile's name."""
    setting = Setting.of("quick" if settings.gpu else "smoke", progress=settings.progress)
    return loading(setting, 20, settings.device).assign(profile=setting.profile.name)


def loading(setting: Setting, steps: int = 40, device: str | None = None) -> pd.DataFrame:
    """How long a step of stage 1 takes and which share of it is spent waiting for data, for each way of loading.

    Columns: data, workers, steps, ms_per_step, waiting (fraction), images_per_second. The networks and the steps are
    the same in all rows; only where the batches come from differs.
    """
    device, profile = device or default_device(), setting.profile
    sets = aio_blur.aio_blur(setting, "train")
    kept = Batches(sets, profile.patch, profile.batch)
    ways = [(f"kept pairs ({aio_blur.kind(sets)})", kept, workers_for(kept))]
    if aio_blur.kind(sets) == "synthetic":
        fresh = Fresh(DATASETS, profile.patch, profile.batch, device=device)
        ways.append((f"synthesised anew on the {device}", fresh, 0))
        if device == "cpu":
            ways.append(("synthesised anew, read ahead", fresh, 1))
    rows = []
    for name, batches, ahead in ways:
        first, last = _timed(setting, batches, steps, ahead, device)
        seconds, waited = (last[key] - first[key] for key in ("seconds", "waited"))
        row = {"data": name, "workers": ahead, "steps": steps, "ms_per_step": 1000 * seconds / steps}
        rows.append(row | {"waiting": waited / seconds, "images_per_second": steps * profile.batch / seconds})
    return pd.DataFrame(rows)


def _timed(setting: Setting, batches, steps: int, workers: int, device: str) -> tuple[dict, dict]:
    """The log lines at the end of the warm-up and at the end of the run."""
    torch.manual_seed(0)
    spec = specs(setting)["baseline"]
    with tempfile.TemporaryDirectory(prefix="demoe-") as folder:
        settings = {"checkpoint_every": steps + WARM_UP + 1, "log_every": 1, "label": "timing"}
        settings |= {"steps": WARM_UP + steps, "device": device, "workers": workers, "progress": setting.progress}
        train(NAFNet(spec.network), batches, criterion(spec), Path(folder), **settings)
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return lines[WARM_UP - 1], lines[-1]
