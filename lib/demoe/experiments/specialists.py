"""The networks of notebook 03, each trained on one set alone: those of one start, and two from another start."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from demoe.core.provenance import config_hash
from demoe.core.tasks import PAPER_ORDER
from demoe.data import aio_blur
from demoe.data.setting import Setting
from demoe.evaluation import benchmark, similarity_controls
from demoe.evaluation.methods import blurred_input, network

from .runs import Run, obtain, untrained
from .spec import CONTROL, specs

AGAIN = ("gopro", "dpdd")  # sets that a second network learnt from another start
LITTLE = 0.3  # dB over the input, below which a network has hardly learnt to restore; our choice


class Specialists(NamedTuple):
    """``first``: a network a set in the paper's order and the control last, all from the same weights.

    ``second``: those of ``AGAIN`` from other weights."""

    first: list[Run]
    second: list[Run]

    @property
    def runs(self) -> list[Run]:
        return [*self.first, *self.second]

    @property
    def hash(self) -> str:
        """Changes when any of the trainings does."""
        return config_hash({run.spec.name: run.hash for run in self.runs})


def specialists(setting: Setting) -> Specialists:
    """The networks, trained if need be."""
    known = specs(setting)
    first = [f"specialist-{name.lower()}" for name in (*PAPER_ORDER, CONTROL)]
    second = [f"specialist-{name}-other-start" for name in AGAIN]
    return Specialists(*([obtain(known[name], setting) for name in names] for names in (first, second)))


def restored(found: Specialists, setting: Setting, device: str = "cpu") -> pd.DataFrame:
    """How each network was trained, and its mean PSNR (dB) on the test pictures of its own set, beside the input's.

    Columns: trained on, start, seed, steps, patch, input PSNR, restored PSNR, run.
    """
    rows = []
    for run in found.runs:
        spec, compared = run.spec, {"input": blurred_input, "restored": network(run.model)}
        own = [aio_blur.one_set(spec.dataset, setting, "test")]
        scores = benchmark.score(own, compared, device, progress=False, measured=("psnr",))
        psnr = scores.groupby("method").psnr.mean()
        facts = {"start": spec.init_seed, "seed": spec.seed, "steps": spec.steps, "patch": spec.patch}
        scored = {f"{name} PSNR": psnr[name] for name in compared}
        rows.append({"trained on": run.trained_on} | facts | scored | {"run": run.hash})
    return pd.DataFrame(rows)


def hardly_trained(table: pd.DataFrame) -> list[str]:
    """The sets, of ``restored``'s table, on which a network gains less than ``LITTLE``: its weights say little yet."""
    gain = table["restored PSNR"] - table["input PSNR"]
    return table[gain < LITTLE]["trained on"].unique().tolist()


def study(found: Specialists, seed: int = 0) -> similarity_controls.Study:
    """``similarity_controls.study`` of the networks, the start of the first ones, and the control."""
    first, second = ({run.trained_on: run.model for run in runs} for runs in found)
    start = untrained(found.first[0].model.config, seed)
    return similarity_controls.study(first, second, start, found.first[-1].trained_on, seed)
