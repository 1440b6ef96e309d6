"""Which sharp picture belongs to which blurred one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
    found = Matched("key")
    inputs, targets = (_index(side, found.doubles) for side in (blurred, sharp))
    for key in sorted(inputs, key=natural):
        if key in targets:
            found.pairs.append((inputs[key], targets.pop(key)))
        else:
            found.blurred_alone.append(inputs[key])
    found.sharp_alone = sorted(targets.values(), key=lambda one: natural(one.key))
    if inner_suffix and found.blurred_alone and found.sharp_alone:
        bare = {_without(one.key, inner_suffix): one for one in found.sharp_alone}
        for one in list(found.blurred_alone):
            other = bare.pop(_without(one.key, inner_suffix), None)
            if other:
                found.pairs.append((one, other))
                found.blurred_alone.remove(one)
                found.sharp_alone.remove(other)
    return found


def _without(key: str, suffix: str) -> str:
    return key[: -len(suffix)] if key.lower().endswith(suffix.lower()) else key


def _index(side: Sequence[Picture], doubles: list[tuple[Picture, Picture]]) -> dict[str, Picture]:
    found: dict[str, Picture] = {}
    for one in side:
        if one.key in found:
            doubles.append((found[one.key], one))
        else:
            found[one.key] = one
    return found


def by_name(blurred: Sequence[Picture], sharp: Sequence[Picture]) -> Matched | None:
    """Pairs of equal stems, if these folders are named so: at least half of the smaller one has a partner."""
    common = {one.stem for one in blurred} & {one.stem for one in sharp}
    if not common or 2 * len(common) < min(len(blurred), len(sharp)):
        return None
    found = by_key(*([Picture(one.stem, one.stem, one.path) for one in side] for side in (blurred, sharp)))
    found.how = "name"
    return found


def by_order(blurred: Sequence[Picture], sharp: Sequence[Picture]) -> Matched | None:
    """Both sides sorted naturally and put side by side; None if they differ in number."""
    if len(blurred) != len(sharp) or not blurred:
        return None
    sides = (sorted(side, key=lambda one: natural(one.stem)) for side in (blurred, sharp))
    return Matched("order", list(zip(*sides, strict=True)))


def by_numbers(
    blurred: Sequence[Picture], sharp: Sequence[Picture], known: Mapping[int, int], nearest: bool
) -> Matched | None:
    """Pairs by the numbers that a camera gave, which differ by a few within a pair; None where this does not apply.

    If at least half of the smaller side has an equal number on the other, equal numbers are pairs. Else ``known`` says
    the sharp number for blurred numbers (a published list). The others are sorted and put side by side where both sides
    have equally many and no step is above ``STEP``. Where they have not, ``nearest`` allows to pair those that are each
    other's nearest within ``STEP``.
    """
    found = Matched("numbers")
    inputs, targets = (_by_number(side, found.doubles) for side in (blurred, sharp))
    if 2 * len(inputs) < len(blurred) or 2 * len(targets) < len(sharp):
        return None
    equal = inputs.keys() & targets.keys()
    if equal and 2 * len(equal) >= min(len(inputs), len(targets)):
        known, nearest = {same: same for same in inputs}, False
    partners = {source: target for source, target in known.items() if source in inputs and target in targets}
    published = set(known.values())
    left = sorted(inputs.keys() - known.keys())
    other = sorted(targets.keys() - published)
    if len(left) == len(other) and all(abs(a - b) <= STEP for a, b in zip(left, other, strict=True)):
        partners |= dict(zip(left, other, strict=True))
    elif nearest:
        for a in left:
            b = _nearest(a, other)
            if b is not None and abs(b - a) <= STEP and _nearest(b, left) == a:
                partners[a] = b
    if not partners:
        return None
    found.pairs = [(inputs[a], targets[b]) for a, b in sorted(partners.items())]
    paired = {one.path for pair in (*found.pairs, *found.doubles) for one in pair}
    found.blurred_alone = [one for one in blurred if one.path not in paired]
    found.sharp_alone = [one for one in sharp if one.path not in paired]
    return found


def _by_number(side: Sequence[Picture], doubles: list[tuple[Picture, Picture]]) -> dict[int, Picture]:
    found: dict[int, Picture] = {}
    for one in side:
        n = number(one.stem)
        if n in found:
            doubles.append((found[n], one))
        elif n is not None:
            found[n] = one
    return found


def _nearest(wanted: int, others: Sequence[int]) -> int | None:
    return min(others, key=lambda other: abs(other - wanted), default=None)


def number(stem: str) -> int | None:
    """The last number in a name, as a camera counts; None if there is none."""
    digits = re.findall(r"\d+", stem)
    return int(digits[-1]) if digits else None
