"""Which sharp picture belongs to which blurred one, with everything that did not become a pair."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demoe.data.pairs import FilePair

from . import lmdb_files
from .description import Dataset
from .findings import Split
from .gather import Lists, Picture, Sides

STEP = 3  # two camera numbers of one pair differ by at most this


@dataclass
class Matched:
    """``how`` is "key", "name" (equal names), "numbers" (a camera's), "order" (sorted, the last resort), "none"."""

    how: str
    pairs: list[tuple[Picture, Picture | None]]  # in natural order
    alone: list[list[Picture]] = field(default_factory=lambda: [[], []])  # blurred, sharp
    doubles: list[tuple[Picture, Picture]] = field(default_factory=list)  # two pictures of one side with one key


def pair(dataset: Dataset, split: Split, both: Sides, listed: Lists, in_path: bool, shared: bool) -> None:
    """Fills ``split`` with the pairs of ``both`` sides and with problems.

    ``in_path``: folders told the split, so that a list only confirms it. ``shared``: sharp pictures serve all splits.
    """
    match = _match(dataset, split, both)
    split.pairing = match.how
    if not split.patches:
        _compare_with_lists(dataset, split, match, listed, in_path)
    if shared:
        split.spare = {picture.key: picture.path for picture in match.alone[1]}
        match.alone[1] = []
    enter(split, match)
    if split.pairing == "order" and split.pairs:
        number = "1 pair was" if len(split.pairs) == 1 else f"{len(split.pairs)} pairs were"
        message = f"{number} made by sorted order, as the names do not match"
        split.note("warning", "order", message, "look at the result of the content check, and at a few pairs yourself")


def enter(split: Split, match: Matched) -> None:
    """Enters what is whole of ``match`` into ``split``, and notes the rest."""
    for first, second in match.doubles:
        files = (first.path, second.path)
        split.note("error", "duplicate", f"two pictures have the key {first.key}", "remove one of them", files)
    pictures = [one for some in (*match.pairs, *match.alone) for one in some if one]
    empty = {picture.path: None for picture in pictures if _is_empty(picture.path)}
    split.note("error", "empty", "[file is|files are] empty (0 bytes)", "fetch them again", empty)
    for blurred, sharp in match.pairs:
        if blurred.path not in empty and not (sharp and sharp.path in empty):
            split.pairs.append(FilePair(blurred.key, blurred.path, sharp.path if sharp else None))
    for side, role, other in zip(match.alone, ("blurred", "sharp"), ("sharp", "blurred"), strict=True):
        alone = [picture.path for picture in side if picture.path not in empty]
        split.alone += alone
        message = f"[{role} picture has|{role} pictures have] no {other} partner"
        split.note("error", "unmatched", message, "fetch the partners again, or move these away", alone)


def _match(dataset: Dataset, split: Split, both: Sides) -> Matched:
    match = None
    if dataset.pairing == "numbers" and not split.patches:
        published = [pair for some in dataset.published.values() for pair in some.items()]
        match = _by_name(both) or _by_numbers(both, {number(key): number(sharp) for key, sharp in published})
    match = match or _by_key(both, dataset.inner_suffix)
    told = any(one.key != one.stem for side in both for one in side)  # a key that was read from a path means something
    names_mean_nothing = not match.pairs and not told and not (split.layout == "official" and dataset.key)
    return (_by_order(both) if names_mean_nothing else None) or match


def _compare_with_lists(dataset: Dataset, split: Split, match: Matched, listed: Lists, in_path: bool) -> None:
    published = dataset.published.get(split.name, {})
    expected = listed.keys.get(split.name, published)
    by_list = split.name in listed.keys
    if in_path and dataset.split_by_list and published:
        _drop_unlisted(dataset, split, match, published)
    elif not in_path and dataset.split_by_list and expected:
        split.pairing = "list" if by_list else "published list"
    there = {blurred.key for blurred, _ in match.pairs}
    split.missing = tuple(key for key in expected if key not in there)
    if not by_list:
        return
    if split.missing:
        files = ", ".join(str(file) for file in listed.files[split.name])
        message = f"{len(split.missing)} of {len(expected)} pairs listed in {files} are not whole on the disk"
        missing = [expected[key] for key in split.missing]
        split.note("error", "list", message, "fetch or unpack the set again", missing)
    more = [blurred.path for blurred, _ in match.pairs if blurred.key not in expected]
    split.note("info", "unlisted", "[pair is|pairs are] not in the list", files=more)


def _drop_unlisted(dataset: Dataset, split: Split, match: Matched, published: Mapping[str, object]) -> None:
    """Copies with folders for train and test may hold more of a scene than the published split uses."""
    scenes = {dataset.group_of(key) for key in published}

    def used(picture: Picture) -> bool:
        return picture.key in published or dataset.group_of(picture.key) not in scenes

    unlisted = [blurred.path for blurred, _ in match.pairs if not used(blurred)]
    match.pairs = [couple for couple in match.pairs if used(couple[0])]
    match.alone = [list(filter(used, side)) for side in match.alone]
    split.note("info", "unlisted", "[pair is|pairs are] in no published split: left out", files=unlisted)


def _is_empty(path: Path) -> bool:
    try:
        return not lmdb_files.split(path) and os.path.getsize(path) == 0
    except OSError:  # a link that leads nowhere: reading says so
        return False


def natural(text: str) -> list:
    """Sorting key by which 2 comes before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text.casefold())]


def unique(
    side: Iterable[Picture], name: Callable[[Picture], Hashable], doubles: list[tuple[Picture, Picture]]
) -> dict[Hashable, Picture]:
    """The pictures by ``name``, the first of those with the same one; pictures whose name is None are left out."""
    found: dict[Hashable, Picture] = {}
    for picture in side:
        if (own := name(picture)) in found:
            doubles.append((found[own], picture))
        elif own is not None:
            found[own] = picture
    return found


def _matched(how: str, both: Sides, name: Callable[[Picture], Hashable], partners: Callable[..., dict]) -> Matched:
    """Pairs as ``partners(inputs, targets)`` says, names of blurred pictures -> names of sharp ones."""
    match = Matched(how, [])
    inputs, targets = (unique(side, name, match.doubles) for side in both)
    couples = [(inputs[one], targets[other]) for one, other in partners(inputs, targets).items()]
    match.pairs = sorted(couples, key=lambda couple: natural(couple[0].key))
    taken = {picture.path for couple in couples for picture in couple} | {second.path for _, second in match.doubles}
    alone = ([picture for picture in side if picture.path not in taken] for side in both)
    match.alone = [sorted(side, key=lambda picture: natural(picture.key)) for side in alone]
    return match


def _by_key(both: Sides, inner_suffix: str = "") -> Matched:
    """Pairs of equal keys. What is left over is matched once more without ``inner_suffix``."""

    def bare(key: str) -> str:
        return key[: -len(inner_suffix)] if inner_suffix and key.lower().endswith(inner_suffix.lower()) else key

    def partners(inputs: dict, targets: dict) -> dict:
        found = {key: key for key in inputs if key in targets}
        left = {bare(key): key for key in targets if key not in found}
        return found | {key: left.pop(bare(key)) for key in inputs if key not in found and bare(key) in left}

    return _matched("key", both, lambda picture: picture.key, partners)


def _by_name(both: Sides) -> Matched | None:
    """Pairs of equal stems, if these folders are named so: at least half of the smaller one has a partner."""
    match = _by_key(tuple([one.by_name() for one in side] for side in both))
    match.how = "name"
    return match if match.pairs and 2 * len(match.pairs) >= min(map(len, both)) else None


def _by_order(both: Sides) -> Matched | None:
    """Both sides sorted naturally and put side by side; None if they differ in number."""
    if not both[0] or len(both[0]) != len(both[1]):
        return None
    return Matched("order", list(zip(*(sorted(side, key=lambda one: natural(one.stem)) for side in both), strict=True)))


def _by_numbers(both: Sides, known: Mapping[int, int]) -> Matched | None:
    """Pairs by the numbers that a camera gave, which differ by a few within a pair; None where this does not apply.

    If at least half of the smaller side has an equal number on the other, equal numbers are pairs. Else ``known`` says
    the sharp number for blurred numbers (a published list). The others are sorted and put side by side where both sides
    have equally many and no step is above ``STEP``. Where they have not, and a list is published, those that are each
    other's nearest within ``STEP`` are pairs.
    """

    def partners(inputs: dict, targets: dict) -> dict:
        if 2 * len(inputs) < len(both[0]) or 2 * len(targets) < len(both[1]):
            return {}
        equal, sure = inputs.keys() & targets.keys(), known
        if equal and 2 * len(equal) >= min(len(inputs), len(targets)):
            sure = {same: same for same in inputs}
        found = {source: target for source, target in sure.items() if source in inputs and target in targets}
        left, other = sorted(inputs.keys() - sure.keys()), sorted(targets.keys() - set(sure.values()))
        if len(left) == len(other) and all(abs(a - b) <= STEP for a, b in zip(left, other, strict=True)):
            return found | dict(zip(left, other, strict=True))
        if sure is known and known and other:
            nearest = {a: _nearest(a, other) for a in left}
            found |= {a: b for a, b in nearest.items() if abs(b - a) <= STEP and _nearest(b, left) == a}
        return found

    match = _matched("numbers", both, lambda picture: number(picture.stem), partners)
    return match if match.pairs else None


def _nearest(wanted: int, others: Sequence[int]) -> int:
    return min(others, key=lambda other: abs(other - wanted))


def number(stem: str) -> int | None:
    """The last number in a name, as a camera counts; None if there is none."""
    digits = re.findall(r"\d+", stem)
    return int(digits[-1]) if digits else None
