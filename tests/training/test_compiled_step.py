"""Compiled blocks in training: where they are worth it, the same gradients, and no harm where nothing compiles."""

import shutil
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from conftest import shake
from stage_losses import pixel_loss
from test_loop import random_sets
from test_step import batch

from demoe.data.batches import Batches
from demoe.models import fused_block
from demoe.models.layers import fusing
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training import loop
from demoe.training.step import TrainStep, compiling, compiling_pays

CPU = torch.device("cpu")


def test_compiled_where_it_pays(monkeypatch):
    monkeypatch.setattr(fused_block, "bfloat16", lambda: True)
    assert not compiling_pays(CPU, "bfloat16", 10**6) and compiling_pays(torch.device("cuda"), "bfloat16", 1)
    monkeypatch.setattr(fused_block, "bfloat16", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert compiling_pays(CPU, "bfloat16", 1000)
    assert not compiling_pays(CPU, "bfloat16", 999) and not compiling_pays(CPU, "float32", 10**6)
    assert compiling_pays(torch.device("cuda"), "float32", 1)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not compiling_pays(CPU, "bfloat16", 1000)


def gradients(compiled, precision):
    """The gradients of a step, after another whose results do not count, of a network with one block, not fused."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = shake(NAFNet(NAFNetConfig(8, (), 1, ()))).train()
    fusing(model, False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    found = {}
    for name, p in model.named_parameters():
        p.register_post_accumulate_grad_hook(lambda p, name=name: found.__setitem__(name, p.grad.clone()))
    step = TrainStep(model, pixel_loss, optimizer, precision, compiled=compiled)
    for _ in range(2):
        losses, _ = step(batch(2, 17))
    return losses["total"], torch.cat([found[name].flatten() for name in sorted(found)])


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_blocks_round_about_as_others_do():
    (loss, exact), (_, eager), (other, found) = (
        gradients(*way) for way in ((False, "float32"), (False, "bfloat16"), (True, "bfloat16"))
    )
    torch.testing.assert_close(other, loss, rtol=0.01, atol=0)
    assert not torch.equal(found, eager), "nothing was compiled"
    assert (found - exact).norm() < 1.5 * (eager - exact).norm() < 0.05 * exact.norm()


def test_blocks_run_as_they_are_where_nothing_compiles(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    (loss, plain), (other, found) = gradients(False, "bfloat16"), gradients(True, "bfloat16")
    assert torch.equal(other, loss) and torch.equal(found, plain)


@pytest.mark.parametrize("stopped", [False, True])
def test_training_leaves_no_block_compiled(monkeypatch, tmp_path, stopped):
    """Pictures of many sizes come afterwards; and the averaged weights' statistics are measured without gradients."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda run, **_: lambda x: compiled.append(len(x)) or run(x))
    monkeypatch.setattr(loop, "computed_in", lambda precision, device, steps: precision)  # also where it is emulated
    monkeypatch.setattr(loop, "compiling_pays", lambda device, precision, steps: precision == "bfloat16" and steps == 2)
    model = shake(NAFNet(NAFNetConfig(4, (), 1, ())))
    with pytest.raises(loop.OutOfTime) if stopped else nullcontext():
        loop.train(
            model,
            Batches(random_sets(), 16, 4, 5),
            pixel_loss,
            tmp_path,
            steps=2,
            precision="bfloat16",
            average=0.5,
            checkpointing=True,
            deadline=0.0 if stopped else None,
            progress=False,
        )
    assert compiled == ([4] if stopped else [4, 4])
    model(torch.rand(1, 3, 8, 8))
    assert compiled == ([4] if stopped else [4, 4])
    assert not model.middle_blks[0].recomputed


def test_a_compiled_network_can_be_copied():
    model = NAFNet(NAFNetConfig(4, (), 1, ()))
    compiling(model, True)
    copy = deepcopy(model)
    assert model.middle_blks[0]._compiled_call_impl and not copy.middle_blks[0]._compiled_call_impl
