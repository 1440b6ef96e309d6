"""Published splits as package data (``splits.toml``): they stand in for lost list files and name what is missing.

Each function gives split -> keys of its pairs, in the notation of ``Dataset.key_format``.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

Keys = dict[str, tuple[str, ...]]

FIRST_TEST = 690  # LOLv2-real: train 1 to 689, test 690 to 789


@cache
def _table() -> dict:
    return tomllib.loads(resources.files("demoe.data.real").joinpath("splits.toml").read_text(encoding="utf-8"))


@cache
def gopro() -> Keys:
    """Keys like "GOPR0372_07_00/000047": sequence and frame."""
    keys = {}
    for split, sequences in _table()["GoPro"].items():
        spans = {sequence: map(int, span.split("-")) for sequence, span in sequences.items()}
        spans = {sequence: range(first, last + 1) for sequence, (first, last) in spans.items()}
        keys[split] = tuple(f"GOPR{sequence}/{frame:06d}" for sequence, span in spans.items() for frame in span)
    return keys


@cache
def realblur() -> Keys:
    """Keys like "001/7": scene and picture."""
    table = _table()["RealBlur"]
    absent, test = set(table["absent"].split()), set(table["test"].split())
    missing = {scene: set(map(int, numbers.split())) for scene, numbers in table["missing"].items()}
    keys: dict[str, list[str]] = {"train": [], "test": []}
    for scene in (f"{n:03d}" for n in range(1, 235)):
        if scene not in absent:
            split, first = ("test", 2) if scene in test else ("train", 1)
            keys[split] += [f"{scene}/{n}" for n in range(first, 22) if n not in missing.get(scene, ())]
    return {split: tuple(found) for split, found in keys.items()}


@cache
def dpdd() -> Keys:
    """Keys like "1P0A0890": the blurred picture."""
    return {split: tuple(f"1P0A{n:04d}" for n in dpdd_targets(split)) for split in _table()["DPDD"]["splits"]}


@cache
def dpdd_targets(split: str | None = None) -> dict[int, int]:
    """Camera number of each blurred picture of DPDD -> that of its sharp one; of all three splits for None."""
    texts = [_table()["DPDD"][name] for name in ([split] if split else _table()["DPDD"]["splits"])]
    pairs = (re.fullmatch(r"(\d{4})([+-]\d)", word).groups() for text in texts for word in text.split())
    return {int(source): int(source) + int(step) for source, step in pairs}


def dpdd_sharp(key: str) -> str:
    """The key of the sharp picture that belongs to a blurred one of DPDD: "1P0A0890" -> "1P0A0891"."""
    return f"1P0A{dpdd_targets()[int(key[4:])]:04d}"


def dpdd_indoor() -> frozenset[str]:
    """Keys of DPDD's test pictures that were taken indoors: 37 of 76. From one third-party list."""
    return frozenset(f"1P0A{number}" for number in _table()["DPDD"]["indoor"].split())


def lolv2_real() -> Keys:
    """Keys like "00690": the number in the name."""
    numbers = {"train": range(1, FIRST_TEST), "test": range(FIRST_TEST, FIRST_TEST + 100)}
    return {split: tuple(f"{n:05d}" for n in some) for split, some in numbers.items()}
