"""The README's block of benchmarks, made of the CSVs that ``python -m benchmarks`` wrote."""

from __future__ import annotations

from pathlib import Path

from demoe.core.files import results_dir

from . import report, targets
from .run import GROUP

CASES = {
    "256x256": "one picture, 256x256",
    "8x256x256 mixed": "eight pictures, 256x256, mixed experts",
    "1280x720": "one picture, 1280x720",
}


def readme_block(folder: Path | None = None) -> str:
    """Markdown: how many times faster than the plain formulation, with targets in brackets; memory; DeMoE over NAFNet.

    ``folder`` defaults to ``results/bench/cpu``. Raises ``FileNotFoundError`` where nothing was measured there.
    """
    folder = folder or results_dir(GROUP) / "cpu"
    tables = report.read(folder)
    wanted = {row.target: row for row in targets.table(tables, "cpu").itertuples()}

    def cell(name: str, value: float | None) -> str:
        """The value, with its target where it has one; bold where that is missed."""
        if value is None:
            return "-"
        row = wanted.get(name)
        if row is None:
            return f"{value:.2f}"
        return f"{value:.2f} ({row.wanted:g})" if row.met else f"**{value:.2f}** ({row.wanted:g})"

    lines = ["| | float32, T | float32, D | bfloat16, T |", "|---|---|---|---|"]
    for case, label in CASES.items():
        cells = []
        for precision, allocator, letter in (
            ("float32", "raised", "T"),
            ("float32", "default", "D"),
            ("bfloat16", "raised", "T"),
        ):
            name = f"{case}, {precision}, {letter}: plain time over ours"
            cells.append(cell(name, targets.speed(case, precision, allocator)(tables)))
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    step = "training step 4x128x128, {}, T: plain time over ours"
    trained = [
        cell(step.format(precision), targets.training("ratio", precision, False, "raised")(tables))
        for precision in ("float32", "bfloat16")
    ]
    default = cell("", targets.training("ratio", "float32", False, "default")(tables))
    lines.append(f"| training step, 4x128x128 | {trained[0]} | {default} | {trained[1]} |")
    found = [_sentence(wanted.get(name), text) for name, text in SENTENCES.items()]
    missed = sum(not row.met for row in wanted.values())
    return "\n".join(
        [
            f"How many times faster than the plain formulation ({report.machine(tables)}; targets in brackets, "
            "bold where "
            "missed; T: the C library's allocator thresholds raised for both sides, D: the system's defaults):",
            "",
            *lines,
            "",
            " ".join(sentence for sentence in found if sentence),
            "",
            f"{len(wanted) - missed} of {len(wanted)} targets are met; "
            f"`results/{GROUP}/{folder.name}/report.md` has all, "
            "with the machine's limits where one is not.",
        ]
    )


SENTENCES = {
    "256x256, float32, T: DeMoE k=1 over NAFNet, same path (paper: 1.64)": (
        "DeMoE with one expert takes {value:.2f} times as long as NAFNet at 256x256 (paper: 1.64; target {wanted:g})."
    ),
    "1280x720, float32, T: peak extra memory over the plain side's": (
        "At 1280x720 it takes {value:.2f} of the plain side's extra memory (target {wanted:g})."
    ),
    "12 MP whole, float32, T: peak extra memory": (
        "Twelve megapixels whole take {value:.1f} GB in float32 (T; target {wanted:g})"
    ),
    "12 MP whole, float32, D: peak extra memory": "or {value:.1f} GB (D),",
    "12 MP whole, bfloat16, T: peak extra memory": "and {value:.1f} GB in bfloat16 (T; target {wanted:g})",
    "12 MP whole, bfloat16, D: peak extra memory": "or {value:.1f} GB (D).",
    "training step 4x128x128, float32: gradient's relative error": (
        "Gradients differ by {value:.1e} of their length (target {wanted:.0e})."
    ),
    "the same with checkpointing, float32, T: plain time over ours": (
        "With checkpointing a training step is {value:.2f} times faster (target {wanted:g})"
    ),
    "the same with checkpointing, float32: saved activations over the plain side's": (
        "at {value:.2f} of the saved activations (target {wanted:g})."
    ),
}


def _sentence(row, text: str) -> str:
    return "" if row is None else text.format(value=row.measured, wanted=row.wanted)
