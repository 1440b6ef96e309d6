"""Specialists and variants of the baseline: where they start, what they see, and what their identity depends on."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from demoe import experiments
from demoe.core import profiles, provenance
from demoe.data.setting import Setting
from demoe.experiments import runs
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
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)  # starting them takes longer than these trainings


@pytest.fixture
def trainings(monkeypatch):
    """What every training was given: the weights at the start, the batches of its first step, the label."""
    seen = []
    real = runs.train

    def train(model, batches, loss, folder, **options):
        start = {name: value.clone() for name, value in model.state_dict().items()}
        seen.append(
            {
                "start": start,
                "first": batches[0],
                "label": options["label"],
                "sets": batches.sets,
                "patch": batches.patch,
            }
        )
        return real(model, batches, loss, folder, **options)

    monkeypatch.setattr(runs, "train", train)
    return seen


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def obtained(name, setting=None):
    setting = setting or SETTING
    return experiments.obtain(experiments.named(name, setting), setting)


def test_specialists_of_one_seed_share_their_start_and_another_start_sees_the_same_data(home, trainings):
    gopro, defocus, again = map(obtained, ("specialist-gopro", "specialist-dpdd", "specialist-gopro-other-start"))
    first, second, third = trainings
    assert equal(first["start"], second["start"]) and not equal(first["start"], third["start"])
    assert equal(first["start"], experiments.untrained(gopro.model.config, 0).state_dict())
    assert equal(third["start"], experiments.untrained(gopro.model.config, 1).state_dict())
    assert torch.equal(first["first"].blurred, third["first"].blurred)  # only the start differs
    assert not torch.equal(first["first"].blurred, second["first"].blurred)
    assert [run.trained_on for run in (gopro, defocus, again)] == ["GoPro-syn", "DPDD-syn", "GoPro-syn"]
    assert (again.spec.seed, again.spec.init_seed) == (0, 1)
    assert gopro.model.mlp_branch is None and list(gopro.metrics) == ["step", "total", "pixel", "grad_norm", "lr"]


def test_an_untrained_network_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    a, b = (experiments.untrained(NAFNetConfig(width=4), 1) for _ in range(2))
    assert torch.equal(torch.rand(3), wanted) and equal(a.state_dict(), b.state_dict()) and not a.training


def test_the_low_light_control_trains_though_it_belongs_to_no_expert(home, trainings):
    run = obtained("specialist-lolv2-real")
    assert run.trained_on == "LOLv2-real-syn" and trainings[0]["first"].labels.eq(-1).all()


def test_variants_differ_in_what_they_say_and_are_equally_long(home, trainings):
    names = ("class-loss", "no-class-loss", "original")
    runs = {name: obtained(f"variant-{name}") for name in names}
    assert [dict(run.spec.loss)["class"] for run in runs.values()] == [0.1, 0.0, 0.1]
    assert runs["original"].model.config.encoder_blocks == (1, 1, 1, 28)
    assert {run.spec.steps for run in runs.values()} == {2}
    ours, without, _ = (call["start"] for call in trainings)
    assert equal(ours, without)
    assert len({call["first"].blurred.sum().item() for call in trainings}) == 1
    router = [name for name in ours if name.startswith("mlp_branch.classifier.6")]
    before, after = ours, runs["no-class-loss"].model.state_dict()
    # Without the loss no gradient reaches the router: only weight decay, which is 0.1 % of 0.1 % a step.
    assert all(torch.allclose(before[name], after[name], rtol=1e-4, atol=1e-7) for name in router)
    learnt = runs["class-loss"].model.state_dict()
    assert not all(torch.allclose(before[name], learnt[name], rtol=1e-4) for name in router)


def test_stage_2_starts_from_its_initial_network(home, trainings):
    for name in ("demoe", "ablation-pretrained-experts"):
        obtained(name)
        start = experiments.initial_network(experiments.named(name, SETTING), SETTING)
        assert equal(trainings[-1]["start"], start.state_dict())
    levels = start.experts
    assert all(equal(block.experts[0].state_dict(), block.experts[4].state_dict()) for block in levels)


def test_an_identity_depends_on_what_the_weights_depend_on_and_nothing_else():
    kinds = {
        "baseline": lambda setting: experiments.named("baseline", setting),
        "demoe": lambda setting: experiments.named("demoe", setting),
        "specialist": lambda setting: experiments.named("specialist-gopro", setting),
        "variant": lambda setting: experiments.named("variant-class-loss", setting),
        "no-class-loss": lambda setting: experiments.named("variant-no-class-loss", setting),
        "ablation": lambda setting: experiments.named("ablation-demoe", setting),
    }
    usual = {name: make(SETTING).hash for name, make in kinds.items()}
    concerns = {
        "specialist_steps": {"specialist"},
        "ablation_steps": {"variant", "no-class-loss", "ablation"},
        "stage1_steps": {"baseline", "demoe", "ablation"},
        "stage2_steps": {"demoe"},
        "bench_size": set(),
        "test_images": set(),
        "class_weight": {"baseline", "demoe", "variant", "ablation"},
        "image_size": set(kinds),
        "learning_rate": {"baseline", "demoe", "ablation"},  # the last two by what they start from
        "stage2_rate": {"demoe"},
        "guest_rate": set(),
        "specialist_rate": {"specialist"},
        "ablation_rate": {"variant", "no-class-loss", "ablation"},
        "batch": set(kinds),
        "leaves_out": set(),
        "packaged": set(),  # the package has none of this profile
    }
    values = {"class_weight": 0.5, "image_size": 40, "learning_rate": 2e-3, "batch": 4, "leaves_out": ("demoe",)}
    for field, wanted in concerns.items():
        other = Setting(replace(TINY, **{field: values.get(field, 3)}))
        found = {name for name, make in kinds.items() if make(other).hash != usual[name]}
        assert found == wanted, field
    assert kinds["specialist"](Setting(replace(TINY, specialist_patch=24))).hash != usual["specialist"]
    assert kinds["specialist"](Setting(replace(TINY, patch=24))).hash == usual["specialist"]


@pytest.mark.parametrize(
    ("file", "renames"),
    [
        ("core/profiles.toml", False),
        ("core/profiles.py", True),
        ("models/fused_rows.h", True),
        ("experiments/ablations.toml", False),
    ],
)
def test_an_identity_depends_on_the_code_and_not_on_other_profiles_numbers(tmp_path, monkeypatch, file, renames):
    before = experiments.named("demoe", SETTING).hash
    package = shutil.copytree(Path(provenance.__file__).parents[1], tmp_path / "demoe")
    monkeypatch.setattr(provenance, "__file__", str(package / "core/provenance.py"))
    (package / file).write_text((package / file).read_text() + "# changed\n")
    provenance.code_hash.cache_clear()
    try:
        assert (experiments.named("demoe", SETTING).hash != before) == renames
    finally:
        provenance.code_hash.cache_clear()


def test_what_people_are_told_is_no_part_of_an_identity():
    spec = experiments.named("demoe", SETTING)
    other = replace(spec, about="another sentence")
    assert other == spec and hash(other) == hash(spec) and other.hash == spec.hash
    assert replace(spec, starts_from=replace(spec.starts_from, steps=9)).hash != spec.hash


def test_every_experiment_has_a_name_and_a_sentence():
    known = experiments.specs(SETTING)
    wanted = {"baseline", "demoe", "baseline-longer", "specialist-gopro", "specialist-lolv2-real"}
    assert set(known) > wanted | {"variant-class-loss", "ablation-demoe", "comparator-promptir", "task-specific-dpdd"}
    for name, spec in known.items():
        assert spec.name == name and len(spec.about) > 20 and spec.about.endswith("."), name
        assert spec.starts_from in (None, *known.values()), name
    assert set(experiments.specs(Setting(profiles.get("paper")))) == set(known)
