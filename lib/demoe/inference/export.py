"""A trained DeMoE or NAFNet as one file for other programs: a ``torch.export`` program (.pt2) or ONNX (.onnx).

The file's network takes ``image`` (1, 3, H, W) float32 in [0, 1], any H, W > 2^levels (17 for the
paper's network), and returns ``restored`` of the same shape, not clamped; with the router inside also ``weights``
(1, N), what mixed the experts.

Nothing in an exported program may depend on values, so with k=1 the chosen expert's weights are gathered by the
router's index; with more experts all run and are summed under the router's weights, those left out with weight zero.
Padding to a multiple of 2^levels is written with ceil(H / 2^levels) as the one unknown, so that the exporter can prove
that skips and upsampled maps have the same size.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import os
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core.files import first_line, write_bytes
from demoe.models.demoe import DeMoE, chosen_experts
from demoe.models.layers import NAFBlock, UNet
from demoe.models.moe import MoEBlock, fused, top_k_weights
from demoe.models.nafnet import NAFNet
from demoe.models.outputs import experts_of

SUFFIXES = (".pt2", ".onnx")


class Exportable(nn.Module):
    """The network as it is exported, with the choice of experts fixed (``expert``) or left to the router (``k``)."""

    def __init__(self, model: DeMoE | NAFNet, expert: str | None = None, k: int | None = 1):
        super().__init__()
        self.routed = experts_of(model) > 0 and expert is None
        self.k = k
        self.net = copy.deepcopy(model).eval().requires_grad_(False)
        if experts_of(model):
            index = None if expert is None else chosen_experts(expert, 1, model.num_experts)[0]
            if index is None and k is not None and not 1 <= k <= model.num_experts:
                raise ValueError(f"k must be between 1 and {model.num_experts}, got {k}")
            self.net.experts = nn.ModuleList(_Mixture(moe, index, k) for moe in self.net.experts)
        elif expert is not None:
            raise ValueError(f"{type(model).__name__} has no experts to choose from: leave the expert out")

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        unit = 2 ** len(self.net.encoders)
        height, width = image.shape[-2:]
        rows, columns = (height + unit - 1) // unit, (width + unit - 1) // unit
        # Always a whole unit more and then cut: an amount of padding that may be zero would be a case distinction.
        padded = _cut(F.pad(image, (0, unit, 0, unit)), unit * rows, unit * columns)  # (1, 3, H', W')
        y, skips = self.net.encode(padded)
        weights = torch.ones(1)
        if self.routed:
            weights = top_k_weights(F.softmax(self.net.mlp_branch(y), dim=1), self.k)  # (1, N)
        restored = _cut(self.net.decode(y, skips, weights) + padded, height, width)
        return (restored, weights) if self.routed else restored


def _cut(x: Tensor, height: int, width: int) -> Tensor:
    """The top left part, copied: whether a slice is contiguous would be another case distinction."""
    return x.index_select(2, torch.arange(height)).index_select(3, torch.arange(width))


class _Mixture(nn.Module):
    """A MoEBlock without decisions on the host: one expert, the router's best one gathered, or all under weights."""

    def __init__(self, moe: MoEBlock, index: int | None, k: int | None):
        super().__init__()
        self.fusion = moe.fusion
        self.experts = moe.experts if index is None else nn.ModuleList([moe.experts[index]])
        self.fixed = index is not None
        self.stacked = nn.ParameterDict()
        if index is None and k == 1 and all(isinstance(expert, NAFBlock) for expert in moe.experts):
            state = torch.func.stack_module_state(list(moe.experts))[0]  # (N, ...)
            self.names = {name.replace(".", "_"): name for name in state}
            self.stacked.update({short: state[name].detach() for short, name in self.names.items()})
            self.experts = nn.ModuleList([moe.experts[0]])  # its shape; its weights are replaced

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        if self.fixed:
            mixed = self.experts[0](x)
        elif self.stacked:
            chosen = weights.argmax(1)  # (1,)
            state = {name: self.stacked[short].index_select(0, chosen).squeeze(0) for short, name in self.names.items()}
            mixed = torch.func.functional_call(self.experts[0], state, (x,))
        else:
            mixed = sum(weights[:, i].view(-1, 1, 1, 1) * expert(x) for i, expert in enumerate(self.experts))
        return fused(self.fusion, x, mixed)


def export(model: DeMoE | NAFNet, path: str | os.PathLike, *, expert: str | None = None, k: int | None = 1) -> Path:
    """Write ``model`` to ``path``, .pt2 or .onnx, and return the path. The file appears whole or not at all.

    ``expert``: this one is fixed in the file; None or "auto" puts the router inside, with the ``k`` best experts (None:
    all, softly). Raises ``ValueError`` for another suffix, network, expert or ``k``, ``RuntimeError`` if the packages
    for ONNX are missing or the network cannot be exported.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: choose a name that ends in {' or '.join(SUFFIXES)}")
    if not isinstance(model, UNet):
        raise ValueError(f"{type(model).__name__} cannot be exported: only DeMoE and NAFNet can")
    onnx = path.suffix.lower() == ".onnx"
    missing = [name for name in ("onnx", "onnxscript") if onnx and importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"ONNX needs the package {' and '.join(missing)}: pip install 'demoe[onnx]'")
    network = Exportable(model, None if expert == "auto" else expert, k).cpu().float()
    example = torch.rand(1, 3, 67, 83)
    least = 2 ** len(model.encoders) + 1  # a side of one pixel in the last level would be compiled as a special case
    sides = {2: torch.export.Dim("height", min=least), 3: torch.export.Dim("width", min=least)}
    file = io.BytesIO()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                network, (example,), dynamic_shapes=(sides,), prefer_deferred_runtime_asserts_over_guards=True
            )
            if onnx:
                names = ["restored", "weights"] if network.routed else ["restored"]
                program = torch.onnx.export(
                    program, (), input_names=["image"], output_names=names, dynamo=True, verbose=False
                )
                file.write(program.model_proto.SerializeToString())
            else:
                torch.export.save(program, file)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the exporters' own kinds
        first = first_line(error)
        raise RuntimeError(f"{path}: this {type(model).__name__} cannot be exported: {first}") from error
    write_bytes(path, file.getvalue())
    return path
