"""Whole within a budget, tiles beyond it; tiles with the picture's own statistics give what the whole gives."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import shake

from demoe.inference import guard, memory, strips, tiles
from demoe.inference.fold import folded
from demoe.inference.restore import restore
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

TINY = {"width": 4, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return shake(DeMoE(DeMoEConfig(**TINY)))


def picture(*size):
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("wish", [{}, {"k": 3}, {"expert": "low_light"}])
def test_whole_and_tiles_equal_the_plain_forward(model, wish):
    x = picture(301, 530)
    expected = restore(model, x, **wish)
    whole = tiles.restore_large(model, x, **wish)
    cut = tiles.restore_large(model, x, **wish, tile=256)
    assert whole.plan.tile is None and cut.plan.tile == 256 and whole.map is cut.map is None
    for out, tolerance in ((whole, 2e-6), (cut, 5e-6)):  # the sample is the whole of so small a picture
        assert (out.image - expected.image).abs().max() < tolerance
        torch.testing.assert_close(out.weights, expected.weights, rtol=1e-4, atol=1e-5)


def test_a_decision_for_each_tile(model):
    x = picture(300, 520)
    out = tiles.restore_large(model, x, route="tile", tile=256)
    assert out.map.experts.shape == (2, 4)
    assert out.image.shape == x.shape and out.weights.sum().item() == pytest.approx(1)
    share = torch.bincount(out.map.experts.flatten(), minlength=5) / out.map.experts.numel()
    torch.testing.assert_close(out.weights, share)  # k=1: each tile has one expert
    with pytest.raises(ValueError, match="no experts"):
        tiles.restore_large(NAFNet(NAFNetConfig(**TINY)), x, route="tile")


@pytest.mark.parametrize("k", [2, 3, 5, None])
def test_tiles_that_mix_experts_know_the_attention_of_each(model, monkeypatch, k):
    """Whichever experts a tile mixes, their channel attention is the photograph's, not the tile's own."""
    seen, real = [], strips.forward

    def spy(model, part, wish, k, *, scales):
        seen.append((wish(None)[0].tolist(), set(scales)))
        return real(model, part, wish, k, scales=scales)

    monkeypatch.setattr(strips, "forward", spy)
    turns = iter(range(8))

    def gate(logits, expert, k):  # each tile's router prefers the next experts
        return real_gate(logits.roll(next(turns), 1) if len(seen) else logits, expert, k)

    network = folded(model)
    real_gate = network.gate
    monkeypatch.setattr(network, "gate", gate)
    out = tiles.restore_large(model, picture(300, 520), route="tile", tile=256, k=k)
    assert len(seen) == 8 and (out.map.weights > 0).sum(2).eq(k or 5).all()
    assert k in (5, None) or len({tuple(share > 0 for share in wish) for wish, _ in seen}) > 1
    for wish, known in seen:
        for moe in folded(model).experts:
            assert all(expert in known for expert, share in zip(moe.experts, wish, strict=True) if share)


def test_tiles_that_the_guard_mixes_know_the_attention_of_each(model, monkeypatch):
    """The router is sure of every second tile; of the others all experts take part."""
    seen, real = [], strips.forward

    def spy(model, part, wish, k, *, scales):
        seen.append((wish(None)[0].tolist(), set(scales)))
        return real(model, part, wish, k, scales=scales)

    monkeypatch.setattr(strips, "forward", spy)
    image = picture(300, 520) / 8  # dark, which the guard leaves alone
    watch = guard.Guard(image, shares=lambda logits: torch.eye(5)[:1] if len(seen) % 2 else torch.full((1, 5), 0.2))
    out = tiles.restore_large(model, image, expert=watch, route="tile", tile=256)
    assert out.map.weights.flatten(0, 1).count_nonzero(1).tolist() == [5, 1] * 4
    for wish, known in seen:
        for moe in folded(model).experts:
            assert all(expert in known for expert, share in zip(moe.experts, wish, strict=True) if share)


def test_a_function_that_may_mix_all_experts_is_planned_for_as_all(model, monkeypatch):
    planned, real = [], tiles.plan
    monkeypatch.setattr(tiles, "plan", lambda *given: planned.append(given[4]) or real(*given))
    image = picture(40, 60)
    tiles.restore_large(model, image, expert=guard.Guard(image))
    tiles.restore_large(model, image)
    assert planned == [None, 1]


@pytest.mark.parametrize(("size", "tile"), [(256, 256), (257, 256), (1000, 256), (3000, 1024)])
def test_blending_weights_add_up_to_one(size, tile):
    starts = tiles.starts(size, tile, 16)
    assert starts[0] == 0 and starts[-1] < size <= starts[-1] + tile
    assert all(start % 16 == 0 for start in starts)
    assert all(start + tile - after >= memory.OVERLAP for start, after in pairwise(starts))
    total = torch.zeros(size)
    for i, start in enumerate(starts):
        length = min(tile, size - start)
        total[start : start + length] += tiles.ramp(length, tile, starts, i, torch.device("cpu"))
    torch.testing.assert_close(total, torch.ones(size))


def test_files_that_a_container_has_read_are_free_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    for name, text in (("max", "400\n"), ("current", "390\n"), ("stat", "anon 100\nfile 290\ninactive_file 240\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.budget(None, torch.device("cpu")) == int(0.8 * (400 - 390 + 240))
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.budget(None, torch.device("cpu")) > 1 << 20


def test_a_smaller_budget_means_leaner_ways(model):
    big = DeMoE(DeMoEConfig())
    needs = [memory.estimate(big, 24000, 4000, recompute) for recompute in range(4)]
    assert needs == sorted(needs, reverse=True)
    for recompute, need in enumerate(needs):
        assert memory.plan(big, 24000, 4000, need) == memory.Plan(None, recompute, need)
    assert memory.plan(big, 6000, 4000, 2 << 30).tile is not None
    with pytest.raises(MemoryError, match="4000x6000"):
        memory.plan(model, 6000, 4000, 1 << 20)
    with pytest.raises(ValueError, match="at least 256"):
        memory.plan(model, 600, 400, 1 << 30, tile=100)


NEED = """
import gc, sys
from contextlib import suppress
from pathlib import Path
import psutil, torch
from demoe.inference import allocator
from demoe.inference import memory
from demoe.inference import strips
from demoe.inference.fold import folded
from demoe.models.demoe import DeMoE, DeMoEConfig

height, width, recompute, experts = map(int, sys.argv[1:])
allocator.raise_thresholds()
torch.set_num_threads(1)
sizes = {"encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}
strips.forward(DeMoE(DeMoEConfig(4, **sizes)).eval(), torch.rand(1, 3, 16, 16), k=experts)  # loads what comes late
model, x = folded(DeMoE(DeMoEConfig(8, **sizes)).eval()), torch.rand(1, 3, height, width)
gc.collect()
allocator.give_back()
with suppress(OSError):
    Path("/proc/self/clear_refs").write_text("5")
before = psutil.Process().memory_info().rss
strips.forward(model, x, k=experts, recompute=recompute)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) << 10
print(peak - before, memory.estimate(model, height, width, recompute, experts))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells a process's peak")
@pytest.mark.parametrize(("size", "recompute", "k"), [((1024, 1024), 0, 1), ((2048, 1536), 1, 1), ((1024, 2048), 2, 5)])
def test_the_estimate_is_above_the_need_and_not_far(size, recompute, k):
    call = [sys.executable, "-c", NEED, *map(str, (*size, recompute, k))]
    need, estimated = map(int, subprocess.run(call, capture_output=True, text=True, check=True).stdout.split())
    assert need < estimated < 3.5 * need  # on one machine the need varies by up to 1.8


def test_sample_crops_lie_inside_and_have_whole_units():
    crops = tiles.sample(torch.zeros(1, 3, 2000, 3001), 16)
    assert len(crops) > 1 and sum(crop[0, 0].numel() for crop in crops) <= tiles.SAMPLE
    assert {tuple(crop.shape[-2:]) for crop in crops} == {(512, 512)}


def test_a_function_may_choose_the_experts(model):
    x = picture(300, 280)
    chosen = []

    def choose(logits):
        chosen.append(logits)
        return torch.tensor([[0.25, 0, 0.75, 0, 0]])

    whole = tiles.restore_large(model, x, expert=choose)
    expected = restore(model, x, k=5)
    torch.testing.assert_close(chosen[0], expected.logits[None], rtol=1e-4, atol=1e-5)
    assert whole.weights.tolist() == [0.25, 0, 0.75, 0, 0]
    cut = tiles.restore_large(model, x, expert=choose, tile=256)
    assert (cut.image - whole.image).abs().max() < 5e-6 and cut.map is None
    assert (whole.image - expected.image).abs().max() > 1e-3


def test_amounts_of_memory():
    assert memory.memory_size("3G") == memory.memory_size("3 GiB") == 3 << 30
    assert memory.memory_size("512m") == 512 << 20 and memory.memory_size("1.5KB") == 1536
    assert memory.memory_size("7") == 7
    for text in ("", "3X", "-1G", "0", "G"):
        with pytest.raises(ValueError, match="amount of memory"):
            memory.memory_size(text)


def test_modes_are_put_back_and_errors(model):
    fresh = DeMoE(DeMoEConfig(**TINY)).train()
    tiles.restore_large(fresh, picture(9, 8))
    assert all(module.training for module in fresh.modules())
    with pytest.raises(RuntimeError, match="not finite"):
        tiles.restore_large(model, torch.full((3, 4, 4), torch.nan))
    with pytest.raises(ValueError, match="route"):
        tiles.restore_large(model, picture(4, 4), route="pixel")
    with pytest.raises(MemoryError):
        tiles.restore_large(model, picture(400, 400), max_memory=1)
    assert torch.equal(tiles.restore_large(torch.nn.Identity(), picture(4, 4)).image, picture(4, 4))
