"""What notebook 10 found, as rows."""

from __future__ import annotations

import pandas as pd

from demoe.evaluation.released import COMPARED

from .claims import AVERAGE, Claim, claim, difference, told_by_set


def differences(table: pd.DataFrame) -> list[Claim]:
    """Each of ``released.COMPARED`` that is there: the averages, and beside them every set.

    ``table`` is ``released.released_differences``'; a network without its baseline has fewer rows.
    """
    rows = []
    for first, second in COMPARED:
        pair = (table["first"] == first) & (table["second"] == second) & (table.metric == "psnr")
        part = table[pair].set_index("set")
        if len(part):
            sets = told_by_set(part.drop(AVERAGE))
            rows.append(difference("release-{first}-{second}", part.loc[AVERAGE], sets, first=first, second=second))
    return rows


def photographs(table: pd.DataFrame) -> list[Claim]:
    """Real photographs, without a sharp picture to compare with: what was done to them (``app.photos``)."""
    warned = table[table.warnings.fillna("").astype(str) != ""]
    counts = ", ".join(f"{name} {count}" for name, count in table.expert.value_counts().items())
    changed = (
        f"median factor {table.sharpness.median():.2f}; change {table.change.median():.1f} of 255 levels (median), at "
        f"most {table.change.max():.1f}: whether that is better only eyes can tell"
    )
    which = f"number {', '.join(map(str, warned.photograph))}; " if len(warned) else ""
    of = {"unit": f"of {len(table)}"}
    return [
        claim("release-photographs", (table.sharpness > 1.05).sum(), changed, **of),
        claim("release-doubt", len(warned), f"{which}the router chose {counts}", **of),
    ]
