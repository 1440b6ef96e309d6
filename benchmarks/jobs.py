"""What a measuring process can do: functions of the options that give a table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from demoe.core import profiles

from . import fingerprint, gpu_count, growth, inference, machine, memory, training
from .options import Options


def _memory(options: Options, large: bool, side: str, precision: str) -> pd.DataFrame:
    case = options.large if large else memory.middle_case(options)
    return memory.measure(options, case, side, precision)


def _synthesis(options: Options) -> pd.DataFrame:
    from . import data  # which needs every room

    size, devices = options.patches[0], [options.device]
    return data.patches_per_second(size=size, rounds=3, devices=devices, progress=options.progress)


def _loading(options: Options) -> pd.DataFrame:
    from . import data

    profile = profiles.get("smoke" if options.device == "cpu" else "quick")
    table = data.loading(profile, steps=20, progress=options.progress, device=options.device)
    return table.assign(profile=profile.name)


JOBS: dict[str, Callable[..., pd.DataFrame]] = {
    "plain": lambda options: fingerprint.fingerprint(),
    "machine": machine.measure,
    "inference": inference.measure,
    "training": training.measure,
    "memory": _memory,
    "synthesis": _synthesis,
    "loading": _loading,
    "sizes": growth.sizes,
    "experts": growth.experts,
    "gpu-count": lambda options: gpu_count.count(options.demoe),
}
