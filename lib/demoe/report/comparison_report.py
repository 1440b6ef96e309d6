"""Notebook 05: Tables 1 and 3, DeMoE's k and Figure 5, and what came out, as rows; and the two stages of notebook 04.

The paper's numbers stand beside ours (Sections 4.1, 4.3 and 5), never mixed. The intervals know the test pictures'
spread, not that of another training: one training of each network stands behind these rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from demoe.evaluation import statistics
from demoe.evaluation.comparison import AS_LONG, LONGER_K, MAIN, worst_crop
from demoe.evaluation.methods import EQUAL
from demoe.evaluation.statistics import AVERAGE, WITHOUT

from .claims import Claim, averaged, beside, claim, difference, every, pair, told_by_set, without
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
FIVE = "DeMoE-5, one for each set"
BASELINE = "NAFNet longer"
STAGES = {  # of notebook 04, first and second: the id's end, and the row of Table 1 that stands for the second
    ("DeMoE k=1", "input"): ("input", ""),
    ("DeMoE k=1", "baseline"): ("baseline", "NAFNet"),
    ("DeMoE manual", "DeMoE k=1"): ("router", ""),
}
DROP = 0.005  # of its PSNR: "just 0.3 %", to the digit that the words have
CHANGED = "below each crop: four times what\nbecame of it, without brightness"
FRAME = "#F0E442"  # yellow: seen on dark and bright pictures, and in print


def _means(summary: pd.DataFrame) -> pd.DataFrame:
    return summary.pivot(index=["method", "set"], columns="metric", values="mean")


def table_1(read: Read) -> pd.DataFrame:
    """Quality: every method, a pair of columns a set, "PSNR / SSIM / LPIPS", the best PSNR of a group in bold."""
    methods, summary = read("05_methods"), read("05_summary")
    elsewhere = methods.role.str.fullmatch(rf"{LONGER_K}[2-5]|DeMoE[*]")  # in the tables of k and of DeMoE*
    methods = in_table_1(methods[~elsewhere])
    means, columns = _means(summary), {}
    for name in summary["set"].unique():
        columns[f"{bare(name)}, paper (real)"] = [paper_cell("table1_aio", row, bare(name), METRICS) for row in methods.theirs]
        here = [our_cell(means, method, name, METRICS) for method in methods.method]
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
            "DeMoE*, here": our_cell(means, name_of["DeMoE*"], name, METRICS),
            "DeMoE, here": our_cell(means, name_of[MAIN], name, METRICS),
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


def best_overall(differences: pd.DataFrame, methods: pd.DataFrame) -> list[Claim]:
    """Section 4.1: "DeMoE (based on NAFNet) is the best method overall", judged at equal length.

    ``differences`` and ``methods`` are those of ``evaluation.comparison``. Nothing where the profile leaves these
    networks out.
    """
    if "DeMoE" not in set(differences["first"]):
        return []
    pairs = where(differences, first="DeMoE")["second"].unique()
    others = [role for role in pairs if role != "input"]
    rows = [
        _difference("demoe-t1-{other}", differences, "DeMoE", role, other=role, published=published_lead(role))
        for role in others
    ]
    macs, slim = where(methods, group=EQUAL).macs.dropna() / 1e9, ""
    if methods.method.str.contains("(width", regex=False).any():
        slim = (
            f"slim networks of uneven cost ({macs.min():.2f} to {macs.max():.2f} G multiply-accumulates), shortly "
            "trained: nothing follows for the published ones"
        )
    gaps = methods[methods.missing != ""]
    left_out = f"left out: {', '.join(gaps.role)} ({gaps.missing.iloc[0]})" if len(gaps) else ""
    control = beside("DeMoE has two stages of that length, as in the paper", slim, left_out)
    over_input = {role: _bright(pair(differences, role, "input")) for role in ("DeMoE", *others)}
    first = max(over_input, key=lambda role: over_input[role]["mean"])
    return [
        claim("demoe-t1-average", control=control, holds=every(row.verdict for row in rows)),
        *rows,
        difference("demoe-t1-restores", over_input[first], first),
    ]


def brightness(summary: pd.DataFrame, methods: pd.DataFrame) -> list[Claim]:
    """Whether one dark set decides Table 1's average, what each set alone says, and whether restoring is worth it.

    ``summary`` is ``statistics.intervals``'. Nothing where the profile leaves the networks of equal length out.
    """
    if not len(methods[(methods.group == EQUAL) & methods.method.isin(summary.method)]):
        return []
    wide = where(summary, metric="psnr").pivot(index="method", columns="set", values="mean")
    wide = wide[[name for name in summary["set"].unique() if name != AVERAGE]]
    rows = methods[(methods.group == EQUAL) & methods.method.isin(wide.index)].set_index("role")
    psnr = wide.loc[rows.method].set_axis(rows.index)
    dark = next(name for name in psnr if name.removesuffix("-syn") == "LOLBlur")
    reach = psnr.max() - psnr.min()
    widest = reach.drop(dark).idxmax()
    place = psnr.rank(ascending=False, method="min").loc["DeMoE"].astype(int)
    above = psnr.columns[wide.loc[methods.set_index("role").method["input"]] > psnr.max()]
    places, of = ", ".join(f"{name} {rank}" for name, rank in place.items()), {"unit": f"of {len(place)}"}
    on = f"{reach[widest]:.2f} dB apart on {widest}"
    return [
        claim("demoe-t1-hangs-on-lolblur", reach[dark], on, reach[dark] > reach[widest]),
        claim("demoe-t1-places", (place == 1).sum(), networks=len(psnr), places=places, **of),
        claim("demoe-t1-input-above-all", len(above), ", ".join(above), **of),
    ]


def longer(differences: pd.DataFrame, summary: pd.DataFrame, methods: pd.DataFrame) -> list[Claim]:
    """The longer trained DeMoE beside its baseline, the untouched input and the networks tuned to one set each."""
    trained, name = (methods.set_index("role")[column] for column in ("training", "method"))
    average = where(summary, set=AVERAGE, metric="psnr").set_index("method")["mean"]
    names = {"of": trained[MAIN], "baseline": trained[BASELINE], "tuned": trained["DeMoE*"]}
    names["loss"] = 1 - average[name[MAIN]] / average[name["DeMoE*"]]
    drop = paper("section4.3_upper_bound", "DeMoE_task_specific_k1", AVERAGE, "psnr")
    drop -= paper("table1_aio", "DeMoE_k1", AVERAGE, "psnr")
    names["sets"], sets = (told_by_set(pair(differences, *of)) for of in (("DeMoE*", MAIN), (MAIN, "input")))
    lead = published_lead("NAFNet")
    there = AS_LONG in set(methods.role)
    equal = [_difference("demoe-t1-equal-steps", differences, MAIN, AS_LONG, published=lead)] if there else []
    return [
        _difference("demoe-t1-stage-2", differences, MAIN, BASELINE, published=lead, **names),
        *equal,
        _difference("demoe-t1-input", differences, MAIN, "input", sets),
        difference("demoe-t1-input-bright", _bright(pair(differences, MAIN, "input"))),
        _difference("demoe-t3-drop", differences, "DeMoE*", MAIN, published=drop, **names),
        _drop_share(where(differences, first="DeMoE*", second=MAIN, set=AVERAGE).iloc[0], average[name["DeMoE*"]]),
    ]


def _drop_share(row: pd.Series, psnr: float) -> Claim:
    """The difference of DeMoE* as a share of its average ``psnr``, as the paper puts it."""
    low, high = row["low"] / psnr, row["high"] / psnr
    holds = True if high <= DROP else False if low > DROP else None
    return claim("demoe-t3-drop-share", row["mean"] / psnr, holds=holds, low=low, high=high)


def experts_k(differences: pd.DataFrame, cost_of_k: pd.DataFrame) -> list[Claim]:
    """Whether mixing more experts at inference helps; the paper reports k = 1 alone."""
    times = cost_of_k.set_index("k").macs / cost_of_k.macs.iloc[0]
    roles = {k: f"{LONGER_K}{k}" for k in range(2, 6)}
    return [_difference("demoe-k-{k}", differences, roles[k], MAIN, k=k, times=times[k]) for k in roles]


def cost(counted: pd.DataFrame) -> list[Claim]:
    """Section 4.1: what PromptIR needs beside DeMoE; ``counted`` by ``complexity.cost_table``."""
    rows = counted.set_index("row")
    params, macs = (rows[column] / rows[column]["DeMoE k=1"] for column in ("params", "macs"))
    rank = int((macs < 1).sum()) + 1
    both = rows.loc[["DeMoE k=1", "NAFNet"]]
    digits = [f"{value:.2f}" for value in [*both.params / 1e6, *both.macs / 1e9]]
    printed = [f"{value:.2f}" for value in [*both.paper_params_m, *both.paper_macs_g]]
    same = sum(ours == theirs for ours, theirs in zip(digits, printed, strict=True))
    return [
        claim(
            "demoe-t1-counts", same, f"here {', '.join(digits)}, published {', '.join(printed)}", same == len(digits)
        ),
        claim("demoe-t1-params", params["PromptIR"]),
        claim("demoe-t1-macs", macs["PromptIR"]),
        claim("demoe-t1-macs-rank", rank, holds=rank == 2, networks=macs.notna().sum()),
    ]


def ensemble(counted: pd.DataFrame) -> Claim:
    """Section 5: the parameters of five task-specific networks and of one DeMoE (``comparison.ensemble``)."""
    ours = counted.set_index("what").params[[FIVE, "DeMoE"]] / 1e6
    theirs = pd.Series({what: paper(*PAPER_PARAMS[what], "-", "params_m") for what in ours.index})
    counts = {"five": ours[FIVE], "one": ours["DeMoE"], "their_five": theirs[FIVE], "their_one": theirs["DeMoE"]}
    holds = bool(((ours - theirs).abs() < 0.05).all())
    return claim("demoe-s5-ensemble", ours[FIVE] / ours["DeMoE"], holds=holds, **counts)


def stages(scores: pd.DataFrame, seed: int = 0) -> list[Claim]:
    """Notebook 04: DeMoE over the input and its baseline, and what the router's mistakes cost (``benchmark.score``)."""
    table, rows = statistics.with_and_without(scores, list(STAGES), seed), []
    for (first, second), (other, theirs) in STAGES.items():
        gain = published_lead(theirs)
        place = "" if math.isnan(gain) else "Table 1"
        names = {"first": first, "second": second, "other": other, "published": gain, "place": place}
        rows.append(averaged("demoe-stages-{other}", pair(table, first, second), **names))
    restoring = pair(table, *next(iter(STAGES)))
    return [*rows, difference("demoe-stages-restores", _bright(restoring), told_by_set(restoring))]


def _difference(key: str, differences: pd.DataFrame, first: str, second: str, control: str = "", **more) -> Claim:
    """The average difference of two roles; beside it that without LOLBlur, which brightness decides."""
    rows = pair(differences, first, second)
    return difference(key, rows.loc[AVERAGE], beside(without(rows), control), **more)


def _bright(rows: pd.DataFrame) -> pd.Series:
    """The average without LOLBlur, where that is not all that there is."""
    return rows.loc[WITHOUT if WITHOUT in rows.index else AVERAGE]


def published_lead(role: str) -> float:
    """By how much the paper's DeMoE is above another row of Table 1 on average (dB); NaN where there is none."""
    return paper("table1_aio", "DeMoE_k1", AVERAGE, "psnr") - paper("table1_aio", role, AVERAGE, "psnr")
