"""What the paper states of its trainings (Section 3.4, Appendix C) is what profile ``paper`` trains with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from demoe.core import profiles
from demoe.data.batches import Batches
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.experiments import runs
from demoe.experiments.spec import specs
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training.loop import train

PAIRS, EPOCHS, BATCH, CROP, WIDTH = 20_032, 400, 32, 384, 32


@pytest.fixture(scope="module")
def paper():
    return specs(Setting(profiles.get("paper"), progress=False))


def test_both_stages_are_400_epochs_of_batches_of_32_crops(paper):
    stage1, stage2 = paper["baseline"], paper["demoe"]
    assert stage1.steps == stage2.steps == EPOCHS * PAIRS // BATCH == 250_400
    assert (stage1.batch, stage1.patch) == (stage2.batch, stage2.patch) == (BATCH, CROP)
    assert stage1.network.width == stage2.network.width == WIDTH
    assert stage2.starts_from == stage1 and (stage1.learns, stage2.learns) == ("all", "decoder")
    assert len(stage1.sets) == len(stage2.sets) == 5


def test_stage_1_weighs_the_class_by_a_thousandth_and_stage_2_has_pixels_alone(paper):
    assert dict(paper["baseline"].loss) == {"pixel": 1.0, "class": 1e-3}
    assert dict(paper["demoe"].loss) == {"pixel": 1.0}
    assert {term.name: term.weight for term in runs.criterion(paper["baseline"]).terms if term.weight} == {
        "pixel": 1.0,
        "class": 1e-3,
    }


def test_every_training_has_the_paper_s_rates(paper):
    """Those of specialists and ablations are not stated; with others their rows would be of another recipe."""
    for spec in paper.values():
        recipe = dict(spec.recipe)
        assert (recipe["learning_rate"], recipe["min_learning_rate"]) == (1e-3, 1e-7), spec.name
        assert (recipe["average"], recipe["accumulate"], spec.router_noise > 0) == (0, 1, "noise" in spec.name)


def test_quick_keeps_all_but_sizes_and_lengths(paper):
    quick = specs(Setting(profiles.get("quick"), progress=False))
    for name in ("baseline", "demoe"):
        assert (quick[name].loss, quick[name].recipe) == (paper[name].loss, paper[name].recipe)


def test_profile_real_alone_has_a_shared_camera():
    for name in profiles.PROFILES:
        made = specs(Setting(profiles.get(name), progress=False))
        trained = [one for one in made.values() if not one.packaged]
        assert {dict(one.data)["capture"] for one in trained} == {"shared" if name == "real" else "set"}


def test_a_warm_start_is_that_of_the_first_stage_alone():
    """What is to be trained from random weights is, and nothing waits for a network that no profile trains."""
    made = specs(Setting(profiles.get("real"), 1, progress=False))
    assert made["baseline"].starts_from.name == "baseline-cpu"
    for name, one in made.items():
        if name.startswith(("specialist-", "variant-", "comparator-")):
            assert one.starts_from is None, name
        if one.starts_from is not None and one is not made["baseline"]:
            assert one.starts_from.name in made, name


def test_a_start_from_the_package_says_how_its_file_was_trained_and_not_whoever_starts_from_it():
    other = profiles.get("real", class_weight=0.5, learning_rate=2e-3, stage1_steps=7)
    baseline = specs(Setting(other, progress=False))["baseline"]
    start = baseline.starts_from
    assert start.packaged and (baseline.steps, start.steps) == (7, 6000)
    assert (dict(baseline.loss)["class"], dict(start.loss)) == (0.5, {"pixel": 1.0, "class": 0.1})
    rates = [dict(one.recipe)["learning_rate"] for one in (baseline, start)]
    assert rates == [2e-3, 1e-3]


def test_adamw_has_the_betas_and_the_cosine_of_the_paper(paper, tmp_path, monkeypatch):
    """As they reach PyTorch, in a training of a few steps with the recipe of profile ``paper``."""
    made, real = [], torch.optim.AdamW

    def adamw(parameters, **options):
        made.append(options)
        return real(parameters, **options)

    monkeypatch.setattr(torch.optim, "AdamW", adamw)
    pixels = torch.rand(2, 3, 32, 32).mul(255).byte()
    pairs = PairedSet("GoPro-syn", "synthetic", ["a"], lambda i, window=None: tuple(pixels), lambda i: (32, 32))
    torch.manual_seed(0)
    model = NAFNet(NAFNetConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,), router=True))
    recipe = {name: value for name, value in paper["baseline"].recipe if name != "threads"}
    steps = 4
    train(
        model,
        Batches([pairs], 32, 2, 0),
        runs.criterion(paper["baseline"]),
        tmp_path,
        steps=steps,
        log_every=1,
        progress=False,
        **recipe,
    )
    (options,) = made
    assert options["betas"] == (0.9, 0.9) and options["lr"] == 1e-3 and options["weight_decay"] == 1e-3
    lines = [json.loads(line) for line in Path(tmp_path, "metrics.jsonl").read_text().splitlines()]
    model = torch.nn.Linear(1, 1)
    optimizer = real(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=1e-7)
    for line in lines:
        assert line["lr"] == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()
