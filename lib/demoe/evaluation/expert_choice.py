"""Who chooses the expert: the router, a person, a rule that needs no labels, or an oracle; all on the same candidates.

Every picture is encoded once and decoded by each expert once (``candidates``). A rule only picks among what is there,
so that rules are compared without noise, and a new rule costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core import provenance
from demoe.core.tasks import DATASETS, EXPERTS
from demoe.data.pairs import PairedSet
from demoe.inference.restore import evaluation_mode, finished, restore
from demoe.models.demoe import DeMoE
from demoe.models.layers import pad_to_multiple
from demoe.models.outputs import Restored

from . import metrics, statistics
from .benchmark import batch_of_one, restored, run
from .methods import Method, blurred_input, network, restorations
from .statistics import AVERAGE, WITHOUT, without_lolblur

MEASURED = ("psnr", "ssim", "lpips_vgg", "musiq", "nrqm", "niqe", "niqe_refit")  # Tables 2, 8 and 9
PUBLISHED = MEASURED[:-1]  # what the paper prints of them
INPUT, BASELINE, SOFT, EQUAL = "input", "baseline", "DeMoE k=5", "equal mixture"
CANDIDATES = (INPUT, BASELINE, *EXPERTS, SOFT, EQUAL)
ROUTER, MANUAL, ORACLE, FIXED, RANDOM = "DeMoE k=1", "DeMoE manual", "oracle", "best fixed expert", "random expert"
ENTROPY, DISTANCE, SHARPEST = "entropy gate", "distance gate", "sharpest candidate"
LEAST_GAP = 0.01  # dB between router and oracle, on average; a share of less would only be noise
LABEL_FREE = (ENTROPY, DISTANCE, SHARPEST)
NEEDS = {MANUAL: "the set's name", FIXED: "sharp pictures", ORACLE: "sharp pictures"}  # all others: nothing
METHODS = (INPUT, BASELINE, ROUTER, SOFT, EQUAL, *LABEL_FREE, MANUAL, FIXED, ORACLE, RANDOM)


def needed(pairs: PairedSet) -> tuple[str, ...]:
    """Those of ``MEASURED`` that a table or figure uses: without sharp pictures all (Table 9), else those that compare
    with them; LPIPS only outside AIO-Blur (Tables 2 and 8)."""
    name = pairs.name.removesuffix("-syn")
    if name in DATASETS:
        return MEASURED[:2]
    return MEASURED if name == "Real-LOLBlur" else MEASURED[:3]


@torch.no_grad()
def restore_each(model: DeMoE, image: Tensor) -> dict[str, Tensor]:
    """What each expert makes of a picture, and all five mixed: by the router's softmax (k=5), and in equal parts.

    ``image`` is (1, 3, H, W) in [0, 1]; so is each result. Encoded once, which is exact: the experts stand behind it.
    """
    height, width = image.shape[-2:]
    with evaluation_mode(model):
        padded = pad_to_multiple(image, 2 ** len(model.encoders))  # (1, 3, H', W')
        y, skips = model.encode(padded)
        logits = model.mlp_branch(y)  # (1, 5)
        one_hot = torch.eye(len(EXPERTS), device=image.device).split(1)
        mixtures = dict(zip(EXPERTS, one_hot, strict=True))
        mixtures |= {SOFT: F.softmax(logits.float(), 1), EQUAL: torch.full_like(one_hot[0], 1 / len(EXPERTS))}
        images = {}
        for name, weights in mixtures.items():
            restored = (model.decode(y, skips, weights) + padded)[..., :height, :width]
            images[name] = finished(Restored(restored, logits, weights)).image
    return images


def candidates(
    demoe: DeMoE,
    baseline: nn.Module,
    sets: Sequence[PairedSet],
    config: Mapping,
    mark: provenance.Stamp,
    device: str = "cpu",
    progress: bool = True,
    measured: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The metrics of all ``CANDIDATES`` of every picture, a ``benchmark.run`` a set.

    ``config`` says what the networks are (the hashes of their trainings). ``measured`` are the metrics of every set;
    without it they are what each ``needed``. Columns: set, image, method, a column a metric (NaN where it was not
    measured), sharpness (Metric Q, which needs no sharp picture), missing, and ``mark``'s, whose commit is that of the
    code that measured. Pictures go through whole.
    """
    compared = {INPUT: blurred_input, **restorations({BASELINE: baseline}), **_each_expert(demoe)}
    names = [(*(measured or needed(pairs)), "sharpness") for pairs in sets]
    runs = [
        run("routing", [pairs], compared, config, mark, device, progress, measured=of_set)[0]
        for pairs, of_set in zip(sets, names, strict=True)
    ]
    every = [name for name in measured or MEASURED if any(name in of_set for of_set in names)]
    columns = ["set", "image", "method", *metrics.columns(every), "sharpness", "missing", *mark.columns()]
    return pd.concat(runs, ignore_index=True)[columns]


def _each_expert(model: DeMoE) -> dict[str, Method]:
    """``restore_each`` as methods, which are asked for one picture after the other: each is restored once."""
    made = lru_cache(maxsize=1)(lambda image: restore_each(model, image))
    return {name: lambda image, pairs, name=name: made(image)[name] for name in (*EXPERTS, SOFT, EQUAL)}


def choices(candidates: pd.DataFrame, routing: pd.DataFrame, limits: Mapping[str, float]) -> pd.DataFrame:
    """Which candidate each method takes for every picture: index (set, image), a column a method but ``RANDOM``.

    ``routing`` is the table of ``router.add_signs``, ``limits`` that of ``router.thresholds``. Where a method cannot
    choose (no sharp picture, no expert named by hand) the cell is "".

    - entropy gate: the router's best expert, or the router's mixture of all where its entropy is above the limit;
    - distance gate: the router's best expert, or the mixture in equal parts where the features are farther from all
      that is known than the limit: what the router says there, however sure, is not to be relied on;
    - sharpest candidate: that of the five with the highest Metric Q (``sharpness``). Our choice of criterion.
    """
    seen = routing.set_index(["set", "image"])
    found = pd.DataFrame({INPUT: INPUT, BASELINE: BASELINE, ROUTER: seen.predicted, SOFT: SOFT, EQUAL: EQUAL})
    found[ENTROPY] = seen.predicted.where(seen.normalised_entropy <= limits["normalised_entropy"], SOFT)
    found[DISTANCE] = seen.predicted.where(seen.distance <= limits["distance"], EQUAL)
    of_experts = candidates[candidates.method.isin(EXPERTS)]
    by = of_experts.pivot(index=["set", "image"], columns="method", values=["sharpness", "psnr"])
    by = by.reindex(found.index)
    psnr = by["psnr"][list(EXPERTS)].dropna()
    found[SHARPEST] = by["sharpness"][list(EXPERTS)].idxmax(axis=1)
    found[MANUAL] = seen.label
    fixed = psnr.groupby(level="set").mean().idxmax(axis=1)
    found[FIXED] = found.index.get_level_values("set").map(fixed.to_dict()).fillna("") if len(psnr) else ""
    found[ORACLE] = psnr.idxmax(axis=1).reindex(found.index).fillna("") if len(psnr) else ""
    return found[[name for name in METHODS if name != RANDOM]]


def score_choices(candidates: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """The metrics of every method on every picture, from those of the candidates and ``choices``.

    Columns: set, image, method, choice, encoder, decoder, experts (passes of each: a mixture runs five experts in one
    pass of the decoder), then the metrics, sharpness and missing. ``RANDOM`` is what an expert drawn blindly can
    expect: the mean of the five.
    """
    values = statistics.metric_columns(candidates)
    long = chosen.rename_axis(columns="method").stack().rename("choice").reset_index()
    scored = candidates.rename(columns={"method": "choice"})[["set", "image", "choice", *values, "missing"]]
    found = long.merge(scored, on=["set", "image", "choice"], how="left")
    found["missing"] = found["missing"].fillna("nothing to choose by")
    grouped = candidates[candidates.method.isin(EXPERTS)].groupby(["set", "image"], sort=False)
    blind = grouped[values].mean().assign(missing=grouped["missing"].first(), method=RANDOM, choice="any").reset_index()
    found = pd.concat([found, blind], ignore_index=True)
    found["encoder"] = (found.method != INPUT).astype(int)
    found["decoder"] = found["encoder"].where(~found.method.isin([SHARPEST, ORACLE]), len(EXPERTS))
    found["experts"] = found["decoder"].where(~found.choice.isin([SOFT, EQUAL]), len(EXPERTS))
    order = [(*picture, method) for picture in chosen.index for method in METHODS]
    found = found.set_index(["set", "image", "method"]).loc[order].reset_index()
    return found[["set", "image", "method", "choice", "encoder", "decoder", "experts", *values, "missing"]]


def gap_closed(scores: pd.DataFrame, method: str, seed: int = 0) -> pd.DataFrame:
    """How much of the way from the router to the oracle ``method`` goes in PSNR: 0 the router's, 1 the oracle's.

    A row a set with sharp pictures, and "Average" (mean gain over mean gap of the sets). Columns: set, method, gap
    (dB), share, low, high: the percentile interval of a bootstrap over scenes, as in ``statistics.intervals``. A
    mixture can pass 1, because the oracle has only single experts. NaN where the gap is under ``LEAST_GAP``.
    """
    found = []  # name, scenes, mean gain and mean gap: of the set itself, then of every resample
    for name, pictures in scores.groupby("set", sort=False):
        part = pictures.pivot(index="image", columns="method", values="psnr").dropna(subset=[ROUTER, ORACLE, method])
        if len(part):
            numbers, draws = statistics.scene_draws(name, part.index, seed)
            draws = np.vstack([np.arange(draws.shape[1]), draws])
            gains = [(part[other] - part[ROUTER]).to_numpy() for other in (method, ORACLE)]
            found.append((name, draws.shape[1], *(statistics.resampled_means(one, numbers, draws) for one in gains)))
    if found:
        _, scenes, gains, gaps = zip(*found, strict=True)
        found.append(("Average", min(scenes), np.mean(gains, axis=0), np.mean(gaps, axis=0)))
    rows = []
    for name, scenes, gain, gap in found:
        shares = np.full_like(gain, math.nan)
        if gap[0] >= LEAST_GAP:
            np.divide(gain, gap, out=shares, where=gap > 1e-6)
        rows.append((name, method, gap[0], shares[0], *statistics.percentiles(shares[1:], scenes)))
    return pd.DataFrame(rows, columns=["set", "method", "gap", "share", "low", "high"])


def compare_methods(scores: pd.DataFrame, inside: Sequence[str], outside: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Everything about the methods in one long table: method, group, set, quantity, mean, low, high, scenes, pictures,
    changed, changed_scenes.

    ``group`` is "inside" (the sets named by ``inside``: in the training distribution) or "outside"; of the sets without
    sharp pictures only the cost is known. ``set`` is a set's name, "Average", or, of differences, ``WITHOUT``.
    Quantities: "psnr" (dB), "gain" (dB over the router's k=1), "over input" (dB over the untouched picture), "share"
    (of the gap between router and oracle), and the mean passes "encoder", "decoder", "experts". Intervals are 95 %
    bootstraps over ``scenes``, empty for the passes; of an average, ``scenes`` are those of the set that has fewest.

    The last three say on how little a gain may rest: of ``pictures``, ``changed`` get another candidate than they
    would from what the method is compared with, and these are of ``changed_scenes``. Of an average, pictures are
    counted over all sets, ``changed_scenes`` in the set where the means differ most: the one that carries it.
    """
    parts = []
    for group, names in (("inside", inside), ("outside", outside)):
        every = scores[scores["set"].isin(names)]
        known = every.groupby("set").psnr.transform("count") > 0
        rated = every.loc[known, ["set", "image", "method", "psnr"]]
        methods = [name for name in METHODS if name in set(every.method)]
        found = []
        if len(rated):
            found.append(statistics.intervals(rated, seed).assign(quantity="psnr"))
            scenes = found[0][found[0]["set"] != AVERAGE].groupby("set").scenes.first()
            bright = without_lolblur(scenes.reset_index())["scenes"].min()
            scenes[AVERAGE], scenes[WITHOUT] = scenes.min(), bright
            for name in methods:
                for quantity, other in (("gain", ROUTER), ("over input", INPUT)):
                    rows, counts = _compared(every, rated, name, other, seed)
                    bright = without_lolblur(rated)
                    if 0 < len(bright) < len(rated):
                        rest, _ = _compared(without_lolblur(every), bright, name, other, seed)
                        rows = pd.concat([rows, rest[rest["set"] == AVERAGE].assign(set=WITHOUT)])
                    found.append(rows.assign(method=name, quantity=quantity))
                    if other == ROUTER:
                        shares = gap_closed(rated, name, seed).rename(columns={"share": "mean"})
                        found.append(shares.assign(quantity="share").merge(counts, on="set", how="left"))
            found = [part.assign(scenes=part["set"].map(scenes)) for part in found]
        passes = every.groupby("method", sort=False)[["encoder", "decoder", "experts"]].mean().reset_index()
        passes = passes.melt("method", var_name="quantity", value_name="mean").assign(set="Average")
        parts.append(pd.concat([*found, passes], ignore_index=True).assign(group=group))
    table = pd.concat(parts, ignore_index=True)
    counts = ["scenes", "pictures", "changed", "changed_scenes"]
    return table[["method", "group", "set", "quantity", "mean", "low", "high", *counts]]


def _compared(
    scores: pd.DataFrame, rated: pd.DataFrame, method: str, other: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``statistics.difference`` of the pictures with a sharp one, ``rated``, with ``_changes``; and these alone."""
    rows = statistics.difference(rated, method, other, seed).drop(columns="changed_scenes")
    counts = _changes(scores, method, other, rows)
    return rows.merge(counts, on="set", how="left"), counts


def _changes(scores: pd.DataFrame, method: str, other: str, differences: pd.DataFrame) -> pd.DataFrame:
    """On how many pictures with a sharp one ``method`` takes another candidate than ``other``: pictures, changed,
    changed_scenes as in ``compare_methods``.

    ``differences`` are the mean differences of the two, by set: they say which set carries the average.
    """
    known = scores[scores.psnr.notna()]
    choice = known.pivot(index=["set", "image"], columns="method", values="choice").dropna(subset=[method, other])
    changed = choice[method] != choice[other]
    rows = []
    for name, part in changed.groupby(level="set"):
        scenes = {statistics.scene(name, key) for key in part[part].index.get_level_values("image")}
        rows.append({"set": name, "pictures": len(part), "changed": int(part.sum()), "changed_scenes": len(scenes)})
    of_sets = pd.DataFrame(rows, columns=["set", "pictures", "changed", "changed_scenes"]).set_index("set")
    means = differences.set_index("set")["mean"].abs().reindex(of_sets.index).dropna()
    carried = of_sets.loc[means.idxmax(), "changed_scenes"] if len(means) else 0
    of_sets.loc[AVERAGE] = [of_sets.pictures.sum(), of_sets.changed.sum(), carried]
    return of_sets.reset_index()


def examples(
    demoe: DeMoE,
    networks: Mapping[str, nn.Module],
    sets: Sequence[PairedSet],
    shown: Mapping[str, Sequence[str]],
    device: str = "cpu",
) -> list[tuple[str, str, list[tuple[str, Tensor]]]]:
    """Figure 14: the pictures ``shown`` (keys by set), as ``networks`` restore them, DeMoE's router, and a person.

    Each is set, key, and (title, picture (3, H, W) in [0, 1]) of every network, the input first. Titles have the PSNR
    of the whole picture. The last is the sharp picture, where there is one.
    """
    found = []
    for pairs, key in ((one, key) for one in sets for key in shown.get(one.name, ())):
        blurred, _ = batch_of_one(pairs, list(pairs.keys).index(key), device)
        chosen = EXPERTS[int(restore(demoe, blurred).weights[0].argmax())]
        compared = [(INPUT, blurred_input), *((name, network(model)) for name, model in networks.items())]
        compared.append((f"DeMoE, router:\n{chosen}", network(demoe)))
        if pairs.label is not None:
            compared.append((f"DeMoE, by hand:\n{EXPERTS[pairs.label]}", network(demoe, manual=True)))
        found.append((pairs.name, key, restored(pairs, key, compared, device)))
    return found
