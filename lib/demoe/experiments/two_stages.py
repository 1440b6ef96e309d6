"""The baseline of stage 1 and the DeMoE that stage 2 makes of it (Section 3.4)."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import torch
from torch import nn

from demoe.core.profiles import Profile
from demoe.data import aio_blur
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training import stages
from demoe.training.losses import pixel_and_class_loss, pixel_loss

from .runs import Experiment, Run, configuration, train_or_load


def untrained(network: NAFNetConfig, seed: int = 0) -> NAFNet:
    """The network with which a training of initialisation ``seed`` starts, in evaluation mode.

    Blocks start as the identity (beta = gamma = 0), layer norms at one and the last convolution at zero; all else is
    random. The caller's random numbers are left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NAFNet(network).eval()


def baseline_network(profile: Profile) -> NAFNetConfig:
    """The network of stage 1."""
    return NAFNetConfig(width=profile.width, router=True)


def baseline_configuration(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None) -> dict:
    """What the weights of ``baseline`` depend on."""
    return configuration("baseline", profile, seed, data_root, asdict(baseline_network(profile)), profile.stage1_steps)


def baseline(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True) -> Run:
    """Stage 1 (Section 3.4): NAFNet and router on the five sets, L1 + 0.001 cross-entropy."""
    network, config = baseline_network(profile), baseline_configuration(profile, seed, data_root)
    data = partial(aio_blur.training_data, profile, config["patch"], seed, data_root, progress)
    start, loss = partial(untrained, network, seed), pixel_and_class_loss(profile.class_weight)
    return train_or_load(config, profile, start, data, loss, progress, "stage 1: baseline and router")


def demoe(
    profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True, experts: str = "random"
) -> Run:
    """Stage 2 (Section 3.4): experts and decoder on top of the frozen encoder and router of ``baseline``, L1.

    ``experts`` is how they start, "random" or "pretrained" (``stages.demoe_from_baseline``).
    """
    name = "demoe" if experts == "random" else f"demoe-{experts}-experts"
    network = DeMoEConfig(width=profile.width)
    config = configuration(
        name,
        profile,
        seed,
        data_root,
        asdict(network),
        profile.stage2_steps,
        patch=profile.stage2_patch,
        start_experts=experts,
        stage1_patch=profile.patch,
    )
    config["stage1_steps"] = profile.stage1_steps

    def start() -> nn.Module:
        model = demoe_start(profile, seed, data_root, progress, experts)
        stages.freeze(model)
        return model

    data = partial(aio_blur.training_data, profile, config["patch"], seed, data_root, progress)
    return train_or_load(config, profile, start, data, pixel_loss, progress, "stage 2: experts and decoder")


def demoe_start(
    profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True, experts: str = "random"
) -> DeMoE:
    """The network with which ``demoe`` starts: made from the baseline, which is trained first if need be."""
    trained = baseline(profile, seed, data_root, progress).model.cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return stages.demoe_from_baseline(trained, DeMoEConfig(width=profile.width), experts).eval()


def _pretrained(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True) -> Run:
    """Stage 2 whose experts start as copies of the baseline's blocks (the paper does not state how they start)."""
    return demoe(profile, seed, data_root, progress, experts="pretrained")


NAMED = {
    "baseline": Experiment(baseline),
    "demoe": Experiment(demoe, after=("baseline",)),
    "demoe-pretrained-experts": Experiment(_pretrained, after=("baseline",)),
}
