"""Which sharp picture belongs to which blurred one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T", str, int)
STEP = 3  # two camera numbers of one pair differ by at most this


@dataclass(frozen=True)
class Picture:
    """A file and the key it goes by: equal on both sides of a pair, unless ``stem`` decides."""

    key: str
    stem: str  # path below its folder, without the suffix
    path: Path


@dataclass
class Matched:
    """``how`` is "key", "name" (equal names), "numbers" (of the camera) or "order" (sorted, the last resort)."""

    how: str
    pairs: list[tuple[Picture, Picture]] = field(default_factory=list)
    blurred_alone: list[Picture] = field(default_factory=list)
    sharp_alone: list[Picture] = field(default_factory=list)
    doubles: list[tuple[Picture, Picture]] = field(default_factory=list)  # two pictures of one side with one key


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
