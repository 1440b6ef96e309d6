"""Sets without ground truth: pictures of one or more parts, which their names or their sizes tell apart."""

from __future__ import annotations

import re
from pathlib import Path

from demoe.data.pairs import FilePair

from . import folders, matching, pixels
from .description import Dataset
from .findings import Split

Parts = dict[str, list[tuple[str, Path]]]  # of each part, and "" for none: key and picture


def recognise(dataset: Dataset, base: Path, roots: list[Path], explicit: bool, variant: str) -> Split | None:
    """The only split, "test", of the first folder that holds such pictures; None if there is none.

    ``variant`` is a part or "all". Pictures of no part are an error that names them.
    """
    for root in roots:
        strong = (explicit and root == base) or dataset.known_folder(root.name, weak=False)
        if not strong and not dataset.known_folder(root.name):
            continue
        paths = list(folders.pictures(root))
        if not paths or _has_ground_truth(root, paths):
            continue
        parts = _classify(dataset, root, paths)
        if strong or len(parts[""]) * 2 <= len(paths):
            return _split(dataset, Split("test", "official", root, variant, [root], pairing="none"), parts)
    return None


def _has_ground_truth(root: Path, paths: list[Path]) -> bool:
    """Whether some folder is called "gt" or the like: then this is RealBlur-J or another paired set."""
    words = {word.lower() for word in folders.SHARP}
    return any(part.lower() in words for path in paths for part in path.relative_to(root).parts[:-1])


def _classify(dataset: Dataset, root: Path, paths: list[Path]) -> Parts:
    parts: Parts = {name: [] for name in (*dataset.parts, "")}
    for path in paths:
        below = path.relative_to(root).as_posix()
        for name, part in dataset.parts.items():
            if match := re.search(part.names, below, re.IGNORECASE):
                groups = [group for group in match.groups() if group]
                parts[name].append((part.key_format.format(*groups), path))
                break
        else:
            parts[_by_size(dataset, path)].append((below.rsplit(".", 1)[0], path))
    return parts


def _by_size(dataset: Dataset, path: Path) -> str:
    try:
        size = pixels.size(path)
    except ValueError:
        return ""
    return next((name for name, part in dataset.parts.items() if part.fits(*size)), "")


def _split(dataset: Dataset, split: Split, parts: Parts) -> Split:
    named = {name: dataset.parts[name] for name in dataset.variants if name in dataset.parts}
    chosen = [one for name in named if split.variant in (name, "all") for one in parts[name]]
    keys: dict[str, Path] = {}
    empty = []
    for key, path in sorted(chosen, key=lambda one: matching.natural(one[0])):
        if path.stat().st_size == 0:
            empty.append(path)
        elif key in keys:
            both = (keys[key], path)
            split.note("error", "duplicate", f"two pictures have the key {key}", "remove one of them", both)
        else:
            keys[key] = path
    split.pairs = [FilePair(key, path, None) for key, path in keys.items()]
    split.note("error", "empty", "[file is|files are] empty (0 bytes)", "fetch them again", empty)
    titles = " nor of the ".join(part.title for part in named.values())
    names = " or ".join(part.shape for part in named.values())
    message = f"[picture is|pictures are] neither of the {titles} part"
    split.note("error", "unclassified", message, f"move them away: names are {names}", [path for _, path in parts[""]])
    counts = ", ".join(f"{part.title} {len(parts[name])} of {part.count}" for name, part in named.items())
    split.note("info", "parts", f"parts: {counts}; {split.variant} is used")
    return split
