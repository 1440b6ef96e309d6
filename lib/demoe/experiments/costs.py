"""What an ablation costs: parameters, MACs, the memory of a training step (all counted), and measured time."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from demoe.core.profiles import Profile
from demoe.data.batches import Batch
from demoe.models import complexity
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.models.outputs import experts_of
from demoe.training import stages
from demoe.training.losses import Criterion, pixel_and_class_loss, pixel_loss

from .ablations import ABLATIONS, VARIANTS, ablation_network, variant_network

NAMES = (*(f"variant-{name}" for name in VARIANTS), *(f"ablation-{name}" for name in ABLATIONS))


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


def training_flops(model: nn.Module, loss: Criterion, patch: int) -> float:
    """The floating-point operations of a training step, for one picture: forward and backward, 2 a multiplication.

    Counted by PyTorch: those of convolutions and matrix products, which are nearly all. ``model`` comes back on the
    "meta" device.
    """
    data = _without_computing(model, patch, 2)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}) as counter:
        loss(model(data.blurred), data)["total"].backward()
    return counter.get_total_flops() / 2


def work_of(config: dict, precision: str = "float32") -> tuple[float, float] | None:
    """What one picture of a training needs, by its ``identity.configuration``; None for networks of others.

    ``training_flops``, and bytes to be moved: what the graph keeps for the backward pass (``training_bytes``), written
    once and read once, half of that in bfloat16; none where activations are computed twice instead.
    """
    name = config["experiment"]
    if name.startswith("comparator-"):
        return None
    kind = "from scratch" if config.get("stage1") == "none" else "all" if config.get("learns_all") else ""
    mixed = name.startswith(("demoe", "ablation-"))
    flops, kept = _work_a_pixel(json.dumps(config["network"], sort_keys=True), mixed, kind)
    pixels = config["patch"] ** 2
    passes = 0 if config.get("checkpointing") else 1 if precision == "bfloat16" else 2
    return flops * pixels, passes * kept * pixels


@lru_cache(maxsize=128)
def _work_a_pixel(network_config: str, mixed: bool, kind: str, side: int = 64) -> tuple[float, float]:
    fields = {
        key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(network_config).items()
    }
    with torch.device("meta"):
        model = DeMoE(DeMoEConfig(**fields)) if mixed else NAFNet(NAFNetConfig(**fields))
    loss: Criterion = pixel_loss
    if mixed:
        loss = pixel_and_class_loss(1.0) if kind == "from scratch" else pixel_loss
        if not kind:
            stages.freeze(model)
    elif fields["router"]:
        loss = pixel_and_class_loss(1.0)
    flops, kept = training_flops(model, loss, side), training_bytes(model, loss, side, 2)["activations"] / 2
    return flops / side**2, kept / side**2


def _backward(gradient: Sequence[int], _, weight: Sequence[int], *more, **__) -> int:
    """Of a convolution's backward pass, from shapes (PyTorch's own count is wrong for depth-wise ones): as many as in
    the forward pass for the gradient of the input, and as many for that of the weights, where they are asked for."""
    batch, _, *places = gradient
    return 2 * batch * math.prod(places) * math.prod(weight) * sum(more[-1][:2])


def _without_computing(model: nn.Module, patch: int, batch: int) -> Batch:
    """Puts the model on the "meta" device, in training mode, and makes a batch for it there."""
    model.to(device="meta", memory_format=torch.channels_last)
    images = torch.empty(batch, 3, patch, patch, device="meta").contiguous(memory_format=torch.channels_last)
    stages.training_mode(model)
    return Batch(images, torch.empty_like(images), torch.zeros(batch, dtype=torch.long, device="meta"))


def network(profile: Profile, name: str) -> tuple[Callable[[], nn.Module], Criterion]:
    """What builds the network of the experiment ``name`` as its last stage trains it, and the loss it is trained with.

    ``name`` is one of ``NAMED`` in ``ablations``. The weights are random: costs do not depend on them.
    """
    kind, _, which = name.partition("-")
    if kind == "variant":
        config = variant_network(profile, which)
        weight = VARIANTS[which].class_weight
        return lambda: NAFNet(config), pixel_and_class_loss(profile.class_weight if weight is None else weight)
    config, chosen = ablation_network(profile, which), ABLATIONS[which]

    def build() -> nn.Module:
        model = DeMoE(config)
        model.router_noise = chosen.router_noise
        if not chosen.learns_all:
            stages.freeze(model)
        return model

    return build, pixel_and_class_loss(profile.class_weight) if chosen.from_scratch else pixel_loss


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
        rows.append(
            {
                "experiment": name,
                "width": key.width,
                "params": params,
                "learning": learning,
                "macs": macs,
                "steps": profile.ablation_steps * (1 if one_stage else 2),
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
