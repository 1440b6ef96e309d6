"""Notebook 05, what came out, as rows of the table of claims; and the two stages of notebook 04.

The intervals know the test pictures' spread, not that of another training: one training of each network stands behind
these rows.
"""

from __future__ import annotations

import math

import pandas as pd

from demoe.evaluation import statistics
from demoe.evaluation.comparison import AS_LONG, LONGER_K, MAIN
from demoe.evaluation.methods import EQUAL
from demoe.evaluation.statistics import AVERAGE, WITHOUT

from .claims import Claim, averaged, beside, claim, difference, every, pair, told_by_set, without
from .comparison_report import PAPER_PARAMS
from .tables import paper, where

FIVE = "DeMoE-5, one for each set"
BASELINE = "NAFNet longer"
STAGES = {  # of notebook 04, first and second: the id's end, and the row of Table 1 that stands for the second
    ("DeMoE k=1", "input"): ("input", ""),
    ("DeMoE k=1", "baseline"): ("baseline", "NAFNet"),
    ("DeMoE manual", "DeMoE k=1"): ("router", ""),
}
DROP = 0.005  # of its PSNR: "just 0.3 %", to the digit that the words have


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
