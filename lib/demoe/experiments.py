"""Named experiments: what is trained, from what. Asked for one, it is trained; asked again, it is loaded.

A run lives in ``results/<profile>/runs/<name>-s<seed>-<hash>/``; the hash is that of its whole configuration, so a run
with other numbers never takes its place.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from demoe import provenance
from demoe.data import aio
from demoe.data.batches import Batches, workers_for
from demoe.data.fresh import Fresh
from demoe.data.pairs import PairedSet
from demoe.data.real.roots import Roots
from demoe.model import checkpoints
from demoe.model.demoe import DeMoE, DeMoEConfig
from demoe.model.nafnet import NAFNet, NAFNetConfig
from demoe.paths import results_dir
from demoe.profiles import Profile, as_dict
from demoe.tasks import DATASETS
from demoe.training import stages
from demoe.training.loop import train
from demoe.training.losses import LossFunction, pixel_loss, stage1_loss, stage2_loss

CONTROL = "LOLv2-real"  # of Figure 8: pictures that are dark and not blurred
SPECIALISTS = (*DATASETS, CONTROL)  # the sets that a network of its own is trained on
VARIANTS = {  # of the baseline: network, weight of the classification loss (None: the profile's)
    "class-loss": ({}, None),
    "no-class-loss": ({}, 0.0),
    "original": ({"encoder_blocks": (1, 1, 1, 28)}, None),  # Table 5: NAFNet's own depths, three blocks a decoder level
}
Data = Callable[[], Sequence[PairedSet] | Fresh]


@dataclass(frozen=True)
class Run:
    """A finished training: the model in evaluation mode and the folder with its configuration, log and weights."""

    name: str
    model: nn.Module
    folder: Path
    config: dict

    @property
    def metrics(self) -> pd.DataFrame:
        """The log, a row a logged step: step, losses, gradient norm, learning rate. Without the times, which differ."""
        log = pd.read_json(self.folder / "metrics.jsonl", lines=True)
        return log.drop(columns=["seconds", "waited"], errors="ignore")

    @property
    def hash(self) -> str:
        return provenance.config_hash(self.config)

    @property
    def trained_on(self) -> str:
        """What people are told that it was trained on: "GoPro" for the real set, "GoPro-syn" for its stand-in."""
        return self.config["dataset"] + ("-syn" if self.config["data"] == "synthetic" else "")


def default_device() -> str:
    """ "cuda" where there is a GPU, otherwise "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def untrained(network: NAFNetConfig, seed: int = 0) -> NAFNet:
    """The network with which a training of initialisation ``seed`` starts, in evaluation mode.

    Blocks start as the identity (beta = gamma = 0), layer norms at one and the last convolution at zero; all else is
    random. The caller's random numbers are left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NAFNet(network).eval()


def baseline(profile: Profile, seed: int = 0, data_root: aio.Where = None, progress: bool = True) -> Run:
    """Stage 1 (Section 3.4): NAFNet and router on the five sets, L1 + 0.001 cross-entropy."""
    network = NAFNetConfig(width=profile.width, router=True)
    config = _config("baseline", profile, seed, data_root, asdict(network), profile.stage1_steps)
    data = partial(aio.training_data, profile, config["patch"], seed, data_root, progress)
    start, loss = partial(untrained, network, seed), stage1_loss(profile.class_weight)
    return _train_or_load(config, profile, start, data, loss, progress, "stage 1: baseline and router")


def demoe(
    profile: Profile, seed: int = 0, data_root: aio.Where = None, progress: bool = True, experts: str = "random"
) -> Run:
    """Stage 2 (Section 3.4): experts and decoder on top of the frozen encoder and router of ``baseline``, L1.

    ``experts`` is how they start, "random" or "pretrained" (``stages.demoe_from_baseline``).
    """
    name = "demoe" if experts == "random" else f"demoe-{experts}-experts"
    network = DeMoEConfig(width=profile.width)
    config = _config(name, profile, seed, data_root, asdict(network), profile.stage2_steps,
                     patch=profile.stage2_patch, start_experts=experts, stage1_patch=profile.patch)
    config["stage1_steps"] = profile.stage1_steps

    def start() -> nn.Module:
        model = demoe_start(profile, seed, data_root, progress, experts)
        stages.freeze(model)
        return model

    data = partial(aio.training_data, profile, config["patch"], seed, data_root, progress)
    return _train_or_load(config, profile, start, data, stage2_loss, progress, "stage 2: experts and decoder")


def demoe_start(
    profile: Profile, seed: int = 0, data_root: aio.Where = None, progress: bool = True, experts: str = "random"
) -> DeMoE:
    """The network with which ``demoe`` starts: made from the baseline, which is trained first if need be."""
    trained = baseline(profile, seed, data_root, progress).model.cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return stages.demoe_from_baseline(trained, DeMoEConfig(width=profile.width), experts).eval()


def specialist(
    profile: Profile,
    dataset: str,
    seed: int = 0,
    data_root: aio.Where = None,
    progress: bool = True,
    init_seed: int | None = None,
    pairs: PairedSet | None = None,
) -> Run:
    """A task-specific network (Section 3.1): the NAFNet of stage 1 without router, trained on one set alone, L1.

    ``init_seed`` fixes the weights at the start, ``seed`` the synthetic data, their order and the crops; it is ``seed``
    unless given, so that the specialists of one seed start from the same weights. Whether the paper's did is not
    stated. With ``pairs``, a set of one's own, ``dataset`` only names the run. Raises ``ValueError`` for an unknown
    set.
    """
    if pairs is None and dataset not in SPECIALISTS:
        raise ValueError(f"unknown set {dataset!r}: choose one of {', '.join(SPECIALISTS)}, or give pairs of your own")
    init_seed = seed if init_seed is None else init_seed
    network = NAFNetConfig(width=profile.width)
    name = specialist_name(dataset) + ("" if init_seed == seed else f"-init{init_seed}")
    config = _config(
        name, profile, seed, data_root, asdict(network), profile.specialist_steps,
        dataset=dataset, init_seed=init_seed, patch=profile.specialist_patch,
    )
    del config["class_weight"]  # there is no router
    if pairs is not None:
        config |= {"data": pairs.data, "source": _fingerprint(pairs)}
        config = {key: value for key, value in config.items() if key not in ("train_images", "image_size", "fresh")}

    def data() -> list[PairedSet] | Fresh:
        if pairs is not None:
            return [pairs]
        return aio.training_data(profile, config["patch"], seed, data_root, progress, (dataset,))

    label = f"{dataset} alone" + ("" if init_seed == seed else f", start {init_seed}")
    return _train_or_load(config, profile, partial(untrained, network, init_seed), data, pixel_loss, progress, label)


def specialist_name(dataset: str) -> str:
    """The experiment's name: specialist-gopro, specialist-lolv2-real."""
    return "specialist-" + re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-")


def variant(profile: Profile, name: str, seed: int = 0, data_root: aio.Where = None, progress: bool = True) -> Run:
    """A variant of the baseline (Table 5 right, Figure 13), all trained for ``ablation_steps``, so that they compare.

    ``name``: "class-loss" (the baseline itself, but for the length), "no-class-loss", "original" (NAFNet's own depths,
    with classification loss). Raises ``ValueError`` for another.
    """
    if name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}: choose one of {', '.join(VARIANTS)}")
    changes, weight = VARIANTS[name]
    network = NAFNetConfig(width=profile.width, router=True, **changes)
    weight = profile.class_weight if weight is None else weight
    config = _config(
        f"variant-{name}", profile, seed, data_root, asdict(network), profile.ablation_steps,
        patch=profile.ablation_patch, class_weight=weight,
    )
    data = partial(aio.training_data, profile, config["patch"], seed, data_root, progress)
    start = partial(untrained, network, seed)
    return _train_or_load(config, profile, start, data, stage1_loss(weight), progress, f"baseline, {name}")


def _named(function: Callable[..., Run], argument: str, about: str) -> Callable[..., Run]:
    def run(profile: Profile, seed: int = 0, data_root: aio.Where = None, progress: bool = True) -> Run:
        return function(profile, argument, seed, data_root, progress)

    run.__doc__ = about
    return run


def _pretrained(profile: Profile, seed: int = 0, data_root: aio.Where = None, progress: bool = True) -> Run:
    """Stage 2 whose experts start as copies of the baseline's blocks (the paper does not state how they start)."""
    return demoe(profile, seed, data_root, progress, experts="pretrained")


EXPERIMENTS: dict[str, Callable[..., Run]] = {
    "baseline": baseline,
    "demoe": demoe,
    "demoe-pretrained-experts": _pretrained,
    **{specialist_name(one): _named(specialist, one, f"A NAFNet trained on {one} alone.") for one in SPECIALISTS},
    **{f"variant-{one}": _named(variant, one, f"A short training of the baseline: {one}.") for one in VARIANTS},
}


def train_experiment(
    name: str, profile: Profile, seed: int = 0, data_root: aio.Where = None, fresh: bool = False, progress: bool = True
) -> Run:
    """The experiment called ``name``, trained now or loaded. ``fresh`` forgets earlier runs of that name and seed.

    Raises ``ValueError`` naming the experiments for an unknown name.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}: choose one of {', '.join(EXPERIMENTS)}")
    if fresh:
        for folder in (results_dir(profile.name) / "runs").glob(f"{name}-s{seed}-*"):
            shutil.rmtree(folder)
    return EXPERIMENTS[name](profile, seed, data_root, progress)


# Fields of a profile that say nothing about a training, or that only one kind of run depends on and puts in itself.
ELSEWHERE = ("name", "bench_size", "bench_repeats", "checkpoint_every", "test_images", "stage1_steps", "stage2_steps",
             "stage2_patch", "specialist_steps", "specialist_patch", "ablation_steps", "ablation_patch")


def _config(name: str, profile: Profile, seed: int, data_root: aio.Where, network: dict, steps: int, **more) -> dict:
    """Everything that the trained weights depend on; ``more`` replaces a profile's number of that name."""
    roots = Roots.resolve(data_root)
    ignored = (*ELSEWHERE, *(("train_images", "image_size", "fresh") if roots else ()))
    numbers = {key: value for key, value in as_dict(profile).items() if key not in ignored}
    config = {"experiment": name, "dataset": "AIO-Blur", "seed": seed, "network": network, "steps": steps}
    config |= numbers | more
    config["data"] = "real" if roots and not roots.synthetic else "synthetic"
    # Of folders only a hash is kept: no path of a machine goes into weights that may be given away.
    folders = {"": roots.folder, **roots.named} if roots else {}
    places = {name: str(place.resolve()) for name, place in folders.items() if place}
    chosen = {"places": places, "variants": dict(roots.variants), "bits": roots.bits}
    config["source"] = provenance.config_hash(chosen) if roots else "bundled"
    if roots.sharp_images and not roots:
        config["source"] = aio.sharp_photographs(roots.sharp_images).identity
    rooms = ("model", "training", "data", "blur", *(("data/real",) if roots else ()))
    config["code"] = provenance.code_hash(*rooms)
    return config


def _fingerprint(pairs: PairedSet, looked_at: int = 16) -> str:
    """Eight digits that change with a set's names and sizes, and with the pixels of some of its pairs."""
    digest = hashlib.sha256(json.dumps([[key, pairs.size(i)] for i, key in enumerate(pairs.keys)]).encode())
    for i in range(0, len(pairs), max(1, len(pairs) // looked_at)):
        for side in pairs.read(i, None):
            digest.update(b"" if side is None else side.contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def _train_or_load(
    config: dict,
    profile: Profile,
    start: Callable[[], nn.Module],
    data: Data,
    loss: LossFunction,
    progress: bool,
    label: str,
) -> Run:
    seed = config["seed"]
    identity = f"{config['experiment']}-s{seed}-{provenance.config_hash(config)}"
    folder = results_dir(profile.name) / "runs" / identity
    weights = folder / "model.safetensors"
    if not weights.exists():
        model = start()
        source = data()
        batches = source if isinstance(source, Fresh) else Batches(source, config["patch"], config["batch"], seed)
        folder.mkdir(parents=True, exist_ok=True)
        mark = provenance.full(provenance.stamp(profile.name, config["data"], seed, provenance.config_hash(config)))
        (folder / "config.json").write_text(json.dumps({"config": config, "provenance": mark}, indent=2) + "\n")
        train(
            model,
            batches,
            loss,
            folder,
            steps=config["steps"],
            learning_rate=profile.learning_rate,
            min_learning_rate=profile.min_learning_rate,
            weight_decay=profile.weight_decay,
            seed=seed,
            device=default_device(),
            workers=workers_for(batches),
            checkpoint_every=profile.checkpoint_every,
            label=label,
            progress=progress,
        )
        checkpoints.save(model, weights, provenance={**mark, "training": config})
        (folder / "state.pt").unlink(missing_ok=True)
    return Run(config["experiment"], checkpoints.load(weights, default_device()), folder, config)
