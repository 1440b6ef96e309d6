"""The five blur tasks: their order, the names of their experts and the datasets they were learnt from.

The order is that of the authors' released weights (expert 0 is the defocus expert), so that a router output, an
expert index and a class label mean the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from .words import meant


@dataclass(frozen=True)
class Task:
    """One kind of blur. ``expert`` is what a user types, ``dataset`` the AIO-Blur set it is trained on."""

    index: int
    expert: str
    dataset: str
    blur: str  # the paper's "blur type", Figure 4


TASKS: tuple[Task, ...] = (
    Task(0, "defocus", "DPDD", "defocus"),
    Task(1, "global_motion", "RealBlur", "camera motion"),
    Task(2, "local_motion", "ReLoBlur", "local motion"),
    Task(3, "synth_global_motion", "GoPro", "camera and object motion"),
    Task(4, "low_light", "LOLBlur", "low-light motion"),
)
EXPERTS: tuple[str, ...] = tuple(task.expert for task in TASKS)
DATASETS: tuple[str, ...] = tuple(task.dataset for task in TASKS)
COLOURS = {  # of the experts, in figures and maps: Okabe and Ito's
    "defocus": "#0072B2",
    "global_motion": "#E69F00",
    "local_motion": "#009E73",
    "synth_global_motion": "#CC79A7",
    "low_light": "#56B4E9",
}
PAPER_ORDER: tuple[str, ...] = ("RealBlur", "ReLoBlur", "DPDD", "LOLBlur", "GoPro")  # the columns of Table 1


def _key(name: str) -> str:
    return name.lower().removesuffix("-syn").replace("_", "").replace("-", "")


_INDEX = {_key(name): task.index for task in TASKS for name in (task.expert, task.dataset)} | {_key("RealBlur-J"): 1}


def expert_index(name: str) -> int:
    """Index 0..4 of the expert called ``name``: an expert's name or a dataset's (``"defocus"``, ``"GoPro-syn"``).

    Raises ``ValueError`` naming the choices.
    """
    try:
        return _INDEX[_key(name)]
    except KeyError:
        raise ValueError(
            f"unknown expert {name!r}{meant(name, (*EXPERTS, *DATASETS))}: choose one of {', '.join(EXPERTS)}, "
            f"or a dataset's name ({', '.join(DATASETS)})"
        ) from None
