"""What notebooks 02 and 04 found, on the data and on the two stages of training, as rows."""

from __future__ import annotations

import math

import pandas as pd

from demoe.evaluation import statistics

from .claims import Claim, averaged, claim, pair
from .comparison_claims import published_lead

PAIRS = {  # first, second: the id's end, and the row of Table 1 that stands for the second
    ("DeMoE k=1", "input"): ("input", ""),
    ("DeMoE k=1", "baseline"): ("baseline", "NAFNet"),
    ("DeMoE manual", "DeMoE k=1"): ("router", ""),
}


def data(strength: pd.DataFrame, shares: pd.DataFrame, separable: pd.Series, missing: str) -> list[Claim]:
    """Notebook 02: ``blur_strength``'s table, ``shares`` with the columns here and paper, a row a set, the numbers of
    ``embedding.separability``, and why CLIP's features are missing, "" where they are not."""
    off = strength[~strength.within]
    outside = ", ".join(f"{row.set} {row.difference:+.1f} dB" for row in off.itertuples())
    apart = (shares.here - shares.paper).abs()
    test = "; no test of the paper's claim: this encoder was trained to tell these sets apart, CLIP was not"
    holds = None if missing else separable.silhouette > 0.25 and separable.knn > 3 * separable.knn_shuffled
    names = {"knn": separable.knn, "chance": separable.knn_shuffled, "test": test if missing else ""}
    return [
        claim("demoe-data-calibration", strength.within.sum(), outside, unit=f"of {len(strength)}"),
        claim("demoe-t4-shares", apart.max(), str(apart.idxmax())),
        claim("demoe-f4-separable", separable.silhouette, holds=holds, **names),
    ]


def stages(scores: pd.DataFrame, seed: int = 0) -> list[Claim]:
    """Notebook 04: DeMoE over the input and its baseline, and what the router's mistakes cost (``benchmark.score``)."""
    table, rows = statistics.differences(scores, list(PAIRS), seed), []
    for (first, second), (other, theirs) in PAIRS.items():
        gain = published_lead(theirs)
        place = "" if math.isnan(gain) else "Table 1"
        names = {"first": first, "second": second, "other": other, "published": gain, "place": place}
        rows.append(averaged("demoe-stages-{other}", pair(table, first, second), **names))
    return rows
