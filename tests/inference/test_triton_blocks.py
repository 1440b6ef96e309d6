"""Fused kernels without a GPU, by value in Triton's interpreter and compiled for one; and on a GPU where there is one.

Run as a program, this file prints what ``values`` finds: the interpreter must be asked for before kernels are imported.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

import demoe.inference
from benchmarks import inference
from demoe.inference.gpu_forward import GatheredNetwork, _Weights, block
from demoe.inference.gpu_runner import GpuRunner, fused_ways
from demoe.inference.optimize import optimize
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

triton = pytest.importorskip("triton", reason="needs Triton")
WITH_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
EPS = 1e-6
SHARED = 227 << 10  # bytes of shared memory that a program may have on an H100 or H200
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The distance between results over their length, without what passes through unchanged. Float32: sums in another
# order. Bfloat16: a rounding is 2^-9 at most, a dozen follow one another, and the plain block is 0.6 % off float64;
# the interpreter cuts digits off where a GPU rounds, so up to 2^-8 each and all to one side.
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.03}
SMALL = {"encoder_blocks": (1,), "middle_blocks": 0, "decoder_blocks": (1,)}
BLOCKS = [
    (16, 1, 9, 11, 1),
    (32, 3, 5, 7, 3),
    (64, 2, 3, 1, 2),
    (32, 1, 1, 1, 1),
]  # channels, pictures, height, width, sets of weights


def weights(channels: int, sets: int) -> _Weights:
    """Random weights of a block as the gathered network has them: views of one buffer, a row a set."""
    c = channels
    shapes = [
        (c, 2 * c),
        (2 * c,),
        (3, 3, 2 * c),
        (2 * c,),
        (c, c),
        (c,),
        (c, c),
        (c,),
        (c, 2 * c),
        (2 * c,),
        (c, c),
        (c,),
    ]
    sizes = [math.prod(shape) for shape in shapes]
    packed = torch.randn(sets, sum(sizes), generator=torch.Generator().manual_seed(c + sets))
    inputs = [math.prod(shape[:-1]) if len(shape) > 1 else 4 for shape in shapes]  # results about as large as inputs
    parts = zip(packed.split(sizes, 1), shapes, inputs, strict=True)
    return _Weights(*((part / fan**0.5).unflatten(1, shape) for part, shape, fan in parts))


def network(width: int, **sizes) -> DeMoE:
    """A small DeMoE with parameters away from their start."""
    model = DeMoE(DeMoEConfig(width=width, **(SMALL | sizes))).eval()
    return moved(model)


def moved(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.15 * torch.randn(p.shape, generator=generator))
    return model


def distance(got: Tensor, expected: Tensor, unchanged: Tensor) -> float:
    gap, whole = got.double() - expected.double(), expected.double() - unchanged.double()
    return float(gap.norm() / whole.norm())


@torch.no_grad()
def values() -> dict[str, float]:
    """What is compared, and how far apart it is; under the interpreter."""
    from demoe.inference import triton_blocks

    found = {}

    def compare(name: str, x: Tensor, w: _Weights, rows: Tensor | None = None) -> None:
        for precision, dtype in PRECISIONS.items():
            there, own = x.to(dtype), _Weights(*(part.to(dtype) for part in w))
            expected = block(there.double(), _Weights(*(part.double() for part in own)), EPS, rows)
            found[f"{name} {precision}"] = distance(triton_blocks.block(there, own, EPS, rows), expected, there)

    def picture(*shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(2)) + 0.5

    for channels, batch, height, width, sets in BLOCKS:
        compare(
            f"block {channels} {batch}x{height}x{width} {sets}",
            picture(batch, height, width, channels),
            weights(channels, sets),
        )
    x, w, rows = picture(3, 3, 4, 32), weights(32, 3), torch.tensor([2, 0, 2])
    compare("rows", x, w, rows)
    whole = triton_blocks.block(x, w, EPS, rows)
    alone = torch.cat([triton_blocks.block(x[i : i + 1], w, EPS, rows[i : i + 1]) for i in range(3)])
    found["a batch is its pictures"] = float((whole - alone).abs().max())
    tiles, limits = triton_blocks.tiles, (triton_blocks.PARTS, triton_blocks.PROGRAMS)
    triton_blocks.PARTS, triton_blocks.PROGRAMS = 3, 1
    compare("several tiles a program", picture(1, 17, 19, 16), weights(16, 1))
    triton_blocks.PARTS, triton_blocks.PROGRAMS = limits
    triton_blocks.tiles = lambda channels, dtype: tiles(channels, dtype)._replace(tail=None)
    compare("three products", picture(2, 3, 4, 32), weights(32, 2))
    triton_blocks.tiles = tiles

    model, x = network(16), torch.rand(2, 3, 7, 10, generator=torch.Generator().manual_seed(3))
    names, numbers = [None, "LOLBlur"], torch.tensor([-1, 4])
    for k in (1, 2):
        expected = model(x, expert=names, k=k)
        got = GatheredNetwork(model, ways=fused_ways())(x, numbers, k)
        found[f"network k={k} float32"] = distance(got.image, expected.image, x)
        found[f"network k={k} weights"] = float((got.weights - expected.weights).abs().max())
    expected = model(x)
    found["network bfloat16"] = distance(
        GatheredNetwork(model, torch.bfloat16, fused_ways())(x).image, expected.image, x
    )
    run = GpuRunner(model, backend="eager", patience=0, fused=True)  # torch.compile, and in one graph
    found["compiled float32"] = distance(run(x).image, expected.image, x)
    mixed = network(8)  # its upper level has too few channels for the kernels
    found["width 8 float32"] = distance(GatheredNetwork(mixed, ways=fused_ways())(x).image, mixed(x).image, x)
    naf = moved(NAFNet(NAFNetConfig(width=16, router=True, **SMALL))).eval()
    found["NAFNet float32"] = distance(GatheredNetwork(naf, ways=fused_ways())(x).image, naf(x).image, x)
    return found


@functools.cache
def interpreted() -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        text=True,
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_blocks_are_equal_in_value():
    found = {name: error for name, error in interpreted().items() if name.startswith("block")}
    assert len(found) == 2 * len(BLOCKS)
    assert all(error <= TOLERANCE[name.split()[-1]] for name, error in found.items()), found


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["rows", "several tiles a program", "three products"])
def test_however_the_work_is_cut(name, precision):
    assert interpreted()[f"{name} {precision}"] <= TOLERANCE[precision]


def test_a_picture_is_the_same_bits_in_any_batch():
    assert interpreted()["a batch is its pictures"] == 0


def test_whole_networks_are_equal():
    found = interpreted()
    for name in ("network k=1", "network k=2", "compiled", "width 8", "NAFNet"):
        assert found[f"{name} float32"] <= 2e-5, name
    assert all(found[f"network k={k} weights"] <= 1e-6 for k in (1, 2))
    assert found["network bfloat16"] <= 2 * TOLERANCE["bfloat16"]


def launches(channels: int, dtype: torch.dtype, side: int) -> list[tuple]:
    """The kernels that a block and its joints start for a picture, with their arguments; nothing runs."""
    from demoe.inference import triton_blocks

    called = []

    class Recorded:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            return lambda *args, **kwargs: called.append((self.kernel, grid, args, kwargs))

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_blocks, "wrap_triton", Recorded)
        w = [part.to(device="meta", dtype=dtype) for part in weights(channels, 2)]
        triton_blocks.start_block(
            empty(2, side, side, channels), w, EPS, torch.zeros(2, dtype=torch.int64, device="meta")
        )
        triton_blocks.start_down(
            empty(1, 2 * side, 2 * side, channels), empty(2 * channels, channels, 2, 2), empty(2 * channels)
        )
        triton_blocks.start_up(
            empty(1, side, side, channels), empty(2 * channels, channels), empty(1, 2 * side, 2 * side, channels // 2)
        )
    return called


def compiled(kernel, args: tuple, kwargs: dict):
    """The kernel as Triton would compile it for an H100 or H200, told what it would see in these arguments."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64"}
    signature, constants, known = {}, {}, {}
    for i, (name, value) in enumerate(
        zip(kernel.arg_names, (*args, *[kwargs[n] for n in kernel.arg_names[len(args) :]]), strict=True)
    ):
        if i >= len(args) or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[name] = types[value.dtype]
        else:
            signature[name] = "i32" if isinstance(value, int) else "fp32"
        if isinstance(value, Tensor) or (i < len(args) and isinstance(value, int) and value % 16 == 0):
            known[(i,)] = [["tt.divisibility", 16]]
    options = {name: kwargs[name] for name in ("num_warps", "num_stages") if name in kwargs}
    return triton.compile(ASTSource(kernel, signature, constants, known), GPUTarget("cuda", 90, 32), options)


def spilled(binary: bytes) -> int | None:
    """Bytes a thread that do not fit into registers; None where Triton brings no tool to tell."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.is_file():
        return None
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "kernel.cubin"
        file.write_bytes(binary)
        told = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True).stdout
    found = re.search(r"STACK:(\d+)", told)
    return int(found[1]) if found else None


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")
@pytest.mark.parametrize(
    ("channels", "side", "number", "precision"),
    [(32, 256, 5, "float32"), (512, 16, 7, "float32"), (32, 1, 5, "bfloat16")],
)
def test_every_kernel_compiles_for_a_gpu(channels, side, number, precision):
    called = launches(channels, PRECISIONS[precision], side)
    assert len(called) == number
    for kernel, grid, args, kwargs in called:
        assert all(0 < count < 1 << 16 for count in grid)
        result = compiled(kernel, args, kwargs)
        assert "cubin" in result.asm and result.metadata.shared <= SHARED, kernel.__name__
        assert (spilled(result.asm["cubin"]) or 0) <= 32, kernel.__name__


def test_asked_for_in_vain_one_sentence_says_why(monkeypatch):
    model = network(16)
    with pytest.raises(RuntimeError, match="fused kernels need a GPU, and the network is on cpu"):
        optimize(model, fused=True)
    with pytest.raises(RuntimeError, match="fused kernels need a GPU, and the network is on cpu"):
        GpuRunner(model, fused=True)
    monkeypatch.setitem(sys.modules, "demoe.inference.triton_blocks", None)
    monkeypatch.delattr(demoe.inference, "triton_blocks", raising=False)
    with pytest.raises(RuntimeError, match="fused kernels need Triton"):
        fused_ways()


def test_the_benchmark_leaves_out_what_does_not_run():
    with pytest.warns(UserWarning, match="not measured: fused kernels need a GPU"):
        assert inference.fused(network(16), torch.float32) == {}


@WITH_GPU
@torch.no_grad()
@pytest.mark.parametrize("backend", [None, "inductor"])
def test_on_a_gpu_equal_and_the_host_never_waits(backend):
    model, x = network(32, middle_blocks=1), torch.rand(3, 3, 37, 50)
    names = [None, "GoPro", "LOLBlur"]
    expected = model(x, names)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.03)):
        run, there = GpuRunner(model, dtype, "cuda", backend=backend, patience=0, fused=True), x.cuda()
        run(there, names)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            got = run(there, names)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert distance(got.image.cpu(), expected.image, x) <= tolerance


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(values()))
