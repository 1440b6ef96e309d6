"""``demoe evaluate`` of a network: trains it if need be, scores it on the test sets, and prints what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demoe import experiments, provenance
from demoe.data import aio
from demoe.model.demoe import DeMoE
from demoe.profiles import Profile
from demoe.report import tables

from . import metrics, published
from .benchmark import route, score
from .compared import blurred_input, methods, network
from .statistics import intervals, report, summarise


def evaluate_command(
    experiment: str | None,
    weights: Path | None,
    profile: Profile,
    seed: int,
    data_root: str | None,
    csv: Path | None,
    measured: Sequence[str] = metrics.DEFAULT,
    pictures: Path | None = None,
    fresh: bool = False,
    tile: int | None = None,
    max_memory: int | None = None,
) -> int:
    """``demoe evaluate``: prints the metrics a set and the router's accuracy; ``csv`` gets a row a picture.

    The network is that of ``weights`` (ours or others', ``published.load``), or the experiment's, trained first if need
    be. ``pictures`` is a folder for the restored pictures. With ``csv``, an interrupted call is continued unless
    ``fresh``. ``tile`` and ``max_memory`` (bytes) are those of ``network``. Returns the exit status, 0.
    """
    metrics.columns(measured)  # an unknown one is told before anything is trained
    device = experiments.default_device()
    if weights:
        found = published.load(weights, device)
        model, name, config = found.model, found.label, {"weights": found.sha256}
    else:
        trained = experiments.train_experiment(experiment, profile, seed, data_root)
        model, name, config = trained.model, "network", {"training": trained.config}
    large = {"tile": tile, "max_memory": max_memory}
    config |= large
    # A DeMoE of ours is shown beside the baseline that it was made from; a file's has none that we know.
    known = isinstance(model, DeMoE) and not weights
    baseline = experiments.baseline(profile, seed, data_root).model if known else None
    sets = aio.aio_blur(profile, "test", seed, data_root)
    plain = {"input": blurred_input, name: network(model, **large)}
    compared = methods(baseline, model, **large) if isinstance(model, DeMoE) else plain
    mark = provenance.stamp(profile.name, aio.kind(sets), seed)
    scores = score(
        sets, compared, device, measured=measured, file=csv, config=config, mark=mark, pictures=pictures, fresh=fresh
    )
    if tuple(measured) == metrics.DEFAULT:
        print(f"PSNR (dB) / SSIM, {aio.kind(sets)} data, profile {profile.name}")
        print(tables.by_set(summarise(scores)).to_string())
    else:
        print(f"{aio.kind(sets)} data, profile {profile.name}")
        print(report(intervals(scores, seed)))
        for name, error in metrics.missing(measured).items():
            print(f"{name} is missing: {error}")
    if isinstance(model, DeMoE) or getattr(model, "mlp_branch", None) is not None:
        print(f"router accuracy: {route(model, sets, device).correct.mean():.3f}")
    if pictures:
        print(f"restored pictures: {pictures}")
    if csv:
        print(f"scores of every picture: {csv}")
    return 0
