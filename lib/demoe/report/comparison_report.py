"""Notebook 05: Tables 1 and 3, DeMoE's k and Figure 5, the paper's numbers beside ours (Sections 4.1, 4.3 and 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from demoe.evaluation.comparison import LONGER_K, MAIN, worst_crop
from demoe.evaluation.statistics import AVERAGE, WITHOUT

from .figures import METHOD_COLOURS, frame, intervals, legend, show
from .tables import NONE, Read, bare, best, interval, number, our_cell, paper, paper_cell, where

METRICS = ("psnr", "ssim", "lpips")
PAPER_ROWS = {"DeMoE": "DeMoE_k1"}  # role -> method in the published numbers, where they differ
STANDS_IN = {"NAFNet longer": "NAFNet", "DeMoE longer k=1": "DeMoE"}  # role -> role that a profile may leave out
PAPER_PARAMS = {  # table and method of the published numbers of Section 5; DeMoE* is "equivalent to" NAFNet
    "one DeMoE*, a NAFNet": ("table1_aio", "NAFNet"),
    "DeMoE-5, one for each set": ("section5_efficiency", "DeMoE-5 (ensemble of five task-specific networks)"),
    "DeMoE": ("table1_aio", "DeMoE_k1"),
}
SPECIALIST, ALL_IN_ONE = "DeMoE_task_specific_k1", "DeMoE_k1"
REALBLUR = "RealBlur-J"  # what Table 3 calls RealBlur
CHANGED = "below each crop: four times what\nbecame of it, without brightness"
FRAME = "#F0E442"  # yellow: seen on dark and bright pictures, and in print


def _means(summary: pd.DataFrame) -> pd.DataFrame:
    return summary.pivot(index=["method", "set"], columns="metric", values="mean")


def table_1(read: Read) -> pd.DataFrame:
    """Quality: every method, a pair of columns a set, "PSNR / SSIM / LPIPS", the best PSNR of a group in bold."""
    methods, summary = read("05_methods"), read("05_summary")
    elsewhere = methods.role.str.fullmatch(rf"{LONGER_K}[2-5]|DeMoE[*]")  # in the tables of k and of DeMoE*
    methods = in_table_1(methods[~elsewhere])
    untouched = methods.set_index("role").method["input"]
    means, columns = _means(summary), {}
    for name in summary["set"].unique():
        columns[f"{bare(name)}, paper (real)"] = [
            paper_cell("table1_aio", row, bare(name), METRICS) for row in methods.theirs
        ]
        here = [our_cell(means, method, name, METRICS, untouched) for method in methods.method]
        psnr = means.psnr.reindex([(method, name) for method in methods.method]).set_axis(methods.index).dropna()
        for _, part in psnr.groupby(methods.group):
            for i, text in zip(part.index, best(part), strict=True):
                here[i] = f"**{here[i]}**" if text.startswith("**") and len(part) > 1 else here[i]
        columns[f"{name}, here"] = here
    labels = [f"{row.method} ({row.missing})" if row.missing else row.method for row in methods.itertuples()]
    index = pd.MultiIndex.from_arrays([methods.group, labels], names=["trained", "method"])
    return pd.DataFrame(columns, index=index)


def in_table_1(methods: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``05_methods`` that stand in Table 1, group by group, with the published row of each in ``theirs``.

    Where a profile trains no NAFNet and DeMoE of the others' length, the longer trained stand beside the published.
    """
    missing = methods[methods.role.isin(STANDS_IN.values()) & methods.missing.ne("")].role.tolist()
    names = PAPER_ROWS | {longer: PAPER_ROWS.get(role, role) for longer, role in STANDS_IN.items() if role in missing}
    kept = methods[~methods.role.isin(missing)]
    kept = kept.assign(theirs=[names.get(role, role) for role in kept.role])
    groups = list(dict.fromkeys(kept.group))
    return kept.sort_values("group", key=lambda group: group.map(groups.index), kind="stable", ignore_index=True)


def table_1_cost(read: Read) -> pd.DataFrame:
    """Cost: the paper's numbers, the published size counted here, and the size trained here, at 3x256x256.

    Of runtimes only the paper's: those measured here differ from run to run and stand in ``timings/05_runtime.json``.
    """
    counted, methods = read("05_costs"), read("05_methods").set_index("role")
    rows = {}
    for row in counted.itertuples():
        role = "DeMoE" if row.row.startswith("DeMoE") else row.row
        trained = methods.loc[role] if role in methods.index else pd.Series({"params": math.nan, "macs": math.nan})
        rows[row.row] = {
            "paper": f"{row.paper_params_m:.2f} / {row.paper_macs_g:.2f}",
            "runtime in ms, paper (its GPU)": number(row.paper_runtime_ms, 1),
            "published size, counted here": _cost(row.params, row.macs, row.note),
            "size trained here": _cost(trained["params"], trained["macs"], trained.get("missing", "")),
            "trained here is": trained.get("method", NONE),
        }
    return pd.DataFrame(rows).T.rename_axis("method")


def _cost(params: float, macs: float, note: str) -> str:
    if pd.isna(params):
        return note or NONE
    decimals = 3 if params < 5e5 else 2
    return f"{params / 1e6:.{decimals}f} / {macs / 1e9:.{decimals}f}"


def table_3(read: Read) -> pd.DataFrame:
    """DeMoE* of each set against the one DeMoE; the drop is DeMoE* minus DeMoE, positive where the specialist leads."""
    methods, summary, differences = (read(f"05_{name}") for name in ("methods", "summary", "differences"))
    name_of, means = methods.set_index("role").method, _means(summary)
    drops = where(differences, first="DeMoE*", second=MAIN, metric="psnr").set_index("set")
    rows = {}
    for name in summary["set"].unique():
        real = REALBLUR if bare(name) == "RealBlur" else bare(name)
        theirs = [(_table_3_source(method, real), method, real) for method in (SPECIALIST, ALL_IN_ONE)]
        specialist, one = (paper(*row, "psnr") for row in theirs)
        rows[real] = {
            "DeMoE*, paper (real)": paper_cell(*theirs[0], METRICS),
            "DeMoE, paper (real)": paper_cell(*theirs[1], METRICS),
            "drop in dB, paper": number(specialist - one, 2, True),
            "set here": name,
            "DeMoE*, here": our_cell(means, name_of["DeMoE*"], name, METRICS, name_of["input"]),
            "DeMoE, here": our_cell(means, name_of[MAIN], name, METRICS, name_of["input"]),
            "drop in dB, here [95 % interval]": interval(drops.loc[name]),
        }
    return pd.DataFrame(rows).T.rename_axis("set")


def _table_3_source(method: str, dataset: str) -> str:
    """Averages, which Table 3 has not, are from Section 4.3 (DeMoE*) and Table 1 (DeMoE)."""
    if dataset != "Average":
        return "table3_task_specific"
    return "section4.3_upper_bound" if method == SPECIALIST else "table1_aio"


def figure_5(rows: Sequence[tuple[str, str, list[tuple[str, Tensor]]]], width: float = 1.3) -> Figure:
    """Figure 5: ``comparison.examples``: a set's blurred picture with a frame around the crop that lacks most
    (``comparison.worst_crop``), and beside it in two rows the crop of every method, under its name; below each what
    the method changed there (``_change``)."""
    half = math.ceil(max(len(images) for _, _, images in rows) / 2)
    figure = plt.figure(figsize=(width * (half + 2) + 0.3, (3.4 * width + 0.9) * len(rows)))
    for part, (name, _, images) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        grid = [
            ["whole", *(f"{kind}{row * half + i}" for i in range(half))] for row in (0, 1) for kind in ("", "change ")
        ]
        axes = part.subplot_mosaic(grid, width_ratios=[2] + [1] * half)
        top, left, side = worst_crop(images[0][1], images[-1][1])
        show(axes["whole"], images[0][1], f"{name}, blurred")
        axes["whole"].text(0.5, -0.04, CHANGED, transform=axes["whole"].transAxes, ha="center", va="top", fontsize=7)
        frame(axes["whole"], top, left, side, side, FRAME)
        for i in range(2 * half):
            axes[f"{i}"].axis("off")
            axes[f"change {i}"].axis("off")
        crops = [image[:, top : top + side, left : left + side] for _, image in images]
        for i, (title, _) in enumerate(images):
            show(axes[f"{i}"], crops[i], title.strip())
            axes[f"{i}"].title.set_fontsize(7)
            frame(axes[f"{i}"], 0, 0, side, side, FRAME)
            if i:
                show(axes[f"change {i}"], _change(crops[0], crops[i]))
    return figure


def _change(before: Tensor, after: Tensor) -> Tensor:
    """Four times what became of a picture (3, H, W), around gray, without the change of each colour's mean: of a dark
    set brightness would cover all else."""
    difference = after.cpu() - before.cpu()
    return (0.5 + 4 * (difference - difference.mean((1, 2), keepdim=True))).clamp(0, 1)


def gains(differences: pd.DataFrame, methods: pd.DataFrame) -> Figure:
    """Average PSNR over the blurred input, of the same pictures, with its 95 % interval; a colour and mark a group.

    With and without LOLBlur, where ``differences`` has both (``comparison.role_differences``).
    """
    rows = where(differences, second="input", metric="psnr")
    titles = {AVERAGE: "all sets", WITHOUT: "without LOLBlur"}
    panels = [name for name in titles if (rows["set"] == name).any()]
    shown = methods[methods.role.isin(where(rows, set=AVERAGE)["first"])].reset_index(drop=True)
    size = (5.0 + 2.5 * len(panels), 0.3 * len(shown) + 1.3)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        of_panel = where(rows, set=name).set_index("first")
        for i, (group, members) in enumerate(shown.groupby("group", sort=False)):
            style = {"fmt": "os^D"[i % 4], "color": METHOD_COLOURS[1 + i % 4], "lw": 2, "label": group}
            intervals(axis, members.index, of_panel.loc[members.role], **style)
        axis.axvline(0, color="0.35", ls="--", lw=1)
        axis.set_title(titles[name])
        axis.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(shown)), shown.method)
    axes[0, 0].invert_yaxis()
    figure.supxlabel(
        "PSNR over the blurred input (dB), mean of the sets; lines: 95 % bootstrap over scenes", fontsize=8
    )
    legend(figure)
    return figure
