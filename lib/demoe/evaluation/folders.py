"""``demoe evaluate PREDICTIONS REFERENCES``: the scores of anyone's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demoe import images
from demoe.data import pairs

from . import metrics
from .benchmark import score
from .compared import blurred_input
from .statistics import intervals, report, shown

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
