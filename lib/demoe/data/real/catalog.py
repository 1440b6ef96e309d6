"""All datasets that are described, and each by its name."""

from __future__ import annotations

from demoe.core import tasks

from .catalog_aio import AIO_BLUR
from .catalog_other import OTHERS
from .description import Dataset, loose

DATASETS: tuple[Dataset, ...] = (*AIO_BLUR, *OTHERS)
# Sets outside AIO-Blur, with the expert that the paper assigns by hand (Section 4.2).
OOD_EXPERT = {dataset.name: dataset.expert for dataset in OTHERS if dataset.expert}
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
