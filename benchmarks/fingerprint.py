"""Is the plain side honest? Its operations counted, beside what was counted of the published code.

The published code itself is not part of this project. Its counts (PyTorch 2.15, width 32, 256x256) are: operations that
start work on the device, those that only make a view left out, plus one pass a convolution that has a bias and is
not depth-wise, which on a GPU is added separately; and the points at which the host waits for the device. A GPU's
counts do not depend on width or size, so they are taken here from a small network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

from .plain import plain
from .weights import shaken

# what: (operations with bias passes, bias passes, host waits) of the published code
PUBLISHED = {
    "NAFNet, 1 image": (923, 121, 0),
    "DeMoE, 1 image": (1068, 123, 60),
    "DeMoE, 8 images, all experts": (2030, 223, 180),
    "DeMoE, training step, 4 images": (5191, 223, 205),
}
NO_WORK = ("aten.empty", "aten.new_empty")  # memory asked for, nothing started


@dataclass
class Counts:
    """What running something came to."""

    operations: int = 0  # views left out, bias passes included
    bias: int = 0
    waits: int = 0  # the host needs a value, or the number of true entries of a mask


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.backward = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name, counts = str(function), self.counts
        if function.is_view or name.startswith(NO_WORK):
            return result
        counts.operations += 1
        if name == "aten.convolution.default" and args[2] is not None and args[8] == 1:
            counts.operations += 1
            counts.bias += 1
        # Writing through a mask in a backward pass was not counted as a wait in the published code.
        reads = name == "aten.index.Tensor" or (name == "aten.index_put_.default" and not self.backward)
        masked = reads and any(index is not None and index.dtype == torch.bool for index in args[1])
        counts.waits += masked or name.startswith(("aten._local_scalar_dense", "aten.nonzero"))
        return result


def count(forward: Callable[[], Tensor], backward: bool = False) -> Counts:
    """The operations of ``forward()`` and, if asked for, of the backward pass from the mean of its result."""
    counting = _Counting()
    with torch.set_grad_enabled(backward), counting:
        result = forward()
        if backward:
            counting.backward = True
            result.mean().backward()
    return counting.counts


def fingerprint(make: Callable[[nn.Module], nn.Module] = plain) -> pd.DataFrame:
    """One row a case: what, operations, bias_passes, waits, and published_* beside them.

    ``make`` turns a network of ours into the side that is counted.
    """
    demoe, nafnet = (make(shaken(network)) for network in (DeMoE(DeMoEConfig(width=4)), NAFNet(NAFNetConfig(width=4))))
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    everyone = [i % 5 for i in range(8)]
    found = [
        count(lambda: nafnet(images[:1])),
        count(lambda: demoe(images[:1]).image),
        count(lambda: demoe(images, expert=everyone).image),
        count(lambda: (demoe.train()(images[:4]).image - images[4:]).abs(), backward=True),
    ]
    return pd.DataFrame(
        [
            {
                "what": what,
                "operations": counts.operations,
                "bias_passes": counts.bias,
                "waits": counts.waits,
                "published_operations": operations,
                "published_bias_passes": bias,
                "published_waits": waits,
            }
            for (what, (operations, bias, waits)), counts in zip(PUBLISHED.items(), found, strict=True)
        ]
    )
