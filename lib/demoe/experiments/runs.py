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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import nn

from demoe.core import provenance
from demoe.core.files import SUMS, alone, checksum, damaged, results_dir, seal, set_aside, sweep, write_text
from demoe.core.profiles import Profile, as_dict
from demoe.data import aio_blur
from demoe.data.batches import Batches, Fresh, workers_for
from demoe.data.pairs import PairedSet
from demoe.data.real.roots import Roots
from demoe.models import checkpoints, parts
from demoe.training import distributed, state
from demoe.training.loop import OutOfTime, train
from demoe.training.losses import Criterion

Data = Callable[[], Sequence[PairedSet] | Fresh]
STATE = "state"  # folder of an unfinished run, in which it goes on
WEIGHTS = "model.safetensors"  # of a finished one; in parts (``demoe.parts``) where it is large


@dataclass(frozen=True)
class Run:
    """A finished training: the model in evaluation mode and the folder with its configuration, log and weights.

    Inside ``looking(load=False)`` there is no model.
    """

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
    def weights(self) -> list[Path]:
        """The file with the weights, or its parts."""
        return parts.files(self.folder / WEIGHTS)

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


class _Asked(Exception):
    """Raised in place of training or loading: the configuration of what was asked for."""


_mode: Literal["train", "load", "check", "ask"] = "train"


@contextmanager
def _in(mode: Literal["load", "check", "ask"]) -> Iterator[None]:
    global _mode
    before, _mode = _mode, mode
    try:
        yield
    finally:
        _mode = before


def looking(load: bool = True) -> AbstractContextManager[None]:
    """Inside, nothing is trained: ``train_or_load`` loads what is there and raises ``NotTrained`` for the rest.

    Without ``load`` it looks at files and check sums alone, and the ``Run`` has no model.
    """
    return _in("load" if load else "check")


def asked(experiment: Experiment, profile: Profile, seed: int = 0, data_root: aio_blur.Where = None) -> dict:
    """The configuration that this call would train or load; nothing is trained, loaded or looked for."""
    with _in("ask"):
        try:
            experiment.run(profile, seed, data_root, False)
        except _Asked as answer:
            return answer.args[0]
    raise TypeError("an experiment ends in train_or_load")


def train_or_load(
    config: dict,
    profile: Profile,
    start: Callable[[], nn.Module],
    data: Data,
    loss: Criterion,
    progress: bool,
    label: str,
) -> Run:
    """The run of ``config`` (``identity.configuration``): loaded if its weights are there, else trained to the end.

    ``start`` makes the network with its first weights, ``data`` what it learns from; both are only called where
    something is trained. ``label`` stands on the progress bar. A process that finds another one at work on the same
    run waits for it; of those that ``torchrun`` started the first decides for all. Files that are
    damaged are set aside, and the network is trained again. Raises ``NotTrained`` inside ``looking``, ``TimeUp``
    inside ``slices.until``, and what training raises.
    """
    if _mode == "ask":
        raise _Asked(config)
    identity = f"{config['experiment']}-s{config['seed']}-{provenance.config_hash(config)}"
    folder = results_dir(profile.name) / "runs" / identity
    if _mode == "check" and (folder / SUMS).is_file() and parts.entry(folder / WEIGHTS) and not damaged(folder):
        return Run(config["experiment"], None, folder, config)
    model = _finished(folder)
    if model is None and _mode != "train":
        raise NotTrained(identity)
    first = distributed.rank() == 0  # of those that ``torchrun`` started; on its own each is the first
    if distributed.agree(first and model is None):
        told = f"another process is training {folder.name}: waiting for it" if progress else ""
        with alone(folder / ".lock", told) if first else nullcontext(), threads(profile.threads):
            if first:
                sweep(folder)
                model = _finished(folder, clear=True)
            if distributed.agree(first and model is None):
                model = None
                _train(config, profile, start, data, loss, folder, progress, label)
                if first:
                    _seal(folder)
                distributed.wait()
    if model is None:
        model = _load(folder)
    if first:
        if not (folder / SUMS).exists():  # killed before it could be sealed
            _seal(folder)
        shutil.rmtree(folder / STATE, ignore_errors=True)  # of no use any more
    return Run(config["experiment"], model, folder, config)


def _seal(folder: Path) -> None:
    seal(folder, *(file.name for file in parts.files(folder / WEIGHTS)), "metrics.jsonl")


def _load(folder: Path) -> nn.Module:
    return parts.load(parts.entry(folder / WEIGHTS) or folder / WEIGHTS, default_device())


def _finished(folder: Path, clear: bool = False) -> nn.Module | None:
    """The network of a finished run; None if there is none, or its files are damaged, which ``clear`` sets aside."""
    broken = damaged(folder)
    weights = parts.entry(folder / WEIGHTS)
    if weights and not broken:
        try:
            return _load(folder)
        except checkpoints.CheckpointError:
            if (folder / SUMS).exists():  # the file is whole: what is missing is a permission, a package, ...
                raise
            broken = [file.name for file in parts.siblings(weights)]
    if clear:
        (folder / SUMS).unlink(missing_ok=True)
        for file in (folder / name for name in broken if (folder / name).is_file()):
            place = set_aside(file)
            print(
                f"{file} is damaged: it was set aside as {place.name}, and the network is trained again.",
                file=sys.stderr,
                flush=True,
            )
    return None


def _train(
    config: dict,
    profile: Profile,
    start: Callable[[], nn.Module],
    data: Data,
    loss: Criterion,
    folder: Path,
    progress: bool,
    label: str,
) -> None:
    seed, part = config["seed"], current_slice()
    if part and distributed.agree(part.over):  # making the data may take longer than what is left
        raise TimeUp(config["experiment"], seed, state.step_of(folder / STATE) or 0, config["steps"])
    model = start()
    source = data()
    batches = source if isinstance(source, Fresh) else Batches(source, config["patch"], config["batch"], seed)
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
        parts.save(model, folder / WEIGHTS, {**mark, "training": config}, limit=parts.LIMIT)
    distributed.wait()


def _hardware(folder: Path, here: str) -> str:
    """This machine's, after those on which what is continued here was trained so far: "NVIDIA L4; 8 x NVIDIA H200"."""
    if distributed.world() > 1 and torch.cuda.is_available():
        here = f"{distributed.world()} x {here}"
    if not _whole(folder / STATE):  # none, or one that training will set aside to start from the beginning
        return here
    try:
        earlier = str(json.loads((folder / "config.json").read_text())["provenance"]["hardware"]).split("; ")
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    return "; ".join(dict.fromkeys([*earlier, here]))


def _whole(folder: Path) -> bool:
    """Whether there is a state whose parts are as they were."""
    try:
        noted = json.loads((folder / state.MANIFEST).read_text())["parts"]
        return all(checksum(folder / name) == digest for name, digest in noted.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


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


# What a run's name stands for: everything that its trained weights depend on.


# Fields of a profile that say nothing about a training, or that only one kind of run depends on and puts in itself.
ELSEWHERE = (
    "name",
    "bench_size",
    "bench_repeats",
    "checkpoint_every",
    "test_images",
    "stage1_steps",
    "stage2_steps",
    "stage2_patch",
    "specialist_steps",
    "specialist_patch",
    "ablation_steps",
    "ablation_patch",
    "ablation_seeds",
    "large_size",
    "large_images",
)


def configuration(
    name: str, profile: Profile, seed: int, data_root: aio_blur.Where, network: dict, steps: int, **more
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
        config["source"] = aio_blur.sharp_photographs(roots.sharp_images).identity
    config["code"] = code(bool(roots))
    return config


def code(real: bool = False) -> str:
    """The hash of all code that trained weights depend on; ``real``: with that which reads real datasets."""
    return provenance.code_hash("core", "models", "training", "data", "blur", *(("data/real",) if real else ()))


# Time that was given for training: what stops at its end, and how.


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
