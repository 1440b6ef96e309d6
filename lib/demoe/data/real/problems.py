"""What is wrong, or worth knowing, about a dataset on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
