"""What an ablation costs: counted on the "meta" device as on the CPU, and what must differ does."""

from dataclasses import asdict

import pytest
import torch
from torch import nn

from demoe.core import profiles
from demoe.data.batches import Batch
from demoe.experiments import costs
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNetConfig
from demoe.training import stages

TINY = profiles.get("test")


def kept_on_the_cpu(model, loss, patch, batch) -> int:
    """Bytes by the addresses of real storages, which stay apart as long as the graph holds them."""
    model.to(memory_format=torch.channels_last)
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    stages.training_mode(model)
    images = torch.rand(batch, 3, patch, patch).contiguous(memory_format=torch.channels_last)
    data = Batch(images, torch.rand_like(images), torch.arange(batch) % 5)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = loss(model, data)["total"]
    assert total.isfinite()
    return sum(kept.values())


@pytest.mark.parametrize(
    "name",
    [
        "variant-class-loss",
        "ablation-demoe",
        "ablation-finetune-all",
        "ablation-attention",
        "ablation-plk",
        "ablation-restormer",
        "ablation-wavelet",
        "ablation-darkir",
    ],
)
def test_memory_without_computing_is_that_with_computing(name):
    """At sizes where PyTorch's convolutions on a CPU keep the channels last; elsewhere layer norm copies its input."""
    build, loss = costs.network(profiles.get("smoke"), name)
    torch.manual_seed(0)
    assert costs.training_bytes(build(), loss, 64, 4)["activations"] == kept_on_the_cpu(build(), loss, 64, 4)


def test_a_chain_of_layers_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))

    def loss(model, batch):
        return {"total": model(batch.blurred).square().sum()}

    found = costs.training_bytes(model, loss, 10, 2)
    pixels = 2 * 10 * 10
    assert found["activations"] == 4 * pixels * (3 + 4 + 3)  # the input, what ReLU gives, what is squared
    assert found["state"] == 4 * 4 * (3 * 4 * 9 + 4 + 4 * 3 + 3)
    model[0].requires_grad_(False)
    frozen = costs.training_bytes(model, loss, 10, 2)
    assert frozen["activations"] == 4 * pixels * (4 + 3) and frozen["state"] == found["state"] - 3 * 4 * (3 * 4 * 9 + 4)


def test_counts_of_the_paper_and_what_freezing_saves():
    names = (
        "variant-class-loss",
        "ablation-demoe",
        "ablation-router-noise",
        "ablation-finetune-all",
        "ablation-from-scratch",
    )
    table = costs.counted(TINY, names, progress=False).set_index("experiment")
    assert table.steps.to_dict() == dict(zip(names, (3, 6, 6, 6, 6), strict=True))
    demoe, whole = table.loc["ablation-demoe"], table.loc["ablation-finetune-all"]
    assert demoe.learning < whole.learning == whole.params == demoe.params
    assert demoe.activation_bytes < whole.activation_bytes
    same = ["params", "learning", "macs", "activation_bytes", "state_bytes"]
    assert table.loc["ablation-router-noise", same].equals(demoe[same].rename("ablation-router-noise"))
    build, _ = costs.network(profiles.get("paper"), "ablation-more-moe")
    with torch.device("meta"):
        model = build()
    assert isinstance(model, DeMoE) and round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 32.54
    assert costs.counted(TINY, names[:1], progress=False).equals(table.reset_index()[:1])


def test_times_are_positive_and_equal_networks_are_timed_once():
    table = costs.timed(TINY, names=("ablation-demoe", "ablation-router-noise"), progress=False)
    assert (table.runtime_ms > 0).all() and table.runtime_ms.nunique() == 1 and set(table.side) == {32}


def test_operations_of_a_training_step():
    """Forward, and as much again for the gradients of inputs and of weights; none backward through the frozen."""
    one = nn.Conv2d(4, 6, 3, padding=1, groups=2)
    first = nn.Conv2d(3, 4, 1)
    forward = {first: 2 * 3 * 4 * 64, one: 2 * 6 * 2 * 9 * 64}

    def loss(model, batch):
        return {"total": model(batch.blurred).sum()}

    both = nn.Sequential(first, one)
    assert costs.training_flops(both, loss, 8) == 2 * forward[first] + 3 * forward[one]  # pictures have no gradient
    first.requires_grad_(False)
    assert costs.training_flops(both, loss, 8) == forward[first] + 2 * forward[one]


def test_operations_of_a_configuration():
    config = {"experiment": "baseline", "patch": 256, "network": asdict(NAFNetConfig(router=True))}
    first, bytes_moved = costs.work_of(config)
    assert 2.9 < first / (2 * 11.02e9) < 3.0  # three times the published 11.02 GMACs, but for the first layer's input
    assert costs.work_of(config | {"patch": 128}) == (first / 4, bytes_moved / 4)
    assert costs.work_of(config, "bfloat16") == (first, bytes_moved / 2)
    assert costs.work_of(config | {"checkpointing": True}) == (first, 0)
    second = config | {"experiment": "demoe", "network": asdict(DeMoEConfig())}
    frozen, everything = costs.work_of(second)[0], costs.work_of(second | {"learns_all": True})[0]
    assert first < frozen < everything  # all five experts run
    assert costs.work_of(config | {"experiment": "comparator-promptir"}) is None
