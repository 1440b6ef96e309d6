"""The clock: things to compare take turns in one process, so that what else the machine does meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

Key = TypeVar("Key", bound=Hashable)
MIN_ROUNDS = 5  # whatever the time limit: a median of fewer moves by a fifth on a shared machine


def interleaved(
    calls: Mapping[Key, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    seconds: float = float("inf"),
    repeats: int = 1,
    label: str = "timing",
    progress: bool = True,
    cpu: dict[Key, list[float]] | None = None,
) -> dict[Key, list[float]]:
    """Seconds of each call, a value a round. ``cpu`` is filled with those that this process's threads computed in them.

    In each of ``rounds`` rounds every call runs ``repeats`` times in a row and is timed as one; who begins moves on by
    one each round. ``warm_up`` rounds before them are not kept. No new round begins after ``seconds``, but there are at
    least ``MIN_ROUNDS`` (or ``rounds``, if fewer). A GPU is waited for before the clock is read.
    """
    names = list(calls)
    taken: dict[Key, list[float]] = {name: [] for name in names}
    began = time.perf_counter()
    with tqdm(total=rounds + warm_up, desc=label, unit="round", leave=False, disable=not progress) as bar:
        for turn in range(-warm_up, rounds):
            if turn >= min(MIN_ROUNDS, rounds) and time.perf_counter() - began > seconds:
                break
            shift = (turn + warm_up) % len(names) if names else 0
            for name in names[shift:] + names[:shift]:
                wait()
                spent, start = time.process_time(), time.perf_counter()
                for _ in range(repeats):
                    calls[name]()
                wait()
                if turn >= 0:
                    taken[name].append((time.perf_counter() - start) / repeats)
                    if cpu is not None:
                        cpu.setdefault(name, []).append((time.process_time() - spent) / repeats)
            bar.update()
    return taken


def wait() -> None:
    """Until a GPU, where one is in use, has done what it was asked for."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def summary(seconds: list[float]) -> dict[str, float | int]:
    """rounds, ms (median), low and high (the range, ms) of one call's rounds."""
    ms = 1000 * np.array(seconds)
    return {"rounds": len(ms), "ms": float(np.median(ms)), "low": float(ms.min()), "high": float(ms.max())}


def ratio(base: list[float] | None, other: list[float]) -> float:
    """How many times longer ``base`` takes: the median over rounds, each of which timed both one after the other.

    Not a number where ``base`` was not timed.
    """
    return float(np.median(np.array(base) / np.array(other))) if base else float("nan")


def spent(cpu: Mapping[Key, list[float]], key: Key, base: Key) -> dict[str, float]:
    """cpu_ms and cpu_ratio: median and ``ratio`` of the processor's time, which other programs at work disturb less."""
    if key not in cpu:
        return {"cpu_ms": float("nan"), "cpu_ratio": float("nan")}
    return {"cpu_ms": 1000 * float(np.median(cpu[key])), "cpu_ratio": ratio(cpu.get(base), cpu[key])}
