"""What notebooks 02 and 04 found, on the data and on the two stages of training, as rows."""

from __future__ import annotations

import pandas as pd

from demoe.evaluation import statistics

from .claims import AVERAGE, Claim, claim, difference, told_by_set

PAIRS = (  # first, second, what the paper has (Table 1, average PSNR), the id's end
    ("DeMoE k=1", "input", float("nan"), "input"),
    ("DeMoE k=1", "baseline", 0.07, "baseline"),
    ("DeMoE manual", "DeMoE k=1", float("nan"), "router"),
)


def data(strength: pd.DataFrame, shares: pd.DataFrame, separable: pd.Series, missing: str) -> list[Claim]:
    """Notebook 02: ``blur_strength``'s table, ``shares`` with the columns here and paper, a row a set, the numbers of
    ``embedding.separability``, and why CLIP's features are missing, "" where they are not."""
    off = strength[~strength.within]
    outside = ", ".join(f"{row.set} {row.difference:+.1f} dB" for row in off.itertuples())
    apart = (shares.here - shares.paper).abs()
    nearest = f"neighbours right on {separable.knn:.0%}, by chance {separable.knn_shuffled:.0%}"
    test = "no test of the paper's claim: this encoder was trained to tell these sets apart, CLIP was not"
    holds = None if missing else separable.silhouette > 0.25 and separable.knn > 3 * separable.knn_shuffled
    control = f"{nearest}; {test}" if missing else nearest
    return [
        claim("demoe-data-calibration", strength.within.sum(), outside, unit=f"of {len(strength)}"),
        claim("demoe-t4-shares", apart.max(), str(apart.idxmax())),
        claim("demoe-f4-separable", separable.silhouette, control, holds),
    ]


def stages(scores: pd.DataFrame, seed: int = 0) -> list[Claim]:
    """Notebook 04: DeMoE over the input and its baseline, and what the router's mistakes cost (``benchmark.score``)."""
    rows = []
    for first, second, published, other in PAIRS:
        table = statistics.difference(scores, first, second, seed).query("metric == 'psnr'").set_index("set")
        names = {"first": first, "second": second, "other": other, "published": published}
        sets = told_by_set(table.drop(AVERAGE))
        place = "Table 1" if published == published else ""
        rows.append(difference("demoe-stages-{other}", table.loc[AVERAGE], sets, place=place, **names))
    return rows
