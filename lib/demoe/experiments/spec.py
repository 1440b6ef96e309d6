"""What is trained, as data: an experiment is a ``Spec``. To add an ablation is to add a table to ``ablations.toml``.

Two lengths: ``baseline`` and ``demoe`` are the profile's long trainings; variants, ablations and comparators learn for
``ablation_steps`` from crops of ``ablation_patch`` pixels. A variant of DeMoE differs from ``ablation-demoe`` in what
its row says and in nothing else: where the shared part is the same network, both start from ``baseline``, whose router
and encoder have learnt for long; where it is another, from a stage 1 of its own, short as the variants are, and then it
is compared with ``ablation-short-start``.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from demoe.core import provenance
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.data.setting import Setting
from demoe.models import comparators
from demoe.models.demoe import DeMoEConfig
from demoe.models.moe import NoiseOn
from demoe.models.nafnet import NAFNetConfig

from . import packaged

CONTROL = "LOLv2-real"  # of Figure 8: pictures that are dark and not blurred
SPECIALISTS = (*DATASETS, CONTROL)  # the sets that a network of its own is trained on
OTHER_START = ("GoPro", "DPDD")  # trained a second time, from other random weights
COMPARATORS = tuple(comparators.NETWORKS)  # in the order of Table 1
OPTIONAL = {"Restormer": "spandrel_extra_arches", "FFTFormer": "spandrel"}  # whose code is in a package of an extra
PIXEL = (("pixel", 1.0),)  # L1 alone

# Tables of the paper whose rows are ablations, and their names in ``core.paper.published``.
FIGURE_6, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7 = "Figure 6 right", "Table 5 left", "Table 5 right", "Table 7"
START = "start of the experts"  # not in the paper
PUBLISHED = {
    FIGURE_6: "figure6_training_ablation",
    TABLE_5_LEFT: "table5_fusion_ablation",
    TABLE_5_RIGHT: "table5_baseline_ablation",
    TABLE_7: "table7_experts",
}

# Of a profile, what the steps of a training depend on; all but ``threads`` are arguments of ``training.loop.train``.
RECIPE = (
    "learning_rate",
    "min_learning_rate",
    "weight_decay",
    "precision",
    "accumulate",
    "checkpointing",
    "average",
    "threads",
)
_TABLES = tomllib.loads(Path(__file__).with_name("ablations.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Row:
    """A row of a table that an experiment stands for: ``method`` is its name in ``published()``, "" where there is
    none."""

    table: str
    label: str
    method: str = ""


@dataclass(frozen=True)
class Spec:
    """One training. All that its weights depend on, as plain data, and what people are told about it."""

    name: str
    network: Any  # the configuration of a network: NAFNetConfig, DeMoEConfig, a comparator's or a guest's
    sets: tuple[str, ...]  # what it learns from, by names of datasets
    patch: int  # training crop, pixels
    batch: int  # crops a step
    steps: int
    seed: int  # of the synthetic data, their order, the crops and dropout
    init_seed: int  # of the weights at the start; experts take the next one
    loss: tuple[tuple[str, float], ...]  # its terms and their weights: "pixel" is L1, "class" cross-entropy
    recipe: tuple[tuple[str, Any], ...]  # numbers of the optimisation, ``RECIPE``
    data: tuple[tuple[str, Any], ...]  # "real" or "synthetic", and where the pictures come from
    code: str  # the hash of all code that trained weights depend on
    starts_from: Spec | None = None  # whose trained weights it takes over; None: random ones
    experts: Literal["random", "pretrained"] = "random"  # how they start (``stages.demoe_from_baseline``)
    learns: Literal["all", "decoder"] = "all"  # "decoder": encoder and router are frozen
    router_noise: float = 0.0  # on what the router gates with while training
    noise_on: NoiseOn = "logits"  # or "weights"
    packaged: str = ""  # the file of the package that it is; "": it is trained
    guest: type[nn.Module] | None = None  # a class of ``related``, whose arguments are the fields of ``network``
    about: str = field(default="", compare=False)  # a sentence for people
    rows: tuple[Row, ...] = field(default=(), compare=False)  # of ablations

    def configuration(self) -> dict:
        """What is kept beside the weights; its hash tells trainings apart. What it starts from is in it."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.compare}
        guest = plain.pop("guest")
        config = {"experiment": plain.pop("name"), "dataset": self.dataset, **dict(self.recipe), **dict(self.data)}
        config |= {key: value for key, value in plain.items() if key not in ("recipe", "data", "sets")}
        start = self.starts_from.configuration() if self.starts_from else None
        config |= {"guest": guest.__name__} if guest else {}
        return config | {"network": asdict(self.network), "loss": dict(self.loss), "starts_from": start}

    @property
    def hash(self) -> str:
        """Eight digits that change with anything that the weights depend on."""
        return provenance.config_hash(self.configuration())

    @property
    def dataset(self) -> str:
        """ "AIO-Blur", or the one set that it learns from."""
        return "AIO-Blur" if self.sets == DATASETS else self.sets[0]

    @property
    def label(self) -> str:
        """ "demoe", or "demoe (seed 1)"."""
        return f"{self.name} (seed {self.seed})" if self.seed else self.name

    @property
    def is_ablation(self) -> bool:
        """Whether it is one of those that are trained from several seeds (``Profile.ablation_seeds``)."""
        return self.name.startswith(("variant-", "ablation-"))

    def folder(self, setting: Setting) -> Path:
        """``results/<profile>/runs/<name>-s<seed>-<hash>``: where its run lies, or will lie."""
        return provenance.run_folder(setting.profile.name, self.name, self.seed, self.configuration())


def specs(setting: Setting) -> dict[str, Spec]:
    """Every experiment of a profile and seed, by name. Nothing is trained, loaded or looked for."""
    profile = setting.profile
    plain = _baseline(setting)
    baseline = packaged.instead(plain, setting)
    demoe = replace(
        plain,
        name="demoe",
        network=DeMoEConfig(width=profile.width),
        starts_from=baseline,
        learns="decoder",
        loss=PIXEL,
        patch=profile.stage2_patch,
        steps=profile.stage2_steps,
        about="Stage 2 (Section 3.4): experts and decoder on the frozen encoder and router of the baseline, L1.",
    )
    demoe = _at_rate(demoe, profile.stage2_rate)
    longer = replace(
        demoe,
        name="baseline-longer",
        network=replace(plain.network, router=False),
        learns="all",
        about="The baseline, trained on for as long as stage 2, on the same crops: the control that Table 1 lacks.",
    )
    random = replace(plain, starts_from=None)  # what a profile starts warm is its first stage alone
    short = _at_rate(replace(random, steps=profile.ablation_steps, patch=profile.ablation_patch), profile.ablation_rate)
    variants = {spec.name: spec for spec in _variants(short)}
    tuned = replace(random, steps=profile.specialist_steps, patch=profile.specialist_patch, loss=PIXEL)
    first = baseline if setting.start_seed in (None, setting.seed) else _first(setting)
    every = (
        baseline,
        packaged.instead(demoe, setting),
        longer,
        *variants.values(),
        *_ablations(short, first, variants),
        *_comparators(short, profile.width),
        *_task_specific(tuned, baseline),
        *_specialists(_at_rate(tuned, profile.specialist_rate)),
    )
    return {spec.name: spec for spec in every}


def _baseline(setting: Setting) -> Spec:
    profile, seed = setting.profile, setting.seed
    spec = Spec(
        "baseline",
        NAFNetConfig(width=profile.width, router=True),
        DATASETS,
        profile.patch,
        profile.batch,
        profile.stage1_steps,
        seed,
        seed,
        (*PIXEL, ("class", profile.class_weight)),
        tuple((name, getattr(profile, name)) for name in RECIPE),
        data_of(setting),
        code(bool(setting.roots)),
        about="Stage 1 (Section 3.4): NAFNet and router on the five sets, L1 and cross-entropy.",
    )
    return replace(spec, starts_from=packaged.start(spec, profile.warm_start)) if profile.warm_start else spec


def _first(setting: Setting) -> Spec:
    """The baseline that the ablations of all seeds start from."""
    one = replace(setting, seed=setting.start_seed, start_seed=None)
    return packaged.instead(_baseline(one), one)


def _at_rate(spec: Spec, rate: float) -> Spec:
    return replace(spec, recipe=tuple((dict(spec.recipe) | {"learning_rate": rate}).items()))


def _variants(short: Spec) -> Iterator[Spec]:
    """Variants of the baseline, those of ``ablations.toml``."""
    for name, given in _TABLES["variant"].items():
        network = replace(short.network, width=given.get("widths", 1) * short.network.width, **_changes(given))
        loss = (*PIXEL, ("class", given["class_weight"])) if "class_weight" in given else short.loss
        about = f"A short training of the baseline: {given['about']}."
        yield replace(short, name=f"variant-{name}", about=about, network=network, loss=loss, rows=_rows(given))


def _ablations(short: Spec, first: Spec, variants: dict[str, Spec]) -> Iterator[Spec]:
    """Variants of DeMoE, those of ``ablations.toml``: second stages as long as ``short``, on ``first`` or a variant."""
    for name, given in _TABLES["ablation"].items():
        start = variants[f"variant-{given['stage1']}"] if "stage1" in given else first
        config = DeMoEConfig(width=start.network.width, **_changes(given))
        changes = {"starts_from": start, "learns": "decoder", "loss": PIXEL} | given.get("training", {})
        if given.get("from_scratch"):
            # There are no stages: as many steps as the others have in both, with the losses of stage 1 (the paper
            # states neither its length nor its losses).
            changes = {"starts_from": None, "steps": first.steps + short.steps, "loss": short.loss, "learns": "all"}
        about = f"A short training of DeMoE: {given['about']}."
        yield replace(short, name=f"ablation-{name}", network=config, about=about, rows=_rows(given), **changes)


def _changes(given: dict) -> dict:
    """The fields of its network, whose lists are tuples in a configuration: it is a key of dictionaries."""
    fields = given.get("network", {}).items()
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields}


def _rows(given: dict) -> tuple[Row, ...]:
    return tuple(Row(*row) for row in given.get("rows", ()))


def _comparators(short: Spec, width: int) -> Iterator[Spec]:
    """The networks of Table 1 by the baseline's recipe: data, crops, batches and optimiser are those of the variants.

    L1 alone, because they have no router; all start as the identity, as the baseline does. How the paper trained them
    beyond "on the AIO-Blur dataset" is not stated.
    """
    for name in COMPARATORS:
        network = comparators.at_width(name, width)
        about = f"{name} on AIO-Blur, as long as the variants of the baseline."
        yield replace(short, name=f"comparator-{name.lower()}", network=network, loss=PIXEL, about=about)


def _task_specific(alone: Spec, baseline: Spec) -> Iterator[Spec]:
    """DeMoE* of Table 3: the all-in-one baseline, fine-tuned on one of AIO-Blur's training sets alone, L1.

    The paper: "a single expert in the decoder", "fine-tune in each specific dataset", "equivalent to fine-tuned NAFNet"
    (Section 4.3). A DeMoE with one expert a level is the baseline with its third block in the expert's place, and five
    of them make 50.4 M = 5 x 10.08 M (Section 5), each with an encoder of its own and without router. So all weights
    but the router's, which is left out, are trained on. Length and learning rate are not stated; our choice.
    """
    network = replace(baseline.network, router=False)
    for dataset in DATASETS:
        about = f"DeMoE* for {dataset} (Table 3): the baseline, fine-tuned on it alone."
        name = f"task-specific-{dataset.lower()}"
        yield replace(alone, name=name, network=network, sets=(dataset,), starts_from=baseline, about=about)


def _specialists(alone: Spec) -> Iterator[Spec]:
    """Task-specific networks from scratch (Section 3.1): the NAFNet of stage 1 without router, one set, L1.

    All start from the same random weights; whether the paper's did is not stated. Some are trained a second time from
    others, on the same data in the same order.
    """
    for dataset in SPECIALISTS:
        yield specialist(alone, dataset, f"A NAFNet trained on {dataset} alone.")
    for dataset in OTHER_START:
        again = specialist(alone, dataset, f"A NAFNet trained on {dataset} alone, from other random weights.")
        yield replace(again, name=f"{again.name}-other-start", init_seed=alone.init_seed + 1)


def specialist(alone: Spec, dataset: str, about: str) -> Spec:
    """A NAFNet without router for the set called ``dataset``, else as ``alone``."""
    name = "specialist-" + re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-")
    return replace(alone, name=name, network=replace(alone.network, router=False), sets=(dataset,), about=about)


def data_of(setting: Setting) -> tuple[tuple[str, Any], ...]:
    """What a setting's pictures are, and where they come from.

    Of folders only a hash is kept: no path of a machine goes into weights that may be given away.
    """
    roots, profile = setting.roots, setting.profile
    if roots:
        places = {name: str(folder.resolve()) for name, folder in {"": roots.folder, **roots.named}.items() if folder}
        chosen = {"places": places, "variants": dict(roots.variants), "bits": roots.bits}
        return ("data", "synthetic" if roots.synthetic else "real"), ("source", provenance.config_hash(chosen))
    sharp = roots.sharp_images
    return (
        ("data", "synthetic"),
        ("source", aio_blur.sharp_photographs(sharp).identity if sharp else "bundled"),
        ("train_images", profile.train_images),
        ("image_size", profile.image_size),
        ("fresh", profile.fresh),
        ("capture", profile.capture),
    )


def not_installed() -> dict[str, str]:
    """Which of ``COMPARATORS`` cannot be had here, and why: those whose optional package is not installed."""
    return {
        name: comparators.NOT_INSTALLED
        for name, package in OPTIONAL.items()
        if importlib.util.find_spec(package) is None
    }


def code(real: bool = False) -> str:
    """The hash of all code that trained weights depend on; ``real``: with that which reads real datasets.

    The numbers of the profiles are not in it: a ``Spec`` holds those of its own, and another profile's change nothing.
    """
    rooms = ("core", "models", "training", "data", "blur", *(("data/real",) if real else ()))
    return provenance.code_hash(*rooms, but="core/profiles.toml")
