"""Named experiments: what is trained, from what. Asked for one, it is trained; asked again, it is loaded.

A run lives in ``results/<profile>/runs/<name>-s<seed>-<hash>/``; the hash is that of its whole configuration, so a run
with other numbers never takes its place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from demoe import provenance
from demoe.data import aio
from demoe.data.batches import Batches
from demoe.data.pairs import PairedSet
from demoe.model import checkpoints
from demoe.model.demoe import DeMoEConfig
from demoe.model.nafnet import NAFNet, NAFNetConfig
from demoe.paths import results_dir
from demoe.profiles import Profile, as_dict
from demoe.training import stages
from demoe.training.loop import train
from demoe.training.losses import stage1_loss, stage2_loss


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
        return pd.read_json(self.folder / "metrics.jsonl", lines=True).drop(columns="seconds")

    @property
    def hash(self) -> str:
        return provenance.config_hash(self.config)


def default_device() -> str:
    """ "cuda" where there is a GPU, otherwise "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def baseline(profile: Profile, seed: int = 0, data_root: str | None = None, progress: bool = True) -> Run:
    """Stage 1 (Section 3.4): NAFNet and router on the five sets, L1 + 0.001 cross-entropy."""
    network = NAFNetConfig(width=profile.width, router=True)
    config = _config("baseline", profile, seed, data_root, asdict(network), profile.stage1_steps)

    def start() -> nn.Module:
        torch.manual_seed(seed)
        return NAFNet(network)

    loss = stage1_loss(profile.class_weight)
    return _train_or_load(config, profile, start, loss, data_root, progress, "stage 1: baseline and router")


def demoe(
    profile: Profile, seed: int = 0, data_root: str | None = None, progress: bool = True, experts: str = "random"
) -> Run:
    """Stage 2 (Section 3.4): experts and decoder on top of the frozen encoder and router of ``baseline``, L1.

    ``experts`` is how they start, "random" or "pretrained" (``stages.demoe_from_baseline``).
    """
    network = DeMoEConfig(width=profile.width)
    name = "demoe" if experts == "random" else f"demoe-{experts}-experts"
    config = _config(name, profile, seed, data_root, asdict(network), profile.stage2_steps, start_experts=experts)
    config["stage1_steps"] = profile.stage1_steps

    def start() -> nn.Module:
        trained = baseline(profile, seed, data_root, progress).model.cpu()
        torch.manual_seed(seed + 1)
        model = stages.demoe_from_baseline(trained, network, experts)
        stages.freeze(model)
        return model

    return _train_or_load(config, profile, start, stage2_loss, data_root, progress, "stage 2: experts and decoder")


EXPERIMENTS: dict[str, Callable[..., Run]] = {"baseline": baseline, "demoe": demoe}


def train_experiment(
    name: str, profile: Profile, seed: int = 0, data_root: str | None = None, fresh: bool = False, progress: bool = True
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


def _config(
    name: str, profile: Profile, seed: int, data_root: str | None, network: dict, steps: int, **more
) -> dict:
    """Everything that the trained weights depend on."""
    ignored = ("name", "bench_size", "bench_repeats", "checkpoint_every", "test_images", "stage1_steps", "stage2_steps")
    numbers = {key: value for key, value in as_dict(profile).items() if key not in ignored}
    config = {"experiment": name, "seed": seed, "network": network, "steps": steps} | numbers | more
    config["data"] = "real" if data_root else "synthetic"
    # Of a folder only a hash is kept: no path of a machine goes into weights that may be given away.
    config["source"] = provenance.config_hash({"root": str(Path(data_root).resolve())}) if data_root else "bundled"
    config["code"] = provenance.code_hash("model", "training", "data", "blur")
    return config


def _train_or_load(
    config: dict,
    profile: Profile,
    start: Callable[[], nn.Module],
    loss: Callable,
    data_root: str | None,
    progress: bool,
    label: str,
) -> Run:
    seed = config["seed"]
    identity = f"{config['experiment']}-s{seed}-{provenance.config_hash(config)}"
    folder = results_dir(profile.name) / "runs" / identity
    weights = folder / "model.safetensors"
    if not weights.exists():
        model = start()
        sets: list[PairedSet] = aio.aio_blur(profile, "train", seed, data_root, progress)
        folder.mkdir(parents=True, exist_ok=True)
        mark = provenance.full(provenance.stamp(profile.name, config["data"], seed, provenance.config_hash(config)))
        (folder / "config.json").write_text(json.dumps({"config": config, "provenance": mark}, indent=2) + "\n")
        train(
            model,
            Batches(sets, profile.patch, profile.batch, seed),
            loss,
            folder,
            steps=config["steps"],
            learning_rate=profile.learning_rate,
            min_learning_rate=profile.min_learning_rate,
            weight_decay=profile.weight_decay,
            seed=seed,
            device=default_device(),
            checkpoint_every=profile.checkpoint_every,
            label=label,
            progress=progress,
        )
        checkpoints.save(model, weights, provenance={**mark, "training": config})
        (folder / "state.pt").unlink(missing_ok=True)
    return Run(config["experiment"], checkpoints.load(weights, default_device()), folder, config)
