"""The bare library calls do the work of a forward pass: the blocks', with one expert."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from demoe.benchmarks import library
from demoe.benchmarks.options import Case
from demoe.benchmarks.weights import shaken
from demoe.fast import cpu, operations
from demoe.model.demoe import DeMoE, DeMoEConfig
from demoe.model.layers import NAFBlock

SMALL = DeMoEConfig(width=8, num_experts=2)


def counted(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("cached", [1 << 10, 8 << 20])  # bytes: many strips, the last one smaller; one
@pytest.mark.parametrize("case", [Case("odd", 1, 50, 37), Case("two", 2, 32, 48)])
def test_the_same_operations_as_the_blocks_of_a_forward_pass(case, cached, monkeypatch):
    monkeypatch.setattr(cpu, "CACHED", cached)
    monkeypatch.setattr(operations, "_onednn_types", lambda: ())  # its own calls are not counted
    model = shaken(DeMoE(SMALL))
    total = [0]

    def hook(block, inputs, output):
        x = inputs[0]
        with torch.no_grad():
            total[0] += counted(lambda: NAFBlock.forward(block, x)) - counted(lambda: block.sca[1](x[:, :, :1, :1]))

    x = torch.rand(1, 3, case.height, case.width)
    blocks = [part for part in model.modules() if isinstance(part, NAFBlock)]
    for block in blocks:
        block.register_forward_hook(hook)
    with torch.no_grad():
        model(x, k=1)
    run = library.alone(model, case, torch.float32)
    assert counted(run) == case.batch * total[0]


def test_it_can_be_called_again_and_again_in_half_precision():
    run = library.alone(shaken(DeMoE(SMALL)), Case("", 1, 64, 64), torch.bfloat16)
    (work,) = [cell.cell_contents for cell in run.__wrapped__.__closure__]
    before = [strip.clone() for _, strip, _, _ in work]
    for _ in range(3):
        run()
    assert all(strip.isfinite().all() for _, strip, _, _ in work)
    assert not any(torch.equal(strip, old) for (_, strip, _, _), old in zip(work, before, strict=True))
