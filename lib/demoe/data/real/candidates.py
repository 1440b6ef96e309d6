"""Folders that look like the blurred and sharp pictures of a dataset's split, by their names alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from . import scan
from .description import Dataset, Form
from .scan import Place

# Words for blurred and sharp in repackaged copies; the first that exists counts. Letter case does not matter.
BLURRED = ("blur", "input", "lq", "source", "inputC", "low_blur_noise", "blurred", "GT_blurred")
SHARP = ("sharp", "target", "gt", "groundtruth", "high_sharp_scaled")
GENERIC = {
    "G1": Form("<split>/<kind>/**"),
    "G2": Form("<split>/<name>/<kind>/**"),
    "G3": Form("<kind>/**"),
    "G4": Form("<split>_<kind>/**"),  # train_GT_blurred/<sequence>/
}
LAYOUTS = ("official", *GENERIC, "G5", "G6")  # in the order in which they are preferred


@dataclass
class Candidate:
    """The places of one split, or, with ``split`` "", of several that the path does not tell apart."""

    layout: str
    root: Path
    split: str
    variant: str
    blurred: list[Place]
    sharp: list[Place]

    @property
    def crops(self) -> bool:
        return any(place.crops for place in (*self.blurred, *self.sharp))

    @property
    def complete(self) -> bool:
        return bool(self.blurred and self.sharp)


def roots(dataset: Dataset, base: Path) -> list[Path]:
    """``base``, folders in it with one of the dataset's names, folders in these, and other folders of ``base``; without
    those that are another dataset by their names."""
    if not base.is_dir():
        return []
    inside = scan.folders(base)
    known = [folder for folder in inside if dataset.known_folder(folder.name)]
    found = [base, *known]
    for folder in known:
        deeper = scan.folders(folder)
        found += sorted(deeper, key=lambda one: not dataset.known_folder(one.name))
        found += [one for other in deeper for one in scan.folders(other) if dataset.known_folder(one.name)]
    for folder in inside:
        if folder not in known:
            found += [folder, *(one for one in scan.folders(folder) if dataset.known_folder(one.name))]
    return [root for root in dict.fromkeys(found) if not any(map(dataset.foreign_reason, names(base, root)))]


def names(base: Path, root: Path) -> tuple[str, ...]:
    """The names of the folders from ``base`` to ``root``, both included."""
    return (base.resolve().name if base.name in ("", ".", "..") else base.name, *root.relative_to(base).parts)


def below(dataset: Dataset, root: Path, base: Path, variant: str | None) -> Iterator[Candidate]:
    """The candidates below ``root``. Without ``variant``, each has the first one that is there.

    Where a copy's path below ``root`` says no split, a folder above, up to ``base``, may: ``val/GoPro`` as a root.
    """
    variants = [variant] if variant else list(dataset.variants)
    own = tuple(dict.fromkeys(word.lower() for words in dataset.blurred.values() for word in words))
    sharp = tuple(word.lower() for word in dataset.sharp)
    is_name = partial(dataset.known_folder, weak=False)
    official = [place for form in dataset.official for place in scan.places(root, form, own + sharp, is_name)]
    yield from _by_split(dataset, "official", root, official, variants)
    kinds = tuple(dict.fromkeys((*own, *sharp, *(word.lower() for word in (*BLURRED, *SHARP)))))
    above = next((scan.SPLITS[name.lower()] for name in names(base, root) if name.lower() in scan.SPLITS), "")
    for layout, form in GENERIC.items():
        found = [replace(place, split=place.split or above) for place in scan.places(root, form, kinds, is_name)]
        for crops, lmdb in ((False, False), (False, True), (True, False), (True, True)):
            some = [place for place in found if place.crops == crops and place.lmdb == lmdb]
            yield from _by_split(dataset, "G5" if lmdb else "G6" if crops else layout, root, some, variants)


def _by_split(
    dataset: Dataset, layout: str, root: Path, places: list[Place], variants: list[str]
) -> Iterator[Candidate]:
    generic = layout != "official"
    for split in dict.fromkeys(place.split for place in places if place.split != "any"):
        here = [place for place in places if place.split in (split, "any")]
        sharp = _first(here, [*dataset.sharp, *(SHARP if generic else ())], "sharp")
        blurred, variant = [], variants[0]
        for variant in variants:
            more = BLURRED if generic and variant == dataset.variants[0] else ()
            blurred = _first(here, [*dataset.blurred[variant], *more], "blurred")
            if blurred:
                break
        if blurred or any(place.split == split for place in sharp):
            yield Candidate(layout, root, split, variant if blurred else variants[0], blurred, sharp)


def _first(places: list[Place], words: list[str], role: str) -> list[Place]:
    """The places of the first word that is there and not empty; all, where a form or file names tell the role."""
    fixed = [place for place in places if place.role == role or (not place.role and not place.kind)]
    if fixed:
        return fixed
    empty: list[Place] = []
    for word in words:
        found = [place for place in places if place.kind == word.lower() and not place.role]
        if any(scan.entries(place.folder) for place in found):
            return found
        empty = empty or found
    return empty


def is_only_choice(base: Path, root: Path) -> bool:
    """Whether ``root`` is ``base``, or below it with no other folder beside it on the way."""
    while root != base:
        if len(scan.folders(root.parent)) > 1:
            return False
        root = root.parent
    return True


def has_evidence(dataset: Dataset, candidate: Candidate, base: Path) -> bool:
    """Whether a folder's name or the pictures' names say that this is ``dataset``: ``{source,target}`` alone says
    nothing."""
    places = [*candidate.blurred, *candidate.sharp]
    if any(place.named for place in places):
        return True
    if any(dataset.known_folder(name, weak=False) for name in names(base, candidate.root)):
        return True
    if not dataset.typical:
        return False
    paths = [path for place in places[:2] for path in _few(place)]
    above = candidate.root.parent
    hits = sum(bool(re.search(dataset.typical, path.relative_to(above).as_posix(), re.I)) for path in paths)
    return 2 * hits > len(paths)


def _few(place: Place, count: int = 20) -> list[Path]:
    try:
        found = scan.files(place)
    except (ValueError, RuntimeError):
        return []
    return [path.with_name(path.name + ".png") if place.lmdb else path for path in found[:count]]


def shown(folders: list[Path], root: Path) -> str:
    """Folders of one kind in a few words: ``train/GOPR0372_07_00/blur and 21 more``."""
    if not folders:
        return "none"
    first = os.path.relpath(folders[0], root)
    return first if len(folders) == 1 else f"{first} and {len(folders) - 1} more"
