import copy

import pytest
import torch
from conftest import shake
from torch import nn

from demoe.data.batches import Batch
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training.losses import Criterion, Term, accuracy, cross_entropy, l1
from demoe.training.step import TrainStep

NETWORK = NAFNetConfig(4, (1, 1), 1, (1, 1), router=True)


def batch():
    torch.manual_seed(1)
    return Batch(torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16), torch.arange(4))


class Perceptual(nn.Module):
    """A term with a network of its own, as perceptual losses have."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 5, 3).requires_grad_(False)

    def forward(self, output, batch):
        return (self.features(output.image) - self.features(batch.sharp)).abs().mean()


def test_the_total_is_the_weighted_sum_of_the_terms():
    model, data = shake(NAFNet(NETWORK)), batch()
    output = model(data.blurred)
    losses = Criterion([Term("pixel", l1, 2.0), Term("class", cross_entropy, 0.5), Term("seen", l1, 0)])(output, data)
    assert list(losses) == ["total", "pixel", "class", "seen"]
    torch.testing.assert_close(losses["pixel"], (output.image - data.sharp).abs().mean())
    torch.testing.assert_close(losses["total"], 2 * losses["pixel"] + 0.5 * losses["class"])


def test_an_image_without_a_blur_type_has_no_part_in_its_loss():
    model, data = shake(NAFNet(NETWORK)), batch()
    output = model(data.blurred)
    labels = data.labels.clone()
    labels[1:] = -1
    some, none = data._replace(labels=labels), data._replace(labels=torch.full_like(labels, -1))
    first = torch.nn.functional.cross_entropy(output.logits[:1], labels[:1])
    torch.testing.assert_close(cross_entropy(output, some), first)
    assert cross_entropy(output, none) == 0 and accuracy(output, none) == 0
    assert accuracy(output, some) == float(output.logits[0].argmax() == labels[0])
    cross_entropy(output, none).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("names", [("pixel", "pixel"), ("total",)])
def test_names_that_would_hide_each_other_are_refused(names):
    with pytest.raises(ValueError, match="terms need names of their own"):
        Criterion([Term(name, l1) for name in names])


def test_a_frozen_network_in_a_term_teaches_and_is_neither_trained_nor_part_of_the_model():
    model, perceptual = shake(NAFNet(NETWORK)).train(), Perceptual()
    names, before = set(model.state_dict()), copy.deepcopy(perceptual.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = model.ending.weight.detach().clone()
    losses, norm = TrainStep(model, Criterion([Term("perceptual", perceptual)]), optimizer)(batch())
    assert losses["total"] == losses["perceptual"] and norm > 0 and not torch.equal(first, model.ending.weight)
    assert set(model.state_dict()) == names
    assert all(torch.equal(value, before[name]) for name, value in perceptual.state_dict().items())
