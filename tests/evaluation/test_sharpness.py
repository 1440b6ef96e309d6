import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from demoe.evaluation import metrics


def stripes(height: int = 43, width: int = 61) -> torch.Tensor:
    """(1, 3, H, W): slanted edges of two grays, without stair steps."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wave = torch.sin((2 * x + y) * (2 * math.pi / 40))
    return (0.25 + 0.5 * torch.sigmoid(6 * wave)).expand(1, 3, height, width)


def blurred(image: torch.Tensor, side: int = 5) -> torch.Tensor:
    return F.avg_pool2d(image, side, 1, side // 2, count_include_pad=False)


def slow(image: torch.Tensor) -> float:
    """Patch by patch, with a singular value decomposition."""
    luma = np.tensordot([0.299, 0.587, 0.114], image[0].double().numpy(), 1)
    gy, gx = np.gradient(luma / max(luma.mean(), 1e-3))
    found = []
    for top in range(0, luma.shape[0] - 7, 8):
        for left in range(0, luma.shape[1] - 7, 8):
            part = slice(top, top + 8), slice(left, left + 8)
            s1, s2 = np.linalg.svd(np.stack([gx[part].ravel(), gy[part].ravel()], 1), compute_uv=False)
            r = (s1 - s2) / max(s1 + s2, 1e-12)
            found.append(s1 * r if r >= metrics.direction_threshold() else 0)
    return float(np.mean(found))


def test_equals_the_slow_formulation_on_an_odd_size():
    noise = torch.rand(1, 3, 43, 61, generator=torch.Generator().manual_seed(0))
    for image in (stripes(), blurred(stripes()), 0.8 * stripes() + 0.2 * noise):
        assert metrics.metric_q(image).item() == pytest.approx(slow(image), rel=1e-6)


def test_blur_and_noise_both_lower_it():
    noise = torch.randn(1, 3, 43, 61, generator=torch.Generator().manual_seed(1))
    sharp = metrics.metric_q(stripes())
    softer = [metrics.metric_q(blurred(stripes(), side)) for side in (3, 5, 9)]
    noisier = [metrics.metric_q((stripes() + level * noise).clamp(0, 1)) for level in (0.05, 0.15, 0.4)]
    for worse in (softer, noisier):
        assert sharp > worse[0] > worse[1] > worse[2]


def test_brightness_does_not_change_it_and_flat_pictures_have_none():
    assert metrics.metric_q(stripes() * 0.3).item() == pytest.approx(metrics.metric_q(stripes()).item(), rel=1e-5)
    assert metrics.metric_q(torch.full((2, 3, 16, 9), 0.4)).tolist() == [0, 0]
    assert metrics.metric_q(torch.zeros(1, 3, 16, 9)).item() == 0


def test_white_noise_rarely_has_a_direction():
    noise = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(-1, 3, 8, 8)
    assert (metrics.metric_q(noise) > 0).double().mean() < 0.1
    assert metrics.direction_threshold() == pytest.approx(0.234, abs=1e-3)
    assert metrics.direction_threshold(significance=0.1) < metrics.direction_threshold()


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 1, 16, 16), (1, 3, 7, 16)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="Metric Q takes pictures"):
        metrics.metric_q(torch.zeros(shape))
