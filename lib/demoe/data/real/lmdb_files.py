"""Pictures inside an LMDB in the manner of BasicSR: ``NAME.lmdb/`` with ``data.mdb`` and ``meta_info.txt``.

Each picture is an encoded file (PNG, as a rule) under a key. Here it has a virtual path, ``.../input.lmdb/KEY``. The
package ``lmdb`` is optional: without it, a database is refused.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demoe.core.files import first_line

SUFFIX = ".lmdb"


def split(path: Path) -> tuple[Path, str] | None:
    """(folder of the database, key) of a virtual path; None for the path of an ordinary file."""
    for place in path.parents:
        if place.suffix.lower() == SUFFIX:
            return place, path.relative_to(place).as_posix()
    return None


def listed(database: Path) -> list[str] | None:
    """The keys in ``meta_info.txt``, one line a picture, ``key.png (720,1280,3) 1``; None where there is no such file.

    A key is the name up to its first dot, as BasicSR makes it.
    """
    file = database / "meta_info.txt"
    if not file.is_file():
        return None
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split(" (")[0].strip().split(".")[0] for line in lines if line.strip()]


@contextmanager
def _reading(database: Path) -> Iterator:
    """A transaction; what LMDB says of damaged pages, as a copy has that was broken off, becomes ``ValueError``."""
    opened = _open(database)  # or ``ValueError``, also without the package
    import lmdb

    try:
        with opened.begin() as transaction:
            yield transaction
    except lmdb.Error as error:
        raise ValueError(f"{database} is damaged ({first_line(error)}): copy or fetch it again") from None


def stored(database: Path) -> list[str]:
    """The keys in the database itself. ``ValueError`` if it cannot be opened, or the package is missing."""
    with _reading(database) as transaction:
        return [key.decode("utf-8", "replace") for key in transaction.cursor().iternext(values=False)]


def value(path: Path) -> bytes:
    """The encoded picture at a virtual path. Raises as ``stored``, and ``ValueError`` for a key that is not there."""
    database, key = split(path)
    with _reading(database) as transaction:
        found = transaction.get(key.encode())
    if found is None:
        raise ValueError(f"{path} does not exist: {database} has no picture {key}")
    return bytes(found)


_opened: dict[tuple[int, int], tuple] = {}  # device and inode -> (process, environment, bytes that its pages need)
_opening = threading.Lock()  # LMDB opens a file once in a process, whatever its path is called


def _open(database: Path):
    """The environment of a database. One that was opened before a fork is closed and opened anew.

    A file that ends before its pages do is refused: reading them would end this process rather than raise an error.
    """
    try:
        import lmdb
    except ImportError:
        raise ValueError(f"{database}: reading it needs the package lmdb: pip install 'demoe[data]'") from None
    file = database / "data.mdb"
    with _opening:
        try:
            there = file.stat()
        except OSError as error:
            raise ValueError(f"{file} cannot be opened: {error.strerror}") from None
        key = there.st_dev, there.st_ino
        process, environment, needed = _opened.get(key, (0, None, 8192))  # its two head pages
        if there.st_size >= needed and process != os.getpid():
            for other, (_, old, _) in [*_opened.items()]:  # of before a fork, or of a file that stood here before
                if other == key or os.path.realpath(old.path()) == os.path.realpath(database):
                    _opened.pop(other)[1].close()
            try:
                environment = lmdb.open(
                    str(database), readonly=True, lock=False, readahead=False, meminit=False, max_readers=512
                )
            except (lmdb.Error, OSError) as error:
                if "already open" in str(error):  # since lmdb 2.0
                    raise ValueError(f"{database} is open elsewhere in this program: close it there first") from None
                raise ValueError(f"{database} cannot be opened as an LMDB ({error}); fetch it again") from None
            needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
            _opened[key] = os.getpid(), environment, needed
        if there.st_size < needed:
            raise ValueError(f"{file} is cut short: {there.st_size} bytes of {needed}; fetch it again")
        return environment
