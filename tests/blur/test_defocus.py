"""Blur by defocus: the disk, and layers against a slow direct formulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demoe.blur import psf


def _image(height=96, width=130, channels=3, seed=0, smooth=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, channels, height, width, generator=generator)
    for _ in range(smooth):
        image = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(image, (1, 1, 1, 1), mode="circular"), 3, 1)
    return image


def _psnr(a, b):
    return -10 * torch.log10(((a - b) ** 2).mean()).item()


@pytest.mark.parametrize("radius", [0, 0.25, 1, 2.3, 21])
@pytest.mark.parametrize("blades", [0, 7, 9])
def test_disk_is_nonnegative_and_sums_to_one(radius, blades):
    kernel = psf.disk(radius, blades, 15)
    assert kernel.min() >= 0 and kernel.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    embedded = psf.embed(torch.from_numpy(kernel)[None], (65, 70))[0, 0]
    assert embedded.double().sum().item() == pytest.approx(1, abs=1e-6)
    reach = len(kernel) // 2
    centred = torch.fft.fftshift(embedded).numpy()  # the origin of an odd length lies at 32, of an even one at 35
    assert np.array_equal(centred[32 - reach : 33 + reach, 35 - reach : 36 + reach], kernel)


def test_cat_eye_is_what_two_disks_share():
    full, eye = psf.disk(12), psf.disk(12, 0, 30, 0.6)
    assert eye.shape == full.shape and eye.min() >= 0 and eye.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    lens = 2 * np.arccos(0.3) - 0.3 * np.sqrt(4 - 0.36)  # area of two unit circles' overlap at a distance of 0.6
    assert 1 / eye.max() == pytest.approx(lens * 144, rel=0.02)
    axis = np.arange(len(eye)) - len(eye) // 2
    x, y = (eye * axis).sum(), (eye * axis[:, None]).sum()  # halfway to the other centre
    assert (x, y) == pytest.approx((0.3 * 12 * np.cos(np.pi / 6), 0.3 * 12 * np.sin(np.pi / 6)), abs=0.05)
    assert np.array_equal(psf.disk(0.5, 0, 30, 0.6), psf.disk(0.5))


def test_disk_has_the_moments_of_a_disk():
    """Second moment r^2/4 per axis (the soft edge adds 1/8 or so), centred; a polygon lies inside its circle."""
    for radius in (3, 8, 20):
        kernel = psf.disk(radius).astype(np.float64)
        axis = np.arange(len(kernel)) - len(kernel) // 2
        assert (kernel * axis).sum() == pytest.approx(0, abs=1e-6)
        assert (kernel * axis**2).sum() == pytest.approx(radius**2 / 4, abs=0.15)
        assert (psf.disk(radius, 7) > 0).sum() <= (kernel > 0).sum()
        area = 1 / psf.disk(radius, 7).max()
        assert area == pytest.approx(3.5 * radius**2 * np.sin(2 * np.pi / 7), rel=0.08)


def _disparity(height=96, width=130):
    plane = torch.linspace(0.1, 0.6, width).expand(1, 1, height, width).clone()
    plane[..., 30:70, 50:90] = 0.9
    return plane


def test_defocus_of_strength_zero_is_the_identity():
    image = _image()
    assert (psf.defocus_blur(image, _disparity(), [0.5], [0.0]) - image).abs().max() <= 2e-6


def test_defocus_keeps_a_constant_and_its_range():
    constant = torch.full((1, 3, 97, 131), 0.3)
    out = psf.defocus_blur(constant, _disparity(97, 131), [0.5], [13.0], blades=[7], angle=[10])
    assert (out - constant).abs().max() <= 1e-6
    image = (_image() > 0.5).float()
    out = psf.defocus_blur(image, _disparity(), [0.5], [13.0])
    assert out.min() > -1e-5 and out.max() < 1 + 1e-5


def test_flat_scene_is_one_convolution_with_a_disk():
    image, flat = _image(), torch.full((1, 1, 96, 130), 0.25)
    flat[..., 0, 0] = 0.75  # one pixel in focus sets the range of disparities
    out = psf.defocus_blur(image, flat, [0.75], [10.0])
    expected = psf.convolve(image, psf.embed(torch.from_numpy(psf.disk(5.0))[None], (96, 130)))
    assert (out - expected)[..., 12:-12, 12:-12].abs().max() < 1e-5


@pytest.mark.parametrize(("blades", "clip"), [(0, 0.0), (7, 0.0), (0, 0.5)])
def test_defocus_against_pixel_by_pixel_splatting(blades, clip):
    """Every pixel of every slice strews its own disk; slices go over one another from far to near."""
    height, width, slices, focus, strength = 23, 31, 5, 0.4, 7.0
    image = _image(height, width, smooth=1)
    depth = torch.linspace(0.1, 0.9, width).expand(1, 1, height, width).clone()
    depth[..., 5:15, 8:20] = 0.7
    step = (depth.max() - depth.min()).item() / (slices - 1)
    level = ((depth[0, 0] - focus) / step).round().int().numpy()
    colour, opacity = np.zeros((3, height, width)), np.zeros((height, width))
    for index in range(level.min(), level.max() + 1):
        radius = round(min(strength * abs(index) * step, 4.0) / psf.RADIUS_STEP) * psf.RADIUS_STEP
        kernel = psf.disk(radius, blades, 20, clip).astype(np.float64)
        reach = len(kernel) // 2
        light, cover = np.zeros((3, height, width)), np.zeros((height, width))
        for y, x in np.argwhere(level == index):
            rows, columns = (np.arange(-reach, reach + 1) + at for at in (y, x))
            where = np.ix_(rows % height, columns % width)
            cover[where] += kernel
            for c in range(3):
                light[c][where] += kernel * image[0, c, y, x].item()
        passed = 1 - cover.clip(0, 1)
        colour, opacity = light + passed * colour, cover + passed * opacity
    out = psf.defocus_blur(
        image, depth, [focus], [strength], max_radius=4.0, slices=slices, blades=[blades], angle=[20], clip=[clip]
    )
    assert len(np.unique(level)) >= 5
    np.testing.assert_allclose(out[0].numpy(), colour / opacity, atol=2e-5)


def test_only_what_is_out_of_focus_is_blurred_and_more_strength_blurs_more():
    image, disparity = _image(smooth=1), _disparity()
    out = psf.defocus_blur(image, disparity, [0.9], [20.0])
    error = (out - image).abs().mean(1)[0]
    assert error[45:55, 65:75].max() < 2e-2 < error[:, :30].mean()
    scores = [_psnr(psf.defocus_blur(image, disparity, [0.35], [k]), image) for k in (3, 6, 12, 24, 48)]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5


def test_blurred_foreground_spreads_over_the_background_and_not_the_other_way():
    disparity = torch.full((1, 1, 64, 64), 0.2)
    disparity[..., :, 32:] = 0.8
    image = torch.zeros(1, 3, 64, 64)
    image[..., :, 32:] = 1  # a white foreground on the right
    near_blurred = psf.defocus_blur(image, disparity, [0.2], [10.0])
    assert 0.2 < near_blurred[0, 0, 32, 30] < 0.6
    far_blurred = psf.defocus_blur(image, disparity, [0.8], [10.0])
    assert far_blurred[0, 0, 32, 34] == pytest.approx(1, abs=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees():
    image = _image()
    out = psf.defocus_blur(image.cuda(), _disparity().cuda(), [0.5], [13.0]).cpu()
    assert torch.allclose(out, psf.defocus_blur(image, _disparity(), [0.5], [13.0]), atol=1e-5)
