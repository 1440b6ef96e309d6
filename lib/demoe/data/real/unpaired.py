"""Real-LOLBlur: pictures without ground truth, of two origins that their names or their sizes tell apart."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from demoe.data.pairs import FilePair

from . import matching, pixels, scan
from .candidates import SHARP
from .description import Dataset
from .findings import Split, many

_REALBLUR = re.compile(
    r"(?:^|/)(?:scene)?(\d{3})_blur_(\d+)\.(?:png|jpe?g)$|(?:^|/)scene(\d{3})/(?:.*\D)?(\d+)\.\w+$", re.IGNORECASE
)
_SONY = re.compile(r"(\d{4})[_/](\d{4})\.(?:png|jpe?g)$", re.IGNORECASE)
SONY_SIZE = (640, 1120)  # height, width


def recognise(dataset: Dataset, base: Path, roots: list[Path], explicit: bool, variant: str) -> Split | None:
    """The only split, "test", of the first folder that holds such pictures; None if there is none.

    ``variant`` is "sony", "realblur" or "all". Pictures of neither part are an error that names them.
    """
    for root in roots:
        strong = (explicit and root == base) or dataset.known_folder(root.name, weak=False)
        if not strong and not dataset.known_folder(root.name):
            continue
        paths = list(scan.pictures(root))
        if not paths or _has_ground_truth(root, paths):
            continue
        parts = _classify(root, paths)
        if not strong and len(parts["unclassified"]) * 2 > len(paths):
            continue
        return _split(Split("test", "official", root, variant, [root], pairing="none"), parts, variant)
    return None


def _has_ground_truth(root: Path, paths: list[Path]) -> bool:
    """Whether some folder is called "gt" or the like: then this is RealBlur-J or another paired set."""
    words = {word.lower() for word in SHARP}
    return any(part.lower() in words for path in paths for part in path.relative_to(root).parts[:-1])


def _classify(root: Path, paths: list[Path]) -> dict[str, list[tuple[str, Path]]]:
    parts: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in paths:
        below = path.relative_to(root).as_posix()
        if match := _REALBLUR.search(below):
            scene, number = (one for one in match.groups() if one)
            parts["realblur"].append((f"{scene}_blur_{int(number)}", path))
        elif match := _SONY.search(below):
            parts["sony"].append(("_".join(match.groups()), path))
        else:
            parts[_by_size(path)].append((below.rsplit(".", 1)[0], path))
    return parts


def _by_size(path: Path) -> str:
    try:
        height, width = pixels.size(path)
    except ValueError:
        return "unclassified"
    if (height, width) == SONY_SIZE:
        return "sony"
    return "realblur" if width < 800 and height > width else "unclassified"


def _split(split: Split, parts: dict[str, list[tuple[str, Path]]], variant: str) -> Split:
    chosen = [*parts["sony"], *parts["realblur"]] if variant == "all" else parts[variant]
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
    if empty:
        split.note(
            "error", "empty", many(len(empty), "file is", "files are") + " empty (0 bytes)", "fetch them again", empty
        )
    if parts["unclassified"]:
        files = [path for _, path in parts["unclassified"]]
        split.note(
            "error",
            "unclassified",
            many(len(files), "picture is", "pictures are") + " neither of the Sony nor of the RealBlur part",
            "move them away: names are SSSS_FFFF.png or NNN_blur_N.png",
            files,
        )
    counts = f"Sony {len(parts['sony'])} of 872, RealBlur {len(parts['realblur'])} of 482"
    split.note("info", "parts", f"parts: {counts}; {variant} is used")
    return split
