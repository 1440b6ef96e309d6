"""What a GPU would have to launch for one picture, counted without a GPU.

PyTorch's compiler writes its GPU code without running it. It is told here of a GPU that is not there, so in a process
that does nothing else, and stopped before it compiles what it wrote: launches are the calls in that code. Eager
launches are operations counted as they run on the CPU. Bytes are those of all inputs and outputs of all launches, as if
no cache held any of them.
"""

from __future__ import annotations

import re
import warnings
from types import SimpleNamespace
from unittest import mock

import pandas as pd
import torch
from torch import Tensor, nn

from demoe.core.files import first_line
from demoe.inference.gpu_forward import GatheredNetwork
from demoe.inference.gpu_runner import INDUCTOR, fused_ways
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

from . import counting
from .options import Options
from .plain import plain
from .weights import shaken

SIDE = 256  # pixels
# What the compiler asks about the device.
H200 = SimpleNamespace(
    name="NVIDIA H200",
    major=9,
    minor=0,
    multi_processor_count=132,
    total_memory=140 << 30,
    regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    warp_size=32,
    shared_memory_per_block=48 << 10,
    shared_memory_per_block_optin=227 << 10,
    shared_memory_per_multiprocessor=228 << 10,
    L2_cache_size=50 << 20,
    gcnArchName="",
)


def count(options: Options, side: int = SIDE) -> pd.DataFrame:
    """A row a formulation, batch 1, ``side`` x ``side``, one expert.

    Columns: what, precision, launches, generated (those of them that are generated kernels, not a library's), waits (of
    the host for the device), bytes (not a number for fused kernels, which read less than the compiler believes), how
    (counted, generated). Takes about two minutes a precision. Where the compiler cannot generate GPU code (no Triton:
    ``pip install triton``), these rows are left out with a warning.
    """
    config, rows = options.demoe, []
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    model, naf = shaken(DeMoE(config)), shaken(NAFNet(NAFNetConfig(config.width)))
    networks = {"plain NAFNet": plain(naf), "plain DeMoE": plain(model), "gathered DeMoE": GatheredNetwork(model)}
    for what, network in networks.items():
        rows.append({"what": f"{what}, eager", "precision": "float32"} | eager(network, x) | {"how": "counted"})
    try:
        for precision in ("float32", "bfloat16"):
            for how, fused in (("compiled", False), ("fused kernels", True)):
                row = {"what": f"gathered DeMoE, {how}", "precision": precision, "how": "generated"}
                rows.append(row | generated(config, side, precision, fused))
    except Exception as error:  # of a compiler that is not there, or of another version
        reason = f"{type(error).__name__}: {first_line(error)}"
        warnings.warn(f"no GPU code could be generated here, so its launches are not counted: {reason}", stacklevel=2)
    return pd.DataFrame(rows, columns=["what", "precision", "launches", "generated", "waits", "bytes", "how"])


def eager(network: nn.Module, x: Tensor) -> dict:
    counts = counting.count(lambda: network(x))
    return {"launches": counts.operations, "generated": 0, "waits": counts.waits, "bytes": counts.bytes}


def generated(config: DeMoEConfig, side: int, precision: str, fused: bool) -> dict:
    """The counts of a compiled network, with the kernels of ``demoe.inference.triton_blocks`` where ``fused``."""
    ways = fused_ways() if fused else None
    network = GatheredNetwork(DeMoE(config).eval(), getattr(torch, precision), ways)
    return counts(*generate(network, side)) | ({"bytes": float("nan")} if fused else {})


def counts(code: str, traffic: int) -> dict:
    """Launches in generated code: ``launches``, of them ``generated`` kernels, ``waits``, ``bytes``."""
    body = code[code.index("def call(") :]
    own = len(re.findall(r"^\s*\w+\.run\(.*stream=", body, re.MULTILINE))
    called = r"^\s*(?:\w+ = )?(?:extern_kernels\.|torch\.ops\.\w+\.|aten\.)[\w.]+\("
    library = len(re.findall(called, body, re.MULTILINE))
    waits = len(re.findall(r"\.item\(\)|synchronize\(|_local_scalar_dense|nonzero|\.cpu\(\)", body))
    return {"launches": own + library, "generated": own, "waits": waits, "bytes": int(traffic)}


class _Written(Exception):
    """Stops the compiler once its code is written."""


def generate(network: nn.Module, side: int, k: int = 1) -> tuple[str, int]:
    """The code that the compiler would run on a GPU for a (1, 3, side, side) picture, and the bytes it would move.

    Only in a process that does nothing else: PyTorch is told here that it has a GPU. The network is traced on tensors
    without content.
    """
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.graph import GraphLowering
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    _pretend_gpu()
    names = [name for name, _ in network.named_buffers()]

    def forward(x: Tensor, *buffers: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.func.functional_call(network, dict(zip(names, buffers, strict=True)), (x, None, k, True)))

    def written(graph: GraphLowering) -> None:
        code = graph.codegen()[0]
        raise _Written(getattr(code, "value", code), graph.count_bytes()[0])

    # Traced for the CPU, since Python's indexing asks the driver for its device; what is left are plain operations.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        like = [torch.empty(1, 3, side, side, device="meta"), *network.buffers()]

        def inputs(device: str) -> list[Tensor]:
            return [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device) for x in like]

        traced = make_fx(forward, select_decomp_table())(*inputs("cpu"))
        for node in traced.graph.nodes:
            if "device" in node.kwargs:
                node.update_kwarg("device", torch.device("cuda", 0))
        traced.recompile()
        on_gpu = inputs("cuda:0")
    settings = INDUCTOR | {"compile_threads": 1, "fx_graph_cache": False, "joint_graph_constant_folding": False}
    with config.patch(settings), mock.patch.object(GraphLowering, "compile_to_module", written), torch.no_grad():
        try:
            compile_fx(traced, on_gpu)
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, _Written):
                cause = cause.__cause__ or cause.__context__
            if cause is None:
                raise
            return cause.args
    raise RuntimeError("PyTorch's compiler wrote no code: this version works another way than the count expects")


def _pretend_gpu() -> None:
    """Answers for a GPU what the compiler asks; leaves out its patterns that would try something on the device."""
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor.fx_passes import fuse_attention, misc_patterns, pad_mm
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    of_both = {"is_available": True, "device_count": 1, "current_device": 0, "get_device_properties": H200}
    of_both |= {"get_device_capability": (9, 0), "synchronize": None, "is_bf16_supported": True, "memory_allocated": 0}
    of_both |= {"_exchange_device": 0, "_maybe_exchange_device": 0, "_lazy_init": None, "set_rng_state": None}
    of_both |= {"get_rng_state": torch.zeros(16, dtype=torch.uint8)}
    of_interface = {"exchange_device": 0, "maybe_exchange_device": 0, "get_compute_capability": 90}
    of_interface |= {"is_triton_capable": True, "raise_if_triton_unavailable": None}
    for name, value in of_both.items():
        setattr(torch.cuda, name, lambda *args, value=value, **kwargs: value)
    for holder, answers in ((CudaInterface, of_both | of_interface), (CudaInterface.Worker, of_both)):
        for name, value in answers.items():
            if hasattr(holder, name):
                setattr(holder, name, staticmethod(lambda *args, value=value, **kwargs: value))
    driver.set_active(SimpleNamespace(get_current_target=lambda: GPUTarget("cuda", 90, 32)))
    fuse_attention._sfdp_init = misc_patterns._misc_patterns_init = pad_mm._pad_mm_init = lambda device=None: None
