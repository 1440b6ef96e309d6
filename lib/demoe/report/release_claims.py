"""What notebook 10 found, as rows."""

from __future__ import annotations

import pandas as pd

from demoe.evaluation.released import COMPARED

from .claims import Claim, averaged, claim, pair


def differences(table: pd.DataFrame) -> list[Claim]:
    """Each of ``released.COMPARED`` that is there: the averages, and beside them every set.

    ``table`` is ``released.released_differences``'; a network without its baseline has fewer rows.
    """
    pairs = {names: pair(table, *names) for names in COMPARED}
    return [
        averaged("release-{first}-{second}", rows, first=first, second=second)
        for (first, second), rows in pairs.items()
        if len(rows)
    ]


def photographs(table: pd.DataFrame) -> list[Claim]:
    """Real photographs, without a sharp picture to compare with: what was done to them (``app.photos``)."""
    warned = table[table.warnings.fillna("").astype(str) != ""]
    counts = ", ".join(f"{name} {count}" for name, count in table.expert.value_counts().items())
    of = {"unit": f"of {len(table)}"}
    changes = {"factor": table.sharpness.median(), "median": table.change.median(), "most": table.change.max()}
    which = f"number {', '.join(map(str, warned.photograph))}; " if len(warned) else ""
    return [
        claim("release-photographs", (table.sharpness > 1.05).sum(), **changes, **of),
        claim("release-doubt", len(warned), f"{which}the router chose {counts}", **of),
    ]
