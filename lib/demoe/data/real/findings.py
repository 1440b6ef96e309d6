"""What was found of a dataset on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from demoe.data.pairs import FilePair

from .description import Dataset

# What is wrong, or worth knowing, about a dataset on disk.


LEVELS = ("error", "warning", "info")
SHOWN = 10  # files that are named; the rest is counted


@dataclass(frozen=True)
class Problem:
    """``kind`` is one word for machines ("unmatched", "empty", ...), ``message`` a sentence, ``fix`` what to do."""

    level: str
    kind: str
    message: str
    fix: str = ""
    split: str = ""
    files: tuple[str, ...] = ()  # the first ten
    count: int = 0  # of all of them


def many(count: int, one: str, more: str) -> str:
    """ "1 file is" or "2 files are"."""
    return f"{count} {one if count == 1 else more}"


def problem(
    level: str, kind: str, message: str, fix: str = "", split: str = "", files: Iterable[object] = ()
) -> Problem:
    """A ``Problem`` that names the first ten of ``files``."""
    named = [str(file) for file in files]
    return Problem(level, kind, message, fix, split, tuple(named[:SHOWN]), len(named))


@dataclass
class Split:
    """One split of a dataset as it lies on the disk."""

    name: str  # "train", "val", "test", or "all" where nothing tells them apart
    layout: str  # "official", "G1" .. "G6"
    root: Path
    variant: str
    blurred: list[Path] = field(default_factory=list)  # folders
    sharp: list[Path] = field(default_factory=list)
    pairing: str = ""  # "list", "published list", "key", "name", "numbers", "order"; "none" without ground truth
    pairs: list[FilePair] = field(default_factory=list)
    patches: bool = False
    missing: tuple[str, ...] = ()  # keys of the official or published list that are not on the disk
    spare: dict[str, Path] = field(default_factory=dict)  # of the sharp pictures that all splits share, those not used
    alone: list[Path] = field(default_factory=list)  # pictures without a partner
    synthetic: bool = False  # made by `demoe data build`, in the layout of the real set
    problems: list[Problem] = field(default_factory=list)

    def note(self, level: str, kind: str, message: str, fix: str = "", files: Iterable[object] = ()) -> None:
        """Adds a problem of this split."""
        self.problems.append(problem(level, kind, message, fix, self.name, files))


@dataclass
class Recognition:
    """What was found of a dataset below ``base``. Empty ``splits``: nothing that could be recognised."""

    dataset: Dataset
    base: Path
    splits: dict[str, Split] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def note(self, level: str, kind: str, message: str, fix: str = "", files: Iterable[object] = ()) -> None:
        """Adds a problem of the whole dataset."""
        self.problems.append(problem(level, kind, message, fix, files=files))
