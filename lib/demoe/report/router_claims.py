"""What notebook 06 found about the router: how often it is right, how sure it is, whether it knows what it does not.

Sentences made of numbers, against the paper's words (Sections 3.2 and 4.2). ``rule_claims`` has those about choosing.
"""

from __future__ import annotations

import math

import pandas as pd

from demoe.data.real import catalog
from demoe.evaluation import statistics

PUBLISHED_ACCURACY = 0.95  # "perfect classification accuracy i.e., > 95 %", Section 3.2
LEAST_SCENES = 5  # a bootstrap over fewer gives an interval that is too narrow; so does one in which fewer changed
FAILS = {dataset.name: dataset.router_fails for dataset in catalog.DATASETS}  # whether the paper's router does


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
    return (
        f"In distribution the router names the right blur on {right / count:.1%} of {count} pictures (95 % "
        f"interval {low:.1%} to {high:.1%}, scenes counted, not pictures): {verdict}{worst}."
    )


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
        beside = (
            "" if there is None else (f"; in the paper, on the real set, it {'fails' if there else 'does not fail'}")
        )
        found.append(
            f"{name}: {right} of {count} pictures ({low:.0%} to {high:.0%}) go to {expert}, the paper's "
            f"choice by hand, most to {most.index[0]} ({most.iloc[0]}): {said[fails]}{beside}."
        )
    return found


def calibration(errors: pd.DataFrame) -> list[str]:
    """Is the router as right as it is sure? ``errors`` is ``routing.calibration``'s second table."""
    found = []
    for group, part in errors.groupby("group", sort=False):
        plain, scaled = part.iloc[0], part.iloc[-1]
        sure = "more" if plain.accuracy > plain.confidence else "less"
        judged = (
            f"above chance, it is {sure} often right than it is sure"
            if plain.ece > plain.ece_by_chance
            else "no more than so few pictures give by chance"
        )
        told = (
            ""
            if len(part) < 2
            else (
                f"; at temperature {scaled.temperature:.2f} it is {scaled.ece:.3f} (by chance "
                f"up to {scaled.ece_by_chance:.3f}): {_remedy(plain, scaled)}"
            )
        )
        found.append(
            f"Calibration, {group}: right on {plain.accuracy:.0%}, mean confidence {plain.confidence:.0%}; "
            f"expected calibration error {plain.ece:.3f} (by chance up to {plain.ece_by_chance:.3f}): "
            f"{judged}{told}."
        )
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
    return (
        f"{start}: {len(photographs)} photographs{named}, the others are synthetic patterns. What fits them need "
        "not fit other photographs."
    )


def doubt(detection: pd.DataFrame, name: str = "held-out") -> list[str]:
    """Do the signs tell the unknown? ``detection`` is ``routing.detection``'s; ``name`` as for ``held_out``."""
    found = []
    for sign, part in detection.groupby("sign", sort=False):
        inside = part[part["set"] == "inside"].flagged.item()
        each = ", ".join(
            f"{row.set} {row.auroc:.2f} ({row.flagged:.0%} above the limit)"
            for row in part[part["set"] != "inside"].itertuples()
        )
        found.append(
            f"{sign.replace('_', ' ').capitalize()} as a sign of the unknown, area under the curve (0.5: none): {each}"
            f"; in distribution {inside:.0%} are above the limit, which lets 95 % of the {name} pictures through."
        )
    return found
