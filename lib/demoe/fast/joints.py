"""What stands between the blocks of a gathered network, for features of (B, H, W, C): no parameters, only buffers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.model.router import Router


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
        conv, norm = router.conv_bottleneck[:2]
        self._add("bottleneck", *_before_norm(conv, norm))
        self._add("attention", router.attention[0].weight.flatten(1), router.attention[0].bias)
        self._add("hidden", *_before_norm(router.classifier[2], router.classifier[3]))
        self._add("classes", router.classifier[6].weight, router.classifier[6].bias)

    def _add(self, name: str, weight: Tensor, bias: Tensor) -> None:
        self.register_buffer(name, weight.detach().clone())
        self.register_buffer(name + "_bias", bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x.to(self.bottleneck.dtype), self.bottleneck, self.bottleneck_bias).relu()  # (B, H, W, 256)
        x = x * torch.sigmoid((x * self.attention[0]).sum(3, keepdim=True) + self.attention_bias)
        x = F.linear(x.mean(2).mean(1), self.hidden, self.hidden_bias).relu()  # (B, 128)
        return F.linear(x, self.classes, self.classes_bias).float()  # (B, N)


def _before_norm(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight (O, I) and bias (O) of a layer with the batch norm after it folded in."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = layer.weight.double().flatten(1) * scale.unsqueeze(1)
    bias = (layer.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
    return weight.to(layer.weight.dtype), bias.to(layer.weight.dtype)
