"""From rows of pictures to tables: means, how far they can be trusted, and when a difference is one (``judge``).

Pictures of one scene resemble each other, so intervals come from a bootstrap over scenes, not over pictures. Where a
network was trained several times, ``trainings`` says what differs by more than another training would.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from demoe.core.tasks import PAPER_ORDER

from .metrics import ELSEWHERE, LABELS

MISSING = "missing"  # what a table shows for NaN
AVERAGE, WITHOUT = "Average", "Average without LOLBlur"  # of the sets' means, in the column "set"
RESAMPLES, LEVEL = 2000, 0.95  # of every bootstrap here, and of every interval
# Smallest difference that counts: half of the last digit that the paper's tables print of the metric (half of the
# hundredth for those not named). What no published digit would show is no difference.
HALF_A_HUNDREDTH = 0.005  # dB for PSNR
SMALLEST = {name: 0.0005 for name in LABELS if name.startswith(("ssim", "lpips", "nrqm", "niqe"))}
SMALLEST |= dict.fromkeys(("mae", *ELSEWHERE), 0.00005)  # of Liang et al., who print four digits, and of ours
# Fewest scenes: of five, all agree by chance alone in 2 of 2^5 cases, more than the 5 % that the intervals allow; of
# six in 2 of 2^6. A bootstrap over fewer draws from too few to know how far scenes differ.
FEWEST_SCENES = 6


def metric_columns(scores: pd.DataFrame) -> list[str]:
    """Those columns that hold a metric, in the order in which they stand."""
    return [column for column in scores.columns if column in LABELS]


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the pictures of each set, and "Average", the mean of the sets' means as in the paper's tables.

    Columns: set, method, a column a metric, images. Sets in the order of Table 1, then others as they come. Pictures
    where a metric is missing are left out of its mean (``intervals`` counts them); an average over sets of which one
    has no value is NaN, because it could not be compared with the others.
    """
    metrics = metric_columns(scores)
    grouped = scores.groupby(["set", "method"], sort=False)
    means = grouped[metrics].mean().assign(images=grouped.size())
    by_method = means.groupby("method", sort=False)
    averages = by_method[metrics].agg(lambda values: values.mean(skipna=False)).assign(images=by_method["images"].sum())
    table = pd.concat([means.reset_index(), averages.reset_index().assign(set=AVERAGE)], ignore_index=True)
    places = {name: place for place, name in enumerate(_order(list(scores["set"].unique())))}
    return table.sort_values("set", key=lambda names: names.map(places), kind="stable", ignore_index=True)


def _order(names: list[str]) -> list[str]:
    known = [f"{name}{suffix}" for name in PAPER_ORDER for suffix in ("", "-syn")]
    return [name for name in known if name in names] + [name for name in names if name not in known] + [AVERAGE]


def scene(dataset: str, key: str) -> str:
    """What a picture was taken of, from its key: pictures of one scene are resampled together.

    A synthetic key names its sharp source ("0003_chelsea"); a real one stands in the folder of its sequence or scene
    ("scene002/7"). A key that names neither is a scene of its own.
    """
    if dataset.endswith("-syn") and (numbered := re.fullmatch(r"\d+_(.+)", key)):
        return numbered[1]
    return key.rpartition("/")[0] or key


def intervals(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The means of ``summarise`` in long form, each with its bootstrap percentile interval.

    Columns: set, method, metric, mean, low, high, images (those with a value), missing (those without), scenes (of the
    average, those of the set that has fewest, which ``judge`` asks for). Scenes are drawn with replacement, in every
    set separately, with the same draws for all methods. ``low`` and ``high`` are NaN for fewer than two scenes; for a
    handful they are too narrow, as any bootstrap's. Same seed, same numbers.
    """
    rows = []
    replicates: dict[tuple[str, str], list[np.ndarray]] = {}  # by method and metric, a set each
    sets = _order(list(scores["set"].unique()))[:-1]
    for name in sets:
        pictures = scores[scores["set"] == name]
        numbers, draws = scene_draws(name, pictures["image"], seed)
        numbers = pd.Series(numbers, index=pictures.index)
        for method, part in pictures.groupby("method", sort=False):
            for metric in metric_columns(scores):
                values = part[metric].dropna()
                means = resampled_means(values.to_numpy(float), numbers[values.index].to_numpy(), draws)
                replicates.setdefault((method, metric), []).append(means)
                scenes = numbers[values.index].nunique()
                counts = len(values), len(part) - len(values), scenes
                rows.append((name, method, metric, values.mean(), *percentiles(means, scenes), *counts))
    columns = ["set", "method", "metric", "mean", "low", "high", "images", "missing", "scenes"]
    table = pd.DataFrame(rows, columns=columns)
    by = {key: part for key, part in table.groupby(["method", "metric"], sort=False)}
    averages = []
    for key, parts in replicates.items():
        of_sets, scenes = by[key], by[key]["scenes"].min()
        ends = percentiles(np.mean(parts, axis=0), scenes if len(parts) == len(sets) else 0)
        counts = of_sets["images"].sum(), of_sets["missing"].sum(), scenes
        averages.append((AVERAGE, *key, of_sets["mean"].mean(skipna=False), *ends, *counts))
    return pd.concat([table, pd.DataFrame(averages, columns=columns)], ignore_index=True)


def scene_draws(dataset: str, keys: Iterable[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap over scenes: the scene's number of each of N pictures (N,), and the scenes drawn with replacement,
    (RESAMPLES, scenes). The same for a set whatever else is compared."""
    numbers = pd.factorize(pd.Series([scene(dataset, key) for key in keys]))[0]
    scenes = numbers.max() + 1
    rng = np.random.default_rng([seed, zlib.crc32(dataset.encode())])
    return numbers, rng.integers(scenes, size=(RESAMPLES, scenes))


def resampled_means(values: np.ndarray, numbers: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The mean over the pictures (N,) of the scenes drawn, (resamples,); NaN where none of them has a value.

    ``numbers`` (N,) and ``draws`` (resamples, scenes) are those of ``scene_draws``.
    """
    scenes = draws.shape[1]
    sums, counts = np.bincount(numbers, values, scenes), np.bincount(numbers, minlength=scenes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[draws].sum(1) / counts[draws].sum(1)


def percentiles(means: np.ndarray, scenes: int) -> tuple[float, float]:
    """The middle ``LEVEL`` of the finite ones of (resamples,) means: low and high. NaN where there are none, and for
    fewer than two ``scenes``."""
    means = means[np.isfinite(means)]
    if scenes < 2 or not len(means):
        return math.nan, math.nan
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def difference(scores: pd.DataFrame, method: str, other: str, seed: int = 0) -> pd.DataFrame:
    """``method`` minus ``other`` on the same pictures: what tells whether one is better.

    Columns: first, second (the two), then those of ``intervals`` but for the method, and changed_scenes: those in which
    a picture differs at all (of the average, those of the set where the means differ most), on which a mean rests.
    Raises ``ValueError`` for a method that is not in ``scores``.
    """
    first, second = (
        rows_of(scores, name).set_index(["set", "image"])[metric_columns(scores)] for name in (method, other)
    )
    paired = first.sub(second).loc[first.index].reset_index().assign(method=method)
    table = intervals(paired, seed).rename(columns={"method": "first"})
    table.insert(1, "second", other)
    table = table[["first", "second", *table.columns.drop(["first", "second"])]]
    return table.assign(changed_scenes=_changed_scenes(paired, table))


def _changed_scenes(paired: pd.DataFrame, table: pd.DataFrame) -> list[int]:
    """For every row of ``difference``'s ``table``, from the differences of the pictures."""
    scenes = pd.Series([scene(*keys) for keys in zip(paired["set"], paired["image"], strict=True)], paired.index)
    counts, means = {}, table.set_index(["set", "metric"])["mean"].abs()
    for metric in table.metric.unique():
        moved = paired[metric].notna() & (paired[metric] != 0)
        of_sets = scenes[moved].groupby(paired.loc[moved, "set"]).nunique()
        of_sets = of_sets.reindex(paired["set"].unique(), fill_value=0)
        most = means.xs(metric, level="metric").reindex(of_sets.index)
        of_sets[AVERAGE] = of_sets[most.idxmax()] if most.notna().any() else 0
        counts |= {(name, metric): int(count) for name, count in of_sets.items()}
    return [counts[key] for key in zip(table["set"], table["metric"], strict=True)]


def without_lolblur(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows (column set) of all sets but LOLBlur, whose brightness can outweigh what the others say about blur."""
    return scores[scores["set"].str.removesuffix("-syn") != "LOLBlur"]


def with_and_without(scores: pd.DataFrame, pairs: Iterable[tuple[str, str]], seed: int = 0) -> pd.DataFrame:
    """``differences``, and of each the average without LOLBlur (set ``WITHOUT``), where there are other sets, too."""
    bright, tables = without_lolblur(scores), []
    for pair in pairs:
        tables.append(difference(scores, *pair, seed))
        if 0 < len(bright) < len(scores):
            rest = difference(bright, *pair, seed)
            tables.append(rest[rest["set"] == AVERAGE].assign(set=WITHOUT))
    return pd.concat(tables, ignore_index=True)


def rows_of(scores: pd.DataFrame, method: str) -> pd.DataFrame:
    """The rows of one method. Raises ``ValueError`` naming the methods where it has none."""
    rows = scores[scores["method"] == method]
    if rows.empty:
        raise ValueError(f"there are no scores of {method!r}: choose from {', '.join(scores['method'].unique())}")
    return rows


def differences(scores: pd.DataFrame, pairs: Iterable[tuple[str, str]], seed: int = 0) -> pd.DataFrame:
    """``difference`` of each of ``pairs``."""
    return pd.concat([difference(scores, *pair, seed) for pair in pairs], ignore_index=True)


@dataclass(frozen=True)
class Verdict:
    """What may be said of a difference: "better", "worse", "no difference" or "undecided", and why, in words."""

    word: str
    reason: str

    @property
    def sign(self) -> int:
        """1 for "better", -1 for "worse", else 0."""
        return {"better": 1, "worse": -1}.get(self.word, 0)

    def __str__(self) -> str:
        return self.word


def judge(
    difference: float,
    low: float,
    high: float,
    scenes: int,
    *,
    metric: str = "psnr",
    trainings: int = 1,
    low_trainings: float = math.nan,
    high_trainings: float = math.nan,
    smallest: float | None = None,
) -> Verdict:
    """Whether a mean ``difference`` (first minus second, in the metric's unit) says that the first is better or worse.

    ``low`` and ``high`` are its interval over ``scenes`` scenes (of an average over sets, those of the set with the
    fewest; where only some pictures differ at all, those in which they do). Of several ``trainings`` a side, the
    interval over them counts too, and both must say the same. With d the ``smallest`` difference that counts (without
    one, half of the last digit that the paper prints of ``metric``), the verdict is

    - "better" where all of the interval, and the mean, are at +d or above, "worse" where they are at -d or below (the
      other way round for a metric of which less is better);
    - "no difference" where all of it is between -d and +d;
    - "undecided" where it reaches from one side of +d or of -d to the other, and without an interval, of fewer than
      ``FEWEST_SCENES``, or of several trainings without an interval over them.

    So neither a wider interval nor fewer scenes ever decide what was undecided. It is the rule of equivalence tests
    (Schuirmann 1987) and of "regions of practical equivalence" (Kruschke 2018): that an interval holds zero does not
    show that two things are equal. Not in the paper, which prints means alone; our choice.

    Raises ``ValueError`` where ``low`` is above ``high``, for a ``smallest`` that is not above 0, and for an unknown
    metric.
    """
    if metric not in LABELS:
        raise ValueError(f"unknown metric {metric!r}: choose one of {', '.join(LABELS)}")
    least = SMALLEST.get(metric, HALF_A_HUNDREDTH) if smallest is None else smallest
    if not least > 0:
        raise ValueError(f"the smallest difference that counts is above 0, got {least}")
    lows, highs = [low], [high]
    if trainings > 1:
        lows, highs = [low, low_trainings], [high, high_trainings]
    if any(a > b for a, b in zip(lows, highs, strict=True)):
        raise ValueError(f"an interval goes from low to high, got {lows} and {highs}")
    if not all(map(math.isfinite, [difference, low, high])):
        return Verdict("undecided", "there is no interval: it is not known how far scenes differ")
    if scenes < FEWEST_SCENES:
        return Verdict("undecided", f"there are {scenes:.0f} scenes, fewer than {FEWEST_SCENES}")
    if not all(map(math.isfinite, [*lows, *highs])):
        return Verdict("undecided", f"there is no interval over the {trainings} trainings")
    low, high = min(difference, *lows), max(difference, *highs)
    again = f" over scenes and over {trainings} trainings" if trainings > 1 else ", of one training each"
    if -least < low and high < least:
        return Verdict("no difference", f"less than {least:g} either way{again}")
    if low >= least or high <= -least:
        less_is_better = "↓" in LABELS[metric]
        better = (low >= least) != less_is_better
        return Verdict("better" if better else "worse", f"at least {least:g} on one side of zero{again}")
    return Verdict("undecided", f"the interval holds differences of less and of more than {least:g}{again}")


def shown(value: float, decimals: int = 3) -> str:
    """A number for a reader; NaN is "missing", never 0."""
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}"


def report(table: pd.DataFrame) -> str:
    """``intervals``' table as text: one line a set, method and metric."""
    lines = []
    for row in table.itertuples():
        text = shown(row.mean)
        if not math.isnan(row.low):
            text += f" [{shown(row.low)}, {shown(row.high)}]"
        counted = f"{row.images}" + (f" ({row.missing} {MISSING})" if row.missing else "")
        lines.append((row.set, row.method, LABELS[row.metric], text, counted, row.scenes))
    columns = ["set", "method", "metric", "mean [95 % interval]", "pictures", "scenes"]
    return pd.DataFrame(lines, columns=columns).to_string(index=False)
