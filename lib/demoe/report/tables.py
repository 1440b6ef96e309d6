"""Tables: one tidy CSV with its stamp, and the same numbers laid out for a reader."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from demoe import provenance
from demoe.evaluation.statistics import shown
from demoe.paths import results_dir, write_text


def save(table: pd.DataFrame, name: str, mark: provenance.Stamp, decimals: int = 5) -> Path:
    """Writes ``results/<profile>/tables/<name>.csv`` and ``<name>.json`` beside it; returns the CSV's path.

    Profile, data, seed and commit are columns of the CSV; hardware and library versions are in the JSON, so that the
    CSV of a count is the same on every machine, and that of a training on every run of one machine. Both appear whole
    or not at all.
    """
    folder = results_dir(mark.profile) / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    stamped = table.assign(**mark.columns())
    write_text(folder / f"{name}.csv", stamped.to_csv(index=False, float_format=f"%.{decimals}f", lineterminator="\n"))
    write_text(folder / f"{name}.json", json.dumps(provenance.full(mark), indent=2) + "\n")
    return folder / f"{name}.csv"


def by_set(summary: pd.DataFrame, decimals: tuple[int, int] = (2, 3)) -> pd.DataFrame:
    """Methods down, sets across, "PSNR / SSIM" in the cells, from ``benchmark.summarise``'s table."""
    cells = summary.assign(
        value=[
            f"{shown(p, decimals[0])} / {shown(s, decimals[1])}"
            for p, s in zip(summary.psnr, summary.ssim, strict=True)
        ]
    )
    order_rows, order_columns = summary.method.unique(), summary.set.unique()
    return cells.pivot(index="method", columns="set", values="value").loc[order_rows, order_columns]
