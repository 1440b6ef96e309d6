"""Time that was given for training: what stops at its end, and how."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class TimeUp(Exception):
    """The time given with ``until`` is over. What is unfinished is on the disk: the same call goes on from there.

    ``name`` and ``seed`` say which training was at work, and that ``step`` of its ``steps`` are done. ``trained`` is
    how many networks were finished before, where several were asked for.
    """

    def __init__(self, name: str, seed: int, step: int, steps: int, trained: int = 0):
        super().__init__(name, seed, step, steps, trained)
        self.name, self.seed, self.step, self.steps, self.trained = name, seed, step, steps, trained

    def __str__(self) -> str:
        which = f"{self.name} (seed {self.seed})" if self.seed else self.name
        return f"time is up: {which} is at step {self.step} of {self.steps}"


@dataclass(frozen=True)
class Slice:
    """How long may be trained, and how what is unfinished then is kept."""

    deadline: float  # a value of ``time.monotonic``, which all processes of a machine share
    compact: bool = False  # weights in half precision, without the optimiser's moments: a quarter of the size or less

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.deadline


_slice: Slice | None = None


@contextmanager
def until(given: Slice | None) -> Iterator[None]:
    """Inside, trainings stop when the time of ``given`` is over, and raise ``TimeUp``. None: they take their time."""
    global _slice
    before, _slice = _slice, given
    try:
        yield
    finally:
        _slice = before


def current_slice() -> Slice | None:
    """What ``until`` was given; None outside."""
    return _slice
