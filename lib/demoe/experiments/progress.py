"""How far trainings are, read from the files of their runs: no network is loaded, and none is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demoe.core.files import results_dir
from demoe.data.setting import Setting
from demoe.training import state

from .runs import STATE, WEIGHTS
from .spec import Spec, code


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
        return self.config.get("code") in (code(), code(real=True))

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
