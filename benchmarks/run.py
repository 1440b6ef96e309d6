"""One benchmark after the other, each setting of the allocator in a fresh process, and a CSV for each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from demoe.core import provenance
from demoe.core.files import results_dir, write_text

from . import growth, memory
from .options import Options

ALL = ("plain", "machine", "inference", "training", "memory", "data", "growth")
PARTS = (*ALL, "gpu-count")  # the last is slow, and no measurement of this machine
GROUP = "bench"  # the folder below results/ and figures/


def folder(device: str) -> Path:
    """``results/bench/cpu`` or, of a GPU, ``results/bench/<its name>``. Not created here."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else kind
    return results_dir(GROUP) / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def run(parts: Sequence[str], options: Options, tell: Callable[[str], object] = print) -> list[Path]:
    """Measures these of ``PARTS`` and writes a CSV of each as soon as it is done; returns the files.

    Every row carries channels, device, hardware, threads, torch and commit. Raises ``ValueError`` for an unknown part
    and ``RuntimeError`` where a measurement fails.
    """
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"unknown benchmark {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    written = []
    for part in [part for part in PARTS if part in parts]:
        began = time.perf_counter()
        for name, table in MEASURED.get(part, _once(part))(options).items():
            file = folder(options.device) / f"{name}.csv"
            write_text(file, stamped(table, options).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
            written.append(file)
        tell(f"{part}: {time.perf_counter() - began:.0f} s")
    return written


def stamped(table: pd.DataFrame, options: Options) -> pd.DataFrame:
    """The table with columns that say where its numbers come from."""
    return table.assign(
        channels=options.width,
        device=torch.device(options.device).type,
        hardware=provenance.hardware(),
        threads=options.threads or torch.get_num_threads(),
        torch=torch.__version__,
        commit=provenance.commit(),
    )


def elsewhere(job: str, options: Options, **arguments: object) -> pd.DataFrame:
    """The table of one job of ``__main__``, made by a fresh process, whose allocator nobody has touched.

    ``arguments`` are plain values. Raises ``RuntimeError`` where the process fails; what it said is on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="demoe-") as place:
        file = Path(place) / "table.pkl"
        order = json.dumps({"job": job, "options": options.as_dict(), "arguments": arguments, "file": str(file)})
        done = subprocess.run([sys.executable, "-m", "benchmarks.process"], input=order, text=True)
        if done.returncode or not file.is_file():
            killed = " (it was killed: too little memory?)" if done.returncode == -9 else ""
            raise RuntimeError(f"the benchmark {job} failed with exit status {done.returncode}{killed}")
        return pd.read_pickle(file)


def _settings(options: Options) -> list[Options]:
    """On a CPU first thresholds raised, then the system's own, where all takes several times as long."""
    if torch.device(options.device).type != "cpu":
        return [replace(options, allocator="default")]
    cases = options.cases if options.full else tuple(replace(case, ks=(1,), nafnet="") for case in options.cases)
    slow = replace(
        options, cases=cases, patches=options.patches[:1], rounds=min(options.rounds, 5), seconds=options.seconds / 2
    )
    return [replace(options, allocator="raised"), replace(slow, allocator="default")]


def _each(job: str) -> Callable[[Options], dict[str, pd.DataFrame]]:
    """A table with a column ``allocator``, of every setting."""
    return lambda options: {
        job: pd.concat(
            [elsewhere(job, setting).assign(allocator=setting.allocator) for setting in _settings(options)],
            ignore_index=True,
        )
    }


def _once(job: str) -> Callable[[Options], dict[str, pd.DataFrame]]:
    return lambda options: {job: elsewhere(job, _settings(options)[0])}


def _memory(options: Options) -> dict[str, pd.DataFrame]:
    tables = []
    for plan in memory.plans(options):
        if options.progress:
            print(
                f"memory: {plan['case'].name}, {plan['side']} {plan['precision']}, {plan['allocator']} thresholds",
                file=sys.stderr,
                flush=True,
            )
        here = replace(options, allocator=plan["allocator"])
        large = plan["case"].name == options.large.name
        table = elsewhere("memory", here, large=large, side=plan["side"], precision=plan["precision"])
        tables.append(table.assign(allocator=plan["allocator"]))
    return {"memory": pd.concat(tables, ignore_index=True)}


def _data(options: Options) -> dict[str, pd.DataFrame]:
    return {name: elsewhere(name, _settings(options)[0]) for name in ("synthesis", "loading")}


def _growth(options: Options) -> dict[str, pd.DataFrame]:
    first = _settings(options)[0]
    found = {name: elsewhere(name, first) for name in ("sizes", "experts")}
    trained = folder(options.device) / "training.csv"
    if trained.is_file():
        table = pd.read_csv(trained)
        found["hours"] = growth.training_hours(table[table.allocator == first.allocator], options.device)
    return found


MEASURED: dict[str, Callable[[Options], dict[str, pd.DataFrame]]] = {
    "inference": _each("inference"),
    "training": _each("training"),
    "memory": _memory,
    "data": _data,
    "growth": _growth,
}
