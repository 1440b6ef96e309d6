"""From the pictures of a split to its pairs, with everything that did not become one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from demoe.data.pairs import FilePair

from . import lmdb_files, matching
from .description import Dataset
from .findings import Split
from .gather import Lists, Sides
from .matching import Matched, Picture


def pair(dataset: Dataset, split: Split, both: Sides, listed: Lists, in_path: bool, shared: bool) -> None:
    """Fills ``split`` with the pairs of ``both`` sides and with problems.

    ``in_path``: folders told the split, so that a list only confirms it. ``shared``: sharp pictures serve all splits.
    """
    match = _match(dataset, split, both)
    split.pairing = match.how
    if not split.patches:
        _compare_with_lists(dataset, split, match, listed, in_path)
    for first, second in match.doubles:
        files = (first.path, second.path)
        split.note("error", "duplicate", f"two pictures have the key {first.key}", "remove one of them", files)
    if shared:
        split.spare = {picture.key: picture.path for picture in match.sharp_alone}
        match.sharp_alone = []
    pictures = [picture for couple in match.pairs for picture in couple]
    pictures += [*match.blurred_alone, *match.sharp_alone]
    empty = {picture.path: None for picture in pictures if _is_empty(picture.path)}
    split.pairs = [
        FilePair(blurred.key, blurred.path, sharp.path)
        for blurred, sharp in sorted(match.pairs, key=lambda couple: matching.natural(couple[0].key))
        if blurred.path not in empty and sharp.path not in empty
    ]
    split.note("error", "empty", "[file is|files are] empty (0 bytes)", "fetch them again", empty)
    for side, role, other in ((match.blurred_alone, "blurred", "sharp"), (match.sharp_alone, "sharp", "blurred")):
        alone = [picture.path for picture in side if picture.path not in empty]
        split.alone += alone
        message = f"[{role} picture has|{role} pictures have] no {other} partner"
        split.note("error", "unmatched", message, "fetch the partners again, or move these away", alone)
    if split.pairing == "order" and split.pairs:
        number = "1 pair was" if len(split.pairs) == 1 else f"{len(split.pairs)} pairs were"
        message = f"{number} made by sorted order, as the names do not match"
        split.note("warning", "order", message, "look at the result of the content check, and at a few pairs yourself")


def _match(dataset: Dataset, split: Split, both: Sides) -> Matched:
    match = None
    if dataset.pairing == "numbers" and not split.patches:
        match = matching.by_name(*both) or matching.by_numbers(*both, published_numbers(dataset))
    match = match or matching.by_key(*both, dataset.inner_suffix)
    told = any(one.key != one.stem for side in both for one in side)  # a key that was read from a path means something
    names_mean_nothing = not match.pairs and not told and not (split.layout == "official" and dataset.key)
    return (matching.by_order(*both) if names_mean_nothing else None) or match


def published_numbers(dataset: Dataset) -> dict[int, int]:
    """Camera number of each blurred picture -> that of its sharp one; empty where none are published."""
    if not dataset.sharp_key:
        return {}
    keys = [key for some in dataset.published().values() for key in some]
    return {matching.number(key): matching.number(dataset.sharp_key(key)) for key in keys}


def _compare_with_lists(dataset: Dataset, split: Split, match: Matched, listed: Lists, in_path: bool) -> None:
    published = dict.fromkeys(dataset.published().get(split.name, ()))
    expected: Mapping[str, str | None] = listed.keys.get(split.name, published)
    by_list = split.name in listed.keys
    if in_path and dataset.split_by_list and published:
        _drop_unlisted(dataset, split, match, published)
    elif not in_path and dataset.split_by_list and expected:
        split.pairing = "list" if by_list else "published list"
    there = {blurred.key for blurred, _ in match.pairs}
    split.missing = tuple(key for key in expected if key not in there)
    if not by_list:
        return
    if split.missing:
        files = ", ".join(str(file) for file in listed.files[split.name])
        message = f"{len(split.missing)} of {len(expected)} pairs listed in {files} are not whole on the disk"
        missing = [expected[key] for key in split.missing]
        split.note("error", "list", message, "fetch or unpack the set again", missing)
    more = [blurred.path for blurred, _ in match.pairs if blurred.key not in expected]
    split.note("info", "unlisted", "[pair is|pairs are] not in the list", files=more)


def _drop_unlisted(dataset: Dataset, split: Split, match: Matched, published: Mapping[str, object]) -> None:
    """Copies with folders for train and test may hold more of a scene than the published split uses."""
    scenes = {dataset.group_of(key) for key in published}

    def used(picture: Picture) -> bool:
        return picture.key in published or dataset.group_of(picture.key) not in scenes

    unlisted = [blurred.path for blurred, _ in match.pairs if not used(blurred)]
    match.pairs = [couple for couple in match.pairs if used(couple[0])]
    match.blurred_alone = list(filter(used, match.blurred_alone))
    match.sharp_alone = list(filter(used, match.sharp_alone))
    split.note("info", "unlisted", "[pair is|pairs are] in no published split: left out", files=unlisted)


def _is_empty(path: Path) -> bool:
    try:
        return not lmdb_files.split(path) and os.path.getsize(path) == 0
    except OSError:  # a link that leads nowhere: reading says so
        return False
