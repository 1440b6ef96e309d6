"""Networks to compare DeMoE with: those of Table 1 on the same data by the same recipe, and DeMoE* of Table 3."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from demoe.core import provenance
from demoe.core.profiles import Profile
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.data.batches import Fresh
from demoe.data.pairs import PairedSet
from demoe.evaluation.methods import EQUAL, FOREIGN, INPUT, LONGER, TASK, Compared, Made, blurred_input
from demoe.evaluation.methods import network as as_method
from demoe.models import comparator_sizes, published
from demoe.models.comparators import NOT_INSTALLED
from demoe.models.nafnet import NAFNet
from demoe.training.losses import pixel_loss

from .ablations import ablation, variant
from .runs import Experiment, Run, configuration, default_device, train_or_load
from .two_stages import baseline, baseline_configuration, baseline_network, demoe

PACKAGES = {"Restormer": "spandrel_extra_arches", "FFTFormer": "spandrel"}  # whose code is an optional extra
COMPARATORS = tuple(comparator_sizes.NETWORKS)  # in the order of Table 1


def comparator(
    profile: Profile, name: str, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True
) -> Run:
    """PromptIR, Restormer, FFTFormer or SFHFormer on AIO-Blur: data, crops, batches and optimiser are the baseline's.

    L1 alone, because these networks have no router; all start as the identity, as the baseline does. They learn for
    ``ablation_steps`` from crops of ``ablation_patch`` pixels, as the variants of the baseline, so that all of these
    compare at equal length. The size is that of ``comparator_sizes.at_width``; how the paper trained them beyond "on
    the AIO-Blur dataset" is not stated. Raises ``ValueError`` for an unknown name, ``ModuleNotFoundError`` where the
    optional package is missing.
    """
    network = comparator_sizes.at_width(name, profile.width)
    config = configuration(
        comparator_name(name),
        profile,
        seed,
        data_root,
        asdict(network),
        profile.ablation_steps,
        patch=profile.ablation_patch,
    )
    del config["class_weight"]  # there is no router

    def start() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return comparator_sizes.untrained(network)

    data = partial(aio_blur.training_data, profile, config["patch"], seed, data_root, progress)
    return train_or_load(config, profile, start, data, pixel_loss, progress, comparator_sizes.label(network))


def comparator_name(name: str) -> str:
    """The experiment's name: comparator-promptir."""
    return f"comparator-{name.lower()}"


def missing() -> dict[str, str]:
    """Which of ``COMPARATORS`` cannot be had here, and why: those whose optional package is not installed."""
    return {name: NOT_INSTALLED for name, package in PACKAGES.items() if importlib.util.find_spec(package) is None}


def task_specific(
    profile: Profile, dataset: str, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True
) -> Run:
    """DeMoE* of Table 3: the all-in-one baseline, fine-tuned on one of AIO-Blur's training sets alone, L1.

    The paper: "a single expert in the decoder", "fine-tune in each specific dataset", "equivalent to fine-tuned NAFNet"
    (Section 4.3). A DeMoE with one expert a level is the baseline with its third block in the expert's place, and five
    of them make 50.4 M = 5 x 10.08 M (Section 5), each with an encoder of its own and without router. So all weights
    but the router's, which is left out, are trained on. ``specialist_steps`` of ``specialist_patch`` pixels with the
    learning rate of any other training; the paper states neither. Raises ``ValueError`` for another set.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown set {dataset!r}: choose one of {', '.join(DATASETS)}")
    network = replace(baseline_network(profile), router=False)
    first = provenance.config_hash(baseline_configuration(profile, seed, data_root))
    config = configuration(
        task_specific_name(dataset),
        profile,
        seed,
        data_root,
        asdict(network),
        profile.specialist_steps,
        dataset=dataset,
        patch=profile.specialist_patch,
        start=first,
    )
    del config["class_weight"]

    def start() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            model = NAFNet(network)
        trained = baseline(profile, seed, data_root, progress).model
        weights = {key: value.cpu() for key, value in trained.state_dict().items() if not key.startswith("mlp_")}
        model.load_state_dict(weights)
        return model

    def data() -> list[PairedSet] | Fresh:
        return aio_blur.training_data(profile, config["patch"], seed, data_root, progress, (dataset,))

    return train_or_load(config, profile, start, data, pixel_loss, progress, f"DeMoE* for {dataset}")


def task_specific_name(dataset: str) -> str:
    """The experiment's name: task-specific-gopro."""
    return f"task-specific-{dataset.lower()}"


def compared(
    profile: Profile,
    seed: int = 0,
    data_root: aio_blur.Where = None,
    progress: bool = True,
    weights: Sequence[str | Path] = (),
    tile: int | None = None,
) -> list[Compared]:
    """All methods of notebook 05, trained if need be: the networks of Table 1 at equal length, the longer trained
    baseline and DeMoE with k = 1 to 5, DeMoE* on the set it was tuned for, and the networks in the files ``weights``.

    Comparators whose package is missing are left out (``missing``). ``tile`` is that of ``compared.network``.
    """
    size = "" if profile.width == comparator_sizes.PUBLISHED_FROM else f" (width {profile.width})"
    here = (profile, seed, data_root, progress)
    length = f"{profile.ablation_steps} steps"
    found = [Compared("input", "blurred input", INPUT, "", "", blurred_input)]

    def add(role: str, method: str, group: str, training: str, run: Run, steps: str = "", k: int | None = 1) -> None:
        make = as_method(run.model, k=k, tile=tile)
        found.append(Compared(role, method, group, training, run.hash, make, run.model, steps or training))

    for name in COMPARATORS:
        if name not in missing():
            run = comparator(profile, name, seed, data_root, progress)
            add(name, comparator_sizes.label(run.model.config), EQUAL, length, run)
    add("NAFNet", f"NAFNet{size}", EQUAL, length, variant(profile, "class-loss", *here[1:]))
    add(
        "DeMoE",
        f"DeMoE k=1{size}",
        EQUAL,
        f"{length} of each of two stages",
        ablation(profile, "demoe", *here[1:]),
        f"{profile.ablation_steps} + {length}",
    )
    long = f"{profile.stage1_steps} steps"
    add("NAFNet longer", f"NAFNet{size}, longer trained", LONGER, long, baseline(*here))
    main = demoe(*here)
    for k in range(1, main.model.config.num_experts + 1):
        add(
            f"DeMoE longer k={k}",
            f"DeMoE k={k}{size}, longer trained",
            LONGER,
            f"{long}, then {profile.stage2_steps}",
            main,
            f"{profile.stage1_steps} + {profile.stage2_steps} steps",
            k,
        )
    tuned = {name: task_specific(profile, name, *here[1:]) for name in DATASETS}
    makers = {name: as_method(run.model, tile=tile) for name, run in tuned.items()}

    def on_its_own_set(image: Tensor, pairs: PairedSet) -> Tensor | Made | None:
        return None if pairs.label is None else makers[DATASETS[pairs.label]](image, pairs)

    found.append(
        Compared(
            "DeMoE*",
            f"DeMoE*{size}",
            TASK,
            f"{long}, then {profile.specialist_steps} on one set",
            ", ".join(run.hash for run in tuned.values()),
            on_its_own_set,
            tuned[DATASETS[0]].model,
            f"{profile.stage1_steps} + {profile.specialist_steps} steps",
        )
    )
    for one in published.load_all(weights, default_device()):
        make = as_method(one.model, tile=tile)
        found.append(Compared(one.label, one.label, FOREIGN, "by others", one.sha256, make, one.model))
    return found


def _comparator(name: str) -> Experiment:
    def run(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True) -> Run:
        return comparator(profile, name, seed, data_root, progress)

    run.__doc__ = f"{name} on AIO-Blur, as long as the variants of the baseline."
    return Experiment(run)


def _task_specific(dataset: str) -> Experiment:
    def run(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True) -> Run:
        return task_specific(profile, dataset, seed, data_root, progress)

    run.__doc__ = f"DeMoE* for {dataset} (Table 3): the baseline, fine-tuned on it alone."
    return Experiment(run, after=("baseline",))


NAMED = {
    **{comparator_name(one): _comparator(one) for one in COMPARATORS},
    **{task_specific_name(one): _task_specific(one) for one in DATASETS},
}
