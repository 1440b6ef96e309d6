"""Notebook 12's networks: trained, scored on three sets and on known lengths of motion, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from torch import nn

from demoe.core import provenance
from demoe.data import aio_blur
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.evaluation import benchmark, comparison, statistics
from demoe.evaluation.methods import Method, blurred_input, network
from demoe.experiments import Run, Spec

from . import experiments as guests
from . import features, prior_claims, prior_report, prior_study, weight_files
from .prior_report import EXPERIMENTS, NET0, NET6, NETWORKS, RANDOM, SP, WIDE

LARGE = ("MPRNet, stage 1", "MIMO-UNet+", "MSSNet", "DeepDeblur")  # which short profiles leave out
AGAINST = {NET6: NET0, RANDOM: NET0, WIDE: NET0}  # what is compared on known lengths of motion
MEASURED = ("psnr", "ssim", "lpips_vgg")


class Trained(NamedTuple):
    """``wanted``: the experiments by label; ``runs``: those that are trained; ``absent``: why not, by experiment."""

    wanted: dict[str, Spec]
    runs: dict[str, Run]
    absent: dict[str, str]

    @property
    def models(self) -> dict[str, nn.Module]:
        return {label: run.model for label, run in self.runs.items()}

    @property
    def methods(self) -> dict[str, Method]:
        """The input, then every network."""
        return {"input": blurred_input} | {label: network(model) for label, model in self.models.items()}

    @property
    def hashes(self) -> dict[str, str]:
        return {label: run.hash for label, run in self.runs.items()}

    def mark(self, sets: Sequence[PairedSet], profile: str, seed: int) -> provenance.Stamp:
        """The stamp of scores on ``sets``."""
        return provenance.stamp(profile, aio_blur.kind(sets), seed, provenance.config_hash(self.hashes))

    def missing(self) -> pd.DataFrame:
        """Which rows are not trained, and why. Columns: method, missing."""
        rows = [
            (label, self.absent[spec.name].split(" is not in ")[0] + " is not here")
            for label, spec in self.wanted.items()
            if spec.name in self.absent
        ]
        return pd.DataFrame(rows, columns=["method", "missing"])


def trained(setting: Setting, left_out: Sequence[str] = ()) -> Trained:
    """The experiments of ``prior_report.rows`` but those ``left_out``, with the prior and without, trained if need."""
    rows = prior_report.rows(setting).items()
    wanted = {label: spec for label, spec in rows if label.removesuffix(SP) not in left_out}
    runs, absent = guests.obtain_all(list({spec.name: spec for spec in wanted.values()}.values()), setting)
    found = {label: runs[spec.name] for label, spec in wanted.items() if spec.name in runs}
    return Trained(wanted, found, absent)


def sets_scored(setting: Setting) -> list[PairedSet]:
    """GoPro's and RealBlur's test pictures or their stand-ins, and HIDE's where real sets are here."""
    names = ("GoPro", "RealBlur", "HIDE") if setting.roots else ("GoPro", "RealBlur")
    return [aio_blur.one_set(name, setting, "test") for name in names]


def scored(
    found: Trained, sets: Sequence[PairedSet], mark: provenance.Stamp, device: str = "cpu", progress: bool = True
) -> pd.DataFrame:
    """``benchmark.run`` of every network, with the distance in a ViT that is in no loss where its weights are here."""
    try:
        further = {"vit_distance": prior_study.vit_distance(features.offline_vit())}
    except weight_files.WeightsMissing:
        further = {}
    more = {"measured": MEASURED, "further": further}
    return benchmark.run("prior", sets, found.methods, _made_by(found), mark, device, progress, **more)[0]


def _made_by(found: Trained) -> dict[str, str]:
    return found.hashes | {"code": provenance.code_hash("related")}


class Severe(NamedTuple):
    """Scores by length of motion (``prior_study.by_strength``), their differences, and the stamp of both."""

    scores: pd.DataFrame
    ranges: pd.DataFrame
    mark: provenance.Stamp


def severe(found: Trained, setting: Setting, seed: int = 0, device: str = "cpu") -> Severe:
    """``AGAINST``'s networks on ``prior_study.severe``, and what they gain over Net0, and Net0 over its input."""
    sets = prior_study.severe(setting)
    methods = {label: found.methods[label] for label in ("input", NET0, *AGAINST)}
    mark = found.mark(sets, setting.profile.name, seed)
    scores, _ = benchmark.run("prior-severe", sets, methods, _made_by(found), mark, device, setting.progress)
    scores = prior_study.by_strength(scores, sets)
    ranges = statistics.differences(scores, [(NET0, "input"), *AGAINST.items()], seed)
    return Severe(scores, ranges, mark)


def runtimes(found: Trained, side: int, repeats: int) -> pd.DataFrame:
    """``comparison.runtimes`` of the networks that have rows with and without the prior."""
    timed = (NET0, NET6, *NETWORKS, *(label + SP for label in NETWORKS))
    models = {label: model for label, model in found.models.items() if label in timed}
    return comparison.runtimes(models, side, repeats)


def published_costs() -> pd.DataFrame:
    """``prior_study.costs`` of all networks at their published size, without the prior and with it."""
    paper = prior_report.rows(Setting.of("paper"))
    shown = [label + sp for label in EXPERIMENTS.values() for sp in ("", SP)]
    specs = {"UNet": paper[NET0], "UNet" + SP: paper[NET6]} | {label: paper[label] for label in shown}
    return prior_study.costs(specs)


def unsteadiness(found: Trained) -> float:
    """How much further the losses of Net0*'s training leap than those of Net6's (``prior_claims.unsteady``)."""
    bare, steered = (prior_claims.unsteady(found.runs[label].metrics) for label in ("Net0*", NET6))
    return bare / steered
