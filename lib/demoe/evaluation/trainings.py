"""Several trainings of several networks: what differs by more than noise, and whether an order is the paper's.

Two kinds of noise are kept apart: other pictures (a bootstrap over scenes) and another training (the spread over
seeds, which one training says nothing about).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from . import statistics

SMALLEST = 0.005  # dB; what no published digit would show counts as no difference
EXACT = 8  # rows up to which all permutations are looked at (8! = 40 320)


def averages(scores: pd.DataFrame) -> pd.DataFrame:
    """The average over the sets of every training. Columns: training, method, and one a metric.

    ``scores`` are ``benchmark.score``'s with a column ``training``, the seed. NaN where a set has no value.
    """
    metrics = statistics.metric_columns(scores)
    means = scores.groupby(["training", "method", "set"], sort=False)[metrics].mean()
    by = means.groupby(["training", "method"], sort=False)
    return by.agg(lambda values: values.mean(skipna=False)).reset_index()


def compare(
    scores: pd.DataFrame, references: dict[str, str], seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> pd.DataFrame:
    """Every method beside its reference, PSNR averaged over the sets as in the paper's tables.

    ``references`` gives each method's, which may be itself. Columns: method, reference, trainings, a column a metric
    (means over trainings), spread (standard deviation of the PSNR over trainings; NaN for one), difference (dB), low
    and high (its interval over pictures, the trainings at hand given), low_trainings and high_trainings (Student's
    interval over trainings, paired by seed; NaN for one), sign: +1 or -1 where every interval there is has the
    difference on that side of zero and it is ``SMALLEST`` at least, else 0. Raises ``ValueError`` for a method or
    reference without scores, or where the two have not the same trainings.
    """
    overall = averages(scores)
    psnr = overall.pivot(index="training", columns="method", values="psnr")
    images = scores.groupby(["set", "image", "method"], sort=False)["psnr"].mean().reset_index()  # over trainings
    rows = []
    for method, reference in references.items():
        for name in (method, reference):
            if name not in psnr:
                raise ValueError(f"there are no scores of {name!r}: choose from {', '.join(psnr.columns)}")
        if not psnr[method].notna().equals(psnr[reference].notna()):
            raise ValueError(f"{method!r} and {reference!r} have not the same seeds: train what is missing")
        own = psnr[method].dropna()
        row = {"method": method, "reference": reference, "trainings": len(own)}
        row |= overall[overall.method == method][statistics.metric_columns(scores)].mean(skipna=False).to_dict()
        row["spread"] = own.std(ddof=1) if len(own) > 1 else math.nan
        gaps = (psnr[method] - psnr[reference]).dropna().to_numpy()
        row |= {"difference": gaps.mean(), "low": math.nan, "high": math.nan}
        if method != reference:
            found = statistics.difference(images, method, reference, seed, resamples, level)
            average = found[found["set"] == "Average"].iloc[0]
            row |= {"low": average["low"], "high": average["high"]}
        row["low_trainings"], row["high_trainings"] = _student(gaps, level) if method != reference else (math.nan,) * 2
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(sign=[_sign(row) for row in table.itertuples()])


def _student(gaps: np.ndarray, level: float) -> tuple[float, float]:
    if len(gaps) < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + level) / 2, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps))
    return float(gaps.mean() - half), float(gaps.mean() + half)


def _sign(row) -> int:
    """Without an interval over pictures nothing can be told."""
    lows = [value for value in (row.low, row.low_trainings) if not math.isnan(value)]
    highs = [value for value in (row.high, row.high_trainings) if not math.isnan(value)]
    if math.isnan(row.low) or abs(row.difference) < SMALLEST:
        return 0
    return 1 if min(lows) > 0 else -1 if max(highs) < 0 else 0


def experts_in_use(weights: np.ndarray, noise: float = 0.0, seed: int = 0, draws: int = 20) -> float:
    """How many experts a router mixes: exp of the entropy of its softmax (M, N), 1 to N, the mean over the pictures.

    ``noise`` is the standard deviation of Gaussian noise on the logits, averaged over ``draws``.
    """
    logits = np.log(np.clip(weights, 1e-12, None))
    rng = np.random.default_rng(seed)
    logits = logits + noise * rng.standard_normal((draws if noise else 1, *logits.shape))  # (draws, M, N)
    mixed = np.exp(logits - logits.max(-1, keepdims=True))
    mixed /= mixed.sum(-1, keepdims=True)
    return float(np.exp(-(mixed * np.log(np.clip(mixed, 1e-12, None))).sum(-1)).mean())


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
    a, b = a - a.mean(), b - b.mean()
    exact = len(a) <= EXACT
    if exact:
        orders = b[np.array(list(itertools.permutations(range(len(b)))))]  # (n!, n)
    else:
        rng = np.random.default_rng(seed)
        orders = rng.permuted(np.tile(b, (draws, 1)), axis=1)  # (draws, n)
    reached = orders @ a >= a @ b - 1e-9
    p = reached.mean() if exact else (1 + reached.sum()) / (1 + draws)
    return Order(float(a @ b / math.sqrt((a @ a) * (b @ b))), float(p), len(a), exact)
