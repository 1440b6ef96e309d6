"""Where results and figures go: below the project's root, wherever the caller stands. And that files appear whole, are
set aside when damaged, and are written by one process at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

SUMS = "SHA256SUMS"
PARTIAL = ".demoe-part"


def project_root() -> Path:
    """``$DEMOE_HOME`` if set, else the checkout that contains this package, else the current folder. Absolute."""
    if home := os.environ.get("DEMOE_HOME"):
        return Path(home).expanduser().resolve()
    checkout = Path(__file__).resolve().parents[3]  # <root>/lib/demoe/core/files.py
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def results_dir(profile: str) -> Path:
    """``<root>/results/<profile>``: tables, runs, cache, executed notebooks. Not created here."""
    return project_root() / "results" / profile


def figures_dir(profile: str) -> Path:
    """``<root>/figures/<profile>``. Not created here."""
    return project_root() / "figures" / profile


def write_text(file: Path, text: str) -> None:
    """Writes a text file (UTF-8) atomically."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Writes a file atomically."""
    with replacing(file) as partial:
        partial.write_bytes(content)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A name to write to, in the folder of ``file``, whose place it takes at the end: whole or, after an error, not.

    Each process has its own, so that two cannot mix; what a killed process left behind is removed. An ``OSError``
    without a file's name (a full disk) or with the partial one's gets that of ``file``.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(file.parent)
    short = hashlib.sha256(os.fsencode(file.name)).hexdigest()[:16]  # a long name would leave no room for the rest
    partial = file.with_name(f".{short}.{os.getpid()}{PARTIAL}")
    try:
        with naming(file, partial):
            yield partial
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())  # else a power cut can leave the new name on an empty file
            os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what processes that no longer run left half-written in this folder."""
    for left in folder.glob(f".*{PARTIAL}"):
        if not _alive(left.name.split(".")[-2]):
            left.unlink(missing_ok=True)


_sweep_once = lru_cache(maxsize=None)(sweep)  # not at every picture of a large folder


@contextmanager
def naming(file: Path, partial: Path | None = None) -> Iterator[None]:
    """Gives ``file``'s name to an ``OSError`` that has none, as that of a full disk, or that names ``partial``."""
    try:
        yield
    except OSError as error:
        if partial is not None and error.filename == str(partial):
            raise OSError(error.errno, error.strerror, str(file)) from error
        if error.filename is None and error.errno is not None:
            error.filename = str(file)
        raise


def set_aside(file: Path) -> Path:
    """Renames a damaged file to ``<name>.damaged``, ``.damaged-2``, ...: nothing is deleted. Returns the new path."""
    place, number = file.with_name(f"{file.name}.damaged"), 1
    while place.exists():
        number += 1
        place = file.with_name(f"{file.name}.damaged-{number}")
    return file.rename(place)


def seal(folder: Path, *names: str) -> None:
    """Notes the SHA-256 of these files of ``folder`` in its file SHA256SUMS, as ``sha256sum`` writes and checks it."""
    content = "".join(f"{checksum(folder / name)}  {name}\n" for name in names).encode()
    if not (folder / SUMS).is_file() or (folder / SUMS).read_bytes() != content:
        write_bytes(folder / SUMS, content)


def damaged(folder: Path) -> list[str]:
    """The files of a sealed folder that are not as they were: changed, cut short or gone. [] if it was not sealed."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    noted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    return [name for name, digest in noted.items() if digest != checksum(folder / name)]


def checksum(file: Path) -> str:
    """The SHA-256 of a file; "" if there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def clear(folder: Path) -> None:
    """Empties a folder but for its lock, which whoever calls this holds."""
    for inside in folder.iterdir() if folder.is_dir() else ():
        if inside.is_dir() and not inside.is_symlink():
            shutil.rmtree(inside)
        elif inside.name != ".lock":
            inside.unlink(missing_ok=True)


@contextmanager
def alone(file: Path, told: str = "", wait: bool = True) -> Iterator[None]:
    """One process at a time, by a lock on the hidden ``file``; the system lets go of it however the process ends.

    Where another process has it, ``told`` is printed and this one waits, or, without ``wait``, raises ``ValueError``
    with ``told``.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise ValueError(told) from None
        if told:
            print(told, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):  # not one of ours, or another person's
        return True
    return True
