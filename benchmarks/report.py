"""``report.md`` and the figures, from the CSVs alone: no number in them is written by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from demoe.core.files import write_text
from demoe.core.provenance import Stamp

from . import figure, targets
from .targets import Tables

WIDTH = 32  # channels of the networks that the targets are for
STAMPS = ["channels", "device", "hardware", "threads", "torch", "commit"]


def read(folder: Path) -> Tables:
    """The CSVs of one machine by name. Raises ``FileNotFoundError`` where there is none."""
    tables = {file.stem: pd.read_csv(file, dtype={"commit": str}) for file in sorted(folder.glob("*.csv"))}
    if not tables:
        raise FileNotFoundError(f"there are no benchmarks in {folder}: run `python -m benchmarks`")
    return tables


def number(value: float) -> str:
    """Three digits, without an exponent between a thousandth and a million."""
    if pd.isna(value):
        return "-"
    if 1e-3 <= abs(value) < 1e6 or value == 0:
        digits = 2 if abs(value) < 100 else 0
        return f"{value:.{digits}f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"
    return f"{value:.1e}"


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown; floats as ``number`` has them."""

    def cell(value: object) -> str:
        return number(value) if isinstance(value, float) else str(value)

    lines = [list(table.columns), ["---"] * len(table.columns), *([cell(v) for v in row] for row in table.values)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(tables: Tables) -> str:
    """One sentence on where the numbers come from; more than one commit is said."""
    stamps = pd.concat([table[STAMPS].astype(str) for table in tables.values() if set(STAMPS) <= set(table)])
    several = {name: ", ".join(sorted(stamps[name].unique())) for name in STAMPS}
    return (
        f"{several['hardware']}; {several['threads']} threads, PyTorch {several['torch']}, width "
        f"{several['channels']}, commit {several['commit']}"
    )


def verdicts(tables: Tables, device: str) -> str:
    """The table of targets, and a line for each that was missed."""
    found = targets.table(tables, device)
    if found.empty:
        return "Nothing that has a target was measured."
    widths = {int(n) for table in tables.values() if "channels" in table for n in table.channels} - {WIDTH}
    sign = found.at_most.map({True: "at most", False: "at least"})
    shown = pd.DataFrame(
        {
            "case": found.target,
            "wanted": [f"{how} {number(v)}{u}" for how, v, u in zip(sign, found.wanted, found.unit, strict=True)],
            "aim": [
                "" if a != a else f"{number(a)}{u}" for a, u in zip(found.aim.astype(float), found.unit, strict=True)
            ],
            "measured": [f"{number(v)}{u}" for v, u in zip(found.measured, found.unit, strict=True)],
            "": found.met.map({True: "met", False: "**not met**"}),
        }
    )
    missed = [
        f"- {row.target}: {number(row.measured)}{row.unit} instead of {number(row.wanted)}{row.unit}. "
        + (row.limit[:1].upper() + row.limit[1:] + "." if row.limit else "")
        for row in found[~found.met].itertuples()
    ]
    note = f"The targets are for networks of {WIDTH} channels; these have others.\n\n" if widths else ""
    return note + markdown(shown) + ("\n\nNot met:\n\n" + "\n".join(missed) if missed else "")


GIGA = {"extra_bytes": "extra GB", "saved_bytes": "saved GB", "bytes": "GB", "per_second": "10^9 per second"}
SECTIONS = {  # CSV: title, columns shown (those that are there)
    "inference": (
        "Restoring",
        [
            "case",
            "network",
            "k",
            "side",
            "precision",
            "allocator",
            "ms",
            "low",
            "high",
            "ratio",
            "over_nafnet",
            "error",
            "psnr_db",
        ],
    ),
    "sizes": ("Other sizes", ["case", "side", "precision", "ms", "low", "high"]),
    "experts": ("Experts to choose from, k = 1", ["num_experts", "parameters", "side", "precision", "ms"]),
    "training": (
        "Training steps",
        [
            "patch",
            "network",
            "side",
            "precision",
            "checkpointed",
            "compiled",
            "allocator",
            "ms",
            "ratio",
            "images_per_second",
            "saved_bytes",
            "gradient_error",
        ],
    ),
    "hours": (
        "The paper's two trainings of 400 epochs (250 400 steps of 32 crops of 384 pixels each)",
        ["on", "gpus", "images_per_second", "hours", "how"],
    ),
    "memory": (
        "Peak memory beyond network and picture (on a GPU with all that it takes until a size has its graph)",
        ["case", "side", "precision", "allocator", "extra_bytes", "ms"],
    ),
    "synthesis": ("Synthesis", ["set", "device", "size", "batch", "patches_per_second", "low", "high"]),
    "loading": ("Waiting for data", ["data", "workers", "steps", "ms_per_step", "waiting", "images_per_second"]),
    "plain": (
        "Is the plain side what was published? Operations and host waits, counted",
        [
            "what",
            "operations",
            "published_operations",
            "bias_passes",
            "published_bias_passes",
            "waits",
            "published_waits",
        ],
    ),
    "gpu-count": (
        "What a GPU would have to launch, counted without one (256x256, batch 1)",
        ["what", "precision", "launches", "generated", "waits", "bytes", "how"],
    ),
    "machine": ("The machine's peaks", ["quantity", "per_second"]),
}


def write(folder: Path, device: str, mark: Stamp) -> list[Path]:
    """Writes ``report.md`` beside the CSVs of ``folder``, and the figures; returns all paths."""
    tables = read(folder)
    parts = [
        "# Benchmarks",
        f"Written by `python -m benchmarks` from the CSVs in this folder. Measured on {machine(tables)}.",
        "Times are medians of rounds in which all sides took turns. A ratio is the plain side's time over this one's; "
        "above 1 is faster than the plain formulation of the published code. T: the C library's allocator thresholds "
        "raised for both sides; D: as the system has them."
        if device == "cpu"
        else "Times are medians of rounds in which all sides took turns, the device waited for. A ratio is the plain "
        "side's time over this one's. In float32 the plain side's convolutions use TF32, as PyTorch is set; the "
        "optimised ones have all digits, and so have both where errors are measured.",
        "## Targets",
        verdicts(tables, device),
    ]
    for name, (title, columns) in SECTIONS.items():
        if name in tables:
            shown = tables[name][[column for column in columns if column in tables[name]]]
            giga = [column for column in GIGA if column in shown]
            shown = shown.assign(**{column: shown[column].astype(float) / 1e9 for column in giga}).rename(columns=GIGA)
            parts += [f"## {title}", markdown(shown)]
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")
    return [folder / "report.md", *figure.draw(tables, folder.name, mark)]
