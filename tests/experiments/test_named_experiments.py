"""Specialists and variants of the baseline: where they start, what they see, and what their identity depends on."""

import inspect

import pytest
import torch

from demoe import experiments
from demoe.core import profiles
from demoe.data.pairs import PairedSet
from demoe.experiments import ablations, runs, specialists, two_stages
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


def own(name: str = "mine", value: int = 90, keys: int = 2) -> PairedSet:
    pixels = torch.full((keys, 2, 3, 40, 33), value, dtype=torch.uint8)
    return PairedSet(
        name, "real", [str(i) for i in range(keys)], lambda i, window=None: _cut(pixels[i], window), lambda i: (40, 33)
    )


def _cut(pair, window):
    top, left, height, width = window or (0, 0, 40, 33)
    return pair[0, :, top : top + height, left : left + width], pair[1, :, top : top + height, left : left + width]


def test_specialists_of_one_seed_share_their_start_and_another_start_sees_the_same_data(home, trainings):
    gopro = experiments.specialist(TINY, "GoPro", progress=False)
    defocus = experiments.specialist(TINY, "DPDD", progress=False)
    again = experiments.specialist(TINY, "GoPro", progress=False, init_seed=7)
    first, second, third = trainings
    assert equal(first["start"], second["start"]) and not equal(first["start"], third["start"])
    assert equal(first["start"], experiments.untrained(gopro.model.config, 0).state_dict())
    assert equal(third["start"], experiments.untrained(gopro.model.config, 7).state_dict())
    assert torch.equal(first["first"].blurred, third["first"].blurred)  # only the start differs
    assert not torch.equal(first["first"].blurred, second["first"].blurred)
    assert [run.trained_on for run in (gopro, defocus, again)] == ["GoPro-syn", "DPDD-syn", "GoPro-syn"]
    assert (again.name, again.config["seed"], again.config["init_seed"]) == ("specialist-gopro-init7", 0, 7)
    assert gopro.model.mlp_branch is None and list(gopro.metrics) == ["step", "total", "pixel", "grad_norm", "lr"]
    experiments.specialist(TINY, "GoPro", progress=False, init_seed=0)  # the default said aloud: the same run
    assert len(trainings) == 3


def test_an_untrained_network_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    a, b = (experiments.untrained(NAFNetConfig(width=4), 1) for _ in range(2))
    assert torch.equal(torch.rand(3), wanted) and equal(a.state_dict(), b.state_dict()) and not a.training


def test_the_low_light_control_trains_though_it_belongs_to_no_expert(home, trainings):
    run = experiments.train_experiment("specialist-lolv2-real", TINY, progress=False)
    assert run.trained_on == "LOLv2-real-syn" and trainings[0]["first"].labels.eq(-1).all()


def test_variants_differ_in_what_they_say_and_are_equally_long(home, trainings):
    names = ("class-loss", "no-class-loss", "original")
    runs = {name: experiments.variant(TINY, name, progress=False) for name in names}
    assert {name: run.config["class_weight"] for name, run in runs.items()} == {
        "class-loss": 0.1,
        "no-class-loss": 0.0,
        "original": 0.1,
    }
    assert runs["original"].model.config.encoder_blocks == (1, 1, 1, 28)
    assert {run.config["steps"] for run in runs.values()} == {2}
    ours, without, _ = (call["start"] for call in trainings)
    assert equal(ours, without)
    assert len({call["first"].blurred.sum().item() for call in trainings}) == 1
    router = [name for name in ours if name.startswith("mlp_branch.classifier.6")]
    before, after = ours, runs["no-class-loss"].model.state_dict()
    # Without the loss no gradient reaches the router: only weight decay, which is 0.1 % of 0.1 % a step.
    assert all(torch.allclose(before[name], after[name], rtol=1e-4, atol=1e-7) for name in router)
    learnt = runs["class-loss"].model.state_dict()
    assert not all(torch.allclose(before[name], learnt[name], rtol=1e-4) for name in router)
    with pytest.raises(ValueError, match="unknown variant 'x': choose one of class-loss, no-class-loss, original"):
        experiments.variant(TINY, "x")


def test_stage_2_starts_from_the_network_that_demoe_start_gives(home, trainings):
    for experts in ("random", "pretrained"):
        experiments.demoe(TINY, progress=False, experts=experts)
        start = experiments.demoe_start(TINY, progress=False, experts=experts)
        assert equal(trainings[-1]["start"], start.state_dict())
    levels = start.experts
    assert all(equal(block.experts[0].state_dict(), block.experts[4].state_dict()) for block in levels)


def changed(**fields):
    return profiles.get(
        "test",
        **{
            "specialist_steps": 2,
            "ablation_steps": 2,
            "stage1_steps": 2,
            "stage2_steps": 2,
            "train_images": 1,
            "test_images": 1,
            "image_size": 48,
        }
        | fields,
    )


def test_an_identity_depends_on_what_the_weights_depend_on_and_nothing_else(monkeypatch):
    made = lambda config, *given: experiments.Run(config["experiment"], None, None, config)  # noqa: E731
    for module in (ablations, specialists, two_stages):
        monkeypatch.setattr(module, "train_or_load", made)
    kinds = {
        "baseline": lambda p: experiments.baseline(p, progress=False),
        "demoe": lambda p: experiments.demoe(p, progress=False),
        "specialist": lambda p: experiments.specialist(p, "GoPro", progress=False),
        "variant": lambda p: experiments.variant(p, "class-loss", progress=False),
        "no-class-loss": lambda p: experiments.variant(p, "no-class-loss", progress=False),
        "own": lambda p: experiments.specialist(p, "mine", progress=False, pairs=own()),
    }
    usual = {name: make(TINY).hash for name, make in kinds.items()}
    concerns = {
        "specialist_steps": {"specialist", "own"},
        "ablation_steps": {"variant", "no-class-loss"},
        "stage1_steps": {"baseline", "demoe"},
        "stage2_steps": {"demoe"},
        "bench_size": set(),
        "test_images": set(),
        "class_weight": {"baseline", "demoe", "variant"},
        "image_size": set(kinds) - {"own"},
        "learning_rate": set(kinds),
        "batch": set(kinds),
    }
    values = {"class_weight": 0.5, "image_size": 40, "learning_rate": 2e-3, "batch": 4}
    for field, wanted in concerns.items():
        other = changed(**{field: values.get(field, 3)})
        found = {name for name, make in kinds.items() if make(other).hash != usual[name]}
        assert found == wanted, field
    assert kinds["specialist"](changed(specialist_patch=24)).hash != usual["specialist"]
    assert kinds["specialist"](changed(patch=24)).hash == usual["specialist"]


def test_pairs_of_ones_own_are_trained_on_and_told_apart_by_their_pixels(home, trainings):
    first = experiments.specialist(TINY, "my phone", progress=False, pairs=own())
    assert first.name == "specialist-my-phone" and first.config["data"] == "real" and first.trained_on == "my phone"
    assert trainings[0]["sets"][0].name == "mine" and trainings[0]["patch"] == 32
    same = experiments.specialist(TINY, "my phone", progress=False, pairs=own())
    others = [
        experiments.specialist(TINY, "my phone", progress=False, pairs=pairs) for pairs in (own(value=91), own(keys=3))
    ]
    assert len(trainings) == 3 and same.folder == first.folder
    assert len({run.folder for run in (first, *others)}) == 3
    with pytest.raises(ValueError, match=r"unknown set 'my phone': choose one of DPDD, .*LOLv2-real, or give pairs"):
        experiments.specialist(TINY, "my phone")


def test_every_experiment_has_a_name_and_a_sentence_and_takes_the_same_arguments():
    wanted = {
        "baseline",
        "demoe",
        "demoe-pretrained-experts",
        "specialist-gopro",
        "specialist-realblur",
        "specialist-reloblur",
        "specialist-lolblur",
        "specialist-dpdd",
        "specialist-lolv2-real",
        "variant-class-loss",
        "variant-no-class-loss",
        "variant-original",
    }
    assert set(experiments.EXPERIMENTS) >= wanted
    for name, experiment in experiments.EXPERIMENTS.items():
        assert len(experiment.run.__doc__.strip().splitlines()[0]) > 20, name
        given = list(inspect.signature(experiment.run).parameters)[:4]
        assert given == ["profile", "seed", "data_root", "progress"], name
        assert set(experiment.after) < set(experiments.EXPERIMENTS), name


def test_a_named_experiment_and_its_function_are_one_run(home, trainings):
    for name, direct in (
        ("specialist-gopro", lambda: experiments.specialist(TINY, "GoPro", progress=False)),
        ("variant-original", lambda: experiments.variant(TINY, "original", progress=False)),
        ("demoe-pretrained-experts", lambda: experiments.demoe(TINY, progress=False, experts="pretrained")),
    ):
        assert experiments.train_experiment(name, TINY, progress=False).folder == direct().folder
        assert experiments.train_experiment(name, TINY, progress=False).name == name
