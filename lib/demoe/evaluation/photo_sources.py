"""A folder of real photographs and its ``sources.csv``: what each shows, how it is blurred, and whose it is.

Columns that must be there, others being left alone:

- ``file``: path below the folder
- ``set``: where it is from, a word; pictures of one set are averaged
- ``role``: "blur", "sharp" (the sharp picture of blurred ones), "pseudo_reference" (the same, not quite sharp), or
  "sharp_unpaired" (a sharp photograph by itself)
- ``kind_of_blur``: an expert's name ("defocus", "global_motion", "local_motion", "synth_global_motion", "low_light"),
  "motion" (one of the three), "unknown", or "sharp"
- ``paired``: "yes" where a blurred picture has a sharp one in its set, else "no"
- ``licence``: in words; never empty, because somebody may want to show the picture

The sharp picture of "rain_3_blur.png" is the one of its set whose name without its last word ("rain_3_sharp.png",
"rain_sharp.png") begins the blurred one's name; of several the longest.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from demoe.core.tasks import EXPERTS
from demoe.data import pairs
from demoe.data.pairs import FilePair, PairedSet

FILE = "sources.csv"
COLUMNS = ("file", "set", "role", "kind_of_blur", "paired", "licence")
BLUR, REFERENCES, UNPAIRED = "blur", ("sharp", "pseudo_reference"), "sharp_unpaired"
ROLES = (BLUR, *REFERENCES, UNPAIRED)
MOTION, UNKNOWN, SHARP = "motion", "unknown", "sharp"
KINDS: dict[str, tuple[str, ...]] = {  # experts that are right for a picture; none where that cannot be said
    **{name: (name,) for name in EXPERTS},
    MOTION: ("global_motion", "local_motion", "synth_global_motion"),
    UNKNOWN: (),
    SHARP: (),
}


@dataclass(frozen=True)
class Source:
    """A row of ``sources.csv``, checked. ``sharp`` is the file of the sharp picture of a paired blurred one."""

    key: (
        str  # its path below the folder without suffix, "-" for "/"; behind its sharp picture's name and "/", if paired
    )
    file: Path
    set: str
    role: str
    kind: str
    licence: str
    sharp: Path | None = None


def read_sources(folder: Path) -> list[Source]:
    """The rows of ``folder/sources.csv`` in order.

    Raises ``FileNotFoundError`` where the folder or the table is not there, and ``ValueError`` naming the line: for a
    column that is missing, a word that is not known, a picture that is missing or named twice, an empty licence, and
    a paired picture without a sharp one.
    """
    table = folder / FILE
    if not table.is_file():
        raise FileNotFoundError(f"there is no {table}: a table of the photographs with columns {', '.join(COLUMNS)}")
    with table.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if lacking := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise ValueError(f"{table} has no column {', '.join(lacking)}: it needs {', '.join(COLUMNS)}")
        rows = [{name: (row[name] or "").strip() for name in COLUMNS} for row in reader]
    if not rows:
        raise ValueError(f"{table} names no photographs")
    known = {"role": ROLES, "kind_of_blur": tuple(KINDS), "paired": ("yes", "no")}
    seen: set[str] = set()
    for line, row in enumerate(rows, 2):
        where = f"{table}, line {line}"
        for column, words in known.items():
            if row[column] not in words:
                raise ValueError(f"{where}: {column} {row[column]!r}: choose one of {', '.join(words)}")
        for column in ("file", "set", "licence"):
            if not row[column]:
                raise ValueError(f"{where}: {column} is empty")
        if not (folder / row["file"]).is_file():
            raise ValueError(f"{where}: there is no {folder / row['file']}")
        if row["file"] in seen:
            raise ValueError(f"{where}: {row['file']} is named twice")
        seen.add(row["file"])
    return [_source(folder, row, rows, f"{table}, line {line}") for line, row in enumerate(rows, 2)]


def _source(folder: Path, row: dict[str, str], rows: list[dict[str, str]], where: str) -> Source:
    sharp = None
    if row["role"] == BLUR and row["paired"] == "yes":
        stem = Path(row["file"]).stem
        fitting: dict[Path, str] = {}  # sharp pictures of the set by what their names begin with
        for other in (one for one in rows if one["set"] == row["set"] and one["role"] in REFERENCES):
            begun = Path(other["file"]).stem.rpartition("_")[0]
            if begun and f"{stem}_".startswith(f"{begun}_"):
                fitting[Path(other["file"])] = begun
        here = {file: begun for file, begun in fitting.items() if file.parent == Path(row["file"]).parent}
        fitting = here or fitting
        longest = max(map(len, fitting.values()), default=0)
        chosen = [file for file, begun in fitting.items() if len(begun) == longest]
        if not chosen:
            raise ValueError(
                f"{where}: {row['file']} is paired, but no sharp picture of set {row['set']} has a name that begins it"
            )
        if len(chosen) > 1:
            raise ValueError(
                f"{where}: {row['file']} is paired, but {chosen[0]} and {chosen[1]} could both be its sharp picture: "
                "call their set or their files differently, or put each beside its own"
            )
        sharp = folder / chosen[0]
    key = _key(Path(row["file"]))
    if sharp is not None:
        key = f"{_key(chosen[0])}/{key}"  # pictures of one scene, which intervals have to know (``statistics.scene``)
    return Source(key, folder / row["file"], row["set"], row["role"], row["kind_of_blur"], row["licence"], sharp)


def _key(file: Path) -> str:
    return file.with_suffix("").as_posix().replace("/", "-")


def set_name(source: Source, sources: list[Source]) -> str:
    """The source's set, with the kind of blur behind it where the set has several."""
    kinds = {one.kind for one in sources if one.set == source.set and one.role == BLUR}
    return source.set if len(kinds) == 1 else f"{source.set} ({source.kind})"


def blurred_sets(sources: list[Source], paired: bool | None = None) -> dict[str, tuple[str, PairedSet]]:
    """Kind and pictures of each set of blurred photographs, by its name; ``paired``: those with a sharp one only, or
    those without; None: all, an unpaired one having no sharp picture."""
    groups: dict[str, list[Source]] = {}
    for one in sources:
        if one.role == BLUR and paired in (None, one.sharp is not None):
            groups.setdefault(set_name(one, sources), []).append(one)
    return {
        name: (members[0].kind, pairs.files(name, [FilePair(one.key, one.file, one.sharp) for one in members]))
        for name, members in groups.items()
    }


def sharp_photographs(sources: list[Source]) -> list[Source]:
    """Sharp ones by role. A pseudo reference is not sharp enough to say what harms a sharp picture."""
    return [one for one in sources if one.role in (REFERENCES[0], UNPAIRED)]
