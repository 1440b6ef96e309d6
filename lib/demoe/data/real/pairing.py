"""From the pictures of a split to its pairs, with everything that did not become one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from demoe.data.pairs import FilePair

from . import catalog, lmdb_files, matching
from .description import Dataset
from .findings import Split, many
from .gather import Sides, group
from .lists import Lists
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
        split.note(
            "error",
            "duplicate",
            f"two pictures have the key {first.key}",
            "remove one of them",
            (first.path, second.path),
        )
    if shared:
        split.spare = {one.key: one.path for one in match.sharp_alone}
        match.sharp_alone = []
    every = [one.path for couple in match.pairs for one in couple]
    every += [one.path for one in (*match.blurred_alone, *match.sharp_alone)]
    zero = [path for path in every if _is_empty(path)]
    empty = set(zero)
    good = [FilePair(one.key, one.path, other.path) for one, other in match.pairs if not empty & {one.path, other.path}]
    split.pairs = sorted(good, key=lambda one: matching.natural(one.key))
    if empty:
        split.note(
            "error", "empty", many(len(empty), "file is", "files are") + " empty (0 bytes)", "fetch them again", zero
        )
    for side, role, other in ((match.blurred_alone, "blurred", "sharp"), (match.sharp_alone, "sharp", "blurred")):
        alone = [one.path for one in side if one.path not in empty]
        if alone:
            split.alone += alone
            split.note(
                "error",
                "unmatched",
                many(len(alone), f"{role} picture has", f"{role} pictures have") + f" no {other} partner",
                "fetch the partners again, or move these away",
                alone,
            )
    if split.pairing == "order" and split.pairs:
        split.note(
            "warning",
            "order",
            many(len(split.pairs), "pair was", "pairs were") + " made by sorted order, as the names do not match",
            "look at the result of the content check, and at a few pairs yourself",
        )


def _match(dataset: Dataset, split: Split, both: Sides) -> Matched:
    match = None
    if dataset.pairing == "numbers" and not split.patches:
        known = catalog.dpdd_targets() if dataset.name == "DPDD" else {}
        match = matching.by_name(*both) or matching.by_numbers(*both, known, nearest=bool(known))
    match = match or matching.by_key(*both, dataset.inner_suffix)
    told = any(one.key != one.stem for side in both for one in side)  # a key that was read from a path means something
    names_mean_nothing = not match.pairs and not told and not (split.layout == "official" and dataset.key)
    return (matching.by_order(*both) if names_mean_nothing else None) or match


def _compare_with_lists(dataset: Dataset, split: Split, match: Matched, listed: Lists, in_path: bool) -> None:
    published = dict.fromkeys(catalog.published(dataset.name).get(split.name, ()))
    expected: Mapping[str, str | None] = listed.keys.get(split.name, published)
    by_list = split.name in listed.keys
    if in_path and dataset.split_by_list and published:
        _drop_unlisted(dataset, split, match, published)
    elif not in_path and dataset.split_by_list and expected:
        split.pairing = "list" if by_list else "published list"
    there = {one.key for one, _ in match.pairs}
    split.missing = tuple(key for key in expected if key not in there)
    if not by_list:
        return
    if split.missing:
        files = ", ".join(str(file) for file in listed.files[split.name])
        count = f"{len(split.missing)} of {len(expected)}"
        split.note(
            "error",
            "list",
            f"{count} pairs listed in {files} are not whole on the disk",
            "fetch or unpack the set again",
            [expected[key] for key in split.missing],
        )
    more = [one.path for one, _ in match.pairs if one.key not in expected]
    if more:
        split.note("info", "unlisted", many(len(more), "pair is", "pairs are") + " not in the list", files=more)


def _drop_unlisted(dataset: Dataset, split: Split, match: Matched, published: Mapping[str, object]) -> None:
    """Copies with folders for train and test may hold more of a scene than the published split uses."""
    scenes = {group(dataset, key) for key in published}

    def used(one: Picture) -> bool:
        return one.key in published or group(dataset, one.key) not in scenes

    unlisted = [one.path for one, _ in match.pairs if not used(one)]
    match.pairs = [couple for couple in match.pairs if used(couple[0])]
    match.blurred_alone = [one for one in match.blurred_alone if used(one)]
    match.sharp_alone = [one for one in match.sharp_alone if used(one)]
    if unlisted:
        split.note(
            "info",
            "unlisted",
            many(len(unlisted), "pair is", "pairs are") + " in no published split: left out",
            files=unlisted,
        )


def _is_empty(path: Path) -> bool:
    try:
        return not lmdb_files.split(path) and os.path.getsize(path) == 0
    except OSError:  # a link that leads nowhere: reading says so
        return False
