"""Notebook 12, the semantic prior: tables and figures with the paper's numbers beside ours, and what was found."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from demoe.data.setting import Setting
from demoe.evaluation import statistics
from demoe.experiments import Spec
from demoe.models import pretrained
from demoe.report import claims, tables
from demoe.report.claims import judged
from demoe.report.figures import BLUE, GREEN, GREY, MARKERS, RED, intervals, legend, row_label, show
from demoe.report.tables import NONE, Read, bare, best, interval, number, where

from . import experiments as guests
from .prior_study import EDGES, PIXELS

# Labels of our experiments, by their names; those of Table 4 in the order of its rows, then what it lacks.
NET0, NET6, RANDOM, WIDE = "Net0", "Net6", "Net6, random teacher", "Net0, as large as Net6"
CNN = "Net6 + L_cnn"  # the stand-in for L_vgg
TABLE_4 = {
    "prior-net0": NET0,
    "prior-net0-star": "Net0*",
    **{f"prior-net{n}": f"Net{n}" for n in range(1, 7)},
    "prior-net6-tresnet": "Net6, TResNet-L",
    "prior-net6-random": RANDOM,
    "prior-net0-wide": WIDE,
    "prior-net6-pixel-prior-cnn": CNN,
}
FIGURE_7 = {
    "prior-net6": NET6,
    "prior-segments-one-hot": "segments, one-hot",
    "prior-segments-probability": "segments, probability",
    "prior-deeplab": "DeepLabV3, features",
    "prior-segformer": "SegFormer, features",
    "prior-deeplab-one-hot": "DeepLabV3, one-hot",
    "prior-deeplab-probability": "DeepLabV3, probability",
}
SP = "+SP"
NETWORKS = {  # ours, and the published rows without and with the prior
    "UNet": ("UNet [17]", "UNet+SP"),
    "MPRNet, stage 1": ("†MPRNet [11]", "†MPRNet+SP"),
    "MIMO-UNet": ("MIMO-UNet [18]", "MIMO-UNet+SP"),
    "MIMO-UNet+": ("MIMOUNetPlus [18]", "‡MIMOUNetPlus+SP"),
    "MSSNet": ("MSSNet [13]", "MSSNet+SP"),
    "DeepDeblur": ("†DeepDeblur [5]", "†DeepDeblur+SP"),
}
EXPERIMENTS = {  # of Tables 1 to 3; the UNet is that of Table 4
    "mprnet-stage1": "MPRNet, stage 1",
    "mimo-unet": "MIMO-UNet",
    "mimo-unet-plus": "MIMO-UNet+",
    "mssnet": "MSSNet",
    "deepdeblur": "DeepDeblur",
}
SAME = {"UNet": NET0, "UNet+SP": NET6}
TABLE_2 = {"†MPRNet [11]": "†MPRNet[11]", "MIMOUNetPlus [18]": "MIMOUNet+[18]"}  # as it writes these rows
ORDER = ("Net0", "Net1", "Net2", "Net3", "Net5", "Net4", "Net6")  # by the published PSNR
CAPTIONS = tomllib.loads(Path(__file__).with_name("prior_captions.toml").read_text(encoding="utf-8"))


def rows(setting: Setting) -> dict[str, Spec]:
    """The experiments of the notebook by their labels: Table 4, Figure 7, Tables 1 to 3.

    Those of Table 4 and Figure 7 with all of Equation 7 where VGG-16's weights are on this machine.
    """
    known = guests.specs(setting)
    vgg = pretrained.get("vgg").find() is not None
    found = {}
    for name, label in (TABLE_4 | FIGURE_7).items():
        spec = guests.with_term(known["prior-net6"], "cnn") if label == CNN else known[name]
        found[label] = guests.with_term(spec, "vgg") if vgg and label != CNN else spec
    for name, label in EXPERIMENTS.items():
        found |= {label: known[name], label + SP: known[f"{name}-sp"]}
    return found


def compared(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The differences that the tables and claims need, on the first set: ``statistics.differences`` of it."""
    own = scores[scores["set"] == scores["set"].iloc[0]]
    labels = list(own.method.unique())
    wanted = [(NET0, "input"), *((label, NET0) for label in labels if label not in (NET0, "input"))]
    wanted += [(NET6, other) for other in (RANDOM, WIDE, *FIGURE_7.values()) if other != NET6]
    wanted += [(label + SP, label) for label in EXPERIMENTS.values()]
    table = statistics.differences(own, [pair for pair in wanted if set(pair) <= set(labels)], seed)
    return table[table["set"] != claims.AVERAGE]


@lru_cache
def facts() -> pd.Series:
    """Tables 1 to 4 as printed: texts, by table, row and column."""
    rows = pd.read_csv(Path(__file__).with_name("prior_tables.csv"), dtype=str)
    return rows.set_index(["table", "row", "column"])["value"]


def theirs(table: int, row: str, column: str) -> float:
    """A published number; NaN where there is none."""
    return float(pd.to_numeric(facts().get((str(table), row, column), math.nan), errors="coerce"))


def _printed(table: int, row: str, *columns: str) -> str:
    return tables.joined(facts().get((str(table), row, column), NONE) for column in columns)


def _ours(means: pd.DataFrame, label: str, name: str, *metrics: str) -> str:
    return tables.our_cell(means, SAME.get(label, label), name, metrics, "input")


def _means(read: Read) -> tuple[pd.DataFrame, list[str]]:
    scores = read("12_scores")
    return statistics.summarise(scores).set_index(["method", "set"]), list(scores["set"].unique())


def table_1(read: Read) -> pd.DataFrame:
    """From ``12_scores``: the published rows, ours beside those that we have."""
    means, sets = _means(read)
    labels = {row: label + sp for label, pair in NETWORKS.items() for sp, row in zip(("", SP), pair, strict=True)}
    rows = {}
    for row in dict.fromkeys(row for table, row, _ in facts().index if table == "1"):
        rows[row] = {("PSNR / SSIM / LPIPS", "paper"): _printed(1, row, "PSNR", "SSIM", "LPIPS")}
        rows[row]["s", "paper"] = _printed(1, row, "Time")
        rows[row]["PSNR / SSIM / LPIPS", sets[0]] = _ours(means, labels.get(row, ""), sets[0], "psnr", "ssim", "lpips")
    rows = {
        "blurred": {("PSNR / SSIM / LPIPS", sets[0]): _ours(means, "input", sets[0], "psnr", "ssim", "lpips")}
    } | rows
    columns = [("PSNR / SSIM / LPIPS", "paper"), ("s", "paper"), ("PSNR / SSIM / LPIPS", sets[0])]
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(columns)).T.fillna(NONE).rename_axis("network")


def table_2(read: Read) -> pd.DataFrame:
    """From ``12_scores``: HIDE and RealBlur-J, ours where there are such sets."""
    means, sets = _means(read)
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for label, pair in NETWORKS.items():
        for sp, row in zip(("", SP), pair, strict=True):
            cells = rows[label + sp] = {}
            for name in ("HIDE", "RealBlur-J"):
                there = TABLE_2.get(row, row)
                cells[name, "paper"] = _printed(2, there, f"{name} PSNR", f"{name} SSIM")
                here = next((one for one in sets if bare(one) == name.removesuffix("-J")), name)
                cells[here, "here"] = _ours(means, label + sp, here, "psnr", "ssim")
    found = pd.DataFrame(rows).T.rename_axis("network")
    return found[(found != NONE).any(axis=1)]


def table_3(read: Read) -> pd.DataFrame:
    """From ``12_differences``: what the prior adds."""
    table = where(read("12_differences"), metric="psnr").set_index(["first", "second"])
    rows = {}
    for label, (without, with_it) in NETWORKS.items():
        gain = theirs(1, with_it, "PSNR") - theirs(1, without, "PSNR")
        cells = rows[label] = {
            "paper: without": _printed(1, without, "PSNR"),
            "paper: with": _printed(1, with_it, "PSNR"),
        }
        cells["paper: gain"] = number(gain, 2, True)
        own = table[table.index == (SAME.get(label + SP, label + SP), SAME.get(label, label))]
        cells["here: gain [95 %]"] = NONE if own.empty else interval(own.iloc[0])
        cells["verdict"] = NONE if own.empty else judged(own.iloc[0]).word
    return pd.DataFrame(rows).T.rename_axis("network")


def table_4(read: Read) -> pd.DataFrame:
    """From ``12_scores`` and ``12_differences``, with the reasons of ``12_missing``."""
    return _against(read, TABLE_4, "4")


def figure_7_table(read: Read) -> pd.DataFrame:
    """As ``table_4``, of the rows of Figure 7, whose published numbers are in pictures and not legible."""
    return _against(read, {"prior-net0": NET0} | FIGURE_7, "")


def _against(read: Read, labels: Mapping[str, str], table: str) -> pd.DataFrame:
    means, sets = _means(read)
    name, missing = sets[0], dict(read("12_missing")[["method", "missing"]].itertuples(index=False))
    gaps = where(read("12_differences"), metric="psnr", second=NET0).set_index("first")
    rows = {}
    for label in labels.values():
        cells = rows[label] = {}
        if table:
            parts = [facts().get((table, label, part), NONE) for part in ("HCL", "CLC", "MLA", "SAT")]
            cells["HCL CLC MLA SAT", "paper"] = " ".join(parts) if set(parts) != {NONE} else NONE
            cells["PSNR / LPIPS", "paper"] = _printed(int(table), label, "PSNR", "LPIPS")
        cells["PSNR / SSIM / LPIPS", name] = _ours(means, label, name, "psnr", "ssim", "lpips")
        has = (label, name) in means.index and "vit_distance" in means
        cells["ViT", name] = number(means.loc[label, name].vit_distance, 4) if has else NONE
        own = gaps.loc[label] if label in gaps.index else None
        cells["PSNR over Net0", name] = NONE if own is None else interval(own)
        cells["verdict", name] = missing.get(label, NONE) if own is None else judged(own).word
    return pd.DataFrame(rows).T.rename_axis("network")


def premise_table(read: Read) -> pd.DataFrame:
    """From ``12_premise``: features down, blurs across, the share; then what is left of it against pixels."""
    rows = read("12_premise")
    wide = rows.pivot(index="features", columns="blur", values="share").loc[rows.features.unique(), rows.blur.unique()]
    cells = wide.apply(lambda column: best(column, lowest=True))
    every = where(rows, blur="all").set_index("features")
    cells["pixels minus it [95 %]"] = [NONE if name == PIXELS else interval(row) for name, row in every.iterrows()]
    return cells.rename_axis(index="looked at by", columns=None)


TABLES = {
    "12_premise": premise_table,
    "12_table_1": table_1,
    "12_table_2": table_2,
    "12_table_3": table_3,
    "12_table_4": table_4,
    "12_figure_7": figure_7_table,
}


def write(name: str, profile_name: str) -> tables.Table:
    """``tables.write`` of one of ``TABLES``."""
    return tables.write(name, TABLES[name], CAPTIONS[name], profile_name)


def premise_figure(rows: pd.DataFrame) -> Figure:
    """``premise_summary``: the share by blur, a line for whatever looked; random networks are dashed."""
    figure, axis = plt.subplots(figsize=(8, 3.6))
    part = rows[rows.blur != "all"]
    for index, (name, line) in enumerate(part.groupby("features", sort=False)):
        colour = RED if name == PIXELS else BLUE if name.startswith("CNN") else GREEN
        style = {"ls": "--" if "random" in name else "-", "marker": MARKERS[index % len(MARKERS)], "ms": 4}
        axis.plot(
            line.blur.str.replace(", ", "\n"),
            line["share"],
            color=colour,
            lw=2 if name == PIXELS else 1,
            label=name,
            **style,
        )
    axis.set(ylabel="distance to itself, blurred /\ndistance to other photographs", ylim=(0, None))
    legend(figure, place="right upper", ncols=1)
    return figure


def strength_figure(scores: pd.DataFrame, ranges: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """Gain in PSNR over a reference against the length of motion: a point a picture, and the mean of each range.

    ``scores``: ``by_strength``. ``ranges``: differences by range. ``methods``: each with what it is compared with.
    """
    figure, axes = plt.subplots(1, len(methods), figsize=(9, 2.9), sharey=True, squeeze=False)
    wide = scores.pivot(index=["strength", "set", "image"], columns="method", values="psnr").reset_index()
    middles = {f"{low} to {high} px-syn": (low + high) / 2 for low, high in itertools.pairwise(EDGES)}
    for axis, (method, reference) in zip(axes[0], methods.items(), strict=True):
        axis.plot(wide.strength, wide[method] - wide[reference], ".", color=GREY, ms=3)
        own = where(ranges, first=method, second=reference, metric="psnr")
        own = own[own["set"].isin(middles)]
        intervals(axis, own["set"].map(middles).to_numpy(), own, False, color=BLUE)
        axis.axhline(0, color="0.3", lw=0.8)
        axis.set(title=f"{method}\nover {reference}", xlabel="longest motion (px)")
    axes[0, 0].set_ylabel("gain in PSNR (dB)")
    return figure


def priors_figure(columns: Mapping[str, tuple[Tensor | None, Tensor]], blurred: Tensor, sharp: Tensor) -> Figure:
    """Figures 6 and 7: priors above (h, w in [0, 1]), restored pictures below, between the blurred and the sharp one.

    ``columns``: by title, the prior (None without one) and the restored picture (3, H, W).
    """
    figure, axes = plt.subplots(2, len(columns) + 2, figsize=(1.35 * (len(columns) + 2), 3.3))
    for axis in axes.flat:
        axis.axis("off")
    show(axes[1, 0], blurred, "blurred")
    show(axes[1, -1], sharp, "sharp")
    for (above, below), (title, (prior, picture)) in zip(axes.T[1:-1], columns.items(), strict=True):
        if prior is not None:
            above.imshow(prior.cpu().numpy(), cmap="viridis", vmin=0, vmax=1)
        show(below, picture, title)
    row_label(axes[0, 1], "prior, middle level")
    return figure


def seconds(runtime: pd.DataFrame) -> pd.DataFrame:
    """``comparison.runtimes`` of networks with and without the prior, beside the paper's seconds on its own GPU."""
    ours, rows = runtime.set_index("network").runtime_ms, {}
    for label, pair in NETWORKS.items():
        for sp, row in zip(("", SP), pair, strict=True):
            if (own := SAME.get(label + sp, label + sp)) in ours:
                rows[label + sp] = {"here (ms)": f"{ours[own]:.1f}", "paper (s)": _printed(1, row, "Time")}
    return pd.DataFrame(rows).T.rename_axis("network")
