import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from demoe.data.pairs import PairedSet
from demoe.evaluation import benchmark
from demoe.evaluation.metrics import psnr, ssim
from demoe.model.demoe import DeMoE, DeMoEConfig
from demoe.tasks import EXPERTS

TINY = DeMoEConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))


def test_psnr_equals_scikit_image_and_the_formula():
    a, b = torch.rand(3, 3, 17, 23), torch.rand(3, 3, 17, 23)
    expected = [peak_signal_noise_ratio(y.numpy(), x.numpy(), data_range=1) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(psnr(a, b).numpy(), expected, rtol=1e-6)
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert psnr(flat, flat + 0.1).item() == pytest.approx(20, abs=1e-5)
    assert psnr(a, a).tolist() == [100, 100, 100]


def test_ssim_is_near_scikit_image_and_one_for_equals():
    torch.manual_seed(0)
    a = torch.rand(2, 3, 40, 33)
    b = (a + 0.1 * torch.randn_like(a)).clamp(0, 1)
    assert ssim(a, a).tolist() == pytest.approx([1, 1])
    expected = [
        structural_similarity(x.numpy(), y.numpy(), data_range=1, channel_axis=0, gaussian_weights=True,
                              use_sample_covariance=False)
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(ssim(a, b).numpy(), expected, atol=5e-3)  # the two differ at the border only


def test_metrics_refuse_what_they_cannot_compare():
    with pytest.raises(ValueError, match="shapes"):
        psnr(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(torch.rand(1, 3, 10, 30), torch.rand(1, 3, 10, 30))


def flat_set(name, difference, count=2):
    sharp = torch.full((3, 24, 18), 100, dtype=torch.uint8)
    return PairedSet(name, "synthetic", [f"{i}" for i in range(count)], lambda i: (sharp + difference, sharp))


def test_scores_and_averages():
    sets = [flat_set("GoPro-syn", 10, 3), flat_set("RealBlur-syn", 51, 1)]
    methods = {"input": benchmark.blurred_input, "perfect": lambda image, pairs: torch.full_like(image, 100 / 255)}
    scores = benchmark.score(sets, methods, progress=False)
    assert len(scores) == 8
    summary = benchmark.summarise(scores).set_index(["set", "method"])
    ten, fifty = -20 * math.log10(10 / 255), -20 * math.log10(51 / 255)
    assert summary.loc[("GoPro-syn", "input"), "psnr"] == pytest.approx(ten, abs=1e-4)
    # The mean of the sets' means, not of the pictures: the three GoPro pictures do not outweigh the one of RealBlur.
    assert summary.loc[("Average", "input"), "psnr"] == pytest.approx((ten + fifty) / 2, abs=1e-4)
    assert summary.loc[("Average", "input"), "images"] == 4
    assert summary.loc[("GoPro-syn", "perfect"), "psnr"] == pytest.approx(100, abs=0.5)
    assert list(dict.fromkeys(benchmark.summarise(scores).set)) == ["RealBlur-syn", "GoPro-syn", "Average"]


def test_routing_rows_are_probabilities():
    model = shake(DeMoE(TINY))
    rows = benchmark.route(model, [flat_set("GoPro-syn", 10), flat_set("DPDD-syn", 20)])
    assert isinstance(rows, pd.DataFrame)
    np.testing.assert_allclose(rows[list(EXPERTS)].sum(axis=1), 1, rtol=1e-6)
    assert (rows.predicted == rows[list(EXPERTS)].idxmax(axis=1)).all()
    assert (rows.correct == (rows.predicted == rows.label)).all()
    assert rows.label.tolist() == ["synth_global_motion"] * 2 + ["defocus"] * 2


def test_methods_differ_as_they_say():
    model = shake(DeMoE(TINY))
    methods = benchmark.methods(None, model)
    image = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        manual = methods["DeMoE manual"](image, flat_set("LOLBlur-syn", 1))
        torch.testing.assert_close(manual, model(image, expert="low_light").image.clamp(0, 1))
        torch.testing.assert_close(methods["DeMoE k=5"](image, None), model(image, k=5).image.clamp(0, 1))
        torch.testing.assert_close(methods["DeMoE k=1"](image, None), model(image, k=1).image.clamp(0, 1))
