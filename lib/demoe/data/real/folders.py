"""Looking through folders of pictures: what counts as one, and which folders look like a dataset's blurred and sharp
pictures, by their names alone.

Resource forks (``._x.png``), hidden files, ``__MACOSX`` and ``@eaDir`` are passed over. Symbolic links are followed,
each folder once, so that a link back to its own folder ends there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from . import lmdb_files
from .description import Dataset, Form
from .pixels import SUFFIXES

SKIPPED = frozenset({"__macosx", "@eadir"})
_WORDS = {"train": "train training", "val": "val valid validation", "test": "test testing eval test_wo_folder"}
SPLITS = {word: split for split, words in _WORDS.items() for word in words.split()}
# "test (1)": what a browser makes of a second test.zip. "_crops": training patches.
_SPLIT = rf"(?P<split>{'|'.join(SPLITS)})(?: ?\(\d+\))?"

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


def entries(folder: Path) -> list[os.DirEntry]:
    """What is in a folder, by name, without what no one looks at; empty if it cannot be opened."""
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if _is_looked_at(e.name)), key=lambda entry: entry.name)
    except OSError:
        return []


def _is_looked_at(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in SKIPPED


def is_folder(entry: os.DirEntry) -> bool:
    """Also for a link to a folder; False for a link that leads nowhere or in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, by name."""
    return [Path(entry.path) for entry in entries(folder) if is_folder(entry)]


def pictures(folder: Path, deep: bool = True) -> Iterator[Path]:
    """The files in ``folder`` that have a picture's suffix, if ``deep`` with subfolders; sorted folder by folder."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        again = (real := os.path.realpath(place)) in seen
        seen.add(real)
        inner[:] = sorted(filter(_is_looked_at, inner)) if deep and not again else []
        for name in () if again else sorted(filter(_is_looked_at, names)):
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(place, name)


def files(place: Place) -> list[Path]:
    """The pictures of a place, with virtual paths in an LMDB. Raises as ``lmdb_files.stored``."""
    if place.lmdb:
        return [place.folder / key for key in lmdb_files.stored(place.folder)]
    if place.file is None:
        return list(pictures(place.folder))
    return [path for path in pictures(place.folder, deep=False) if place.file.fullmatch(path.name)]


def places(root: Path, form: Form, kinds: Iterable[str], dataset: Dataset) -> list[Place]:
    """The folders below ``root`` that fit ``form``; nothing but what may fit is looked into."""
    words = "|".join(re.escape(kind) for kind in kinds)
    *above, last = form.path.split("/")
    levels = [_pattern(part, words, r"(?P<crops>_crops)?(?P<lmdb>\.lmdb)?") for part in above]
    file = None if last == "**" else _pattern(last, words)
    return list(_descend(Place(root, form.split, role=form.role, file=file), levels, dataset))


def _pattern(part: str, words: str, behind: str = "") -> re.Pattern:
    part = part.replace("<split>", _SPLIT).replace("<kind>", rf"(?P<kind>{words}){behind}")
    return re.compile(part.replace("<name>", "(?P<name>.+)"), re.IGNORECASE)


def _descend(place: Place, levels: list[re.Pattern], dataset: Dataset) -> Iterator[Place]:
    if not levels:
        yield place
        return
    for folder in subfolders(place.folder):
        match = levels[0].fullmatch(folder.name)
        groups = match.groupdict() if match else {}
        if not match or ("name" in groups and not dataset.known_folder(folder.name, weak=False)):
            continue
        split, kind = groups.get("split"), groups.get("kind")
        inside = replace(
            place,
            folder=folder,
            split=SPLITS[split.lower()] if split else place.split,
            kind=kind.lower() if kind else place.kind,
            crops=place.crops or bool(groups.get("crops")),
            lmdb=place.lmdb or bool(groups.get("lmdb")),
            named=place.named or "name" in groups,
        )
        if inside.lmdb and not any((folder / name).is_file() for name in ("data.mdb", "meta_info.txt")):
            continue
        yield from _descend(inside, levels[1:], dataset)
        again = folder / folder.name  # test/test/..., after unpacking test.zip into a folder test
        if levels[0].pattern == _SPLIT and again in subfolders(folder):
            yield from _descend(replace(inside, folder=again), levels[1:], dataset)


def dataset_roots(dataset: Dataset, base: Path) -> list[Path]:
    """``base``, folders in it with one of the dataset's names, folders in these, and other folders of ``base``; without
    those that are another dataset by their names."""
    if not base.is_dir():
        return []
    inside = subfolders(base)
    known = [folder for folder in inside if dataset.known_folder(folder.name)]
    found = [base, *known]
    for folder in known:
        deeper = subfolders(folder)
        found += sorted(deeper, key=lambda inner: not dataset.known_folder(inner.name))
        found += [inner for other in deeper for inner in subfolders(other) if dataset.known_folder(inner.name)]
    for folder in inside:
        if folder not in known:
            found += [folder, *(inner for inner in subfolders(folder) if dataset.known_folder(inner.name))]
    return [root for root in dict.fromkeys(found) if not any(map(dataset.foreign_reason, names(base, root)))]


def names(base: Path, root: Path) -> tuple[str, ...]:
    """The names of the folders from ``base`` to ``root``, both included."""
    return (base.resolve().name if base.name in ("", ".", "..") else base.name, *root.relative_to(base).parts)


def candidates(dataset: Dataset, root: Path, base: Path, variant: str | None) -> Iterator[Candidate]:
    """The candidates below ``root``. Without ``variant``, each has the first one that is there.

    Where a copy's path below ``root`` says no split, a folder above, up to ``base``, may: ``val/GoPro`` as a root.
    """
    variants = [variant] if variant else list(dataset.variants)
    kinds = [*chain.from_iterable(dataset.blurred.values()), *dataset.sharp]
    official = [place for form in dataset.official for place in places(root, form, kinds, dataset)]
    yield from _by_split(dataset, "official", root, official, variants)
    kinds += [*BLURRED, *SHARP]
    above = next((SPLITS[name.lower()] for name in names(base, root) if name.lower() in SPLITS), "")
    for layout, form in GENERIC.items():
        found = [replace(place, split=place.split or above) for place in places(root, form, kinds, dataset)]
        for crops, lmdb in ((False, False), (False, True), (True, False), (True, True)):
            some = [place for place in found if place.crops == crops and place.lmdb == lmdb]
            yield from _by_split(dataset, "G5" if lmdb else "G6" if crops else layout, root, some, variants)


def _by_split(
    dataset: Dataset, layout: str, root: Path, found: list[Place], variants: list[str]
) -> Iterator[Candidate]:
    generic = layout != "official"
    for split in dict.fromkeys(place.split for place in found if place.split != "any"):
        usable = [place for place in found if place.split in (split, "any")]
        sharp = _first(usable, [*dataset.sharp, *(SHARP if generic else ())], "sharp")
        blurred, variant = [], variants[0]
        for variant in variants:
            more = BLURRED if generic and variant == dataset.variants[0] else ()
            blurred = _first(usable, [*dataset.blurred[variant], *more], "blurred")
            if blurred:
                break
        if blurred or any(place.split == split for place in sharp):
            yield Candidate(layout, root, split, variant if blurred else variants[0], blurred, sharp)


def _first(found: list[Place], words: list[str], role: str) -> list[Place]:
    """The places of the first word that is there and not empty; all, where a form or file names tell the role."""
    fixed = [place for place in found if place.role == role or (not place.role and not place.kind)]
    if fixed:
        return fixed
    empty: list[Place] = []
    for word in words:
        some = [place for place in found if place.kind == word.lower() and not place.role]
        if any(entries(place.folder) for place in some):
            return some
        empty = empty or some
    return empty


def is_sure(dataset: Dataset, candidate: Candidate, base: Path, explicit: bool) -> bool:
    """Whether a person, a folder's name or the pictures' names say that this is ``dataset``: ``{source,target}`` alone
    says nothing.

    ``explicit``: a person said that it is ``base``, or below it with no other folder beside it on the way.
    """
    if not dataset.ground_truth and not candidate.complete:
        return False  # pictures without a sharp side are recognised otherwise
    on_the_way = [candidate.root, *candidate.root.parents]
    if explicit and all(len(subfolders(folder.parent)) < 2 for folder in on_the_way[: on_the_way.index(base)]):
        return True
    both = [*candidate.blurred, *candidate.sharp]
    named = (dataset.known_folder(name, weak=False) for name in names(base, candidate.root))
    if any(place.named for place in both) or any(named):
        return True
    if not dataset.typical:
        return False
    paths = [path.relative_to(candidate.root.parent).as_posix() for place in both[:2] for path in _few(place)]
    return 2 * sum(bool(re.search(dataset.typical, path, re.IGNORECASE)) for path in paths) > len(paths)


def _few(place: Place, count: int = 20) -> list[Path]:
    try:
        found = files(place)[:count]
    except ValueError:
        return []
    return [path.with_name(path.name + ".png") if place.lmdb else path for path in found]


def shown(some: list[Path], root: Path) -> str:
    """Folders of one kind in a few words: ``train/GOPR0372_07_00/blur and 21 more``."""
    if not some:
        return "none"
    first = os.path.relpath(some[0], root)
    return first if len(some) == 1 else f"{first} and {len(some) - 1} more"
