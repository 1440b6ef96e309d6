"""``demoe evaluate`` of a network: trains it if need be, scores it on the test sets, and prints what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demoe import experiments
from demoe.core import images, provenance
from demoe.data import aio_blur, pairs
from demoe.data.setting import Setting
from demoe.evaluation import metrics
from demoe.evaluation.benchmark import score
from demoe.evaluation.methods import blurred_input, methods, network
from demoe.evaluation.router import router_view
from demoe.evaluation.statistics import intervals, report, shown, summarise
from demoe.models import published
from demoe.models.outputs import experts_of
from demoe.report import tables


def evaluate_command(
    experiment: str | None,
    weights: Path | None,
    setting: Setting,
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
        spec = experiments.named(experiment, setting)
        model, name, config = experiments.obtain(spec, setting).model, "network", {"training": spec.configuration()}
    large = {"tile": tile, "max_memory": max_memory}
    config |= large
    # A DeMoE of ours is shown beside the baseline that it was made from; a file's has none that we know.
    known = experts_of(model) and not weights
    baseline = experiments.obtain(experiments.named("baseline", setting), setting).model if known else None
    sets = aio_blur.aio_blur(setting, "test")
    plain = {"input": blurred_input, name: network(model, **large)}
    compared = methods(baseline, model, **large) if experts_of(model) else plain
    mark = provenance.stamp(setting.profile.name, aio_blur.kind(sets), setting.seed)
    scores = score(
        sets, compared, device, measured=measured, file=csv, config=config, mark=mark, pictures=pictures, fresh=fresh
    )
    if tuple(measured) == metrics.DEFAULT:
        print(f"PSNR (dB) / SSIM, {aio_blur.kind(sets)} data, profile {setting.profile.name}")
        print(tables.by_set(summarise(scores)).to_string())
    else:
        print(f"{aio_blur.kind(sets)} data, profile {setting.profile.name}")
        print(report(intervals(scores, setting.seed)))
        for name, error in metrics.missing(measured).items():
            print(f"{name} is missing: {error}")
    if getattr(model, "mlp_branch", None) is not None:
        print(f"router accuracy: {router_view(model, sets, device).table.correct.mean():.3f}")
    if pictures:
        print(f"restored pictures: {pictures}")
    if csv:
        print(f"scores of every picture: {csv}")
    return 0


# ``demoe evaluate PREDICTIONS REFERENCES``: the scores of anyone's pictures.


SHOWN = 30  # pictures printed one by one


def paired(predictions: Path, references: Path) -> pairs.PairedSet:
    """Two folders of pictures with equal names below them (suffixes may differ), as a set: predictions as "blurred".

    Files of 16 bits are read by their upper 8. Raises ``FileNotFoundError`` for a missing or empty folder, and
    ``ValueError`` naming a picture without a partner, a pair of different sizes or a file that is no picture.
    """
    found = pairs.folder(references.resolve().name or str(references), predictions, references)
    for i in range(len(found)):
        found.read(i, (0, 0, 1, 1))  # only their heads: a pair of different sizes is told before anything is scored
    return found


def evaluate_folders(
    predictions: Path,
    references: Path,
    measured: Sequence[str] = metrics.DEFAULT,
    csv: Path | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> int:
    """Prints the metrics of every picture (of up to 30) and their means; ``csv`` gets a row a picture.

    With ``csv``, an interrupted call is continued unless ``fresh`` or a picture has changed. Returns the exit status:
    0 also if a metric is missing, which is said. Raises ``ValueError`` for an unknown metric, and as ``paired`` does.
    """
    names = metrics.columns(measured)
    pair = paired(predictions, references)
    files = [file for folder in (predictions, references) for file in images.list_photographs(folder)]
    state = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    method = predictions.resolve().name or str(predictions)
    scores = score(
        [pair],
        {method: blurred_input},
        progress=progress,
        measured=measured,
        file=csv,
        config={"files": state},
        fresh=fresh,
    )
    if len(scores) <= SHOWN:
        cells = {column: [shown(value) for value in scores[column]] for column in names}
        print(scores[["image"]].assign(**cells).rename(columns=metrics.LABELS).to_string(index=False), end="\n\n")
    # What the pictures show is not known: each counts as a scene of its own unless it lies in a folder.
    means = intervals(scores)
    print(report(means[means["set"] != "Average"]))
    for reason in dict.fromkeys(reason for cell in scores["missing"] for reason in cell.split("; ") if reason):
        print(f"{reason} ({sum(reason in cell.split('; ') for cell in scores['missing'])} pictures)")
    for name, error in metrics.missing(measured).items():
        print(f"{name}: {error}")
    if csv:
        print(f"scores of every picture: {csv}")
    return 0
