"""Checks datasets on disk against their descriptions: what was found, what is wrong with it, and what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations

from . import catalog, check_content, check_files, folders, pairing, recognition
from .check_files import by
from .description import Dataset
from .findings import LEVELS, Noting, Problem, Recognition, Split
from .roots import Roots


@dataclass
class SplitReport:
    """One split as found. ``outcome`` is "exact", "known variant" (``note`` says which) or "unexpected", or, where a
    count says nothing, "patches", "synthetic", "absent" or "no number known"."""

    name: str
    pairs: int = 0
    expected: int | None = None
    outcome: str = "absent"
    note: str = ""
    layout: str = ""
    root: str = ""
    variant: str = ""
    pairing: str = ""
    blurred: str = ""  # folders, in short
    sharp: str = ""
    synthetic: bool = False
    sizes: dict[str, int] = field(default_factory=dict)  # "1280x720" -> blurred pictures
    depths: dict[str, int] = field(default_factory=dict)  # "8" -> files
    content: dict[str, float | int] = field(default_factory=dict)
    all_pairs: list[list[str]] = field(default_factory=list)  # key, blurred, sharp


@dataclass
class DatasetReport(Noting):
    """One dataset. ``found`` is False where nothing was recognised."""

    dataset: str
    looked_in: str
    marker: str = ""  # its official layout
    found: bool = False
    splits: list[SplitReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """How many problems are errors."""
        return sum(problem.level == "error" for problem in self.problems)


def check(
    names: Sequence[str], roots: Roots, decode: bool = False, sample: int = 24, seed: int = 0, progress: bool = True
) -> list[DatasetReport]:
    """Checks the datasets called ``names`` (all for none), each where ``roots`` says.

    ``decode`` reads every pixel rather than headers and ends; ``sample`` pairs a split, chosen by ``seed``, are looked
    at for swapped or shifted sides. A single name counts as a statement that it lies there, whatever its folder is
    called. Raises ``ValueError`` for an unknown name.
    """
    chosen = [catalog.get(name) for name in names] or list(catalog.DATASETS)
    reports = []
    for dataset in dict.fromkeys(chosen):
        base = roots.find(dataset.name)
        report = DatasetReport(dataset.name, str(base) if base else "", dataset.marker)
        reports.append(report)
        if base and not base.is_dir():
            report.note("error", "root", f"there is no folder {base}", f"correct {roots.source}")
        elif base:
            explicit = roots.explicit(dataset.name) or len(names) == 1
            found = recognition.recognise(dataset, base, explicit, roots.variants.get(dataset.name))
            report.found = bool(found.splits)
            report.splits = [_split(dataset, one, decode, sample, seed, progress) for one in found.splits.values()]
            if found.splits and "all" not in found.splits:
                absent = {name: count for name, count in dataset.counts.items() if name not in found.splits}
                report.splits += [SplitReport(name, expected=count) for name, count in absent.items()]
            _note_overlaps(found)
            problems = found.problems + [problem for split in found.splits.values() for problem in split.problems]
            report.problems = sorted(problems, key=lambda problem: LEVELS.index(problem.level))
    return reports


def exit_status(reports: Sequence[DatasetReport], names: Sequence[str] = ()) -> int:
    """0 if every number is exact or a known variant, 1 on any error, 2 if nothing was recognised.

    A dataset that was asked for by name and not found is an error.
    """
    if not any(report.found for report in reports):
        return 2
    missing = bool(names) and not all(report.found for report in reports)
    return 1 if missing or any(report.errors for report in reports) else 0


def as_json(reports: Sequence[DatasetReport], status: int, pairs: bool = False) -> dict:
    """The reports for machines; ``pairs`` adds key, blurred and sharp path of every pair."""
    table = [asdict(report) | {"errors": report.errors} for report in reports]
    for split in (split for entry in table if not pairs for split in entry["splits"]):
        del split["all_pairs"]
    return {"exit_status": status, "datasets": table}


def _split(dataset: Dataset, split: Split, decode: bool, sample: int, seed: int, progress: bool) -> SplitReport:
    readable = check_files.check(dataset, split, decode, progress)
    report = SplitReport(split.name, len(split.pairs), *_count(dataset, split), split.layout, str(split.root))
    report.variant, report.pairing, report.synthetic = split.variant, split.pairing, split.synthetic
    report.blurred, report.sharp = (folders.shown(side, split.root) for side in (split.blurred, split.sharp))
    sizes = Counter(by(readable[pair.blurred].size) for pair in split.pairs if pair.blurred in readable)
    depths = Counter(str(header.depth) for header in readable.values())
    report.sizes, report.depths = dict(sizes.most_common()), dict(depths.most_common())
    if dataset.ground_truth:
        title, about = f"{dataset.name} {split.name}", {"dark": dataset.dark, "brighter": dataset.brighter}
        report.content = check_content.check(split, title, readable, sample, seed, **about, progress=progress)
        _note_variant(dataset, split, report.content.get("mean_difference"))
    if dataset.published and split.pairing == "numbers":
        steps = [abs(pairing.number(pair.sharp.stem) - pairing.number(pair.blurred.stem)) for pair in split.pairs]
        split.note("info", "numbers", f"paired by camera number, largest step {max(steps, default=0)}")
    _note_mixed(dataset, split)
    if not split.patches and split.pairing == "published list":
        report.note = report.note or "split from this package"
    report.all_pairs = [[pair.key, str(pair.blurred), str(pair.sharp or "")] for pair in split.pairs]
    return report


def _count(dataset: Dataset, split: Split) -> tuple[int | None, str, str]:
    """How many pairs there should be, the outcome, and what a known variant is."""
    pairs, expected = len(split.pairs), dataset.counts.get(split.name)
    if dataset.parts:
        expected = sum(part.count for name, part in dataset.parts.items() if split.variant in (name, "all"))
    known = dataset.known_counts.get(split.name, {}).get(pairs, "")
    if split.synthetic:
        return expected, "synthetic", "made by `demoe data build`, not the real set"
    if split.patches:
        return expected, "patches", ""
    if known:
        level = "warning" if pairs != expected and split.name != "all" else "info"
        split.note(level, "count", f"{pairs} pairs: {known}")
    if pairs == expected:
        return expected, "exact", ""
    if known:
        return expected, "known variant", known
    if expected is None and split.name != "all":
        return None, "no number known", ""
    expected = expected or sum(dataset.counts.values())
    there = {pair.key for pair in split.pairs}
    missing = [key for key in dataset.published.get(split.name, split.missing) if key not in there]
    fix = "fetch what is missing" + (f"; a likely cause: {dataset.cause}" if dataset.cause else "")
    message = f"{pairs} pairs, expected {expected}"
    split.note("error", "count", message, fix, missing or _incomplete(dataset, split))
    return expected, "unexpected", ""


def _incomplete(dataset: Dataset, split: Split) -> list[str]:
    """The groups that have not as many pictures as all have, of a set whose names were never published."""
    if not dataset.group_size:
        return []
    sizes = Counter(dataset.group_of(pair.key) for pair in split.pairs)
    odd = {group: count for group, count in sorted(sizes.items()) if count != dataset.group_size}
    return [f"{dataset.group_word} {group}: {n} of {dataset.group_size} frames" for group, n in odd.items()]


def _note_overlaps(found: Recognition) -> None:
    """What is in two splits at once, and what a published split has elsewhere."""
    dataset, groups = found.dataset, {}
    for name in dataset.counts if dataset.group else ():  # other splits are made from these
        if name in found.splits:
            keys = (dataset.key_of(f"{pair.key}.png") for pair in found.splits[name].pairs)
            groups[name] = {dataset.group_of(key) for key in keys if key}
    counted = f"[{dataset.group_word}|{dataset.group_word}s] in"
    for one, other in combinations(groups, 2):
        fix = "a test on what was trained on is worth nothing: fetch the set again"
        message = f"{counted} {one} and in {other} at once"
        found.note("error", "overlap", message, fix, sorted(groups[one] & groups[other]))
    home = {dataset.group_of(key): name for name, keys in dataset.published.items() for key in keys}
    for name, some in groups.items():
        astray = sorted(group for group in some if home.get(group, name) != name)
        message = f"{counted} {name}, but in another split as published"
        found.splits[name].note("warning", "split", message, "scores on them are not those of the benchmark", astray)


def _note_variant(dataset: Dataset, split: Split, lift: float | None) -> None:
    """Which of several kinds of blurred pictures is there, and how far names tell it."""
    default = dataset.variants[0]
    if split.blurred and split.variant != default and split.sharp:
        message = f"the blurred pictures are {split.variant}; {default}, the usual ones, are not here"
        split.note("warning", "variant", message, f"name the variant {split.variant} with every score")
    elif split.blurred and split.variant != default:
        message = f"only {split.variant} is here, neither {default} nor sharp pictures"
        fix = "they may have been moved out, as MIMO-UNet's preparation does; unpack the set again"
        split.note("error", "variant", message, fix)
    if not split.blurred or split.patches:
        return
    folder = split.blurred[0]
    folder = folder.parent if folder.name.isdigit() else folder  # ``low_blur_noise`` of ``train/low_blur_noise/0000``
    kinds = [kind.name for kind in folders.subfolders(folder.parent)]
    told = split.layout == "official" or (split.variant in kinds and split.variant not in folders.BLURRED[:1])
    message = dataset.variant_notes[0 if told else 1].format(kinds=", ".join(kinds), variant=split.variant)
    if dataset.brighter and lift is not None:
        message += f": the blurred side is {lift:+.2f} gray levels brighter (near 0: {default})" if message else ""
    if message:
        split.note("info", "variant", message)


def _note_mixed(dataset: Dataset, split: Split) -> None:
    """Archives of several datasets are all called test.zip: names of another kind among those of this one."""

    def fits(key: str) -> bool:
        usual = re.fullmatch(dataset.stem, key.split("/")[-1], re.IGNORECASE)
        return bool(usual) or (not dataset.any_name and dataset.key_of(f"{key}.png") is not None)

    if dataset.stem and not split.patches:
        odd = [pair.blurred for pair in split.pairs if not fits(pair.key)]
        message = f"[picture is|pictures are] not named like those of {dataset.name}"
        if 2 * len(odd) < len(split.pairs):
            split.note("warning", "mixed", message, "two archives may have been unpacked into one folder", odd)
