"""What an ablation costs: parameters, MACs, the memory of a training step, all counted."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from demoe.data.batches import Batch
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
    model.to(device="meta", memory_format=torch.channels_last)
    images = torch.empty(batch, 3, patch, patch, device="meta").contiguous(memory_format=torch.channels_last)
    stages.training_mode(model)
    data = Batch(images, torch.empty_like(images), torch.zeros(batch, dtype=torch.long, device="meta"))
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
        if spec.network not in macs_of:
            model = network(spec)  # on the CPU: DeMoE looks at values to choose experts
            if not experts_of(model):
                model.mlp_branch = None
            macs_of[spec.network] = complexity.count(model)
        params, macs = macs_of[spec.network]
        with torch.device("meta"):
            model = network(spec)
        learning = sum(p.numel() for p in stages.trainable(model))
        memory = training_bytes(model, criterion(spec), spec.patch, spec.batch)
        steps = spec.steps + (spec.starts_from.steps if spec.starts_from else 0)
        size = spec.name, spec.network.width, params, learning, macs
        rows.append((*size, steps, memory["activations"], memory["state"]))
    columns = ["experiment", "width", "params", "learning", "macs", "steps", "activation_bytes", "state_bytes"]
    return pd.DataFrame(rows, columns=columns)
