"""What the training variants of Figure 6 change: the gate's noise, the losses of a training from scratch."""

import pytest
import torch
import torch.nn.functional as F
from conftest import shake
from stage_losses import pixel_and_class_loss, pixel_loss

from demoe.data.batches import Batch
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.moe import noisy_weights
from demoe.training import stages

MOE = DeMoEConfig(width=4, encoder_blocks=(1, 1), middle_blocks=2, decoder_blocks=(2, 2))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return shake(DeMoE(MOE))


def batch(count=4):
    generator = torch.Generator().manual_seed(1)
    images = (torch.rand(count, 3, 16, 16, generator=generator) for _ in range(2))
    return Batch(*images, torch.arange(count) % 5)


def test_router_noise_is_gaussian_on_the_logits_of_training_alone(model):
    logits = torch.randn(20_000, 5) * 2
    plain = model.gate(logits)
    model.router_noise = 0.7
    assert torch.equal(model.gate(logits), plain)  # inference knows no noise
    model.train()
    torch.manual_seed(3)
    noisy = model.gate(logits)
    torch.testing.assert_close(noisy.sum(1), torch.ones(len(logits)))
    # log softmax of (logits + noise) - logits is the noise up to one number a row: its differences have sqrt(2) sigma.
    change = noisy.log() - logits
    differences = change[:, 1:] - change[:, :1]
    assert differences.std().item() == pytest.approx(0.7 * 2**0.5, rel=0.02)
    assert abs(differences.mean().item()) < 0.02
    torch.manual_seed(3)
    torch.testing.assert_close(noisy, F.softmax(logits + 0.7 * torch.randn(logits.shape), 1))
    model.router_noise = 0.0
    torch.testing.assert_close(model.gate(logits), F.softmax(logits, 1))


def test_router_noise_spreads_a_sure_router_over_more_experts(model):
    """What the paper wants it for."""
    logits = torch.tensor([[4.0, 0, 0, 0, 0]]).repeat(5000, 1)

    def effective(weights):  # exp of the entropy: how many experts are in use
        return (-(weights * weights.log()).sum(1)).exp().mean()

    model.train()
    plain = effective(model.gate(logits))
    model.router_noise = 2.0
    assert effective(model.gate(logits)) > 1.3 * plain


def test_router_noise_on_the_weights_reaches_even_a_sure_router(model):
    """Noise on the logits of a trained router, whose gaps are ten and more, changes nothing; on its weights it does."""
    logits = torch.tensor([[12.0, 0, 0, 0, 0]]).repeat(5000, 1)
    model.train()
    model.router_noise = 0.2
    on_logits = model.gate(logits)
    model.noise_on = "weights"
    torch.manual_seed(3)
    on_weights = model.gate(logits)
    assert (on_logits[:, 0] > 0.99).all() and 0.6 < on_weights[:, 0].mean() < 0.9
    torch.testing.assert_close(on_weights.sum(1), torch.ones(len(logits)))
    assert on_weights.min() >= 0
    torch.manual_seed(3)
    moved = F.softmax(logits, 1) + 0.2 * torch.randn(logits.shape)
    wanted = moved.where(moved > 0, torch.zeros(())) / moved.where(moved > 0, torch.zeros(())).sum(1, keepdim=True)
    torch.testing.assert_close(on_weights, wanted)
    model.eval()
    assert torch.equal(model.gate(logits), torch.eye(5)[[0] * len(logits)])
    model.train()
    model.noise_on = "router"
    with pytest.raises(ValueError, match="choose logits or weights"):
        model.gate(logits)


def test_weights_that_all_fall_below_zero_stay_as_they_were():
    logits, noise = torch.randn(3, 5), torch.full((3, 5), -2.0)
    assert torch.equal(noisy_weights(logits, noise, "weights"), F.softmax(logits, 1))


def test_the_noise_reaches_the_loss_and_nothing_else(model):
    stages.freeze(model)
    stages.training_mode(model)
    data = batch()
    plain = [pixel_loss(model(data.blurred), data)["total"] for _ in range(2)]
    assert torch.equal(*plain)
    logits = model(data.blurred).logits
    model.router_noise = 1.0
    torch.manual_seed(0)
    noisy = [pixel_loss(model(data.blurred), data)["total"] for _ in range(2)]
    assert not torch.equal(*noisy) and not torch.equal(noisy[0], plain[0])
    torch.manual_seed(0)
    assert torch.equal(pixel_loss(model(data.blurred), data)["total"], noisy[0])  # the same seed, the same noise
    assert torch.equal(model(data.blurred).logits, logits)


def test_the_end_to_end_loss_is_both_losses_on_the_mixture_of_all_experts(model):
    data = batch()
    model.train()
    for module in model.mlp_branch.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    losses = pixel_and_class_loss(0.25)(model(data.blurred), data)
    restored = model(data.blurred)
    pixel = (restored.image - data.sharp).abs().mean()
    label = -torch.log_softmax(restored.logits, 1)[torch.arange(4), data.labels].mean()
    torch.testing.assert_close(losses["pixel"], pixel)
    torch.testing.assert_close(losses["total"], pixel + 0.25 * label)
    assert set(losses) == {"total", "pixel", "class", "accuracy"}
    losses["total"].backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert silent == []
