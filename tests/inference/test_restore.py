"""restore: shapes with and without a batch, clamping, modes put back, errors."""

import pytest
import torch
from torch import nn

from demoe.inference.restore import restore
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

TINY = {"width": 2, "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DeMoE(DeMoEConfig(**TINY, middle_blocks=1)).eval()


def test_one_picture_is_a_batch_of_one(model):
    image = torch.rand(3, 9, 14)
    one, batch = restore(model, image, k=3), restore(model, image.unsqueeze(0), k=3)
    assert one.image.shape == (3, 9, 14) and one.logits.shape == one.weights.shape == (5,)
    assert batch.image.shape == (1, 3, 9, 14) and batch.weights.shape == (1, 5)
    for a, b in zip(one, batch, strict=True):
        assert torch.equal(a, b[0]) and not a.requires_grad
    assert (one.weights > 0).sum() == 3


def test_an_expert_for_each_picture(model):
    out = restore(model, torch.rand(2, 3, 8, 8), expert=["low_light", "DPDD"])
    assert out.weights.argmax(1).tolist() == [4, 0]


def test_clamped_to_the_unit_range(model):
    with torch.no_grad():
        model.ending.bias.fill_(3.0)
        assert torch.equal(restore(model, torch.rand(3, 5, 6)).image, torch.ones(3, 5, 6))
        model.ending.bias.fill_(-3.0)
        assert torch.equal(restore(model, torch.rand(3, 5, 6)).image, torch.zeros(3, 5, 6))
        model.ending.bias.zero_()


def test_modes_are_put_back_module_by_module(model):
    image = torch.rand(3, 8, 8)
    expected = restore(model, image)
    model.train()
    model.mlp_branch.eval()  # as in stage 2: frozen
    modes = [module.training for module in model.modules()]
    statistics = {key: value.clone() for key, value in model.state_dict().items()}
    again = restore(model, image)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, statistics[key]) for key, value in model.state_dict().items())
    model.eval()
    assert torch.equal(again.image, expected.image)


def test_networks_without_experts():
    image = torch.rand(3, 7, 9)
    plain = restore(NAFNet(NAFNetConfig(**TINY, middle_blocks=1)), image)
    assert plain.image.shape == (3, 7, 9) and plain.logits is None and plain.weights is None
    routed = NAFNet(NAFNetConfig(**TINY, middle_blocks=1, router=True))
    assert restore(routed, image).logits.shape == (5,)
    assert torch.equal(restore(nn.Identity(), image).image, image)
    with pytest.raises(ValueError, match="no experts"):
        restore(routed, image, expert="defocus")


def test_errors(model):
    for shape in ((1, 4, 4), (4, 4), (3, 0, 4), (2, 1, 4, 4)):
        with pytest.raises(ValueError, match="shape"):
            restore(model, torch.zeros(shape))
    with pytest.raises(RuntimeError, match="not finite"):
        restore(model, torch.full((3, 4, 4), torch.nan))
    with pytest.raises(ValueError, match="unknown expert"):
        restore(model, torch.zeros(3, 4, 4), expert="sharpen")
    with pytest.raises(ValueError):
        restore(model, torch.zeros(3, 4, 4), k=6)
