"""A training on one's own pairs, from a network that is there or from the beginning: watched, resumed, kept.

Its folder has the log, the scores and pictures of the held-out pairs as they come, the best state so far, and at the
end the result with a model card. Started again with the same settings and pictures it goes on, or is found finished.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from demoe.core import provenance
from demoe.core.files import alone, checksum, clear, kept, write_text
from demoe.data.batches import Batches, workers_for
from demoe.data.composition import select
from demoe.data.own_pairs import fingerprint, held_out, in_memory
from demoe.data.pairs import PairedSet
from demoe.models import checkpoints
from demoe.models.nafnet import NAFNetConfig
from demoe.models.outputs import experts_of
from demoe.training import distributed, stages, state
from demoe.training.loop import OutOfTime, train
from demoe.training.losses import Criterion, Term, TermFunction, l1
from demoe.training.step import computed_in

from .own_card import card
from .own_training import OwnTraining, as_toml
from .runs import STATE, WEIGHTS, default_device, threads, untrained
from .spec import code
from .watching import BEST, CURVES, SCORES, Curves, Scores, Watcher

CONFIG, CARD = "config.json", "README.md"
FILES = (WEIGHTS, "metrics.jsonl")  # the card is its owner's to write on
CHECKPOINT_EVERY = 50  # steps; at most so many are lost to a crash
WIDTH = 32  # of a network without a start; the paper's
RATES = {True: 2e-4, False: 1e-3}  # from a start and without; the latter is the paper's, the former our choice
# What changes nothing in the weights, or is in an identity by its content.
NOT_IDENTITY = ("pairs", "start", "samples", "tensorboard", "accept_odd_pairs", "output")


@dataclass(frozen=True)
class Tuned:
    """A finished training on own pairs, on the disk."""

    folder: Path
    expert: str | None  # the one that learnt alone, and is to be asked for; None otherwise
    scores: Scores  # of the held-out pairs, by steps; empty where none were held out

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS


class Stopped(Exception):
    """The training's time is up. What it has is on the disk: the same call goes on from there."""

    def __init__(self, folder: Path, step: int, steps: int):
        super().__init__(f"time is up at step {step} of {steps}")
        self.folder = folder


def fine_tuned(
    config: OwnTraining,
    pairs: PairedSet,
    start: Path | None = None,
    deadline: float | None = None,
    loss: Mapping[str, float] | None = None,
    terms: Mapping[str, TermFunction] | None = None,
    sources: Mapping[str, str] | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> Tuned:
    """The network that ``config`` says, trained on ``pairs`` to the end, or found in its folder.

    Where there are experts, each crop goes through the one that ``config`` says or the router chooses, and not through
    a mixture of all as in stage 2 (Section 3.3): the router, which the mixture is for, does not learn here, and
    photographs of which it is sure will go through one expert, too. Our choice.

    ``start`` is the file of the weights that it starts from, which ``config`` may call by another name. ``loss`` are
    the terms of the loss and their weights (L1 by default), ``terms`` those besides "pixel" by name, and ``sources``
    what they depend on: code and files by their hashes. ``fresh``: an unfinished or finished training in the folder is
    forgotten. Raises ``ValueError`` for settings that do not fit the network or the pairs and for a folder that holds
    something else, ``Stopped`` at ``deadline``, and what ``loop.train`` raises.
    """
    if start and config.width is not None:
        raise ValueError(f"the width of a network is that of its start, {start.name}: leave the width out")
    model = checkpoints.load(start) if start else untrained(NAFNetConfig(config.width or WIDTH), config.seed)
    part = config.learn or ("decoder" if start and hasattr(model, "experts") else "all")
    config = config.model_copy(update={"learn": part, "rate": config.rate or RATES[start is not None]})
    expert = stages.fine_tuned(model, part)
    learnt, watched = held_out(pairs, config.held_out)

    identity: dict = {"pairs": pairs.name, "pictures": fingerprint(pairs), "code": code(real=True), **(sources or {})}
    identity |= {"start": start and checksum(start)}  # whatever it is called
    identity |= {key: value for key, value in config.model_dump().items() if key not in NOT_IDENTITY}
    folder = Path(config.output) if config.output else _usual_folder(pairs, config, identity)
    if config.batch % config.accumulate:
        raise ValueError(f"a batch of {config.batch} cannot be cut into {config.accumulate} equal parts")
    known = {"pixel": l1, **(terms or {})}
    criterion = Criterion([Term(name, known[name], weight) for name, weight in (loss or {"pixel": 1.0}).items()])
    first = distributed.rank() == 0
    if first:  # last: what is there is forgotten only where the training can begin
        _check_folder(folder, identity, fresh)
    distributed.wait()

    busy = f"another process is training {folder.name}: waiting for it"
    ours = kept(folder, FILES, busy=busy, remedy="the network is trained again") if first else nullcontext([])
    with ours as absent, threads(config.threads):
        if distributed.agree(bool(absent)):
            job = _Job(model, config, identity, start and start.name, learnt, watched, folder, expert, criterion)
            job.train(deadline, progress)
    return Tuned(folder, expert, Scores.of(folder / SCORES))


def _usual_folder(pairs: PairedSet, config: OwnTraining, identity: dict) -> Path:
    name = re.sub(r"[^a-z0-9]+", "-", pairs.name.lower()).strip("-")
    return provenance.run_folder("own", name, config.seed, identity)


def _check_folder(folder: Path, identity: dict, fresh: bool) -> None:
    """Raises ``ValueError`` unless ``folder`` is empty, this training's, or another's that shall be forgotten."""
    inside = [file for file in folder.iterdir() if file.name != ".lock"] if folder.is_dir() else []
    if not inside:
        return
    try:
        earlier = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["training"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{folder} is not empty, and holds no training: choose another folder") from None
    if fresh:
        with alone(folder / ".lock", f"another process is training {folder.name}: waiting for it"):
            clear(folder)
    elif changed := sorted(key for key in identity | earlier if identity.get(key) != earlier.get(key)):
        raise ValueError(
            f"{folder} holds a training with another {' and another '.join(changed)}: choose another folder, or say "
            "--fresh to forget it"
        )


@dataclass
class _Job:
    """What ``fine_tuned`` has found out, of which a training is made."""

    model: nn.Module
    config: OwnTraining
    identity: dict
    start: str | None  # the name of the file that it starts from
    learnt: PairedSet
    watched: PairedSet
    folder: Path
    expert: str | None
    criterion: Criterion

    def train(self, deadline: float | None, progress: bool) -> None:
        """Trains to the end, or raises, and writes all files of the folder."""
        config, folder, device = self.config, self.folder, torch.device(default_device())
        first_process = distributed.rank() == 0
        stamp = provenance.stamp("own", self.learnt.data, config.seed, provenance.config_hash(self.identity))
        precision = computed_in(config.precision or None, device, config.steps)
        record = {**provenance.full(stamp), "precision": precision, "start": self.start, "training": self.identity}
        if first_process:
            write_text(folder / CONFIG, json.dumps(record, indent=2) + "\n")
            write_text(folder / "config.toml", as_toml(config))
            if not state.is_whole(folder / STATE):  # it starts from the beginning
                (folder / SCORES).unlink(missing_ok=True)
        watcher = self._watcher(record, progress) if first_process and len(self.watched) else None
        curves = watcher.curves if watcher else None
        if watcher and not Scores.of(folder / SCORES).rows:
            watcher(0, deepcopy(self.model).to(device).eval())
        held = in_memory(self.learnt)
        batches = Batches([held or self.learnt], config.crop, config.batch, config.seed)
        try:
            train(
                self.model,
                batches,
                self.criterion,
                folder,
                steps=config.steps,
                learning_rate=config.rate or 0.0,
                min_learning_rate=config.last_rate,
                weight_decay=config.weight_decay,
                precision=config.precision or None,
                accumulate=config.accumulate,
                expert=self.expert or ("auto" if experts_of(self.model) else None),  # as photographs go through it
                seed=config.seed,
                device=device,
                workers=0 if held else workers_for(batches),
                checkpoint_every=CHECKPOINT_EVERY,
                deadline=deadline,
                logged=curves and curves.logged,
                watch=watcher,
                watch_every=config.validate_every,
                label=self.identity["pairs"],
                progress=progress,
            )
        except OutOfTime as error:
            raise Stopped(folder, error.step, error.steps) from None
        if first_process:
            self._keep_best(record, stamp)
        distributed.wait()

    def _watcher(self, record: dict, progress: bool) -> Watcher:
        config, count = self.config, len(self.watched)
        chosen = sorted(
            {round(place * (count - 1) / max(1, config.validate_pairs - 1)) for place in range(config.validate_pairs)}
        )
        some = select(self.watched, [i for i in chosen if i < count])
        curves = None
        if config.tensorboard:
            curves = Curves(self.folder / CURVES, state.step_of(self.folder / STATE) or 0)
        held = in_memory(some) or some
        return Watcher(self.folder, held, config.validate_side, config.samples, self.expert, record, curves, progress)

    def _keep_best(self, record: dict, stamp: provenance.Stamp) -> None:
        """The result is the best state that was seen, the start included; without held-out pairs the last."""
        scores, model, steps = Scores.of(self.folder / SCORES), self.model, self.config.steps
        if len(self.watched):
            model, steps = checkpoints.load(self.folder / BEST), scores.best()
        counts = len(self.learnt), len(self.watched)
        text = card(model, self.config, self.identity, self.start, counts, scores, self.expert, stamp)
        write_text(self.folder / CARD, text)
        checkpoints.save(model, self.folder / WEIGHTS, {**record, "steps": steps})
        (self.folder / BEST).unlink(missing_ok=True)
        shutil.rmtree(self.folder / STATE, ignore_errors=True)
