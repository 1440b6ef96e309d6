"""``report.md`` and the figures, from the CSVs alone: no number in them is written by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from demoe.core.files import write_text
from demoe.core.markdown import markdown_table
from demoe.core.provenance import Stamp

from . import figure, targets
from .options import GROUP
from .targets import Tables

WIDTH = 32  # channels of the networks that the targets are for
STAMPS = ["channels", "device", "hardware", "threads", "torch", "commit"]


def read(folder: Path) -> Tables:
    """The CSVs of one machine by name. Raises ``FileNotFoundError`` where there is none."""
    tables = {file.stem: pd.read_csv(file, dtype={"commit": str}) for file in sorted(folder.glob("*.csv"))}
    if not tables:
        raise FileNotFoundError(f"there are no benchmarks in {folder}: run `python -m benchmarks all`")
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
    cells = table.map(lambda value: number(value) if isinstance(value, float) else str(value))
    return markdown_table(cells, index=False)


def stamps(tables: Tables) -> dict[str, str]:
    """What the tables say about their origin; several commits are all named."""
    rows = pd.concat([table[STAMPS].astype(str) for table in tables.values() if set(STAMPS) <= set(table)])
    return {name: ", ".join(sorted(rows[name].unique())) for name in STAMPS}


def machine(tables: Tables) -> str:
    """One sentence on where the numbers come from."""
    words = "{hardware}; {threads} threads, PyTorch {torch}, width {channels}, commit {commit}"
    return words.format(**stamps(tables))


def verdicts(tables: Tables, device: str) -> str:
    """The table of targets, and a line for each that was missed."""
    rows = targets.table(tables, device)
    if rows.empty:
        return "Nothing that has a target was measured."
    shown, missed = [], []
    for row in rows.itertuples():
        wanted, aim, measured = (
            "" if pd.isna(value) else number(value) + row.unit for value in (row.wanted, row.aim, row.measured)
        )
        shown.append([row.target, f"{row.bound} {wanted}", aim, measured, "met" if row.met else "**not met**"])
        if not row.met:
            reason = f" {row.limit[:1].upper()}{row.limit[1:]}." if row.limit else ""
            missed.append(f"- {row.target}: {measured} instead of {wanted}.{reason}")
    widths = {
        int(n) for name, table in tables.items() if name != "narrow" and "channels" in table for n in table.channels
    }
    widths -= {WIDTH}
    note = f"The targets are for networks of {WIDTH} channels; these have others.\n\n" if widths else ""
    table = markdown(pd.DataFrame(shown, columns=["case", "wanted", "aim", "measured", ""]))
    return note + table + ("\n\nNot met:\n\n" + "\n".join(missed) if missed else "")


GIGA = {"extra_bytes": "extra GB", "saved_bytes": "saved GB", "bytes": "GB", "per_second": "10^9 per second"}
HIDDEN = {"batch", "height", "width", "rounds", "profile", *STAMPS}  # except where they are what a table is about
SECTIONS = {  # CSV: title
    "inference": "Restoring",
    "sizes": "Other sizes",
    "experts": "Experts to choose from, k = 1",
    "training": "Training steps",
    "narrow": "Training steps of the size that profile cpu's trainings have",
    "hours": "The paper's two trainings of 400 epochs (250 400 steps of 32 crops of 384 pixels each)",
    "memory": "Peak memory beyond network and picture (on a GPU with all that it takes until a size has its graph)",
    "synthesis": "Synthesis",
    "loading": "Waiting for data",
    "plain": "Is the plain side what was published? Operations and host waits, counted",
    "gpu-count": "What a GPU would have to launch, counted without one (256x256, batch 1)",
    "machine": "The machine's peaks",
}
TIMES = "Times are medians of rounds in which all sides took turns"
ON = {
    "cpu": f"{TIMES}. A ratio is the plain side's time over this one's; above 1 is faster than the plain formulation "
    "of the published code. T: the C library's allocator thresholds raised for both sides; D: as the system has them.",
    "cuda": f"{TIMES}, the device waited for. A ratio is the plain side's time over this one's. In float32 the plain "
    "side's convolutions use TF32, as PyTorch is set; the optimised ones have all digits, and so have both where "
    "errors are measured.",
}


def write(folder: Path, device: str) -> list[Path]:
    """Writes ``report.md`` beside the CSVs of ``folder``, and the figures; returns all paths."""
    tables = read(folder)
    source = f"Written by `python -m benchmarks` from the CSVs in this folder. Measured on {machine(tables)}."
    parts = ["# Benchmarks", source, ON[device], "## Targets", verdicts(tables, device)]
    for name, title in SECTIONS.items():
        if name in tables:
            kept = HIDDEN - ({"batch"} if name == "synthesis" else set())
            shown = tables[name].drop(columns=kept, errors="ignore")
            if "allocator" in shown:
                shown.insert(list(shown).index("precision") + 1, "allocator", shown.pop("allocator"))
            giga = [column for column in GIGA if column in shown]
            shown = shown.assign(**{column: shown[column].astype(float) / 1e9 for column in giga}).rename(columns=GIGA)
            parts += [f"## {title}", markdown(shown)]
    write_text(folder / "report.md", "\n\n".join(parts) + "\n")
    origin = stamps(tables)
    mark = Stamp(GROUP, "none", 0, commit=origin["commit"], hardware=origin["hardware"])
    return [folder / "report.md", *figure.draw(tables, folder.name, mark)]
