"""What was found of a dataset on disk, and what is wrong with it or worth knowing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from demoe.data.pairs import FilePair

from .description import Dataset

LEVELS = ("error", "warning", "info")
SHOWN = 10  # files that are named; the rest is counted
COUNTED = re.compile(r"\[([^]|]*)\|([^]|]*)\]")


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

    @property
    def sentence(self) -> str:
        """Message, the first three files and what to do, in a line."""
        named = f": {', '.join(self.files[:3])}" if self.files else ""
        more = f" and {self.count - 3} more" if self.count > 3 else ""
        return f"{self.message}{named}{more}" + (f"; {self.fix}" if self.fix else "")


class Noting:
    """What problems are noted on: a dataset, or, where it has a ``name``, a split."""

    problems: list[Problem]

    def note(self, level: str, kind: str, message: str, fix: str = "", files: Iterable[object] = ()) -> None:
        """Adds a problem that names the first ten of ``files``.

        At its beginning "[file is|files are] empty" counts them, "1 file is empty" or "2 files are empty"; nothing is
        added where there are none to count.
        """
        named = [str(file) for file in files]
        if counted := COUNTED.match(message):
            if not named:
                return
            message = f"{len(named)} {counted[1 if len(named) == 1 else 2]}{message[counted.end() :]}"
        split = getattr(self, "name", "")
        self.problems.append(Problem(level, kind, message, fix, split, tuple(named[:SHOWN]), len(named)))


@dataclass
class Split(Noting):
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


@dataclass
class Recognition(Noting):
    """What was found of a dataset below ``base``. Empty ``splits``: nothing that could be recognised."""

    dataset: Dataset
    base: Path
    splits: dict[str, Split] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
