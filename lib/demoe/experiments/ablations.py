"""The ablations: every network scored on every picture, with the router's expert and with the one chosen by hand; and
what it costs: parameters, MACs and the memory of a training step, all counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from demoe.core import provenance
from demoe.data import aio_blur
from demoe.data.batches import Batch
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.evaluation import benchmark, methods, router
from demoe.evaluation.methods import Method
from demoe.models import complexity
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.moe import NoiseOn
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.models.outputs import experts_of
from demoe.training import stages
from demoe.training.losses import Criterion

from .runs import as_it_learns, criterion, default_device, obtain
from .spec import Spec, specs

INPUT = "input"  # the method that returns the blurred picture
ROUTER, BY_HAND = "router", "by hand"  # who chooses the one expert: the router as in the paper, or the set's blur
CHOICES = (ROUTER, BY_HAND)
_BY_HAND = ", by hand"


def score_ablations(
    names: Sequence[str], setting: Setting, sets: Sequence[PairedSet], measured: Sequence[str] = ("psnr", "ssim")
) -> tuple[pd.DataFrame, str]:
    """The experiments ``names`` on every picture of ``sets``, from all of the setting's ``ablation_seeds``.

    Trained first if need be. Each training's scores are a run with a folder of its own (``benchmark.run``): continued
    where it was interrupted, loaded afterwards. Returns a row a picture, network and choice, and the hash of all
    trainings, for a stamp. Columns: those of ``benchmark.score`` with the experiment as method, or "input" for the
    blurred picture; choice, one of ``CHOICES`` (k = 1 both; what has no experts has the same scores in both);
    training, its seed; right, 1 where the router's expert is that of the set's blur, else 0, NaN without experts.
    """
    tables, hashes = [], {}
    first = specs(setting)
    for seed in setting.ablation_seeds:
        every = specs(setting.with_seed(seed)).items()
        known = {name: spec if spec.is_ablation else first[name] for name, spec in every}
        compared: dict[str, Method] = {INPUT: methods.blurred_input}
        own, routed = {}, {}
        for name in names:
            model = obtain(known[name], setting).model
            own[name] = known[name].hash
            compared[name] = methods.network(model)
            if experts_of(model):
                compared[name + _BY_HAND] = methods.network(model, manual=True)
                routed.setdefault(router_of(known[name]), model)
        mark = provenance.stamp(setting.profile.name, aio_blur.kind(sets), seed, provenance.config_hash(own))
        scores, _ = benchmark.run(
            "ablations", sets, compared, own, mark, default_device(), setting.progress, measured=measured
        )
        scores = _by_choice(scores.drop(columns=list(mark.columns())), list(compared))
        tables.append(_with_router(scores, routed, known, sets).assign(training=seed))
        hashes |= {f"{name}-s{seed}": value for name, value in own.items()}
    return pd.concat(tables, ignore_index=True), provenance.config_hash(hashes)


def _by_choice(scores: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The methods by hand under the name of their network; what has none is repeated."""
    by_hand = scores.method.str.endswith(_BY_HAND)
    alone = ~by_hand & ~(scores.method + _BY_HAND).isin(methods)
    router, hand = scores[~by_hand].assign(choice=ROUTER), scores[by_hand | alone].assign(choice=BY_HAND)
    hand["method"] = hand.method.str.removesuffix(_BY_HAND)
    return pd.concat([router, hand], ignore_index=True)


def router_of(spec: Spec) -> str:
    """Networks for which this is the same have the same encoder and router: those of a stage 1 that stays frozen."""
    return spec.name if spec.learns == "all" else spec.starts_from.name


def _with_router(
    scores: pd.DataFrame, routed: dict[str, DeMoE], known: dict[str, Spec], sets: Sequence[PairedSet]
) -> pd.DataFrame:
    """With the column ``right``; each different router looks once at every picture."""
    right = {}
    for name, model in routed.items():
        seen = router.router_view(model, sets, default_device()).table
        right |= {(name, row.set, row.image): float(row.correct) for row in seen.itertuples() if row.label}
    routers = {name: router_of(spec) for name, spec in known.items() if isinstance(spec.network, DeMoEConfig)}
    keys = [(routers.get(row.method, ""), row.set, row.image) for row in scores.itertuples()]
    return scores.assign(right=[right.get(key, math.nan) for key in keys])


def training_bytes(model: nn.Module, loss: Criterion, patch: int, batch: int) -> dict[str, int]:
    """The memory of a training step in float32, counted: the same number on every machine, unlike a measured peak.

    ``activations`` is what the graph keeps for the backward pass, every storage once, parameters and buffers left out;
    ``state`` is all parameters, and for those that learn the gradient and AdamW's two moments. ``model`` comes back
    on the "meta" device, on which nothing is computed: no size is too large. What a pass takes beside these (the
    layer at work, the images) is not in it. Operation by operation, as on a GPU: a CPU's fused blocks keep less.
    """
    model.to(device="meta", memory_format=torch.channels_last)
    images = torch.empty(batch, 3, patch, patch, device="meta").contiguous(memory_format=torch.channels_last)
    stages.training_mode(model)
    data = Batch(images, torch.empty_like(images), torch.zeros(batch, dtype=torch.long, device="meta"))
    with stages.kept_for_backward(model) as kept:
        loss(model(data.blurred), data)
    learning = sum(p.numel() * p.element_size() for p in stages.trainable(model))
    return {
        "activations": sum(kept.values()),
        "state": sum(p.numel() * p.element_size() for p in model.parameters()) + 3 * learning,
    }


def parts(model: nn.Module) -> pd.DataFrame:
    """Columns: part (of the network, by its name), parameters, learns in stage 2 (all of them do)."""
    rows = [
        (name, sum(p.numel() for p in part.parameters()), all(p.requires_grad for p in part.parameters()))
        for name, part in model.named_children()
    ]
    return pd.DataFrame(rows, columns=["part", "parameters", "learns in stage 2"])


def experts_in_use(
    model: nn.Module, sets: Sequence[PairedSet], sigma: Mapping[NoiseOn, float], seed: int = 0, device: str = "cpu"
) -> tuple[float, dict[NoiseOn, float]]:
    """How many experts the router of ``model`` mixes on ``sets`` (``router.experts_in_use``): without noise, and
    with noise of a standard deviation ``sigma``, by what it is on."""
    weights = router.router_view(model, sets, device).probabilities
    noisy = {on: router.experts_in_use(weights, one, seed, on=on) for on, one in sigma.items()}
    return router.experts_in_use(weights), noisy


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
    rows, macs_of, last_stage_of = [], {}, {}
    for spec in tqdm(specs, desc="counting", unit="network", disable=not progress):
        if spec.network not in macs_of:
            with torch.device("meta"):
                model = network(spec)
            if not experts_of(model):
                model.mlp_branch = None
            macs_of[spec.network] = complexity.count(model)
        params, macs = macs_of[spec.network]
        step = spec.network, spec.learns, spec.loss, spec.patch, spec.batch
        if step not in last_stage_of:
            with torch.device("meta"):
                model = network(spec)
            learning = sum(p.numel() for p in stages.trainable(model))
            last_stage_of[step] = learning, training_bytes(model, criterion(spec), spec.patch, spec.batch)
        learning, memory = last_stage_of[step]
        steps = spec.steps + (spec.starts_from.steps if spec.starts_from else 0)
        size = spec.name, spec.network.width, params, learning, macs
        rows.append((*size, steps, memory["activations"], memory["state"]))
    columns = ["experiment", "width", "params", "learning", "macs", "steps", "activation_bytes", "state_bytes"]
    return pd.DataFrame(rows, columns=columns)
