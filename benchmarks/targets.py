"""What was to be reached, beside what was, and where it was not, how far the machine itself would allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from demoe.models.demoe import DeMoEConfig

from .machine import counted, floor_seconds

Tables = dict[str, pd.DataFrame]  # name of the CSV -> its rows; one that is not there is not measured
# A row a target: a number of the first row of a CSV with the values in the columns of KEYS. "over" has other values, of
# the row whose number it is divided by; "how" says how many rows give one number; "limit" is what stands in the way,
# in words, "speed" for ``speed_limit``, "step" for ``step_limit``; "sentence" is the README's.
TARGETS = pd.read_csv(Path(__file__).with_name("targets.csv"), dtype=str, keep_default_na=False)
KEYS = ("case", "side", "precision", "allocator", "checkpointed", "what")
ALWAYS = {
    "inference": {"network": "DeMoE", "k": "1"},
    "training": {"patch": "128", "network": "DeMoE"},
    "narrow": {"patch": "96", "network": "DeMoE"},
}


def pick(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows that have these values, compared as text."""
    for key, value in wanted.items():
        table = table[table[key].astype(str) == str(value)]
    return table


def cell(tables: Tables, name: str, column: str, **where: object) -> float | None:
    """The number in the first row of a table that has these values; None without one."""
    if name not in tables:
        return None
    numbers = pick(tables[name], **where)[column]
    return float(numbers.iloc[0]) if len(numbers) and pd.notna(numbers.iloc[0]) else None


def row_of(target: pd.Series, name: str = "") -> dict[str, str]:
    """The values of the row that a target is about; with ``name`` those of its column ``over``, the row below."""
    row = {key: target[key] for key in KEYS if target[key]} | ALWAYS.get(target.table, {})
    return row | (dict(pair.split("=") for pair in target[name].split(" ")) if name else {})


def value(target: pd.Series, tables: Tables) -> float | None:
    """None where nothing was measured."""
    if target.table not in tables or target.column not in tables[target.table]:
        return None
    if target.how == "cost of data":
        return cost_of_data(tables["loading"])
    if target.how:
        return worst(pick(tables[target.table], side=target.side, precision=target.precision), target)
    found = cell(tables, target.table, target.column, **row_of(target))
    below = cell(tables, target.table, target.column, **row_of(target, "over")) if target.over else 1.0
    return None if found is None or not below else found / below / (1e9 if target.unit == " GB" else 1)


def worst(rows: pd.DataFrame, target: pd.Series) -> float | None:
    """The largest or the smallest, as ``how`` says, of the rows that something plain was run beside."""
    rows = rows[rows.psnr_db != np.inf]
    if rows[target.column].isna().any():  # not a number: nothing is worse
        return np.inf if target.how == "max" else -np.inf
    return float(rows[target.column].agg(target.how)) if len(rows) else None


def cost_of_data(rows: pd.DataFrame) -> float | None:
    """The share of a step that making its pairs anew takes: what is beyond a step that waits for nothing."""
    kept, fresh = (rows[rows.data.str.startswith(start)] for start in ("kept", "synthesised"))
    if kept.empty or fresh.empty:
        return None
    alone = (kept.ms_per_step * (1 - kept.waiting)).iloc[0]
    return max(0.0, 1 - alone / float(fresh.ms_per_step.min()))


def speed_limit(tables: Tables, where: dict[str, str]) -> str:
    """How near ours is to the floor counted for this machine's peaks, and how near anything could come, in words."""
    quantities = (f"flops_{where['precision']}", "bytes")
    flops, bandwidth = (cell(tables, "machine", "per_second", quantity=quantity) for quantity in quantities)
    if flops is None or bandwidth is None:
        return "the machine's peak was not measured (`python -m benchmarks machine`)"
    row = pick(tables["inference"], **where).iloc[0]
    config, item = DeMoEConfig(width=int(row.channels)), 2 if where["precision"] == "bfloat16" else 4
    floor = 1000 * row.batch * floor_seconds(config, int(row.height), int(row.width), flops, bandwidth, item)  # ms
    return (
        f"at its peaks of {flops / 1e9:.0f} GFLOP/s and {bandwidth / 1e9:.1f} GB/s nothing here takes less "
        f"than {floor:.3g} ms or is more than {row.ms * row.ratio / floor:.1f} times faster than the plain side; "
        f"ours takes {row.ms:.3g} ms, {row.ms / floor:.1f} times that floor"
    )


def step_limit(tables: Tables, name: str, where: dict[str, str]) -> str:
    """How near a training step of ours is to its operations at the machine's peak, in words."""
    flops = cell(tables, "machine", "per_second", quantity=f"flops_{where['precision']}")
    if flops is None:
        return "the machine's peak was not measured (`python -m benchmarks machine`)"
    row = pick(tables[name], **where | {"side": "ours"}).iloc[0]
    config = DeMoEConfig(width=int(row.channels))
    learning = replace(config, moe_per_level=config.moe_per_level * config.num_experts)
    work = 3 * row.batch * counted(learning, int(row.patch), int(row.patch))["operations"]
    floor = 1000 * work / flops  # ms
    return (
        f"every expert learns from every picture: a step has {work / 1e9:.0f} G operations, a third forward, or "
        f"{floor:.3g} ms at the peak of {flops / 1e9:.0f} GFLOP/s; ours takes {row.ms:.3g} ms, {row.ms / floor:.1f} "
        f"times that, and nothing could be more than {row.ms * row.ratio / floor:.1f} times faster than the plain side"
    )


def table(tables: Tables, device: str) -> pd.DataFrame:
    """One row a target that was measured: target, unit, bound, sentence, wanted, aim, measured, met, limit.

    ``sentence`` is the README's, to be filled in. ``limit`` says what the machine would allow, or is "" where the
    target was met or nothing can be said.
    """
    rows = []
    for _, target in TARGETS[TARGETS.machine.isin(("any", "cpu" if device == "cpu" else "gpu"))].iterrows():
        measured, wanted = value(target, tables), float(target.wanted)
        if measured is not None:
            met = measured <= wanted if target.bound == "at most" else measured >= wanted
            limit = "" if met else target.limit
            if limit == "speed":
                limit = speed_limit(tables, row_of(target))
            elif limit == "step":
                limit = step_limit(tables, target.table, row_of(target))
            row = target[["target", "unit", "bound", "sentence"]].to_dict()
            row |= {"wanted": wanted, "aim": float(target.aim or "nan")}
            rows.append(row | {"measured": measured, "met": met, "limit": limit})
    return pd.DataFrame(rows)
