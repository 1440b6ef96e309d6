"""What notebook 06 found, against the paper's words (Sections 3.2 and 4.2, appendix E): sentences made of numbers.

Nothing is called better or worse where the interval of the difference contains zero, or comes from too few scenes.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from scipy.stats import binomtest

from demoe.evaluation import rules
from demoe.evaluation.metrics import LABELS

from .paper import published

PUBLISHED_ACCURACY = 0.95  # "perfect classification accuracy i.e., > 95 %", Section 3.2
LEAST_SCENES = 5  # a bootstrap over fewer gives an interval that is too narrow to conclude from
FAILS = {"RealDOF": False, "RSBlur": True, "Real-LOLBlur": True}  # whether the paper's router does, Section 4.2


def accuracy(routing: pd.DataFrame) -> str:
    """The router in distribution: ``routing`` has the pictures of AIO-Blur's test sets (``routing.look``)."""
    right, count = int(routing.correct.sum()), len(routing)
    low, high = _share(right, count)
    if high < PUBLISHED_ACCURACY:
        verdict = "less than the paper reports for its router on the real sets (over 95 %)"
    elif low > PUBLISHED_ACCURACY:
        verdict = "over 95 %, as the paper reports on the real sets"
    else:
        verdict = "not to be told from the 95 % that the paper's exceeds on the real sets"
    by = routing.groupby("set", sort=False).correct.mean().astype(float)
    worst = f"; least on {by.idxmin()} ({by.min():.0%})" if by.max() > by.min() else ""
    return (f"In distribution the router names the right blur on {right / count:.1%} of {count} pictures (95 % "
            f"interval {low:.1%} to {high:.1%}): {verdict}{worst}.")


def _share(right: int, count: int) -> tuple[float, float]:
    found = binomtest(right, count).proportion_ci(method="wilson")
    return found.low, found.high


def outside(routing: pd.DataFrame) -> list[str]:
    """The router on each set outside AIO-Blur, whose "right" expert is the one that the paper chooses by hand.

    It is said to fail where fewer than half of the pictures go there, to find it where more than half do, and neither
    where the interval of the share has the half in it.
    """
    found = []
    for name, part in routing.groupby("set", sort=False):
        right, count, expert = int(part.correct.sum()), len(part), part.label.iloc[0]
        low, high = _share(right, count)
        most = part.predicted.value_counts()
        fails = True if high < 0.5 else False if low > 0.5 else None
        said = {True: "it fails there", False: "it finds that expert", None: "neither failure nor success is shown"}
        there = FAILS.get(name.removesuffix("-syn"))
        beside = "" if there is None else (
            f"; in the paper, on the real set, it {'fails' if there else 'does not fail'}")
        found.append(f"{name}: {right} of {count} pictures ({low:.0%} to {high:.0%}) go to {expert}, the paper's "
                     f"choice by hand, most to {most.index[0]} ({most.iloc[0]}): {said[fails]}{beside}.")
    return found


def gains(comparison: pd.DataFrame) -> list[str]:
    """On each set outside: k=1 over the untouched input and over the baseline, and the expert chosen by hand over k=1.

    ``comparison`` is that of ``rules.compare``. The paper's differences, where it has both numbers, stand beside ours.
    """
    told = (
        (rules.INPUT, -1, "DeMoE k=1 over the untouched input", None),
        (rules.BASELINE, -1, "DeMoE k=1 over the baseline", ("DeMoE_k1", "NAFNet")),
        (rules.MANUAL, 1, "the expert chosen by hand over the router's", ("DeMoE_k1_manual", "DeMoE_k1")),
    )
    found = []
    for method, sign, what, pair in told:
        rows = _rows(comparison, "outside", "gain", method)
        for _, row in rows[rows["set"] != "Average"].iterrows():
            said = ("worse", "no difference shown", "better")[sign * _sign(row) + 1]
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

    Of fewer than ``LEAST_SCENES`` scenes always 0.
    """
    if row.scenes < LEAST_SCENES:
        return 0
    return int(round(row.low, 3) > 0) - int(round(row.high, 3) < 0)


def bound(comparison: pd.DataFrame) -> str:
    """What the best choice of a single expert could give: the oracle over the router, in and out of distribution."""
    parts = []
    for group, name in (("inside", "in distribution"), ("outside", "on the sets outside")):
        three = (rules.ORACLE, rules.FIXED, rules.RANDOM)
        oracle, fixed, blind = (_average(comparison, group, method) for method in three)
        if oracle is None:
            continue
        parts.append(f"{name} the best expert of each picture is at {_db(oracle)}, the best one for a whole set at "
                     f"{_db(fixed)}, one drawn blindly at {_db(blind)}")
    return "All that choosing can change, against the router's choice: " + "; ".join(parts) + "."


def label_free(comparison: pd.DataFrame) -> list[str]:
    """What each rule without labels, and always mixing, does on the sets outside, and what it costs in distribution."""
    found = []
    for method in (rules.SOFT, rules.EQUAL, *rules.LABEL_FREE):
        there, here = (_average(comparison, group, method) for group in ("outside", "inside"))
        if there is None:
            continue
        shares = _rows(comparison, "outside", "share", method)
        share = shares[shares["set"] == "Average"].iloc[0]
        if _sign(there) > 0:
            part = "" if pd.isna(share["mean"]) else (
                f", {share['mean']:.0%} of the gap to the oracle ({share.low:.0%} to {share.high:.0%})")
            closed = f"is better than the router ({_db(there)}{part})"
        elif _sign(there) < 0:
            closed = f"is worse than the router there ({_db(there)})"
        else:
            closed = f"shows no difference from the router ({_db(there)})"
        cost = ("" if here is None else f"; in distribution it costs {_db(here, -1)}" if _sign(here) < 0
                else f"; in distribution it gains {_db(here)}" if _sign(here) > 0
                else f"; in distribution no difference is shown ({_db(here)})")
        passes = _rows(comparison, "outside", "experts", method)["mean"].iloc[0]
        found.append(f"{method[0].upper() + method[1:]}: on the sets outside it {closed}{cost}; {passes:.2g} "
                     "experts run a picture there (the router's choice: one).")
    return found


def verdict(comparison: pd.DataFrame) -> str:
    """Whether any rule without labels is worth having: better outside, and no worse in distribution."""
    good, mixed = [], []
    for method in rules.LABEL_FREE:
        there, here = (_average(comparison, group, method) for group in ("outside", "inside"))
        if there is not None and _sign(there) > 0:
            (mixed if here is not None and _sign(here) < 0 else good).append(method)
    if good:
        return f"Better than the router outside and not shown to be worse in distribution: {', '.join(good)}."
    if mixed:
        return f"Better outside, but at a cost in distribution: {', '.join(mixed)}; no rule is free."
    return ("No rule without labels is shown to be better than the router on the sets outside: a negative result, for "
            "these networks and sets.")


def calibration(errors: pd.DataFrame) -> list[str]:
    """Is the router as right as it is sure? ``errors`` is ``routing.calibration``'s second table."""
    found = []
    for group, part in errors.groupby("group", sort=False):
        plain, scaled = part.iloc[0], part.iloc[-1]
        sure = "more" if plain.accuracy > plain.confidence else "less"
        judged = (f"it is {sure} often right than it is sure" if plain.ece > plain.ece_by_chance
                  else "no more than so few pictures give by chance")
        better = "" if len(part) < 2 else f"; at temperature {scaled.temperature:.2f} it is {scaled.ece:.3f}" + (
            "" if scaled.ece > scaled.ece_by_chance else ", within chance")
        found.append(f"Calibration, {group}: right on {plain.accuracy:.0%}, mean confidence {plain.confidence:.0%}; "
                     f"expected calibration error {plain.ece:.3f} (by chance up to {plain.ece_by_chance:.3f}): "
                     f"{judged}{better}.")
    return found


def doubt(detection: pd.DataFrame) -> list[str]:
    """Do the signs tell the unknown? ``detection`` is ``routing.detection``'s."""
    found = []
    for sign, part in detection.groupby("sign", sort=False):
        inside = part[part["set"] == "inside"].flagged.item()
        each = ", ".join(f"{row.set} {row.auroc:.2f} ({row.flagged:.0%} above the limit)"
                         for row in part[part["set"] != "inside"].itertuples())
        found.append(f"{sign.capitalize()} as a sign of the unknown, area under the curve (0.5: none): {each}; in "
                     f"distribution {inside:.0%} are above the limit, which lets 95 % of held-out pictures through.")
    return found


def without_sharp(scores: pd.DataFrame, sets: Sequence[str]) -> list[str]:
    """The sets without sharp pictures: which no-reference metrics there are, what they say of the choice by hand."""
    found = []
    for name in sets:
        part = scores[scores["set"] == name]
        if part.psnr.notna().any():
            continue
        said = []
        for metric in ("musiq", "nrqm", "niqe"):
            values = part.pivot(index="image", columns="method", values=metric)
            difference = (values[rules.MANUAL] - values[rules.ROUTER]).dropna()
            if len(difference) < 2:
                said.append(f"{metric.upper()} missing")
                continue
            error, sign = 2 * float(difference.sem()), 1 if "↑" in LABELS[metric] else -1
            mean = float(difference.mean())
            better = "better" if sign * mean > error else "worse" if -sign * mean > error else "no difference shown"
            said.append(f"{LABELS[metric]} {mean:+.2f} by hand ({better})")
        reasons = [text for cell in part[part.method == rules.ROUTER].missing.unique()[:1] for text in cell.split("; ")
                   if text.split(":")[0] in ("musiq", "nrqm", "niqe")]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        found.append(f"{name} has no sharp pictures: {', '.join(said)}{why}.")
    return found


def _rows(comparison: pd.DataFrame, group: str, quantity: str, method: str) -> pd.DataFrame:
    return comparison[(comparison.group == group) & (comparison.quantity == quantity) & (comparison.method == method)]


def _average(comparison: pd.DataFrame, group: str, method: str) -> pd.Series | None:
    rows = _rows(comparison, group, "gain", method)
    rows = rows[rows["set"] == "Average"]
    return None if rows.empty else rows.iloc[0]


def _db(row: pd.Series, sign: int = 1) -> str:
    """ "+0.120 dB [+0.010, +0.290]"; with ``sign`` -1, of the opposite difference."""
    low, high = sorted((sign * row.low, sign * row.high))
    return f"{sign * row['mean']:+.3f} dB [{low:+.3f}, {high:+.3f}]".replace("-0.000", "+0.000")
