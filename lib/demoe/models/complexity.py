"""What the networks cost: parameters, multiply-accumulates and measured time, beside the 17 published rows.

MACs are those of ptflops' "pytorch" backend at 3x256x256, the paper's counter (Tables 1, 5 and 7). It counts layers and
the functions of ``torch.nn.functional``, not the arithmetic written between them.
"""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core.paper import published

from .comparators import NETWORKS, NOT_INSTALLED
from .demoe import DEMOE_PRESETS, DeMoE
from .layers import PictureConv2d
from .nafnet import NAFNET_PRESETS, NAFNet
from .outputs import experts_of

SIZE = (3, 256, 256)  # channels, height, width that the paper counts at


@dataclass(frozen=True)
class CostRow:
    """One published row: where it stands, and what network it is."""

    table: str  # as the paper numbers it
    row: str
    source: tuple[str, str]  # table and method in ``published()``
    network: Callable[..., nn.Module]
    config: object  # what ``network`` is given
    note: str = ""


def _rows() -> Iterator[CostRow]:
    """Those of ``complexity.csv``; without a preset a network has its configuration's defaults.

    The baseline with classification loss is counted without the router that this loss trains, as in the paper.
    """
    networks = {"NAFNet": (NAFNet, NAFNET_PRESETS), "DeMoE": (DeMoE, DEMOE_PRESETS)}
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            network, configs = networks.get(row["network"]) or NETWORKS[row["network"]]
            config = configs[row["preset"]] if row["preset"] else configs()
            yield CostRow(row["table"], row["row"], (row["source"], row["method"]), network, config, row["note"])


COST_ROWS: tuple[CostRow, ...] = tuple(_rows())


def count(model: nn.Module, size: tuple[int, int, int] = SIZE, k: int = 1) -> tuple[int, int]:
    """Parameters (all, frozen ones too) and MACs of one forward pass of a (1, *size) input, with ``k`` experts if any.

    The model may hold "meta" tensors, which takes neither time nor memory, if its forward never looks at a value. The
    router's choice is not looked at: the first ``k`` experts stand for any, which are of one size. The model comes back
    as it was. Raises ``RuntimeError`` where its forward fails on that size.
    """
    from ptflops import get_model_complexity_info  # two seconds, and who counts nothing need not wait for it
    from ptflops.pytorch_ops import MODULES_MAPPING

    modes = {module: module.training for module in model.modules()}
    before = {module: set(vars(module)) for module in modes}
    said = io.StringIO()

    def black(shape: tuple[int, ...]) -> Tensor | dict:
        like = next(model.parameters(), torch.empty(0))  # ptflops' own is whatever lay in memory: a router may saturate
        x = torch.zeros(1, *shape, dtype=like.dtype, device=like.device)
        return {"x": x, "k": k} if experts_of(model) else x

    if experts := experts_of(model):
        weights = (torch.arange(experts) < k).float()[None] / k  # (1, N), which the host can read
        gate = model.gate
        model.gate = lambda *given: (gate(*given), weights)[1]  # what it computes is counted
    try:
        with torch.inference_mode(), _layers_only(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            macs, _ = get_model_complexity_info(
                model,
                tuple(size),
                as_strings=False,
                print_per_layer_stat=False,
                backend="pytorch",
                input_constructor=black,
                custom_modules_hooks={PictureConv2d: MODULES_MAPPING[nn.Conv2d]},
            )
    finally:
        for module, training in modes.items():
            module.training = training
            for name in set(vars(module)) - before[module]:  # ptflops leaves counters and methods behind
                delattr(module, name)
    if macs is None:
        reason = said.getvalue().strip().splitlines()[-1:] or ["unknown"]
        raise RuntimeError(f"{type(model).__name__} cannot be counted at {tuple(size)}: {reason[0]}")
    return sum(p.numel() for p in model.parameters()), int(macs)


@contextlib.contextmanager
def _layers_only() -> Iterator[None]:
    """Switch off ptflops' counting of ``torch.mul`` and its like, which depends on where and how a network runs.

    ``a * b`` is not counted but ``torch.mul(a, b)`` is, and PyTorch itself calls it to resize "meta" tensors and
    wherever a default device is set. None of the networks here calls these itself.
    """
    from ptflops.pytorch_ops import TENSOR_OPS_MAPPING as table

    kept = dict(table)
    table.update(dict.fromkeys(kept, lambda *args, **kwargs: 0))
    try:
        with torch._C.DisableTorchFunction():
            yield
    finally:
        table.update(kept)


def cost_table(progress: bool = True, tables: tuple[str, ...] | None = None) -> pd.DataFrame:
    """The 17 published rows (or those of ``tables``), counted here: the same numbers on every machine, so the CSV too.

    Columns: table, row, params, macs (whole counts, missing where a package is not installed), paper_params_m
    (millions), paper_macs_g (10^9), note, paper_runtime_ms (on the authors' GPU). One network is in memory at a time.
    """
    records = []
    for row, counts, paper in _measured("counting", lambda row: count(_skeleton(row)), tables, progress):
        params, macs = counts or (pd.NA, pd.NA)
        note = row.note if counts else NOT_INSTALLED
        records.append(
            (row.table, row.row, params, macs, paper["params_m"], paper["macs_g"], note, paper["runtime_ms"])
        )
    columns = ["table", "row", "params", "macs", "paper_params_m", "paper_macs_g", "note", "paper_runtime_ms"]
    return pd.DataFrame(records, columns=columns).astype({"params": "Int64", "macs": "Int64"})


def _measured(
    title: str, measure: Callable[[CostRow], Any], tables: tuple[str, ...] | None, progress: bool
) -> Iterator[tuple[CostRow, Any, dict[str, float]]]:
    """Each row, what ``measure`` makes of it (once a network; None where a package is missing), the paper's numbers."""
    found: dict[tuple, Any] = {}
    numbers = published()
    rows = [row for row in COST_ROWS if tables is None or row.table in tables]
    for row in tqdm(rows, desc=title, unit="row", disable=not progress):
        key = (row.network, row.config)
        if key not in found:
            try:
                found[key] = measure(row)
            except ModuleNotFoundError:
                found[key] = None
            gc.collect()
        table, method = row.source
        mine = numbers[(numbers.table == table) & (numbers.method == method) & (numbers.dataset == "-")]
        yield row, found[key], dict(zip(mine.metric, mine.value, strict=True))


def _skeleton(row: CostRow) -> nn.Module:
    """A row's network without initialisation and memory."""
    with torch.device("meta"):
        return row.network(row.config)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """``cost_table()`` for the eye: millions and 10^9, ours at the digits the paper prints, and the difference."""
    shown = table[["table", "row"]].copy()
    for name, symbol, unit, column, paper in (
        ("params", "M", 1e6, "params", "paper_params_m"),
        ("MACs", "G", 1e9, "macs", "paper_macs_g"),
    ):
        pairs = [(_at_digits_of(p, v, unit), p) for v, p in zip(table[column], table[paper], strict=True)]
        shown[f"{name} ({symbol})"] = ["-" if math.isnan(ours) else f"{ours:.2f}" for ours, _ in pairs]
        shown[f"{name}, paper"] = [f"{printed:.2f}" for _, printed in pairs]
        shown[f"{name}, difference"] = ["-" if math.isnan(v) else f"{round(v - p, 2):+.2f}" for v, p in pairs]
    shown["note"] = table["note"]
    return shown


def _at_digits_of(printed: float, value, unit: float) -> float:
    """``value`` in ``unit``, rounded to the decimals with which ``printed`` was published."""
    if pd.isna(value):
        return math.nan
    return round(value / unit, len(repr(float(printed)).partition(".")[2]))


def print_costs(table: pd.DataFrame) -> None:
    """Print ``cost_table()`` as text, and below it the notes."""
    shown = readable(table)
    print(shown.drop(columns="note").to_string(index=False))
    for row, note in zip(shown["row"], shown["note"], strict=True):
        if note:
            print(f"{row}: {note}")


def measure_runtime(
    model: nn.Module, size: tuple[int, int, int] = SIZE, repeats: int = 10, warm_up: int = 2, k: int = 1
) -> float:
    """Median seconds of a forward pass of a (1, *size) input, on the device and in the precision of the model."""
    first = next(model.parameters())
    x = torch.rand(1, *size, device=first.device, dtype=first.dtype)
    options, training = {"k": k} if experts_of(model) else {}, model.training
    model.eval()
    wait = partial(torch.cuda.synchronize, first.device) if first.device.type == "cuda" else lambda: None
    seconds = []
    with torch.inference_mode():
        for turn in range(warm_up + repeats):
            wait()
            start = time.perf_counter()
            model(x, **options)
            wait()
            if turn >= warm_up:
                seconds.append(time.perf_counter() - start)
    model.train(training)
    return statistics.median(seconds)


def runtime_table(
    repeats: int = 5,
    size: tuple[int, int, int] = SIZE,
    device: str | torch.device | None = None,
    tables: tuple[str, ...] = ("Table 1",),
    progress: bool = True,
) -> pd.DataFrame:
    """Measured milliseconds an image on this machine, with random weights, of the rows of ``tables``.

    Columns: table, row, runtime_ms, paper_runtime_ms (their GPU), device, note. Kept apart from ``cost_table`` because
    no two runs give the same. ``device`` is the GPU where there is one, else the CPU, where the transformers of Table 1
    take up to a minute a pass at 256x256 on one core: give a smaller ``size`` (multiples of 32) there.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def milliseconds(row: CostRow) -> float:
        return 1e3 * measure_runtime(row.network(row.config).to(device), size, repeats, warm_up=1)

    records = []
    for row, time_of, paper in _measured("timing", milliseconds, tables, progress):
        note = NOT_INSTALLED if time_of is None else ""
        records.append((row.table, row.row, time_of or math.nan, paper["runtime_ms"], str(device), note))
    return pd.DataFrame(records, columns=["table", "row", "runtime_ms", "paper_runtime_ms", "device", "note"])
