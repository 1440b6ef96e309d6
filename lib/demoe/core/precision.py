"""bfloat16 where the processor computes it: emulated, it takes ten to twenty times as long as float32."""

from __future__ import annotations

import os
import time
import warnings
from functools import cache

import torch
from torch import Tensor, nn

X86 = ("avx512_bf16", "amx_bf16")  # as torch.cpu.get_capabilities names the instructions
ELSEWHERE = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # take instructions away from PyTorch


@cache
def native_bfloat16(device: str | torch.device = "cpu") -> bool:
    """Whether ``device`` computes bfloat16 itself. On a CPU its instructions tell; where they do not, a measurement."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    known = _instructions()
    return any(known.values()) if known else slowdown() < 1


def bfloat16_instructions() -> bool:
    """Whether the processor is known to have AVX-512's instructions for products of bfloat16.

    False where a variable of ``ELSEWHERE`` is set, whatever it says.
    """
    return _instructions().get(X86[0], False)


def _instructions() -> dict[str, bool]:
    """Which of ``X86`` the processor has; nothing where PyTorch does not say, or was told to leave some alone."""
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # from PyTorch 2.10 on
    if X86[0] not in has or any(name in os.environ for name in ELSEWHERE):
        return {}
    return {name: has[name] for name in X86}


@cache
def slowdown() -> float:
    """How many times as long as in float32 a 1x1 convolution takes this processor in bfloat16; takes 0.1 s."""

    def seconds(dtype: torch.dtype) -> float:
        x: Tensor = torch.rand(1, 32, 96, 96).to(dtype, memory_format=torch.channels_last)
        layer, taken = nn.Conv2d(32, 64, 1).to(dtype), []
        for _ in range(5):  # the first one prepares
            began = time.perf_counter()
            layer(x)
            taken.append(time.perf_counter() - began)
        return min(taken)

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        return seconds(torch.bfloat16) / seconds(torch.float32)


@cache
def warn_of_emulation(device: str) -> None:
    """Warns, once a process, who asks for bfloat16 on a processor that has none, and says what it costs."""
    if device == "cpu" and not native_bfloat16(device):
        warnings.warn(
            f"this processor emulates bfloat16: it takes about {slowdown():.0f} times as long as float32, which is "
            "what you get without bf16.",
            stacklevel=3,
        )
