"""Ablations: variants of the networks and of their training (Tables 5 and 7, Figures 6 right and 13).

All are trained for ``profile.ablation_steps`` a stage at ``profile.ablation_patch``, so that they compare with each
other, not with the longer trainings of ``two_stages``. A variant of DeMoE differs from ``ablation-demoe`` in what its
entry says and in nothing else: where the shared part is the same network, it starts from the same stage 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import pandas as pd
import torch

from demoe.core import provenance
from demoe.core.profiles import Profile
from demoe.data import aio_blur
from demoe.data.pairs import PairedSet
from demoe.evaluation import benchmark, methods
from demoe.evaluation.methods import Method
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNetConfig
from demoe.models.outputs import experts_of
from demoe.training import stages
from demoe.training.losses import pixel_and_class_loss, pixel_loss

from .runs import Experiment, Run, configuration, default_device, train_or_load
from .two_stages import untrained

ROUTER_NOISE = 1.0  # standard deviation on the logits; not stated in the paper, ours is that of Shazeer et al. (2017)

INPUT = "input"  # the method that returns the blurred picture
ROUTER, BY_HAND = "router", "by hand"  # who chooses the one expert: the router as in the paper, or the set's blur
CHOICES = (ROUTER, BY_HAND)
_BY_HAND = ", by hand"


@dataclass(frozen=True)
class Variant:
    """What a variant of the baseline changes."""

    network: dict = field(default_factory=dict)  # fields of ``NAFNetConfig``
    width: int = 1  # times the profile's
    class_weight: float | None = None  # of the classification loss; None: the profile's


VARIANTS = {
    "class-loss": Variant(),  # the baseline itself, but for the length
    "no-class-loss": Variant(class_weight=0.0),
    "original": Variant({"encoder_blocks": (1, 1, 1, 28)}),  # Table 5: NAFNet's own depths, three a decoder level
    "wide": Variant(width=2),  # stage 1 of Table 5's "width 64", where the paper's width is 32
    "more-middle": Variant({"middle_blocks": 13}),  # stage 1 of "more middle NAFBlocks": ten more
}


@dataclass(frozen=True)
class Ablation:
    """What a variant of DeMoE changes; each field's default is the reference's."""

    about: str
    stage1: str = "class-loss"  # the variant of the baseline that it is made from
    from_scratch: bool = False  # from that variant's weights before its training; one training as long as both stages
    learns_all: bool = False  # encoder and router learn as well
    router_noise: float = 0.0  # on the router's logits while training
    experts: str = "random"  # how they start, ``stages.demoe_from_baseline``
    network: dict = field(default_factory=dict)  # fields of ``DeMoEConfig``


ABLATIONS = {
    "demoe": Ablation("the reference: experts and decoder learn"),
    "from-scratch": Ablation("one training of everything, both losses", from_scratch=True, learns_all=True),
    "router-noise": Ablation("noise on the router's logits while training", router_noise=ROUTER_NOISE),
    "finetune-all": Ablation("encoder and router learn as well", learns_all=True),
    "pretrained-experts": Ablation("experts start as the baseline's blocks", experts="pretrained"),
    "residual": Ablation("residual fusion, Equation 7", network={"fusion": "residual"}),
    "attention": Ablation("attention fusion, Equation 8", network={"fusion": "attention"}),
    "wide": Ablation("twice the width", stage1="wide"),
    "more-middle": Ablation("ten more middle NAFBlocks", stage1="more-middle", network={"middle_blocks": 12}),
    "more-moe": Ablation("two MoEBlocks a level", network={"moe_per_level": 2}),
    "darkir": Ablation("experts are DarkIR blocks", network={"expert": "darkir"}),
    "wavelet": Ablation("experts are wavelet blocks", network={"expert": "wavelet"}),
    "restormer": Ablation("experts are Restormer blocks", network={"expert": "restormer"}),
    "plk": Ablation("experts are PLK blocks", network={"expert": "plk"}),
}


def variant_network(profile: Profile, name: str) -> NAFNetConfig:
    """The network of a variant of the baseline. Raises ``ValueError`` for an unknown name."""
    if name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}: choose one of {', '.join(VARIANTS)}")
    chosen = VARIANTS[name]
    return NAFNetConfig(width=profile.width * chosen.width, router=True, **chosen.network)


def ablation_network(profile: Profile, name: str) -> DeMoEConfig:
    """The network of a variant of DeMoE. Raises ``ValueError`` for an unknown name."""
    if name not in ABLATIONS:
        raise ValueError(f"unknown ablation {name!r}: choose one of {', '.join(ABLATIONS)}")
    chosen = ABLATIONS[name]
    return DeMoEConfig(width=variant_network(profile, chosen.stage1).width, **chosen.network)


def variant(profile: Profile, name: str, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True) -> Run:
    """A variant of the baseline (Table 5 right, Figure 13), trained as stage 1 is but for ``ablation_steps``.

    ``name`` is one of ``VARIANTS``. Raises ``ValueError`` for another.
    """
    network = variant_network(profile, name)
    config = _variant_configuration(profile, name, seed, data_root)
    data = partial(aio_blur.training_data, profile, config["patch"], seed, data_root, progress)
    start, loss = partial(untrained, network, seed), pixel_and_class_loss(config["class_weight"])
    return train_or_load(config, profile, start, data, loss, progress, f"baseline, {name}")


def _variant_configuration(profile: Profile, name: str, seed: int, data_root: aio_blur.Where) -> dict:
    network, weight = asdict(variant_network(profile, name)), VARIANTS[name].class_weight
    return configuration(
        f"variant-{name}",
        profile,
        seed,
        data_root,
        network,
        profile.ablation_steps,
        patch=profile.ablation_patch,
        class_weight=profile.class_weight if weight is None else weight,
    )


def ablation(
    profile: Profile, name: str, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True
) -> Run:
    """A variant of DeMoE (Figure 6 right, Tables 5 and 7), trained as stage 2 is but for ``ablation_steps``.

    ``name`` is one of ``ABLATIONS``; its stage 1 is trained first if need be. The one from scratch has no stages: it
    is trained for twice as many steps, as many as the others in both, with the losses of stage 1 (the paper states
    neither its length nor its losses). Raises ``ValueError`` for another name.
    """
    network, chosen = ablation_network(profile, name), ABLATIONS[name]
    first = _variant_configuration(profile, chosen.stage1, seed, data_root)
    config = configuration(
        f"ablation-{name}",
        profile,
        seed,
        data_root,
        asdict(network),
        profile.ablation_steps * (2 if chosen.from_scratch else 1),
        patch=profile.ablation_patch,
        stage1="none" if chosen.from_scratch else provenance.config_hash(first),
        learns_all=chosen.learns_all,
        router_noise=chosen.router_noise,
        start_experts=chosen.experts,
    )
    start = partial(ablation_start, profile, name, seed, data_root, progress)
    data = partial(aio_blur.training_data, profile, config["patch"], seed, data_root, progress)
    loss = pixel_and_class_loss(profile.class_weight) if chosen.from_scratch else pixel_loss
    return train_or_load(config, profile, start, data, loss, progress, f"DeMoE, {name}")


def ablation_start(
    profile: Profile, name: str, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True
) -> DeMoE:
    """The network with which ``ablation`` starts, what does not learn frozen, in evaluation mode."""
    network, chosen = ablation_network(profile, name), ABLATIONS[name]
    if chosen.from_scratch:
        first = untrained(variant_network(profile, chosen.stage1), seed)
    else:
        first = variant(profile, chosen.stage1, seed, data_root, progress).model.cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        model = stages.demoe_from_baseline(first, network, chosen.experts).eval()
    if not chosen.learns_all:
        stages.freeze(model)
    model.router_noise = chosen.router_noise
    return model


def trainings(profile: Profile, seed: int = 0) -> range:
    """The seeds that every ablation is trained from: ``profile.ablation_seeds`` of them, from ``seed`` on."""
    return range(seed, seed + profile.ablation_seeds)


def score(
    names: Sequence[str],
    profile: Profile,
    seed: int,
    data_root: aio_blur.Where,
    sets: Sequence[PairedSet],
    measured: Sequence[str] = ("psnr", "ssim"),
    progress: bool = True,
) -> tuple[pd.DataFrame, str]:
    """The experiments ``names`` (of ``NAMED``) on every picture of ``sets``, from all seeds of ``trainings``.

    Trained first if need be. Each training's scores are a run with a folder of its own (``benchmark.run``): continued
    where it was interrupted, loaded afterwards. Returns a row a picture, network and choice, and the hash of all
    trainings, for a stamp. Columns: those of ``benchmark.score`` with the experiment as method, or "input" for the
    blurred picture; choice, one of ``CHOICES`` (k = 1 both; what has no experts has the same scores in both);
    training, its seed; right, 1 where the router's expert is that of the set's blur, else 0, NaN without experts.
    """
    tables, hashes = [], {}
    for one in trainings(profile, seed):
        compared: dict[str, Method] = {INPUT: methods.blurred_input}
        own, routed = {}, {}
        for name in names:
            run = NAMED[name].run(profile, one, data_root, progress)
            own[name] = run.hash
            compared[name] = methods.network(run.model)
            if experts_of(run.model):
                compared[name + _BY_HAND] = methods.network(run.model, manual=True)
                routed.setdefault(_router_of(name), run.model)
        mark = provenance.stamp(profile.name, aio_blur.kind(sets), one, provenance.config_hash(own))
        scores, _ = benchmark.run("ablations", sets, compared, own, mark, default_device(), progress, measured=measured)
        scores = _by_choice(scores.drop(columns=list(mark.columns())), list(compared))
        tables.append(_with_router(scores, routed, sets).assign(training=one))
        hashes |= {f"{name}-s{one}": found for name, found in own.items()}
    return pd.concat(tables, ignore_index=True), provenance.config_hash(hashes)


def _by_choice(scores: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The methods by hand under the name of their network; what has none is repeated."""
    by_hand = scores.method.str.endswith(_BY_HAND)
    alone = ~by_hand & ~(scores.method + _BY_HAND).isin(methods)
    router, hand = scores[~by_hand].assign(choice=ROUTER), scores[by_hand | alone].assign(choice=BY_HAND)
    hand["method"] = hand.method.str.removesuffix(_BY_HAND)
    return pd.concat([router, hand], ignore_index=True)


def _router_of(name: str) -> str:
    """Networks for which this is the same have the same encoder and router: those of a stage 1 that stays frozen."""
    chosen = ABLATIONS[name.removeprefix("ablation-")]
    return name if chosen.learns_all else chosen.stage1


def _with_router(scores: pd.DataFrame, routed: dict[str, DeMoE], sets: Sequence[PairedSet]) -> pd.DataFrame:
    """With the column ``right``; each different router looks once at every picture."""
    right = {}
    for router, model in routed.items():
        seen = router.router_view(model, sets, default_device()).table
        right |= {(router, row.set, row.image): float(row.correct) for row in seen.itertuples() if row.label}
    keys = [
        (_router_of(row.method) if row.method.startswith("ablation-") else "", row.set, row.image)
        for row in scores.itertuples()
    ]
    return scores.assign(right=[right.get(key, math.nan) for key in keys])


def _variant_experiment(name: str) -> Experiment:
    def run(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True) -> Run:
        return variant(profile, name, seed, data_root, progress)

    run.__doc__ = f"A short training of the baseline: {name}."
    return Experiment(run)


def _ablation_experiment(name: str) -> Experiment:
    def run(profile: Profile, seed: int = 0, data_root: aio_blur.Where = None, progress: bool = True) -> Run:
        return ablation(profile, name, seed, data_root, progress)

    chosen = ABLATIONS[name]
    run.__doc__ = f"A short training of DeMoE: {chosen.about}."
    return Experiment(run, after=() if chosen.from_scratch else (f"variant-{chosen.stage1}",))


NAMED = {
    **{f"variant-{name}": _variant_experiment(name) for name in VARIANTS},
    **{f"ablation-{name}": _ablation_experiment(name) for name in ABLATIONS},
}
