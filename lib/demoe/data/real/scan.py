"""Looking through folders of pictures: what counts as one, and which folders have the shape that a ``Form`` describes.

Resource forks (``._x.png``), hidden files, ``__MACOSX`` and ``@eaDir`` are passed over. Symbolic links are followed,
each folder once, so that a link back to its own folder ends there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from . import lmdb_files
from .description import Form
from .pixels import SUFFIXES

SKIPPED = frozenset({"__macosx", "@eadir"})
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "test_wo_folder": "test",
}
# "test (1)": what a browser makes of a second test.zip. "_crops": training patches.
_SPLIT = rf"(?P<split>{'|'.join(SPLITS)})(?: ?\(\d+\))?"


@dataclass(frozen=True)
class Place:
    """A folder of pictures of one kind, found below a dataset's folder."""

    folder: Path
    split: str = ""  # "" where the path does not say
    kind: str = ""  # the word in lower case; "" if ``files`` finds it in each name, or the form has a fixed role
    role: str = ""  # as in the form
    crops: bool = False
    lmdb: bool = False
    named: bool = False  # a part of the path is one of the dataset's names
    file: re.Pattern | None = None  # what a file's name must look like; None: all pictures below


def entries(folder: Path) -> list[os.DirEntry]:
    """What is in a folder, by name, without what no one looks at; empty if it cannot be opened."""
    try:
        with os.scandir(folder) as found:
            kept = [e for e in found if not e.name.startswith(".") and e.name.lower() not in SKIPPED]
    except OSError:
        return []
    return sorted(kept, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry) -> bool:
    """Also for a link to a folder; False for a link that leads nowhere or in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, by name."""
    return [Path(entry.path) for entry in entries(folder) if is_folder(entry)]


def is_picture(name: str) -> bool:
    """By the suffix, in any letter case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def pictures(folder: Path) -> Iterator[Path]:
    """The files below ``folder`` that have a picture's suffix, subfolders included; sorted folder by folder."""
    yield from _pictures(folder, set())


def _pictures(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    for entry in entries(folder):
        if is_folder(entry):
            yield from _pictures(Path(entry.path), seen)
        elif is_picture(entry.name):
            yield Path(entry.path)


def files(place: Place) -> list[Path]:
    """The pictures of a place, with virtual paths in an LMDB. Raises as ``lmdb_files.keys``."""
    if place.lmdb:
        return [place.folder / key for key in lmdb_files.keys(place.folder)]
    if place.file is None:
        return list(pictures(place.folder))
    return [
        Path(entry.path)
        for entry in entries(place.folder)
        if is_picture(entry.name) and place.file.fullmatch(entry.name) and not is_folder(entry)
    ]


def places(root: Path, form: Form, kinds: tuple[str, ...], is_name: Callable[[str], bool]) -> list[Place]:
    """The folders below ``root`` that fit ``form``; nothing but what may fit is looked into."""
    words = "|".join(re.escape(kind) for kind in kinds)
    *above, last = form.path.split("/")
    patterns = [_pattern(part, words, r"(?P<crops>_crops)?(?P<lmdb>\.lmdb)?") for part in above]
    start = Place(root, split=form.split, role=form.role)
    if last != "**":
        start = replace(start, file=_pattern(last, words, ""))
    found: list[Place] = []
    _descend(start, above, patterns, is_name, found)
    return found


def _pattern(part: str, words: str, behind: str) -> re.Pattern:
    part = part.replace("<split>", _SPLIT).replace("<kind>", rf"(?P<kind>{words}){behind}")
    return re.compile(part.replace("<name>", "(?P<name>.+)"), re.IGNORECASE)


def _descend(
    here: Place, parts: list[str], patterns: list[re.Pattern], is_name: Callable[[str], bool], found: list[Place]
) -> None:
    if not parts:
        found.append(here)
        return
    for folder in folders(here.folder):
        match = patterns[0].fullmatch(folder.name)
        if not match:
            continue
        groups = match.groupdict()
        if "name" in groups and not is_name(folder.name):
            continue
        split, kind = groups.get("split"), groups.get("kind")
        inside = replace(
            here,
            folder=folder,
            split=SPLITS[split.lower()] if split else here.split,
            kind=kind.lower() if kind else here.kind,
            crops=here.crops or bool(groups.get("crops")),
            lmdb=here.lmdb or bool(groups.get("lmdb")),
            named=here.named or "name" in groups,
        )
        if inside.lmdb and not _is_database(folder):
            continue
        _descend(inside, parts[1:], patterns[1:], is_name, found)
        if parts[0] == "<split>":  # test/test/..., after unpacking test.zip into a folder test
            for again in folders(folder):
                if again.name == folder.name:
                    _descend(replace(inside, folder=again), parts[1:], patterns[1:], is_name, found)


def _is_database(folder: Path) -> bool:
    return (folder / "data.mdb").is_file() or (folder / "meta_info.txt").is_file()
