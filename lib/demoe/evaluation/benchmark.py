"""Every model on every set: one row a picture, and what is kept of it. The averages are in ``statistics``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from demoe.core import images, provenance
from demoe.core.files import Journal, alone, kept, write_text
from demoe.data.pairs import PairedSet

from . import metrics
from .methods import Made, Method

DECIMALS = 5  # of a score in a CSV
Rows = Callable[[PairedSet, int], list[dict]]  # what is measured of picture i of a set
# Of a restored and its sharp picture, (1, 3, H, W): a number, by its column, one of ``metrics.ELSEWHERE``.
Further = Mapping[str, Callable[[Tensor, Tensor], Tensor]]


def score(
    sets: Sequence[PairedSet],
    compared: Mapping[str, Method],
    device: str = "cpu",
    progress: bool = True,
    *,
    measured: Sequence[str] = metrics.DEFAULT,
    further: Further | None = None,
    file: Path | None = None,
    config: Mapping | None = None,
    mark: provenance.Stamp | None = None,
    pictures: Path | None = None,
    fresh: bool = False,
) -> pd.DataFrame:
    """The metrics ``measured`` (names in ``metrics.METRICS``), and what is ``further``, of every method and picture.

    Columns: set, image, method, a column a metric (NaN where it is missing), missing (why, or ""), how ("whole" or
    "tiles of 1024": what the network saw at a time). With ``mark`` its columns follow, and ``data`` is each set's own.

    With ``file`` the rows also go into that CSV, which appears when all are there; interrupted, the same call goes on
    where it stopped and ends with the same bytes (numbers have five decimals, also those returned). Rows are only kept
    for the same sets, methods, metrics, stamp and ``config``, which should say all else that they depend on: the
    weights. ``fresh`` forgets them. ``pictures`` is a folder for what the methods restored, 8-bit PNG, one a picture:
    set/method/key.png.

    Raises ``ValueError`` for an unknown metric, an empty comparison, two sets of one name or two pictures of one key,
    and while another process writes ``file``.
    """
    further, stamps = further or {}, mark.columns() if mark else {}
    head = ["set", "image", "method", *metrics.columns(measured), *further, "missing", "how", *stamps]
    _check(sets, compared)

    def rows_of(pairs: PairedSet, i: int) -> list[dict]:
        blurred, sharp = batch_of_one(pairs, i, device)
        rows = []
        for name, method in compared.items():
            made = method(blurred, pairs)
            image, how = made if isinstance(made, Made) else (made, "" if made is None else "whole")
            if pictures and image is not None:
                target = picture_file(pictures, pairs.name, name, pairs.keys[i])
                images.write_photograph(target, images.Photograph(image[0]))
            found = metrics.measure(image, sharp, measured)
            row = {"set": pairs.name, "image": pairs.keys[i], "method": name, **found.values}
            row |= {column: _further(function, image, sharp) for column, function in further.items()}
            row |= {"missing": found.reasons, "how": how}
            rows.append(row | mark.columns() | {"data": pairs.data} if mark else row)
        return rows

    if file is None:
        return pd.DataFrame([row for rows in _all_rows(sets, rows_of, progress) for row in rows], columns=head)
    stamped = {"stamp": mark.columns() if mark else None, "pictures": str(pictures)}
    identity = provenance.config_hash(_identity(sets, compared, measured, further, config) | stamped)
    busy = f"another process is writing {file}: wait for it to end, or choose another file"
    with alone(file.with_name(f".{file.name}.lock"), busy, wait=False):
        journal = Journal(file.with_name(f"{file.name}.partial"), head, identity, len(compared), fresh)
        for rows in _all_rows(sets, rows_of, progress, len(journal.rows) // len(compared)):
            journal.append([{column: _cell(row[column]) for column in head} for row in rows])
        journal.finish(file)
    return read_scores(file)


@torch.no_grad()
def _further(function: Callable[[Tensor, Tensor], Tensor], image: Tensor | None, sharp: Tensor | None) -> float:
    return math.nan if image is None or sharp is None else float(function(image, sharp))


def batch_of_one(pairs: PairedSet, i: int, device: str) -> tuple[Tensor, Tensor | None]:
    """Pair ``i`` as (1, 3, H, W) in [0, 1] on ``device``: blurred, and sharp or None."""
    blurred, sharp = pairs.pair(i)
    return blurred.unsqueeze(0).to(device), None if sharp is None else sharp.unsqueeze(0).to(device)


def restored(
    pairs: PairedSet, key: str, compared: Iterable[tuple[str, Method]], device: str = "cpu", between: str = "\n"
) -> list[tuple[str, Tensor]]:
    """What methods make of the picture ``key`` of a set, for figures: (title, picture (3, H, W) in [0, 1]).

    A title is a method's name, then ``between`` and the PSNR of the whole picture. The sharp one comes last, if there
    is one. A method that does not apply to the set is left out.
    """
    blurred, sharp = batch_of_one(pairs, list(pairs.keys).index(key), device)
    found = []
    for name, method in compared:
        made = method(blurred, pairs)
        if made is not None:
            image = made.image if isinstance(made, Made) else made
            title = name if sharp is None else f"{name}{between}{metrics.psnr(image, sharp).item():.2f} dB"
            found.append((title, image[0].cpu()))
    return found if sharp is None else [*found, ("sharp", sharp[0].cpu())]


def _all_rows(sets: Sequence[PairedSet], rows_of: Rows, progress: bool, done: int = 0) -> Iterator[list[dict]]:
    """``rows_of`` every picture, one after the other; the first ``done`` pictures are left out."""
    todo = [(pairs, i) for pairs in sets for i in range(len(pairs))]
    shown = {"desc": "scoring", "unit": "picture", "leave": False, "disable": not progress}
    for pairs, i in tqdm(todo[done:], initial=done, total=len(todo), **shown):
        yield rows_of(pairs, i)


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
    sets: Sequence[PairedSet],
    compared: Mapping[str, Method],
    measured: Sequence[str],
    further: Further,
    config: Mapping | None,
) -> dict:
    """All that the rows depend on, as far as it is known here: what restored, the pictures, the code from them to the
    numbers, and those of the metrics that this machine lacks something for."""
    kinds = {pairs.data for pairs in sets}
    origin = (("blur", "data") if "synthetic" in kinds else ()) + (("data", "data/real") if "real" in kinds else ())
    return {
        **{"methods": list(compared), "metrics": [*measured, *further], "config": dict(config or {})},
        "missing": {name: error.reason for name, error in metrics.missing(measured).items()},
        "sets": [[pairs.name, pairs.data, pairs.peak, list(pairs.keys)] for pairs in sets],
        "code": provenance.code_hash("core", "models", "inference", "evaluation", *dict.fromkeys(origin)),
    }


def _cell(value: object) -> str:
    """A value as it stands in a CSV of scores: numbers with ``DECIMALS``, nothing for what is missing."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.{DECIMALS}f}"
    return str(value)


def read_scores(file: Path) -> pd.DataFrame:
    """The scores in a CSV that ``score`` wrote. Text stays text: a key "007" is no number, and "NA" is no gap."""
    head = pd.read_csv(file, nrows=0).columns
    texts = dict.fromkeys(("set", "image", "method", "missing", "how", "profile", "data", "commit"), str)
    numbers = dict.fromkeys((name for name in head if name in metrics.LABELS), float)
    scores = pd.read_csv(file, dtype=texts, keep_default_na=False, na_values={name: [""] for name in numbers})
    return scores.astype(numbers)


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
    further: Further | None = None,
    pictures: bool = False,
) -> tuple[pd.DataFrame, Path]:
    """``score`` as a run with a folder of its own: done once, loaded afterwards, continued if it was interrupted.

    ``config`` says what the methods are (hashes of the trainings, files of weights, whole or tiled), and by which code
    ``further`` is measured. The folder,
    ``results/<profile>/runs/benchmark-<name>-s<seed>-<hash of all that the scores depend on>``, gets scores.csv (a row
    a picture) and config.json, with what the hash is of and the stamp; with ``pictures`` the restored pictures as well.
    A process that finds another one at work there waits for it; a file that is damaged is set aside and made again.
    Returns the scores and the folder.
    """
    identity = _identity(sets, compared, measured, further or {}, config) | {"pictures": pictures}
    folder = provenance.run_folder(mark.profile, f"benchmark-{name}", mark.seed, identity)
    file = folder / "scores.csv"
    busy = f"another process is scoring {folder.name}: waiting for it" if progress else ""
    with kept(folder, [file.name], busy=busy) as missing:
        if missing:
            text = json.dumps(provenance.full(mark) | identity, indent=2, default=str) + "\n"
            write_text(folder / "config.json", text)
            keep = {"file": file, "config": config, "mark": mark, "pictures": folder / "pictures" if pictures else None}
            score(sets, compared, device, progress, measured=measured, further=further, **keep)
        file.with_name(f"{file.name}.partial").unlink(missing_ok=True)  # of a process killed after the CSV was there
    return read_scores(file), folder
