"""The ablations scored: every network on every picture, with the router's expert and with the one chosen by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from demoe.core import provenance
from demoe.data import aio_blur
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.evaluation import benchmark, methods, router
from demoe.evaluation.methods import Method
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.outputs import experts_of

from .runs import default_device, obtain
from .spec import Spec, specs

INPUT = "input"  # the method that returns the blurred picture
ROUTER, BY_HAND = "router", "by hand"  # who chooses the one expert: the router as in the paper, or the set's blur
CHOICES = (ROUTER, BY_HAND)
_BY_HAND = ", by hand"


def score_ablations(
    names: Sequence[str], setting: Setting, sets: Sequence[PairedSet], measured: Sequence[str] = ("psnr", "ssim")
) -> tuple[pd.DataFrame, str]:
    """The experiments ``names`` on every picture of ``sets``, from all of the setting's ``ablation_seeds``.

    Trained first if need be. Each training's scores are a run with a folder of its own (``benchmark.run``): continued
    where it was interrupted, loaded afterwards. Returns a row a picture, network and choice, and the hash of all
    trainings, for a stamp. Columns: those of ``benchmark.score`` with the experiment as method, or "input" for the
    blurred picture; choice, one of ``CHOICES`` (k = 1 both; what has no experts has the same scores in both);
    training, its seed; right, 1 where the router's expert is that of the set's blur, else 0, NaN without experts.
    """
    tables, hashes = [], {}
    for seed in setting.ablation_seeds:
        known = specs(setting.with_seed(seed))
        compared: dict[str, Method] = {INPUT: methods.blurred_input}
        own, routed = {}, {}
        for name in names:
            model = obtain(known[name], setting).model
            own[name] = known[name].hash
            compared[name] = methods.network(model)
            if experts_of(model):
                compared[name + _BY_HAND] = methods.network(model, manual=True)
                routed.setdefault(router_of(known[name]), model)
        mark = provenance.stamp(setting.profile.name, aio_blur.kind(sets), seed, provenance.config_hash(own))
        scores, _ = benchmark.run(
            "ablations", sets, compared, own, mark, default_device(), setting.progress, measured=measured
        )
        scores = _by_choice(scores.drop(columns=list(mark.columns())), list(compared))
        tables.append(_with_router(scores, routed, known, sets).assign(training=seed))
        hashes |= {f"{name}-s{seed}": value for name, value in own.items()}
    return pd.concat(tables, ignore_index=True), provenance.config_hash(hashes)


def _by_choice(scores: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The methods by hand under the name of their network; what has none is repeated."""
    by_hand = scores.method.str.endswith(_BY_HAND)
    alone = ~by_hand & ~(scores.method + _BY_HAND).isin(methods)
    router, hand = scores[~by_hand].assign(choice=ROUTER), scores[by_hand | alone].assign(choice=BY_HAND)
    hand["method"] = hand.method.str.removesuffix(_BY_HAND)
    return pd.concat([router, hand], ignore_index=True)


def router_of(spec: Spec) -> str:
    """Networks for which this is the same have the same encoder and router: those of a stage 1 that stays frozen."""
    return spec.name if spec.learns == "all" else spec.starts_from.name


def _with_router(
    scores: pd.DataFrame, routed: dict[str, DeMoE], known: dict[str, Spec], sets: Sequence[PairedSet]
) -> pd.DataFrame:
    """With the column ``right``; each different router looks once at every picture."""
    right = {}
    for name, model in routed.items():
        seen = router.router_view(model, sets, default_device()).table
        right |= {(name, row.set, row.image): float(row.correct) for row in seen.itertuples() if row.label}
    routers = {name: router_of(spec) for name, spec in known.items() if isinstance(spec.network, DeMoEConfig)}
    keys = [(routers.get(row.method, ""), row.set, row.image) for row in scores.itertuples()]
    return scores.assign(right=[right.get(key, math.nan) for key in keys])
