"""What an ablation costs: parameters, MACs, the memory of a training step (all counted), and measured time."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from demoe.data.batches import Batch
from demoe.data.setting import Setting
from demoe.models import complexity
from demoe.models.demoe import DeMoE
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.models.outputs import experts_of
from demoe.training import stages
from demoe.training.losses import Criterion

from .runs import as_it_learns, criterion
from .spec import Spec


def training_bytes(model: nn.Module, loss: Criterion, patch: int, batch: int) -> dict[str, int]:
    """The memory of a training step in float32, counted: the same number on every machine, unlike a measured peak.

    ``activations`` is what the graph keeps for the backward pass, every storage once, parameters and buffers left out;
    ``state`` is all parameters, and for those that learn the gradient and AdamW's two moments. ``model`` comes back
    on the "meta" device, on which nothing is computed: no size is too large. What a pass takes beside these (the
    layer at work, the images) is not in it.
    """
    data = _without_computing(model, patch, batch)
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = loss(model(data.blurred), data)  # held until all is counted: a freed storage could lend its place
    del losses
    learning = sum(p.numel() * p.element_size() for p in stages.trainable(model))
    return {
        "activations": sum(kept.values()),
        "state": sum(p.numel() * p.element_size() for p in model.parameters()) + 3 * learning,
    }


def _without_computing(model: nn.Module, patch: int, batch: int) -> Batch:
    """Puts the model on the "meta" device, in training mode, and makes a batch for it there."""
    model.to(device="meta", memory_format=torch.channels_last)
    images = torch.empty(batch, 3, patch, patch, device="meta").contiguous(memory_format=torch.channels_last)
    stages.training_mode(model)
    return Batch(images, torch.empty_like(images), torch.zeros(batch, dtype=torch.long, device="meta"))


def network(spec: Spec) -> nn.Module:
    """The network of an experiment as it is trained, what does not learn frozen.

    The weights are random: costs do not depend on them.
    """
    if isinstance(spec.network, NAFNetConfig):
        return NAFNet(spec.network)
    return as_it_learns(spec, DeMoE(spec.network))


def counted(specs: Sequence[Spec], progress: bool = True) -> pd.DataFrame:
    """A row an experiment, variants of NAFNet and DeMoE. The same numbers on every machine.

    Columns: experiment, width, params, learning (parameters that learn in the last stage), macs (of one forward pass
    at 3x256x256, k = 1), steps (optimiser steps of all its stages), activation_bytes and state_bytes (of a training
    step of the last stage, ``training_bytes``). Parameters and MACs are without the router for a baseline, as the paper
    counts it.
    """
    rows, macs_of = [], {}
    for spec in tqdm(specs, desc="counting", unit="network", disable=not progress):
        with torch.device("meta"):
            model = network(spec)
        if spec.network not in macs_of:
            macs_of[spec.network] = complexity.count(_countable(model))
            gc.collect()
        params, macs = macs_of[spec.network]
        learning = sum(p.numel() for p in stages.trainable(model))
        memory = training_bytes(model, criterion(spec), spec.patch, spec.batch)
        rows.append(
            {
                "experiment": spec.name,
                "width": spec.network.width,
                "params": params,
                "learning": learning,
                "macs": macs,
                "steps": spec.steps + (spec.starts_from.steps if spec.starts_from else 0),
                "activation_bytes": memory["activations"],
                "state_bytes": memory["state"],
            }
        )
    return pd.DataFrame(rows)


def _countable(model: nn.Module) -> nn.Module:
    """Such a network on the CPU, a baseline without its router. All zeros: DeMoE looks at values to choose experts."""
    with torch.device("meta"):
        copy = type(model)(model.config)
    if not experts_of(copy):
        copy.mlp_branch = None
    copy.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*copy.parameters(), *copy.buffers()):
            tensor.zero_()
    return copy.eval()


def timed(specs: Sequence[Spec], setting: Setting, device: str = "cpu") -> pd.DataFrame:
    """Measured milliseconds of a forward pass (k = 1) at the profile's ``bench_size``. Columns: experiment, runtime_ms,
    side.

    No two runs give the same, so this is no table's.
    """
    profile, rows, seconds_of = setting.profile, [], {}
    for spec in tqdm(specs, desc="timing", unit="network", disable=not setting.progress):
        if spec.network not in seconds_of:
            size = (3, profile.bench_size, profile.bench_size)
            seconds_of[spec.network] = complexity.measure_runtime(
                network(spec).to(device), size, profile.bench_repeats, 1
            )
        rows.append({"experiment": spec.name, "runtime_ms": 1e3 * seconds_of[spec.network], "side": profile.bench_size})
    return pd.DataFrame(rows)
