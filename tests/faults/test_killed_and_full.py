"""Killed for good, or out of disk, at seeded moments: run again, the end is that of a run never disturbed.

``DEMOE_FAULTS=200`` tries so many moments in all; by default a few of each job.
"""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
SHARE = {"table": 1, "cache": 2, "build": 3, "evaluate": 2, "train": 4}  # kills of each job
ASKED = int(os.environ.get("DEMOE_FAULTS", 0))
SEED = int(os.environ.get("DEMOE_FAULTS_SEED", 0))
STUCK = 300  # seconds: no job takes a tenth of that


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("faults")
    (root / "sharp").mkdir()
    for i in range(9):
        small = np.random.default_rng(i).integers(256, size=(30, 34, 3), dtype=np.uint8)
        Image.fromarray(small).resize((170, 150), Image.Resampling.BICUBIC).save(root / "sharp" / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def run(place):
    """(job, folder, fault) -> (exit status, what was said, moments)."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DEMOE_COMMIT": "12345678"}
    with subprocess.Popen(
        [sys.executable, str(HERE / "jobs.py"), str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as server:

        def asked(job, folder, fault=""):
            server.stdin.write(json.dumps([job, str(folder), fault]) + "\n")
            server.stdin.flush()
            if not select.select([server.stdout], [], [], STUCK)[0]:
                os.killpg(server.pid, signal.SIGKILL)  # it and the processes that it forked
                pytest.fail(f"{job} {fault} did not end within {STUCK} s")
            return json.loads(server.stdout.readline())

        yield asked
        server.stdin.close()


@pytest.fixture(scope="module")
def whole(run, place):
    """The folder of a job never disturbed, and its number of moments."""
    known = {}

    def undisturbed(job):
        if job not in known:
            status, said, moments = run(job, place / job)
            assert status == 0, said
            known[job] = place / job, moments
        return known[job]

    return undisturbed


def content(folder):
    """All files but locks; a training's log without the times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".lock" and path.name != ".lock":
            data = path.read_bytes()
            if path.name == "metrics.jsonl":
                lines = [json.loads(line) for line in data.splitlines()]
                data = [{key: line[key] for key in line if key not in ("seconds", "waited")} for line in lines]
            if path.name == "SHA256SUMS":  # of a log with times
                data = [line for line in data.decode().splitlines() if not line.endswith("metrics.jsonl")]
            found[str(path.relative_to(folder))] = data
    return found


def moments(job, count, last):
    rng = np.random.default_rng([SEED, len(job), count])
    return sorted(rng.choice(np.arange(1, last + 1), min(count, last), replace=False).tolist())


@pytest.mark.parametrize("job", SHARE)
def test_killed_and_run_again(job, run, whole, place):
    expected, last = whole(job)
    count = ASKED * SHARE[job] // sum(SHARE.values()) or SHARE[job]
    for at in moments(job, count, last):
        folder = place / f"{job}-kill-{at}"
        status, said, _ = run(job, folder, f"kill:{at}")
        assert status == -signal.SIGKILL, (at, said)
        status, said, _ = run(job, folder)
        assert status == 0, (at, said)
        assert content(folder) == content(expected), at


@pytest.mark.parametrize("job", SHARE)
def test_killed_twice_in_a_row(job, run, whole, place):
    expected, last = whole(job)
    folder = place / f"{job}-twice"
    for at in (last // 2, max(2, last // 5)):
        assert run(job, folder, f"kill:{at}")[0] == -signal.SIGKILL
    assert run(job, folder)[0] == 0 and content(folder) == content(expected)


@pytest.mark.parametrize("job", SHARE)
def test_no_space_left_and_run_again(job, run, whole, place):
    expected, last = whole(job)
    for at in moments(job, max(2, ASKED * SHARE[job] // sum(SHARE.values()) // 2), last // 2):
        folder = place / f"{job}-full-{at}"
        status, said, _ = run(job, folder, f"full:{at}")
        assert status == 1 and said.endswith(": No space left on device") and str(folder) in said, (at, said)
        status, said, _ = run(job, folder)
        assert status == 0 and content(folder) == content(expected), (at, said)


@pytest.mark.parametrize("job", SHARE)
def test_two_at_once_are_not_mixed(job, run, whole, place):
    """The second one waits, or, where a person chose the folder, refuses."""
    expected, _ = whole(job)
    folder = place / f"{job}-twin"
    statuses = run(job, folder, "twin")
    assert sorted(statuses) in ([0, 0], [0, 1]) and (job == "build" or 1 not in statuses), statuses
    if job == "build":
        assert run(job, folder)[0] == 0  # the set that the other one had when this one wanted it
    assert content(folder) == content(expected)
