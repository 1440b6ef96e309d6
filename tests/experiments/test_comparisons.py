"""The networks that DeMoE is compared with: what they learn from, how long, and where they start."""

import importlib.util
from dataclasses import replace

import pytest
import torch

from demoe import experiments
from demoe.core import profiles
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.data.setting import Setting
from demoe.experiments import comparisons, runs, spec
from demoe.experiments.spec import COMPARATORS
from demoe.models import comparators
from demoe.models.nafnet import NAFNetConfig

TINY = profiles.get(
    "test",
    specialist_steps=2,
    ablation_steps=2,
    stage1_steps=2,
    stage2_steps=2,
    train_images=1,
    test_images=1,
    image_size=48,
)
SETTING = Setting(TINY, progress=False)


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)


@pytest.fixture
def trainings(monkeypatch):
    seen = []
    real = runs.train

    def train(model, batches, loss, folder, **options):
        start = {name: value.clone() for name, value in model.state_dict().items()}
        seen.append(
            {
                "start": start,
                "sets": [one.name for one in batches.sets],
                "patch": batches.patch,
                "first": batches[0],
                "steps": options["steps"],
            }
        )
        return real(model, batches, loss, folder, **options)

    monkeypatch.setattr(runs, "train", train)
    return seen


def obtained(name, setting):
    return experiments.obtain(experiments.named(name, setting), setting)


def test_comparators_see_what_the_variants_of_the_baseline_see(home, trainings):
    run = obtained("comparator-sfhformer", SETTING)
    obtained("variant-class-loss", SETTING)
    one, other = trainings
    assert one["steps"] == other["steps"] == TINY.ablation_steps and one["patch"] == other["patch"]
    torch.testing.assert_close(one["first"].blurred, other["first"].blurred, rtol=0, atol=0)
    assert run.spec.loss == (("pixel", 1.0),)
    again = obtained("comparator-sfhformer", SETTING)
    assert again.folder == run.folder and len(trainings) == 2
    assert comparators.label(again.model.config) == "SFHFormer (width 4, 1+1+2+1+1 blocks)"


def test_demoe_star_starts_from_the_baseline_and_learns_one_set(home, trainings):
    run = obtained("task-specific-gopro", SETTING)
    baseline, tuned = trainings
    assert tuned["sets"] == ["GoPro-syn"] and len(baseline["sets"]) == 5 and tuned["steps"] == TINY.specialist_steps
    first = obtained("baseline", SETTING).model.state_dict()
    assert tuned["start"] and all(torch.equal(value, first[name]) for name, value in tuned["start"].items())
    assert not any(name.startswith("mlp_branch") for name in tuned["start"]) and not run.model.config.router
    changed = [name for name, value in run.model.state_dict().items() if not torch.equal(value, tuned["start"][name])]
    assert any(name.startswith("encoders") for name in changed)  # all of it learns
    assert run.trained_on == "GoPro-syn"


def test_what_cannot_be_trained_here_is_not_needed(monkeypatch):
    assert set(experiments.NEEDED_BY["05"]) < set(experiments.specs(SETTING))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(spec.not_installed()) == ["Restormer", "FFTFormer"]
    assert all("pip install" in why for why in spec.not_installed().values())


def test_short_networks_are_scored_by_what_each_set_needs(home, monkeypatch):
    monkeypatch.setattr(comparisons, "absent", lambda profile: {"Restormer": "", "FFTFormer": "", "PromptIR": ""})
    asked = {}

    def obtain(spec, setting):
        asked[spec.name] = runs.Run(spec, runs.untrained(NAFNetConfig(2, (1,), 1, (1,))), None)
        return asked[spec.name]

    monkeypatch.setattr(comparisons, "obtain", obtain)
    found = comparisons.short(SETTING)
    assert list(found) == ["SFHFormer", "NAFNet", "DeMoE"]
    assert list(asked) == ["comparator-sfhformer", "variant-class-loss", "ablation-short-start"]
    sets = [one for one in aio_blur.aio_blur_ood(SETTING) if not one.name.startswith("Real-")]
    scores, mark = comparisons.short_scores(found, sets, TINY, 3)
    assert set(scores.method) == {name + comparisons.SHORT for name in found} and mark.seed == 3
    assert list(scores["set"].unique()) == [one.name for one in sets] and "lpips_vgg" in scores
    assert "niqe" not in scores


def test_without_short_networks_their_table_has_heads_alone(monkeypatch):
    monkeypatch.setattr(comparisons, "absent", lambda profile: dict.fromkeys(COMPARATORS, "later"))
    assert comparisons.short(SETTING) == {}
    scores, mark = comparisons.short_scores({}, [aio_blur.one_set("GoPro", SETTING, "test")], TINY)
    assert scores.empty and list(scores)[:4] == ["set", "image", "method", "psnr"] and mark.data == "synthetic"


def test_with_one_expert_demoe_is_its_baseline():
    """Section 3.3; the claim of notebook 05."""
    assert comparisons.one_expert_apart() < 1e-5 and comparisons.one_expert_apart(1) < 1e-5


def test_what_a_profile_leaves_out_says_from_which_on_it_is_there(home, trainings):
    assert comparisons.absent(TINY) == spec.not_installed()
    small = replace(TINY, leaves_out=profiles.get("smoke").leaves_out)
    absent = comparisons.absent(small)
    assert set(absent) == {*COMPARATORS, "NAFNet", "DeMoE"} and set(absent.values()) == {"from profile quick on"}
    entries = comparisons.compared(Setting(small, progress=False))
    assert len(trainings) == 2 + len(DATASETS)  # the baseline, DeMoE, and DeMoE* of each set
    assert not {one.role for one in entries} & {*absent, "NAFNet as long"}
