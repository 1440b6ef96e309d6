"""A NAFBlock with everything folded into its convolutions that does not depend on the picture: same result, less work.

The norms' weight and bias go into the 1x1 convolution behind each, beta into conv3, gamma into conv5. What is left of
a norm is (x - mean) / deviation. Exact up to rounding: products are formed in float64. The authors' networks are not
published folded; our choice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeGuard, TypeVar
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.core.devices import exact
from demoe.models.demoe import DeMoE
from demoe.models.layers import NAFBlock, PictureConv2d, normalise
from demoe.models.moe import Router
from demoe.models.nafnet import NAFNet
from demoe.models.tlc import LocalAttention

Network = TypeVar("Network", bound=NAFNet | DeMoE)
Made = TypeVar("Made")


class FoldedBlock(nn.Module):
    """The folded block, for inference: no parameters, only buffers. (B, C, H, W) -> (B, C, H, W).

    Buffers: ``w1`` (2C, C, 1, 1), ``b1`` (2C) the first norm and conv1; ``w2`` (2C, 1, 3, 3), ``b2`` the depth-wise
    conv2; ``ws`` (C, C, 1, 1), ``bs`` (C) channel attention; ``w3`` (C, C, 1, 1), ``b3`` conv3 and beta; ``w4``
    (2C, C, 1, 1), ``b4`` the second norm and conv4; ``w5`` (C, C, 1, 1), ``b5`` conv5 and gamma. ``eps`` is the norms'.
    """

    @torch.no_grad()
    def __init__(self, block: NAFBlock):
        """A copy of the block, of its type and on its device, that shares no memory with it.

        Raises ``ValueError`` for another module, and for a block with local statistics (TLC).
        """
        if type(block) is not NAFBlock:
            raise ValueError(f"{type(block).__name__} cannot be folded: only a NAFBlock can")
        super().__init__()
        pairs = {
            "1": _behind(block.norm1, block.conv1),
            "2": (block.conv2.weight, block.conv2.bias),
            "s": (block.sca[1].weight, block.sca[1].bias),
            "3": _scaled(block.conv3, block.beta),
            "4": _behind(block.norm2, block.conv4),
            "5": _scaled(block.conv5, block.gamma),
        }
        for name, (weight, bias) in pairs.items():
            self.register_buffer("w" + name, weight.detach().clone().to(block.conv1.weight))
            self.register_buffer("b" + name, bias.detach().clone().to(block.conv1.weight))
        self.eps = block.norm1.eps

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(normalise(x, self.eps), self.w1, self.b1)  # (B, 2C, H, W)
        y = gate(F.conv2d(y, self.w2, self.b2, padding=1, groups=len(self.w2)))  # (B, C, H, W)
        y = y * self.attention(y.mean((2, 3), keepdim=True))
        x = x + F.conv2d(y, self.w3, self.b3)
        y = F.conv2d(normalise(x, self.eps), self.w4, self.b4)  # (B, 2C, H, W)
        return x + F.conv2d(gate(y), self.w5, self.b5)  # (B, C, H, W)

    def attention(self, mean: Tensor) -> Tensor:
        """The factors of the channels, (B, C, 1, 1), of their averages over the picture, in the type of these."""
        scale = F.linear(mean.flatten(1), self.ws.flatten(1).to(mean.dtype), self.bs.to(mean.dtype))  # (B, C)
        return scale.view(mean.shape)


def _behind(norm: nn.Module, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, in float64, of a convolution with the weight and bias of the norm in front of it."""
    weight, bias = exact(conv.weight), exact(conv.bias)
    shift = (weight * exact(norm.bias).view(1, -1, 1, 1)).sum((1, 2, 3))
    return weight * exact(norm.weight).view(1, -1, 1, 1), bias + shift


def _scaled(conv: nn.Conv2d, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The same of a convolution with the factors of its results."""
    scale = exact(scale).flatten()
    return exact(conv.weight) * scale.view(-1, 1, 1, 1), exact(conv.bias) * scale


def foldable_network(model: nn.Module) -> TypeGuard[NAFNet | DeMoE]:
    """Whether ``fold_network`` takes it: a NAFNet or DeMoE whose channel attention averages over the whole picture."""
    return type(model) in (NAFNet, DeMoE) and not any(isinstance(part, LocalAttention) for part in model.modules())


@torch.inference_mode(False)  # what inference mode makes could not be used outside it
@torch.no_grad()
def fold_network(model: Network, dtype: torch.dtype | None = None, share: bool = True) -> Network:
    """The network for inference, its NAFBlocks folded; ``model`` stays as it is.

    Its class and what it takes and gives are the same. With ``share``, blocks and parameters that are not folded share
    memory with ``model`` unless ``dtype`` differs from theirs. The router keeps its type, for its sums need the digits,
    and so do the convolutions that read and write the picture (``layers.PictureConv2d``). Raises ``ValueError`` for
    another network, and for local statistics (TLC).
    """
    if type(model) not in (NAFNet, DeMoE):
        raise ValueError(f"{type(model).__name__} cannot be folded: only NAFNet and DeMoE can")
    # The twin holds no tensor object of the model, so that moving one leaves the other.
    memo = {id(value): value.detach() for value in model.buffers()}
    memo |= {id(value): nn.Parameter(value.detach(), requires_grad=False) for value in model.parameters()}
    twin = copy.deepcopy(model, memo).eval()
    for name, block in model.named_modules():
        if isinstance(block, NAFBlock):
            twin.set_submodule(name, FoldedBlock(block))
    exact = [part for part in twin.modules() if isinstance(part, (Router, PictureConv2d))]
    own = {id(value) for part in exact for value in (*part.parameters(), *part.buffers())}
    return twin._apply(lambda value: value.to((None if id(value) in own else dtype) or value.dtype, copy=not share))


def folded(model: Network, dtype: torch.dtype | None = None) -> Network:
    """``fold_network(model, dtype)``, kept for the next call with the same network until one of its weights changes.

    A network that is folded already comes back itself. ``made`` says what changes are noticed.
    """
    if any(isinstance(part, FoldedBlock) for part in model.modules()):
        return model
    return made(model, fold_network, dtype)


def made(module: nn.Module, make: Callable[..., Made], *arguments: object) -> Made:
    """``make(module, *arguments)``, kept for the next call until a parameter or buffer of the module changes.

    A change is noticed by PyTorch's count of in-place changes of each tensor, which only ``parameter.data`` evades; a
    module made in inference mode has no such count, and nothing is kept for it.
    """
    state = versions(module)
    if state is None:
        return make(module, *arguments)
    kept = _MADE.setdefault(module, {})
    key, found, _ = kept.get(make, (None, None, None))
    if key != (state, arguments):
        found = make(module, *arguments)
        # The tensors are held too, so that no other can take the address by which they are known.
        kept[make] = (state, arguments), found, [value.detach() for value in (*module.parameters(), *module.buffers())]
    return found  # not what is kept now: another thread may have changed it


def versions(model: nn.Module) -> tuple | None:
    """What changes when a tensor of the model does; None where that cannot be told, for tensors of inference mode."""
    tensors = [*model.parameters(), *model.buffers()]
    if any(value.is_inference() for value in tensors):
        return None
    return tuple((value.data_ptr(), value._version) for value in tensors)


_MADE: WeakKeyDictionary[nn.Module, dict[Callable, tuple]] = WeakKeyDictionary()


def gate(x: Tensor, out: Tensor | None = None, dim: int = 1) -> Tensor:
    """The product of the two halves of the channels, ``dim``: (B, 2C, H, W) -> (B, C, H, W), into ``out`` if given."""
    first, second = x.chunk(2, dim)
    return torch.mul(first, second, out=out)
