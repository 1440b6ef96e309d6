"""What notebook 10 found: sentences computed from the numbers."""

from __future__ import annotations

import math

import pandas as pd

from demoe.evaluation.released import BASELINE, DEMOE, INPUT, MANUAL, WRONG

from .comparison_claims import AVERAGE, TRIVIAL
from .release_tables import interval


def _rows(differences: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    rows = differences[
        (differences["first"] == first) & (differences["second"] == second) & (differences.metric == "psnr")
    ]
    return rows.set_index("set")


def _sign(row: pd.Series) -> int:
    """1 or -1 where the interval, or without one the mean, is on that side of zero and not trivially small; else 0."""
    low, high = (row["mean"],) * 2 if math.isnan(row["low"]) else (row["low"], row["high"])
    if low <= 0 <= high or abs(row["mean"]) < TRIVIAL:
        return 0
    return 1 if low > 0 else -1


def improvement(differences: pd.DataFrame) -> str:
    """DeMoE k=1 against the untouched input, on average and on every set."""
    rows = _rows(differences, DEMOE, INPUT)
    sets = rows.drop(index=AVERAGE)
    above = [name for name in sets.index if _sign(sets.loc[name]) > 0]
    below = [name for name in sets.index if _sign(sets.loc[name]) < 0]
    text = f"DeMoE k=1 changes the average PSNR of the input by {interval(rows.loc[AVERAGE])} dB"
    if len(above) == len(sets):
        least = sets["mean"].idxmin()
        return f"{text}, and every set is above its input, least {least} ({interval(sets.loc[least])})."
    worse = f"; worse than the input: {', '.join(below)}" if below else ""
    return f"{text}; {len(above)} of {len(sets)} sets are clearly above their input ({_list(above)}){worse}."


def baseline(differences: pd.DataFrame) -> str:
    """DeMoE k=1 against the network that it was made from."""
    rows = _rows(differences, DEMOE, BASELINE)
    if rows.empty:
        return "Its baseline does not come with the package: nothing can be said about what stage 2 gained."
    verdict = {1: "better than", -1: "worse than", 0: "not to be told from"}[_sign(rows.loc[AVERAGE])]
    behind = [name for name in rows.index if name != AVERAGE and _sign(rows.loc[name]) < 0]
    tail = f" It is behind on {', '.join(behind)}." if behind else ""
    by = interval(rows.loc[AVERAGE])
    return (
        f"DeMoE k=1 is on average {verdict} the baseline that it was made from, by {by} dB "
        f"(it has had a second stage of training).{tail}"
    )


def experts(differences: pd.DataFrame) -> str:
    """The expert of the set's own blur against the mean over the wrong ones."""
    rows = _rows(differences, MANUAL, WRONG).drop(index=AVERAGE)
    leads = [name for name in rows.index if _sign(rows.loc[name]) > 0]
    least = rows["mean"].idxmin()
    which = "on every set" if len(leads) == len(rows) else f"on {len(leads)} of {len(rows)} sets ({_list(leads)})"
    by = interval(rows.loc[least])
    return f"The right expert beats the average wrong one {which}; the smallest lead is {by} dB on {least}."


def routers_price(differences: pd.DataFrame) -> str:
    """What the router's mistakes cost."""
    row = _rows(differences, MANUAL, DEMOE).loc[AVERAGE]
    sign = _sign(row)
    what = "costs" if sign > 0 else "gains" if sign < 0 else "makes no clear difference to"
    if sign == 0:
        return f"Leaving the choice to the router {what} the average PSNR ({interval(row)} dB for the choice by hand)."
    return f"Leaving the choice to the router {what} PSNR: the choice by hand is {interval(row)} dB from it on average."


def photographs(table: pd.DataFrame) -> list[str]:
    """Real photographs, without a sharp picture to compare with: what was done to them."""
    sharper = table[table.sharpness > 1.05]
    warned = table[table.warnings.fillna("").astype(str) != ""]
    counts = ", ".join(f"{name} {count}" for name, count in table.expert.value_counts().items())
    return [
        f"{len(table)} real photographs: Metric Q, which needs no sharp picture, calls {len(sharper)} of them sharper "
        f"by more than 5 % (median factor {table.sharpness.median():.2f}); the change is {table.change.median():.1f} "
        f"of 255 levels (median), at most {table.change.max():.1f}. Whether that is an improvement only eyes can tell.",
        f"The router chose {counts}; something looked wrong in {len(warned)}"
        + (f" (number {', '.join(map(str, warned.photograph))})." if len(warned) else "."),
    ]


def _list(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
