"""What notebook 06 found about choosing the expert, against the paper's words (Section 4.2, appendix E): sentences.

Nothing is called better or worse where the interval of the difference contains zero, or comes from too few scenes, or
from too few in which anything changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from demoe.core.paper import published
from demoe.evaluation import expert_choice, statistics
from demoe.evaluation.metrics import LABELS

from .router_claims import LEAST_SCENES

WITHOUT_LABELS = (expert_choice.SOFT, expert_choice.EQUAL, *expert_choice.LABEL_FREE)
NAMES = {expert_choice.INPUT: "the untouched input", expert_choice.BASELINE: "the baseline"}


def gains(comparison: pd.DataFrame) -> list[str]:
    """On each set outside: k=1 over the untouched input and over the baseline, and the expert chosen by hand over k=1.

    ``comparison`` is that of ``rules.compare``. The paper's differences, where it has both numbers, stand beside ours.
    """
    told = (
        (expert_choice.INPUT, -1, "DeMoE k=1 over the untouched input", None),
        (expert_choice.BASELINE, -1, "DeMoE k=1 over the baseline", ("DeMoE_k1", "NAFNet")),
        (expert_choice.MANUAL, 1, "the expert chosen by hand over the router's", ("DeMoE_k1_manual", "DeMoE_k1")),
    )
    found = []
    for method, sign, what, pair in told:
        rows = _rows(comparison, "outside", "gain", method)
        for _, row in rows[rows["set"] != "Average"].iterrows():
            said = _judged(row, sign)
            paper = _published_difference(row["set"].removesuffix("-syn"), *pair) if pair else None
            beside = "" if paper is None else f" (paper, real set: {paper:+.2f} dB)"
            found.append(f"{row['set']}, {what}: {_db(row, sign)}, {said}{beside}.")
    return found


def _published_difference(name: str, method: str, other: str) -> float | None:
    rows = published().query("table == 'table2_ood' and dataset == @name and metric == 'psnr'")
    values = dict(zip(rows.method, rows.value, strict=True))
    return values[method] - values[other] if {method, other} <= set(values) else None


def _sign(row: pd.Series) -> int:
    """1 or -1 where the whole interval is above or below zero at the digits shown (thousandths of a dB), else 0.

    Of fewer than ``LEAST_SCENES`` scenes, or where fewer changed, always 0.
    """
    if min(row.scenes, row.changed_scenes) < LEAST_SCENES:
        return 0
    return int(round(row.low, 3) > 0) - int(round(row.high, 3) < 0)


def _judged(row: pd.Series, sign: int = 1) -> str:
    if row.changed == 0:
        return "no picture changed"
    if row.changed_scenes < LEAST_SCENES:
        return f"{row.changed:.0f} of {row.pictures:.0f} pictures changed, too few to say"
    return ("worse", "no difference shown", "better")[sign * _sign(row) + 1]


def bound(comparison: pd.DataFrame) -> str:
    """What choosing could give, oracle over router, in and out of distribution; and what not restoring at all does."""
    parts = []
    for group, name in (("inside", "in distribution"), ("outside", "on the sets outside")):
        four = (expert_choice.ORACLE, expert_choice.FIXED, expert_choice.RANDOM, expert_choice.INPUT)
        oracle, fixed, blind, untouched = (_average(comparison, group, method) for method in four)
        if oracle is None:
            continue
        parts.append(
            f"{name} the best expert of each picture is at {_db(oracle)}, the best one for a whole set at "
            f"{_db(fixed)}, one drawn blindly at {_db(blind)}, the untouched input at {_db(untouched)}"
        )
    return "All that choosing can change, against the router's choice: " + "; ".join(parts) + "."


def label_free(comparison: pd.DataFrame) -> list[str]:
    """What each rule without labels, and always mixing, does on the sets outside, and what it costs in distribution."""
    found = []
    for method in WITHOUT_LABELS:
        there, here = (_average(comparison, group, method) for group in ("outside", "inside"))
        if there is None:
            continue
        rows = _rows(comparison, "outside", "gain", method)
        each = "; ".join(
            f"{row['set']} {_db(row)}, {_judged(row)}" for _, row in rows[rows["set"] != "Average"].iterrows()
        )
        if _sign(there) > 0:
            shares = _rows(comparison, "outside", "share", method)
            share = shares[shares["set"] == "Average"].iloc[0]
            part = (
                ""
                if pd.isna(share["mean"])
                else (f", {share['mean']:.0%} of the gap to the oracle ({share.low:.0%} to {share.high:.0%})")
            )
            said = f"is better than the router ({_db(there)}{part})"
        elif _sign(there) < 0:
            said = f"is worse than the router ({_db(there)})"
        elif there.changed_scenes < LEAST_SCENES:
            said = (
                f"changes {there.changed:.0f} of {there.pictures:.0f} pictures, and in the set "
                f"that counts most only those of {there.changed_scenes:.0f} scene"
                f"{'' if there.changed_scenes == 1 else 's'}: too few to say anything ({_db(there)})"
            )
        else:
            said = f"shows no difference from the router ({_db(there)})"
        inside = "" if here is None else f" In distribution: {_db(here)}, {_judged(here)}."
        passes = _rows(comparison, "outside", "experts", method)["mean"].iloc[0]
        found.append(
            f"{method[0].upper() + method[1:]}: on average of the sets outside it {said}. {each}.{inside} "
            f"{passes:.2g} experts run a picture outside (the router's choice: one)."
        )
    return found


def without_network(comparison: pd.DataFrame) -> list[str]:
    """Is choosing worth anything beside what needs no choice: the untouched input and the baseline? A line a group."""
    found = []
    for group, name in (("outside", "On the sets outside"), ("inside", "In distribution")):
        beside = {
            method: _average(comparison, group, method) for method in (expert_choice.INPUT, expert_choice.BASELINE)
        }
        if beside[expert_choice.INPUT] is None:
            continue
        said = ", ".join(f"{NAMES[method]} is at {_db(row)} ({_judged(row)})" for method, row in beside.items())
        gains = {method: _average(comparison, group, method) for method in WITHOUT_LABELS}
        best = max(gains, key=lambda method: gains[method]["mean"])
        over = {
            method: _average(comparison, group, method, "over input")
            for method in (expert_choice.ROUTER, *WITHOUT_LABELS)
        }
        beaten = [method for method, row in over.items() if _sign(row) > 0]
        above = "above" if beside[expert_choice.INPUT]["mean"] > gains[best]["mean"] else "below"
        judged = (
            f"shown to be better than the untouched input: {', '.join(beaten)}"
            if beaten
            else "neither the router nor any rule or mixture is shown to be better than the untouched input"
        )
        found.append(
            f"{name}, against the router's choice on average: {said}. The input is {above} the rule or "
            f"mixture with the highest mean ({best}, {_db(gains[best])}); that over the input: "
            f"{_db(over[best])}; {judged}."
        )
    return found


def verdict(comparison: pd.DataFrame) -> str:
    """Whether any rule without labels, or mixing, is worth having: better outside than the router and than the
    untouched input, and no worse in distribution."""
    good, mixed, useless = [], [], []
    for method in WITHOUT_LABELS:
        there, here = (_average(comparison, group, method) for group in ("outside", "inside"))
        if there is None or _sign(there) <= 0:
            continue
        if _sign(_average(comparison, "outside", method, "over input")) <= 0:
            useless.append(method)
        elif here is not None and _sign(here) < 0:
            mixed.append(method)
        else:
            good.append(method)
    if good:
        return (
            "Better than the router and than the untouched input outside, and not shown to be worse in "
            f"distribution: {', '.join(good)}."
        )
    if mixed:
        return (
            f"Better than the router and the untouched input outside, but at a cost in distribution: "
            f"{', '.join(mixed)}; no rule is free."
        )
    if useless:
        return (
            f"Better than the router outside, but not shown to be better than leaving the picture as it is: "
            f"{', '.join(useless)}. So none is shown to be worth having, for these networks and sets."
        )
    return (
        "No rule without labels is shown to be better than the router on the sets outside: a negative result, for "
        "these networks and sets."
    )


def without_sharp(scores: pd.DataFrame, sets: Sequence[str]) -> list[str]:
    """The sets without sharp pictures: which no-reference metrics there are, what they say of the choice by hand."""
    found = []
    for name in sets:
        part = scores[scores["set"] == name]
        if part.psnr.notna().any():
            continue
        said = []
        pair = part[part.method.isin((expert_choice.MANUAL, expert_choice.ROUTER))]
        choice = pair.pivot(index="image", columns="method", values="choice")
        others = choice.index[choice[expert_choice.MANUAL] != choice[expert_choice.ROUTER]]
        changed = len({statistics.scene(name, key) for key in others})
        of_metrics = pair[["set", "image", "method", "musiq", "nrqm", "niqe"]]
        found_here = statistics.difference(of_metrics, expert_choice.MANUAL, expert_choice.ROUTER).set_index(
            ["set", "metric"]
        )
        for metric in ("musiq", "nrqm", "niqe"):
            row = found_here.loc[name, metric]
            if math.isnan(row["mean"]):
                said.append(f"{metric.upper()} missing")
                continue
            sign = 1 if "↑" in LABELS[metric] else -1
            better = (
                "too few scenes to say"
                if min(row.scenes, changed) < LEAST_SCENES
                else "better"
                if sign * row.low > 0 and sign * row.high > 0
                else "worse"
                if sign * row.low < 0 and sign * row.high < 0
                else "no difference shown"
            )
            said.append(f"{LABELS[metric]} {row['mean']:+.2f} [{row.low:+.2f}, {row.high:+.2f}] by hand ({better})")
        reasons = [
            text
            for cell in part[part.method == expert_choice.ROUTER].missing.unique()[:1]
            for text in cell.split("; ")
            if text.split(":")[0] in ("musiq", "nrqm", "niqe")
        ]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        found.append(f"{name} has no sharp pictures: {', '.join(said)}{why}.")
    return found


def _rows(comparison: pd.DataFrame, group: str, quantity: str, method: str) -> pd.DataFrame:
    return comparison[(comparison.group == group) & (comparison.quantity == quantity) & (comparison.method == method)]


def _average(comparison: pd.DataFrame, group: str, method: str, quantity: str = "gain") -> pd.Series | None:
    rows = _rows(comparison, group, quantity, method)
    rows = rows[rows["set"] == "Average"]
    return None if rows.empty else rows.iloc[0]


def _db(row: pd.Series, sign: int = 1) -> str:
    """ "+0.120 dB [+0.010, +0.290]"; with ``sign`` -1, of the opposite difference."""
    low, high = sorted((sign * row.low, sign * row.high))
    return f"{sign * row['mean']:+.3f} dB [{low:+.3f}, {high:+.3f}]".replace("-0.000", "+0.000")
