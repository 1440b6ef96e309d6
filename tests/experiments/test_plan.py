"""What is trained in which order, one training at a time, stopped at a deadline and continued bit for bit."""

import json
import shutil
import threading
import time
from dataclasses import replace
from math import inf
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from demoe import experiments
from demoe.app import cli
from demoe.core import profiles
from demoe.data.setting import Setting
from demoe.experiments import runs
from demoe.experiments.status import read_run
from demoe.models.checkpoint_files import read_weights
from demoe.training import loop

TINY = profiles.get(
    "test",
    stage1_steps=3,
    stage2_steps=2,
    specialist_steps=2,
    ablation_steps=2,
    train_images=1,
    test_images=1,
    image_size=48,
)
SETTING = Setting(TINY, progress=False)
LATER = 3600  # seconds


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)  # starting them takes longer than these trainings


def stop_after(monkeypatch, steps: int) -> None:
    """Time is up for the training loop after so many steps of this process, whatever the clock says."""
    looked = iter(range(1, 10**6))
    clock = SimpleNamespace(perf_counter=time.perf_counter, monotonic=lambda: inf if next(looked) >= steps else 0.0)
    monkeypatch.setattr(loop, "time", clock)


def obtained(name, **options):
    return experiments.obtain(experiments.named(name, SETTING), SETTING, **options)


# The order of work.


def test_the_most_valuable_comes_first_and_nothing_before_what_it_starts_from():
    planned = experiments.plan(SETTING)
    names = [spec.name for spec in planned]
    assert names[:2] == ["baseline", "demoe"] and len(names) == len(set(names))
    kinds = ("task-specific", "specialist", "ablation", "comparator")
    firsts = [next(i for i, name in enumerate(names) if name.startswith(kind)) for kind in kinds]
    assert firsts == sorted(firsts) and names[-1].startswith("comparator")
    for place, spec in enumerate(planned):
        assert spec.starts_from is None or spec.starts_from in planned[:place], spec.name
    assert {name for needed in experiments.NEEDED_BY.values() for name in needed} <= set(names)


def test_further_seeds_of_ablations_come_last():
    three = Setting(profiles.get("test", ablation_seeds=3), 5)
    planned = experiments.plan(three)
    first = [spec for spec in planned if spec.seed == 5]
    assert planned[: len(first)] == first and {spec.seed for spec in planned[len(first) :]} == {6, 7}
    assert all(spec.is_ablation for spec in planned[len(first) :])
    assert [(spec.name, spec.seed) for spec in experiments.plan(three, ["demoe"])] == [("baseline", 5), ("demoe", 5)]
    with pytest.raises(ValueError, match="unknown experiment 'x'"):
        experiments.plan(SETTING, ["x"])


def test_what_is_missing_is_seen_without_training_or_loading(home, monkeypatch):
    assert experiments.missing(SETTING) == experiments.plan(SETTING)
    assert not (home / "results").exists()
    obtained("baseline")
    monkeypatch.setattr(runs.checkpoints, "load", None)  # would fail
    assert experiments.missing(SETTING, ["demoe"]) == [experiments.named("demoe", SETTING)]
    assert len(experiments.plan(SETTING)) >= 39


# One process at a time.


def test_who_finds_another_at_work_on_a_run_waits_and_then_loads(home, monkeypatch, capfd):
    first = obtained("baseline")
    kept = first.weights.read_bytes()
    first.weights.unlink()
    monkeypatch.setattr(runs, "train", None)  # would fail
    found = []
    shown = replace(SETTING, progress=True)
    with FileLock(first.folder / ".lock"):  # the other
        thread = threading.Thread(target=lambda: found.append(experiments.obtain(first.spec, shown)))
        thread.start()
        while "waiting for it" not in capfd.readouterr().out:
            assert thread.is_alive()
            time.sleep(0.02)
        assert not found
        first.weights.write_bytes(kept)
    thread.join(30)
    assert found[0].folder == first.folder


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), runs.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    with runs.threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


# Deadlines.


def test_a_training_stopped_and_continued_elsewhere_gives_the_bytes_of_one_long_training(tmp_path, monkeypatch):
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "whole"))
    whole = obtained("demoe")
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "first"))
    with monkeypatch.context() as patched, pytest.raises(experiments.TimeUp) as stopped:
        stop_after(patched, 1)
        obtained("demoe", deadline=time.monotonic() + LATER)
    assert (stopped.value.spec, stopped.value.step) == (whole.spec.starts_from, 1)
    assert str(stopped.value) == "time is up: baseline is at step 1 of 3"
    shutil.copytree(tmp_path / "first/results/test/runs", tmp_path / "second/results/test/runs")
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "second"))
    monkeypatch.setattr(runs.provenance, "hardware", lambda: "another machine")
    for run in (obtained("demoe"), obtained("baseline")):
        other = tmp_path / "whole/results/test/runs" / run.folder.name / "model.safetensors"
        first, second = (read_weights(file).tensors for file in (run.weights, other))
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
        assert not (run.folder / "state").exists()
    on = read_run(run.folder).hardware.split("; ")
    assert len(on) == 2 and on[1] == "another machine"


def test_a_machine_whose_state_is_lost_is_not_listed(home, monkeypatch):
    monkeypatch.setattr(runs.provenance, "hardware", lambda: "an earlier machine")
    with monkeypatch.context() as patched, pytest.raises(experiments.TimeUp):
        stop_after(patched, 1)
        obtained("baseline", deadline=time.monotonic() + LATER)
    next(home.rglob("state/*.pt")).write_bytes(b"")
    monkeypatch.setattr(runs.provenance, "hardware", lambda: "this machine")
    assert read_run(obtained("baseline").folder).hardware == "this machine"


def test_when_time_is_up_nothing_more_is_begun(home, monkeypatch):
    monkeypatch.setattr(runs, "train", None)  # would fail
    with pytest.raises(experiments.TimeUp, match="demoe is at step 0 of 2"):
        obtained("demoe", deadline=time.monotonic() - 1)


# The commands.


def test_the_commands(home, monkeypatch, capsys):
    monkeypatch.setitem(profiles.PROFILES, "test", TINY)
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        assert cli.main(["train", "--profile", "test", "--minutes", "9"]) == 0
    assert capsys.readouterr().out == "time is up: baseline is at step 1 of 3; the same command goes on from there\n"
    assert "| 1 | baseline | step 1 of 3 |" in (home / "results/test/STATUS.md").read_text()
    assert cli.main(["train", "--profile", "test", "--minutes", "60"]) == 0
    assert capsys.readouterr().out.strip().endswith("model.safetensors")
    assert cli.main(["status", "--profile", "test"]) == 0
    shown = capsys.readouterr().out
    assert shown == (home / "results/test/STATUS.md").read_text() and "| 2 | demoe | done, 2 steps |" in shown


def test_all_trains_what_is_missing_and_says_so(home, monkeypatch, capsys):
    wanted = [experiments.named(name, SETTING) for name in ("baseline", "demoe")]
    monkeypatch.setattr(experiments, "plan", lambda *arguments: wanted)
    monkeypatch.setitem(profiles.PROFILES, "test", TINY)
    assert cli.main(["train", "--profile", "test", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0] for line in lines] == [
        "trained baseline",
        "trained demoe",
        "all 2 networks are trained",
    ]
    assert lines[1].endswith("(2 of 2)")
    assert cli.main(["train", "--profile", "test", "--all"]) == 0
    assert capsys.readouterr().out == "all 2 networks are trained\n"


def test_the_list_for_programs_names_files_starts_and_notebooks(home, capsys):
    assert cli.main(["train", "--profile", "test", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    setting = Setting.of("test")
    assert [(one["name"], one["seed"], one["hash"]) for one in listed] == [
        (spec.name, spec.seed, spec.hash) for spec in experiments.plan(setting)
    ]
    demoe = listed[1]
    assert demoe["starts_from"] == {"name": "baseline", "seed": 0} and "09" in demoe["notebooks"]
    assert home / demoe["weights"] == experiments.named("demoe", setting).folder(setting) / "model.safetensors"


@pytest.mark.parametrize(
    "words",
    [("--minutes", "0"), ("--minutes", "soon"), ("--json",), ("--all", "--experiment", "demoe"), ("--all", "--fresh")],
)
def test_requests_that_make_no_sense(words, home):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "--profile", "test", *words])


def test_all_is_for_one_device(home, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "--profile", "test", "--all"])
    assert "--all trains on one device: start it without torchrun" in capsys.readouterr().err


def test_a_profile_plans_nothing_that_it_leaves_out():
    for name in ("smoke", "cpu"):
        setting = Setting(profiles.get(name), progress=False)
        planned = {spec.name for spec in experiments.plan(setting)}
        assert planned == set(experiments.NAMES) - set(setting.profile.leaves_out)
        needed = {one for names in experiments.needed_by(setting.profile).values() for one in names}
        assert needed <= planned
    assert experiments.plan(setting, ["ablation-wide"])[-1].name == "ablation-wide"  # asked for, it is trained
    assert {name for name in profiles.PROFILES if not profiles.get(name).leaves_out} == {"test", "quick", "paper"}
    every = {name for profile in profiles.PROFILES.values() for name in profile.leaves_out}
    assert every <= set(experiments.NAMES) and profiles.trained_from("ablation-wide") == "quick"
    assert profiles.trained_from("ablation-router-noise") == "cpu" and profiles.trained_from("demoe") == "smoke"
