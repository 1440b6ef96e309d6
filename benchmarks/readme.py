"""The README's block of benchmarks, made of the CSVs that ``python -m benchmarks`` wrote."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from demoe.core.files import published_dir

from . import report, targets
from .options import ALLOCATORS, GROUP

CASES = {
    "256x256": "one picture, 256x256",
    "8x256x256 mixed": "eight pictures, 256x256, mixed experts",
    "1280x720": "one picture, 1280x720",
}
COLUMNS = (("float32", "raised"), ("float32", "default"), ("bfloat16", "raised"))


def readme_block(folder: Path | None = None) -> str:
    """Markdown: how many times faster than the plain formulation, with targets in brackets; memory; DeMoE over NAFNet.

    ``folder`` defaults to ``results/published/bench/cpu``. Raises ``FileNotFoundError`` where nothing is there.
    """
    folder = folder or published_dir(GROUP) / "cpu"
    tables = report.read(folder)
    shown = {name: tables[name] for name in ("inference", "training", "memory") if name in tables}
    found = {row.target: row for row in targets.table(tables, "cpu").itertuples()}

    def ratio(name: str, table: str, **where: object) -> str:
        """How many times faster, with the target where it has one; bold where that is missed."""
        value = targets.cell(tables, table, "ratio", network="DeMoE", **where)
        row = found.get(name)
        if value is None or row is None:
            return "-" if value is None else f"{value:.2f}"
        return f"{value:.2f} ({row.wanted:g})" if row.met else f"**{value:.2f}** ({row.wanted:g})"

    lines = {label: [] for label in (*CASES.values(), "training step, 4x128x128")}
    for precision, allocator in COLUMNS:
        where = {"precision": precision, "allocator": allocator}
        name = f"{precision}, {ALLOCATORS[allocator]}: plain time over ours"
        for case, label in CASES.items():
            lines[label].append(ratio(f"{case}, {name}", "inference", case=case, k=1, side="optimized", **where))
        step = {"patch": 128, "side": "ours", "checkpointed": False}
        lines["training step, 4x128x128"].append(ratio(f"training step 4x128x128, {name}", "training", **step, **where))
    heads = [f"{precision}, {ALLOCATORS[allocator]}" for precision, allocator in COLUMNS]
    table = pd.DataFrame(lines.values(), columns=heads)
    table.insert(0, "", list(lines))
    filled = [row.sentence.format(value=row.measured, wanted=row.wanted) for row in found.values() if row.sentence]
    met = sum(row.met for row in found.values())
    return f"""How many times faster than the plain formulation ({report.machine(shown)}; targets in brackets, bold \
where missed; T: the C library's allocator thresholds raised for both sides, D: the system's defaults):

{report.markdown(table)}

{" ".join(filled)}

{met} of {len(found)} targets are met; `results/published/{GROUP}/{folder.name}/report.md` has all, with the \
machine's limits where one is not."""
