"""Run as a program: small jobs, each in a process of its own that can be told to die, or to fail, at a certain moment.

It takes lines of JSON [job, folder, fault] and answers each with [exit status, what was said, moments]. The fault is
"kill:7", SIGKILL at the seventh moment, "full:7", no space left on the disk from it on, "twin", a second process that
does the same at the same time (the answer is the exit statuses of both), or "", to count them. Moments
are where something on the disk is about to change, or has just changed: a file opened for writing, half of a write, a
replacement, a removal; and each step of a training. Processes are forked, because PyTorch takes seconds to import.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from demoe import experiments
from demoe.app import arguments
from demoe.core import images, profiles, provenance
from demoe.core.tasks import DATASETS
from demoe.data.build import build as build_sets
from demoe.data.setting import Setting
from demoe.data.synthetic import synthetic
from demoe.evaluation import benchmark
from demoe.evaluation.methods import blurred_input
from demoe.report import tables
from demoe.training import loop

MOMENTS, KIND, AT = 0, "", 0
EVALUATED = ("GoPro", "Real-LOLBlur")


def moment(can_fail: bool = True) -> None:
    global MOMENTS
    MOMENTS += 1
    if AT and MOMENTS >= AT:
        if KIND == "kill" and MOMENTS == AT:
            os.kill(os.getpid(), signal.SIGKILL)
        if KIND == "full" and can_fail:  # and it stays full
            raise OSError(errno.ENOSPC, "No space left on device")


def listen(root: Path) -> None:
    """Calls ``moment`` around everything that changes a file below ``root``."""
    inside = str(root.resolve()) + os.sep

    def around(function: Callable, can_fail: bool = True) -> Callable:
        def called(path, *more, **options):
            ours = isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(inside)
            if ours:
                moment(can_fail)
            result = function(path, *more, **options)
            if ours:
                moment(False)
            return result

        return called

    for name in ("replace", "rename"):
        setattr(os, name, around(getattr(os, name)))
    for name in ("unlink", "remove"):
        setattr(os, name, around(getattr(os, name), can_fail=False))
    plain = io.open

    class Slow:
        """A file that takes its bytes half by half, so that one can die in between."""

        def __init__(self, file):
            self._file = file

        def write(self, data):
            half = len(data) // 2
            moment()
            self._file.write(data[:half])
            self._file.flush()
            moment()
            self._file.write(data[half:])
            return len(data)

        def __enter__(self):
            self._file.__enter__()
            return self

        def __exit__(self, *reason):
            return self._file.__exit__(*reason)

        def __iter__(self):
            return iter(self._file)

        def __getattr__(self, name):
            return getattr(self._file, name)

    def opened(path, mode="r", *more, **options):
        ours = isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(inside)
        writing = ours and any(letter in mode for letter in "wax+") and ".lock" not in str(path)
        if writing:
            moment()
        file = plain(path, mode, *more, **options)
        return Slow(file) if writing else file

    builtins.open = io.open = opened  # pathlib opens by io.open


def train(root: Path) -> None:
    real = loop.cosine

    def step(*arguments):
        moment(False)
        return real(*arguments)

    loop.cosine = step
    profile = profiles.get(
        "test", stage1_steps=3, stage2_steps=3, train_images=1, test_images=1, image_size=48, checkpoint_every=2
    )
    setting = Setting(profile, progress=False)
    experiments.obtain(experiments.named("demoe", setting), setting)


def evaluate(root: Path) -> None:
    sets = [synthetic(name, "test", 2, 32, 0, root / "cache", False) for name in EVALUATED]
    compared = {"input": blurred_input, "half": lambda image, pairs: torch.sqrt(image)}
    mark = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")
    benchmark.run("faults", sets, compared, {"weights": "a"}, mark, progress=False, pictures=True)


def build(root: Path) -> None:
    names, sharp = ["RealBlur", "DPDD"], root.parent / "sharp"
    build_sets(root / "sets", names, "test", 2, (24, 30), sharp_images=sharp, progress=False)


def cache(root: Path) -> None:
    for name in ("GoPro", "DPDD"):
        synthetic(name, "train", 2, 32, 0, root / "cache", False)


def table(root: Path) -> None:
    mark = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")
    tables.save(pd.DataFrame({"psnr": range(20)}), "faults", mark)
    images.write_photograph(root / "picture.png", images.from_array(np.eye(16, dtype=np.uint8)))


def run(job: str, root: Path, fault: str) -> tuple[int, str]:
    """The job, here. Returns the exit status and the sentence that the command line would say."""
    global KIND, AT
    KIND, _, at = fault.partition(":")
    AT = int(at or 0)
    os.environ["DEMOE_HOME"] = str(root)
    root.mkdir(parents=True, exist_ok=True)
    listen(root)
    try:
        JOBS[job](root)
    except (ValueError, OSError, RuntimeError) as error:  # what the command line catches
        return 1, arguments.sentence(error)
    except BaseException:
        return 3, traceback.format_exc()
    return 0, ""


def serve() -> None:
    # What all processes need is painted, and loaded, once, before they part.
    JOBS["cache"](Path(sys.argv[1]) / "warm")
    for name in DATASETS:
        synthetic(name, "train", 1, 48, 0, Path(sys.argv[1]) / "warm" / "train", False)
    for name in EVALUATED:
        synthetic(name, "test", 2, 32, 0, Path(sys.argv[1]) / "warm" / "test", False)
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight]).step()  # loads PyTorch's compiler
    for line in sys.stdin:
        job, folder, fault = json.loads(line)
        if fault == "twin":
            children = [os.fork() or os._exit(run(job, Path(folder), "")[0]) for _ in range(2)]
            statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            print(json.dumps(statuses), flush=True)
            continue
        answer, question = os.pipe()
        if not (child := os.fork()):
            status, said = run(job, Path(folder), fault)
            os.write(question, json.dumps([said, MOMENTS]).encode())
            os._exit(status)
        os.close(question)
        _, status = os.waitpid(child, 0)
        with open(answer, "rb") as stream:
            said, moments = json.loads(stream.read() or b'["", 0]')
        print(json.dumps([os.waitstatus_to_exitcode(status), said, moments]), flush=True)


JOBS = {"train": train, "evaluate": evaluate, "build": build, "cache": cache, "table": table}

if __name__ == "__main__":
    torch.set_num_threads(1)
    serve()
