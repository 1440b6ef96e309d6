"""How far trainings are, read from the files of their runs: no network is loaded, and none is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from demoe.core.files import results_dir
from demoe.models import parts
from demoe.training import state

from .runs import STATE, WEIGHTS, code

CODE = ("code", "start", "stage1")  # of a configuration: hashes of the code, or of another configuration with it


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
    def weights(self) -> Path | None:
        """The file with the weights, or the first of its parts; None where they are not whole."""
        return parts.entry(self.folder / WEIGHTS)

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
        steps, done = int(config["steps"]), parts.entry(folder / WEIGHTS) is not None
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


def found(profile_name: str, wanted: Mapping[tuple[str, int], dict]) -> dict[tuple[str, int], Progress]:
    """For each experiment and seed of ``wanted``, with their configurations (``runs.asked``), the run that is here.

    The very one; else one of earlier code, the farthest; else one that differs in more, as ``other``.
    """
    best: dict[tuple[str, int], Progress] = {}
    for one in every(profile_name):
        job = one.name, one.seed
        if job not in wanted:
            continue
        one = replace(one, other=not _fits(one.config, wanted[job]))
        if job not in best or _rank(one) > _rank(best[job]):
            best[job] = one
    return best


def _fits(config: dict, wanted: dict) -> bool:
    """Whether a run's configuration is the one that is wanted, or was before the code changed."""
    wanted = json.loads(json.dumps(wanted))  # tuples become lists, as in a file
    changed = CODE if config.get("code") != wanted["code"] else ()
    return all(config.get(key) == wanted.get(key) for key in {*config, *wanted}.difference(changed))


def _rank(one: Progress) -> tuple:
    return not one.other, one.this_code, one.done, one.step, one.hash
