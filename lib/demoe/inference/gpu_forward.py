"""The whole network as one forward pass that never asks the host anything: what a GPU wants.

The plain DeMoE tells the host which experts run, and the host waits for the device to do so. Here the folded weights of
all experts of all levels lie in one buffer, a row an expert; the rows chosen are gathered on the device, and each image
is multiplied by its own. No data-dependent shape, no synchronisation: it can be captured in a CUDA graph, compiled
whole and exported. All blocks are folded (see ``fold``); features are (B, H, W, C) throughout. The authors' release
loops over experts with masks; this formulation is our choice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from demoe.models.demoe import DeMoE
from demoe.models.layers import pad_to_multiple
from demoe.models.moe import Router, fused, stackable, top_k_weights
from demoe.models.nafnet import NAFNet
from demoe.models.outputs import Restored

from .fold import FoldedBlock, foldable_network, gate


class Convolution(nn.Module):
    """A convolution of channels-last features: (B, H, W, I) -> (B, H', W', O)."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.register_buffer("weight", conv.weight.detach().clone(memory_format=torch.channels_last))
        self.register_buffer("bias", conv.bias.detach().clone())
        self.stride, self.padding = conv.stride, conv.padding

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, self.stride, self.padding)
        return y.permute(0, 2, 3, 1)


class Up(nn.Module):
    """A 1x1 convolution and PixelShuffle(2): (B, H, W, C) -> (B, 2H, 2W, C/2)."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        weight = conv.weight.detach().flatten(1).unflatten(0, (-1, 2, 2))  # (C/2, 2, 2, C), as the shuffle orders them
        self.register_buffer("weight", weight.permute(1, 2, 0, 3).flatten(0, 2).contiguous())  # (2, 2, C/2) x C

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight).unflatten(3, (2, 2, -1))  # (B, H, W, 2, 2, C/2)
        return y.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)


class FoldedRouter(nn.Module):
    """The router with its batch norms folded into what is before them: (B, H, W, C) -> (B, N), float32."""

    def __init__(self, router: Router):
        super().__init__()
        exact, dtype = copy.deepcopy(router).double().eval(), router.attention[0].weight.dtype
        layers = {
            "bottleneck": fuse_conv_bn_eval(*exact.conv_bottleneck[:2]),
            "attention": exact.attention[0],
            "hidden": fuse_linear_bn_eval(*exact.classifier[2:4]),
            "classes": exact.classifier[6],
        }
        for name, layer in layers.items():
            self.register_buffer(name, layer.weight.detach().flatten(1).to(dtype))  # (O, I)
            self.register_buffer(name + "_bias", layer.bias.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x.to(self.bottleneck.dtype), self.bottleneck, self.bottleneck_bias).relu()  # (B, H, W, 256)
        x = x * torch.sigmoid((x * self.attention[0]).sum(3, keepdim=True) + self.attention_bias)
        x = F.linear(x.mean(2).mean(1), self.hidden, self.hidden_bias).relu()  # (B, 128)
        return F.linear(x, self.classes, self.classes_bias).float()  # (B, N)


def gatherable(model: nn.Module) -> TypeGuard[NAFNet | DeMoE]:
    """Whether ``GatheredNetwork`` can take this network: NAFBlocks everywhere, averages over the whole picture."""
    if not foldable_network(model):
        return False
    blocks = [block for stage in (*model.encoders, model.middle_blks, *model.decoders) for block in stage]
    if type(model) is DeMoE:
        blocks += [expert for moe in model.experts for expert in moe.experts]
    return stackable(blocks) and (model.mlp_branch is None or type(model.mlp_branch) is Router)


class GatheredNetwork(nn.Module):
    """A folded copy of a DeMoE or NAFNet in evaluation mode. It has no parameters, only buffers.

    forward: (B, 3, H, W) in [0, 1], any H, W >= 1 -> ``Restored``; the image has the input's type, logits and weights
    are float32. ``expert``: int64 (B), the number of the expert each image is to take, -1 for the router's choice;
    ``None`` leaves all to the router. ``k``: experts mixed an image, fixed when the network
    is compiled or exported; ``None`` mixes all with the router's own softmax.

    ``taps``: depth-wise convolutions written as nine shifted products, which a compiler merges with what is around
    them; run eagerly, the library's convolution is faster.

    ``dtype``: the type to compute in, the model's if ``None``; the router and what reads or writes the picture keep
    their own, and averages over a picture are in float32 at least. ``ways``: how blocks and what
    stands between them are computed, ``PLAIN`` unless given. Raises ``ValueError`` for a network that ``gatherable``
    refuses.
    """

    def __init__(self, model: DeMoE | NAFNet, dtype: torch.dtype | None = None, ways: Ways | None = None):
        super().__init__()
        if not gatherable(model):
            raise ValueError(f"{type(model).__name__} cannot be gathered: only networks of plain NAFBlocks can")
        self._ways = ways or PLAIN
        self.fused = self._ways is not PLAIN
        self.levels = len(model.encoders)
        self.register_buffer("packed", None)
        with torch.no_grad():
            self.encoders = nn.ModuleList(_folded(stage) for stage in model.encoders)
            self.middle = _folded(model.middle_blks)
            self.decoders = nn.ModuleList(_folded(stage) for stage in model.decoders)
            self.intro, self.ending = Convolution(model.intro), Convolution(model.ending)
            self.downs = nn.ModuleList(Convolution(down) for down in model.downs)
            self.ups = nn.ModuleList(Up(up[0]) for up in model.ups)
            self.router = None if model.mlp_branch is None else FoldedRouter(model.mlp_branch)
            if model.num_experts:
                self._pack(model)
        self.dtype = dtype or model.intro.weight.dtype
        for part in (self.encoders, self.middle, self.decoders, self.downs, self.ups):
            part.to(self.dtype)
        if self.packed is not None:
            self.packed = self.packed.to(self.dtype)

    def _pack(self, model: DeMoE) -> None:
        """All experts' weights in ``packed`` (N, P): row n is expert n of every MoEBlock, one after another."""
        self.fusion, self.per_level = model.experts[0].fusion, model.config.moe_per_level
        rows, self.shapes = [], []
        for i in range(model.config.num_experts):
            experts = [_Weights.of(FoldedBlock(moe.experts[i])) for moe in model.experts]
            rows.append(torch.cat([w.flatten() for expert in experts for w in expert]))
            self.shapes = [[w.shape[1:] for w in expert] for expert in experts]
        self.epsilons = [moe.experts[0].norm1.eps for moe in model.experts]
        self.packed = torch.stack(rows)

    def forward(self, x: Tensor, expert: Tensor | None = None, k: int | None = 1, taps: bool = False) -> Restored:
        height, width = x.shape[-2:]
        run = partial(self._ways.block, taps=taps)
        padded = pad_to_multiple(x, 2**self.levels)  # (B, 3, H', W')
        y = self.intro(padded.to(self.intro.weight.dtype).permute(0, 2, 3, 1).contiguous()).to(self.dtype)
        # (B, H', W', C)
        skips = []
        for stage, down in zip(self.encoders, self.downs, strict=True):
            y = _run(stage, y, run)
            skips.append(y)
            y = self._ways.down(down, y)  # (B, H'/2, W'/2, 2C) a level
        logits = None if self.router is None else self.router(y)  # (B, N)
        weights, mixers = None, iter(())
        if self.packed is not None:
            weights = _gate(logits, expert, k)  # (B, N)
            mixers = self._mixers(weights, k)
        y = self._mix(_run(self.middle, y, run), mixers, run)
        for stage, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            y = self._mix(_run(stage, self._ways.up(up, y, skip), run), mixers, run)  # (B, 2H, 2W, C/2) a level
        y = self.ending(y.to(self.ending.weight.dtype)).permute(0, 3, 1, 2)  # (B, 3, H', W')
        image = (y.to(x.dtype) + padded)[..., :height, :width]  # (B, 3, H, W)
        return Restored(image, logits, weights)

    def _mixers(self, weights: Tensor, k: int | None) -> Iterator[tuple[_Weights, Tensor | None, Tensor, float]]:
        """For each MoEBlock the weights (G, ...), which of them (B*k), the shares (B, k) and the norms' eps.

        The chosen experts' weights alone, and so ``None`` for which; fused kernels find theirs among all.
        """
        count = weights.shape[1]
        if self.fused:  # the same but for the order of equals; of a sort, the compiler would make a copy a kernel
            chosen = weights.topk(count if k is None else k, dim=1).indices  # (B, k)
        else:
            chosen = weights.argsort(dim=1, descending=True, stable=True)[:, : count if k is None else k]
        shares = weights.gather(1, chosen)
        packed, rows = self.packed, chosen.flatten()
        if not self.fused:
            packed, rows = packed.index_select(0, rows), None  # (B*k, P): the one gather
        parts = iter(packed.split([shape.numel() for shapes in self.shapes for shape in shapes], dim=1))
        for shapes, eps in zip(self.shapes, self.epsilons, strict=True):
            yield _Weights(*(next(parts).unflatten(1, shape) for shape in shapes)), rows, shares, eps

    def _mix(self, x: Tensor, mixers: Iterator, run: Run) -> Tensor:
        """The MoEBlocks of one level: (B, H, W, C) -> the same; a NAFNet has none."""
        for _ in range(self.per_level if self.packed is not None else 0):
            weights, rows, shares, eps = next(mixers)
            batch, k = shares.shape
            repeated = x.unsqueeze(1).expand(-1, k, -1, -1, -1).flatten(0, 1)  # (B*k, H, W, C)
            y = run(repeated, weights, eps, rows)  # (B*k, H, W, C)
            if k > 1:  # else all of it is this expert's
                y = y.unflatten(0, (batch, k))
                y = (y * shares.to(y.dtype).view(batch, k, 1, 1, 1)).sum(dim=1)  # (B, H, W, C)
            x = fused(self.fusion, x, y)
        return x


class _Weights(NamedTuple):
    """One folded block an image, (G, ...) each: G is 1 where all images share it, else the number of images."""

    w1: Tensor  # (G, C, 2C): 1x1 convolutions are (in, out) here
    b1: Tensor  # (G, 2C)
    w2: Tensor  # (G, 3, 3, 2C)
    b2: Tensor
    ws: Tensor  # (G, C, C), but this one is (out, in): the product is a sum over rows
    bs: Tensor
    w3: Tensor  # (G, C, C)
    b3: Tensor
    w4: Tensor  # (G, C, 2C)
    b4: Tensor
    w5: Tensor  # (G, C, C)
    b5: Tensor

    @classmethod
    def of(cls, folded: FoldedBlock) -> _Weights:
        def arranged(name: str, value: Tensor) -> Tensor:
            if name == "w2":
                value = value.permute(1, 2, 3, 0).squeeze(0)  # (3, 3, 2C)
            elif name.startswith("w"):
                value = value.flatten(1) if name == "ws" else value.flatten(1).t()
            return value.unsqueeze(0).contiguous()

        return cls(**{name: arranged(name, getattr(folded, name)) for name in cls._fields})


Run = Callable[..., Tensor]  # ``block``, or the same by fused kernels


class _Block(nn.Module):
    """The weights of a block that all images share."""

    def __init__(self, folded: FoldedBlock):
        super().__init__()
        for name, value in _Weights.of(folded)._asdict().items():
            self.register_buffer(name, value)
        self.eps = folded.eps

    def forward(self, x: Tensor, run: Run) -> Tensor:
        return run(x, _Weights(*(getattr(self, name) for name in _Weights._fields)), self.eps)


def block(x: Tensor, w: _Weights, eps: float, rows: Tensor | None = None, taps: bool = False) -> Tensor:
    """A folded NAFBlock with weights for all images or of each: (B, H, W, C) -> (B, H, W, C).

    ``rows``: int64 (B), which of the weights (G, ...) each image takes; ``None`` if there is one for all, or one each.
    """
    if rows is not None:
        w = _Weights(*(part.index_select(0, rows) for part in w))
    channels, wide = x.shape[-1:], torch.promote_types(x.dtype, torch.float32)
    y = _product(F.layer_norm(x, channels, eps=eps), w.w1, w.b1)  # (B, H, W, 2C)
    if taps:
        # Halves apart and rows before columns: so a compiler finds loops of one shape, and merges them.
        halves = zip(y.chunk(2, dim=-1), w.w2.chunk(2, dim=-1), w.b2.chunk(2, dim=-1), strict=True)
        first, second = (_tapped(*half) for half in halves)  # (B, H, W, C) both
        y = first * second
        mean = y.sum(2, dtype=wide).sum(1) / (x.shape[1] * x.shape[2])  # (B, C)
    else:
        y = gate(_depthwise(y, w.w2, w.b2), dim=-1)  # (B, H, W, C)
        mean = y.mean((1, 2), dtype=wide)  # (B, C)
    # Channel attention goes into the weights of conv3, an image's own: they are fewer than its pixels.
    scale = (w.ws * mean.unsqueeze(1)).sum(2) + w.bs  # (B, C)
    x = x + _product(y, (w.w3 * scale.unsqueeze(2)).to(y.dtype), w.b3)
    y = _product(F.layer_norm(x, channels, eps=eps), w.w4, w.b4)  # (B, H, W, 2C)
    return x + _product(gate(y, dim=-1), w.w5, w.b5)


class Ways(NamedTuple):
    """How the parts of a network are computed: ``PLAIN`` by PyTorch, ``triton_blocks.WAYS`` by our own kernels."""

    block: Callable[..., Tensor]  # as ``block``
    down: Callable[[Convolution, Tensor], Tensor]  # (B, 2H, 2W, C) -> (B, H, W, 2C)
    up: Callable[[Up, Tensor, Tensor], Tensor]  # (B, H, W, C) and what was skipped, (B, 2H, 2W, C/2) -> as that


def up(part: Up, x: Tensor, skip: Tensor) -> Tensor:
    return part(x) + skip


PLAIN = Ways(block, Convolution.__call__, up)


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution: (B, H, W, I), (G, I, O), (G or 1, O) -> (B, H, W, O)."""
    if len(weight) == 1:
        y = torch.addmm(bias[0], x.flatten(0, 2), weight[0])  # (BHW, O)
    else:
        y = torch.baddbmm(bias.unsqueeze(1), x.flatten(1, 2), weight)  # (B, HW, O)
    return y.view(*x.shape[:3], -1)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A depth-wise 3x3 convolution, zeros around: (B, H, W, C), (G, 3, 3, C), (G, C) -> (B, H, W, C)."""
    batch, height, width, channels = x.shape
    x = x.permute(0, 3, 1, 2)  # (B, C, H, W)
    weight = weight.permute(0, 3, 1, 2).reshape(-1, 1, 3, 3)  # (G*C, 1, 3, 3)
    if len(bias) > 1:
        x = x.reshape(1, -1, height, width)  # (1, B*C, H, W): the images as groups of channels
    x = F.conv2d(x, weight, bias.flatten(), padding=1, groups=x.shape[1])
    return x.view(batch, channels, height, width).permute(0, 2, 3, 1)


def _tapped(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same as nine shifted products."""
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))  # (B, H+2, W+2, C)
    y = bias[:, None, None]
    for i in range(3):
        for j in range(3):
            y = y + padded[:, i : i + height, j : j + width] * weight[:, None, None, i, j]
    return y


def _gate(logits: Tensor, expert: Tensor | None, k: int | None) -> Tensor:
    """``DeMoE.gate`` with experts named by number, without the host: (B, N) -> (B, N), rows summing to one."""
    weights = top_k_weights(F.softmax(logits, dim=1), k)
    if expert is None:
        return weights
    asked = (expert.unsqueeze(1) == torch.arange(weights.shape[1], device=weights.device)).to(weights.dtype)
    return torch.where(expert.unsqueeze(1) < 0, weights, asked)


def _run(stage: nn.ModuleList, x: Tensor, run: Run) -> Tensor:
    for block in stage:
        x = block(x, run)
    return x


def _folded(stage: nn.Module) -> nn.ModuleList:
    return nn.ModuleList(_Block(FoldedBlock(block)) for block in stage)
