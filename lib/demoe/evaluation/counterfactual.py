"""Blur or camera? The router on the same blur seen through other cameras, and after changes that are no change of blur.

Each synthetic set has a camera of its own: noise, JPEG, scale, tone. A router that answers by these is right on every
test set and has not looked at the blur. So every kind of blur is shown through the camera of every set, which makes the
two independent of each other, through none and through the shared one, and after JPEG, noise, smoothing and the like.
Not in the paper; on real pictures nobody can take the two apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from demoe.blur import sensor, shared_camera, sources
from demoe.blur.job import Options
from demoe.core.tasks import DATASETS
from demoe.data.pairs import PairedSet
from demoe.data.synthetic import synthetic
from demoe.models.layers import UNet

from .embedding import colours, separability, tsne
from .router import router_view

NATIVE, SHARED, NONE = "its own", "shared", "none"
CAMERAS = tuple(DATASETS)
MOST = 24  # pictures of a kind of blur; our choice
SHUFFLES = 20  # of the control of ``information``


def _noise(level: float, image: Tensor, key: int) -> Tensor:
    normal = torch.from_numpy(np.random.default_rng([key, 15]).standard_normal(image.shape, dtype=np.float32))
    return image + level / 255 * normal


def _half(image: Tensor, key: int) -> Tensor:
    size = [max(8, side // 2) for side in image.shape[1:]]
    return F.interpolate(image[None], size=size, mode="area")[0]


# Of a picture (3,H,W) in [0,1] and a number that noise hangs on. The kind of blur stays what it was.
CHANGES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "JPEG 85": lambda image, key: sensor.jpeg(image, 85),
    "noise 1": partial(_noise, 1.0),
    "noise 3": partial(_noise, 3.0),
    "Gaussian 0.7": lambda image, key: shared_camera.gaussian(image, 0.7),
    "gray": lambda image, key: image.mean(0, keepdim=True).expand(3, -1, -1),
    "half size": _half,
    "gamma 0.8": lambda image, key: image**0.8,
}
COLUMNS = (NATIVE, SHARED, NONE, *CAMERAS, *CHANGES)  # of the matrix


def pictures(
    dataset: str, column: str, count: int, size: int, canvas: Callable[..., tuple[Tensor, str]] = sources.sharp_canvas
) -> PairedSet:
    """``count`` test pictures (``size`` a side) of the blur of ``dataset`` in one of ``COLUMNS``, named "GoPro-syn".

    The same scenes and blurs in all columns but "shared", which has scenes of its own. Raises ``ValueError`` for a
    column that there is not.
    """
    if column not in COLUMNS:
        raise ValueError(f"unknown column {column!r}: choose one of {', '.join(COLUMNS)}")
    capture = {NATIVE: "set", SHARED: "shared", NONE: "none"}.get(column, column if column in CAMERAS else "set")
    options = Options(capture=capture, canvas=canvas)
    made = synthetic(dataset, "test", count, size, progress=False, options=options)
    if column not in CHANGES:
        return made
    return changed(made, CHANGES[column])


def changed(pairs: PairedSet, change: Callable[[Tensor, int], Tensor]) -> PairedSet:
    """``pairs`` whose blurred pictures went through ``change``, rounded to 8 bits; without sharp ones."""
    kept = [(change(pairs.pair(i)[0], i).clamp(0, 1) * 255).round().byte() for i in range(len(pairs))]
    sizes = [(one.shape[1], one.shape[2]) for one in kept]
    return PairedSet(pairs.name, pairs.data, pairs.keys, lambda i, _=None: (kept[i], None), sizes.__getitem__)


class Seen(NamedTuple):
    """What routers and encoders make of every picture of the matrix."""

    routing: pd.DataFrame  # a row a network and picture: network, blur, capture, image, and those of ``router_view``
    features: dict[str, np.ndarray]  # by network, of the blurs through the five cameras, in the order of ``square``
    plain: np.ndarray  # the same of no network: mean and contrast of colours


def look(
    models: Mapping[str, UNet],
    count: int,
    size: int,
    canvas: Callable[..., tuple[Tensor, str]] = sources.sharp_canvas,
    device: str = "cpu",
    progress: bool = True,
) -> Seen:
    """Every network's router on every kind of blur in every column, ``count`` pictures each of ``size`` pixels a side.

    Each network is a DeMoE, or a NAFNet that has a router. Deterministic.
    """
    tables, features, plain = [], {name: [] for name in models}, []
    for dataset in tqdm(DATASETS, desc="blur or camera", unit="blur", leave=False, disable=not progress):
        native = pictures(dataset, NATIVE, count, size, canvas)
        cells = {NATIVE: native} | {
            column: changed(native, CHANGES[column])
            if column in CHANGES
            else pictures(dataset, column, count, size, canvas)
            for column in COLUMNS[1:]
        }
        plain += [colours([cells[camera]]) for camera in CAMERAS]
        captures = np.repeat(COLUMNS, count)
        for name, model in models.items():
            view = router_view(model, [*cells.values()], device)
            table = view.table.drop(columns="set")
            tables.append(table.assign(network=name, blur=dataset, capture=captures))
            features[name].append(view.features[np.isin(captures, CAMERAS)])
    routing = pd.concat(tables, ignore_index=True)
    first = ["network", "blur", "capture"]
    routing = routing[first + [one for one in routing if one not in first]]
    routing = routing.sort_values("network", key=lambda one: one.map(list(models).index), kind="stable")
    stacked = {name: np.concatenate(parts) for name, parts in features.items()}
    return Seen(routing.reset_index(drop=True), stacked, np.concatenate(plain))


def square(routing: pd.DataFrame) -> pd.DataFrame:
    """The rows of one network in which blur and camera are independent of each other: every blur by every camera."""
    return routing[routing.capture.isin(CAMERAS)]


def accuracies(routing: pd.DataFrame) -> pd.DataFrame:
    """Share of right answers: columns network, blur, capture, pictures, accuracy."""
    grouped = routing.groupby(["network", "blur", "capture"], sort=False).correct
    return grouped.agg(pictures="size", accuracy=lambda one: float(one.astype(float).mean())).reset_index()


def information(routing: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """What the choice of each router says about the blur and about the camera, in bits, over ``square``.

    Columns: network; choice (entropy of what it chose, at most log2 of 5); blur and camera (mutual information of the
    choice with each); by_chance (the larger of both with shuffled choices, mean of ``SHUFFLES``); blur_share and
    camera_share (of the entropy; 0 where it always chooses the same). Blur and camera are independent here, so that the
    two shares are at most 1 together.
    """
    rng, rows = np.random.default_rng(seed), []
    for name, table in routing.groupby("network", sort=False):
        part = square(table)
        choice, blur, camera = (part[one].to_numpy() for one in ("predicted", "blur", "capture"))
        entropy = mutual(choice, choice)
        shuffled = [rng.permutation(choice) for _ in range(SHUFFLES)]
        chance = max(float(np.mean([mutual(one, cause) for one in shuffled])) for cause in (blur, camera))
        row = {"network": name, "choice": entropy, "blur": mutual(choice, blur), "camera": mutual(choice, camera)}
        shares = {f"{cause}_share": row[cause] / entropy if entropy else 0.0 for cause in ("blur", "camera")}
        rows.append(row | {"by_chance": chance} | shares)
    return pd.DataFrame(rows)


def mutual(first: Sequence, second: Sequence) -> float:
    """Mutual information of two lists of names, in bits; of a list with itself, its entropy."""
    joint = pd.crosstab(np.asarray(first), np.asarray(second)).to_numpy(float) / len(first)
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log2(joint[there] / independent[there])).sum())


NO_NETWORK = "no network"


def clusters(seen: Seen, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whether encoders part pictures by blur or by camera, over ``square``: t-SNE, and separability by each.

    Columns of the first: network, blur, camera, x, y; of the second: network, by, silhouette, knn, knn_shuffled, the
    last network being none at all (mean and contrast of colours).
    """
    one = next(iter(seen.features))
    causes = square(seen.routing[seen.routing.network == one])[["blur", "capture"]].rename(
        columns={"capture": "camera"}
    )
    points, numbers = [], []
    for name, features in {**seen.features, NO_NETWORK: seen.plain}.items():
        if name != NO_NETWORK:
            x, y = tsne(features, seed).T
            points.append(causes.assign(network=name, x=x, y=y))
        for cause in causes:
            found = separability(features, causes[cause].to_numpy(), seed)
            numbers.append({"network": name, "by": cause} | found)
    columns = ["network", "blur", "camera", "x", "y"]
    return pd.concat(points, ignore_index=True)[columns], pd.DataFrame(numbers)
