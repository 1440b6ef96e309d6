"""Official list files: which pairs belong to which split. They count by the pictures' keys, wherever these lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .description import Dataset
from .findings import Problem, problem
from .scan import entries, folders, is_folder

_SHARP = re.compile(r"(?:^|/)(?:gt|sharp|target)/", re.I)


@dataclass
class Lists:
    """What the list files next to a dataset say. ``keys[split]`` maps a pair's key to its blurred path in the list."""

    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(dataset: Dataset, around: Iterable[Path], key_of: Callable[[str], str]) -> Lists:
    """The lists of ``dataset`` in the folders ``around``, in each one's parent and in a folder ``datalist`` of them.

    Lists that are called no more than ``test.txt`` are looked for in ``around`` alone.
    """
    found = Lists()
    at_hand: dict[str, Path] = {}
    for folder in _places(dataset, around):
        for entry in entries(folder):
            if entry.name.lower().endswith(".txt") and not is_folder(entry):
                at_hand.setdefault(entry.name.lower(), Path(entry.path))
    for split, alternatives in dataset.lists.items():
        for names in alternatives:
            files = tuple(at_hand[name.lower()] for name in names if name.lower() in at_hand)
            if len(files) == len(names):
                found.files[split] = files
                found.keys[split] = {}
                for file in files:
                    found.keys[split] |= _parse(dataset, file, split, key_of, found.problems)
                break
    return found


def _places(dataset: Dataset, around: Iterable[Path]) -> list[Path]:
    places: dict[Path, None] = {}
    for root in around:
        for folder in (root, root.parent) if dataset.list_fields > 1 else (root,):
            places[folder] = None
            for inner in folders(folder):
                if inner.name.lower() == "datalist":
                    places[inner] = None
                    places |= {deeper: None for deeper in folders(inner) if dataset.known_folder(deeper.name)}
    return list(places)


def _parse(
    dataset: Dataset, file: Path, split: str, key_of: Callable[[str], str], problems: list[Problem]
) -> dict[str, str]:
    """Key -> path of the blurred picture as listed. A line that cannot be understood becomes an error."""
    keys: dict[str, str] = {}
    strange = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        fields = line.replace("\\", "/").split()
        if not fields:
            continue
        if dataset.list_fields == 1 and len(fields) == 1:
            blurred = fields[0]
        else:
            sharp = [bool(_SHARP.search(one)) for one in fields]
            if len(fields) != 2 or dataset.list_fields != 2 or sum(sharp) != 1:
                strange.append(f"line {number}: {line.strip()}")
                continue
            blurred, other = fields[sharp.index(False)], fields[sharp.index(True)]
            if key_of(blurred) != key_of(other):
                strange.append(f"line {number}: {line.strip()}")
                continue
        keys[key_of(blurred)] = blurred
    if strange:
        wanted = "one file name" if dataset.list_fields == 1 else "a sharp and a blurred picture of one pair"
        level = "error" if dataset.list_fields > 1 else "warning"
        problems.append(
            problem(
                level,
                "list",
                f"{file} has lines that are not {wanted}",
                "fetch the official list again",
                split,
                strange,
            )
        )
    return keys
