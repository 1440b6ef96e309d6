"""Running the gathered network on a GPU: compiled for the sizes that come again, and replayed as a CUDA graph.

At 256 x 256 a GPU waits for the host, which needs longer to start the hundreds of kernels of a forward pass than they
take to run. Compilation merges them; a CUDA graph starts all with one call. The speeds of the paper are those of eager
code; all this is our choice.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from demoe.core.files import first_line
from demoe.models.demoe import DeMoE, chosen_experts
from demoe.models.nafnet import NAFNet
from demoe.models.outputs import Restored

from .gpu_forward import GatheredNetwork, Ways
from .strip_operations import without_tf32

INDUCTOR = {"split_reductions": False}  # one kernel a sum: at most a few hundred rows are left to add up
RECOMPILES = 64  # sizes compiled at most; PyTorch's own limit is eight
GRAPH_PIXELS = 1 << 22  # of a batch: beyond, kernels outlast their start, and a graph would only hold memory
# TF32 is switched for the whole process, and only one graph may be captured at a time in it.
_LOCK = threading.Lock()


@dataclass
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, Tensor | None]  # what a replay reads
    result: Restored  # what it writes


def fused_ways() -> Ways:
    """The Triton kernels as a way to compute a ``GatheredNetwork``. Raises ``RuntimeError`` without Triton."""
    try:
        from . import triton_blocks  # Triton is not everywhere
    except ImportError as error:
        raise RuntimeError(f"fused kernels need Triton, which is not here ({error}): leave out fused=True") from error
    return triton_blocks.WAYS


class GpuRunner:
    """A network on one device, called with (B, 3, H, W) in [0, 1] on that device -> ``Restored``.

    ``expert`` and ``k`` are those of ``DeMoE``; a NAFNet takes neither. The network is copied: later changes of
    ``model`` are not seen. Float32 is exact to rounding (TF32 is off inside), ``dtype=torch.bfloat16`` computes in
    that type; the image keeps the input's. No gradients.

    The first ``patience`` batches of a size run eagerly, for compiling takes a minute a size. ``backend``: that of
    ``torch.compile``, ``None`` for none; if it fails, or a graph does, one warning, and all goes on without.
    ``fused``: blocks by our own Triton kernels (``fused``), which were counted and compared on a CPU alone so far.
    ``graphs``: how many sizes keep a CUDA graph, the latest used; batches of more than ``graph_pixels`` never have one,
    nor do sizes for which memory ran out, and on a CPU there are none. Calls from several threads and streams wait for
    each other. Raises ``ValueError`` for a network that ``gpu_forward.gatherable`` refuses, an unknown
    expert, a wrong ``k``, a picture on another device, and ``RuntimeError`` for ``fused`` without Triton or a GPU.
    """

    def __init__(
        self,
        model: DeMoE | NAFNet,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        *,
        backend: str | None = "inductor",
        patience: int = 2,
        graphs: int = 4,
        graph_pixels: int = GRAPH_PIXELS,
        fused: bool = False,
    ):
        with torch.inference_mode(False):
            self.network = GatheredNetwork(model, dtype, fused_ways() if fused else None).eval()
        if device is not None:
            self.network.to(device)
        self.device = next(self.network.buffers()).device
        if fused:
            from .triton_blocks import check  # here Triton is there

            check(self.device)
        self.experts = model.num_experts
        self.patience, self.graphs, self.graph_pixels = patience, graphs, graph_pixels
        self._seen: Counter[tuple] = Counter()
        self._kept: OrderedDict[tuple, _Graph] = OrderedDict()
        self._pool = None  # graphs run one after another: they may share their memory
        self._stream: torch.cuda.Stream | None = None  # graphs that share memory are captured on one stream
        self._done: torch.cuda.Event | None = None  # the latest replay's results have been copied
        self._compiled: Callable | None = None
        if backend is not None:
            options = INDUCTOR if backend == "inductor" else None
            self._compiled = torch.compile(
                self.network, backend=backend, fullgraph=True, dynamic=False, options=options
            )

    def __call__(self, x: Tensor, expert: str | Sequence[str | None] | None = None, k: int | None = 1) -> Restored:
        if x.device != self.device:
            raise ValueError(f"the picture is on {x.device}, the network on {self.device}: move one to the other")
        if k is not None and self.experts and not 1 <= k <= self.experts:
            raise ValueError(f"k must be between 1 and {self.experts}, got {k}")
        here = torch.cuda.device(self.device) if x.is_cuda else nullcontext()
        as_asked = torch.autocast(x.device.type, enabled=False)  # in ``dtype``, whatever the caller's surroundings
        # What a graph reads and writes is used again in later calls, which inference mode would forbid.
        with _LOCK, torch.inference_mode(False), torch.no_grad(), here, without_tf32(), as_asked:
            x = x.clone() if x.is_inference() else x
            index = self._index(expert, len(x)) if self.experts else None
            key = (tuple(x.shape), x.dtype, k)
            self._seen[key] += 1
            if self._seen[key] <= self.patience:
                return self.network(x, index, k)
            if x.is_cuda and self.graphs and x.shape[0] * x.shape[2] * x.shape[3] <= self.graph_pixels:
                return self._replayed(key, x, index, k)
            return self._forward(x, index, k)

    def _index(self, expert: str | Sequence[str | None] | None, batch: int) -> Tensor:
        """Experts by number, -1 for the router's choice, int64 (B) on the device; the host does not wait for it."""
        numbers = chosen_experts(expert, batch, self.experts)
        if len(set(numbers)) == 1:
            return torch.full((batch,), numbers[0], device=self.device)
        index = torch.tensor(numbers)
        return index.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else index

    def _forward(self, x: Tensor, index: Tensor | None, k: int | None) -> Restored:
        if self._compiled is None:
            return self.network(x, index, k)
        try:
            with torch._dynamo.config.patch(cache_size_limit=RECOMPILES):
                return self._compiled(x, index, k, taps=True)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            _warn("the network could not be compiled, so it runs slower from here on", error)
            self._compiled = None
            return self.network(x, index, k)

    def _replayed(self, key: tuple, x: Tensor, index: Tensor | None, k: int | None) -> Restored:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._captured(x, index, k)
            if kept is None:
                return self.network(x, index, k) if self.graphs else self._forward(x, index, k)
            self._kept[key] = kept
            while len(self._kept) > self.graphs:
                self._wait()
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        stream = torch.cuda.current_stream(self.device)
        if self._done is not None:  # a call from another stream may still read what this one writes
            stream.wait_event(self._done)
        kept.inputs[0].copy_(x)
        if index is not None:
            kept.inputs[1].copy_(index)
        kept.graph.replay()
        result = Restored(*(None if part is None else part.clone() for part in kept.result))
        self._done = stream.record_event()
        return result

    def _captured(self, x: Tensor, index: Tensor | None, k: int | None) -> _Graph | None:
        """A new graph, or None where there can be none: too little memory for this size, or no graphs at all."""
        try:
            return self._capture(x, index, k)
        except RuntimeError as error:
            # Memory that runs out within a capture also makes its end fail, and that is the error seen here.
            full = any(isinstance(one, torch.OutOfMemoryError) for one in (error, error.__context__))
            if not full:
                _warn("no CUDA graph could be captured, so small pictures take longer from here on", error)
                self.graphs = 0
        if full:  # here, where the error no longer holds the maps of the failed attempt
            self.graph_pixels = x.shape[0] * x.shape[2] * x.shape[3] - 1
            self._wait()
            self._kept.clear()
            self._pool = None
            torch.cuda.empty_cache()
        return None

    def _wait(self) -> None:
        """Until no graph runs: its memory can then be given to others."""
        if self._done is not None:
            self._done.synchronize()

    def _capture(self, x: Tensor, index: Tensor | None, k: int | None) -> _Graph:
        inputs = (x.clone(), None if index is None else index.clone())
        current = torch.cuda.current_stream(self.device)
        self._stream = self._stream or torch.cuda.Stream(self.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):  # libraries prepare themselves in first runs, which a graph cannot hold
            for _ in range(3):
                self._forward(*inputs, k)
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = self._forward(*inputs, k)
        self._pool = graph.pool()
        return _Graph(graph, inputs, result)


def _warn(what: str, error: Exception) -> None:
    warnings.warn(f"{what}: {first_line(error)}", stacklevel=6)
