"""Holds datasets on disk to what is known about them: what was found, what is wrong with it, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demoe.data.pairs import FilePair

from . import catalog, check_content, check_files, gather, layouts, matching, scan
from .candidates import shown
from .description import Dataset
from .findings import LEVELS, Problem, Recognition, Split, many, problem
from .roots import Roots

MASKS = ("masks", "mask", "mask_v1", "local blur mask", "input_mask")
PARTS = {"sony": 872, "realblur": 482, "all": 1354}  # Real-LOLBlur


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
class DatasetReport:
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
        return sum(one.level == "error" for one in self.problems)


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
        if base is None:
            continue
        if not base.is_dir():
            report.problems.append(problem("error", "root", f"there is no folder {base}", f"correct {roots.source}"))
            continue
        found = layouts.recognise(
            dataset, base, roots.explicit(dataset.name) or len(names) == 1, roots.variants.get(dataset.name)
        )
        report.found = bool(found.splits)
        report.problems += found.problems
        for split in found.splits.values():
            report.splits.append(_split(dataset, split, decode, sample, seed, progress))
        if report.found:
            report.problems += _overlaps(found)
            report.splits += [
                SplitReport(name, expected=count)
                for name, count in dataset.counts.items()
                if name not in found.splits and "all" not in found.splits
            ]
        for split in found.splits.values():
            report.problems += split.problems
        report.problems.sort(key=lambda one: LEVELS.index(one.level))
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
    table = []
    for report in reports:
        entry = asdict(report) | {"errors": report.errors}
        for split in entry["splits"]:
            if not pairs:
                del split["all_pairs"]
        table.append(entry)
    return {"exit_status": status, "datasets": table}


def _split(dataset: Dataset, split: Split, decode: bool, sample: int, seed: int, progress: bool) -> SplitReport:
    report = SplitReport(split.name, len(split.pairs), layout=split.layout, root=str(split.root), variant=split.variant)
    report.pairing, report.synthetic = split.pairing, split.synthetic
    report.blurred, report.sharp = shown(split.blurred, split.root), shown(split.sharp, split.root)
    files = check_files.check(dataset, split, decode, progress)
    _count(dataset, split, report)
    report.sizes = {f"{width}x{height}": count for (width, height), count in files.sizes.most_common()}
    report.depths = {str(depth): count for depth, count in files.depths.most_common()}
    if dataset.ground_truth:
        report.content = check_content.check(dataset, split, files.damaged, sample, seed, progress)
    _particulars(dataset, split, report)
    report.all_pairs = [[one.key, str(one.blurred), str(one.sharp) if one.sharp else ""] for one in split.pairs]
    return report


def _count(dataset: Dataset, split: Split, report: SplitReport) -> None:
    """The three outcomes of a count, and the cases in which a count means nothing."""
    known = dataset.known_counts.get(split.name, {})
    report.expected = dataset.counts.get(split.name)
    if not dataset.ground_truth:
        report.expected = PARTS[split.variant]
    if split.synthetic:
        report.outcome, report.note = "synthetic", "made by `demoe data build`, not the real set"
    elif split.patches:
        report.outcome = "patches"
    elif report.pairs == report.expected:
        report.outcome = "exact"
    elif report.pairs in known:
        report.outcome, report.note = "known variant", known[report.pairs]
        level = "info" if split.name == "all" else "warning"
        split.note(level, "count", f"{report.pairs} pairs: {report.note}")
    elif report.expected is None and split.name != "all":
        report.outcome = "no number known"
    else:
        report.outcome = "unexpected"
        report.expected = report.expected or sum(dataset.counts.values())
        there = {pair.key for pair in split.pairs}
        missing = [key for key in catalog.published(dataset.name).get(split.name, split.missing) if key not in there]
        named = f"{report.pairs} pairs, expected {report.expected}"
        split.note("error", "count", named, _likely(dataset), missing or _incomplete(dataset, split))


def _likely(dataset: Dataset) -> str:
    return "fetch what is missing" + (f"; a likely cause: {dataset.cause}" if dataset.cause else "")


def _incomplete(dataset: Dataset, split: Split) -> list[str]:
    """LOLBlur's videos that have not 60 frames: its frame numbers were never published."""
    if dataset.name != "LOLBlur":
        return []
    videos: dict[str, int] = {}
    for pair in split.pairs:
        videos[gather.group(dataset, pair.key)] = videos.get(gather.group(dataset, pair.key), 0) + 1
    return [f"video {video}: {frames} of 60 frames" for video, frames in sorted(videos.items()) if frames != 60]


def _overlaps(found: Recognition) -> list[Problem]:
    """What is in two splits at once, and what a published split has elsewhere."""
    dataset, groups = found.dataset, {}
    if not dataset.group:
        return []
    for name in [name for name in found.splits if name in dataset.counts]:  # others are made from these
        split = found.splits[name]
        keys = (gather.key(dataset, f"{pair.key}.png") for pair in split.pairs)
        groups[name] = {gather.group(dataset, key) for key in keys if key}
    problems = []
    what = {"GoPro": "sequence", "RealBlur": "scene", "LOLBlur": "video"}.get(dataset.name, "picture")
    names = list(groups)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            both = sorted(groups[one] & groups[other])
            if both:
                told = many(len(both), what, f"{what}s") + f" in {one} and in {other} at once"
                fix = "a test on what was trained on is worth nothing: fetch the set again"
                problems.append(problem("error", "overlap", told, fix, files=both))
    home = {gather.group(dataset, key): name for name, keys in catalog.published(dataset.name).items() for key in keys}
    for name, here in groups.items():
        astray = sorted(one for one in here if home.get(one, name) != name)
        if astray:
            problems.append(
                problem(
                    "warning",
                    "split",
                    many(len(astray), what, f"{what}s") + f" in {name}, but in another split as published",
                    "scores on them are not those of the benchmark",
                    name,
                    astray,
                )
            )
    return problems


def _particulars(dataset: Dataset, split: Split, report: SplitReport) -> None:
    """What each dataset has of its own; all but the first are for information."""
    default = dataset.variants[0]
    if dataset.ground_truth and split.blurred and split.variant != default:
        if split.sharp:
            split.note(
                "warning",
                "variant",
                f"the blurred pictures are {split.variant}; {default}, the usual ones, are not here",
                f"name the variant {split.variant} with every score",
            )
        else:
            split.note(
                "error",
                "variant",
                f"only {split.variant} is here, neither {default} nor sharp pictures",
                "they may have been moved out, as MIMO-UNet's preparation does; unpack the set again",
            )
    if dataset.name == "GoPro" and split.layout != "official" and not split.patches:
        lift = report.content.get("mean_difference")
        told = f": the blurred side is {lift:+.2f} gray levels brighter (near 0: blur)" if lift is not None else ""
        split.note("info", "variant", f"a flat copy does not say whether it holds blur or blur_gamma{told}")
    if dataset.name == "LOLBlur" and split.blurred:
        kinds = ", ".join(folder.name for folder in scan.folders(_kind_folder(split.blurred[0]).parent))
        used = f"kinds here: {kinds}; {report.variant} with high_sharp_scaled is used"
        told = used if report.variant in kinds else f"the names {kinds} do not tell low_blur_noise from low_blur"
        split.note("info", "variant", told)
    if dataset.name == "RSBlur":
        what = f"{split.variant} is used" if split.layout == "official" else "names do not tell real from synthetic"
        split.note("info", "variant", f"blurred pictures: {what}")
    if dataset.name == "DPDD" and split.pairing == "numbers":
        steps = [abs(matching.number(pair.sharp.stem) - matching.number(pair.blurred.stem)) for pair in split.pairs]
        split.note("info", "numbers", f"paired by camera number, largest step {max(steps, default=0)}")
    if dataset.name == "DPDD" and split.name == "test" and report.outcome == "exact":
        split.note("info", "count", "76 pairs are the benchmark's test split; papers that print 75 round 15 % of 500")
    if dataset.name == "ReLoBlur":
        _masks(split)
    _mixed(dataset, split)
    if split.patches is False and split.pairing == "published list":
        report.note = report.note or "split from this package"


def _mixed(dataset: Dataset, split: Split) -> None:
    """Archives of several datasets are all called test.zip: names of another kind among those of this one."""
    if not dataset.stem or split.patches:
        return
    odd = [pair.blurred for pair in split.pairs if not _fits(dataset, pair)]
    if odd and 2 * len(odd) < len(split.pairs):
        split.note(
            "warning",
            "mixed",
            many(len(odd), "picture is", "pictures are") + f" not named like those of {dataset.name}",
            "two archives may have been unpacked into one folder",
            odd,
        )


def _fits(dataset: Dataset, pair: FilePair) -> bool:
    if re.fullmatch(dataset.stem, pair.key.split("/")[-1], re.IGNORECASE):
        return True
    return dataset.name != "HIDE" and gather.key(dataset, f"{pair.key}.png") is not None  # any name is a key of HIDE


def _kind_folder(folder: Path) -> Path:
    """``low_blur_noise`` of ``train/low_blur_noise/0000``."""
    return folder.parent if folder.name.isdigit() else folder


def _masks(split: Split) -> None:
    """Masks are counted, never required. They lie beside the dataset's folder or in it, under several names."""
    places = [
        folder
        for place in (split.root, split.root.parent)
        for folder in scan.folders(place)
        if folder.name.lower() in MASKS
    ]
    masks = [(place, path) for place in places for path in scan.pictures(place)]
    known = {path.relative_to(place).with_suffix("").as_posix().lower() for place, path in masks}
    lack = [key for pair in split.pairs if (key := f"{split.name}/{pair.key}").lower() not in known]
    covered = f"{len(split.pairs) - len(lack)} of {len(split.pairs)}"
    split.note(
        "info",
        "masks",
        f"{covered} pairs have a mask of the moving object (none is needed)",
        files=lack if known else (),
    )
