"""Published splits as package data (``splits.toml``): they stand in for lost list files and name what is missing."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

from .catalog_aio import DPDD, GOPRO, LOLBLUR, REALBLUR, RELOBLUR
from .catalog_other import HIDE, LOLV2_REAL, REAL_LOLBLUR, REALDOF, RSBLUR
from .description import Dataset, loose

FIRST_TEST = 690  # LOLv2-real: train 1 to 689, test 690 to 789


@cache
def _table() -> dict:
    return tomllib.loads(resources.files("demoe.data.real").joinpath("splits.toml").read_text(encoding="utf-8"))


@cache
def published(name: str) -> dict[str, tuple[str, ...]]:
    """Split -> keys of its pairs, in ``layouts``' notation; empty for a dataset whose split is its folders' alone.

    GoPro "GOPR0372_07_00/000047", RealBlur "001/7", DPDD "1P0A0890" (the blurred picture), LOLv2-real "00690".
    """
    if name == "GoPro":
        return {split: tuple(_frames(sequences)) for split, sequences in _table()["GoPro"].items()}
    if name == "RealBlur":
        return _realblur(_table()["RealBlur"])
    if name == "DPDD":
        names = _table()["DPDD"]["splits"]
        return {split: tuple(f"1P0A{number:04d}" for number in dpdd_targets(split)) for split in names}
    if name == "LOLv2-real":
        return {
            "train": tuple(f"{n:05d}" for n in range(1, FIRST_TEST)),
            "test": tuple(f"{n:05d}" for n in range(FIRST_TEST, FIRST_TEST + 100)),
        }
    return {}


def _frames(sequences: dict[str, str]) -> list[str]:
    keys = []
    for sequence, span in sequences.items():
        first, last = map(int, span.split("-"))
        keys += [f"GOPR{sequence}/{frame:06d}" for frame in range(first, last + 1)]
    return keys


def _realblur(table: dict) -> dict[str, tuple[str, ...]]:
    absent, test = set(table["absent"].split()), set(table["test"].split())
    missing = {scene: set(map(int, numbers.split())) for scene, numbers in table["missing"].items()}
    keys: dict[str, list[str]] = {"train": [], "test": []}
    for scene in (f"{n:03d}" for n in range(1, 235)):
        if scene not in absent:
            split, first = ("test", 2) if scene in test else ("train", 1)
            keys[split] += [f"{scene}/{n}" for n in range(first, 22) if n not in missing.get(scene, ())]
    return {split: tuple(found) for split, found in keys.items()}


@cache
def dpdd_targets(split: str | None = None) -> dict[int, int]:
    """Camera number of each blurred picture of DPDD -> that of its sharp one; of all three splits for None."""
    texts = [_table()["DPDD"][one] for one in ([split] if split else _table()["DPDD"]["splits"])]
    pairs = (re.fullmatch(r"(\d{4})([+-]\d)", word).groups() for text in texts for word in text.split())
    return {int(source): int(source) + int(step) for source, step in pairs}


def dpdd_sharp(key: str) -> str:
    """The key of the sharp picture that belongs to a blurred one of DPDD: "1P0A0890" -> "1P0A0891"."""
    return f"1P0A{dpdd_targets()[int(key[4:])]:04d}"


def dpdd_indoor() -> frozenset[str]:
    """Keys of DPDD's test pictures that were taken indoors: 37 of 76. From one third-party list."""
    return frozenset(f"1P0A{number}" for number in _table()["DPDD"]["indoor"].split())


# All datasets that are described, and each by its name.


DATASETS: tuple[Dataset, ...] = (
    REALBLUR,
    RELOBLUR,
    GOPRO,
    DPDD,
    LOLBLUR,
    REALDOF,
    RSBLUR,
    REAL_LOLBLUR,
    LOLV2_REAL,
    HIDE,
)
_BY_NAME = {loose(name): one for one in DATASETS for name in (one.name, *one.aliases)}


def get(name: str) -> Dataset:
    """The dataset called ``name``, in any letter case, with or without ``-`` and ``_``. ``ValueError`` names all."""
    try:
        return _BY_NAME[loose(name)]
    except KeyError:
        names = ", ".join(one.name for one in DATASETS)
        raise ValueError(f"unknown dataset {name!r}: known are {names}") from None
