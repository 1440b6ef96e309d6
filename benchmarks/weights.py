"""Networks to measure: random weights, none of which is at a value that makes a layer do nothing."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def shaken(model: Network, seed: int = 0) -> Network:
    """``model`` in evaluation mode with random weights: beta, gamma, the last convolution and the statistics of
    BatchNorm, which start at zero or one, included. Time does not depend on them, but errors can be seen."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and not name.endswith(("beta", "gamma")):
                bound = parameter[0].numel() ** -0.5
                parameter.copy_(torch.empty_like(parameter).uniform_(-bound, bound, generator=random))
            elif name.endswith(("beta", "gamma")):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
            elif ".norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * torch.randn(parameter.shape, generator=random))
            elif name.endswith("bias"):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=random))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=random))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=random))
    return model.eval()
