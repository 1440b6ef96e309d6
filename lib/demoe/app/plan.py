"""What goes where, made before anything is computed: every photograph once, each with a result of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from demoe.core import images
from demoe.core.formats import ImageError, format_of, opened


@dataclass
class Plan:
    """What becomes of the photographs that are named, alone or in folders."""

    jobs: list[tuple[Path, Path]] = field(default_factory=list)  # (photograph, result)
    failed: list[tuple[Path, str]] = field(default_factory=list)  # what is no photograph, and a sentence that says why
    left: list[tuple[Path, str]] = field(default_factory=list)  # those whose result would take the place of a file
    there: list[tuple[Path, Path]] = field(default_factory=list)  # those whose result is there, where that is skipped
    skipped: int = 0  # files in folders whose suffix is no image's


def plan(inputs: Sequence[Path], folder: Path, beside: Sequence[str], overwrite: bool, skip: bool) -> Plan:
    """Every photograph once, each with a result of its own that is no input.

    A file's result is ``folder``/name; those of a folder keep their names relative to it. Should two of them get the
    same name, the later one becomes name-2, name-3, ... ``beside``: what is added to a result's name for files beside
    it, to which the same applies. A result that is there already is replaced with ``overwrite``; with ``skip`` it stays
    and what lacks beside it is a job; otherwise the photograph is left alone.
    """
    made = Plan()
    sources: dict[str, tuple[Path, Path]] = {}  # by absolute path: (as named, relative name)
    for path in inputs:
        if path.is_dir():
            listed = images.list_files(path)
            if path.resolve() in folder.resolve().parents:  # then these are the results of an earlier run
                listed = [file for file in listed if folder.resolve() not in file.resolve().parents]
            photographs = [file for file in listed if file.suffix.lower() in images.READABLE]
            made.skipped += len(listed) - len(photographs)
            if not photographs:
                made.failed.append((path, f"{path} holds no photographs"))
        for file in photographs if path.is_dir() else [path]:
            relative = file.relative_to(path) if path.is_dir() else Path(path.name)
            sources.setdefault(os.path.abspath(file), (file, relative))
    inputs_on_disk = {_identity(file) for file, _ in sources.values() if file.exists()}
    taken: set[str] = set()  # lower case: some file systems do not tell A.jpg from a.jpg
    # Those that keep their names come first: one that becomes a .png takes no other's result.
    for file, relative in sorted(sources.values(), key=lambda one: images.result_name(one[1], one[0]) != one[1]):
        if why := _unreadable(file):
            made.failed.append((file, why))
            continue
        relative = images.result_name(relative, file)
        files, number = results(folder / relative, beside), 1
        while taken & {str(path).casefold() for path in files}:
            number += 1
            files = results(folder / relative.with_stem(f"{relative.stem}-{number}"), beside)
        taken |= {str(path).casefold() for path in files}
        there = [path for path in files if path.exists()]
        if any(_identity(path) in inputs_on_disk for path in there):
            why = f"its result {there[0]} would replace an input; choose another -o"
        elif there and not (overwrite or skip):
            why = f"{there[0]} exists already; use --skip-existing, --overwrite or another -o"
        if why:
            made.left.append((file, f"{file} was left alone: {why}"))
        elif skip and len(there) == len(files):
            made.there.append((file, files[0]))
        else:
            made.jobs.append((file, files[0]))
    return made


def results(target: Path, beside: Sequence[str]) -> list[Path]:
    """A result and the files beside it."""
    return [target.with_name(target.name + ending) for ending in ("", *beside)]


def _unreadable(file: Path) -> str:
    """Why a file is no photograph, as far as its name and its first bytes tell; "" if it may be one."""
    if not file.exists():
        return f"{file} does not exist"
    if file.suffix.lower() not in images.READABLE:
        return f"{file} has no image's suffix; known are {', '.join(images.READABLE)}"
    try:
        with file.open("rb") if file.is_file() else nullcontext() as stream:
            if stream is None or format_of(stream.read(64)) is None:
                with opened(file):  # says what it is instead
                    pass
    except OSError as error:
        return f"{file} cannot be opened: {error.strerror or error}"
    except ImageError as error:
        return str(error)
    return ""


def _identity(file: Path) -> tuple[int, int]:
    """The same for two names of one file: links, and letter case where the file system ignores it."""
    status = file.stat()
    return status.st_dev, status.st_ino
