"""Batch normalisation's statistics, measured anew for averaged weights."""

import torch
from conftest import shake
from torch import nn

from demoe.data.batches import Batch
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training.loop import measure_statistics
from demoe.training.stages import freeze


def network():
    torch.manual_seed(0)
    return shake(NAFNet(NAFNetConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,), router=True)))


def batches(count=4):
    generator = torch.Generator().manual_seed(1)
    return [
        Batch(
            torch.rand(6, 3, 17, 12, generator=generator),
            torch.rand(6, 3, 17, 12, generator=generator),
            torch.arange(6) % 5,
        )
        for _ in range(count)
    ]


def norms(model):
    return [part for part in model.modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))]


def statistics(model):
    return [value.clone() for norm in norms(model) for value in (norm.running_mean, norm.running_var)]


def test_each_batch_counts_the_same_and_dropout_not_at_all():
    """Against PyTorch's own update of averaged models, with dropout taken out of the network."""
    model, reference = network(), network()
    for part in reference.modules():
        if isinstance(part, (nn.Dropout, nn.Dropout2d)):
            part.p = 0.0
    torch.optim.swa_utils.update_bn([one.blurred for one in batches()], reference)
    measure_statistics(model, batches())
    for mine, theirs in zip(statistics(model), statistics(reference), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert not model.training and {norm.momentum for norm in norms(model)} == {0.1}


def test_nothing_else_changes_and_what_is_frozen_stays():
    model = network()
    before = {name: value.clone() for name, value in model.named_parameters()}
    measure_statistics(model, batches())
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    freeze(model, ("mlp_branch",))
    measured = statistics(model)
    measure_statistics(model, [Batch(*(1 - side for side in one[:2]), one.labels) for one in batches()])
    assert all(torch.equal(a, b) for a, b in zip(measured, statistics(model), strict=True))
