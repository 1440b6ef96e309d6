"""A run: a ``Spec`` trained once, loaded afterwards, never trained twice at the same time."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from demoe.core import provenance
from demoe.core.files import alone, clear, is_kept, kept, results_dir, write_text
from demoe.data import aio_blur
from demoe.data.batches import Batches, Fresh, workers_for
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.models import checkpoints, comparators, fused_block
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training import distributed, stages, state
from demoe.training.loop import OutOfTime, train
from demoe.training.losses import Criterion, Term, TermFunction, accuracy, cross_entropy, l1
from demoe.training.step import computed_in

from . import packaged
from .spec import Spec

STATE = "state"  # folder of an unfinished run, in which it goes on
WEIGHTS = "model.safetensors"  # of a finished one
FILES = (WEIGHTS, "metrics.jsonl")


@dataclass(frozen=True)
class Run:
    """A finished training: the model in evaluation mode and the folder with its configuration, log and weights."""

    spec: Spec
    model: nn.Module
    folder: Path

    @property
    def metrics(self) -> pd.DataFrame:
        """The log, a row a logged step: step, losses, gradient norm, learning rate. Without the times, which differ,
        and the images, which the steps tell. What comes with the package has one row, the last step, without losses."""
        log = pd.read_json(self.folder / "metrics.jsonl", lines=True)
        return log.drop(columns=["images", "seconds", "waited"], errors="ignore")

    @property
    def hash(self) -> str:
        return self.spec.hash

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def data(self) -> str:
        """ "real" or "synthetic"."""
        return dict(self.spec.data)["data"]

    @property
    def trained_on(self) -> str:
        """What people are told that it was trained on: "GoPro" for the real set, "GoPro-syn" for its stand-in."""
        return self.spec.dataset + ("-syn" if self.data == "synthetic" else "")


class TimeUp(Exception):
    """A training's deadline has come. What is unfinished is on the disk: the same call goes on from there.

    ``spec`` says which training was at work, and ``step`` how many of its steps are done.
    """

    def __init__(self, spec: Spec, step: int):
        super().__init__(f"time is up: {spec.label} is at step {step} of {spec.steps}")
        self.spec, self.step = spec, step


def default_device() -> str:
    """ "cuda" where there is a GPU, otherwise "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def obtain(
    spec: Spec,
    setting: Setting,
    deadline: float | None = None,
    pairs: PairedSet | None = None,
    terms: Mapping[str, TermFunction] | None = None,
) -> Run:
    """The run of ``spec``: loaded if its weights are there, else trained to the end, after what it starts from.

    ``pairs`` take the place of the spec's own data, ``terms`` are ``criterion``'s. A process that finds another one at
    work on the same run waits for it; of those that ``torchrun`` started the first decides for all. Files that are
    damaged are set aside, and the network is trained again. Raises ``TimeUp`` at ``deadline``, a value of
    ``time.monotonic``, and what training raises.
    """
    folder, first = spec.folder(setting), distributed.rank() == 0  # on its own each process is the first
    if distributed.agree(first and not trained(spec, setting)):
        busy = f"another process is training {folder.name}: waiting for it" if setting.progress else ""
        ours = kept(folder, FILES, busy=busy, remedy="the network is trained again") if first else nullcontext([])
        with ours as absent, threads(dict(spec.recipe)["threads"]):
            if distributed.agree(bool(absent)):
                if spec.packaged:
                    packaged.adopt(spec, folder, *FILES)
                else:
                    _train(spec, setting, folder, deadline, pairs, terms)
    model = checkpoints.load(folder / WEIGHTS, default_device(), spec.guest)
    if first:
        shutil.rmtree(folder / STATE, ignore_errors=True)  # of no use any more
    return Run(spec, model, folder)


def trained(spec: Spec, setting: Setting) -> bool:
    """Whether ``obtain`` would load the weights, by files and check sums alone."""
    return is_kept(spec.folder(setting), FILES)


def forget(spec: Spec, setting: Setting) -> None:
    """Empties the folders of all runs of this name and seed, whatever their configuration."""
    if distributed.rank() == 0:
        for folder in (results_dir(setting.profile.name) / "runs").glob(f"{spec.name}-s{spec.seed}-*"):
            with alone(folder / ".lock", f"another process is training {folder.name}: waiting for it"):
                clear(folder)
    distributed.wait()  # until nothing is left that another process could take for finished


def untrained(network: NAFNetConfig, seed: int = 0) -> NAFNet:
    """The network with which a training of initialisation ``seed`` starts, in evaluation mode.

    Blocks start as the identity (beta = gamma = 0), layer norms at one and the last convolution at zero; all else is
    random. The caller's random numbers are left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NAFNet(network).eval()


def initial_network(
    spec: Spec, setting: Setting, deadline: float | None = None, terms: Mapping[str, TermFunction] | None = None
) -> nn.Module:
    """The network with which the training of ``spec`` starts, what does not learn frozen.

    Made from what it starts from, which is trained first if need be, with ``terms`` (``criterion``).
    """
    network = spec.network
    start = obtain(spec.starts_from, setting, deadline, terms=terms).model.cpu() if spec.starts_from else None
    if spec.guest is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.init_seed)
            model = spec.guest(**asdict(network)).eval()
        if start is not None:
            model.load_state_dict(start.state_dict())
        return model
    if isinstance(network, NAFNetConfig):
        model = untrained(network, spec.init_seed)
        if start is not None:
            weights = start.state_dict()
            model.load_state_dict({key: weights[key] for key in model.state_dict()})  # all but the router's
        return model
    if isinstance(network, DeMoEConfig):
        baseline = start or untrained(stages.baseline_config(network), spec.init_seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.init_seed + 1)
            model = stages.demoe_from_baseline(baseline, network, spec.experts).eval()
        return as_it_learns(spec, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.init_seed)
        return comparators.untrained(network)


def as_it_learns(spec: Spec, model: DeMoE) -> DeMoE:
    """``model`` with what ``spec`` says of its training: the frozen parts, and the router's noise."""
    if spec.learns == "decoder":
        stages.freeze(model)
    model.router_noise, model.noise_on = spec.router_noise, spec.noise_on
    return model


def criterion(spec: Spec, terms: Mapping[str, TermFunction] | None = None) -> Criterion:
    """The loss whose terms and weights ``spec`` names; where the router learns, its accuracy is logged.

    By the paper L_pixel + lambda_cl L_class in stage 1, L_pixel in stage 2 and without a router (Sections 3.1, 3.4).

    ``terms`` has those besides "pixel" and "class", by name. Raises ``ValueError`` for one that is in neither.
    """
    known = {"pixel": l1, "class": cross_entropy} | dict(terms or {})
    if unknown := [name for name, _ in spec.loss if name not in known]:
        raise ValueError(f"{spec.name}: the loss has no term {unknown[0]!r}: known are {', '.join(known)}")
    logged = [Term("accuracy", accuracy, 0)] if "class" in dict(spec.loss) else []
    return Criterion([Term(name, known[name], weight) for name, weight in spec.loss] + logged)


def _train(
    spec: Spec,
    setting: Setting,
    folder: Path,
    deadline: float | None,
    pairs: PairedSet | None,
    terms: Mapping[str, TermFunction] | None,
) -> None:
    if distributed.agree(deadline is not None and time.monotonic() >= deadline):  # making the data may take longer
        raise TimeUp(spec, state.step_of(folder / STATE) or 0)
    model = initial_network(spec, setting, deadline, terms)
    source = (
        [pairs]
        if pairs is not None
        else aio_blur.training_data(replace(setting, seed=spec.seed), spec.patch, spec.sets)
    )
    batches = source if isinstance(source, Fresh) else Batches(source, spec.patch, spec.batch, spec.seed)
    config = spec.configuration()
    mark = provenance.full(provenance.stamp(setting.profile.name, config["data"], spec.seed, spec.hash))
    mark["hardware"] = _hardware(folder, mark["hardware"])
    wished = dict(spec.recipe)["precision"]
    mark["precision"] = computed_in(wished or None, torch.device(default_device()), spec.steps)
    mark["fused_block"] = default_device() == "cpu" and fused_block.operations() is not None
    if setting.progress and wished not in ("", mark["precision"]):
        print(f"{spec.label}: in {mark['precision']}, because {wished} would take longer here")
    if distributed.rank() == 0:
        write_text(folder / "config.json", json.dumps({"config": config, "provenance": mark}, indent=2) + "\n")
    try:
        train(
            model,
            batches,
            criterion(spec, terms),
            folder,
            steps=spec.steps,
            seed=spec.seed,
            device=default_device(),
            workers=workers_for(batches),
            checkpoint_every=setting.profile.checkpoint_every,
            deadline=deadline,
            label=spec.label,
            progress=setting.progress,
            **{name: value for name, value in spec.recipe if name != "threads"},
        )
    except OutOfTime as error:
        raise TimeUp(spec, error.step) from None
    if distributed.rank() == 0:
        checkpoints.save(model, folder / WEIGHTS, {**mark, "training": config})
    distributed.wait()


def _hardware(folder: Path, here: str) -> str:
    """This machine's, after those on which what is continued here was trained so far: "NVIDIA L4; 8 x NVIDIA H200"."""
    if distributed.world() > 1 and torch.cuda.is_available():
        here = f"{distributed.world()} x {here}"
    if not state.is_whole(folder / STATE):  # none, or one that training will set aside to start from the beginning
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
