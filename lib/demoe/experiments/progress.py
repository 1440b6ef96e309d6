"""How far trainings are, read from the files of their runs: no network is loaded, and none is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demoe.core.files import results_dir
from demoe.data.setting import Setting
from demoe.training import state

from .runs import STATE, WEIGHTS
from .spec import Spec, code


@dataclass(frozen=True)
class Progress:
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
    other: bool = False  # it has another source or other numbers than what was asked for (``found``)

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
        source = self.config.get("source", "")
        if self.config["data"] != "synthetic":
            words = self.config["data"]
        else:
            words = "synthetic, bundled photographs" if source == "bundled" else f"synthetic, photographs {source}"
        return words if self.config["dataset"] == "AIO-Blur" else f"{self.config['dataset']}: {words}"


def read(folder: Path) -> Progress | None:
    """The run in ``folder``; None where there is no run, or its files cannot be read."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config, mark = record["config"], record["provenance"]
        steps, done = int(config["steps"]), (folder / WEIGHTS).is_file()
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = json.loads(lines[-1]) if lines else {"step": -1}  # its counts are those of all sessions together
        return Progress(
            config["experiment"],
            int(config["seed"]),
            mark["config"],
            folder,
            config,
            done,
            steps if done else state.step_of(folder / STATE) or 0,
            float(last.get("seconds", 0)),
            float(last.get("waited", 0)),
            int(last.get("images", (last["step"] + 1) * config["batch"])),
            mark["hardware"],
            mark["commit"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def every(profile_name: str) -> list[Progress]:
    """All runs of a profile."""
    runs = [read(folder) for folder in sorted((results_dir(profile_name) / "runs").glob("*-s*-*"))]
    return [one for one in runs if one is not None]


def found(setting: Setting, wanted: Sequence[Spec]) -> dict[Spec, Progress]:
    """For each of ``wanted`` the run that is here; those without one are left out.

    The very one; else one of earlier code, the farthest; else one that differs in more, as ``other``.
    """
    jobs = {(spec.name, spec.seed): spec for spec in wanted}
    best: dict[Spec, Progress] = {}
    for run in every(setting.profile.name):
        if (spec := jobs.get((run.name, run.seed))) is None:
            continue
        run = replace(run, other=not _fits(run.config, spec))
        if spec not in best or _rank(run) > _rank(best[spec]):
            best[spec] = run
    return best


def _fits(config: dict, spec: Spec) -> bool:
    """Whether a run's configuration is that of ``spec``, or was before the code changed."""
    wanted = json.loads(json.dumps(spec.configuration()))  # tuples become lists, as in a file
    return _without_code(config) == _without_code(wanted)


def _without_code(config: dict) -> dict:
    start = config.get("starts_from")
    return {key: value for key, value in config.items() if key != "code"} | {
        "starts_from": start and _without_code(start)
    }


def _rank(run: Progress) -> tuple:
    return not run.other, run.this_code, run.done, run.step, run.hash
