"""NIQE by scikit-video's parameters: scikit-video's own numbers, and what a naturalness should say."""

import numpy as np
import pytest
import torch
from PIL import Image

from demoe.blur import sources
from demoe.core.downloads import CannotMeasure
from demoe.evaluation import metrics, niqe
from demoe.evaluation.statistics import judge


def photograph(name="chelsea", side=(192, 288)):
    picture = sources.photographs("test")[name]
    return picture[None, :, : side[0], : side[1]]


def imresize(picture, share, interp, mode):
    """What SciPy had until version 1.3, for this one use."""
    size = tuple(int(share * side) for side in picture.shape[::-1])
    assert (interp, mode) == ("bicubic", "F")
    return np.asarray(Image.fromarray(picture, mode="F").resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side", [(210, 300), (288, 200)])
def test_it_is_scikit_videos_number(monkeypatch, side):
    measure = pytest.importorskip("skvideo.measure")
    monkeypatch.setattr("scipy.misc.imresize", imresize, raising=False)
    monkeypatch.setattr(np, "int", int, raising=False)  # gone since NumPy 1.24
    image = photograph(side=side)
    luma = ((image[0] * 255).round().permute(1, 2, 0).double().numpy() @ (0.299, 0.587, 0.114)).round()
    theirs = measure.niqe(luma.astype(np.uint8)[None, :, :, None])
    assert niqe.niqe_refit(image).numpy() == pytest.approx(theirs, rel=2e-3)


def test_noise_and_blur_are_less_natural_and_batches_are_single_pictures():
    sharp = photograph()
    noisy = (sharp + 0.15 * torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    blurred = torch.nn.functional.avg_pool2d(sharp, 9, 1, 4, count_include_pad=False)
    scores = niqe.niqe_refit(torch.cat([sharp, noisy, blurred]))
    assert scores[0] < scores[1] and scores[0] < scores[2]
    assert torch.equal(scores[1:2], niqe.niqe_refit(noisy))
    assert torch.equal(niqe.niqe_refit(sharp[..., :200]), niqe.niqe_refit(sharp[..., :192]))  # whole patches count


def test_one_colour_has_a_number():
    assert torch.isfinite(niqe.niqe_refit(torch.full((1, 3, 192, 192), 0.5))).all()


def test_it_says_why_it_has_none(monkeypatch):
    found = metrics.measure(torch.rand(1, 3, 100, 300), None, ("niqe_refit",))
    assert found.reasons == "niqe_refit: picture under 192x192 pixels"
    monkeypatch.setattr(niqe, "installed_file", lambda name: None)
    niqe._parameters.cache_clear()
    found = metrics.measure(torch.rand(1, 3, 200, 200), None, ("niqe_refit",))
    assert found.reasons == "niqe_refit: scikit-video not installed"
    assert isinstance(metrics.missing(("niqe_refit",))["niqe_refit"], CannotMeasure)
    niqe._parameters.cache_clear()


def test_its_label_says_that_it_is_a_refit_and_less_is_better():
    assert metrics.LABELS["niqe_refit"] == "NIQE, re-fit ↓"
    assert judge(-1.0, -1.5, -0.5, 20, metric="niqe_refit").word == "better"
