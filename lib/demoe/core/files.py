"""Where results and figures go: below the project's root, wherever the caller stands. And that files appear whole, are
set aside when damaged, and are written by one process at a time."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

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


def published_dir(profile: str) -> Path:
    """``<root>/results/published/<profile>``: what the repository shows. No command writes there; a maintainer's
    ``scripts/publish.py`` does, from ``results_dir``."""
    return project_root() / "results" / "published" / profile


def published_figures_dir(profile: str) -> Path:
    """``<root>/figures/published/<profile>``, likewise."""
    return project_root() / "figures" / "published" / profile


def own_or_published(profile: str, name: str) -> Path:
    """The file ``name`` below ``results_dir``; where that is not there, the one below ``published_dir``, if it is."""
    own, shown = results_dir(profile) / name, published_dir(profile) / name
    return shown if shown.is_file() and not own.is_file() else own


def installed_file(file: str) -> Path | None:
    """The path of "package/folder/name" if that package is installed with it; the package is not imported."""
    package, _, inside = file.partition("/")
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / inside if spec and spec.origin else None
    return path if path and path.is_file() else None


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
    import psutil  # here, for `demoe --help` need not wait for it

    for left in folder.glob(f".*{PARTIAL}"):
        with suppress(ValueError, OverflowError):  # no process' number: not one of ours
            if not psutil.pid_exists(int(left.name.split(".")[-2])):
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


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def set_aside(file: Path, state: str = "damaged") -> Path:
    """Renames a file to ``<name>.damaged``, ``.damaged-2``, ...: nothing is deleted. Returns the new path."""
    place, number = file.with_name(f"{file.name}.{state}"), 1
    while place.exists():
        number += 1
        place = file.with_name(f"{file.name}.{state}-{number}")
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
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
    from filelock import FileLock, Timeout  # slow to import, and `demoe --help` needs none

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise ValueError(told) from None
        if told:
            print(told, flush=True)
        held = lock.acquire()
    with held:
        yield


@contextmanager
def kept(
    folder: Path, files: Sequence[str], *, busy: str = "", remedy: str = "it is made again"
) -> Iterator[list[str]]:
    """The one home of a result that is made once and read afterwards: ``files`` of ``folder``. One process at a time.

    The block gets the names of those that are still to be made, all of which it makes; then the folder is sealed.
    What an earlier call that was interrupted left is there to be continued, and nothing is sealed where the block
    raises. A file that is not as it was when it was sealed is set aside, said on stderr together with ``remedy``, and
    so are the others, as ``.earlier``: all are made again. ``busy`` is printed before waiting for another process.

    The folder's name must change with all that the result depends on, the code too: ``provenance.run_folder``.
    """
    with alone(folder / ".lock", busy):
        sweep(folder)
        for file in (folder / name for name in damaged(folder)):
            if file.is_file():
                text = f"{file} is damaged: it was set aside as {set_aside(file).name}, and {remedy}."
                print(text, file=sys.stderr, flush=True)
        missing = [name for name in files if not (folder / name).is_file()]
        if missing and (folder / SUMS).is_file():  # it was whole: what is left must not pass for a part of what follows
            for file in (folder / name for name in files if name not in missing):
                set_aside(file, "earlier")
            missing = list(files)
            (folder / SUMS).unlink()
        yield missing
        seal(folder, *files)


def is_kept(folder: Path, files: Sequence[str]) -> bool:
    """Whether all ``files`` of ``folder`` were sealed and are as they were: ``kept`` would have nothing to make."""
    return (folder / SUMS).is_file() and all((folder / name).is_file() for name in files) and not damaged(folder)


class Journal:
    """A CSV that grows by whole rows and survives an interruption.

    ``rows`` are the rows of ``file``, by the columns of ``header``. Those of an earlier process are there already,
    unless it was writing for another ``identity``, which stands as a remark in the first line, or ``fresh`` is given.
    What was torn off in the middle of a row, or of a ``group`` of rows that are written together, is dropped. One
    process at a time. A cell holds no line break: it becomes a space.
    """

    def __init__(self, file: Path, header: Sequence[str], identity: str = "", group: int = 1, fresh: bool = False):
        self.file, self.header = file, list(header)
        self._head = (f"# {identity}\n" if identity else "") + csv_line(header)
        self.rows: list[dict[str, str]] = [] if fresh or not file.is_file() else self._read()
        del self.rows[len(self.rows) // group * group :]
        write_text(file, self._head + self._text(self.rows))

    def _read(self) -> list[dict[str, str]]:
        """The whole rows of the file, up to the first that is not."""
        stored = self.file.read_bytes().decode(errors="replace")
        if not stored.startswith(self._head):
            return []
        lines = stored[len(self._head) :].split("\n")[:-1]  # what follows the last line's end is torn
        cells = takewhile(lambda cells: len(cells) == len(self.header), csv.reader(lines))
        return [dict(zip(self.header, row, strict=True)) for row in cells]

    def append(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Adds rows, which have all columns of the header, and sees them onto the disk."""
        with naming(self.file), self.file.open("a", encoding="utf-8", newline="") as stream:
            stream.write(self._text(rows))
            stream.flush()
            os.fsync(stream.fileno())
        self.rows += [{column: str(row[column]) for column in self.header} for row in rows]

    def finish(self, file: Path) -> None:
        """Puts the rows into the CSV ``file``, without the remark, and removes the journal."""
        write_text(file, csv_line(self.header) + self._text(self.rows))
        self.file.unlink()

    def _text(self, rows: Sequence[Mapping[str, object]]) -> str:
        return "".join(csv_line([row[column] for column in self.header]) for row in rows)


def csv_line(cells: Sequence[object]) -> str:
    """One row of a CSV with its line's end; a line break within a cell becomes a space."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([re.sub(r"[\r\n]+", " ", str(cell)) for cell in cells])
    return text.getvalue()
