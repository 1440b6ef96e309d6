"""How far trainings are, read from the files of their runs: no network is loaded, and none is trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from demoe.paths import results_dir
from demoe.training import state

from .runs import STATE, code


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

    @property
    def steps(self) -> int:
        return self.config["steps"]

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
        steps, done = int(config["steps"]), (folder / "model.safetensors").is_file()
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = json.loads(lines[-1]) if lines else {"step": -1}  # its counts are those of all sessions together
        return Progress(
            config["experiment"], int(config["seed"]), mark["config"], folder, config, done,
            steps if done else state.step_of(folder / STATE) or 0, float(last.get("seconds", 0)),
            float(last.get("waited", 0)), int(last.get("images", (last["step"] + 1) * config["batch"])),
            mark["hardware"], mark["commit"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def every(profile_name: str) -> list[Progress]:
    """All runs of a profile."""
    runs = [read(folder) for folder in sorted((results_dir(profile_name) / "runs").glob("*-s*-*"))]
    return [one for one in runs if one is not None]


def found(profile_name: str) -> dict[tuple[str, int], Progress]:
    """The run of each experiment and seed: that of this code, else of earlier code that which came farthest."""
    best: dict[tuple[str, int], Progress] = {}
    for one in every(profile_name):
        known = best.get((one.name, one.seed))
        if known is None or _rank(one) > _rank(known):
            best[one.name, one.seed] = one
    return best


def _rank(one: Progress) -> tuple:
    return one.this_code, one.done, one.step, one.hash
