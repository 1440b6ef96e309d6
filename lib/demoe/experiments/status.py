"""What of a profile is trained, for how long, on what, and what is missing: ``results/<profile>/STATUS.md``.

The same text whenever it is made from the same files; no network is loaded, and none is trained.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd

from demoe import experiments
from demoe.core.files import project_root, results_dir, write_text
from demoe.core.profiles import Profile
from demoe.data import aio_blur

from . import costs
from .progress import Progress, found
from .runs import asked

MISSING, EARLIER, OTHER = "missing", "earlier code", "other configuration"
HEAD = (
    "",
    "network",
    "state",
    "training",
    "images/s",
    "GFLOP/s",
    "waiting for data",
    "hardware",
    "data",
    "commit",
    "run",
)


def file(profile: Profile, seed: int = 0) -> Path:
    """Where the status of a profile stands; another seed's has a file of its own."""
    return results_dir(profile.name) / (f"STATUS-s{seed}.md" if seed else "STATUS.md")


def write(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None) -> Path | None:
    """Writes ``file``. None, with nothing written, where no run is here but the file tells of some: runs do not travel
    with a checkout, and what was written where they are is still true."""
    path, new = file(profile, seed), text(profile, seed, data_root)
    if path.is_file() and _tells_of_none(new) and not _tells_of_none(path.read_text(encoding="utf-8")):
        return None
    write_text(path, new)
    return path


def _tells_of_none(status: str) -> bool:
    """Whether nothing at all is trained by a status: every network of it is missing."""
    states = re.findall(r"^\| \d+ \| [^|]+ \| ([^|]+) \|", status, re.MULTILINE)
    return all(one == MISSING for one in states)


def text(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None) -> str:
    """The status as Markdown, of what a call with ``data_root`` would train."""
    jobs = experiments.plan(profile, seed)
    runs = found(
        profile.name, {job: asked(experiments.EXPERIMENTS[job[0]], profile, job[1], data_root) for job in jobs}
    )
    rows, absent = [], []
    for number, job in enumerate(jobs, 1):
        one = runs.get(job)
        rows.append([str(number), label(*job), *_cells(one)])
        if one is None or one.other or not one.done:
            absent.append(label(*job) if one is None or one.other else f"{label(*job)} ({_steps(one)})")
    here = [runs[job] for job in jobs if job in runs]
    return (
        "\n".join(
            [
                f"# What is trained: profile {profile.name}",
                "",
                f"Written by `demoe status --profile {profile.name}` from the runs in "
                f"`results/{profile.name}/runs/`, and from "
                "the peaks in `results/bench/`, in the order in which `demoe train --all` trains.",
                "",
                _sum(here, len(jobs)),
                "",
                *_table(rows),
                "",
                *_missing(absent, profile, here),
                "",
                *(f"- {note}" for note in _notes(here)),
            ]
        ).rstrip("\n")
        + "\n"
    )


def label(name: str, seed: int) -> str:
    """ "demoe", or "demoe (seed 1)"."""
    return f"{name} (seed {seed})" if seed else name


def command(profile: Profile, here: list[Progress]) -> str:
    """The call that goes on with a profile's plan, given the runs that are here."""
    folder = next(
        (one for one in here if one.config.get("source") != "bundled" and one.config["data"] == "synthetic"), None
    )
    data = " --sharp-images DIR" if folder else ""
    if any(one.config["data"] == "real" for one in here):
        data = " --data-root DIR"
    return f"./run_all.sh --profile {profile.name}{data} --minutes 9"


def duration(seconds: float) -> str:
    """ "0:05", "12:31" or "3:12:31"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _steps(one: Progress) -> str:
    return f"step {one.step} of {one.steps}"


def _cells(one: Progress | None) -> list[str]:
    if one is None:
        return [MISSING] + [""] * (len(HEAD) - 3)
    state = f"done, {one.steps} steps" if one.done else _steps(one)
    why = [OTHER] * one.other + [EARLIER] * (not one.this_code)
    if why:
        state += f" ({', '.join(why)})"
    rate = f"{one.images / one.seconds:.1f}" if one.seconds else "-"
    work = _gflops(one)
    waited = f"{one.waited / one.seconds:.1%}" if one.seconds and not synthesises(one) else "-"
    origin = [one.hardware, one.data, f"`{one.commit}`", f"`{one.hash}`"]
    return [state, duration(one.seconds), rate, work, waited, *origin]


def _gflops(one: Progress) -> str:
    """The arithmetic that the training got through, by counted operations; "-" where nobody counts them.

    And, where the machine's peaks are known, the least time that computing and moving bytes can take over that taken.
    """
    work = costs.work_of(one.config) if one.seconds else None
    if work is None:
        return "-"
    pace = one.images / one.seconds
    found, limit = f"{work[0] * pace / 1e9:.0f}", _least_seconds(one)
    return found if limit is None else f"{found} ({limit * pace:.0%})"


def _least_seconds(one: Progress) -> float | None:
    """For one picture at the peaks that ``python -m benchmarks`` measured on this hardware; else None."""
    for file in sorted(results_dir("bench").glob("*/machine.csv")):
        try:
            rows = pd.read_csv(file)
            peak = dict(zip(rows.quantity, rows.per_second, strict=True))
            (device,), (hardware,), (threads,) = set(rows.device), set(rows.hardware), set(rows.threads)
            if hardware != one.hardware or (device == "cpu" and not hardware.endswith(f", {threads} cores")):
                continue
            precision = one.config.get("precision") or ("float32" if device == "cpu" else "bfloat16")
            flops, moved = costs.work_of(one.config, precision)
            limit = max(flops / peak[f"flops_{precision}"], moved / peak["bytes"])
        except (OSError, ValueError, KeyError, AttributeError, ZeroDivisionError):
            continue  # another version's file, or a damaged one
        if math.isfinite(limit):
            return limit
    return None


def synthesises(one: Progress) -> bool:
    """Whether a GPU made the data in turns with training: then the wait for them also holds the step before."""
    on_gpu = any(not re.search(r", \d+ cores$", name) for name in one.hardware.split("; "))
    return bool(one.config.get("fresh")) and on_gpu


def _sum(here: list[Progress], total: int) -> str:
    here = [one for one in here if not one.other]
    done = sum(one.done for one in here)
    seconds, images = sum(one.seconds for one in here), sum(one.images for one in here)
    under_way = len(here) - done
    more = f", {under_way} under way" if under_way else ""
    return (
        f"{done} of {total} networks are trained{more}: {duration(seconds)} of training "
        f"(h:mm:ss or m:ss), {images / 1e6:.2f} million images seen."
    )


def _table(rows: list[list[str]]) -> list[str]:
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]


def _missing(absent: list[str], profile: Profile, here: list[Progress]) -> list[str]:
    if not absent:
        return ["Nothing is missing."]
    shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
    return [
        f"Not finished: {shown}. This goes on where it stopped, in slices of nine minutes, also on another machine "
        f"that has been given `results/{profile.name}/runs/`:",
        "",
        "```bash",
        command(profile, here),
        "```",
    ]


def _notes(here: list[Progress]) -> list[str]:
    notes = (
        [
            "GFLOP/s: the operations of forward and backward passes, counted (`experiments/costs.py`), over the time "
            "of training. In brackets, where `python -m benchmarks` measured the machine: the share of its limit: the "
            "longer of computing at the pace of a large matrix product and moving what is kept for the backward pass "
            "at the pace of a copy."
        ]
        if here
        else []
    )
    if any(not one.this_code for one in here):
        notes.append(
            f'"{EARLIER}": the code that training depends on has changed since. The result stands; the same '
            "command would train it anew."
        )
    if any(one.other for one in here):
        notes.append(
            f'"{OTHER}": of the same name, but with other data or numbers than this call\'s; it does not count.'
        )
    if any(synthesises(one) for one in here):
        notes.append('Waiting for data, "-": the GPU makes them between its steps, which no clock tells apart.')
    if any("photographs " in one.data for one in here):
        notes.append(
            '"photographs" and twelve digits: a folder given with `--sharp-images`, by a hash of its files\' '
            "names and sizes."
        )
    return notes


def told(path: Path) -> str:
    """A path as a person is told it: from the project's folder on."""
    return str(path.relative_to(project_root())) if path.is_relative_to(project_root()) else str(path)
