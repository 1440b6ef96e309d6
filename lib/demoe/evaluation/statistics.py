"""From rows of pictures to tables: means, and how far they can be trusted.

Pictures of one scene resemble each other, so intervals come from a bootstrap over scenes, not over pictures.
"""

from __future__ import annotations

import math
import re
import zlib

import numpy as np
import pandas as pd

from demoe.tasks import PAPER_ORDER

from .metrics import LABELS

MISSING = "missing"  # what a table shows for NaN


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
    means = grouped[metrics].mean()
    means["images"] = grouped.size()
    means = means.reset_index()
    by_method = means.groupby("method", sort=False)
    average = by_method[metrics].agg(lambda values: values.mean(skipna=False)).reset_index()
    average["images"] = by_method["images"].sum().to_numpy()
    table = pd.concat([means, average.assign(set="Average")], ignore_index=True)
    table["set"] = pd.Categorical(table["set"], _order(list(means["set"].unique())))
    table = table.sort_values("set", kind="stable").reset_index(drop=True)
    return table.astype({"set": str})


def _order(names: list[str]) -> list[str]:
    known = [f"{name}{suffix}" for name in PAPER_ORDER for suffix in ("", "-syn")]
    return [name for name in known if name in names] + [name for name in names if name not in known] + ["Average"]


def scene(dataset: str, key: str) -> str:
    """What a picture was taken of, from its key: pictures of one scene are resampled together.

    A synthetic key names its sharp source ("0003_chelsea"); a real one stands in the folder of its sequence or scene
    ("scene002/7"). A key that names neither is a scene of its own.
    """
    if dataset.endswith("-syn") and (numbered := re.fullmatch(r"\d+_(.+)", key)):
        return numbered[1]
    return key.rpartition("/")[0] or key


def by_scene(scores: pd.DataFrame) -> pd.DataFrame:
    """Means of every scene. Columns: set, scene, method, a column a metric, images."""
    scenes = [scene(*names) for names in zip(scores["set"], scores["image"], strict=True)]
    grouped = scores.assign(scene=scenes).groupby(["set", "scene", "method"], sort=False)
    means = grouped[metric_columns(scores)].mean()
    return means.assign(images=grouped.size()).reset_index()


def intervals(scores: pd.DataFrame, seed: int = 0, resamples: int = 2000, level: float = 0.95) -> pd.DataFrame:
    """The means of ``summarise`` in long form, each with its bootstrap percentile interval.

    Columns: set, method, metric, mean, low, high, images (those with a value), missing (those without), scenes. Scenes
    are drawn with replacement, in every set separately, with the same draws for all methods. ``low`` and ``high`` are
    NaN for fewer than two scenes; for a handful they are too narrow, as any bootstrap's. Same seed, same numbers.
    """
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"an interval needs a level between 0 and 1 and resamples, got {level} and {resamples}")
    found: list[dict] = []
    replicates: dict[tuple[str, str], list[np.ndarray]] = {}  # by method and metric, a set each
    sets = _order(list(scores["set"].unique()))[:-1]
    for name in sets:
        pictures = scores[scores["set"] == name]
        scenes = pd.Series([scene(name, key) for key in pictures["image"]], index=pictures.index)
        codes = pd.Series(pd.factorize(scenes)[0], index=pictures.index)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        draws = rng.integers(codes.max() + 1, size=(resamples, codes.max() + 1))
        for method, rows in pictures.groupby("method", sort=False):
            for metric in metric_columns(scores):
                values = rows[metric].dropna()
                means = _resampled(values.to_numpy(float), codes[values.index].to_numpy(), draws)
                replicates.setdefault((method, metric), []).append(means)
                counts = {"images": len(values), "missing": len(rows) - len(values)}
                scenes_seen = int(codes[values.index].nunique())
                low, high = _percentiles(means, level) if scenes_seen > 1 else (math.nan, math.nan)
                found.append(
                    {
                        "set": name,
                        "method": method,
                        "metric": metric,
                        "mean": values.mean(),
                        "low": low,
                        "high": high,
                        **counts,
                        "scenes": scenes_seen,
                    }
                )
    table = pd.DataFrame(found)
    averages = []
    for (method, metric), parts in replicates.items():
        rows = table[(table["method"] == method) & (table["metric"] == metric)]
        every = len(parts) == len(sets) and bool(rows["low"].notna().all())
        low, high = _percentiles(np.mean(parts, axis=0), level) if every else (math.nan, math.nan)
        averages.append(
            {
                "set": "Average",
                "method": method,
                "metric": metric,
                "mean": rows["mean"].mean(skipna=False),
                "low": low,
                "high": high,
                **rows[["images", "missing", "scenes"]].sum().to_dict(),
            }
        )
    return pd.concat([table, pd.DataFrame(averages)], ignore_index=True)


def _resampled(values: np.ndarray, codes: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The mean over the pictures (N,) of the scenes drawn, (resamples,); NaN where none of them has a value."""
    scenes = draws.shape[1]
    sums, counts = np.bincount(codes, values, scenes), np.bincount(codes, minlength=scenes)
    drawn = counts[draws].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[draws].sum(1) / drawn


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    means = means[np.isfinite(means)]
    if not len(means):
        return math.nan, math.nan
    low, high = np.percentile(means, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def difference(
    scores: pd.DataFrame, method: str, other: str, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> pd.DataFrame:
    """``method`` minus ``other`` on the same pictures, as ``intervals`` shows it: what tells whether one is better.

    Raises ``ValueError`` for a method that is not in ``scores``.
    """
    sides = []
    for name in (method, other):
        rows = scores[scores["method"] == name]
        if rows.empty:
            raise ValueError(f"there are no scores of {name!r}: choose from {', '.join(scores['method'].unique())}")
        sides.append(rows.set_index(["set", "image"])[metric_columns(scores)])
    paired = sides[0].sub(sides[1]).loc[sides[0].index].reset_index()
    return intervals(paired.assign(method=f"{method} - {other}"), seed, resamples, level)


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
        lines.append(
            {
                "set": row.set,
                "method": row.method,
                "metric": LABELS[row.metric],
                "mean [95 % interval]": text,
                "pictures": counted,
                "scenes": row.scenes,
            }
        )
    return pd.DataFrame(lines).to_string(index=False)
