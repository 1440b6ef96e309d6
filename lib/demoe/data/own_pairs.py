"""A person's own pairs, DIR/blur and DIR/sharp with equal names; what is wrong with them, before a training starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from demoe.core.files import checksum

from . import pairs as paired
from .pairs import PairedSet
from .real import check_content, check_files
from .real.description import Dataset
from .real.findings import LEVELS, Problem, Split


def own_pairs(place: Path) -> PairedSet:
    """The pairs of ``place``/blur and ``place``/sharp, called "own-" and the folder's name: never a dataset's.

    Raises ``FileNotFoundError`` and ``ValueError`` as ``pairs.folder`` does. What is in the pictures is
    ``complaints``' to say.
    """
    return paired.folder(f"own-{place.resolve().name}", place / "blur", place / "sharp")


def fingerprint(pairs: PairedSet) -> str:
    """Eight digits that change with any picture of ``pairs``, with its name, and with the order of the pairs.

    Files count by their bytes, not by their times: a copy of a folder is the same set. Pictures in memory count by
    their pixels.
    """
    with ThreadPoolExecutor() as pool:
        if pairs.entries:
            files = [file for entry in pairs.entries for file in (entry.blurred, entry.sharp) if file]
            digests = pool.map(checksum, files)
        else:
            digests = pool.map(lambda i: _pixels_digest(pairs.read(i, None)), range(len(pairs)))
        lines = [*pairs.keys, "", *digests]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def _pixels_digest(sides: Iterable) -> str:
    digest = hashlib.sha256()
    for side in sides:
        digest.update(b"" if side is None else side.contiguous().numpy().tobytes())
    return digest.hexdigest()


def complaints(pairs: PairedSet, patch: int, sample: int = 500, progress: bool = True) -> list[Problem]:
    """What stands against training on ``pairs`` with crops of ``patch`` pixels, the worst first, with names.

    Errors, looked for in all pairs, keep from it: files that cannot be read, two sizes in one pair, pictures smaller
    than the crops. Warnings do not: identical sides, exchanged ones, pictures of two scenes or a shifted pairing, seen
    in ``sample`` pairs, evenly chosen by a fixed seed. Of pictures in memory, only the sizes are looked at.
    """
    split = Split("", "own", Path(), "")
    if pairs.entries:
        split.pairs = list(pairs.entries)
        split.blurred, split.sharp = [pairs.entries[0].blurred.parent], [pairs.entries[0].sharp.parent]
        readable = check_files.check(Dataset(pairs.name), split, progress=progress)
        check_content.check(split, pairs.name, readable, sample, progress=progress)
        split.problems = [problem for problem in split.problems if problem.kind != "patches"]
    if not any(problem.kind == "damaged" for problem in split.problems):
        sizes = {key: pairs.size(i) for i, key in enumerate(pairs.keys)}
        small = [f"{key} is {width}x{height}" for key, (height, width) in sizes.items() if min(height, width) < patch]
        message = f"[picture is|pictures are] smaller than the {patch}-pixel crops"
        split.note("error", "small", message, "take them out of both folders", small)
    return sorted(split.problems, key=lambda problem: LEVELS.index(problem.level))
