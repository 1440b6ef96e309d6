"""From folders to pictures with keys, and from these to splits."""

from __future__ import annotations

import os
import re

from . import catalog, lmdb_files, scan
from .candidates import Candidate
from .description import Dataset
from .findings import Problem, Recognition, many, problem
from .lists import Lists
from .matching import Picture
from .scan import Place

Sides = tuple[list[Picture], list[Picture]]  # blurred, sharp


def key(dataset: Dataset, path: str) -> str | None:
    """The key in a path below the dataset's folder; None where the dataset's pattern does not fit."""
    match = re.search(dataset.key, path, re.IGNORECASE) if dataset.key else None
    return dataset.key_format.format(*match.groups()) if match else None


def group(dataset: Dataset, key: str) -> str:
    """The sequence, scene or picture that must be in one split only."""
    return key.split("/")[0] if dataset.group == "first" else key


def sides(dataset: Dataset, candidate: Candidate, problems: list[Problem]) -> tuple[Sides, bool]:
    """The blurred and the sharp pictures of a candidate, and whether they are training patches.

    A patch goes by its name: the dataset's key would be one for all patches of a picture.
    """
    blurred = _pictures(dataset, candidate, candidate.blurred, dataset.blurred[candidate.variant], problems)
    sharp = _pictures(dataset, candidate, candidate.sharp, dataset.sharp, problems)
    if not candidate.crops and not _are_patches(dataset, blurred or sharp):
        return (blurred, sharp), False
    return tuple([Picture(one.stem, one.stem, one.path) for one in side] for side in (blurred, sharp)), True


def _pictures(
    dataset: Dataset, candidate: Candidate, places: list[Place], words: tuple[str, ...], problems: list[Problem]
) -> list[Picture]:
    found = []
    for place in places:
        try:
            paths = scan.files(place)
            problems += _database_problems(place) if place.lmdb else []
        except (ValueError, lmdb_files.NoPackage) as error:
            problems.append(problem("error", "lmdb", str(error), "fetch it again, or install what is missing"))
            continue
        if place.file is not None and not place.role:  # the kind stands in the file's name
            paths = [path for path in paths if place.file.fullmatch(path.name)["kind"].lower() in words]
        start = candidate.root if candidate.layout == "official" else place.folder
        if dataset.stray:
            stray = [path for path in paths if re.search(dataset.stray, path.name, re.IGNORECASE)]
            if stray:
                problems.append(
                    problem(
                        "warning",
                        "stray",
                        many(len(stray), "picture", "pictures") + " of another kind left out",
                        dataset.stray_why,
                        place.split,
                        stray,
                    )
                )
            paths = [path for path in paths if path not in set(stray)]
        for path in paths:
            below = os.path.relpath(path, place.folder).replace(os.sep, "/")
            stem = below if place.lmdb else os.path.splitext(below)[0]
            text = os.path.relpath(path, start).replace(os.sep, "/") + (".png" if place.lmdb else "")
            found.append(Picture(key(dataset, text) or stem, stem, path))
    return found


def _database_problems(place: Place) -> list[Problem]:
    database = place.folder
    if not lmdb_files.available():
        return [
            problem(
                "warning",
                "lmdb",
                f"{database}: only the lines of meta_info.txt were counted",
                "`pip install lmdb` to read the pictures",
                place.split,
            )
        ]
    listed, stored = lmdb_files.listed(database), lmdb_files.stored(database)
    if listed is None or set(listed) == set(stored):
        return []
    odd = sorted(set(listed) ^ set(stored))
    return [
        problem(
            "error",
            "lmdb",
            f"{database} holds {len(stored)} pictures, its meta_info.txt lists {len(listed)}",
            "fetch or make it again",
            place.split,
            odd,
        )
    ]


def _are_patches(dataset: Dataset, side: list[Picture]) -> bool:
    """Names like ``<stem>_s001`` (NAFNet) or ``<stem>-1`` (Restormer), where ``<stem>`` is a whole picture's name."""
    patterns = [r".+_s\d{3}"] + ([rf"(?:{dataset.stem})-\d+"] if dataset.stem else [])
    patch = re.compile(rf"(?:.*/)?(?:{'|'.join(patterns)})", re.IGNORECASE)
    return bool(side) and sum(bool(patch.fullmatch(one.stem)) for one in side) >= 0.9 * len(side)


def distribute(found: Recognition, both: Sides, listed: Lists, official: bool) -> dict[str, Sides]:
    """Pictures whose path says nothing of a split: to the splits of the lists or of the published split, or, where no
    one published one, all together to the dataset's ``loose_split``. Only the ``official`` layout must have its lists.
    """
    dataset = found.dataset
    by_list = dataset.split_by_list
    keys = catalog.published(dataset.name) | (listed.keys if by_list else {})
    place: dict[str, dict[str, None]] = {}  # of a key, or a group: its splits; two of them are an overlap, told later
    for split, some in keys.items():
        for one in some:
            place.setdefault(one if by_list else group(dataset, one), {})[split] = None
            if dataset.name == "DPDD":  # the sharp pictures have numbers of their own
                place.setdefault(catalog.dpdd_sharp(one), {})[split] = None
    otherwise = () if by_list and keys else (dataset.loose_split,)
    shares: dict[str, Sides] = {split: ([], []) for split in listed.keys} if by_list else {}
    unlisted = []
    for role, side in enumerate(both):
        for one in side:
            here = place.get(one.key if by_list else group(dataset, one.key), otherwise)
            for split in here:
                shares.setdefault(split, ([], []))[role].append(one)
            if not here and role == 0:
                unlisted.append(one.path)
    if unlisted:
        found.note(
            "info",
            "unlisted",
            many(len(unlisted), "blurred picture is", "blurred pictures are") + " in no list: left out",
            files=unlisted,
        )
    if by_list and (official or not keys):
        _missing_lists(found, listed, shares)
    return shares


def _missing_lists(found: Recognition, listed: Lists, shares: dict[str, Sides]) -> None:
    dataset = found.dataset
    missing = {split: names[0][0] for split, names in dataset.lists.items() if split not in listed.keys}
    if not catalog.published(dataset.name):
        if missing and not listed.keys:
            found.note(
                "error",
                "list",
                f"{', '.join(missing.values())} are missing: nothing else tells splits apart",
                f"fetch them from {dataset.home} and put them into {found.base}",
            )
        elif missing:
            found.note(
                "warning",
                "list",
                f"{', '.join(missing.values())} missing: {', '.join(missing)} left out",
                f"fetch from {dataset.home} and put into {found.base}",
            )
        return
    for split, name in missing.items():
        if split in shares:
            found.note(
                "warning",
                "list",
                f"{name} is missing: the published split of this package was used instead",
                "nothing, or fetch the list again",
            )
