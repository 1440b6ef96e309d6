"""What of a profile is trained, for how long, on what, and what is missing: ``results/<profile>/STATUS.md``.

The same text whenever it is made from the same files; no network is loaded, and none is trained.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from demoe import experiments
from demoe.core.files import results_dir, write_text
from demoe.core.markdown import markdown_table
from demoe.data.setting import Setting
from demoe.training import state

from . import spec as specifications
from .runs import STATE, WEIGHTS
from .spec import Spec

MISSING, EARLIER, OTHER, PACKAGED = "missing", "earlier code", "other configuration", "comes with the package"
HEAD = ("", "network", "state", "training", "images/s", "waiting for data", "hardware", "data", "commit", "run")
SHOWN = 8  # of what is missing, by name


@dataclass(frozen=True)
class RunProgress:
    """One run, finished or not."""

    name: str
    seed: int
    hash: str
    folder: Path
    config: dict
    done: bool
    step: int  # optimiser steps from which it goes on
    seconds: float  # of training, all sessions together
    waited: float  # seconds of these spent waiting for data
    images: int  # seen in them
    hardware: str  # of all sessions: "NVIDIA L4; NVIDIA H200"
    commit: str  # of the last session
    other: bool = False  # it has another source or other numbers than what was asked for (``runs_of``)

    @property
    def steps(self) -> int:
        return self.config["steps"]

    @property
    def weights(self) -> Path:
        """The file with the weights, where it is done."""
        return self.folder / WEIGHTS

    @property
    def this_code(self) -> bool:
        """Whether the same call would load or continue it: false for what earlier code trained."""
        return bool(self.config.get("packaged")) or self.config.get("code") in (
            specifications.code(),
            specifications.code(real=True),
        )

    @property
    def data(self) -> str:
        """What it learnt from, in words; "GoPro: ..." where that is one set."""
        source, words = self.config.get("source", ""), self.config["data"]
        if words == "synthetic":
            words += ", bundled photographs" if source == "bundled" else f", photographs {source}"
        return words if self.config["dataset"] == "AIO-Blur" else f"{self.config['dataset']}: {words}"


def read_run(folder: Path) -> RunProgress | None:
    """The run in ``folder``; None where there is no run, or its files cannot be read."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config, mark = record["config"], record["provenance"]
        steps, done = int(config["steps"]), (folder / WEIGHTS).is_file()
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = json.loads(lines[-1]) if lines else {"step": -1}  # its counts are those of all sessions together
        return RunProgress(
            name=config["experiment"],
            seed=int(config["seed"]),
            hash=mark["config"],
            folder=folder,
            config=config,
            done=done,
            step=steps if done else state.step_of(folder / STATE) or 0,
            seconds=float(last.get("seconds", 0)),
            waited=float(last.get("waited", 0)),
            images=int(last.get("images", (last["step"] + 1) * config["batch"])),
            hardware=mark["hardware"],
            commit=mark["commit"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def all_runs(profile_name: str) -> list[RunProgress]:
    """All runs of a profile."""
    runs = map(read_run, sorted((results_dir(profile_name) / "runs").glob("*-s*-*")))
    return [run for run in runs if run is not None]


def runs_of(setting: Setting, wanted: Sequence[Spec]) -> dict[Spec, RunProgress]:
    """For each of ``wanted`` the run that is here; those without one are left out.

    The very one; else one of earlier code, the farthest; else one that differs in more, as ``other``.
    """
    found, best = all_runs(setting.profile.name), {}
    for spec in wanted:
        asked = _without_code(spec.configuration())
        runs = [run for run in found if (run.name, run.seed) == (spec.name, spec.seed)]
        runs = [replace(run, other=_without_code(run.config) != asked) for run in runs]
        if runs:
            best[spec] = max(runs, key=lambda run: (not run.other, run.this_code, run.done, run.step, run.hash))
    return best


def _without_code(config: dict) -> str:
    """A configuration but for the code that it was trained by, as text: the same for what was read from a file."""
    return re.sub(r'"code": "[^"]*", ', "", json.dumps(config, sort_keys=True))


def status_file(setting: Setting) -> Path:
    """Where the status of a profile stands; another seed's has a file of its own."""
    return results_dir(setting.profile.name) / (f"STATUS-s{setting.seed}.md" if setting.seed else "STATUS.md")


def write_status(setting: Setting) -> Path:
    """Writes ``status_file``."""
    write_text(status_file(setting), status_text(setting))
    return status_file(setting)


def status_text(setting: Setting) -> str:
    """The status as Markdown, of what a call with ``setting`` would train."""
    profile, planned = setting.profile.name, experiments.plan(setting)
    runs = runs_of(setting, planned)
    rows = [[str(number), spec.label, *_cells(runs.get(spec))] for number, spec in enumerate(planned, 1)]
    counted = {spec: run for spec, run in runs.items() if not run.other}
    absent = [
        f"{spec.label} ({_steps(counted[spec])})" if spec in counted else spec.label
        for spec in planned
        if spec not in counted or not counted[spec].done
    ]
    done, seconds, images = (
        sum(getattr(run, key) for run in counted.values()) for key in ("done", "seconds", "images")
    )
    under_way = f", {len(counted) - done} under way" if len(counted) > done else ""
    lines = [
        f"# What is trained: profile {profile}",
        "",
        f"Written by `demoe status --profile {profile}` from the runs in `results/{profile}/runs/`, "
        "in the order in which `demoe train --all` trains.",
        "",
        f"{done} of {len(planned)} networks are trained{under_way}: {duration(seconds)} of training "
        f"(h:mm:ss or m:ss), {images / 1e6:.2f} million images seen.",
        "",
        markdown_table(pd.DataFrame(rows, columns=HEAD), index=False),
        "",
        *_missing(absent, setting),
        "",
        *_notes(list(runs.values())),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def duration(seconds: float) -> str:
    """ "0:05", "12:31" or "3:12:31"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _steps(run: RunProgress) -> str:
    return f"step {run.step} of {run.steps}"


def _cells(run: RunProgress | None) -> list[str]:
    if run is None:
        return [MISSING] + [""] * (len(HEAD) - 3)
    state = f"done, {run.steps} steps" if run.done else _steps(run)
    why = [PACKAGED] * bool(run.config.get("packaged")) + [OTHER] * run.other + [EARLIER] * (not run.this_code)
    if why:
        state += f" ({', '.join(why)})"
    rate = f"{run.images / run.seconds:.1f}" if run.seconds else "-"
    waited = f"{run.waited / run.seconds:.1%}" if run.seconds and not synthesises(run) else "-"
    return [state, duration(run.seconds), rate, waited, run.hardware, run.data, f"`{run.commit}`", f"`{run.hash}`"]


def synthesises(run: RunProgress) -> bool:
    """Whether a GPU made the data in turns with training: then the wait for them also holds the step before."""
    on_gpu = any(not re.search(r", \d+ cores$", name) for name in run.hardware.split("; "))
    return bool(run.config.get("fresh")) and on_gpu


def _missing(absent: list[str], setting: Setting) -> list[str]:
    """What to do about it, too: the call that goes on. Folders of this machine are not named in it."""
    if not absent:
        return ["Nothing is missing."]
    more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
    data = " --data-root DIR" if setting.roots else " --sharp-images DIR" if setting.roots.sharp_images else ""
    return [
        f"Not finished: {', '.join(absent[:SHOWN])}{more}. This goes on where it stopped, also on another machine "
        f"that has been given `results/{setting.profile.name}/runs/`:",
        "",
        "```bash",
        f"demoe train --all --profile {setting.profile.name}{data}",
        "```",
    ]


def _notes(runs: list[RunProgress]) -> list[str]:
    notes = {
        f'"{EARLIER}": the code that training depends on has changed since. The result stands; the same command would '
        "train it anew.": any(not run.this_code for run in runs),
        f'"{PACKAGED}": not trained here; what stands here is what its file says. `demoe train --anew` trains it.': any(
            run.config.get("packaged") for run in runs
        ),
        f'"{OTHER}": of the same name, but with other data or numbers than this call\'s; it does not count.': any(
            run.other for run in runs
        ),
        'Waiting for data, "-": the GPU makes them between its steps, which no clock tells apart.': any(
            map(synthesises, runs)
        ),
        '"photographs" and twelve digits: a folder given with `--sharp-images`, by a hash of its files\' names and '
        "sizes.": any("photographs " in run.data for run in runs),
    }
    return [f"- {note}" for note, applies in notes.items() if applies]
