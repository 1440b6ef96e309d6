"""Training in slices: in order of value, stopped when time is up, continued elsewhere, bit for bit."""

import json
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from math import inf
from types import SimpleNamespace

import pytest
import torch

from demoe import experiments
from demoe.app import cli, photos
from demoe.core import images, profiles
from demoe.data.real.roots import Roots
from demoe.experiments import costs, runs, schedule, status
from demoe.experiments.progress import found, read
from demoe.training import loop

SMALL = {
    "stage1_steps": 3,
    "stage2_steps": 2,
    "specialist_steps": 2,
    "ablation_steps": 2,
    "train_images": 1,
    "test_images": 1,
    "image_size": 48,
}
TINY = profiles.get("test", **SMALL)


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)  # starting them takes longer than these trainings


def stop_after(monkeypatch, steps: int) -> None:
    """Time is up for the training loop after so many steps of this process, whatever the clock says."""
    looked = iter(range(1, 10**6))
    clock = SimpleNamespace(perf_counter=time.perf_counter, monotonic=lambda: inf if next(looked) >= steps else 0.0)
    monkeypatch.setattr(loop, "time", clock)


def part(compact: bool = False) -> experiments.Slice:
    return experiments.Slice(time.monotonic() + 3600, compact)


# The order of work.


def test_the_most_valuable_comes_first_and_nothing_before_what_it_starts_from():
    order = experiments.ORDER
    assert order[:2] == ("baseline", "demoe") and sorted(order) == sorted(set(order))
    kinds = ("task-specific", "specialist", "ablation", "comparator")
    firsts = [next(i for i, name in enumerate(order) if name.startswith(kind)) for kind in kinds]
    assert firsts == sorted(firsts) and order[-1].startswith("comparator")
    for place, name in enumerate(order):
        assert all(order.index(one) < place for one in experiments.EXPERIMENTS[name].after), name
    assert {name for names in experiments.NEEDED_BY.values() for name in names} <= set(order)


def test_further_seeds_of_ablations_come_last():
    three = profiles.get("test", ablation_seeds=3)
    jobs = experiments.plan(three, 5)
    first = len(experiments.ORDER)
    assert jobs[:first] == [(name, 5) for name in experiments.ORDER]
    assert {seed for _, seed in jobs[first:]} == {6, 7}
    assert all(name.startswith(("ablation-", "variant-")) for name, _ in jobs[first:])
    assert experiments.plan(three, 5, ["demoe"]) == [("baseline", 5), ("demoe", 5)]
    with pytest.raises(ValueError, match="unknown experiment 'x'"):
        experiments.plan(TINY, names=["x"])


# Slices.


def test_slices_on_two_machines_give_the_bytes_of_one_long_training(tmp_path, monkeypatch):
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "whole"))
    whole = experiments.demoe(TINY, progress=False)
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "first"))
    with monkeypatch.context() as patched, experiments.until(part()), pytest.raises(experiments.TimeUp) as stopped:
        stop_after(patched, 1)
        experiments.demoe(TINY, progress=False)
    assert (stopped.value.name, stopped.value.step, stopped.value.steps) == ("baseline", 1, 3)
    assert str(stopped.value) == "time is up: baseline is at step 1 of 3"
    (state,) = (tmp_path / "first").glob("results/test/runs/*/state")
    assert max(file.stat().st_size for file in state.iterdir()) < 16e6
    shutil.copytree(tmp_path / "first/results/test/runs", tmp_path / "second/results/test/runs")
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "second"))
    monkeypatch.setattr(runs.provenance, "hardware", lambda: "another machine")
    standing = experiments.train_plan(TINY, names=["demoe"], progress=False)
    assert standing.at is None and str(standing) == "all 2 networks are trained"
    for run in (experiments.baseline(TINY, progress=False), experiments.demoe(TINY, progress=False)):
        other = tmp_path / "whole/results/test/runs" / run.folder.name / "model.safetensors"
        first, second = (runs.checkpoints.tensors(file) for file in (run.folder / "model.safetensors", other))
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
        assert not (run.folder / "state").exists()
    assert whole.hash == run.hash
    on = read(experiments.baseline(TINY, progress=False).folder).hardware.split("; ")
    assert len(on) == 2 and on[1] == "another machine"


def test_a_large_network_is_kept_in_parts_and_goes_on_elsewhere(tmp_path, monkeypatch):
    limit = 30_000
    monkeypatch.setattr(runs.parts, "LIMIT", limit)
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "first"))
    first = experiments.baseline(TINY, progress=False)
    largest = max(value.nbytes for value in first.model.state_dict().values())
    assert len(first.weights) > 2 and not (first.folder / "model.safetensors").exists()
    assert max(file.stat().st_size for file in first.folder.rglob("*") if file.is_file()) < max(limit, largest) + 15_000
    shutil.copytree(tmp_path / "first/results/test/runs", tmp_path / "second/results/test/runs")
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "second"))
    with monkeypatch.context() as patched:
        patched.setattr(runs, "train", None)  # would fail
        again = experiments.baseline(TINY, progress=False)
    assert all(torch.equal(value, again.model.state_dict()[key]) for key, value in first.model.state_dict().items())
    assert [file.name for file in experiments.weights(["baseline"], TINY)] == [file.name for file in first.weights]
    run = experiments.demoe(TINY, progress=False)
    assert read(run.folder).done and read(again.folder).weights == again.weights[0]
    monkeypatch.setattr(photos, "PACKAGED_WEIGHTS", tmp_path / "none")
    monkeypatch.delenv("DEMOE_WEIGHTS", raising=False)
    assert photos.default_path() == run.weights[0]
    again.weights[1].unlink()
    assert not read(again.folder).done
    with experiments.looking(), pytest.raises(experiments.NotTrained):
        experiments.baseline(TINY, progress=False)
    mended = experiments.baseline(TINY, progress=False)
    assert [file.name for file in mended.weights] == [file.name for file in first.weights]
    assert runs.checkpoints.tensors(mended.weights[1]).keys() == runs.checkpoints.tensors(first.weights[1]).keys()


def test_a_machine_whose_state_is_lost_is_not_listed(home, monkeypatch):
    monkeypatch.setattr(runs.provenance, "hardware", lambda: "an earlier machine")
    with monkeypatch.context() as patched, experiments.until(part()), pytest.raises(experiments.TimeUp):
        stop_after(patched, 1)
        experiments.baseline(TINY, progress=False)
    next(home.rglob("*.part")).write_bytes(b"")
    monkeypatch.setattr(runs.provenance, "hardware", lambda: "this machine")
    assert read(experiments.baseline(TINY, progress=False).folder).hardware == "this machine"


def test_whether_networks_are_there_is_seen_without_loading_them(home, monkeypatch):
    experiments.demoe(TINY, progress=False)
    monkeypatch.setattr(runs.parts, "load", None)  # would fail
    assert schedule.missing(["demoe"], experiments.EXPERIMENTS, TINY, 0, None) == []


def test_a_compact_state_goes_on_too(home, monkeypatch):
    sizes = {}
    for compact in (False, True):
        with monkeypatch.context() as patched, experiments.until(part(compact)), pytest.raises(experiments.TimeUp):
            stop_after(patched, 1)
            experiments.baseline(TINY, seed=int(compact), progress=False)
        (state,) = home.glob(f"results/test/runs/baseline-s{int(compact)}-*/state")
        sizes[compact] = sum(file.stat().st_size for file in state.glob("*.part"))
        assert len(experiments.baseline(TINY, seed=int(compact), progress=False).metrics) >= 2
    assert sizes[True] < 0.3 * sizes[False]


def test_when_time_is_up_nothing_more_is_begun(home, monkeypatch):
    monkeypatch.setattr(runs, "train", None)  # would fail
    told = []
    standing = experiments.train_plan(
        TINY, part=experiments.Slice(time.monotonic() - 1), progress=False, say=told.append
    )
    assert (standing.done, standing.total) == (0, len(experiments.ORDER)) and told == []
    assert str(standing) == f"time is up: baseline is at step 0 of 3; 0 of {standing.total} networks are trained"
    assert experiments.slices.current_slice() is None


def test_side_by_side_all_save_what_they_have_and_no_further_one_begins(monkeypatch):
    began, ended, first_is_over = [], [], threading.Event()

    def train_one(name, seed, profile, data_root):
        began.append(name)
        if name == "specialist-gopro":
            first_is_over.set()
            raise experiments.TimeUp(name, seed, 4, 9)
        assert first_is_over.wait(60)
        time.sleep(0.2)  # it is still writing
        ended.append(name)
        return 1.0

    monkeypatch.setattr(schedule, "_train_one", train_one)
    jobs = [(name, 0) for name in ("specialist-gopro", "specialist-dpdd", "specialist-realblur")]
    with ThreadPoolExecutor(2) as pool, pytest.raises(experiments.TimeUp) as stopped:
        schedule._run_all(pool, 2, jobs, experiments.EXPERIMENTS, TINY, None, False, lambda text: None)
    assert began == ["specialist-gopro", "specialist-dpdd"] and ended == ["specialist-dpdd"]
    assert (stopped.value.name, stopped.value.trained) == ("specialist-gopro", 1)


def test_time_up_can_be_sent_between_processes():
    error = pickle.loads(pickle.dumps(experiments.TimeUp("demoe", 1, 3, 9, trained=2)))
    assert (error.trained, str(error)) == (2, "time is up: demoe (seed 1) is at step 3 of 9")


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
    shutil.rmtree(home / "results/test/runs")
    assert cli.main(["status", "--profile", "test"]) == 0  # as in a fresh clone
    assert capsys.readouterr().out.startswith(shown) and (home / "results/test/STATUS.md").read_text() == shown


@pytest.mark.parametrize(
    "words",
    [
        ("--minutes", "0"),
        ("--minutes", "soon"),
        ("--compact",),
        ("--all", "--experiment", "demoe"),
        ("--all", "--fresh"),
    ],
)
def test_requests_that_make_no_sense(words, home):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "--profile", "test", *words])


# STATUS.md.


def made_up(home, name: str, step: int, done: bool, seconds: float, folder: str = "abcd", **changes) -> None:
    config = runs.asked(experiments.EXPERIMENTS[name], TINY) | {"steps": 100} | changes
    folder = home / "results/test/runs" / f"{name}-s0-{folder}"
    folder.mkdir(parents=True)
    mark = {"config": "abcd", "hardware": "NVIDIA L4; NVIDIA H200", "commit": "1234567"}
    (folder / "config.json").write_text(json.dumps({"config": config, "provenance": mark}))
    line = {"step": step - 1, "seconds": seconds, "waited": seconds / 50, "images": 8 * step}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    if done:
        (folder / "model.safetensors").touch()
    else:
        (folder / "state").mkdir()
        (folder / "state" / "manifest.json").write_text(json.dumps({"step": step, "parts": {}}))


LONG = profiles.get("test", **SMALL | {"stage1_steps": 100, "stage2_steps": 100})


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")][2:]


def test_status_is_what_the_files_say_and_the_same_twice(home):
    made_up(home, "baseline", 100, True, 200.0)
    made_up(home, "demoe", 40, False, 3700.0, code="of before", stage1_steps=100)
    text = status.text(LONG)
    first, second, third = rows(text)[:3]
    assert first.startswith("| 1 | baseline | done, 100 steps | 3:20 | 4.0 | ")
    assert first.endswith("| 2.0% | NVIDIA L4; NVIDIA H200 | synthetic, bundled photographs | `1234567` | `abcd` |")
    assert second.startswith("| 2 | demoe | step 40 of 100 (earlier code) | 1:01:40 | 0.1 | ")
    assert third.startswith("| 3 | task-specific-dpdd | missing |") and len(rows(text)) == len(experiments.ORDER)
    assert f"1 of {len(experiments.ORDER)} networks are trained, 1 under way: 1:05:00 of training" in text
    assert "./run_all.sh --profile test --minutes 9" in text
    assert "Not finished: demoe (step 40 of 100), task-specific-dpdd" in text
    assert status.write(LONG) == status.file(LONG) and status.file(LONG).read_text() == text == status.text(LONG)


def test_status_shows_the_share_of_the_machines_limit_where_it_was_measured(home):
    made_up(home, "baseline", 100, True, 200.0, precision="float32")
    work, pace = costs.work_of(runs.asked(experiments.EXPERIMENTS["baseline"], TINY)), 4.0  # images a second
    peaks = home / "results/bench/there/machine.csv"
    peaks.parent.mkdir(parents=True)
    head = "quantity,per_second,device,hardware,threads\n"
    for flops, moved in ((work[0] * pace * 4, work[1] * pace * 10), (work[0] * pace * 10, work[1] * pace * 4)):
        for hardware in ("NVIDIA L4; NVIDIA H200", "another"):
            peaks.write_text(
                head
                + "".join(
                    f"{name},{rate},cuda,{hardware},1\n"
                    for name, rate in (("flops_float32", flops), ("flops_bfloat16", 1.0), ("bytes", moved))
                )
            )
            assert ("(25%)" in rows(status.text(LONG))[0]) == (hardware != "another")
    whole = peaks.read_text().replace("another", "NVIDIA L4; NVIDIA H200")
    for damaged in ("", head, "quantity\n1\n", whole + "bytes,0"):
        peaks.write_text(damaged)
        assert "%)" not in rows(status.text(LONG))[0]


def test_without_runs_a_status_says_so_and_never_replaces_one_that_has_some(home):
    text = status.write(TINY).read_text()
    assert f"0 of {len(experiments.ORDER)} networks are trained" in text and "./run_all.sh --profile test" in text
    assert all("| missing |" in row for row in rows(text))
    made_up(home, "baseline", 100, True, 9.0)
    kept = status.write(LONG).read_text()
    shutil.rmtree(home / "results/test/runs")
    assert status.write(LONG) is None and status.file(LONG).read_text() == kept != text
    other = status.write(LONG, 1)
    assert other.name == "STATUS-s1.md" and status.file(LONG).read_text() == kept


@pytest.mark.parametrize("changes", [{"source": "0123456789ab"}, {"width": 99}, {"code": "of before", "batch": 7}])
def test_a_run_of_another_configuration_does_not_count(home, changes):
    made_up(home, "baseline", 100, True, 9.0, **changes)
    text = status.text(LONG)
    assert "| 1 | baseline | done, 100 steps (other configuration" in text
    assert f"0 of {len(experiments.ORDER)} networks are trained: 0:00" in text
    assert "Not finished: baseline, demoe" in text
    made_up(home, "baseline", 40, False, 5.0, "0000")
    assert rows(status.text(LONG))[0].startswith("| 1 | baseline | step 40 of 100 |")


def test_the_photographs_of_the_call_are_those_that_count(home, tmp_path):
    for i in range(3):
        images.write_photograph(tmp_path / f"sharp/{i}.png", images.Photograph(torch.rand(3, 130, 130)))
    own = Roots(sharp_images=tmp_path / "sharp")
    source = runs.asked(experiments.EXPERIMENTS["baseline"], LONG, 0, own)["source"]
    made_up(home, "baseline", 100, True, 9.0, source=source)
    assert "other configuration" in status.text(LONG)
    text = status.text(LONG, 0, own)
    assert "other configuration" not in text and f"synthetic, photographs {source}" in text
    assert "./run_all.sh --profile test --sharp-images DIR --minutes 9" in text


def test_waiting_is_no_share_of_time_where_a_gpu_makes_the_data(home):
    fresh = profiles.get("test", **SMALL | {"stage1_steps": 100}, fresh=True)
    made_up(home, "baseline", 100, True, 200.0, fresh=True)
    assert " | - | NVIDIA L4; NVIDIA H200 |" in rows(status.text(fresh))[0]


def test_the_run_of_this_code_is_shown_and_damage_is_passed_over(home):
    wanted = {("baseline", 0): runs.asked(experiments.EXPERIMENTS["baseline"], LONG)}
    made_up(home, "baseline", 100, True, 9.0, "0000", code="of before")
    made_up(home, "baseline", 40, False, 5.0)
    assert found("test", wanted)["baseline", 0].step == 40
    (home / "results/test/runs/baseline-s0-abcd/config.json").write_text("{")
    assert found("test", wanted)["baseline", 0].done


def test_all_is_for_one_device(home, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "--profile", "test", "--all"])
    assert "--all trains on one device: start it without torchrun" in capsys.readouterr().err
