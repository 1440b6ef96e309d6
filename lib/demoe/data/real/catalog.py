"""All datasets that ``datasets.toml`` describes, with the splits that ``splits.toml`` says, and each by its name."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from itertools import product

from demoe.core import tasks
from demoe.core.words import meant

from .description import Dataset, Form, Part, Target, loose


def expand(text: str) -> list[str]:
    """The names that ``text`` notes in short, in its order: words apart by white space, in which ``{007..123}`` is each
    of these numbers, as in a shell; the last number of a word runs fastest."""
    names, numbers = [], re.compile(r"\{(\d+)\.\.(\d+)\}")
    for word in text.split():
        ranges = [(first, range(int(first), int(last) + 1)) for first, last in numbers.findall(word)]
        digits = product(*([f"{n:0{len(first)}d}" for n in some] for first, some in ranges))
        names += [numbers.sub("{}", word).format(*some) for some in digits]
    return names


def _published(text: str) -> dict[str, str]:
    """Key of each pair -> key of its sharp picture: "1P0A0890+1" pairs 1P0A0890 with 1P0A0891."""
    pairs = {}
    for word in expand(text):
        key, step = re.fullmatch(r"(.*?)([+-]\d)?", word).groups()
        pairs[key] = f"{key[:-4]}{int(key[-4:]) + int(step):04d}" if step else key
    return pairs


def _table(name: str) -> dict:
    return tomllib.loads(resources.files("demoe.data.real").joinpath(name).read_text(encoding="utf-8"))


def _dataset(name: str, facts: dict, splits: dict[str, str]) -> Dataset:
    """From its tables in ``datasets.toml`` and ``splits.toml``. ``ValueError`` naming a strange or missing field."""
    facts = {field: _fixed(value) for field, value in facts.items()}
    known = facts.get("known_counts", {})
    try:
        facts["official"] = tuple(Form(**form) for form in facts.get("official", ()))
        facts["parts"] = {title: Part(**part) for title, part in facts.get("parts", {}).items()}
        facts["target"] = Target(**facts["target"]) if "target" in facts else None
        facts["known_counts"] = {split: {int(n): what for n, what in some.items()} for split, some in known.items()}
        return Dataset(name, published={split: _published(text) for split, text in splits.items()}, **facts)
    except TypeError as error:
        raise ValueError(f"datasets.toml, [{name}]: {error}; description.py lists the fields") from None


def _fixed(value: object) -> object:
    """Lists as tuples, also in tables and lists."""
    if isinstance(value, dict):
        return {key: _fixed(inner) for key, inner in value.items()}
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


_SPLITS = _table("splits.toml")
DATASETS: tuple[Dataset, ...] = tuple(
    _dataset(name, facts, _SPLITS.get(name, {})) for name, facts in _table("datasets.toml").items()
)
# Sets outside AIO-Blur, with the expert that the paper assigns by hand (Section 4.2).
OOD_EXPERT = {one.name: one.expert for one in DATASETS if one.expert and one.name not in tasks.DATASETS}
_BY_NAME = {loose(name): dataset for dataset in DATASETS for name in (dataset.name, *dataset.aliases)}


def get(name: str) -> Dataset:
    """The dataset called ``name``, in any letter case, with or without ``-`` and ``_``. ``ValueError`` names all."""
    try:
        return _BY_NAME[loose(name)]
    except KeyError:
        names = [dataset.name for dataset in DATASETS]
        raise ValueError(f"unknown dataset {name!r}{meant(name, names)}: known are {', '.join(names)}") from None


def expert_label(name: str) -> int | None:
    """Index 0 to 4 of the expert that the set called ``name`` or ``name``-syn belongs to; None if it is no dataset, or
    belongs to none (LOLv2-real, HIDE)."""
    dataset = _BY_NAME.get(loose(name.removesuffix("-syn")))
    return tasks.EXPERTS.index(dataset.expert) if dataset and dataset.expert else None
