"""What notebook 06 found, against the paper's words (Sections 3.2 and 4.2, appendix E): sentences made of numbers.

Nothing is called better or worse where the interval of the difference contains zero, or comes from too few scenes, or
from too few in which anything changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from demoe.evaluation import rules, statistics
from demoe.evaluation.metrics import LABELS

from .paper import published

PUBLISHED_ACCURACY = 0.95  # "perfect classification accuracy i.e., > 95 %", Section 3.2
LEAST_SCENES = 5  # a bootstrap over fewer gives an interval that is too narrow; so does one in which fewer changed
WITHOUT_LABELS = (rules.SOFT, rules.EQUAL, *rules.LABEL_FREE)
NAMES = {rules.INPUT: "the untouched input", rules.BASELINE: "the baseline"}
FAILS = {"RealDOF": False, "RSBlur": True, "Real-LOLBlur": True}  # whether the paper's router does, Section 4.2


def accuracy(routing: pd.DataFrame) -> str:
    """The router in distribution: ``routing`` has the pictures of AIO-Blur's test sets (``routing.look``)."""
    right, count, scenes = int(routing.correct.sum()), len(routing), _scenes(routing)
    low, high = _share(right / count, scenes)
    if high < PUBLISHED_ACCURACY:
        verdict = "less than the paper reports for its router on the real sets (over 95 %)"
    elif low > PUBLISHED_ACCURACY:
        verdict = "over 95 %, as the paper reports on the real sets"
    else:
        verdict = "not to be told from the 95 % that the paper's exceeds on the real sets"
    by = routing.groupby("set", sort=False).correct.mean().astype(float)
    worst = f"; least on {by.idxmin()} ({by.min():.0%})" if by.max() > by.min() else ""
    return (f"In distribution the router names the right blur on {right / count:.1%} of {count} pictures (95 % "
            f"interval {low:.1%} to {high:.1%}, scenes counted, not pictures): {verdict}{worst}.")


def _scenes(table: pd.DataFrame) -> int:
    """How many scenes the pictures of ``table`` (set, image) show; one that is in two sets counts in each."""
    return len({(name, statistics.scene(name, key)) for name, key in zip(table["set"], table["image"], strict=True)})


def _share(share: float, scenes: int) -> tuple[float, float]:
    """Wilson's 95 % interval with a trial a scene: as if further pictures of one told nothing new, so rather too wide.

    Not a bootstrap over scenes, which would be certain of a share of 0 or 1.
    """
    z2 = 1.96**2
    middle, half = share + z2 / (2 * scenes), math.sqrt(z2 * (share * (1 - share) + z2 / (4 * scenes)) / scenes)
    return (middle - half) / (1 + z2 / scenes), (middle + half) / (1 + z2 / scenes)


def outside(routing: pd.DataFrame) -> list[str]:
    """The router on each set outside AIO-Blur, whose "right" expert is the one that the paper chooses by hand.

    It is said to fail where fewer than half of the pictures go there, to find it where more than half do, and neither
    where the interval of the share has the half in it, or comes from fewer than ``LEAST_SCENES`` scenes.
    """
    found = []
    for name, part in routing.groupby("set", sort=False):
        right, count, expert = int(part.correct.sum()), len(part), part.label.iloc[0]
        low, high = _share(right / count, _scenes(part))
        most = part.predicted.value_counts()
        fails = None if _scenes(part) < LEAST_SCENES else True if high < 0.5 else False if low > 0.5 else None
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
        four = (rules.ORACLE, rules.FIXED, rules.RANDOM, rules.INPUT)
        oracle, fixed, blind, untouched = (_average(comparison, group, method) for method in four)
        if oracle is None:
            continue
        parts.append(f"{name} the best expert of each picture is at {_db(oracle)}, the best one for a whole set at "
                     f"{_db(fixed)}, one drawn blindly at {_db(blind)}, the untouched input at {_db(untouched)}")
    return "All that choosing can change, against the router's choice: " + "; ".join(parts) + "."


def label_free(comparison: pd.DataFrame) -> list[str]:
    """What each rule without labels, and always mixing, does on the sets outside, and what it costs in distribution."""
    found = []
    for method in WITHOUT_LABELS:
        there, here = (_average(comparison, group, method) for group in ("outside", "inside"))
        if there is None:
            continue
        rows = _rows(comparison, "outside", "gain", method)
        each = "; ".join(f"{row['set']} {_db(row)}, {_judged(row)}"
                         for _, row in rows[rows["set"] != "Average"].iterrows())
        if _sign(there) > 0:
            shares = _rows(comparison, "outside", "share", method)
            share = shares[shares["set"] == "Average"].iloc[0]
            part = "" if pd.isna(share["mean"]) else (
                f", {share['mean']:.0%} of the gap to the oracle ({share.low:.0%} to {share.high:.0%})")
            said = f"is better than the router ({_db(there)}{part})"
        elif _sign(there) < 0:
            said = f"is worse than the router ({_db(there)})"
        elif there.changed_scenes < LEAST_SCENES:
            said = (f"changes {there.changed:.0f} of {there.pictures:.0f} pictures, and in the set "
                    f"that counts most only those of {there.changed_scenes:.0f} scene"
                    f"{'' if there.changed_scenes == 1 else 's'}: too few to say anything ({_db(there)})")
        else:
            said = f"shows no difference from the router ({_db(there)})"
        inside = "" if here is None else f" In distribution: {_db(here)}, {_judged(here)}."
        passes = _rows(comparison, "outside", "experts", method)["mean"].iloc[0]
        found.append(f"{method[0].upper() + method[1:]}: on average of the sets outside it {said}. {each}.{inside} "
                     f"{passes:.2g} experts run a picture outside (the router's choice: one).")
    return found


def without_network(comparison: pd.DataFrame) -> list[str]:
    """Is choosing worth anything beside what needs no choice: the untouched input and the baseline? A line a group."""
    found = []
    for group, name in (("outside", "On the sets outside"), ("inside", "In distribution")):
        beside = {method: _average(comparison, group, method) for method in (rules.INPUT, rules.BASELINE)}
        if beside[rules.INPUT] is None:
            continue
        said = ", ".join(f"{NAMES[method]} is at {_db(row)} ({_judged(row)})" for method, row in beside.items())
        gains = {method: _average(comparison, group, method) for method in WITHOUT_LABELS}
        best = max(gains, key=lambda method: gains[method]["mean"])
        over = {method: _average(comparison, group, method, "over input") for method in (rules.ROUTER, *WITHOUT_LABELS)}
        beaten = [method for method, row in over.items() if _sign(row) > 0]
        above = "above" if beside[rules.INPUT]["mean"] > gains[best]["mean"] else "below"
        judged = (f"shown to be better than the untouched input: {', '.join(beaten)}" if beaten
                  else "neither the router nor any rule or mixture is shown to be better than the untouched input")
        found.append(f"{name}, against the router's choice on average: {said}. The input is {above} the rule or "
                     f"mixture with the highest mean ({best}, {_db(gains[best])}); that over the input: "
                     f"{_db(over[best])}; {judged}.")
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
        return ("Better than the router and than the untouched input outside, and not shown to be worse in "
                f"distribution: {', '.join(good)}.")
    if mixed:
        return (f"Better than the router and the untouched input outside, but at a cost in distribution: "
                f"{', '.join(mixed)}; no rule is free.")
    if useless:
        return (f"Better than the router outside, but not shown to be better than leaving the picture as it is: "
                f"{', '.join(useless)}. So none is shown to be worth having, for these networks and sets.")
    return ("No rule without labels is shown to be better than the router on the sets outside: a negative result, for "
            "these networks and sets.")


def calibration(errors: pd.DataFrame) -> list[str]:
    """Is the router as right as it is sure? ``errors`` is ``routing.calibration``'s second table."""
    found = []
    for group, part in errors.groupby("group", sort=False):
        plain, scaled = part.iloc[0], part.iloc[-1]
        sure = "more" if plain.accuracy > plain.confidence else "less"
        judged = (f"above chance, it is {sure} often right than it is sure" if plain.ece > plain.ece_by_chance
                  else "no more than so few pictures give by chance")
        told = "" if len(part) < 2 else (f"; at temperature {scaled.temperature:.2f} it is {scaled.ece:.3f} (by chance "
                                         f"up to {scaled.ece_by_chance:.3f}): {_remedy(plain, scaled)}")
        found.append(f"Calibration, {group}: right on {plain.accuracy:.0%}, mean confidence {plain.confidence:.0%}; "
                     f"expected calibration error {plain.ece:.3f} (by chance up to {plain.ece_by_chance:.3f}): "
                     f"{judged}{told}.")
    return found


def _remedy(plain: pd.Series, scaled: pd.Series) -> str:
    """What the temperature did to the error, held against chance before and after."""
    before, after = (row.ece > row.ece_by_chance for row in (plain, scaled))
    if before and not after:
        return "better, now within chance"
    if after and not before:
        return "no longer within chance, so no remedy there"
    if not after:
        return "within chance as before"
    return "still above chance, " + ("and worse than before" if scaled.ece > plain.ece else "but better than before")


def held_out(table: pd.DataFrame, name: str) -> str:
    """How far the pictures that limits and temperature come from can stand for others. ``name``:
    ``routing.reference_name``."""
    scenes = {statistics.scene(*keys) for keys in zip(table["set"], table["image"], strict=True)}
    start = f"Limits and temperature come from {len(table)} {name} pictures of {len(scenes)} scenes"
    if not all(one.endswith("-syn") for one in table["set"].unique()):
        return f"{start}, which the network was trained on: it is surer of them than of others."
    photographs = sorted(one for one in scenes if not one.startswith("dead_leaves"))
    named = f" ({', '.join(photographs)})" if 0 < len(photographs) <= 5 else ""
    return (f"{start}: {len(photographs)} photographs{named}, the others are synthetic patterns. What fits them need "
            "not fit other photographs.")


def doubt(detection: pd.DataFrame, name: str = "held-out") -> list[str]:
    """Do the signs tell the unknown? ``detection`` is ``routing.detection``'s; ``name`` as for ``held_out``."""
    found = []
    for sign, part in detection.groupby("sign", sort=False):
        inside = part[part["set"] == "inside"].flagged.item()
        each = ", ".join(f"{row.set} {row.auroc:.2f} ({row.flagged:.0%} above the limit)"
                         for row in part[part["set"] != "inside"].itertuples())
        found.append(f"{sign.capitalize()} as a sign of the unknown, area under the curve (0.5: none): {each}; in "
                     f"distribution {inside:.0%} are above the limit, which lets 95 % of the {name} pictures through.")
    return found


def without_sharp(scores: pd.DataFrame, sets: Sequence[str]) -> list[str]:
    """The sets without sharp pictures: which no-reference metrics there are, what they say of the choice by hand."""
    found = []
    for name in sets:
        part = scores[scores["set"] == name]
        if part.psnr.notna().any():
            continue
        said = []
        pair = part[part.method.isin((rules.MANUAL, rules.ROUTER))]
        choice = pair.pivot(index="image", columns="method", values="choice")
        others = choice.index[choice[rules.MANUAL] != choice[rules.ROUTER]]
        changed = len({statistics.scene(name, key) for key in others})
        of_metrics = pair[["set", "image", "method", "musiq", "nrqm", "niqe"]]
        found_here = statistics.difference(of_metrics, rules.MANUAL, rules.ROUTER).set_index(["set", "metric"])
        for metric in ("musiq", "nrqm", "niqe"):
            row = found_here.loc[name, metric]
            if math.isnan(row["mean"]):
                said.append(f"{metric.upper()} missing")
                continue
            sign = 1 if "↑" in LABELS[metric] else -1
            better = ("too few scenes to say" if min(row.scenes, changed) < LEAST_SCENES
                      else "better" if sign * row.low > 0 and sign * row.high > 0
                      else "worse" if sign * row.low < 0 and sign * row.high < 0 else "no difference shown")
            said.append(f"{LABELS[metric]} {row['mean']:+.2f} [{row.low:+.2f}, {row.high:+.2f}] by hand ({better})")
        reasons = [text for cell in part[part.method == rules.ROUTER].missing.unique()[:1] for text in cell.split("; ")
                   if text.split(":")[0] in ("musiq", "nrqm", "niqe")]
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
