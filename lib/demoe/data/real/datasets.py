"""All datasets that are described, and each by its name."""

from __future__ import annotations

from .aio_datasets import DPDD, GOPRO, LOLBLUR, REALBLUR, RELOBLUR
from .description import Dataset, loose
from .other_datasets import HIDE, LOLV2_REAL, REAL_LOLBLUR, REALDOF, RSBLUR

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
