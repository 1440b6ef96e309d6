"""A trained DeMoE or NAFNet as one file for other programs: a ``torch.export`` program (.pt2) or ONNX (.onnx).

The file's network takes ``image`` (B, 3, H, W) float32 in [0, 1], any batch and any H, W > 2^levels (17 for the
paper's network), and returns ``restored`` of the same shape, not clamped; with the router inside also ``weights``
(B, N), what mixed the experts. The axes are called batch, height and width. What the network is, and where it is from,
stands in the file's metadata: as JSON in ONNX's ``metadata_props``, in ``demoe.json`` of a .pt2.

Nothing in an exported program may depend on values but what ``torch.cond`` decides. So with k=1 the chosen experts'
weights are gathered by the router's index: where all images of the batch agree, one block runs on them, else one with
weights of its own for each image. With more experts all run and are summed under the router's weights, those left out
with weight zero.
Padding to a multiple of 2^levels is written with ceil(H / 2^levels) as the one unknown, so that the exporter can prove
that skips and upsampled maps have the same size.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core import __version__
from demoe.core.files import first_line, write_bytes
from demoe.core.tasks import EXPERTS, expert_index
from demoe.models import tlc
from demoe.models.demoe import DeMoE, chosen_experts
from demoe.models.layers import NAFBlock, UNet, normalise
from demoe.models.moe import MoEBlock, fused, top_k_weights
from demoe.models.nafnet import NAFNet
from demoe.models.outputs import experts_of

SUFFIXES = (".pt2", ".onnx")
AXES = {0: "batch", 2: "height", 3: "width"}  # of a picture


class Exportable(nn.Module):
    """The network as it is exported, with the choice of experts fixed (``expert``) or left to the router (``k``)."""

    def __init__(self, model: DeMoE | NAFNet, expert: str | None = None, k: int | None = 1):
        super().__init__()
        if tlc.windows(model):
            raise ValueError("a network with TLC cannot be exported: its averages are local; export the plain network")
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
        padded = _cut(F.pad(image, (0, unit, 0, unit)), unit * rows, unit * columns)  # (B, 3, H', W')
        y, skips = self.net.encode(padded)
        weights = torch.ones(1)
        if self.routed:
            weights = top_k_weights(F.softmax(self.net.mlp_branch(y), dim=1), self.k)  # (B, N)
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
            self.eps = moe.experts[0].norm1.eps
            self.experts = nn.ModuleList()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        if self.fixed:
            mixed = self.experts[0](x)
        elif self.stacked:
            chosen = weights.argmax(1)  # (B,)
            gathered = [self.stacked[short].index_select(0, chosen) for short in self.names]  # (B, ...)
            agree = (chosen == chosen[:1]).all()
            if torch.compiler.is_compiling():
                mixed = torch.cond(agree, self._agreed, self._each, (x, *gathered))
            else:
                mixed = (self._agreed if agree else self._each)(x, *gathered)
        else:
            mixed = sum(weights[:, i].view(-1, 1, 1, 1) * expert(x) for i, expert in enumerate(self.experts))
        return fused(self.fusion, x, mixed)

    def _agreed(self, x: Tensor, *gathered: Tensor) -> Tensor:
        """All images with the weights of the first one's expert."""
        state = dict(zip(self.names.values(), (value[:1] for value in gathered), strict=True))  # (1, ...)

        def product(name: str, x: Tensor) -> Tensor:
            return F.conv2d(x, state[f"{name}.weight"][0], state[f"{name}.bias"][0])

        def around(x: Tensor) -> Tensor:
            return F.conv2d(x, state["conv2.weight"][0], state["conv2.bias"][0], padding=1, groups=x.shape[1])

        return _block(x, state, product, around, self.eps)

    def _each(self, x: Tensor, *gathered: Tensor) -> Tensor:
        """Each image with weights of its own, which no convolution takes: those of 1x1 are matrix products, image by
        image, and the depth-wise one is the sum of nine shifted pictures."""
        state = dict(zip(self.names.values(), gathered, strict=True))  # (B, ...)

        def product(name: str, x: Tensor) -> Tensor:
            weight, bias = state[f"{name}.weight"].flatten(2), state[f"{name}.bias"]  # (B, O, I), (B, O)
            return torch.baddbmm(bias[:, :, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])  # (B, O, H, W)

        def around(x: Tensor) -> Tensor:
            window, (height, width) = state["conv2.weight"], x.shape[2:]  # (B, 2C, 1, 3, 3)
            wide, places = F.pad(x, (1, 1, 1, 1)), [(i, j) for i in range(3) for j in range(3)]
            parts = (wide.narrow(2, i, height).narrow(3, j, width) * window[:, :, :, i, j, None] for i, j in places)
            return state["conv2.bias"][:, :, None, None] + sum(parts)

        return _block(x, state, product, around, self.eps)


def _block(
    x: Tensor,
    state: Mapping[str, Tensor],
    product: Callable[[str, Tensor], Tensor],
    around: Callable[[Tensor], Tensor],
    eps: float,
) -> Tensor:
    """A NAFBlock (B, C, H, W) -> (B, C, H, W) whose weights, in ``state``, have images before all else; ``product`` is
    its 1x1 convolutions by name, ``around`` the depth-wise one."""

    def norm(name: str, x: Tensor) -> Tensor:
        scale, shift = (state[f"{name}.{part}"][:, :, None, None] for part in ("weight", "bias"))  # (B, C, 1, 1)
        return normalise(x, eps) * scale + shift

    def gate(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second

    y = gate(around(product("conv1", norm("norm1", x))))  # (B, C, H, W)
    y = y * product("sca.1", y.mean((2, 3), keepdim=True))
    x = x + product("conv3", y) * state["beta"].squeeze(1)
    y = gate(product("conv4", norm("norm2", x)))
    return x + product("conv5", y) * state["gamma"].squeeze(1)


def description(model: DeMoE | NAFNet, expert: str | None, k: int | None, origin: Mapping | None = None) -> dict:
    """What a file says of its network, as plain values: names of the experts, sizes, range of values, origin."""
    count = experts_of(model)
    names = EXPERTS if count == len(EXPERTS) else [f"expert_{number}" for number in range(count)]
    return {
        "network": type(model).__name__,
        "config": asdict(model.config),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "experts": list(names),
        "expert": expert or ("router" if count else None),
        "k": None if expert or not count else k,
        "input": "image: (batch, 3, height, width) float32, RGB in [0, 1]; "
        f"height and width above {2 ** len(model.encoders)}",
        "output": "restored: as the input, not clamped" + "; weights: (batch, experts)" * (bool(count) and not expert),
        "demoe_version": __version__,
        "provenance": dict(origin or {}),
    }


def export(
    model: DeMoE | NAFNet,
    path: str | os.PathLike,
    *,
    expert: str | None = None,
    k: int | None = 1,
    origin: Mapping | None = None,
) -> Path:
    """Write ``model`` to ``path``, .pt2 or .onnx, and return the path. The file appears whole or not at all.

    ``expert``: this one is fixed in the file; None or "auto" puts the router inside, with the ``k`` best experts (None:
    all, softly). ``origin``: where the network is from (``checkpoints.provenance``), for the file's metadata. Raises
    ``ValueError`` for another suffix, network, expert or ``k``, ``RuntimeError`` if the packages for ONNX are missing
    or the network cannot be exported.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: choose a name that ends in {' or '.join(SUFFIXES)}")
    if not isinstance(model, UNet):
        raise ValueError(f"{type(model).__name__} cannot be exported: only DeMoE and NAFNet can")
    onnx = path.suffix.lower() == ".onnx"
    missing = [name for name in ("onnx", "onnxscript") if onnx and importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"ONNX needs the package {' and '.join(missing)}: pip install 'demoe[export]'")
    expert = None if expert == "auto" else expert
    network = Exportable(model, expert, k).cpu().float()
    about = description(model, expert and EXPERTS[expert_index(expert)], k, origin)
    example = torch.rand(2, 3, 67, 83)
    least = 2 ** len(model.encoders) + 1  # a side of one pixel in the last level would be compiled as a special case
    sides = {axis: torch.export.Dim(name, min=least if axis else 1) for axis, name in AXES.items()}
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
                file.write(_named(program.model_proto, about).SerializeToString())
            else:
                torch.export.save(program, file, extra_files={"demoe.json": json.dumps(about)})
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the exporters' own kinds
        first = first_line(error)
        raise RuntimeError(f"{path}: this {type(model).__name__} cannot be exported: {first}") from error
    write_bytes(path, file.getvalue())
    return path


def _named(model, about: Mapping):
    """The ONNX ``model`` with its axes named instead of numbered, and with its description."""
    from onnx import helper  # an extra

    (image,) = model.graph.input
    found = {image.type.tensor_type.shape.dim[axis].dim_param: name for axis, name in AXES.items()}
    symbol = re.compile(rf"\b({'|'.join(map(re.escape, found))})\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = symbol.sub(lambda match: found[match[1]], side.dim_param)
    helper.set_model_props(
        model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    )
    model.producer_name, model.producer_version = "demoe", __version__
    return model
