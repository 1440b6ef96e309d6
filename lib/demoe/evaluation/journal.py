"""A CSV that survives an interruption: rows are kept as they come, and the finished file is the same either way."""

from __future__ import annotations

import csv
import io
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from demoe.core.files import naming, write_bytes


class Journal:
    """Rows of ``file``, kept in ``file.partial`` until ``finish`` puts the whole CSV in its place.

    ``identity`` says what the rows depend on. An unfinished file of the same identity is continued: ``kept`` is the
    number of rows already there, a multiple of ``group`` (rows that are written together; a torn group is dropped). One
    of another identity is begun anew, and so is any with ``fresh``. Before each row stands its check sum (CRC-32): from
    the first damaged one on, rows are dropped. One process at a time.
    """

    def __init__(self, file: Path, header: Sequence[str], identity: str, group: int = 1, fresh: bool = False):
        self.file = file
        self._partial = file.with_name(file.name + ".partial")
        self._width = len(header)
        self._head = (f"# rows so far of {file.name}, {identity}\n" + _line(header)).encode()
        rows = [] if fresh else self._read()
        self.kept = len(rows) - len(rows) % group
        write_bytes(self._partial, self._head + b"".join(map(_checked, rows[: self.kept])))

    def _read(self) -> list[bytes]:
        """The whole rows of an unfinished file of this identity."""
        if not self._partial.is_file():
            return []
        stored = self._partial.read_bytes()
        if not stored.startswith(self._head):
            return []
        rows: list[bytes] = []
        for line in stored[len(self._head) :].splitlines(keepends=True):
            row = line[9:]
            if _checked(row) != line or len(_cells(row)) != self._width:
                break
            rows.append(row)
        return rows

    def append(self, rows: Sequence[Sequence[str]]) -> None:
        """Adds rows and sees them onto the disk. A cell holds no line break."""
        with naming(self._partial), self._partial.open("ab") as stream:
            stream.write(b"".join(_checked(_line(row).encode()) for row in rows))
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self) -> Path:
        """Puts the finished CSV in place, replacing an earlier one, and removes what was unfinished."""
        header = self._head.partition(b"\n")[2]
        write_bytes(self.file, header + b"".join(self._read()))
        self._partial.unlink()
        return self.file


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([re.sub(r"[\r\n]+", " ", str(cell)) for cell in cells])
    return text.getvalue()


def _checked(row: bytes) -> bytes:
    return b"%08x " % zlib.crc32(row) + row


def _cells(row: bytes) -> list[str]:
    try:
        return next(csv.reader([row.decode()]))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return []
