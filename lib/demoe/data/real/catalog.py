"""All datasets that ``datasets.toml`` describes, and each by its name."""

from __future__ import annotations

from dataclasses import fields

from demoe.core import tasks

from .description import Dataset, Form, Part, Target, loose
from .splits import package_table


def _dataset(name: str, facts: dict) -> Dataset:
    """From its table in ``datasets.toml``. ``ValueError`` naming a field that there is not."""
    if strange := sorted(facts.keys() - {field.name for field in fields(Dataset)}):
        raise ValueError(f"datasets.toml: {strange[0]!r} in [{name}] is no field of a dataset: see description.py")
    facts = {field: _fixed(value) for field, value in facts.items()}
    facts["official"] = tuple(Form(**form) for form in facts.get("official", ()))
    facts["parts"] = {title: Part(**part) for title, part in facts.get("parts", {}).items()}
    facts["target"] = Target(**facts["target"]) if "target" in facts else None
    known = facts.get("known_counts", {})
    facts["known_counts"] = {split: {int(n): what for n, what in some.items()} for split, some in known.items()}
    return Dataset(name, **facts)


def _fixed(value: object) -> object:
    """Lists as tuples, also in tables and lists."""
    if isinstance(value, dict):
        return {key: _fixed(inner) for key, inner in value.items()}
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


DATASETS: tuple[Dataset, ...] = tuple(_dataset(*item) for item in package_table("datasets.toml").items())
# Sets outside AIO-Blur, with the expert that the paper assigns by hand (Section 4.2).
OOD_EXPERT = {one.name: one.expert for one in DATASETS if one.expert and one.name not in tasks.DATASETS}
_BY_NAME = {loose(name): dataset for dataset in DATASETS for name in (dataset.name, *dataset.aliases)}


def get(name: str) -> Dataset:
    """The dataset called ``name``, in any letter case, with or without ``-`` and ``_``. ``ValueError`` names all."""
    try:
        return _BY_NAME[loose(name)]
    except KeyError:
        names = ", ".join(dataset.name for dataset in DATASETS)
        raise ValueError(f"unknown dataset {name!r}: known are {names}") from None


def expert_label(name: str) -> int | None:
    """Index 0 to 4 of the expert that the set called ``name`` or ``name``-syn belongs to; None if it is no dataset, or
    belongs to none (LOLv2-real, HIDE)."""
    dataset = _BY_NAME.get(loose(name.removesuffix("-syn")))
    return tasks.EXPERTS.index(dataset.expert) if dataset and dataset.expert else None
