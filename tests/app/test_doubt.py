"""What is said about a result: measures against slow formulations, warnings both ways, non-finite results."""

import copy
import math

import pytest
import torch
from conftest import shake
from torch import nn

from demoe.app import doubt, photos
from demoe.app.doubt import Change
from demoe.core.tasks import EXPERTS
from demoe.inference import tiles
from demoe.inference.memory import Plan
from demoe.inference.restore import NotFinite
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.moe import normalised_entropy

SMALL = DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))


def test_change_is_what_the_formulas_say():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 300, 7, generator=generator)  # more rows than one band
    found = doubt.change(a, b)
    levels = 255 * (b - a).double()
    assert found.mean == pytest.approx(levels.abs().mean().item())
    assert found.brightness == pytest.approx(levels.mean().item())
    assert found.psnr == pytest.approx(20 * math.log10(255 / levels.square().mean().sqrt().item()))
    assert doubt.change(a, a) == Change(0, math.inf, 0)
    assert doubt.change(a, a + 1 / 255).brightness == pytest.approx(1)


@pytest.mark.parametrize(
    ("found", "undecided", "brightening", "words"),
    [
        (Change(2, 35, 1), 0.3, False, []),
        (Change(2, 35, 1), 0.61, False, ["router is unsure"]),
        (Change(2, 35, 1), None, False, []),
        (Change(0.1, 60, 0), 0.3, False, ["nearly unchanged"]),
        (Change(40, 14, 40), 0.3, False, ["mean brightness moved by \\+40"]),
        (Change(40, 14, 40), 0.3, True, []),
        (Change(40, 14, -40), 0.3, True, ["moved by -40"]),
        (Change(30, 15, 2), 0.3, False, ["very far from the photograph \\(15.0 dB\\)"]),
        (Change(0.1, 60, 0), 0.9, False, ["router is unsure", "nearly unchanged"]),
    ],
)
def test_warnings(found, undecided, brightening, words):
    said = doubt.warnings(found, undecided, brightening)
    assert len(said) == len(words)
    for sentence, word in zip(said, words, strict=True):
        with pytest.raises(ValueError, match=word):
            raise ValueError(sentence)


def test_more_experts_are_advised_only_where_there_are_more():
    for k, more in ((1, True), (4, True), (5, False), (None, False)):
        (said,) = doubt.warnings(Change(2, 35, 1), 0.9, False, k)
        assert said.endswith(", or --k 5" if more else "try --expert")


def test_a_trace_of_low_light_does_not_explain_a_brighter_result():
    model = shake(DeMoE(SMALL))
    with torch.no_grad():
        model.ending.weight.zero_()
        model.ending.bias.fill_(0.3)
    photo = torch.rand(3, 20, 31, generator=torch.Generator().manual_seed(0)) / 2
    low = EXPERTS.index("low_light")
    for share, doubted in ((0.05, True), (0.5, False)):
        weights = torch.zeros(1, len(EXPERTS))
        weights[0, 0], weights[0, low] = 1 - share, share
        result = photos.deblur(photo, model=model, expert=lambda logits, weights=weights: weights, guard=False)
        assert any("mean brightness" in said for said in result.warnings) == doubted


def test_deblur_says_what_it_did():
    model = shake(DeMoE(SMALL))
    photo = torch.rand(3, 20, 31, generator=torch.Generator().manual_seed(0))
    result = photos.deblur(photo, model=model)
    assert result.change == doubt.change(photo, result.image)
    assert result.entropy == pytest.approx(normalised_entropy(list(result.router.values())).item())
    with torch.no_grad():
        model.ending.weight.zero_()
        model.ending.bias.fill_(0.3)
    bright = photos.deblur(photo / 2, model=model, expert="defocus")
    assert any("mean brightness" in said for said in bright.warnings)
    assert not any("unsure" in said for said in bright.warnings)  # the router was not asked
    assert not any("bright" in said for said in photos.deblur(photo / 2, model=model, expert="low_light").warnings)


class Fragile(nn.Module):
    """Overflows in half precision; or gives NaN ``bad`` times."""

    def __init__(self, dtype=torch.float16, bad=0):
        super().__init__()
        self.factor, self.bad = nn.Parameter(torch.tensor(300.0, dtype=dtype)), bad

    def forward(self, x):
        self.bad -= 1
        return x * torch.nan if self.bad >= 0 else x * self.factor * self.factor / self.factor / self.factor


def test_a_result_that_is_not_finite_is_computed_once_more_in_float32():
    photo = torch.rand(3, 9, 8)
    fragile = Fragile()
    result = photos.deblur(photo, model=fragile)
    assert torch.allclose(result.image, photo, atol=1e-6) and result.image.dtype == torch.float32
    assert any("computed anew in float32" in said for said in result.warnings)
    assert fragile.factor.dtype == torch.float16  # the caller's network stays as it is
    assert tiles.restore_large(Fragile(torch.float32, bad=1), photo).recomputed
    assert not tiles.restore_large(Fragile(torch.float32), photo).recomputed
    stubborn = Fragile(torch.float32, bad=5)
    with pytest.raises(NotFinite, match="not finite"):
        photos.deblur(photo, model=stubborn)
    assert stubborn.bad == 3  # twice and no more


def test_a_network_in_half_precision_takes_photographs():
    torch.manual_seed(0)
    model = shake(DeMoE(SMALL))
    photo = torch.rand(3, 20, 31, generator=torch.Generator().manual_seed(0))
    expected = photos.deblur(photo, model=model, expert=EXPERTS[0]).image
    found = photos.deblur(photo, model=copy.deepcopy(model).bfloat16(), expert=EXPERTS[0]).image
    assert found.dtype == torch.float32 and (found - expected).abs().mean() < 0.05


def test_a_bright_photograph_is_not_brightened_unless_somebody_asks(monkeypatch):
    """A router that names low light whatever it sees, whose expert adds 40 levels."""

    def brightening(model, pixels, expert, **_):
        logits = torch.tensor([1.0, 0.0, 2.0, 0.0, 5.0])
        weights = (
            torch.eye(5)[EXPERTS.index(expert or "low_light")] if not callable(expert) else expert(logits[None])[0]
        )
        return tiles.Large((pixels + 40 / 255 * weights[4]).clamp(0, 1), logits, weights, Plan(None))

    monkeypatch.setattr(photos, "restore_large", brightening)
    model = DeMoE(SMALL)
    bright, dark = torch.full((3, 40, 50), 0.5), torch.full((3, 40, 50), 0.1)
    result = photos.deblur(bright, model=model)
    assert result.expert is None and not result.weights and torch.equal(result.image, bright)
    (told,) = result.warnings
    assert "it is bright already: left as it is" in told and doubt.NO_GUARD in told
    assert photos.deblur(dark, model=model).expert == "low_light"
    for asked in ({"guard": False}, {"expert": "low_light"}):
        result = photos.deblur(bright, model=model, **asked)
        assert result.expert == "low_light" and result.change.brightness == pytest.approx(40, abs=1e-3)
        assert not any(doubt.NO_GUARD in warning for warning in result.warnings)


def test_one_decision_a_tile_is_guarded_too():
    """A router that takes every tile of a bright photograph for low light."""
    model = shake(DeMoE(SMALL))
    with torch.no_grad():
        model.mlp_branch.classifier[-1].weight.zero_()
        model.mlp_branch.classifier[-1].bias.copy_(9 * torch.eye(5)[EXPERTS.index("low_light")])
    bright, dark = torch.full((3, 270, 300), 0.5), torch.full((3, 270, 300), 0.1)
    how = {"model": model, "route": "tile", "tile": 256}
    result = photos.deblur(bright, **how)
    assert result.guarded == "bright" and result.expert is None and torch.equal(result.image, bright)
    assert photos.deblur(dark, **how).expert == photos.deblur(bright, guard=False, **how).expert == "low_light"
    assert set(result.expert_map.experts.flatten().tolist()) == {EXPERTS.index("local_motion")}
