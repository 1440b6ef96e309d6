"""What an ablation costs: parameters, MACs, the memory of a training step (all counted), and measured time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from demoe.data.batches import Batch
from demoe.model import complexity
from demoe.model.demoe import DeMoE
from demoe.model.nafnet import NAFNet
from demoe.profiles import Profile
from demoe.training import stages
from demoe.training.losses import LossFunction, end_to_end_loss, stage1_loss, stage2_loss

from .ablations import ABLATIONS, VARIANTS, ablation_network, variant_network

NAMES = (*(f"variant-{name}" for name in VARIANTS), *(f"ablation-{name}" for name in ABLATIONS))


def training_bytes(model: nn.Module, loss: LossFunction, patch: int, batch: int) -> dict[str, int]:
    """The memory of a training step in float32, counted: the same number on every machine, unlike a measured peak.

    ``activations`` is what the graph keeps for the backward pass, every storage once, parameters and buffers left out;
    ``state`` is all parameters, and for those that learn the gradient and AdamW's two moments. ``model`` comes back
    on the "meta" device, on which nothing is computed: no size is too large. What a pass takes beside these (the
    layer at work, the images) is not in it.
    """
    model.to(device="meta", memory_format=torch.channels_last)
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    images = torch.empty(batch, 3, patch, patch, device="meta").contiguous(memory_format=torch.channels_last)
    data = Batch(images, torch.empty_like(images), torch.empty(batch, dtype=torch.long, device="meta"))
    stages.training_mode(model)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = loss(model, data)["total"]  # held until all is counted: a storage freed could lend its place to another
    del total
    learning = sum(p.numel() * p.element_size() for p in stages.trainable(model))
    return {"activations": sum(kept.values()), "state": sum(p.numel() * p.element_size() for p in model.parameters())
            + 3 * learning}


def network(profile: Profile, name: str) -> tuple[Callable[[], nn.Module], LossFunction]:
    """What builds the network of the experiment ``name`` as its last stage trains it, and the loss it is trained with.

    ``name`` is one of ``NAMED`` in ``ablations``. The weights are random: costs do not depend on them.
    """
    kind, _, which = name.partition("-")
    if kind == "variant":
        config = variant_network(profile, which)
        weight = VARIANTS[which].class_weight
        return lambda: NAFNet(config), stage1_loss(profile.class_weight if weight is None else weight)
    config, chosen = ablation_network(profile, which), ABLATIONS[which]

    def build() -> nn.Module:
        model = DeMoE(config)
        model.router_noise = chosen.router_noise
        if not chosen.learns_all:
            stages.freeze(model)
        return model

    return build, end_to_end_loss(profile.class_weight) if chosen.from_scratch else stage2_loss


def counted(profile: Profile, names: Sequence[str] = NAMES, progress: bool = True) -> pd.DataFrame:
    """A row an experiment, at the profile's width, crop and batch. The same numbers on every machine.

    Columns: experiment, width, params, learning (parameters that learn in the last stage), macs (of one forward pass
    at 3x256x256, k = 1), steps (optimiser steps of all its stages), activation_bytes and state_bytes (of a training
    step of the last stage, ``training_bytes``). Parameters and MACs are without the router for a baseline, as the paper
    counts it.
    """
    rows, macs_of = [], {}
    for name in tqdm(names, desc="counting", unit="network", disable=not progress):
        build, loss = network(profile, name)
        with torch.device("meta"):
            model = build()
        key = model.config
        if key not in macs_of:
            macs_of[key] = complexity.count(_countable(model))
            gc.collect()
        params, macs = macs_of[key]
        learning = sum(p.numel() for p in stages.trainable(model))
        memory = training_bytes(model, loss, profile.ablation_patch, profile.batch)
        one_stage = name.startswith("variant-")
        rows.append({
            "experiment": name, "width": key.width, "params": params, "learning": learning, "macs": macs,
            "steps": profile.ablation_steps * (1 if one_stage else 2),
            "activation_bytes": memory["activations"], "state_bytes": memory["state"],
        })
    return pd.DataFrame(rows)


def _countable(model: nn.Module) -> nn.Module:
    """Such a network on the CPU, a baseline without its router. All zeros: DeMoE looks at values to choose experts."""
    with torch.device("meta"):
        copy = type(model)(model.config)
    if isinstance(copy, NAFNet):
        copy.mlp_branch = None
    copy.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*copy.parameters(), *copy.buffers()):
            tensor.zero_()
    return copy.eval()


def timed(profile: Profile, device: str = "cpu", names: Sequence[str] = NAMES, progress: bool = True) -> pd.DataFrame:
    """Measured milliseconds of a forward pass (k = 1) at the profile's width. Columns: experiment, runtime_ms, side.

    No two runs give the same, so this is no table's.
    """
    rows, seconds_of = [], {}
    for name in tqdm(names, desc="timing", unit="network", disable=not progress):
        model = network(profile, name)[0]()
        if model.config not in seconds_of:
            size = (3, profile.bench_size, profile.bench_size)
            seconds_of[model.config] = complexity.measure_runtime(model.to(device), size, profile.bench_repeats, 1)
        rows.append({"experiment": name, "runtime_ms": 1e3 * seconds_of[model.config], "side": profile.bench_size})
    return pd.DataFrame(rows)
