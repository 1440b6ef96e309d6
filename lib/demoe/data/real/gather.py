"""From folders to pictures with keys, and from these to splits: by the paths, by list files, by published splits.

List files count by the pictures' keys, wherever these lie.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import folders, lmdb_files
from .description import Dataset
from .findings import Recognition, Split
from .folders import Candidate, Place

_SHARP = re.compile(r"(?:^|/)(?:gt|sharp|target)/", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """A file and the key it goes by: equal on both sides of a pair, unless ``stem`` decides."""

    key: str
    stem: str  # path below its folder, without the suffix
    path: Path

    def by_name(self) -> Picture:
        """The same, with its stem as its key."""
        return replace(self, key=self.stem)


Sides = tuple[list[Picture], list[Picture]]  # blurred, sharp


def sides(dataset: Dataset, candidate: Candidate, split: Split) -> Sides:
    """The blurred and the sharp pictures of a candidate. Notes on ``split`` what is wrong and whether they are patches.

    A patch goes by its name: the dataset's key would be one for all patches of a picture.
    """
    both = tuple(
        [picture for place in some for picture in _pictures(dataset, candidate, place, words, split)]
        for some, words in ((candidate.blurred, dataset.blurred[candidate.variant]), (candidate.sharp, dataset.sharp))
    )
    split.patches = candidate.crops or _are_patches(dataset, both[0] or both[1])
    return tuple([one.by_name() for one in side] for side in both) if split.patches else both


def _pictures(
    dataset: Dataset, candidate: Candidate, place: Place, words: tuple[str, ...], split: Split
) -> list[Picture]:
    try:
        paths = folders.files(place)
        if place.lmdb:
            _note_database(place.folder, split)
    except ValueError as error:
        split.note("error", "lmdb", str(error), "fetch it again, or install what is missing")
        return []
    if place.file is not None and not place.role:  # the kind stands in the file's name
        paths = [path for path in paths if place.file.fullmatch(path.name)["kind"].lower() in words]
    if dataset.stray:
        stray = {path: None for path in paths if re.search(dataset.stray, path.name, re.IGNORECASE)}
        message = "[picture|pictures] of another kind left out"
        split.note("warning", "stray", message, dataset.stray_why, stray)
        paths = [path for path in paths if path not in stray]
    start = candidate.root if candidate.layout == "official" else place.folder
    found = []
    for path in paths:
        name = os.path.relpath(path, place.folder).replace(os.sep, "/")
        stem = name if place.lmdb else os.path.splitext(name)[0]
        below = os.path.relpath(path, start).replace(os.sep, "/") + (".png" if place.lmdb else "")
        found.append(Picture(dataset.key_of(below) or stem, stem, path))
    return found


def _note_database(database: Path, split: Split) -> None:
    listed, stored = lmdb_files.listed(database), lmdb_files.stored(database)
    if listed is not None and set(listed) != set(stored):
        message = f"{database} holds {len(stored)} pictures, its meta_info.txt lists {len(listed)}"
        split.note("error", "lmdb", message, "fetch or make it again", sorted(set(listed) ^ set(stored)))


def _are_patches(dataset: Dataset, side: list[Picture]) -> bool:
    """Names like ``<stem>_s001`` (NAFNet) or ``<stem>-1`` (Restormer), where ``<stem>`` is a whole picture's name."""
    patterns = [r".+_s\d{3}"] + ([rf"(?:{dataset.stem})-\d+"] if dataset.stem else [])
    patch = re.compile(rf"(?:.*/)?(?:{'|'.join(patterns)})", re.IGNORECASE)
    return bool(side) and sum(bool(patch.fullmatch(one.stem)) for one in side) >= 0.9 * len(side)


@dataclass
class Lists:
    """What the list files next to a dataset say. ``keys[split]`` maps a pair's key to its blurred path in the list."""

    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, tuple[Path, ...]] = field(default_factory=dict)


def read_lists(found: Recognition, around: Iterable[Path]) -> Lists:
    """The dataset's lists in the folders ``around``, in each one's parent and in a folder ``datalist`` of them.

    Lists that are called no more than ``test.txt`` are looked for in ``around`` alone. Notes lines that cannot be
    understood.
    """
    dataset, listed = found.dataset, Lists()
    at_hand: dict[str, Path] = {}
    for folder in _list_folders(dataset, around):
        for entry in folders.entries(folder):
            if entry.name.lower().endswith(".txt") and Path(entry.path).is_file():  # no folder, no dead link
                at_hand.setdefault(entry.name.lower(), Path(entry.path))
    for split, alternatives in dataset.lists.items():
        whole = [names for names in alternatives if all(name.lower() in at_hand for name in names)]
        if whole:
            listed.files[split] = tuple(at_hand[name.lower()] for name in whole[0])
            listed.keys[split] = {}
            for file in listed.files[split]:
                listed.keys[split] |= _parse(found, file)
    return listed


def _list_folders(dataset: Dataset, around: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for root in around:
        for folder in (root, root.parent) if dataset.list_fields > 1 else (root,):
            found.append(folder)
            for inner in folders.subfolders(folder):
                if inner.name.lower() == "datalist":
                    deeper = folders.subfolders(inner)
                    found += [inner, *(other for other in deeper if dataset.known_folder(other.name))]
    return list(dict.fromkeys(found))


def _parse(found: Recognition, file: Path) -> dict[str, str]:
    """Key -> path of the blurred picture as listed. A line that cannot be understood becomes an error."""
    dataset, keys, strange = found.dataset, {}, []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        fields = line.replace("\\", "/").split()
        if not fields:
            continue
        blurred = [name for name in fields if dataset.list_fields == 1 or not _SHARP.search(name)]
        pair = {dataset.key_of(name) or name for name in fields}
        if len(fields) == dataset.list_fields and len(blurred) == len(pair) == 1:
            keys[pair.pop()] = blurred[0]
        else:
            strange.append(f"line {number}: {line.strip()}")
    if strange:
        wanted, level = "a sharp and a blurred picture of one pair", "error"
        if dataset.list_fields == 1:
            wanted, level = "one file name", "warning"
        message = f"{file} has lines that are not {wanted}"
        found.note(level, "list", message, "fetch the official list again", strange)
    return keys


def distribute(found: Recognition, both: Sides, listed: Lists, official: bool) -> dict[str, Sides]:
    """Pictures whose path says nothing of a split: to the splits of the lists or of the published split, or, where no
    one published one, all together to the dataset's ``loose_split``. Only the ``official`` layout must have its lists.
    """
    dataset = found.dataset
    by_list, published = dataset.split_by_list, dataset.published
    keys = {**published, **(listed.keys if by_list else {})}
    homes: dict[str, dict[str, None]] = {}  # of a key, or a group: its splits; two of them are an overlap, told later
    for split, some in keys.items():
        for key in some:
            sharp = published.get(split, {}).get(key, key)  # which may have a number of its own
            for name in (key if by_list else dataset.group_of(key), sharp):
                homes.setdefault(name, {})[split] = None
    otherwise = () if by_list and keys else (dataset.loose_split,)
    shares: dict[str, Sides] = {split: ([], []) for split in listed.keys} if by_list else {}
    unlisted = []
    for role, side in enumerate(both):
        for picture in side:
            splits = homes.get(picture.key if by_list else dataset.group_of(picture.key), otherwise)
            for split in splits:
                shares.setdefault(split, ([], []))[role].append(picture)
            if not splits and role == 0:
                unlisted.append(picture.path)
    message = "[blurred picture is|blurred pictures are] in no list: left out"
    found.note("info", "unlisted", message, files=unlisted)
    if by_list and (official or not keys):
        _note_missing_lists(found, listed, shares)
    return shares


def _note_missing_lists(found: Recognition, listed: Lists, shares: dict[str, Sides]) -> None:
    dataset = found.dataset
    missing = {split: names[0][0] for split, names in dataset.lists.items() if split not in listed.keys}
    files = ", ".join(missing.values())
    if dataset.published:
        for name in (missing[split] for split in missing if split in shares):
            message = f"{name} is missing: the published split of this package was used instead"
            found.note("warning", "list", message, "nothing, or fetch the list again")
    elif missing and not listed.keys:
        message = f"{files} are missing: nothing else tells splits apart"
        found.note("error", "list", message, f"fetch them from {dataset.home} and put them into {found.base}")
    elif missing:
        message = f"{files} missing: {', '.join(missing)} left out"
        found.note("warning", "list", message, f"fetch from {dataset.home} and put into {found.base}")
