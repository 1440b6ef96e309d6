"""The report of ``check`` for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from . import catalog, folders
from .check import DatasetReport, SplitReport
from .findings import SHOWN, Problem

WIDTH = 100
_COLUMNS = (
    ("dataset", 12),
    ("split", 5),
    ("layout", 8),
    ("blurred", 14),
    ("pairs", 6),
    ("expected", 8),
    ("count", 15),
    ("size", 12),
    ("bits", 4),
)


def table(reports: Sequence[DatasetReport]) -> str:
    """One line a split, then where it lies, then the problems, the worst first."""
    lines = [_row([name for name, _ in _COLUMNS]), _row(["-" * width for _, width in _COLUMNS])]
    for report in reports:
        if not report.found:
            lines.append(_row([report.dataset, "-", "not found" if report.looked_in else "no root"]).rstrip())
        lines += [_line(report, split) for split in report.splits]
    places = [line for report in reports for split in report.splits if split.root for line in _place(report, split)]
    if places:
        lines += ["", "Where", *places]
    for level, title in (("error", "Errors"), ("warning", "Warnings"), ("info", "For information")):
        told = [
            line
            for report in reports
            for one in report.problems
            if one.level == level
            for line in _problem(report.dataset, one)
        ]
        if told:
            lines += ["", title, *told]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    parts = []
    for (name, width), cell in zip(_COLUMNS, [*cells, *[""] * (len(_COLUMNS) - len(cells))], strict=True):
        parts.append(cell.rjust(width) if name in ("pairs", "expected", "bits") else cell.ljust(width))
    return " ".join(parts).rstrip()


def _line(report: DatasetReport, split: SplitReport) -> str:
    if not split.layout:
        return _row([report.dataset, split.name, "-", "", "0", str(split.expected), "absent"])
    sizes = list(split.sizes)
    size = f"{sizes[0]}{f' +{len(sizes) - 1}' if len(sizes) > 1 else ''}" if sizes else "-"
    expected = "?" if split.expected is None else str(split.expected)
    return _row(
        [
            report.dataset,
            split.name,
            split.layout,
            split.variant,
            str(split.pairs),
            expected,
            split.outcome,
            size,
            "/".join(split.depths) or "-",
        ]
    )


def _place(report: DatasetReport, split: SplitReport) -> list[str]:
    name = f"{report.dataset} {split.name}"
    note = f" ({split.note})" if split.note else ""
    lines = [f"  {name:18s} {split.root}{note}", f"  {'':18s} blurred {split.blurred}"]
    return [*lines, f"  {'':18s} sharp {split.sharp}, paired by {split.pairing}"] if split.sharp != "none" else lines


def _problem(dataset: str, one: Problem) -> list[str]:
    text = f"{dataset} {one.split}".rstrip() + f": {one.message}" + (f" -> {one.fix}" if one.fix else "")
    lines = textwrap.wrap(
        text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    files = one.files[: SHOWN if one.level == "error" else 3]
    lines += [f"      {file}" for file in files]
    if one.count > len(files):
        lines.append(f"      ... and {one.count - len(files)} more")
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
    blocks, nowhere = [], "nowhere yet: use --data-root, $DEMOE_DATA_ROOT or data.toml"
    for dataset in [catalog.get(name) for name in names] or catalog.DATASETS:
        counts = ", ".join(f"{split} {count}" for split, count in dataset.counts.items())
        rows = [
            ("home", dataset.home),
            ("licence", dataset.licence),
            ("download", dataset.download),
            ("not needed", dataset.not_needed),
            ("looks like", dataset.marker),
            ("pairs", counts),
            ("variants", ", ".join(dataset.variants) if len(dataset.variants) > 1 else ""),
            ("known as", ", ".join(dict.fromkeys((dataset.name, *dataset.folders)))),
            ("looked for", looked_in.get(dataset.name, "") or nowhere),
        ]
        rows += [("note", note) for note in dataset.notes]
        block = [dataset.name]
        for title, text in rows:
            if text:
                block += textwrap.wrap(
                    text,
                    WIDTH,
                    initial_indent=f"  {title:11s}",
                    subsequent_indent=" " * 13,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
        blocks.append("\n".join(block))
    return "\n\n".join(blocks)
