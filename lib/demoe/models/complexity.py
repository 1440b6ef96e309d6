"""What the networks cost: parameters, multiply-accumulates and measured time, beside the 17 published rows.

MACs are those of ptflops' "pytorch" backend at 3x256x256, the paper's counter (Tables 1, 5 and 7). It counts layers and
the functions of ``torch.nn.functional``, not the arithmetic written between them.
"""

from __future__ import annotations

import contextlib
import gc
import io
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import ptflops.pytorch_ops
import torch
from ptflops import get_model_complexity_info
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core.paper import published

from .comparator_sizes import FFTFormer, Restormer
from .comparators import NOT_INSTALLED, PromptIR, SFHFormer
from .demoe import DEMOE_PRESETS, DeMoE
from .layers import PictureConv2d
from .nafnet import NAFNET_PRESETS, NAFNet
from .outputs import experts_of

SIZE = (3, 256, 256)  # channels, height, width that the paper counts at
DARKIR_NOTE = "the public DarkIR block has 10.74 G MACs here; the paper's 11.05 G is not reproduced"


@dataclass(frozen=True)
class CostRow:
    """One published row: where it stands, and how to build its network."""

    table: str  # as the paper numbers it
    row: str
    source: tuple[str, str]  # table and method in ``published()``
    network: Callable[..., nn.Module]
    config: object = None  # given to ``network``; none for its published size
    note: str = ""

    def build(self) -> nn.Module:
        """The network. Raises ``ModuleNotFoundError`` where an optional package is missing."""
        return self.network() if self.config is None else self.network(self.config)


def _nafnet(table: str, row: str, source: tuple[str, str], preset: str) -> CostRow:
    return CostRow(table, row, source, NAFNet, NAFNET_PRESETS[preset])


def _demoe(table: str, row: str, source: tuple[str, str], preset: str, note: str = "") -> CostRow:
    return CostRow(table, row, source, DeMoE, DEMOE_PRESETS[preset], note)


_T1, _T5, _T7 = "table1_aio", "table5_baseline_ablation", "table7_experts"
COST_ROWS: tuple[CostRow, ...] = (
    CostRow("Table 1", "PromptIR", (_T1, "PromptIR"), PromptIR),
    CostRow("Table 1", "Restormer", (_T1, "Restormer"), Restormer),
    CostRow("Table 1", "FFTFormer", (_T1, "FFTFormer"), FFTFormer),
    CostRow("Table 1", "SFHFormer", (_T1, "SFHFormer"), SFHFormer),
    _nafnet("Table 1", "NAFNet", (_T1, "NAFNet"), "baseline"),
    _demoe("Table 1", "DeMoE k=1", (_T1, "DeMoE_k1"), "demoe"),
    _nafnet("Table 5", "baseline, no classification loss", (_T5, "baseline_without_classification_loss"), "baseline"),
    _nafnet("Table 5", "baseline, original architecture", (_T5, "baseline_original_architecture"), "original"),
    # The paper counts the baseline without the router that the classification loss trains.
    _nafnet("Table 5", "baseline, classification loss", (_T5, "baseline_with_classification_loss"), "baseline"),
    _demoe("Table 5", "more middle NAFBlocks", (_T5, "more_middle_nafblocks"), "more_middle"),
    _demoe("Table 5", "more MoEBlocks", (_T5, "more_moeblocks"), "more_moe"),
    _demoe("Table 5", "width 64", ("table5_fusion_ablation", "width_64"), "width_64"),
    _demoe("Table 7", "DarkIR experts", (_T7, "DarkIR"), "darkir_experts", DARKIR_NOTE),
    _demoe("Table 7", "wavelet experts", (_T7, "Wavelet"), "wavelet_experts"),
    _demoe("Table 7", "Restormer experts", (_T7, "Restormer"), "restormer_experts"),
    _demoe("Table 7", "PLK experts", (_T7, "PLK"), "plk_experts"),
    _demoe("Table 7", "NAFBlock experts (DeMoE)", (_T7, "NAFBlock"), "demoe"),
)


def count(model: nn.Module, size: tuple[int, int, int] = SIZE, k: int = 1) -> tuple[int, int]:
    """Parameters (all, frozen ones too) and MACs of one forward pass of a (1, *size) input, with ``k`` experts if any.

    The model may hold "meta" tensors, which takes neither time nor memory, if its forward never looks at a value;
    DeMoE's does, to run only the experts that are used. The model comes back as it was. Raises ``RuntimeError`` where
    its forward fails on that size.
    """
    modes = {module: module.training for module in model.modules()}
    before = {module: set(vars(module)) for module in modes}
    said = io.StringIO()

    def black(
        shape: tuple[int, ...],
    ) -> Tensor | dict:  # ptflops' own input is whatever lay in memory: a router may saturate
        like = next(model.parameters(), torch.empty(0))
        x = torch.zeros(1, *shape, dtype=like.dtype, device=like.device)
        return {"x": x, "k": k} if experts_of(model) else x

    try:
        with torch.inference_mode(), _layers_only(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            macs, _ = get_model_complexity_info(
                model,
                tuple(size),
                as_strings=False,
                print_per_layer_stat=False,
                backend="pytorch",
                input_constructor=black,
                custom_modules_hooks={PictureConv2d: ptflops.pytorch_ops.MODULES_MAPPING[nn.Conv2d]},
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
    table = ptflops.pytorch_ops.TENSOR_OPS_MAPPING
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
    counted: dict[tuple, tuple[int, int]] = {}
    records = []
    rows = [row for row in COST_ROWS if tables is None or row.table in tables]
    for row in tqdm(rows, desc="counting", unit="row", disable=not progress):
        key, note = (row.network, row.config), row.note
        try:
            if key not in counted:
                counted[key] = count(_skeleton(row))
                gc.collect()
            params, macs = counted[key]
        except ModuleNotFoundError:
            params, macs, note = pd.NA, pd.NA, NOT_INSTALLED
        paper = _paper(row)
        printed = paper["params_m"], paper["macs_g"]
        records.append((row.table, row.row, params, macs, *printed, note, paper["runtime_ms"]))
    columns = ["table", "row", "params", "macs", "paper_params_m", "paper_macs_g", "note", "paper_runtime_ms"]
    return pd.DataFrame(records, columns=columns).astype({"params": "Int64", "macs": "Int64"})


def _paper(row: CostRow) -> dict[str, float]:
    numbers = published()
    mine = numbers[(numbers["table"] == row.source[0]) & (numbers["method"] == row.source[1])]
    mine = mine[mine["dataset"] == "-"]
    return dict(zip(mine["metric"], mine["value"], strict=True))


def _skeleton(row: CostRow) -> nn.Module:
    """A row's network with as little behind it as counting needs: no initialisation, and no memory where possible."""
    with torch.device("meta"):
        model = row.build()
    if row.network is DeMoE:
        model.to_empty(device="cpu")
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.zero_()  # whatever the values, but never NaN, which no router can rank
    return model


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
    seconds = []
    with torch.inference_mode():
        for turn in range(warm_up + repeats):
            _wait_for(first.device)
            start = time.perf_counter()
            model(x, **options)
            _wait_for(first.device)
            if turn >= warm_up:
                seconds.append(time.perf_counter() - start)
    model.train(training)
    return statistics.median(seconds)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
    measured: dict[tuple, float] = {}
    records = []
    rows = [row for row in COST_ROWS if row.table in tables]
    for row in tqdm(rows, desc="timing", unit="row", disable=not progress):
        key, note = (row.network, row.config), ""
        try:
            if key not in measured:
                measured[key] = 1e3 * measure_runtime(row.build().to(device), size, repeats, warm_up=1)
                gc.collect()
            milliseconds = measured[key]
        except ModuleNotFoundError:
            milliseconds, note = math.nan, NOT_INSTALLED
        records.append((row.table, row.row, milliseconds, _paper(row)["runtime_ms"], str(device), note))
    return pd.DataFrame(records, columns=["table", "row", "runtime_ms", "paper_runtime_ms", "device", "note"])
