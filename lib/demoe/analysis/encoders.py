"""What encoders of differently trained baselines see in a picture (Figure 13), in both readings of the paper's words.

"CLIP and t-SNE in cascade to the encoder features" can mean two things: the encoder's features take CLIP's place (they
are averaged over the picture), or CLIP looks at the features, drawn as a picture. Both are computed, by
``embedding``, and stand beside each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import nn

from demoe.data.pairs import PairedSet

from . import embedding
from .similarity import all_pairs, cka

POOLED = "features averaged over the picture"
PICTURED = "features drawn as a picture, seen by CLIP"
READINGS = (POOLED, PICTURED)
NO_NETWORK = "no network"


class Seen(NamedTuple):
    """The blurred pictures of some sets in the eyes of some encoders."""

    points: pd.DataFrame  # a row a picture: reading, baseline, set, x, y (t-SNE, no unit)
    numbers: pd.DataFrame  # a row a reading and baseline: silhouette, knn, knn_shuffled, note (why there are none)
    alike: pd.DataFrame  # linear CKA of the averaged features of every two baselines: columns first, second, cka
    missing: str  # what CLIP lacks here, and how to provide it; "" if nothing


def look(models: dict[str, nn.Module], sets: list[PairedSet], seed: int = 0, progress: bool = True) -> Seen:
    """t-SNE and separability of every blurred picture of ``sets`` for every encoder, in both readings.

    Where CLIP's weights cannot be had the second reading has no points and no numbers; nothing takes its place. A last
    row of the first reading, "no network", is the separability of the pictures' mean colours and contrasts.
    """
    groups = embedding.labels(sets)
    points, numbers, pooled, missing = [], [], {}, ""
    for reading in READINGS:
        for name, model in models.items():
            row = {"reading": reading, "baseline": name, "note": ""}
            try:
                if reading == POOLED:
                    features = pooled[name] = embedding.encoder_features(model, sets, progress)
                else:
                    features = embedding.clip_features(embedding.feature_pictures(model, sets), progress)
            except embedding.WeightsMissing as error:
                missing = str(error)
                numbers.append(row | {"note": "CLIP's weights are not on this machine"})
                continue
            x, y = embedding.tsne(features, seed).T
            points.append(pd.DataFrame({"reading": reading, "baseline": name, "set": groups, "x": x, "y": y}))
            numbers.append(row | embedding.separability(features, groups, seed))
        if reading == POOLED:
            plain = embedding.separability(colours(sets), groups, seed)
            numbers.append({"reading": reading, "baseline": NO_NETWORK, "note": "mean and contrast of colours"} | plain)
    columns = ["reading", "baseline", "silhouette", "knn", "knn_shuffled", "note"]
    alike = [{"first": a, "second": b, "cka": cka(pooled[a], pooled[b], "linear")} for a, b in all_pairs(models)]
    return Seen(
        pd.concat(points, ignore_index=True),
        pd.DataFrame(numbers).reindex(columns=columns),
        pd.DataFrame(alike),
        missing,
    )


def colours(sets: list[PairedSet]) -> np.ndarray:
    """Mean and standard deviation of each colour of every blurred picture, (N, 6): what no network is needed for."""
    pictures = embedding.blurred_pictures(sets)
    return np.stack([np.concatenate([p.mean((1, 2)).numpy(), p.std((1, 2)).numpy()]) for p in pictures])
