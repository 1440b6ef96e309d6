from dataclasses import replace

import pytest
import torch
from conftest import shake
from stage_losses import pixel_and_class_loss, pixel_loss

from demoe.core.tasks import EXPERTS
from demoe.data.batches import Batch
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training import stages
from demoe.training.step import TrainStep

NAF = NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=3, decoder_blocks=(3, 3), router=True)
MOE = DeMoEConfig(width=4, encoder_blocks=(1, 1), middle_blocks=2, decoder_blocks=(2, 2))


@pytest.fixture
def baseline():
    torch.manual_seed(0)
    return shake(NAFNet(NAF))


def batch(count=4):
    return Batch(torch.rand(count, 3, 16, 16), torch.rand(count, 3, 16, 16), torch.arange(count) % 5)


def test_experts_from_scratch_are_the_identity(baseline):
    model = stages.demoe_from_baseline(baseline, MOE)
    x = torch.randn(1, 16, 4, 4)
    for expert in model.experts[0].experts:
        torch.testing.assert_close(expert(x), x)


def test_pretrained_experts_are_the_baselines_last_blocks(baseline):
    model = stages.demoe_from_baseline(baseline, MOE, "pretrained")
    places = [baseline.middle_blks, *baseline.decoders]
    for block, place in zip(model.experts, places, strict=True):
        for expert in block.experts:
            torch.testing.assert_close(expert.conv2.weight, place[2].conv2.weight)
    with pytest.raises(ValueError, match="random or pretrained"):
        stages.demoe_from_baseline(baseline, MOE, "zeros")
    with pytest.raises(ValueError, match="one block more a level"):
        stages.demoe_from_baseline(baseline, replace(MOE, middle_blocks=3))


def test_everything_else_is_taken_over(baseline):
    model = stages.demoe_from_baseline(baseline, MOE)
    theirs = baseline.state_dict()
    for name, value in model.state_dict().items():
        if not name.startswith("experts."):
            torch.testing.assert_close(value, theirs[name.replace("modules_list.", "")], msg=name)


def test_frozen_means_frozen(baseline):
    """Encoder and router keep every number, BatchNorm statistics too; every decoder part and expert learns."""
    model = stages.demoe_from_baseline(baseline, MOE)
    stages.freeze(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(stages.trainable(model), lr=1e-2)
    for _ in range(3):
        stages.training_mode(model)
        data = batch()
        pixel_loss(model(data.blurred), data)["total"].backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in moved if name.startswith(stages.ENCODER_AND_ROUTER)}
    for part in ("middle_blks", "ups", "decoders", "ending", "experts"):
        assert any(name.startswith(part) for name in moved), part
    for level in range(3):
        for expert in range(5):
            assert any(name.startswith(f"experts.{level}.experts.{expert}.") for name in moved)
    assert any(name.startswith("mlp_branch") and "running_mean" in name for name in before)


def test_frozen_router_answers_the_same_while_training(baseline):
    """Its dropout is off: stage 2 gates with the router's true softmax."""
    model = stages.demoe_from_baseline(baseline, MOE)
    stages.freeze(model)
    stages.training_mode(model)
    x = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(model(x).weights, model(x).weights)
    torch.testing.assert_close(model(x).logits, baseline(x).logits)


def test_the_loss_of_stage_1_is_the_papers(baseline):
    data = batch()
    losses = pixel_and_class_loss(0.001)(baseline(data.blurred), data)
    image, logits, _ = baseline(data.blurred)
    pixel = (image - data.sharp).abs().mean()
    label = -torch.log_softmax(logits, 1)[torch.arange(4), data.labels].mean()
    torch.testing.assert_close(losses["total"], pixel + 0.001 * label)
    torch.testing.assert_close(losses["pixel"], pixel)


def test_the_loss_of_stage_2_is_l1(baseline):
    model = stages.demoe_from_baseline(baseline, MOE).eval()
    assert isinstance(model, DeMoE)
    data = batch()
    output = model(data.blurred)
    torch.testing.assert_close(pixel_loss(output, data)["total"], (output.image - data.sharp).abs().mean())


@pytest.mark.parametrize("part", ["all", "decoder", "experts", "low_light"])
def test_fine_tuning_changes_the_part_that_was_asked_for_and_nothing_else(baseline, part):
    model = shake(stages.demoe_from_baseline(baseline, MOE))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expert = stages.fine_tuned(model, part)
    assert expert == ("low_light" if part == "low_light" else None)
    stages.training_mode(model) if expert is None else model.eval()
    optimizer = torch.optim.SGD(stages.trainable(model), lr=1.0)
    TrainStep(model, pixel_loss, optimizer, expert=expert)(batch())
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    wanted = {
        "all": lambda name: not name.startswith("mlp_branch"),
        "decoder": lambda name: name.startswith(("experts", "decoders", "middle_blks", "ups", "ending")),
        "experts": lambda name: name.startswith("experts"),
        "low_light": lambda name: f".experts.{EXPERTS.index('low_light')}." in name,
    }[part]
    assert moved and all(map(wanted, moved))
    assert all(p.requires_grad == wanted(name) for name, p in model.named_parameters())


def test_fine_tuning_a_nafnet_or_a_part_that_is_not_there():
    model = NAFNet(replace(NAF, router=False))
    assert stages.fine_tuned(model, "decoder") is None and not model.intro.weight.requires_grad
    assert model.ending.weight.requires_grad
    with pytest.raises(ValueError, match="NAFNet has no experts: let it learn all or decoder, not defocus"):
        stages.fine_tuned(model, "defocus")
    with pytest.raises(ValueError, match="let it learn all"):
        stages.fine_tuned(torch.nn.Conv2d(3, 3, 1), "decoder")
    with pytest.raises(ValueError, match="choose one of defocus"):
        stages.fine_tuned(DeMoE(MOE), "auto")
