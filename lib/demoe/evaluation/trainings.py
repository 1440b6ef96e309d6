"""Networks that were trained several times, and rows that the paper ranks: what is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from . import statistics

EXACT = 8  # rows up to which ``order`` looks at all permutations (8! = 40 320)


def compare_trainings(
    scores: pd.DataFrame, references: dict[str, str], seed: int = 0, metric: str = "psnr"
) -> pd.DataFrame:
    """Every method beside its reference, ``metric`` averaged over the sets as in the paper's tables.

    ``scores`` are ``benchmark.score``'s with a column ``training``, the seed. ``references`` gives each method's
    reference, which may be itself. Columns: method, reference, trainings, a column a metric (means over trainings, NaN
    where a set has no value), spread (standard deviation of it over trainings; NaN for one), difference (its), low
    and high (its interval over scenes, the trainings at hand given), scenes, low_trainings and high_trainings
    (Student's interval over trainings, paired by seed; NaN for one), verdict and reason (``judge``'s word and why).
    Raises ``ValueError`` for a method or reference without scores, or where the two were not trained from the same
    seeds.
    """
    parts = scores.groupby("training", sort=False)
    tables = [statistics.summarise(part).assign(training=training) for training, part in parts]
    overall = pd.concat(tables).query("set == 'Average'").set_index("training")
    images = scores.groupby(["set", "image", "method"], sort=False)[metric].mean().reset_index()  # over trainings
    rows = []
    for method, reference in references.items():
        own, other = (
            statistics.rows_of(overall, name)[statistics.metric_columns(scores)] for name in (method, reference)
        )
        if not own[metric].notna().equals(other[metric].notna()):
            raise ValueError(
                f"{method!r} and {reference!r} were not trained from the same seeds: train what is missing"
            )
        gaps = (own[metric] - other[metric]).dropna().to_numpy()
        interval = {"low": math.nan, "high": math.nan, "scenes": 0}
        over_trainings = (math.nan, math.nan)
        if method != reference:
            found = statistics.difference(images, method, reference, seed)
            interval = found.loc[found["set"] == statistics.AVERAGE, list(interval)].to_dict("records")[0]
            if len(gaps) > 1:
                over_trainings = stats.ttest_1samp(gaps, 0).confidence_interval(statistics.LEVEL)
        interval |= dict(zip(("low_trainings", "high_trainings"), over_trainings, strict=True))
        row = {"method": method, "reference": reference, "trainings": int(own[metric].notna().sum())}
        row |= own.mean(skipna=False).to_dict() | {"spread": own[metric].std(), "difference": gaps.mean(), **interval}
        verdict = statistics.judge(row["difference"], trainings=row["trainings"], metric=metric, **interval)
        rows.append(row | {"verdict": verdict.word, "reason": verdict.reason})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Order:
    """How far two lists of numbers rank the same rows alike."""

    rho: float  # Spearman's rank correlation, NaN for fewer than two rows or where all are equal
    p: float  # share of all orders that agree at least as well: one-sided
    rows: int
    exact: bool  # whether all orders were looked at


def order(published: Sequence[float], ours: Sequence[float], seed: int = 0, draws: int = 20_000) -> Order:
    """Spearman's rho with its permutation p: of all orders of ours, how many agree with the published at least as well.

    Exact up to ``EXACT`` rows (four rows in perfect order have p = 1/24), otherwise from ``draws`` random orders.
    """
    a, b = stats.rankdata(published), stats.rankdata(ours)
    if len(a) != len(b):
        raise ValueError(f"two orders of the same rows are needed, got {len(a)} and {len(b)}")
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Order(math.nan, math.nan, len(a), True)
    exact = len(a) <= EXACT
    found = stats.permutation_test(
        (b,),
        lambda ranks, axis: (a * ranks).sum(axis),  # grows with rho, and of halves it is exact: ties stay ties
        permutation_type="pairings",
        alternative="greater",
        n_resamples=math.factorial(EXACT) if exact else draws,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return Order(float(stats.pearsonr(a, b).statistic), float(found.pvalue), len(a), exact)
