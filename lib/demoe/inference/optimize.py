"""``demoe.optimize``: the same network, faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from demoe.core.precision import warn_of_emulation
from demoe.models.demoe import DeMoE
from demoe.models.inputs import check_pictures
from demoe.models.nafnet import NAFNet
from demoe.models.outputs import Restored

from . import strips
from .fold import fold_network, foldable_network, made, versions
from .gpu_forward import gatherable

TYPES = (torch.float32, torch.bfloat16)
PATIENCE = 20  # pictures of a size before a minute goes into compiling for them, where nobody asked for it; our choice


class OptimizedNetwork:
    """A network for inference alone, called as the model it was made of; no gradients pass through it.

    (B, 3, H, W) in [0, 1], any H, W >= 1, on the model's device -> ``Restored``, the image in the type that was given.
    ``expert`` and ``k`` are those of ``DeMoE``. Everything is copied: later changes of the
    model are not seen. Raises ``ValueError`` for another shape, an expert that is not there and a wrong
    ``k``, ``TypeError`` for what is no floating-point tensor.

    ``network`` is the folded network on a CPU, a NAFNet or DeMoE itself; None on a GPU. ``fused`` is ``GpuRunner``'s.
    """

    def __init__(self, model: NAFNet | DeMoE, dtype: torch.dtype, patience: int = 2, fused: bool = False):
        self.config, self.dtype = model.config, dtype
        self.device = model.intro.weight.device
        self.num_experts = model.num_experts
        self.network: NAFNet | DeMoE | None = None
        self._run: Callable[..., Restored]
        if self.device.type == "cuda":
            from .gpu_runner import GpuRunner  # torch.compile is slow to import

            self._run = GpuRunner(model, dtype, patience=patience, fused=fused)
        else:
            self.network = network = fold_network(model, dtype, share=False)
            self._run = lambda x, expert, k: strips.forward(network, x, expert, k)

    def __call__(self, x: Tensor, expert: str | Sequence[str | None] | None = None, k: int | None = 1) -> Restored:
        check_pictures(x, values=self.device.type == "cpu")  # a GPU would have to be waited for
        if expert is not None and not self.num_experts:
            raise ValueError("NAFNet has no experts to choose from: leave the expert out")
        return self._run(x, expert, k)


def optimize(model: nn.Module, dtype: torch.dtype = torch.float32, fused: bool = False) -> OptimizedNetwork | nn.Module:
    """The network for inference: on a CPU folded and in strips (``strips``), on a GPU compiled (``gpu_runner``).

    The model stays as it is, and so does the copy that is made of it here. In float32 the result is the model's in
    evaluation mode, to rounding. ``dtype`` may be ``torch.bfloat16``: in half the memory, above 50 dB from float32, and
    faster where the processor has it, which a warning denies elsewhere; averages, the router and the picture stay in
    float32. ``fused``: on a GPU, blocks by our own Triton
    kernels, which so far have only been compared on a CPU; not by default.

    Other networks come back as they are, and so do those with local statistics (TLC) and, on a GPU, with experts other
    than NAFBlocks. Raises ``ValueError`` for another ``dtype``, and ``RuntimeError`` for ``fused`` without Triton or a
    GPU.
    """
    if dtype not in TYPES:
        raise ValueError(f"cannot optimize for {dtype}: choose torch.float32 or torch.bfloat16")
    if not foldable_network(model):
        return model
    device = model.intro.weight.device
    if fused and device.type != "cuda":
        raise RuntimeError(f"fused kernels need a GPU, and the network is on {device}: leave out fused=True")
    if device.type == "cuda" and not gatherable(model):
        return model
    if dtype == torch.bfloat16:
        warn_of_emulation(device.type)
    return OptimizedNetwork(model, dtype, fused=fused)


def on_gpu(model: nn.Module, dtype: torch.dtype | None = None) -> OptimizedNetwork | None:
    """The optimized network of one that is on a GPU, kept until a weight changes; None where there can be none.

    For callers that were given ``model`` and may see few pictures: it is compiled later than by ``optimize``.
    """
    if not gatherable(model) or model.intro.weight.device.type != "cuda" or versions(model) is None:
        return None
    return made(model, OptimizedNetwork, dtype or model.intro.weight.dtype, PATIENCE)
