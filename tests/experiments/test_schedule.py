"""Trainings side by side: the networks of one after the other, in an order that works, and no process left over."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import torch
from filelock import FileLock

from demoe import experiments
from demoe.core import profiles
from demoe.experiments import NotTrained, runs, schedule
from demoe.experiments.runs import Experiment

SMALL = {
    "stage1_steps": 2,
    "stage2_steps": 2,
    "specialist_steps": 2,
    "train_images": 1,
    "test_images": 1,
    "image_size": 48,
}
TINY = profiles.get("test", **SMALL)


def nothing(profile, seed, data_root, progress):
    """Not called here."""
    raise AssertionError


def test_what_a_training_starts_from_comes_first_and_once():
    graph = {"a": Experiment(nothing), "b": Experiment(nothing, ("a",)), "c": Experiment(nothing, ("b", "a"))}
    assert schedule.order(["c", "a", "b"], graph) == ["a", "b", "c"]
    assert schedule.order(["a"], graph) == ["a"] and schedule.order([], graph) == []
    with pytest.raises(ValueError, match="unknown experiment 'x': choose one of a, b, c"):
        schedule.order(["a", "x"], graph)


def test_every_notebook_names_experiments_that_there_are():
    for number, names in experiments.NEEDED_BY.items():
        assert len(number) == 2 and schedule.order(names, experiments.EXPERIMENTS), number


def test_nothing_is_trained_while_looking(home):
    with experiments.looking(), pytest.raises(NotTrained, match=r"^baseline-s0-"):
        experiments.baseline(TINY, progress=False)
    with pytest.raises(NotTrained):
        experiments.weights(["baseline"], TINY)
    assert not (home / "results" / "test" / "runs").exists()
    trained = experiments.baseline(TINY, progress=False)  # the spell is over
    assert experiments.weights(["baseline"], TINY) == [trained.folder / "model.safetensors"]


def test_one_after_the_other_trains_what_is_missing_and_says_so(home):
    told = []
    assert experiments.prepare(["demoe"], TINY, progress=False, say=told.append) == ["baseline", "demoe"]
    assert [text.split(" in ")[0] for text in told] == ["trained baseline", "trained demoe"]
    assert told[1].endswith("(2 of 2)")
    assert experiments.prepare(["demoe", "baseline"], TINY, progress=False, say=told.append) == [] and len(told) == 2


def test_ablations_are_trained_from_several_seeds_and_nothing_else_is(home, monkeypatch):
    seen = []
    monkeypatch.setattr(schedule, "train_missing", lambda jobs, *rest: seen.extend(jobs))
    three = profiles.get("test", **SMALL, ablation_seeds=3)
    experiments.prepare(["specialist-gopro", "variant-class-loss"], three, 5, progress=False)
    once, thrice = [("specialist-gopro", 5)], [("variant-class-loss", seed) for seed in (5, 6, 7)]
    assert seen == [thrice[0], *once, *thrice[1:]]  # the longer ones first


def test_side_by_side_gives_the_networks_of_one_after_the_other(home, monkeypatch):
    several = profiles.get("test", **SMALL, threads=1)
    names, told = ["demoe", "specialist-gopro"], []
    monkeypatch.setattr(schedule, "cores", lambda: 2)
    assert experiments.prepare(names, several, progress=False, say=told.append) == ["baseline", *names]
    assert told[0].startswith("made the training pictures of 5 sets") and told[-1].endswith("(3 of 3)")
    together = [experiments.EXPERIMENTS[name].run(several, 0, None, False) for name in names]
    monkeypatch.setenv("DEMOE_HOME", str(home / "other"))
    for first in together:
        second = experiments.EXPERIMENTS[first.name].run(several, 0, None, False)
        assert second.folder != first.folder and second.hash == first.hash
        weights = second.model.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in first.model.state_dict().items())


def test_a_training_that_fails_is_named(home, monkeypatch):
    monkeypatch.setattr(schedule, "cores", lambda: 2)
    broken = profiles.get("test", **SMALL | {"image_size": 24}, threads=1)  # smaller than the crops
    with pytest.raises(experiments.TrainingFailed, match=r"training specialist-\w+ failed: .*smaller than the 32"):
        experiments.prepare(["specialist-gopro", "specialist-dpdd"], broken, progress=False)


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), runs.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    with runs.threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_who_finds_another_at_work_on_a_run_waits_and_then_loads(home, monkeypatch, capfd):
    first = experiments.baseline(TINY, progress=False)
    weights = first.folder / "model.safetensors"
    kept = weights.read_bytes()
    weights.unlink()
    monkeypatch.setattr(runs, "train", nothing)
    found = []
    with FileLock(first.folder / ".lock"):  # the other
        thread = threading.Thread(target=lambda: found.append(experiments.baseline(TINY, progress=True)))
        thread.start()
        while "waiting for it" not in capfd.readouterr().out:
            assert thread.is_alive()
            time.sleep(0.02)
        assert not found
        weights.write_bytes(kept)
    thread.join(30)
    assert found[0].folder == first.folder


KILLED = """
from demoe import experiments, profiles
from demoe.experiments import side_by_side
if __name__ == "__main__":
    side_by_side.cores = lambda: 2
    long = profiles.get("test", stage1_steps=100000, specialist_steps=100000, train_images=1, threads=1)
    experiments.prepare(["baseline", "specialist-gopro"], long, progress=False, say=print)
"""


def test_no_process_outlives_a_parent_that_is_killed(home, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    parent = subprocess.Popen(
        [sys.executable, str(script)], env=os.environ | {"DEMOE_HOME": str(tmp_path)}, stdout=subprocess.DEVNULL
    )
    try:
        logs = tmp_path / "results" / "test" / "runs"
        _until(lambda: len(list(logs.glob("*/metrics.jsonl"))) == 2 or parent.poll() is not None, 120)
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), 30)


def _until(true, seconds):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
