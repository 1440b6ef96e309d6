"""Benchmarks behind ``demoe data bench``: does loading keep up with training?"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pandas as pd
import torch

from demoe.data import aio
from demoe.data.batches import Batches, workers_for
from demoe.data.fresh import Fresh
from demoe.experiments import default_device
from demoe.model.nafnet import NAFNet, NAFNetConfig
from demoe.profiles import Profile
from demoe.tasks import DATASETS
from demoe.training.loop import train
from demoe.training.losses import stage1_loss

WARM_UP = 3  # steps before the clock counts: first allocations, worker processes starting


def loading(profile: Profile, steps: int = 40, data_root: aio.Where = None, progress: bool = True) -> pd.DataFrame:
    """How long a step of stage 1 takes and which share of it is spent waiting for data, for each way of loading.

    Columns: data, workers, steps, ms_per_step, waiting (fraction), images_per_second. The networks and the steps are
    the same in all rows; only where the batches come from differs.
    """
    device = default_device()
    sets = aio.aio_blur(profile, "train", 0, data_root, progress)
    kept = Batches(sets, profile.patch, profile.batch)
    ways = [(f"kept pairs ({aio.kind(sets)})", kept, workers_for(kept))]
    if aio.kind(sets) == "synthetic":
        fresh = Fresh(DATASETS, profile.patch, profile.batch, device=device)
        ways.append((f"synthesised anew on the {device}", fresh, 0))
        if device == "cpu":
            ways.append(("synthesised anew, read ahead", fresh, 1))
    rows = []
    for name, batches, ahead in ways:
        first, last = _timed(profile, batches, steps, ahead, device, progress)
        seconds, waited = (last[key] - first[key] for key in ("seconds", "waited"))
        rows.append({"data": name, "workers": ahead, "steps": steps, "ms_per_step": 1000 * seconds / steps,
                     "waiting": waited / seconds, "images_per_second": steps * profile.batch / seconds})
    return pd.DataFrame(rows)


def _timed(profile: Profile, batches, steps: int, workers: int, device: str, progress: bool) -> tuple[dict, dict]:
    """The log lines at the end of the warm-up and at the end of the run."""
    torch.manual_seed(0)
    model = NAFNet(NAFNetConfig(width=profile.width, router=True))
    with tempfile.TemporaryDirectory(prefix="demoe-") as folder:
        train(model, batches, stage1_loss(profile.class_weight), Path(folder), steps=WARM_UP + steps, device=device,
              workers=workers, checkpoint_every=steps + WARM_UP + 1, log_every=1, label="timing", progress=progress)
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return lines[WARM_UP - 1], lines[-1]
