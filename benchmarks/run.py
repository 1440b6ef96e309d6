"""One benchmark after the other, each setting of the allocator in a fresh process, and a CSV for each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch

from demoe.core import provenance
from demoe.core.files import write_text

from . import counting, data, gpu_count, growth, inference, machine, memory, training
from .options import Options, prepare

ALL = ("plain", "machine", "inference", "training", "memory", "data", "growth")
PARTS = (*ALL, "gpu-count")  # the last is slow, and no measurement of this machine
Job = Callable[[Options], pd.DataFrame]  # at the top level of its file, for another process finds it there


def run(parts: Sequence[str], options: Options, tell: Callable[[str], object] = print) -> list[Path]:
    """Measures these of ``PARTS`` and writes a CSV of each as soon as it is done; returns the files.

    Every row carries channels, device, hardware, instructions, threads, torch and commit. Raises ``ValueError`` for an
    unknown part and ``RuntimeError`` where a measurement fails.
    """
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"unknown benchmark {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    written = []
    for part in [part for part in PARTS if part in parts]:
        began = time.perf_counter()
        tables: dict[str, list[pd.DataFrame]] = {}
        for name, setting, job in _jobs(part, options):
            table = elsewhere(name, setting, job)
            if part in ("inference", "training", "memory"):
                table = table.assign(allocator=setting.allocator)
            table = table.assign(channels=setting.width)
            tables.setdefault(name, []).append(table)
        for name, several in tables.items():
            table = pd.concat(several, ignore_index=True)
            if len(table):
                written.append(options.folder / f"{name}.csv")
                text = stamped(table, options).to_csv(index=False, float_format="%.6g", lineterminator="\n")
                write_text(written[-1], text)
        tell(f"{part}: {time.perf_counter() - began:.0f} s")
    return written


def stamped(table: pd.DataFrame, options: Options) -> pd.DataFrame:
    """The table with columns that say where its numbers come from; channels are the options' unless it has them."""
    return table.assign(
        channels=table.get("channels", options.width),
        device=torch.device(options.device).type,
        hardware=provenance.hardware(),
        instructions=torch.backends.cpu.get_cpu_capability().lower(),
        threads=options.threads or torch.get_num_threads(),
        torch=torch.__version__,
        commit=provenance.commit(),
    )


def elsewhere(name: str, options: Options, job: Job) -> pd.DataFrame:
    """The table of ``job(options)``, made by a fresh process, whose allocator nobody has touched.

    Raises ``RuntimeError`` where it fails.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), prepare, (options,)) as pool:
        try:
            return pool.submit(job, options).result()
        except Exception as error:
            killed = " (it was killed: too little memory?)" if isinstance(error, BrokenProcessPool) else ""
            raise RuntimeError(f"the benchmark {name} failed{killed}: {error}") from error


def settings(options: Options) -> list[Options]:
    """On a CPU first thresholds raised, then the system's own, where all takes several times as long."""
    if options.gpu:
        return [replace(options, allocator="default")]
    cases = options.cases if options.full else tuple(replace(case, ks=(1,), nafnet="") for case in options.cases)
    less = {"patches": options.patches[:1], "rounds": min(options.rounds, 5), "seconds": options.seconds / 2}
    return [replace(options, allocator="raised"), replace(options, allocator="default", cases=cases, **less)]


ONCE: dict[str, dict[str, Job]] = {  # part: name of the CSV, and what makes it
    "plain": {"plain": counting.fingerprint},
    "machine": {"machine": machine.measure},
    "data": {"synthesis": data.synthesis, "loading": data.waiting},
    "growth": {"sizes": growth.sizes, "experts": growth.experts, "hours": growth.hours},
    "gpu-count": {"gpu-count": gpu_count.count},
}


def _jobs(part: str, options: Options) -> Iterator[tuple[str, Options, Job]]:
    """Name of the CSV, settings, and what is run with them in a process of its own."""
    if part == "memory":
        for allocator, case, side in memory.plans(options):
            if options.progress:
                print(f"memory: {case.name}, {' '.join(side)}, {allocator} thresholds", file=sys.stderr, flush=True)
            yield part, replace(options, allocator=allocator), partial(memory.measure, case=case, side=side)
    elif part in ONCE:
        yield from ((name, settings(options)[0], job) for name, job in ONCE[part].items())
    else:
        job = {"inference": inference.measure, "training": training.measure}[part]
        yield from ((part, setting, job) for setting in settings(options))
        if part == "training" and not options.gpu:  # as the trainings of profile cpu are
            yield "narrow", replace(settings(options)[0], width=16, batch=8, patches=(96,)), job
