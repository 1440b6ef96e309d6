"""Profiles whose baseline and DeMoE come with the package: what is taken, when, and what it says of itself."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from demoe import experiments
from demoe.core import profiles
from demoe.core.files import checksum
from demoe.data.real.roots import Roots
from demoe.data.setting import Setting
from demoe.experiments import packaged, runs, status
from demoe.models import checkpoints
from demoe.models.pretrained import PACKAGED

CPU = Setting(profiles.get("cpu"), progress=False)


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(runs, "train", None)  # would fail


def test_the_runs_are_the_files_of_the_package_and_say_so(home, no_training):
    for name in ("baseline", "demoe"):
        run = experiments.obtain(experiments.named(name, CPU), CPU)
        file = PACKAGED / f"{name}-cpu.safetensors"
        assert run.weights.read_bytes() == file.read_bytes()
        wanted = checkpoints.load(file).state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in run.model.state_dict().items())
        origin, record = checkpoints.provenance(file), json.loads((run.folder / "config.json").read_text())
        mark = record["provenance"]
        assert (mark["commit"], mark["hardware"]) == (origin["commit"], origin["hardware"])
        assert mark["sha256"] == checksum(file) and record["config"]["source"] == origin["training"]["source"]
        assert list(run.metrics.step) == [run.spec.steps - 1] and "pixel" not in run.metrics
    assert experiments.trained(run.spec, CPU)
    text = status.status_text(CPU)
    assert "| 2 | demoe | done, 3500 steps (comes with the package) |" in text and "`demoe train --anew`" in text


def test_what_starts_from_them_depends_on_the_files_and_not_on_their_code(monkeypatch):
    known = experiments.specs(CPU)
    for name in ("demoe", "ablation-demoe", "task-specific-gopro"):
        assert known[name].starts_from == known["baseline"], name
    start = experiments.initial_network(known["task-specific-gopro"], CPU)
    wanted = checkpoints.load(PACKAGED / "baseline-cpu.safetensors").state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in start.state_dict().items())
    monkeypatch.setattr("demoe.experiments.spec.code", lambda real=False: "changed")
    after = experiments.specs(CPU)
    assert after["demoe"].hash == known["demoe"].hash and after["ablation-demoe"].hash != known["ablation-demoe"].hash


@pytest.mark.parametrize(
    "other",
    [
        replace(CPU, anew=True),
        replace(CPU, seed=1),
        replace(CPU, profile=replace(CPU.profile, packaged=False)),
        replace(CPU, profile=replace(CPU.profile, stage1_steps=5000)),
        replace(CPU, profile=replace(CPU.profile, width=8)),
        Setting(profiles.get("smoke"), progress=False),
    ],
)
def test_nothing_is_taken_for_another_training(other):
    known = experiments.specs(other)
    assert not known["baseline"].packaged and not known["demoe"].packaged


def test_other_photographs_are_learnt_from_anew(tmp_path):
    for i in range(3):
        Image.new("RGB", (300, 260), (40 * i, 90, 120)).save(tmp_path / f"{i}.png")
    given = replace(CPU, roots=Roots(sharp_images=tmp_path))
    assert not experiments.specs(given)["baseline"].packaged


def test_the_variable_asks_for_a_training(monkeypatch):
    monkeypatch.setenv("DEMOE_ANEW", "1")
    assert not experiments.specs(Setting.of("cpu"))["baseline"].packaged
    monkeypatch.delenv("DEMOE_ANEW")
    assert experiments.specs(Setting.of("cpu"))["baseline"].packaged == "baseline-cpu.safetensors"


def test_a_demoe_needs_its_own_baseline(monkeypatch, tmp_path):
    """Without the baseline's file nothing is taken, for DeMoE's encoder is that baseline's."""
    shutil.copy(PACKAGED / "demoe-cpu.safetensors", tmp_path)
    monkeypatch.setattr(packaged, "PACKAGED", tmp_path)
    assert not experiments.specs(CPU)["demoe"].packaged
