"""The bare library calls do the work of a forward pass with one expert, but for the router and channel attention."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import library
from benchmarks.options import Case
from benchmarks.weights import shaken
from demoe.inference import strip_operations
from demoe.inference.fold import FoldedBlock
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.layers import NAFBlock

SMALL = DeMoEConfig(width=8, num_experts=2)


def counted(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("cached", [1 << 10, 8 << 20])  # bytes: many strips, the last one smaller; one
@pytest.mark.parametrize("case", [Case("odd", 1, 50, 37), Case("two", 2, 32, 48)])
def test_the_same_operations_as_a_forward_pass(case, cached, monkeypatch):
    monkeypatch.setattr(strip_operations, "CACHED", cached)
    monkeypatch.setattr(strip_operations, "_onednn_types", lambda: ())  # its own calls are not counted
    model = shaken(DeMoE(SMALL))
    x = torch.rand(1, 3, case.height, case.width)
    left_out = [0]

    def hook(part, inputs, output):
        with torch.no_grad():
            left_out[0] += counted(lambda: type(part).forward(part, *inputs))

    with torch.no_grad():
        total = counted(lambda: model(x, k=1))
        for part in (model.mlp_branch, *(block.sca[1] for block in model.modules() if isinstance(block, NAFBlock))):
            part.register_forward_hook(hook)
        model(x, k=1)
    run = library.alone(model, case, torch.float32)
    assert left_out[0] and counted(run) == case.batch * (total - left_out[0])


def test_it_can_be_called_again_and_again_in_half_precision():
    run = library.alone(shaken(DeMoE(SMALL)), Case("", 1, 64, 64), torch.bfloat16)
    (work,) = [cell.cell_contents for cell in run.__wrapped__.__closure__]
    strips = [call.args[1] for call, _ in work if isinstance(call.args[0], FoldedBlock)]
    before = [strip.clone() for strip in strips]
    for _ in range(3):
        run()
    assert len(strips) > 10 and all(strip.isfinite().all() for strip in strips)
    assert not any(torch.equal(strip, old) for strip, old in zip(strips, before, strict=True))
