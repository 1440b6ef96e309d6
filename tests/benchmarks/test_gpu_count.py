"""Counting what a GPU would launch: the counting itself, and generated code for a small network without a GPU."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from benchmarks import counting, gpu_count
from benchmarks.options import Options
from demoe.inference.gpu_forward import GatheredNetwork
from demoe.models.demoe import DeMoE, DeMoEConfig

CODE = """
def triton_poi(x):
    kernel.run(x, stream=raw_stream0)
def call(args):
    buf0 = empty_strided_cuda((1, 3))
    # extern_kernels.mm(in a comment)
    triton_poi_fused_0.run(arg0, buf0, 3, stream=raw_stream0)
    extern_kernels.mm(buf0, arg1, out=buf1)
    buf2 = extern_kernels.convolution(buf1, arg2, stride=(1, 1), bias=None)
    assert_size_stride(buf2, (1, 2), (2, 1), 'torch.ops.aten.convolution.default')
    buf3 = torch.ops.aten.topk.default(buf2, 1)
    buf4 = buf3[0]
    %s
    return (buf4, )
"""


def test_launches_are_told_from_what_stands_beside():
    found = gpu_count.counts(CODE % "del buf3", 12)
    assert found == {"launches": 4, "generated": 1, "waits": 0, "bytes": 12}
    assert gpu_count.counts(CODE % "u0 = buf4.item()", 12)["waits"] == 1


def test_traffic_is_what_operations_read_and_write():
    x = torch.ones(4, 5)
    with counting.Counting() as counts:
        y = (x + x).t()  # three tensors of 80 bytes; a view is free
        y.sum()  # 80 in, 4 out
    assert counts.bytes == 3 * 80 + 84 and counts.operations == 2


def elsewhere(*arguments):
    """``gpu_count.generated`` in a process that does nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(gpu_count.generated, *arguments).result()


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_generated_code_launches_less_than_eager_and_never_waits():
    """With fused kernels, three launches a block: both ways of generating are in it, and compiling takes long."""
    config = DeMoEConfig(width=16, encoder_blocks=(1,), middle_blocks=0, decoder_blocks=(0,))
    found = elsewhere(config, 32, "float32", True)
    eager = gpu_count.eager(GatheredNetwork(DeMoE(config).eval()), torch.rand(1, 3, 32, 32))
    # Three blocks and two joints; intro and its bias, ending and its, the router and who is chosen: no copies between
    assert found["launches"] == 3 * 3 + 2 + 17 and found["waits"] == eager["waits"] == 0
    assert 0 < found["generated"] < found["launches"] < eager["launches"]


def test_without_a_compiler_a_warning_says_why(monkeypatch):
    def failing(*_):
        raise ModuleNotFoundError("No module named 'triton'\nmore")

    monkeypatch.setattr(gpu_count, "generated", failing)
    with pytest.warns(UserWarning, match="not counted: ModuleNotFoundError: No module named 'triton'$"):
        table = gpu_count.count(Options(width=4), side=16)
    assert list(table.how) == ["counted"] * 3 and (table.launches > 400).all()
