"""What was to be reached, beside what was, and where it was not, how far the machine itself would allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from demoe.models.demoe import DeMoEConfig

from .machine import TRAINING_FLOPS, counted
from .options import ALLOCATORS, TRAINING_BATCH

Tables = dict[str, pd.DataFrame]  # name of the CSV -> its rows; one that is not there is not measured


@dataclass(frozen=True)
class Target:
    """One line of the list. ``value`` gives None where nothing was measured."""

    name: str
    wanted: float
    value: Callable[[Tables], float | None]
    aim: float | None = None
    at_most: bool = False  # the value must not exceed ``wanted``; else it must reach it
    floor: Callable[[Tables], str] | None = None  # what the machine would allow, as a sentence
    unit: str = "x"

    def met(self, value: float) -> bool:
        return value <= self.wanted if self.at_most else value >= self.wanted


def pick(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows that have these values."""
    for key, value in wanted.items():
        table = table[table[key] == value]
    return table


def _one(tables: Tables, name: str, column: str, **wanted: object) -> float | None:
    """The cell of the one row with these values; None without such a row."""
    if name not in tables:
        return None
    table = pick(tables[name], **wanted)
    return float(table[column].iloc[0]) if len(table) and pd.notna(table[column].iloc[0]) else None


def speed(case: str, precision: str, allocator: str) -> Callable[[Tables], float | None]:
    """The plain DeMoE's time over the optimised one's at k = 1."""
    return lambda tables: _one(
        tables,
        "inference",
        "ratio",
        case=case,
        network="DeMoE",
        k=1,
        side="optimized",
        precision=precision,
        allocator=allocator,
    )


def over_nafnet(case: str, precision: str, allocator: str) -> Callable[[Tables], float | None]:
    """DeMoE's time over NAFNet's, both optimised."""
    return lambda tables: _one(
        tables,
        "inference",
        "over_nafnet",
        case=case,
        network="DeMoE",
        k=1,
        side="optimized",
        precision=precision,
        allocator=allocator,
    )


def training(column: str, precision: str, checkpointed: bool, allocator: str) -> Callable[[Tables], float | None]:
    """A column of our DeMoE's training step at 4x3x128x128."""
    return lambda tables: _one(
        tables,
        "training",
        column,
        patch=128,
        network="DeMoE",
        side="ours",
        precision=precision,
        checkpointed=checkpointed,
        allocator=allocator,
    )


def extra(case: str, side: str, precision: str, allocator: str = "raised") -> Callable[[Tables], float | None]:
    """GB of 10^9 bytes that restoring takes beyond network and picture."""
    return lambda tables: _scaled(
        _one(tables, "memory", "extra_bytes", case=case, side=side, precision=precision, allocator=allocator), 1e-9
    )


def generated(column: str, what: str = "compiled") -> Callable[[Tables], float | None]:
    """A column of what PyTorch's compiler writes for a GPU, of its own kernels or around ours ("fused kernels")."""
    return lambda tables: _one(tables, "gpu-count", column, precision="float32", what=f"gathered DeMoE, {what}")


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _quotient(above: Callable[[Tables], float | None], below: Callable[[Tables], float | None]):
    def value(tables: Tables) -> float | None:
        a, b = above(tables), below(tables)
        return None if a is None or not b else a / b

    return value


def limit(case: str, precision: str, allocator: str) -> Callable[[Tables], str]:
    """How far the plain side is from the counted floor, in words."""

    def sentence(tables: Tables) -> str:
        plain = _one(tables, "inference", "ms", case=case, network="DeMoE", k=1, side="plain", allocator=allocator)
        ours = _one(
            tables,
            "inference",
            "ms",
            case=case,
            network="DeMoE",
            k=1,
            side="optimized",
            precision=precision,
            allocator=allocator,
        )
        flops = _one(tables, "machine", "per_second", quantity=f"flops_{precision}")
        bandwidth = _one(tables, "machine", "per_second", quantity="bytes")
        if None in (plain, ours, flops, bandwidth):
            return "the machine's peak was not measured (`python -m benchmarks machine`)"
        row = pick(tables["inference"], case=case).iloc[0]
        work = counted(
            DeMoEConfig(width=int(row.channels)), int(row.height), int(row.width), 2 if precision == "bfloat16" else 4
        )
        computing, moving = (
            1000 * int(row.batch) * amount / rate
            for amount, rate in ((work["operations"], flops), (work["bytes"], bandwidth))
        )
        floor = max(computing, moving)
        if ours < floor:  # the machine was busier then than when the pictures were timed
            return "the peaks measured here are below what ours reaches: measure again in a quiet moment"
        return (
            f"a large matrix product runs here at {flops / 1e9:.0f} GFLOP/s and a copy at {bandwidth / 1e9:.1f} "
            f"GB/s, so computing takes at least {computing:.3g} ms, moving {moving:.3g} ms, and nothing is more "
            f"than {plain / floor:.1f} times faster than the plain side; ours takes {ours:.3g} ms, "
            f"{ours / floor:.1f} times that floor{_library(tables, plain, case, precision, allocator)}"
        )

    return sentence


def _library(tables: Tables, plain: float, case: str, precision: str, allocator: str) -> str:
    """What PyTorch's own operations allow, as the end of a sentence; "" where that was not measured."""
    alone = _one(tables, "inference", "ms", case=case, side="library", precision=precision, allocator=allocator)
    if alone is None:
        return ""
    return (
        f". PyTorch's own convolutions, norms, gates and sums take {alone:.3g} ms when they are called on one "
        f"strip and nothing else is done (`benchmarks/library.py`): who calls these is at most {plain / alone:.2f} "
        "times faster than the plain side, and more takes kernels that fuse them"
    )


def spread(case: str, precision: str, allocator: str) -> Callable[[Tables], str]:
    """What DeMoE over NAFNet would be without noise, and the noise, in words."""

    def sentence(tables: Tables) -> str:
        ranges = {}
        for network in ("DeMoE", "NAFNet"):
            low, high = (
                _one(
                    tables,
                    "inference",
                    column,
                    case=case,
                    network=network,
                    k=1,
                    side="optimized",
                    precision=precision,
                    allocator=allocator,
                )
                for column in ("low", "high")
            )
            if None in (low, high):
                return ""
            ranges[network] = f"{low:.3g} to {high:.3g} ms"
        return (
            f"the networks' operations are as 11.05 to 11.02 G, a ratio of 1.003; over the rounds DeMoE took "
            f"{ranges['DeMoE']} and NAFNet {ranges['NAFNet']}"
        )

    return sentence


def maps(case: str, precision: str) -> Callable[[Tables], str]:
    """The feature maps that have to be kept, in words."""

    def sentence(tables: Tables) -> str:
        row = pick(tables["memory"], case=case, side="optimized", precision=precision).iloc[0]
        one = row.channels * row.height * row.width * (2 if precision == "bfloat16" else 4) / 1e9
        return (
            f"one map of the full resolution is {one:.2f} GB, and two are alive at once (what is skipped and what "
            f"is computed), {2 * one:.2f} GB before any strip, smaller level, or the result; "
            "with the thresholds raised the C library also keeps freed blocks that no later one fits"
        )

    return sentence


def plain_training(column: str) -> Callable[[Tables], float | None]:
    """A column of the plain DeMoE's training step at 4x3x128x128, thresholds raised."""
    return lambda tables: _one(tables, "training", column, patch=128, side="plain", allocator="raised")


def training_limit(precision: str) -> Callable[[Tables], str]:
    """How far the plain side's step is from computing at the peak, in words."""

    def sentence(tables: Tables) -> str:
        plain = plain_training("ms")(tables)
        flops = _one(tables, "machine", "per_second", quantity=f"flops_{precision}")
        if None in (plain, flops):
            return "the machine's peak was not measured (`python -m benchmarks machine`)"
        width = int(tables["training"].channels.iloc[0])
        work = TRAINING_FLOPS * (width / 32) ** 2 * TRAINING_BATCH * 128**2
        floor = 1000 * work / flops
        return (
            f"a step is about {work / 1e9:.0f} GFLOP, counted, and a large matrix product runs here at "
            f"{flops / 1e9:.0f} GFLOP/s: no step is shorter than {floor:.0f} ms, or more than "
            f"{plain / floor:.1f} times faster than the plain one"
        )

    return sentence


def _speeds(rows: list[tuple[str, str, str, float, float | None]]) -> list[Target]:
    letters = {"raised": ", T", "default": ", D"}
    return [
        Target(
            f"{case}, {precision}{letters[allocator]}: plain time over ours",
            wanted,
            speed(case, precision, allocator),
            aim,
            floor=limit(case, precision, allocator),
        )
        for case, precision, allocator, wanted, aim in rows
    ]


def exactness(column: str, precision: str, worst: str) -> Callable[[Tables], float | None]:
    """The worst of all rows of the optimised side: ``worst`` is "max" or "min"."""

    def value(tables: Tables) -> float | None:
        if "inference" not in tables or column not in tables["inference"]:
            return None
        rows = pick(tables["inference"], side="optimized", precision=precision)
        rows = rows[rows.psnr_db != np.inf]  # without those that nothing plain was run beside
        if rows[column].isna().any():  # not a number: nothing is worse
            return np.inf if worst == "max" else -np.inf
        return float(getattr(rows[column], worst)()) if len(rows) else None

    return value


def cost_of_data(tables: Tables) -> float | None:
    """The share of a step that making its pairs anew takes: what is beyond a step that waits for nothing."""
    if "loading" not in tables:
        return None
    rows = tables["loading"]
    kept, fresh = (rows[rows.data.str.startswith(start)] for start in ("kept", "synthesised"))
    if kept.empty or fresh.empty:
        return None
    alone = (kept.ms_per_step * (1 - kept.waiting)).iloc[0]
    return max(0.0, 1 - alone / float(fresh.ms_per_step.min()))


EXACT = [
    Target(
        "all pictures and k, float32: relative error", 1e-5, exactness("error", "float32", "max"), at_most=True, unit=""
    ),
    Target("all pictures and k, bfloat16: PSNR to float32", 50, exactness("psnr_db", "bfloat16", "min"), unit=" dB"),
]
CPU = [
    *_speeds(
        [
            ("256x256", "float32", "raised", 1.9, 2.1),
            ("256x256", "float32", "default", 3.0, None),
            ("1280x720", "float32", "raised", 2.2, 2.4),
            ("1280x720", "float32", "default", 6.0, None),
            ("256x256", "bfloat16", "raised", 2.5, None),
            ("1280x720", "bfloat16", "raised", 3.2, None),
            ("8x256x256 mixed", "float32", "raised", 1.9, None),
            ("8x256x256 mixed", "bfloat16", "raised", 2.7, None),
        ]
    ),
    Target(
        "1280x720, float32, T: peak extra memory over the plain side's",
        0.25,
        _quotient(extra("1280x720", "optimized", "float32"), extra("1280x720", "plain", "float32")),
        at_most=True,
        floor=maps("1280x720", "float32"),
    ),
    *[
        Target(
            f"12 MP whole, {precision}, {letter}: peak extra memory",
            wanted,
            extra("12 MP", "optimized", precision, allocator),
            at_most=True,
            floor=maps("12 MP", precision),
            unit=" GB",
        )
        for allocator, letter in ALLOCATORS.items()
        for precision, wanted in (("float32", 4.2), ("bfloat16", 2.2))
    ],
    *[
        Target(
            f"{case}, float32, T: DeMoE k=1 over NAFNet, same path (paper: 1.64)",
            1.05,
            over_nafnet(case, "float32", "raised"),
            at_most=True,
            floor=spread(case, "float32", "raised"),
        )
        for case in ("256x256", "1280x720")
    ],
    Target(
        "training step 4x128x128, float32, T: plain time over ours",
        1.5,
        training("ratio", "float32", False, "raised"),
        floor=training_limit("float32"),
    ),
    Target(
        "training step 4x128x128, float32: gradient's relative error",
        1e-5,
        training("gradient_error", "float32", False, "raised"),
        at_most=True,
        unit="",
        floor=lambda tables: (
            "where rounding changes the sign of a ReLU's input, as it can in the router, the "
            "gradient jumps by more than rounding"
        ),
    ),
    Target(
        "training step 4x128x128, bfloat16, T: plain time over ours",
        2.2,
        training("ratio", "bfloat16", False, "raised"),
        floor=training_limit("bfloat16"),
    ),
    Target(
        "the same with checkpointing, float32, T: plain time over ours",
        1.15,
        training("ratio", "float32", True, "raised"),
        floor=training_limit("float32"),
    ),
    Target(
        "the same with checkpointing, float32: saved activations over the plain side's",
        0.1,
        _quotient(training("saved_bytes", "float32", True, "raised"), plain_training("saved_bytes")),
        at_most=True,
    ),
]
COUNTED = [
    *[
        Target(
            f"generated GPU code, 256x256, batch 1, float32, {what}: launches",
            360,
            generated("launches", what),
            100,
            at_most=True,
            unit="",
        )
        for what in ("compiled", "fused kernels")
    ],
    Target(
        "generated GPU code, 256x256, batch 1, float32: waits of the host", 0, generated("waits"), at_most=True, unit=""
    ),
]
GPU = [
    *[
        Target(
            f"{case}, bfloat16: plain time over ours",
            wanted,
            speed(case, "bfloat16", "default"),
            aim,
            floor=limit(case, "bfloat16", "default"),
        )
        for case, wanted, aim in (("256x256", 8, 30), ("16x256x256", 4, 12), ("1280x720", 2.5, 6))
    ],
    *[
        Target(
            f"{case}, float32: DeMoE k=1 over NAFNet, same path (paper: 1.64)",
            1.05,
            over_nafnet(case, "float32", "default"),
            at_most=True,
            floor=spread(case, "float32", "default"),
        )
        for case in ("256x256", "1280x720")
    ],
    Target(
        "mixed batch of 8 over one expert, bfloat16",
        1.10,
        _quotient(
            *(
                lambda tables, case=case: _one(
                    tables, "inference", "ms", case=case, network="DeMoE", k=1, side="optimized", precision="bfloat16"
                )
                for case in ("8x256x256 mixed", "8x256x256")
            )
        ),
        at_most=True,
    ),
    Target(
        "training images per second, 4x128x128, bfloat16 over plain",
        2,
        training("ratio", "bfloat16", False, "default"),
        4,
    ),
    Target("share of a training step that making its pairs anew takes", 0.05, cost_of_data, at_most=True, unit=""),
]


def table(tables: Tables, device: str) -> pd.DataFrame:
    """One row a target that was measured: target, wanted, aim, measured, unit, at_most, met, limit.

    ``limit`` is a sentence, or "" where the target was met or none can be given.
    """
    rows = []
    for target in (*(CPU if device == "cpu" else GPU), *EXACT, *COUNTED):
        value = target.value(tables)
        if value is None:
            continue
        met = target.met(value)
        rows.append(
            {
                "target": target.name,
                "wanted": target.wanted,
                "aim": target.aim,
                "measured": value,
                "unit": target.unit,
                "at_most": target.at_most,
                "met": met,
                "limit": "" if met or target.floor is None else target.floor(tables),
            }
        )
    return pd.DataFrame(rows)
