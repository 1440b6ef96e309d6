"""What a GPU would have to launch for one picture, counted without a GPU.

PyTorch's compiler writes its GPU code without running it. It is told here of a GPU that is not there, so in a process
of its own, and stopped before it compiles what it wrote: launches are the calls in that code. Eager launches are
operations counted as they run on the CPU. Bytes are those of all inputs and outputs of all launches, as if no cache
held any of them. The numbers beside are those counted of the published code (PyTorch 2.15, 256x256, float32).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from unittest import mock

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from demoe.inference.gpu_forward import GatheredNetwork
from demoe.inference.gpu_runner import INDUCTOR, fused_ways
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

from . import fingerprint
from .plain import plain
from .weights import shaken

SIDE = 256  # pixels
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
H200 = {  # what the compiler asks about the device
    "name": "NVIDIA H200",
    "major": 9,
    "minor": 0,
    "multi_processor_count": 132,
    "total_memory": 140 << 30,
    "regs_per_multiprocessor": 65536,
    "max_threads_per_multi_processor": 2048,
    "max_threads_per_block": 1024,
    "warp_size": 32,
    "shared_memory_per_block": 48 << 10,
    "shared_memory_per_block_optin": 227 << 10,
    "shared_memory_per_multiprocessor": 228 << 10,
    "L2_cache_size": 50 << 20,
    "gcnArchName": "",
}


def command() -> int:
    """Prints the table of ``count``; the exit status."""
    table = count()
    table["bytes"] = [f"{value / 1e9:.2f} GB" if pd.notna(value) else "" for value in table["bytes"]]
    print(table.to_string(index=False))
    return 0


def count(config: DeMoEConfig = DeMoEConfig(), side: int = SIDE) -> pd.DataFrame:  # noqa: B008 (frozen)
    """A row a formulation, batch 1, ``side`` x ``side``, one expert.

    Columns: what, precision, launches, generated (those of them that are generated kernels, not a library's), waits (of
    the host for the device), bytes, how (counted, generated, by hand). Takes about two minutes a precision. Where the
    compiler cannot generate GPU code (no Triton: ``pip install triton``), these rows are left out with a warning.
    """
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    model = shaken(DeMoE(config))
    naf = NAFNetConfig(
        config.width,
        config.encoder_blocks,
        config.middle_blocks + 1,
        tuple(blocks + 1 for blocks in config.decoder_blocks),
    )
    rows = [
        _eager("plain NAFNet, eager", plain(shaken(NAFNet(naf))), x),
        _eager("plain DeMoE, eager", plain(model), x),
        _eager("gathered DeMoE, eager", GatheredNetwork(model), x),
    ]
    for precision in DTYPES:
        for what, fused in (("gathered DeMoE, compiled", False), ("gathered DeMoE, fused kernels", True)):
            found = _generated(config, side, precision, fused)
            if found is not None:
                if fused:  # the compiler takes a kernel to read all experts' weights, and what it writes
                    found["bytes"] = _moved(config, side, precision, _maps)
                how = "generated; bytes by hand" if fused else "generated"
                rows.append({"what": what, "precision": precision, **found, "how": how})
    rows += [_by_hand(config, side, precision) for precision in DTYPES]
    return pd.DataFrame(rows, columns=["what", "precision", "launches", "generated", "waits", "bytes", "how"])


class _Traffic(TorchDispatchMode):
    """Sums the bytes of the tensors that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not function.is_view and not str(function).startswith(fingerprint.NO_WORK):
            self.bytes += sum(_size(leaf) for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor))
            if str(function) == "aten.convolution.default" and args[2] is not None and args[8] == 1:
                self.bytes += 2 * _size(result)  # the bias, added in a pass of its own
        return result


def _size(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _eager(what: str, network: nn.Module, x: Tensor) -> dict:
    with torch.no_grad():
        counts = fingerprint.count(lambda: network(x))
        with _Traffic() as traffic:
            network(x)
    return {
        "what": what,
        "precision": "float32",
        "launches": counts.operations,
        "generated": 0,
        "waits": counts.waits,
        "bytes": traffic.bytes,
        "how": "counted",
    }


def _by_hand(config: DeMoEConfig, side: int, precision: str) -> dict:
    """The floor: two kernels a block, to the gate and the sums for attention, and from there to the block's end.

    The first would read x and write the gated map; the second reads both and writes x: four maps. Ours are three, for
    the depth-wise convolution wants its neighbours' results (``demoe.fast.kernels``).
    """
    joints = 2 + 2 * len(config.encoder_blocks) + 5  # first and last convolution, down, up; router, gate, gather
    return {
        "what": "two fused kernels a block (the floor)",
        "precision": precision,
        "waits": 0,
        "how": "by hand",
        "launches": 2 * sum(number for number, _ in _blocks(config)) + joints,
        "generated": pd.NA,
        "bytes": _moved(config, side, precision, lambda channels, dtype: 4),
    }


def _blocks(config: DeMoEConfig) -> list[tuple[int, int]]:
    """How many blocks each level has, the middle last, and its number."""
    levels = len(config.encoder_blocks)
    pairs = zip(config.encoder_blocks, reversed(config.decoder_blocks), strict=True)
    found = [(here + there + config.moe_per_level, level) for level, (here, there) in enumerate(pairs)]
    return [*found, (config.middle_blocks + config.moe_per_level, levels)]


def _moved(config: DeMoEConfig, side: int, precision: str, maps: Callable[[int, torch.dtype], int]) -> int:
    """Bytes, were a block's traffic this many maps of its channels; weights, skips and joints (two maps each) added."""
    top, dtype = config.width * side * side, DTYPES[precision]  # values of a map; half of it a level down
    moved = sum(number * maps(config.width << level, dtype) * top / 2**level for number, level in _blocks(config))
    moved += sum(5 * top / 2**level for level in range(len(config.encoder_blocks)))
    unused = re.compile(r"experts\.\d+\.experts\.[1-9]")  # one expert runs
    weights = sum(p.numel() for name, p in DeMoE(config).named_parameters() if not unused.match(name))
    return int(dtype.itemsize * (moved + weights))


def _maps(channels: int, dtype: torch.dtype) -> int:
    """Maps that a block of ``demoe.inference.triton_blocks`` reads and writes, one of 2C channels counting as two."""
    from demoe.inference.triton_blocks import tiles  # Triton is not everywhere

    return 9 if tiles(channels, dtype).tail else 14


def _generated(config: DeMoEConfig, side: int, precision: str, fused: bool = False) -> dict | None:
    """What ``generate`` finds, in a process of its own; ``None``, with a warning, where it cannot."""
    call = "import sys; from benchmarks.gpu_count import main; main(*sys.argv[1:])"
    settings = {"config": vars(config), "side": side, "precision": precision, "fused": fused}
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", call, json.dumps(settings)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        warnings.warn(f"no GPU code could be generated here, so its launches are not counted: {reason}", stacklevel=3)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main(settings: str) -> None:
    """Prints ``generate``'s counts as JSON; ``settings`` is JSON too."""
    given = json.loads(settings)
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in given["config"].items()}
    ways = fused_ways() if given["fused"] else None
    network = GatheredNetwork(DeMoE(DeMoEConfig(**config)).eval(), DTYPES[given["precision"]], ways)
    print(json.dumps(counts(*generate(network, given["side"]))))


def counts(code: str, traffic: int) -> dict:
    """Launches in generated code: ``launches``, of them ``generated`` kernels, ``waits``, ``bytes``."""
    body = code[code.index("def call(") :]
    generated = len(re.findall(r"^\s*\w+\.run\(.*stream=", body, re.MULTILINE))
    called = r"^\s*(?:\w+ = )?(?:extern_kernels\.|torch\.ops\.\w+\.|aten\.)[\w.]+\("
    library = len(re.findall(called, body, re.MULTILINE))
    waits = len(re.findall(r"\.item\(\)|synchronize\(|_local_scalar_dense|nonzero|\.cpu\(\)", body))
    return {"launches": generated + library, "generated": generated, "waits": waits, "bytes": int(traffic)}


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
        like = [(1, 3, side, side), *(b.shape for b in network.buffers())]
        strides = [torch.empty(like[0], device="meta").stride(), *(b.stride() for b in network.buffers())]
        types = [torch.float32, *(b.dtype for b in network.buffers())]

        def inputs(device: str) -> list[Tensor]:
            parts = zip(like, strides, types, strict=True)
            return [torch.empty_strided(shape, stride, dtype=dtype, device=device) for shape, stride, dtype in parts]

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
            found = error
            while found is not None and not isinstance(found, _Written):
                found = found.__cause__ or found.__context__
            if found is None:
                raise
            return found.args
    raise RuntimeError("PyTorch's compiler wrote no code: this version works another way than the count expects")


def _pretend_gpu() -> None:
    """Answers for a GPU what the compiler asks; leaves out its patterns that would try something on the device."""
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor.fx_passes import fuse_attention, misc_patterns, pad_mm
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    properties = SimpleNamespace(**H200)
    answers: dict[str, Callable] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_properties": lambda device=None: properties,
        "get_device_capability": lambda device=None: (9, 0),
        "synchronize": lambda device=None: None,
        "is_bf16_supported": lambda including_emulation=False: True,
        "memory_allocated": lambda device=None: 0,
        "_exchange_device": lambda device: 0,
        "_maybe_exchange_device": lambda device: 0,
    }
    asked_otherwise: dict[str, Callable] = {
        "exchange_device": lambda device: 0,
        "maybe_exchange_device": lambda device: 0,
        "get_compute_capability": lambda device=None: 90,
        "is_triton_capable": lambda device=None: True,
        "raise_if_triton_unavailable": lambda device=None: None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    for name, answer in (answers | asked_otherwise).items():
        if hasattr(CudaInterface, name):
            setattr(CudaInterface, name, staticmethod(answer))
    CudaInterface.Worker.get_device_properties = staticmethod(lambda device=None: properties)
    CudaInterface.Worker.current_device = staticmethod(lambda: 0)
    torch.cuda._lazy_init = lambda: None
    torch.cuda.get_rng_state = lambda device=None: torch.zeros(16, dtype=torch.uint8)
    torch.cuda.set_rng_state = lambda state, device=None: None
    driver.set_active(SimpleNamespace(get_current_target=lambda: GPUTarget("cuda", 90, 32)))
    fuse_attention._sfdp_init = misc_patterns._misc_patterns_init = pad_mm._pad_mm_init = lambda device=None: None
