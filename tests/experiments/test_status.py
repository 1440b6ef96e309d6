"""STATUS.md says what the files say: of this call's networks, of earlier code, of other numbers."""

import json

import pytest
import torch

from demoe import experiments
from demoe.app import cli
from demoe.core import images, profiles
from demoe.core.files import SUMS, write_text
from demoe.data.real.roots import Roots
from demoe.data.setting import Setting
from demoe.experiments import status
from demoe.experiments.status import runs_of

SMALL = {"specialist_steps": 2, "ablation_steps": 2, "train_images": 1, "test_images": 1, "image_size": 48}
LONG = Setting(profiles.get("test", **SMALL, stage1_steps=100, stage2_steps=100))
TOTAL = len(experiments.NAMES)


def made_up(home, name: str, step: int, done: bool, seconds: float, folder: str = "abcd", **changes) -> None:
    config = experiments.named(name, LONG).configuration() | changes
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
        (folder / "state" / SUMS).write_text(f"{64 * '0'}  {step:07d}.pt\n")


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def test_status_is_what_the_files_say_and_the_same_twice(home):
    made_up(home, "baseline", 100, True, 200.0)
    made_up(home, "demoe", 40, False, 3700.0, code="of before")
    text = status.status_text(LONG)
    first, second, third = rows(text)[:3]
    assert first.startswith("| 1 | baseline | done, 100 steps | 3:20 | 4.0 | ")
    assert first.endswith("| 2.0% | NVIDIA L4; NVIDIA H200 | synthetic, bundled photographs | `1234567` | `abcd` |")
    assert second.startswith("| 2 | demoe | step 40 of 100 (earlier code) | 1:01:40 | 0.1 | ")
    assert third.startswith("| 3 | task-specific-dpdd | missing |") and len(rows(text)) == TOTAL
    assert f"1 of {TOTAL} networks are trained, 1 under way: 1:05:00 of training" in text
    assert "demoe train --all --profile test" in text
    assert "Not finished: demoe (step 40 of 100), task-specific-dpdd" in text
    assert status.write_status(LONG) == status.status_file(LONG) and status.status_file(
        LONG
    ).read_text() == text == status.status_text(LONG)


def test_without_runs_a_status_says_so_and_names_the_published_one(home, capsys):
    text = status.write_status(LONG).read_text()
    assert f"0 of {TOTAL} networks are trained" in text
    assert all("| missing |" in row for row in rows(text))
    other = status.write_status(LONG.with_seed(1))
    assert other.name == "STATUS-s1.md" and status.status_file(LONG).read_text() == text
    shown = home / "results/published/test/STATUS.md"
    write_text(shown, "published")
    assert cli.main(["status", "--profile", "test"]) == 0
    assert capsys.readouterr().out.endswith("results/published/test/STATUS.md\n") and shown.read_text() == "published"


@pytest.mark.parametrize("changes", [{"source": "0123456789ab"}, {"patch": 99}, {"code": "of before", "batch": 7}])
def test_a_run_of_another_configuration_does_not_count(home, changes):
    made_up(home, "baseline", 100, True, 9.0, **changes)
    text = status.status_text(LONG)
    assert "| 1 | baseline | done, 100 steps (other configuration" in text
    assert f"0 of {TOTAL} networks are trained: 0:00" in text
    assert "Not finished: baseline, demoe" in text
    made_up(home, "baseline", 40, False, 5.0, "0000")
    assert rows(status.status_text(LONG))[0].startswith("| 1 | baseline | step 40 of 100 |")


def test_the_photographs_of_the_call_are_those_that_count(home, tmp_path):
    for i in range(3):
        images.write_photograph(tmp_path / f"sharp/{i}.png", images.Photograph(torch.rand(3, 130, 130)))
    own = Setting(LONG.profile, roots=Roots(sharp_images=tmp_path / "sharp"))
    source = dict(experiments.named("baseline", own).data)["source"]
    made_up(home, "baseline", 100, True, 9.0, source=source)
    assert "other configuration" in status.status_text(LONG)
    text = status.status_text(own)
    assert "other configuration" not in text and f"synthetic, photographs {source}" in text
    assert "demoe train --all --profile test --sharp-images DIR" in text


def test_waiting_is_no_share_of_time_where_a_gpu_makes_the_data(home):
    fresh = Setting(profiles.get("test", **SMALL, stage1_steps=100, fresh=True))
    made_up(home, "baseline", 100, True, 200.0, fresh=True)
    assert " | - | NVIDIA L4; NVIDIA H200 |" in rows(status.status_text(fresh))[0]


def test_the_run_of_this_code_is_shown_and_damage_is_passed_over(home):
    spec = experiments.named("baseline", LONG)
    made_up(home, "baseline", 100, True, 9.0, "0000", code="of before")
    made_up(home, "baseline", 40, False, 5.0)
    assert runs_of(LONG, [spec])[spec].step == 40
    (home / "results/test/runs/baseline-s0-abcd/config.json").write_text("{")
    assert runs_of(LONG, [spec])[spec].done
