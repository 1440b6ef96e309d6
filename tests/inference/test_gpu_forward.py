"""The gathered network against the plain one, and that the host is never asked."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from demoe.inference.gpu_forward import GatheredNetwork, gatherable
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.models.tlc import local

SIZES = {"width": 8, "encoder_blocks": (1, 2), "middle_blocks": 1, "decoder_blocks": (2, 1)}
TINY = {"width": 8, "encoder_blocks": (1,), "middle_blocks": 0, "decoder_blocks": (0,)}  # quick to compile
MIXED = [None, "GoPro", "LOLBlur"]  # who asks for what
NUMBERS = torch.tensor([-1, 3, 4])


def _shaken(model: nn.Module) -> nn.Module:
    """Every parameter away from its start, beta and gamma too; shifted running statistics."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.15 * torch.randn(p.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def demoe() -> DeMoE:
    return _shaken(DeMoE(DeMoEConfig(**SIZES)))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 21, 18, generator=torch.Generator().manual_seed(2))


def _close(got, expected, x: torch.Tensor, tolerance: float = 1e-5) -> None:
    residual = expected.image - x  # what the network adds; the picture alone would hide errors
    assert residual.abs().max() > 0.01
    assert (got.image - expected.image).abs().max() <= tolerance * expected.image.abs().max()
    assert (got.image - expected.image).abs().max() <= 10 * tolerance * residual.abs().max()
    for mine, plain in zip(got[1:], expected[1:], strict=True):
        assert (mine - plain).abs().max() <= tolerance * plain.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("taps", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, None])
def test_equal_to_the_plain_network(demoe, images, k, taps):
    gathered = GatheredNetwork(demoe)
    expected = demoe(images, k=k)
    _close(gathered(images, None, k, taps), expected, images)
    _close(gathered(images, NUMBERS, k, taps), demoe(images, expert=MIXED, k=k), images)
    assert k is None or ((expected.weights > 0).sum(1) == k).all()


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (5, 34)])
def test_equal_at_other_sizes_and_batch_one(demoe, size):
    x = torch.rand(1, 3, *size)
    _close(GatheredNetwork(demoe)(x), demoe(x), x)
    _close(GatheredNetwork(demoe)(x, torch.tensor([2]), taps=True), demoe(x, expert="local_motion"), x)


@torch.no_grad()
@pytest.mark.parametrize("change", [{"fusion": "residual"}, {"fusion": "attention"}, {"moe_per_level": 2}])
def test_equal_for_the_variants_of_table_5(images, change):
    model = _shaken(DeMoE(DeMoEConfig(**SIZES, **change)))
    _close(GatheredNetwork(model)(images, NUMBERS, 2), model(images, expert=MIXED, k=2), images)


@torch.no_grad()
@pytest.mark.parametrize("router", [False, True])
def test_equal_for_nafnet(images, router):
    model = _shaken(NAFNet(NAFNetConfig(**SIZES, router=router)))
    got, expected = GatheredNetwork(model)(images, taps=True), model(images)
    assert (got.image - expected.image).abs().max() <= 1e-5 * expected.image.abs().max()
    assert (got.logits is None) == (not router)
    if router:
        assert torch.allclose(got.logits, expected.logits, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_bfloat16_is_above_50_db(demoe, images):
    exact = demoe(images)
    for taps in (False, True):
        got = GatheredNetwork(demoe, torch.bfloat16)(images, taps=taps)
        assert got.image.dtype == torch.float32
        assert (got.weights == exact.weights).all()
        error = (got.image - exact.image).square().mean() / (exact.image.max() - exact.image.min()).square()
        assert 0 < error < 1e-5  # 50 dB


def test_the_network_stays_as_it_is_and_shares_nothing(demoe, images):
    gathered = GatheredNetwork(demoe)
    before = gathered(images).image
    other = copy.deepcopy(demoe)
    changed = GatheredNetwork(other)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert torch.equal(changed(images).image, before)
    assert not list(gathered.parameters())


@torch.no_grad()
def test_exports_whole_and_gives_the_same(images, k=3):
    gathered = GatheredNetwork(_shaken(DeMoE(DeMoEConfig(**TINY))))
    program = torch.export.export(gathered, (images, NUMBERS), {"k": k, "taps": True}, strict=False)
    names = {str(node.target) for node in program.graph.nodes}
    assert not [name for name in names if "scalar" in name or ".item" in name or "nonzero" in name or "sym_" in name]
    others = torch.tensor([2, -1, 1])  # nothing about who was asked for is frozen into the program
    _close(program.module()(images, others, k=k, taps=True), gathered(images, others, k), images)


@torch.no_grad()
def test_compiles_into_one_graph(images):
    gathered = GatheredNetwork(_shaken(DeMoE(DeMoEConfig(**TINY))))
    compiled = torch.compile(gathered, backend="aot_eager", fullgraph=True, dynamic=False)
    _close(compiled(images, NUMBERS, taps=True), gathered(images, NUMBERS), images)


def test_other_networks_are_refused(demoe):
    assert gatherable(demoe)
    assert gatherable(NAFNet(NAFNetConfig(**SIZES)))
    others = [local(demoe, 16), DeMoE(DeMoEConfig(**SIZES, expert="plk")), nn.Conv2d(3, 3, 1)]
    for other in others:
        assert not gatherable(other)
        with pytest.raises(ValueError, match="cannot be gathered"):
            GatheredNetwork(other)
