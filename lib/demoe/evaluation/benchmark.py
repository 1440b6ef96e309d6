"""Every model on every set: one row a picture, and what is kept of it. The averages are in ``statistics``."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe import images, provenance
from demoe.data.pairs import PairedSet
from demoe.model.demoe import DeMoE
from demoe.paths import results_dir, write_text
from demoe.profiles import Profile
from demoe.tasks import EXPERTS

from . import metrics
from .journal import Journal
from .restore import restore
from .statistics import intervals, report, summarise

__all__ = ["blurred_input", "evaluate_command", "methods", "route", "run", "score", "summarise"]

# (1, 3, H, W) blurred -> restored, given the set it is from; None where the method does not apply to that set
Method = Callable[[Tensor, PairedSet], Tensor | None]
DECIMALS = 5  # of a score in a CSV


def blurred_input(image: Tensor, pairs: PairedSet) -> Tensor:
    """The picture as it came: the score that restoration has to beat."""
    return image


def methods(baseline: nn.Module | None, demoe: DeMoE | None) -> dict[str, Method]:
    """The columns of the comparison: input, baseline, DeMoE with the router's one best expert, mixing all five, and
    with the expert of the set's blur chosen by hand (which sets of no expert do not have)."""
    found: dict[str, Method] = {"input": blurred_input}
    if baseline is not None:
        found["baseline"] = lambda image, pairs: restore(baseline, image).image
    if demoe is not None:
        found["DeMoE k=1"] = lambda image, pairs: restore(demoe, image, k=1).image
        found["DeMoE k=5"] = lambda image, pairs: restore(demoe, image, k=5).image
        found["DeMoE manual"] = lambda image, pairs: (
            None if pairs.label is None else restore(demoe, image, expert=EXPERTS[pairs.label]).image
        )
    return found


def score(
    sets: Sequence[PairedSet],
    compared: Mapping[str, Method],
    device: str = "cpu",
    progress: bool = True,
    *,
    measured: Sequence[str] = metrics.DEFAULT,
    file: Path | None = None,
    config: Mapping | None = None,
    mark: provenance.Stamp | None = None,
    pictures: Path | None = None,
    fresh: bool = False,
) -> pd.DataFrame:
    """The metrics ``measured`` (names in ``metrics.METRICS``) of every method on every picture.

    Columns: set, image, method, a column a metric (NaN where it is missing), missing (why, or ""). With ``mark`` its
    columns follow, and ``data`` is each set's own.

    With ``file`` the rows also go into that CSV, which appears when all are there; interrupted, the same call goes on
    where it stopped and ends with the same bytes (numbers have five decimals, also those returned). Rows are only kept
    for the same sets, methods, metrics, stamp and ``config``, which should say all else that they depend on: the
    weights. ``fresh`` forgets them. ``pictures`` is a folder for what the methods restored, 8-bit PNG, one a picture:
    set/method/key.png.

    Raises ``ValueError`` for an unknown metric, an empty comparison, two sets of one name or two pictures of one key.
    """
    head = ["set", "image", "method", *metrics.columns(measured), "missing", *(mark.columns() if mark else ())]
    _check(sets, compared)
    journal = None
    if file:
        identity = _identity(sets, compared, measured, config, [mark.columns() if mark else None, str(pictures)])
        journal = Journal(file, head, identity, len(compared), fresh)
    rows = []
    for group in _rows(sets, compared, measured, device, progress, pictures, journal.kept if journal else 0):
        group = [row | (mark.columns() | {"data": kind} if mark else {}) for row, kind in group]
        if journal:
            journal.append([[_cell(row[column]) for column in head] for row in group])
        rows += group
    return read(journal.finish()) if journal else pd.DataFrame(rows, columns=head)


def _rows(
    sets: Sequence[PairedSet], compared: Mapping[str, Method], measured: Sequence[str], device: str, progress: bool,
    pictures: Path | None, done: int,
) -> Iterator[list[tuple[dict, str]]]:
    """A picture's rows at a time, each with its set's kind of data; the first ``done`` rows are left out."""
    todo = [(pairs, i) for pairs in sets for i in range(len(pairs))]
    skipped = done // len(compared)
    bar = tqdm(todo[skipped:], desc="scoring", unit="picture", leave=False, disable=not progress,
               initial=skipped, total=len(todo))
    for pairs, i in bar:
        blurred, sharp = (None if side is None else side.unsqueeze(0).to(device) for side in pairs.pair(i))
        group = []
        for name, method in compared.items():
            image = method(blurred, pairs)  # (1, 3, H, W) or None
            if pictures and image is not None:
                images.write(picture_file(pictures, pairs.name, name, pairs.keys[i]), images.Photograph(image[0]))
            found = metrics.measure(image, sharp, measured)
            row = {"set": pairs.name, "image": pairs.keys[i], "method": name, **found.values, "missing": found.reasons}
            group.append((row, pairs.data))
        yield group


def picture_file(folder: Path, dataset: str, method: str, key: str) -> Path:
    """Where ``score`` puts a restored picture. Characters that a file system may refuse become "_"."""
    parts = [re.sub(r"[^\w.=+()-]+", "_", part) for part in (dataset, method, *key.split("/"))]
    parts = [part if part.strip(".") else "_" for part in parts]
    return folder.joinpath(*parts[:-1], parts[-1] + ".png")


def _check(sets: Sequence[PairedSet], compared: Mapping[str, Method]) -> None:
    names = [pairs.name for pairs in sets]
    if not compared or not any(len(pairs) for pairs in sets):
        raise ValueError("there is nothing to compare: give at least one method, and one set with a picture")
    if len(set(names)) != len(names):
        raise ValueError(f"sets of one name could not be told apart: {', '.join(names)}")
    for pairs in sets:
        if len(set(pairs.keys)) != len(pairs.keys):
            raise ValueError(f"{pairs.name} has two pictures of one key, which could not be told apart")


def _identity(
    sets: Sequence[PairedSet], compared: Mapping[str, Method], measured: Sequence[str], config: Mapping | None,
    more: object = None,
) -> str:
    """Changes with all that the rows depend on, as far as it is known here."""
    return provenance.config_hash({
        "sets": [[pairs.name, pairs.data, pairs.peak, list(pairs.keys)] for pairs in sets],
        "methods": list(compared), "metrics": list(measured), "config": dict(config or {}), "more": more,
        "missing": _missing(measured), "code": provenance.code_hash("evaluation", "model"),
    })


def _missing(measured: Sequence[str]) -> dict[str, str]:
    return {name: error.reason for name, error in metrics.missing(measured).items()}


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.{DECIMALS}f}"
    return str(value)


def gain(model: nn.Module, pairs: PairedSet, device: str = "cpu") -> tuple[float, float]:
    """Mean PSNR (dB) of a set's blurred pictures, and of what ``model`` makes of them."""
    compared = {"input": blurred_input, "network": lambda image, pairs: restore(model, image).image}
    means = score([pairs], compared, device, progress=False, measured=("psnr",)).groupby("method").psnr.mean()
    return float(means["input"]), float(means["network"])


def read(file: Path) -> pd.DataFrame:
    """The scores in a CSV that ``score`` wrote. Text stays text: a key "007" is no number, and "NA" is no gap."""
    texts = ("set", "image", "method", "missing", "profile", "data", "commit")
    head = pd.read_csv(file, nrows=0).columns
    scores = pd.read_csv(file, dtype={name: str for name in texts if name in head}, keep_default_na=False,
                         na_values={name: [""] for name in head if name in metrics.LABELS})
    return scores.astype({name: float for name in head if name in metrics.LABELS})


def run(
    name: str,
    sets: Sequence[PairedSet],
    compared: Mapping[str, Method],
    config: Mapping,
    mark: provenance.Stamp,
    device: str = "cpu",
    progress: bool = True,
    *,
    measured: Sequence[str] = metrics.DEFAULT,
    pictures: bool = False,
    fresh: bool = False,
) -> tuple[pd.DataFrame, Path]:
    """``score`` as a run with a folder of its own: done once, loaded afterwards, continued if it was interrupted.

    ``config`` says what the methods are (hashes of the trainings, files of weights, whole or tiled). The folder,
    ``results/<profile>/runs/benchmark-<name>-s<seed>-<hash>``, gets scores.csv, config.json, and with ``pictures`` the
    restored pictures. Returns the scores and the folder; ``intervals`` makes the summary of them.
    """
    identity = _identity(sets, compared, measured, config, pictures)
    folder = results_dir(mark.profile) / "runs" / f"benchmark-{name}-s{mark.seed}-{identity}"
    file = folder / "scores.csv"
    if fresh and folder.exists():
        shutil.rmtree(folder)
    if file.is_file():
        return read(file), folder
    about = {"config": dict(config), "sets": {pairs.name: len(pairs) for pairs in sets}, "methods": list(compared),
             "metrics": list(measured), "missing": _missing(measured)}
    write_text(folder / "config.json", json.dumps(provenance.full(mark) | about, indent=2, default=str) + "\n")
    scores = score(sets, compared, device, progress, measured=measured, file=file, config=config, mark=mark,
                   pictures=folder / "pictures" if pictures else None)
    return scores, folder


@torch.no_grad()
def route(model: nn.Module, sets: list[PairedSet], device: str = "cpu") -> pd.DataFrame:
    """The router's softmax on every picture. Columns: set, image, label, predicted, correct, and one an expert.

    ``label`` is "" and ``correct`` missing for a set that belongs to no expert.
    """
    rows = []
    for pairs in sets:
        for i in range(len(pairs)):
            image = pairs.pair(i)[0].unsqueeze(0).to(device)  # (1, 3, H, W)
            logits = model(image).logits if isinstance(model, DeMoE) else model.classify(image).logits
            weights = F.softmax(logits.float(), 1)[0].tolist()
            predicted = EXPERTS[max(range(len(weights)), key=weights.__getitem__)]
            label = "" if pairs.label is None else EXPERTS[pairs.label]
            row = {"set": pairs.name, "image": pairs.keys[i], "label": label, "predicted": predicted}
            correct = predicted == label if label else None
            rows.append(row | {"correct": correct} | dict(zip(EXPERTS, weights, strict=True)))
    return pd.DataFrame(rows).astype({"correct": "boolean"})


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
) -> int:
    """``demoe evaluate``: prints the metrics a set and the router's accuracy; ``csv`` gets a row a picture.

    The network is that of ``weights``, or the experiment's, trained first if need be. ``pictures`` is a folder for the
    restored pictures. With ``csv``, an interrupted call is continued unless ``fresh``. Returns the exit status, 0.
    """
    import hashlib

    from demoe import experiments
    from demoe.data import aio
    from demoe.model import checkpoints
    from demoe.report import tables

    metrics.columns(measured)  # an unknown one is told before anything is trained
    device = experiments.default_device()
    if weights:
        model, trained = checkpoints.load(weights, device), None
        config = {"weights": hashlib.sha256(weights.read_bytes()).hexdigest()}
    else:
        trained = experiments.train_experiment(experiment, profile, seed, data_root)
        model, config = trained.model, {"training": trained.config}
    # A DeMoE of ours is shown beside the baseline that it was made from; a file's has none that we know.
    known = isinstance(model, DeMoE) and not weights
    baseline = experiments.baseline(profile, seed, data_root).model if known else None
    sets = aio.aio_blur(profile, "test", seed, data_root)
    plain = {"input": blurred_input, "network": lambda image, pairs: restore(model, image).image}
    compared = methods(baseline, model) if isinstance(model, DeMoE) else plain
    mark = provenance.stamp(profile.name, aio.kind(sets), seed)
    scores = score(sets, compared, device, measured=measured, file=csv, config=config, mark=mark, pictures=pictures,
                   fresh=fresh)
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
