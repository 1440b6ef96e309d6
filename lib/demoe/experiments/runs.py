"""A run: trained once, loaded afterwards, never twice at the same time.

A run lives in ``results/<profile>/runs/<name>-s<seed>-<hash>/``; the hash is that of its whole configuration, so a run
with other numbers never takes its place.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from demoe import provenance
from demoe.data import aio
from demoe.data.batches import Batches, Share, workers_for
from demoe.data.fresh import Fresh
from demoe.data.pairs import PairedSet
from demoe.data.real.roots import Roots
from demoe.model import checkpoints
from demoe.paths import SUMS, alone, damaged, results_dir, seal, set_aside, sweep, write_text
from demoe.profiles import Profile, as_dict
from demoe.training import distributed, state
from demoe.training.loop import OutOfTime, train
from demoe.training.losses import LossFunction

Data = Callable[[], Sequence[PairedSet] | Fresh]
STATE = "state"  # folder of an unfinished run, in which it goes on


@dataclass(frozen=True)
class Run:
    """A finished training: the model in evaluation mode and the folder with its configuration, log and weights."""

    name: str
    model: nn.Module
    folder: Path
    config: dict

    @property
    def metrics(self) -> pd.DataFrame:
        """The log, a row a logged step: step, losses, gradient norm, learning rate. Without the times, which differ,
        and the images, which the steps tell."""
        log = pd.read_json(self.folder / "metrics.jsonl", lines=True)
        return log.drop(columns=["images", "seconds", "waited"], errors="ignore")

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


@dataclass(frozen=True)
class Experiment:
    """A training that has a name. ``run(profile, seed, data_root, progress)``: its docstring says what it is."""

    run: Callable[..., Run]
    after: tuple[str, ...] = ()  # the experiments whose networks it starts from


class NotTrained(LookupError):
    """Raised in ``looking`` by what would have to be trained."""


_looking = False


@contextmanager
def looking() -> Iterator[None]:
    """Inside, nothing is trained: ``train_or_load`` loads what is there and raises ``NotTrained`` for the rest."""
    global _looking
    _looking = True
    try:
        yield
    finally:
        _looking = False


class TimeUp(Exception):
    """The time given with ``until`` is over. What is unfinished is on the disk: the same call goes on from there.

    ``name`` and ``seed`` say which training was at work, and that ``step`` of its ``steps`` are done. ``trained`` is
    how many networks were finished before, where several were asked for.
    """

    def __init__(self, name: str, seed: int, step: int, steps: int, trained: int = 0):
        super().__init__(name, seed, step, steps, trained)
        self.name, self.seed, self.step, self.steps, self.trained = name, seed, step, steps, trained

    def __str__(self) -> str:
        which = f"{self.name} (seed {self.seed})" if self.seed else self.name
        return f"time is up: {which} is at step {self.step} of {self.steps}"


@dataclass(frozen=True)
class Slice:
    """How long may be trained, and how what is unfinished then is kept."""

    deadline: float  # a value of ``time.monotonic``, which all processes of a machine share
    compact: bool = False  # weights in half precision, without the optimiser's moments: a quarter of the size or less

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.deadline


_slice: Slice | None = None


@contextmanager
def until(given: Slice | None) -> Iterator[None]:
    """Inside, trainings stop when the time of ``given`` is over, and raise ``TimeUp``. None: they take their time."""
    global _slice
    before, _slice = _slice, given
    try:
        yield
    finally:
        _slice = before


def current_slice() -> Slice | None:
    """What ``until`` was given; None outside."""
    return _slice


# Fields of a profile that say nothing about a training, or that only one kind of run depends on and puts in itself.
ELSEWHERE = ("name", "bench_size", "bench_repeats", "checkpoint_every", "test_images", "stage1_steps", "stage2_steps",
             "stage2_patch", "specialist_steps", "specialist_patch", "ablation_steps", "ablation_patch",
             "ablation_seeds", "large_size", "large_images")


def configuration(
    name: str, profile: Profile, seed: int, data_root: aio.Where, network: dict, steps: int, **more
) -> dict:
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
    config["code"] = code(bool(roots))
    return config


def code(real: bool = False) -> str:
    """The hash of all code that trained weights depend on; ``real``: with that which reads real datasets."""
    return provenance.code_hash("model", "training", "data", "blur", *(("data/real",) if real else ()))


def train_or_load(
    config: dict,
    profile: Profile,
    start: Callable[[], nn.Module],
    data: Data,
    loss: LossFunction,
    progress: bool,
    label: str,
) -> Run:
    """The run of ``config`` (from ``configuration``): loaded if its weights are there, else trained to the end.

    ``start`` makes the network with its first weights, ``data`` what it learns from; both are only called where
    something is trained. ``label`` stands on the progress bar. A process that finds another one at work on the same
    run waits for it. Files that are damaged are set aside, and the network is trained again. Raises ``NotTrained``
    inside ``looking``, ``TimeUp`` inside ``until``, and what training raises.
    """
    identity = f"{config['experiment']}-s{config['seed']}-{provenance.config_hash(config)}"
    folder = results_dir(profile.name) / "runs" / identity
    model = _finished(folder)
    if model is None:
        if _looking:
            raise NotTrained(identity)
        told = f"another process is training {folder.name}: waiting for it" if progress else ""
        first = distributed.rank() == 0  # of those that ``torchrun`` started; on its own each is the first
        with alone(folder / ".lock", told) if first else nullcontext(), threads(profile.threads):
            if first:
                sweep(folder)
                model = _finished(folder, clear=True)
            if distributed.agree(model is None):
                _train(config, profile, start, data, loss, folder, progress, label)
                model = checkpoints.load(folder / "model.safetensors", default_device())
    if not (folder / SUMS).exists():  # just trained, or killed at this very place
        seal(folder, "model.safetensors", "metrics.jsonl")
    shutil.rmtree(folder / STATE, ignore_errors=True)  # of no use any more
    return Run(config["experiment"], model, folder, config)


def _finished(folder: Path, clear: bool = False) -> nn.Module | None:
    """The network of a finished run; None if there is none, or its files are damaged, which ``clear`` sets aside."""
    weights = folder / "model.safetensors"
    broken = damaged(folder)
    if weights.exists() and not broken:
        try:
            return checkpoints.load(weights, default_device())
        except checkpoints.CheckpointError:
            if (folder / SUMS).exists():  # the file is whole: what is missing is a permission, a package, ...
                raise
            broken = [weights.name]
    if clear:
        (folder / SUMS).unlink(missing_ok=True)
        for file in (folder / name for name in broken if (folder / name).is_file()):
            place = set_aside(file)
            print(f"{file} is damaged: it was set aside as {place.name}, and the network is trained again.",
                  file=sys.stderr, flush=True)
    return None


def _train(
    config: dict, profile: Profile, start: Callable[[], nn.Module], data: Data, loss: LossFunction, folder: Path,
    progress: bool, label: str,
) -> None:
    seed, part = config["seed"], _slice
    if part and distributed.agree(part.over):  # making the data may take longer than what is left
        raise TimeUp(config["experiment"], seed, state.step_of(folder / STATE) or 0, config["steps"])
    model = start()
    source = data()
    batches = source if isinstance(source, Fresh) else Batches(source, config["patch"], config["batch"], seed)
    batches.share = Share(distributed.rank(), distributed.world())
    mark = provenance.full(provenance.stamp(profile.name, config["data"], seed, provenance.config_hash(config)))
    mark["hardware"] = _hardware(folder, mark["hardware"])
    limits = {"deadline": part.deadline, "compact": part.compact} if part else {}
    if distributed.rank() == 0:
        write_text(folder / "config.json", json.dumps({"config": config, "provenance": mark}, indent=2) + "\n")
    try:
        train(
            model,
            batches,
            loss,
            folder,
            steps=config["steps"],
            learning_rate=profile.learning_rate,
            min_learning_rate=profile.min_learning_rate,
            weight_decay=profile.weight_decay,
            precision=profile.precision or None,
            accumulate=profile.accumulate,
            checkpointing=profile.checkpointing,
            average=profile.average,
            seed=seed,
            device=default_device(),
            workers=workers_for(batches),
            checkpoint_every=profile.checkpoint_every,
            label=label,
            progress=progress,
            **limits,
        )
    except OutOfTime as error:
        raise TimeUp(config["experiment"], seed, error.step, error.steps) from None
    if distributed.rank() == 0:
        checkpoints.save(model, folder / "model.safetensors", provenance={**mark, "training": config})
    distributed.wait()


def _hardware(folder: Path, here: str) -> str:
    """This machine's, after those on which what is continued here was trained so far: "NVIDIA L4; NVIDIA H200"."""
    if not (folder / STATE).exists():
        return here
    try:
        earlier = str(json.loads((folder / "config.json").read_text())["provenance"]["hardware"]).split("; ")
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    return "; ".join(dict.fromkeys([*earlier, here]))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch computes with ``count`` CPU threads while the block runs, so that a training's last digits do not depend
    on the machine's cores; 0 leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
