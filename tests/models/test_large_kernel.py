"""PLK's large convolution: the gradients that training uses against those of PyTorch's own convolution."""

import pytest
import torch
import torch.nn.functional as F

from demoe.models import experts
from demoe.models.experts import PLKBlock, _LargeKernel


@pytest.mark.parametrize("size", [(64, 64), (5, 7), (33, 20), (1, 3)])
@pytest.mark.parametrize("kernel", [17, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_the_usual_convolution(size, kernel, layout):
    torch.manual_seed(0)
    x = torch.randn(3, 2, *size, dtype=torch.double).to(memory_format=layout).requires_grad_()
    weight = torch.randn(4, 2, kernel, kernel, dtype=torch.double, requires_grad=True)
    bias = torch.randn(4, dtype=torch.double, requires_grad=True)
    given = torch.randn(3, 4, *size, dtype=torch.double)
    ours, usual = _LargeKernel.apply(x, weight, bias), F.conv2d(x, weight, bias, padding=kernel // 2)
    assert torch.equal(ours, usual)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (x, weight, bias), given),
        torch.autograd.grad(usual, (x, weight, bias), given),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_gradients_in_mixed_precision_are_those_of_float32_nearly():
    torch.manual_seed(0)
    block, x = PLKBlock(8), torch.randn(2, 8, 21, 13)

    def gradients(bfloat16):
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            block(x).float().square().sum().backward()
        return block.large.weight.grad.clone()

    torch.testing.assert_close(gradients(True), gradients(False), rtol=0.1, atol=0.1 * float(gradients(False).std()))


def test_a_block_in_training_takes_that_way_and_gives_the_same(monkeypatch):
    torch.manual_seed(0)
    block, x = PLKBlock(8), torch.randn(2, 8, 21, 13)
    used = []
    real = _LargeKernel.backward
    monkeypatch.setattr(_LargeKernel, "backward", staticmethod(lambda *a: used.append(1) or real(*a)))

    def gradients():
        block.zero_grad()
        block(x).square().sum().backward()
        return [p.grad.clone() for p in block.parameters()]

    fast = gradients()
    monkeypatch.setattr(PLKBlock, "_large", lambda self, y: self.large(y))
    usual = gradients()
    assert used == [1]
    for mine, theirs in zip(fast, usual, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_many_channels_and_inference_stay_with_the_usual_one(monkeypatch):
    monkeypatch.setattr(experts._LargeKernel, "apply", None)  # would raise if it were called
    PLKBlock(256)(torch.randn(1, 256, 9, 9)).sum().backward()  # the kernel sees a quarter of them
    with torch.no_grad():
        PLKBlock(8)(torch.randn(1, 8, 9, 9))
