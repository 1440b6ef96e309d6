"""Finding a dataset on disk, recognising its layout, and pairing its pictures: one recogniser for all datasets.

A layout is "official", or one of those that repackaged copies have: G1 ``<set>/<split>/{blur,sharp}``, G2
``<split>/<set>/{...}``, G3 ``<set>/{...}``, G4 with a folder a sequence below these, G5 in LMDB, G6 training patches.
``recognise`` says what was found and what is wrong with it; ``paired_set`` hands out the pairs of one split.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from demoe.data import pairs
from demoe.data.pairs import PairedSet

from . import catalog, folders, gather, pairing, pixels
from .description import Dataset
from .findings import Recognition, Split
from .folders import LAYOUTS, Candidate, Place
from .gather import Lists, Picture
from .roots import MADE, Roots

# Problems that keep a split from being used, the plainest first.
FATAL = ("lmdb", "unclassified", "empty", "unmatched", "duplicate")


def paired_set(
    name: str, split: str, roots: Roots, *, variant: str | None = None, bits: int | None = None, strict: bool = True
) -> PairedSet:
    """The pairs of ``split`` of the dataset called ``name`` on disk, in natural order of their keys.

    ``variant`` is one of ``catalog.get(name).variants`` (GoPro: blur, blur_gamma; LOLBlur: low_blur_noise, low_blur;
    Real-LOLBlur: sony, realblur, all), ``bits=16`` keeps 16-bit files as they are; by default both are what ``roots``
    says, else the first variant and 8. Raises ``FileNotFoundError`` where the split is not found, ``ValueError`` where
    pictures have no partner or are empty; without ``strict``, the good pairs of such a split are handed out. Keys of
    another variant than the first begin with its name. A set that `demoe data build` wrote is called ``name-syn`` and
    "synthetic".
    """
    dataset = catalog.get(name)
    name, base = dataset.name, roots.find(dataset.name)
    variant, bits = variant or roots.variants.get(name), bits or roots.bits
    where = f"`demoe data where {name}` says what to download"
    if base is None:
        raise FileNotFoundError(f"{name}: nothing says where it is: use --data-root; {where}")
    found = recognise(dataset, base, roots.explicit(name), variant or dataset.variants[0])
    chosen = found.splits.get(split)
    if chosen is None or not chosen.blurred:
        other = recognise(dataset, base, roots.explicit(name)).splits.get(split)
        if other and other.blurred:
            raise FileNotFoundError(
                f"{name} {split}: only {other.variant} pictures are in {other.root}; ask for the "
                f"variant {other.variant}, or fetch the set again; {where}"
            )
    if chosen is None:
        raise FileNotFoundError(f"{_absent(found, split)}; {where}")
    fatal = [problem for problem in chosen.problems if problem.level == "error" and problem.kind in FATAL]
    if fatal and strict:
        first = min(fatal, key=lambda problem: FATAL.index(problem.kind))
        raise ValueError(f"{name} {split}: {first.sentence}")
    if not chosen.pairs:
        raise FileNotFoundError(f"{name}: no pairs of the {split} split in {chosen.root}; {where}")
    entries = chosen.pairs
    # Another variant's scores must not pass for the usual one's.
    if dataset.ground_truth and chosen.variant not in ("", dataset.variants[0]):
        entries = [replace(one, key=f"{chosen.variant}:{one.key}") for one in entries]
    name, data = (f"{name}-syn", "synthetic") if chosen.synthetic else (name, "real")
    return pairs.files(name, entries, bits, data)


def available(names: Iterable[str], split: str, roots: Roots) -> list[str]:
    """Those of ``names`` that have this split on disk; all of them where ``roots`` is empty, for then they are made.

    Raises ``ValueError`` as ``paired_set`` does for a split that is there and faulty.
    """
    found = []
    for name in names:
        try:
            if roots:
                paired_set(name, split, roots)
        except FileNotFoundError:
            continue
        found.append(name)
    return found


def _absent(found: Recognition, split: str) -> str:
    name, base = found.dataset.name, found.base
    if found.splits:
        roots = ", ".join(sorted({str(one.root) for one in found.splits.values()}))
        text = f"{name}: no {split} split in {roots}, only {', '.join(found.splits)}"
    elif not base.is_dir():
        text = f"{name}: there is no folder {base}"
    else:
        text = f"{name} was not found in {base}, nor in a folder of it called {' or '.join(found.dataset.folders[:3])}"
    reasons = [one.message for one in found.problems if one.kind in ("foreign", "evidence", "list")]
    return "; ".join([text, *reasons[:1]])


def recognise(dataset: Dataset, base: Path, explicit: bool = False, variant: str | None = None) -> Recognition:
    """Finds ``dataset`` in ``base`` and pairs its pictures.

    ``explicit``: a person said that it lies there, so that ``base``, or a single folder in it, may have any name.
    Without ``variant`` the default one is taken, or the first that is there. Raises ``ValueError`` for an unknown one.
    """
    if variant is not None and variant not in dataset.variants:
        raise ValueError(f"{dataset.name} has no variant {variant!r}: choose one of {', '.join(dataset.variants)}")
    found = Recognition(dataset, base)
    roots = folders.dataset_roots(dataset, base)
    choice = variant if dataset.ground_truth else None  # without, the variant is a choice among the pictures found
    every = [candidate for root in roots for candidate in folders.candidates(dataset, root, base, choice)]
    sure = [candidate for candidate in every if folders.is_sure(dataset, candidate, base, explicit)]
    sure.sort(key=lambda one: (not one.complete, LAYOUTS.index(one.layout), one.crops, roots.index(one.root)))
    listed = Lists()
    if sure and dataset.lists:
        listed = gather.read_lists(found, dict.fromkeys([*(candidate.root for candidate in sure), base]))
    taken, above = set(), set()  # the same folders may fit several descriptions: the first one counts
    # Last, a folder "val" of a dataset that has no such split: it is a copy of its test split.
    for candidate in sorted(sure, key=lambda one: one.split == "val" and "val" not in dataset.counts):
        here = {Path(os.path.realpath(place.folder)) for place in candidate.blurred or candidate.sharp}
        if here & (taken | above) or any(not taken.isdisjoint(folder.parents) for folder in here):
            continue
        taken |= here | {Path(os.path.realpath(place.folder)) for place in candidate.sharp}
        above = {parent for folder in taken for parent in folder.parents}
        _take(found, candidate, listed)
    if not dataset.ground_truth and not found.splits:
        chosen = _unpaired(dataset, base, roots, explicit, variant or dataset.variants[0])
        found.splits |= {"test": chosen} if chosen else {}
    for split in found.splits.values():
        above = [split.root.absolute(), *split.root.absolute().parents]  # also above where a person pointed
        split.synthetic = any((folder / MADE).is_file() for folder in above)
    order = [*dataset.counts, *found.splits]
    found.splits = {name: found.splits[name] for name in sorted(found.splits, key=order.index)}
    _note_spare(found)
    _note_foreign(found, roots)
    if not found.splits and any(candidate.root == base and candidate.complete for candidate in every):
        message = f"{base} holds pairs, but no name says that they are {dataset.name}"
        fix = f"call the folder {dataset.folders[0]}, or name it in the [datasets] table of a TOML file"
        found.note("info", "evidence", message, fix)
    return found


def _take(found: Recognition, candidate: Candidate, listed: Lists) -> None:
    """Pairs the pictures of a candidate and enters the splits that are not there yet."""
    dataset = found.dataset
    facts = candidate.layout, candidate.root, candidate.variant
    whole = Split(candidate.split, *facts)
    both = gather.sides(dataset, candidate, whole)
    if not any(both) and not whole.problems:
        return
    if candidate.split:
        copy = candidate.split == "val" and "val" not in dataset.counts and not whole.patches
        shares = {"test" if copy else candidate.split: both}
    else:
        shares = gather.distribute(found, both, listed, candidate.layout == "official")
    problems = whole.problems  # of the first share
    for name, share in shares.items():
        if name in found.splits:
            if candidate.complete and not candidate.crops:
                message = f"another copy ({candidate.layout}) was left aside: {candidate.blurred[0].folder}"
                found.splits[name].note("info", "second", message)
            continue
        split = found.splits[name] = Split(name, *facts, patches=whole.patches, problems=problems)
        problems = []
        if candidate.layout in ("G1", "G2", "G3") and any("/" in one.stem for one in share[0]):
            split.layout = "G4"
        split.blurred = _folders(candidate.blurred, share[0])
        split.sharp = _folders(candidate.sharp, share[1])
        shared = any(place.split == "any" for place in candidate.sharp)
        pairing.pair(dataset, split, share, listed, bool(candidate.split), shared)
        if candidate.split not in ("", name):
            split.note("info", "split", f"there is no {candidate.split} split: its folder was taken for {name}")


def _folders(places: list[Place], side: list[Picture]) -> list[Path]:
    """Those of the places that hold some of the pictures; all, where pictures lie deeper."""
    here = {one.path.parent for one in side}
    return [place.folder for place in places if place.folder in here] or [place.folder for place in places]


def _note_spare(found: Recognition) -> None:
    """Sharp pictures that serve all splits and are used by none: an error only where all splits are there."""
    shared = [split for split in found.splits.values() if split.spare]
    if not shared or len(shared) < sum(split.layout == shared[0].layout for split in found.splits.values()):
        return
    keys = set.intersection(*(set(split.spare) for split in shared))
    alone = [shared[0].spare[key] for key in sorted(keys, key=pairing.natural)]
    if all(name in found.splits for name in found.dataset.counts):
        message = "[sharp picture has|sharp pictures have] no blurred partner"
        found.note("error", "unmatched", message, "fetch the partners again, or move these away", alone)
    else:
        message = "[sharp picture is|sharp pictures are] of splits that are not here"
        found.note("info", "spare", message, files=alone)


def _note_foreign(found: Recognition, roots: list[Path]) -> None:
    """Folders that a hurried look takes for this dataset, together where the reason is the same."""
    used = {split.root for split in found.splits.values()}
    seen: dict[str, list[Path]] = {}
    for place in dict.fromkeys(used or [found.base, *roots]):
        for folder in [*([] if used else [place]), *folders.subfolders(place)]:
            if why := found.dataset.foreign_reason(folder.name):
                seen.setdefault(why, []).append(folder)
    for why, some in seen.items():
        names = ", ".join(folder.name for folder in some)
        found.note("info" if used else "warning", "foreign", f"not used: {names}; {why}", files=some)


# Sets without ground truth: pictures of one or more parts, which their names or their sizes tell apart.


def _unpaired(dataset: Dataset, base: Path, roots: list[Path], explicit: bool, variant: str) -> Split | None:
    """The only split, "test", of a set without ground truth, from the first folder that holds such pictures; else None.

    ``variant`` is a part or "all". Pictures of no part are an error that names them.
    """
    sharp = {word.lower() for word in folders.SHARP}  # with a folder "gt" this is RealBlur-J or another paired set
    for root in roots:
        called = root.absolute().name  # "." has a name, too
        strong = (explicit and root == base) or dataset.known_folder(called, weak=False)
        if not strong and not dataset.known_folder(called):
            continue
        paths = list(folders.pictures(root))
        above = {part.lower() for path in paths for part in path.relative_to(root).parts[:-1]}
        if not paths or above & sharp:
            continue
        parts: dict[str, list[Picture]] = {name: [] for name in (*dataset.parts, "")}  # "" for none
        for path in paths:
            name, key = _part(dataset, root, path)
            parts[name].append(Picture(key, key, path))
        if strong or len(parts[""]) * 2 <= len(paths):
            split = Split("test", "official", root, variant, [root], pairing="none")
            _enter_parts(dataset, split, parts)
            return split
    return None


def _part(dataset: Dataset, root: Path, path: Path) -> tuple[str, str]:
    """The part that a picture belongs to by its name, else by its size, "" for none; and its key."""
    below = path.relative_to(root).as_posix()
    for name, part in dataset.parts.items():
        if match := re.search(part.names, below, re.IGNORECASE):
            return name, part.key_format.format(*filter(None, match.groups()))
    key = below.rsplit(".", 1)[0]
    try:
        size = pixels.size(path)
    except ValueError:
        return "", key
    return next((name for name, part in dataset.parts.items() if part.fits(*size)), ""), key


def _enter_parts(dataset: Dataset, split: Split, parts: dict[str, list[Picture]]) -> None:
    named = {name: dataset.parts[name] for name in dataset.variants if name in dataset.parts}
    chosen = [one for name in named if split.variant in (name, "all") for one in parts[name]]
    match = pairing.Matched("none", [])
    found = pairing.unique(sorted(chosen, key=lambda one: pairing.natural(one.key)), lambda one: one.key, match.doubles)
    match.pairs = [(picture, None) for picture in found.values()]
    pairing.enter(split, match)
    titles = " nor of the ".join(part.title for part in named.values())
    names = " or ".join(part.shape for part in named.values())
    message = f"[picture is|pictures are] neither of the {titles} part"
    fix = f"move them away: names are {names}"
    split.note("error", "unclassified", message, fix, [picture.path for picture in parts[""]])
    counts = ", ".join(f"{part.title} {len(parts[name])} of {part.count}" for name, part in named.items())
    split.note("info", "parts", f"parts: {counts}; {split.variant} is used")
