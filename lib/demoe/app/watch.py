"""Photographs that arrive in a folder: each is handed on once it is whole, and again when it has changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from demoe.core import images

PAUSE = 1.0  # seconds between two looks, in which a file that is being written changes; our choice


def arriving(folder: Path, pause: float = PAUSE) -> Iterator[list[Path]]:
    """After each look the photographs in ``folder`` and below, hidden ones left out, that did not change since the look
    before and were not given in this state yet. Never ends.

    By looking, because network drives and mounted cards tell nobody of new files; and a file that is there is not whole
    yet, which no message says either. Raises ``NotADirectoryError`` where the folder is gone.
    """
    before: dict[Path, tuple[int, int]] = {}
    given: dict[Path, tuple[int, int]] = {}
    while True:
        now = _states(folder)
        ready = [file for file, state in now.items() if before.get(file) == state != given.get(file)]
        given |= {file: now[file] for file in ready}
        before = now
        yield ready
        time.sleep(pause)


def _states(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each photograph."""
    found = {}
    for file in images.list_photographs(folder):
        with suppress(FileNotFoundError):  # it went away meanwhile
            status = file.stat()
            found[file] = status.st_size, status.st_mtime_ns
    return found
