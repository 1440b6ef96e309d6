"""A NAFBlock on a CPU as one operation of our own, forward and backward: ``fused_block.cpp``, compiled at first use.

The same values and gradients as operation by operation, to rounding, in less time (``python -m benchmarks`` says how
much); for the backward pass it keeps three maps a block. Compiling takes a while, once: what comes out is kept in the
user's cache folder, by PyTorch's version, the processor's instructions and the source. Where there is no compiler, or
``DEMOE_FUSED=0``, blocks run operation by operation, as they do on a GPU and in other types than float32 and float64.

In bfloat16, where the processor multiplies it (AVX-512's ``avx512_bf16``), the factors of products are rounded to it
and all else is float32: in training maps are, too; for inference maps are kept in bfloat16.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from demoe.core.files import alone, first_line
from demoe.core.precision import bfloat16_instructions

SOURCE = Path(__file__).with_suffix(".cpp")  # it includes the headers beside it
TYPES = (torch.float32, torch.float64)  # of maps; bfloat16 besides, where the processor has it (``bfloat16``)
COMPILERS = ("c++", "g++", "clang++", "cl")  # unless CXX names one
FLAGS = {  # by what PyTorch says the processor can; without them the compiler's own, which on Arm have NEON
    "AVX2": ("-mavx2", "-mfma", "-mf16c"),
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma", "-mf16c"),
}
BFLOAT16 = "-mavx512bf16"
BUILD = "import sys; from torch.utils.cpp_extension import load; load(sys.argv[1], sys.argv[2], extra_cflags={cflags}, \
extra_ldflags={ldflags}, build_directory=sys.argv[3], is_python_module=False)"


@cache
def operations():
    """The compiled operations, ``torch.ops.demoe``; None, and once a warning that says why, where there are none."""
    if os.environ.get("DEMOE_FUSED", "").lower() in ("0", "off", "no", "false"):
        return None
    try:
        torch.ops.load_library(str(compiled()))
    except (OSError, RuntimeError) as error:
        warnings.warn(f"networks run without the fused block, which takes longer: {first_line(error)}", stacklevel=2)
        return None
    return torch.ops.demoe


@cache
def bfloat16() -> bool:
    """Whether the fused block multiplies in bfloat16 here, at twice the pace of float32."""
    return operations() is not None and operations().bfloat16()


def computes(dtype: torch.dtype) -> bool:
    """Whether the fused block is there for maps of this type."""
    return bfloat16() if dtype == torch.bfloat16 else dtype in TYPES and operations() is not None


def compiled() -> Path:
    """The shared library, compiled unless it is in the cache; one process at a time.

    Raises ``RuntimeError``, one sentence, where there is no compiler or it fails, and ``OSError`` for a cache that
    cannot be written.
    """
    instructions = torch.backends.cpu.get_cpu_capability()
    flags = FLAGS.get(instructions, ())
    if instructions == "AVX512" and bfloat16_instructions():
        flags = (*flags, BFLOAT16)
    name = instructions if flags else "DEFAULT"
    sources = [file.read_bytes() for file in (SOURCE, *sorted(SOURCE.parent.glob("fused_*.h")))]
    content = repr((sources, torch.__version__, sysconfig.get_platform(), name, flags))
    folder = cache_folder() / f"fused-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    file = folder / "demoe_fused.so"
    if file.is_file():
        return file
    if not any(map(shutil.which, [os.environ["CXX"]] if os.environ.get("CXX") else COMPILERS)):
        raise RuntimeError("there is no C++ compiler (g++, clang++ or cl) to make it with")
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / ".lock", "another process compiles the fused block: waiting for it"):
        if not file.is_file():
            print("compiling the fused block for this processor, once", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=folder) as place:
                os.replace(_build(place, [f"-DCPU_CAPABILITY={name}", f"-DCPU_CAPABILITY_{name}", *flags]), file)
    return file


def cache_folder() -> Path:
    """Where compiled code is kept: ``demoe`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(home) if home else Path.home() / ".cache") / "demoe"


def _build(place: str, flags: Sequence[str]) -> Path:
    """A process of its own compiles: its settings and what it prints are none of ours."""
    threads = ["-fopenmp"] if sys.platform.startswith("linux") else []  # elsewhere one thread
    options = ["-O3", "-fno-math-errno", *threads, *flags]
    code = BUILD.format(cflags=options, ldflags=threads)
    tools = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])  # of them ninja
    command = [sys.executable, "-c", code, "demoe_fused", str(SOURCE), place]
    done = subprocess.run(command, env=os.environ | {"PATH": tools}, capture_output=True, text=True)
    found = [file for file in Path(place).iterdir() if file.suffix in (".so", ".pyd", ".dylib")]
    if done.returncode or not found:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
        raise RuntimeError(f"the compiler failed: {lines[-1].strip() if lines else 'without a word'}")
    return found[0]


def usable(x: Tensor) -> bool:
    """Whether a block with weights in float32 or float64 can run fused on this map, where ``operations`` are there."""
    return (
        x.device.type == "cpu"
        and type(x) is Tensor
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and (_half() if torch.is_autocast_enabled("cpu") else x.dtype in TYPES)
        and torch._C._len_torch_dispatch_stack() == 0  # a counter of operations looks for those that it knows
    )


def _half() -> bool:
    return torch.get_autocast_dtype("cpu") == torch.bfloat16 and bfloat16()


def run(x: Tensor, eps1: float, eps2: float, *parameters: Tensor) -> Tensor:
    """A block: ``usable`` maps (B, C, H, W) -> (B, C, H, W), of the weights' type. ``parameters``: ``FusedBlock``'s.

    Under autocast its products are in bfloat16.
    """
    return FusedBlock.apply(x.to(parameters[0].dtype), eps1, eps2, torch.is_autocast_enabled("cpu"), *parameters)


class FusedBlock(torch.autograd.Function):
    """``apply(x, eps1, eps2, half, *parameters)`` -> the block's output, (B, C, H, W) both, channels last.

    ``parameters``: weight and bias of norm1, conv1, conv2, the channel attention's convolution, conv3, norm2, conv4 and
    conv5, then beta and gamma. ``half``: products in bfloat16. Kept for the backward pass: input, gated map, the map in
    the middle.
    """

    @staticmethod
    def forward(ctx, x: Tensor, eps1: float, eps2: float, half: bool, *parameters: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C), free in channels-last memory
        with torch.autocast("cpu", enabled=False):
            out, *kept = operations().block(x, eps1, eps2, parameters, half)  # (B, H, W, C)
        ctx.save_for_backward(x, *kept, *parameters)
        ctx.eps, ctx.half, ctx.kept = (eps1, eps2), half, 1 + len(kept)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        saved = ctx.saved_tensors  # asked for once: a recomputed block is then computed
        kept, parameters = saved[: ctx.kept], saved[ctx.kept :]
        grad = grad.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        with torch.autocast("cpu", enabled=False):
            of_x, *of_parameters = operations().block_back(grad, *kept, *ctx.eps, parameters, ctx.half)
        return of_x.permute(0, 3, 1, 2), None, None, None, *of_parameters
