"""What notebook 05 found, against the paper's words (Sections 4.1, 4.3 and 5), as rows.

The intervals know the test pictures' spread, not that of another training: one training of each network stands behind
these rows.
"""

from __future__ import annotations

import pandas as pd

from demoe.evaluation.comparison import MAIN, WITHOUT
from demoe.evaluation.methods import EQUAL

from .claims import AVERAGE, Claim, beside, claim, difference, every, judged, told_by_set
from .comparison_tables import PAPER_PARAMS
from .tables import paper, with_interval

FIVE = "DeMoE-5, one for each set"
BASELINE = "NAFNet longer"


def table_1(differences: pd.DataFrame, methods: pd.DataFrame) -> list[Claim]:
    """Section 4.1: "DeMoE (based on NAFNet) is the best method overall", judged at equal length.

    ``differences`` and ``methods`` are those of ``evaluation.comparison``.
    """
    others = differences[(differences["first"] == "DeMoE") & (differences["second"] != "input")]["second"].unique()
    rows = [
        _difference("demoe-t1-{other}", differences, "DeMoE", role, other=role, published=_over(role))
        for role in others
    ]
    macs = methods[methods.group == EQUAL].macs.dropna() / 1e9
    slim = (
        f"slim networks of uneven cost ({macs.min():.2f} to {macs.max():.2f} G multiply-accumulates), shortly trained: "
        "nothing follows for the published ones"
    )
    slim *= int(methods.method.str.contains("(width", regex=False).any())
    gaps = methods[methods.missing != ""]
    left_out = f"left out: {', '.join(gaps.role)} ({gaps.missing.iloc[0]})" if len(gaps) else ""
    control = beside("DeMoE has two stages of that length, as in the paper", slim, left_out)
    return [claim("demoe-t1-average", control=control, holds=every(row.verdict for row in rows)), *rows]


def brightness(summary: pd.DataFrame, methods: pd.DataFrame) -> list[Claim]:
    """Whether one dark set decides Table 1's average, what each set alone says, and whether restoring is worth it.

    ``summary`` is ``statistics.intervals``'.
    """
    wide = summary[(summary.metric == "psnr") & (summary["set"] != AVERAGE)]
    wide = wide.pivot(index="method", columns="set", values="mean")[list(wide["set"].unique())]
    rows = methods[(methods.group == EQUAL) & methods.method.isin(wide.index)]
    psnr = wide.loc[list(rows.method)].set_axis(list(rows.role))
    dark = next(name for name in psnr if name.removesuffix("-syn") == "LOLBlur")
    reach = psnr.max() - psnr.min()
    widest = reach.drop(dark).idxmax()
    place = psnr.rank(ascending=False, method="min").loc["DeMoE"].astype(int)
    above = psnr.columns[wide.loc[methods.set_index("role").method["input"]] > psnr.max()]
    places = ", ".join(f"{name} {rank}" for name, rank in place.items())
    of = {"unit": f"of {len(place)}"}
    on = f"{reach[widest]:.2f} dB apart on {widest}"
    return [
        claim("demoe-t1-hangs-on-lolblur", reach[dark], on, reach[dark] > reach[widest]),
        claim("demoe-t1-places", (place == 1).sum(), f"of {len(psnr)} networks its places: {places}", **of),
        claim("demoe-t1-input-above-all", len(above), ", ".join(above), **of),
    ]


def longer(differences: pd.DataFrame, summary: pd.DataFrame, methods: pd.DataFrame) -> list[Claim]:
    """The longer trained DeMoE beside its baseline, the untouched input and the networks tuned to one set each."""
    trained, name = (methods.set_index("role")[column] for column in ("training", "method"))
    average = summary[(summary["set"] == AVERAGE) & (summary.metric == "psnr")].set_index("method")["mean"]
    loss = 1 - average[name[MAIN]] / average[name["DeMoE*"]]
    drop = paper("section4.3_upper_bound", "DeMoE_task_specific_k1", AVERAGE, "psnr")
    drop -= paper("table1_aio", "DeMoE_k1", AVERAGE, "psnr")
    steps = f"trained {trained[MAIN]}, its baseline {trained[BASELINE]}: what these steps alone bring is not measured"
    tuned = f"{loss:.1%} of its PSNR; DeMoE* {trained['DeMoE*']}, DeMoE {trained[MAIN]} on all"
    return [
        _difference("demoe-t1-stage-2", differences, MAIN, BASELINE, steps, published=_over("NAFNet")),
        _difference("demoe-t1-input", differences, MAIN, "input", _sets(differences, MAIN, "input")),
        _difference(
            "demoe-t3-drop",
            differences,
            "DeMoE*",
            MAIN,
            beside(tuned, _sets(differences, "DeMoE*", MAIN)),
            published=drop,
        ),
    ]


def experts_k(differences: pd.DataFrame, cost_of_k: pd.DataFrame) -> list[Claim]:
    """Whether mixing more experts at inference helps; the paper reports k = 1 alone."""
    times = cost_of_k.set_index("k").macs / cost_of_k.macs.iloc[0]
    control = "{:.2f} times the multiply-accumulates at the published size"
    return [
        _difference("demoe-k-{k}", differences, f"DeMoE longer k={k}", MAIN, control.format(times[k]), k=k)
        for k in range(2, 6)
    ]


def cost(counted: pd.DataFrame) -> list[Claim]:
    """Section 4.1: what PromptIR needs beside DeMoE; ``counted`` by ``complexity.cost_table``."""
    rows = counted.set_index("row")
    params, macs = (rows[column] / rows[column]["DeMoE k=1"] for column in ("params", "macs"))
    rank, size = int((macs < 1).sum()) + 1, "counted at the published size"
    return [
        claim("demoe-t1-params", params["PromptIR"], size),
        claim("demoe-t1-macs", macs["PromptIR"], size),
        claim("demoe-t1-macs-rank", rank, f"{size}, {macs.notna().sum()} networks", rank == 2),
    ]


def ensemble(counted: pd.DataFrame) -> Claim:
    """Section 5: the parameters of five task-specific networks and of one DeMoE (``comparison.ensemble``)."""
    ours = counted.set_index("what").params / 1e6
    theirs = {what: paper(*row, "-", "params_m") for what, row in PAPER_PARAMS.items()}
    same = all(abs(ours[what] - theirs[what]) < 0.05 for what in (FIVE, "DeMoE"))
    counts = f"{ours[FIVE]:.2f} M and {ours['DeMoE']:.2f} M, published {theirs[FIVE]:g} and {theirs['DeMoE']:g}"
    return claim("demoe-s5-ensemble", ours[FIVE] / ours["DeMoE"], counts, same)


def _rows(differences: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The PSNR differences of two roles, by set and average."""
    pair = (differences["first"] == first) & (differences["second"] == second) & (differences.metric == "psnr")
    return differences[pair].set_index("set")


def _difference(key: str, differences: pd.DataFrame, first: str, second: str, control: str = "", **more) -> Claim:
    """The average difference of two roles; beside it that without LOLBlur, which brightness decides."""
    rows = _rows(differences, first, second)
    if WITHOUT in rows.index:
        rest = rows.loc[WITHOUT]
        text = with_interval(rest["mean"], rest["low"], rest["high"], unit="dB")
        control = beside(f"without LOLBlur {text}, {judged(rest)}", control)
    return difference(key, rows.loc[AVERAGE], control, **more)


def _sets(differences: pd.DataFrame, first: str, second: str) -> str:
    return told_by_set(_rows(differences, first, second).drop([AVERAGE, WITHOUT], errors="ignore"))


def _over(role: str) -> float:
    """By how much the paper's DeMoE is above another row of Table 1 on average (dB)."""
    return paper("table1_aio", "DeMoE_k1", AVERAGE, "psnr") - paper("table1_aio", role, AVERAGE, "psnr")
