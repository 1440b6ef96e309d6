"""What an ablation costs: counted on the "meta" device as on the CPU, and what must differ does."""

import pytest
import torch
from torch import nn

from demoe.core import profiles
from demoe.data.batches import Batch
from demoe.data.setting import Setting
from demoe.experiments import ablations as costs
from demoe.experiments import named
from demoe.experiments.runs import criterion
from demoe.models.demoe import DeMoE
from demoe.models.layers import fusing
from demoe.training import stages

TINY = Setting(profiles.get("test"), progress=False)


def kept_on_the_cpu(model, loss, patch, batch) -> int:
    """Bytes by the addresses of real storages, which stay apart while the graph holds them, operation by operation,
    as everywhere but on a CPU with a compiler."""
    fusing(model, False)
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
        losses = loss(model(data.blurred), data)
    assert losses["total"].isfinite()
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
    spec = named(name, Setting(profiles.get("smoke")))
    loss = criterion(spec)
    torch.manual_seed(0)
    counted = costs.training_bytes(costs.network(spec), loss, 64, 4)["activations"]
    assert counted == kept_on_the_cpu(costs.network(spec), loss, 64, 4)


def test_a_chain_of_layers_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))

    def loss(output, batch):
        return {"total": output.square().sum()}

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
    wanted = [named(name, TINY) for name in names]
    table = costs.counted(wanted, progress=False).set_index("experiment")
    assert table.steps.to_dict() == dict(zip(names, (3, 9, 9, 9, 9), strict=True))
    demoe, whole = table.loc["ablation-demoe"], table.loc["ablation-finetune-all"]
    assert demoe.learning < whole.learning == whole.params == demoe.params
    assert demoe.activation_bytes < whole.activation_bytes
    same = ["params", "learning", "macs", "activation_bytes", "state_bytes"]
    assert table.loc["ablation-router-noise", same].equals(demoe[same].rename("ablation-router-noise"))
    with torch.device("meta"):
        model = costs.network(named("ablation-more-moe", Setting(profiles.get("paper"))))
    assert isinstance(model, DeMoE) and round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 32.54
    assert costs.counted(wanted[:1], progress=False).equals(table.reset_index()[:1])
