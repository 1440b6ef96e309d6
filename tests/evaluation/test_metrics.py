"""PSNR and SSIM against other libraries and formulas; and what is said where there is no value."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from demoe.evaluation import metrics
from demoe.evaluation.metrics import psnr, psnr_8bit, ssim


def waves(height=47, width=61):
    """A picture and its reference (1, 3, H, W), by formula: the same for every library that ever scored them."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in (height, width)), indexing="ij")
    sharp = [0.5 + 0.4 * torch.sin(0.31 * x + 0.17 * y * (c + 1)) * torch.cos(0.05 * x * y / (c + 2)) for c in range(3)]
    sharp = torch.stack(sharp)
    image = (0.9 * sharp + 0.05 + 0.08 * torch.cos(1.7 * x - 2.3 * y)).clamp(0, 1)
    return image[None].float(), sharp[None].float()


def test_psnr_equals_scikit_image_and_the_formula():
    a, b = torch.rand(3, 3, 17, 23), torch.rand(3, 3, 17, 23)
    expected = [peak_signal_noise_ratio(y.numpy(), x.numpy(), data_range=1) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(psnr(a, b).numpy(), expected, rtol=1e-6)
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert psnr(flat, flat + 0.1).item() == pytest.approx(20, abs=1e-5)
    assert psnr(a, a).tolist() == [100, 100, 100]


def test_psnr_of_8_bit_files_equals_scikit_image_on_bytes():
    image, sharp = waves()
    as_bytes = [(side[0] * 255).round().byte().numpy() for side in (image * 1.3 - 0.1, sharp)]
    as_bytes[0] = ((image[0] * 1.3 - 0.1).clamp(0, 1) * 255).round().byte().numpy()
    expected = peak_signal_noise_ratio(as_bytes[1], as_bytes[0])
    assert psnr_8bit(image * 1.3 - 0.1, sharp).item() == pytest.approx(expected, abs=1e-9)
    near = torch.full((1, 3, 4, 4), 100.4 / 255)
    assert psnr_8bit(near, torch.full_like(near, 100 / 255)).item() == 100 > psnr(near, near * 0 + 100 / 255).item()


def test_mean_error_and_gradient_energy_of_an_offset_and_of_less_contrast():
    sharp = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    for image, error, energy in ((sharp, 0, 1), (sharp + 0.25, 0.25, 1), (0.5 * sharp, None, 0.25)):
        assert metrics.gradient_energy(image, sharp).tolist() == pytest.approx([energy] * 2, rel=1e-5)
        expected = (image - sharp).abs().mean((1, 2, 3)).tolist() if error is None else [error] * 2
        assert metrics.mae(image, sharp).tolist() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="cannot compare images of shapes"):
        metrics.gradient_energy(sharp, sharp[..., 1:])


def test_ssim_equals_scikit_image_away_from_the_border():
    image, sharp = waves()
    _, full = structural_similarity(
        sharp[0].double().numpy(),
        image[0].double().numpy(),
        data_range=1,
        channel_axis=0,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )  # (3, H, W), the same 11-pixel window; the border is where the two libraries differ
    assert ssim(image, sharp).item() == pytest.approx(full[:, 5:-5, 5:-5].mean(), abs=1e-6)
    assert ssim(sharp, sharp).item() == pytest.approx(1)
    smallest = ssim(image[..., :11, :11], sharp[..., :11, :11])
    assert smallest.item() == pytest.approx(
        structural_similarity(
            sharp[0, :, :11, :11].double().numpy(),
            image[0, :, :11, :11].double().numpy(),
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            use_sample_covariance=False,
            full=True,
        )[1][:, 5, 5].mean(),
        abs=1e-6,
    )


def test_values_that_other_libraries_gave_for_the_same_pictures():
    """torchmetrics 1.9.0 (PSNR in float64) and pyiqa 0.1.16, whose SSIM is of the pictures rounded to 8 bits."""
    image, sharp = waves()
    assert psnr(image, sharp).item() == pytest.approx(24.428862, abs=2e-6)
    assert ssim(image, sharp).item() == pytest.approx(0.917339, abs=2e-4)


def test_a_constant_picture_has_an_answer():
    flat = torch.full((1, 3, 20, 13), 0.5)
    assert ssim(flat, flat).item() == pytest.approx(1)
    other = flat * 0.5
    c1 = 0.01**2  # with no contrast SSIM is its luminance term
    assert ssim(flat, other).item() == pytest.approx((2 * 0.125 + c1) / (0.25 + 0.0625 + c1), abs=1e-3)


def test_metrics_refuse_what_they_cannot_compare():
    with pytest.raises(ValueError, match="shapes"):
        psnr(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(torch.rand(1, 3, 10, 30), torch.rand(1, 3, 10, 30))
    with pytest.raises(ValueError, match="shapes"):
        metrics.measure(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))


def test_what_cannot_be_measured_is_nan_with_the_reason():
    image = torch.rand(1, 3, 9, 30)
    small = metrics.measure(image, image)
    assert small.values["psnr"] == 100 and math.isnan(small.values["ssim"])
    assert small.reasons == "ssim: picture under 11x11 pixels"
    alone = metrics.measure(image, None)
    assert all(map(math.isnan, alone.values.values()))
    assert alone.reasons == "psnr: no ground truth; ssim: no ground truth"
    assert metrics.measure(None, image, ["psnr"]).reasons == "psnr: method does not apply to this set"
    damaged = metrics.measure(torch.full_like(image, math.nan), image, ["psnr"])
    assert math.isnan(damaged.values["psnr"]) and damaged.reasons == "psnr: the result is not a finite number"


def test_metrics_are_chosen_by_name():
    assert metrics.columns(["ssim", "aligned"]) == ["ssim", "psnr_aligned", "ssim_aligned"]
    wrong = ((["psnr", "blurriness"], "unknown: blurriness"), ([], "none"), (["psnr", "psnr"], "at most once"))
    for names, text in wrong:
        with pytest.raises(ValueError, match=text):
            metrics.columns(names)
    every = [column for metric in metrics.METRICS.values() for column in metric.columns]
    assert len({*every, *metrics.ELSEWHERE}) == len(every) + len(metrics.ELSEWHERE) == len(metrics.LABELS)
    assert len(set(metrics.LABELS.values())) == len(metrics.LABELS), "two metrics under one heading"


@pytest.mark.parametrize("step", [1, 8])
def test_the_busiest_window_holds_what_changed(step):
    change = torch.full((3, 500, 750), 0.25)  # brighter everywhere
    change[:, 305:340, 550:590] = 1
    top, left = metrics.busiest_window(change, (160, 160), step)
    assert top <= 305 and top + 160 >= 340 and left <= 550 and left + 160 >= 590


def test_every_place_or_every_eighth():
    picture = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0)) ** 4
    places = {(i, j): picture[:, i : i + 16, j : j + 24] for i in range(0, 49, 8) for j in range(0, 57, 8)}
    spread = {place: window.double().flatten(1).var(1, correction=0).sum() for place, window in places.items()}
    assert metrics.busiest_window(picture, (16, 24), 8) == max(spread, key=spread.get)
    for size in ((64, 80), (3, 80), (64, 1)):
        top, left = metrics.busiest_window(picture, size, 8)
        assert 0 <= top <= 64 - size[0] and 0 <= left <= 80 - size[1]
