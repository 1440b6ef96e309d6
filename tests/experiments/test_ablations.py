"""Every ablation differs in what it claims to differ in, and in nothing else."""

import copy
from collections import Counter
from dataclasses import asdict

import pytest
import torch
from conftest import shake

from demoe import experiments
from demoe.core import files, profiles
from demoe.core.tasks import EXPERTS
from demoe.data import aio_blur
from demoe.data.batches import Batch
from demoe.data.setting import Setting
from demoe.evaluation import metrics
from demoe.experiments import ablations, runs, spec
from demoe.inference.restore import restore
from demoe.models.experts import DarkIRBlock, PLKBlock, RestormerBlock, WaveletBlock
from demoe.models.layers import NAFBlock
from demoe.models.moe import MoEBlock
from demoe.training import stages

TINY = profiles.get("test", ablation_steps=2, train_images=1, test_images=1, image_size=48)
SETTING = Setting(TINY, progress=False)
ABLATIONS = experiments.NEEDED_BY["08"]
OF_DEMOE = tuple(name.removeprefix("ablation-") for name in ABLATIONS if name.startswith("ablation-"))
FROZEN = {"intro", "encoders", "downs", "mlp_branch"}
PARTS = FROZEN | {"middle_blks", "ups", "decoders", "ending", "experts"}
KINDS = {"darkir": DarkIRBlock, "wavelet": WaveletBlock, "restormer": RestormerBlock, "plk": PLKBlock}


@pytest.fixture(scope="module")
def made():
    """What every experiment would train: name -> (configuration, network at the start, loss). Nothing is trained: a
    variant's network is shaken instead, so that a weight taken from it can be told from a new one."""
    known = experiments.specs(SETTING)
    starts: dict = {}

    def instead(spec, setting, deadline=None, terms=None):
        return runs.Run(spec, shake(copy.deepcopy(starts[spec])), None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "obtain", instead)
        for name in ("baseline", *ABLATIONS):
            spec = known[name]
            starts[spec] = runs.initial_network(spec, SETTING)
    return {
        spec.name.removeprefix("ablation-"): (spec.configuration(), model, runs.criterion(spec))
        for spec, model in starts.items()
    }


def batch(count=3):
    generator = torch.Generator().manual_seed(2)
    images = (torch.rand(count, 3, 32, 32, generator=generator) for _ in range(2))
    return Batch(*images, torch.arange(count) % 5)


def gradients(model, loss) -> set[str]:
    """The parts with a parameter that a training step of a copy of ``model`` would move."""
    model = shake(copy.deepcopy(model))
    stages.training_mode(model)
    loss(model(batch().blurred), batch())["total"].backward()
    return {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def blocks(model) -> Counter:
    return Counter(type(module).__name__ for module in model.modules() if isinstance(module, (NAFBlock, MoEBlock)))


def test_the_same_parts_learn_but_where_the_variant_says_so(made):
    for name in OF_DEMOE:
        _, model, loss = made[name]
        learns = PARTS if name in ("from-scratch", "finetune-all") else PARTS - FROZEN
        assert gradients(model, loss) == learns, name
        model = copy.deepcopy(model)
        stages.training_mode(model)
        assert model.mlp_branch.training == (name in ("from-scratch", "finetune-all")), name


def test_only_the_training_from_scratch_classifies_and_it_is_as_long_as_two_stages(made):
    for name in OF_DEMOE:
        config, model, loss = made[name]
        assert ("class" in loss(copy.deepcopy(model)(batch().blurred), batch())) == (name == "from-scratch"), name
        assert config["steps"] == (TINY.stage1_steps + 2 if name == "from-scratch" else 2), name
    assert made["variant-class-loss"][0]["steps"] == 2 and made["baseline"][0]["steps"] == TINY.stage1_steps


def test_shared_weights_start_equal(made):
    """Wherever the reference has a tensor of that name and shape, and the stage 1 is the same, it starts the same."""
    reference = made["demoe"][1].state_dict()
    for name in OF_DEMOE:
        state = made[name][1].state_dict()
        if name in ("wide", "more-middle", "from-scratch", "short-start"):
            continue
        different = {
            key
            for key, value in state.items()
            if key in reference and value.shape == reference[key].shape and not torch.equal(value, reference[key])
        }
        alike = ("router-noise", "weight-noise", "finetune-all", "residual", "attention")
        allowed = () if name in ("demoe", *alike) else ("experts.",)
        assert all(key.startswith(allowed) for key in different), name
        if name in alike:
            assert state.keys() == reference.keys() and not different, name
    _, pretrained, _ = made["pretrained-experts"]
    assert any(not torch.equal(value, reference[key]) for key, value in pretrained.state_dict().items())


def test_from_scratch_starts_where_stage_1_starts(made):
    start, first = made["from-scratch"][1].state_dict(), made["baseline"][1].state_dict()
    trained = made["demoe"][1].state_dict()
    shared = {key: key.replace("modules_list.", "") for key in start if not key.startswith("experts.")}
    assert all(torch.equal(start[key], first[theirs]) for key, theirs in shared.items())
    assert not all(torch.equal(start[key], trained[key]) for key in shared)


def test_only_the_router_noise_variants_have_noise_each_by_its_reading(made):
    models = {name: made[name][1] for name in OF_DEMOE}
    noisy = {name: (model.router_noise, model.noise_on) for name, model in models.items() if model.router_noise}
    assert noisy == {"router-noise": (1.0, "logits"), "weight-noise": (0.2, "weights")}


def test_graphs_have_the_blocks_that_the_variant_says(made):
    usual = blocks(made["demoe"][1])
    assert usual == {"NAFBlock": 8 + 2 + 8 + 25, "MoEBlock": 5}
    assert blocks(made["more-middle"][1]) == usual + Counter(NAFBlock=10)
    assert blocks(made["more-moe"][1]) == usual + Counter(NAFBlock=25, MoEBlock=5)
    for name, kind in KINDS.items():
        model = made[name][1]
        experts = [expert for block in model.experts for expert in block.experts]
        assert len(experts) == 25 and all(type(expert) is kind for expert in experts), name
        assert blocks(model) == usual - Counter(NAFBlock=25), name
    for name in ("from-scratch", "router-noise", "weight-noise", "finetune-all", "pretrained-experts", "short-start"):
        assert asdict(made[name][1].config) == asdict(made["demoe"][1].config)
    wide = made["wide"][1].config
    assert wide.width == 2 * TINY.width and asdict(wide) | {"width": TINY.width} == asdict(made["demoe"][1].config)
    assert made["variant-wide"][1].config.width == wide.width
    assert made["variant-more-middle"][1].config.middle_blocks == 13
    for block in made["pretrained-experts"][1].experts:
        assert len({expert.conv2.weight.sum().item() for expert in block.experts}) == 1
    assert made["more-moe"][1].config.middle_blocks == made["demoe"][1].config.middle_blocks


def test_fusions_are_those_of_equations_7_and_8(made):
    """Block by block against the reference's, which starts from the same weights."""
    torch.manual_seed(0)
    plain, residual, attention = (shake(copy.deepcopy(made[name][1])) for name in ("demoe", "residual", "attention"))
    weights = torch.softmax(torch.randn(2, 5), 1)
    for block, plus, times in zip(plain.experts, residual.experts, attention.experts, strict=True):
        channels = block.experts[0].norm1.weight.numel()
        x = torch.randn(2, channels, 5, 7)
        torch.testing.assert_close(plus(x, weights), x + block(x, weights))
        torch.testing.assert_close(times(x, weights), x * block(x, weights))


def test_fusions_give_other_outputs_and_noise_does_not(made):
    """All four have the same weights here, so that nothing but the graph can differ."""
    x = batch().blurred
    with torch.no_grad():
        usual = shake(copy.deepcopy(made["demoe"][1]))(x).image
        for name in ("router-noise", "weight-noise"):  # the noise is a matter of training
            assert torch.equal(usual, shake(copy.deepcopy(made[name][1]))(x).image)
        for name in ("residual", "attention"):
            assert not torch.allclose(shake(copy.deepcopy(made[name][1]))(x).image, usual), name


@pytest.mark.parametrize("name", ["wide", "more-middle", "more-moe", *KINDS])
def test_every_block_of_a_larger_network_takes_part(made, name):
    """Blocks that are there but not in the graph would count as parameters and do nothing."""
    model = shake(copy.deepcopy(made[name][1])).requires_grad_(True)
    model(batch().blurred, k=None).image.sum().backward()
    parts = [module for module in model.modules() if isinstance(module, (NAFBlock, *KINDS.values()))]
    assert len(parts) >= 8 + 2 + 8 + 25
    assert all(any(p.grad is not None and p.grad.any() for p in part.parameters()) for part in parts)


def test_scores_hold_both_choices_of_the_expert(home):
    sets = aio_blur.aio_blur(SETTING, "test")
    names = ["variant-class-loss", "ablation-demoe"]
    scores, _ = ablations.score_ablations(names, SETTING, sets, ("psnr",))
    assert len(scores) == 2 * 3 * sum(len(pairs) for pairs in sets) and set(scores.choice) == set(ablations.CHOICES)
    both = scores.pivot(index=["method", "set", "image"], columns="choice", values="psnr")
    assert both.notna().all().all()
    alone = both.drop("ablation-demoe")
    assert (alone[ablations.ROUTER] == alone[ablations.BY_HAND]).all()
    model = experiments.obtain(experiments.named("ablation-demoe", SETTING), SETTING).model
    for pairs in sets:
        label = EXPERTS[pairs.label]
        for i, key in enumerate(pairs.keys):
            blurred, sharp = (side[None] for side in pairs.pair(i))
            rows = scores[(scores.method == "ablation-demoe") & (scores.set == pairs.name) & (scores.image == key)]
            out = restore(model, blurred)
            assert set(rows.right) == {float(EXPERTS[int(out.logits.argmax())] == label)}
            for choice, image in (
                (ablations.ROUTER, out.image),
                (ablations.BY_HAND, restore(model, blurred, expert=label).image),
            ):
                wanted = metrics.measure(image, sharp, ("psnr",)).values["psnr"]
                assert rows[rows.choice == choice].psnr.item() == pytest.approx(wanted, abs=1e-4)
    assert scores[scores.method != "ablation-demoe"].right.isna().all()


def test_scores_are_a_run_that_is_loaded_the_second_time(home, monkeypatch):
    sets = aio_blur.aio_blur(SETTING, "test")
    first, config = ablations.score_ablations(["ablation-demoe"], SETTING, sets, ("psnr",))
    (folder,) = files.results_dir("test").glob("runs/benchmark-ablations-s0-*")
    assert (folder / "scores.csv").is_file()

    def never(*arguments, **options):
        raise AssertionError("scored again")

    monkeypatch.setattr(ablations.methods, "restore", never)
    again, same = ablations.score_ablations(["ablation-demoe"], SETTING, sets, ("psnr",))
    assert same == config and again.equals(first)


def test_one_router_is_looked_at_once_only_where_it_is_the_same(made):
    """Those that ``_router_of`` calls equal have equal weights there, the others have not."""
    routers = {
        name: {key: value for key, value in made[name][1].state_dict().items() if key.split(".")[0] in FROZEN}
        for name in OF_DEMOE
    }
    usual = routers["demoe"]
    known = experiments.specs(SETTING)
    for name in OF_DEMOE:
        same = ablations.router_of(known[f"ablation-{name}"]) == ablations.router_of(known["ablation-demoe"])
        if name in ("finetune-all", "short-start"):
            assert not same  # it starts the same, but learns; it is the same but for the training of its stage 1
            continue
        equal = all(
            value.shape == usual[key].shape and torch.equal(value, usual[key]) for key, value in routers[name].items()
        )
        assert equal == same, name


def test_configurations_name_the_difference_and_the_stage_1(made):
    usual = made["demoe"][0]
    differ = {name: {key for key in usual if made[name][0][key] != usual[key]} - {"experiment"} for name in OF_DEMOE}
    assert differ.pop("demoe") == set()
    assert differ.pop("from-scratch") == {"steps", "starts_from", "learns", "loss"}
    assert differ.pop("router-noise") == {"router_noise"} and differ.pop("finetune-all") == {"learns"}
    assert differ.pop("weight-noise") == {"router_noise", "noise_on"} and differ.pop("short-start") == {"starts_from"}
    assert differ.pop("pretrained-experts") == {"experts"}
    assert differ.pop("wide") == differ.pop("more-middle") == {"network", "starts_from"}
    assert all(fields == {"network"} for fields in differ.values()) and len(differ) == 7
    assert usual["starts_from"] == made["baseline"][0]
    assert made["short-start"][0]["starts_from"] == made["variant-class-loss"][0]
    assert len({runs.provenance.config_hash(config) for config, _, _ in made.values()}) == len(made)


def test_ablations_of_all_seeds_start_from_one_baseline():
    setting = Setting(profiles.get("test", ablation_seeds=2), 3)
    first, second = (experiments.specs(setting.with_seed(seed)) for seed in setting.ablation_seeds)
    for name in ("ablation-demoe", "ablation-plk"):
        assert first[name].starts_from == second[name].starts_from == first["baseline"]
        assert (first[name].seed, second[name].seed) == (3, 4) and first[name].hash != second[name].hash
    assert second["demoe"].starts_from.seed == second["baseline"].seed == 4
    assert [spec.name for spec in experiments.plan(setting) if spec.seed == 4 and not spec.is_ablation] == []


def test_seeds():
    assert list(Setting(profiles.get("test"), 3).ablation_seeds) == [3]
    assert list(Setting(profiles.get("quick"), 3).ablation_seeds) == [3, 4, 5]


def test_a_real_training_keeps_what_is_frozen_and_moves_what_is_not(home):
    first = experiments.obtain(experiments.named("baseline", SETTING), SETTING).model.state_dict()
    for name, moves in (("ablation-demoe", False), ("ablation-finetune-all", True)):
        run = experiments.obtain(experiments.named(name, SETTING), SETTING)
        moved = {
            key.split(".")[0]
            for key, value in run.model.state_dict().items()
            if not key.startswith("experts") and not torch.equal(value, first[key.replace("modules_list.", "")])
        }
        assert bool(moved & FROZEN) == moves and "decoders" in moved
        assert run.spec.name == name and run.model.router_noise == 0.0


def test_lists_of_a_table_are_tuples_of_a_configuration(monkeypatch):
    given = {"about": "another encoder", "network": {"encoder_blocks": [1, 1, 1, 28]}}
    for kind in ("variant", "ablation"):
        monkeypatch.setitem(spec._TABLES[kind], "other", given)
    known = experiments.specs(SETTING)
    for name in ("variant-other", "ablation-other"):
        assert known[name].network.encoder_blocks == (1, 1, 1, 28) and {known[name]: name}


def test_parts_are_all_of_the_network_and_what_is_frozen_does_not_learn(made):
    model = made["demoe"][1]
    table = ablations.parts(model).set_index("part")
    assert table.parameters.sum() == sum(p.numel() for p in model.parameters()) and set(table.index) == PARTS
    assert {name for name, learns in table["learns in stage 2"].items() if not learns} == FROZEN


def test_noise_on_the_router_brings_more_experts_into_use(made):
    sets = [aio_blur.one_set("GoPro", SETTING, "test")]
    plain, noisy = ablations.experts_in_use(made["demoe"][1], sets, {"logits": 0.0, "weights": 100.0})
    assert noisy["logits"] == pytest.approx(plain) and abs(noisy["weights"] - plain) > 1e-3 and 1 <= plain <= 5
