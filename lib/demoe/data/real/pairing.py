"""Which sharp picture belongs to which blurred one, with everything that did not become a pair."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from demoe.data.pairs import FilePair

from . import lmdb_files
from .description import Dataset
from .findings import Split
from .gather import Lists, Picture, Sides

T = TypeVar("T", str, int)
STEP = 3  # two camera numbers of one pair differ by at most this


@dataclass
class Matched:
    """``how`` is "key", "name" (equal names), "numbers" (of the camera) or "order" (sorted, the last resort)."""

    how: str
    pairs: list[tuple[Picture, Picture]] = field(default_factory=list)
    blurred_alone: list[Picture] = field(default_factory=list)
    sharp_alone: list[Picture] = field(default_factory=list)
    doubles: list[tuple[Picture, Picture]] = field(default_factory=list)  # two pictures of one side with one key


def pair(dataset: Dataset, split: Split, both: Sides, listed: Lists, in_path: bool, shared: bool) -> None:
    """Fills ``split`` with the pairs of ``both`` sides and with problems.

    ``in_path``: folders told the split, so that a list only confirms it. ``shared``: sharp pictures serve all splits.
    """
    match = _match(dataset, split, both)
    split.pairing = match.how
    if not split.patches:
        _compare_with_lists(dataset, split, match, listed, in_path)
    for first, second in match.doubles:
        files = (first.path, second.path)
        split.note("error", "duplicate", f"two pictures have the key {first.key}", "remove one of them", files)
    if shared:
        split.spare = {picture.key: picture.path for picture in match.sharp_alone}
        match.sharp_alone = []
    pictures = [picture for couple in match.pairs for picture in couple]
    pictures += [*match.blurred_alone, *match.sharp_alone]
    empty = {picture.path: None for picture in pictures if _is_empty(picture.path)}
    split.pairs = [
        FilePair(blurred.key, blurred.path, sharp.path)
        for blurred, sharp in sorted(match.pairs, key=lambda couple: natural(couple[0].key))
        if blurred.path not in empty and sharp.path not in empty
    ]
    split.note("error", "empty", "[file is|files are] empty (0 bytes)", "fetch them again", empty)
    for side, role, other in ((match.blurred_alone, "blurred", "sharp"), (match.sharp_alone, "sharp", "blurred")):
        alone = [picture.path for picture in side if picture.path not in empty]
        split.alone += alone
        message = f"[{role} picture has|{role} pictures have] no {other} partner"
        split.note("error", "unmatched", message, "fetch the partners again, or move these away", alone)
    if split.pairing == "order" and split.pairs:
        number = "1 pair was" if len(split.pairs) == 1 else f"{len(split.pairs)} pairs were"
        message = f"{number} made by sorted order, as the names do not match"
        split.note("warning", "order", message, "look at the result of the content check, and at a few pairs yourself")


def _match(dataset: Dataset, split: Split, both: Sides) -> Matched:
    match = None
    if dataset.pairing == "numbers" and not split.patches:
        match = by_name(*both) or by_numbers(*both, published_numbers(dataset))
    match = match or by_key(*both, dataset.inner_suffix)
    told = any(one.key != one.stem for side in both for one in side)  # a key that was read from a path means something
    names_mean_nothing = not match.pairs and not told and not (split.layout == "official" and dataset.key)
    return (by_order(*both) if names_mean_nothing else None) or match


def published_numbers(dataset: Dataset) -> dict[int, int]:
    """Camera number of each blurred picture -> that of its sharp one; empty where none are published."""
    return {number(key): number(sharp) for some in dataset.published().values() for key, sharp in some.items()}


def _compare_with_lists(dataset: Dataset, split: Split, match: Matched, listed: Lists, in_path: bool) -> None:
    published = dataset.published().get(split.name, {})
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
    match.blurred_alone = list(filter(used, match.blurred_alone))
    match.sharp_alone = list(filter(used, match.sharp_alone))
    split.note("info", "unlisted", "[pair is|pairs are] in no published split: left out", files=unlisted)


def _is_empty(path: Path) -> bool:
    try:
        return not lmdb_files.split(path) and os.path.getsize(path) == 0
    except OSError:  # a link that leads nowhere: reading says so
        return False


def natural(text: str) -> list:
    """Sorting key by which 2 comes before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text.casefold())]


def by_key(blurred: Sequence[Picture], sharp: Sequence[Picture], inner_suffix: str = "") -> Matched:
    """Pairs of equal keys, in natural order. What is left over is matched once more without ``inner_suffix``."""
    match = Matched("key")
    inputs, targets = (_unique(side, lambda one: one.key, match.doubles) for side in (blurred, sharp))
    partners = {key: key for key in inputs if key in targets}
    if inner_suffix:
        bare = {_without(key, inner_suffix): key for key in targets if key not in partners}
        for key in inputs:
            if key not in partners and (other := bare.pop(_without(key, inner_suffix), None)):
                partners[key] = other
    match.pairs = [(inputs[key], targets[partners[key]]) for key in sorted(partners, key=natural)]
    taken = set(partners.values())
    match.blurred_alone = [inputs[key] for key in sorted(inputs, key=natural) if key not in partners]
    match.sharp_alone = [targets[key] for key in sorted(targets, key=natural) if key not in taken]
    return match


def _without(key: str, suffix: str) -> str:
    return key[: -len(suffix)] if key.lower().endswith(suffix.lower()) else key


def _unique(
    side: Sequence[Picture], name: Callable[[Picture], T | None], doubles: list[tuple[Picture, Picture]]
) -> dict[T, Picture]:
    """The pictures by ``name``, the first of those with the same one; pictures without a name are left out."""
    found: dict[T, Picture] = {}
    for picture in side:
        if (own := name(picture)) in found:
            doubles.append((found[own], picture))
        elif own is not None:
            found[own] = picture
    return found


def by_name(blurred: Sequence[Picture], sharp: Sequence[Picture]) -> Matched | None:
    """Pairs of equal stems, if these folders are named so: at least half of the smaller one has a partner."""
    common = {one.stem for one in blurred} & {one.stem for one in sharp}
    if not common or 2 * len(common) < min(len(blurred), len(sharp)):
        return None
    match = by_key(*([Picture(one.stem, one.stem, one.path) for one in side] for side in (blurred, sharp)))
    match.how = "name"
    return match


def by_order(blurred: Sequence[Picture], sharp: Sequence[Picture]) -> Matched | None:
    """Both sides sorted naturally and put side by side; None if they differ in number."""
    if len(blurred) != len(sharp) or not blurred:
        return None
    both = (sorted(side, key=lambda one: natural(one.stem)) for side in (blurred, sharp))
    return Matched("order", list(zip(*both, strict=True)))


def by_numbers(blurred: Sequence[Picture], sharp: Sequence[Picture], known: Mapping[int, int]) -> Matched | None:
    """Pairs by the numbers that a camera gave, which differ by a few within a pair; None where this does not apply.

    If at least half of the smaller side has an equal number on the other, equal numbers are pairs. Else ``known`` says
    the sharp number for blurred numbers (a published list). The others are sorted and put side by side where both sides
    have equally many and no step is above ``STEP``. Where they have not, and a list is published, those that are each
    other's nearest within ``STEP`` are pairs.
    """
    match = Matched("numbers")
    inputs, targets = (_unique(side, lambda one: number(one.stem), match.doubles) for side in (blurred, sharp))
    if 2 * len(inputs) < len(blurred) or 2 * len(targets) < len(sharp):
        return None
    equal, by_nearest = inputs.keys() & targets.keys(), bool(known)
    if equal and 2 * len(equal) >= min(len(inputs), len(targets)):
        known, by_nearest = {same: same for same in inputs}, False
    partners = {source: target for source, target in known.items() if source in inputs and target in targets}
    left = sorted(inputs.keys() - known.keys())
    other = sorted(targets.keys() - set(known.values()))
    if len(left) == len(other) and all(abs(a - b) <= STEP for a, b in zip(left, other, strict=True)):
        partners |= dict(zip(left, other, strict=True))
    elif by_nearest and other:
        for a in left:
            b = _nearest(a, other)
            if abs(b - a) <= STEP and _nearest(b, left) == a:
                partners[a] = b
    if not partners:
        return None
    match.pairs = [(inputs[a], targets[b]) for a, b in sorted(partners.items())]
    paired = {one.path for pair in (*match.pairs, *match.doubles) for one in pair}
    match.blurred_alone = [one for one in blurred if one.path not in paired]
    match.sharp_alone = [one for one in sharp if one.path not in paired]
    return match


def _nearest(wanted: int, others: Sequence[int]) -> int:
    return min(others, key=lambda other: abs(other - wanted))


def number(stem: str) -> int | None:
    """The last number in a name, as a camera counts; None if there is none."""
    digits = re.findall(r"\d+", stem)
    return int(digits[-1]) if digits else None
