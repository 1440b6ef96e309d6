"""The report of ``check`` for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import catalog, folders
from .check import DatasetReport, SplitReport
from .findings import SHOWN, Problem

WIDTH = 100
_COLUMNS = {"dataset": 12, "split": 5, "layout": 8, "blurred": 14, "pairs": 6, "expected": 8, "count": 15}
_COLUMNS |= {"size": 12, "bits": 4}  # their widths
_NUMBERS = ("pairs", "expected", "bits")


def table(reports: Sequence[DatasetReport]) -> str:
    """One line a split, then where it lies, then the problems, the worst first."""
    lines = [_row(_COLUMNS), _row("-" * width for width in _COLUMNS.values())]
    for report in reports:
        if not report.found:
            lines.append(_row([report.dataset, "-", "not found" if report.looked_in else "no root"]))
        lines += [_line(report, split) for split in report.splits]
    places = [line for report in reports for split in report.splits if split.root for line in _place(report, split)]
    if places:
        lines += ["", "Where", *places]
    for level, title in (("error", "Errors"), ("warning", "Warnings"), ("info", "For information")):
        some = [(report.dataset, problem) for report in reports for problem in report.problems]
        texts = [line for name, problem in some if problem.level == level for line in _problem(name, problem)]
        if texts:
            lines += ["", title, *texts]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    columns = zip(_COLUMNS.items(), cells, strict=False)
    return " ".join(f"{cell:{'>' if name in _NUMBERS else '<'}{width}}" for (name, width), cell in columns).rstrip()


def _line(report: DatasetReport, split: SplitReport) -> str:
    if not split.layout:
        return _row([report.dataset, split.name, "-", "", "0", str(split.expected), "absent"])
    size, *more = split.sizes or ["-"]
    size += f" +{len(more)}" if more else ""
    expected, bits = "?" if split.expected is None else str(split.expected), "/".join(split.depths) or "-"
    kind = [report.dataset, split.name, split.layout, split.variant]
    return _row([*kind, str(split.pairs), expected, split.outcome, size, bits])


def _place(report: DatasetReport, split: SplitReport) -> list[str]:
    name = f"{report.dataset} {split.name}"
    note = f" ({split.note})" if split.note else ""
    lines = [f"  {name:18s} {split.root}{note}", f"  {'':18s} blurred {split.blurred}"]
    return [*lines, f"  {'':18s} sharp {split.sharp}, paired by {split.pairing}"] if split.sharp != "none" else lines


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    whole = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, **whole)


def _problem(dataset: str, problem: Problem) -> list[str]:
    text = f"{dataset} {problem.split}".rstrip() + f": {problem.message}"
    lines = _wrapped(text + (f" -> {problem.fix}" if problem.fix else ""), "  ", "    ")
    files = problem.files[: SHOWN if problem.level == "error" else 3]
    lines += [f"      {file}" for file in files]
    if problem.count > len(files):
        lines.append(f"      ... and {problem.count - len(files)} more")
    return lines


def not_found(report: DatasetReport) -> str:
    """What the dataset should look like, beside what is there: two levels, ten entries."""
    dataset = catalog.get(report.dataset)
    lines = [f"{dataset.name} looks like this: {dataset.marker}"]
    base = Path(report.looked_in)
    if report.looked_in and base.is_dir():
        lines.append(f"  found in {base}:")
        shown = []
        for entry in folders.entries(base):
            shown.append(entry.name + ("/" if folders.is_folder(entry) else ""))
            if folders.is_folder(entry):
                inner = folders.entries(Path(entry.path))
                shown += [f"{entry.name}/{one.name}{'/' if folders.is_folder(one) else ''}" for one in inner]
        lines += [f"    {name}" for name in shown[:SHOWN]] or ["    nothing"]
        if len(shown) > SHOWN:
            lines.append(f"    ... and {len(shown) - SHOWN} more")
    return "\n".join(lines)


def where(names: Sequence[str], looked_in: dict[str, str]) -> str:
    """Home, licence and download of each dataset, and how it should look. ``looked_in``: name -> where it is sought."""
    blocks = []
    for dataset in [catalog.get(name) for name in names] or catalog.DATASETS:
        nowhere = "nowhere yet: use --data-root, $DEMOE_DATA_ROOT or data.toml"
        rows = [
            ("home", dataset.home),
            ("licence", dataset.licence),
            ("download", dataset.download),
            ("not needed", dataset.not_needed),
            ("looks like", dataset.marker),
            ("pairs", ", ".join(f"{split} {count}" for split, count in dataset.counts.items())),
            ("variants", ", ".join(dataset.variants) if len(dataset.variants) > 1 else ""),
            ("known as", ", ".join(dict.fromkeys((dataset.name, *dataset.folders)))),
            ("looked for", looked_in.get(dataset.name, "") or nowhere),
            *(("note", note) for note in dataset.notes),
        ]
        lines = [line for title, text in rows if text for line in _wrapped(text, f"  {title:11s}", " " * 13)]
        blocks.append("\n".join([dataset.name, *lines]))
    return "\n\n".join(blocks)
