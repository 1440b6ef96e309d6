"""Operations counted as they run; and is the plain side honest? Its counts beside those of the published code.

The published code itself is not part of this project. Its counts (PyTorch 2.15, width 32, 256x256) are: operations that
start work on the device, those that only make a view left out, plus one pass a convolution that has a bias and is
not depth-wise, which on a GPU is added separately; and the points at which the host waits for the device. A GPU's
counts do not depend on width or size, so they are taken here from a small network.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

from .options import Options
from .plain import plain
from .weights import shaken

# what: (operations with bias passes, bias passes, host waits) of the published code
PUBLISHED = {
    "NAFNet, 1 image": (923, 121, 0),
    "DeMoE, 1 image": (1068, 123, 60),
    "DeMoE, 8 images, all experts": (2030, 223, 180),
    "DeMoE, training step, 4 images": (5191, 223, 205),
}


class Counting(TorchDispatchMode):
    """Counts while it is entered.

    ``operations`` leaves views out and has ``bias_passes`` in it; ``waits`` are those of the host, for a value or for
    the number of true entries of a mask; ``bytes`` are those of the tensors that operations read and write.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.bias_passes = self.waits = self.bytes = 0
        self.backward = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = str(function)
        if function.is_view or name.startswith(("aten.empty", "aten.new_empty")):  # memory asked for, nothing started
            return result
        self.operations += 1
        self.bytes += sum(x.nbytes for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor))
        if name == "aten.convolution.default" and args[2] is not None and args[8] == 1:
            self.operations += 1
            self.bias_passes += 1
            self.bytes += 2 * result.nbytes
        # Writing through a mask in a backward pass was not counted as a wait in the published code.
        reads = name == "aten.index.Tensor" or (name == "aten.index_put_.default" and not self.backward)
        masked = reads and any(index is not None and index.dtype == torch.bool for index in args[1])
        self.waits += masked or name.startswith(("aten._local_scalar_dense", "aten.nonzero"))
        return result


def count(forward: Callable[[], Tensor], backward: bool = False) -> Counting:
    """The counts of ``forward()`` and, if asked for, of the backward pass from the mean of its result."""
    with torch.set_grad_enabled(backward), Counting() as counts:
        result = forward()
        if backward:
            counts.backward = True
            result.mean().backward()
    return counts


def fingerprint(options: Options | None = None, make: Callable[[nn.Module], nn.Module] = plain) -> pd.DataFrame:
    """One row a case: what, operations, bias_passes, waits, and published_* beside them; ``options`` change nothing.

    ``make`` turns a network of ours into the side that is counted.
    """
    demoe, nafnet = (make(shaken(network)) for network in (DeMoE(DeMoEConfig(width=4)), NAFNet(NAFNetConfig(width=4))))
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    everyone = [i % 5 for i in range(8)]
    found = [
        count(lambda: nafnet(images[:1]).image),
        count(lambda: demoe(images[:1]).image),
        count(lambda: demoe(images, expert=everyone).image),
        count(lambda: (demoe.train()(images[:4]).image - images[4:]).abs(), backward=True),
    ]
    columns = ("operations", "bias_passes", "waits")
    table = pd.DataFrame([[getattr(counts, name) for name in columns] for counts in found], columns=columns)
    table.insert(0, "what", list(PUBLISHED))
    return table.join(pd.DataFrame(PUBLISHED.values(), columns=[f"published_{name}" for name in columns]))
