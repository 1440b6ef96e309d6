"""What the physics of blur demands of whole recipes, on odd and oblong sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from warps import average_of_warps

from demoe.blur import psf, recipes_training, sensor, sets, sources, trajectories
from demoe.blur.cameras import CAMERAS
from demoe.blur.job import Job
from demoe.blur.sets import SETS, Options, synthesize


def _photograph(rng, split, height, width, **options):
    """Photographs only: dead-leaves scenes take a second each to make."""
    return sources.sharp_canvas(rng, split, height, width, **{**options, "dead_leaves": 0.0})


def _constant(rng, split, height, width, *, scale=1.0, for_defocus=False, exclude=None):
    level = 0.5 if exclude is None else 0.8
    return torch.full((3, height, width), level), "constant" if exclude is None else "object"


PHOTOS = Options(canvas=_photograph)
CLEAN = Options(canvas=_photograph, capture="none")


def _psnr(pair):
    return -10 * np.log10(max(((pair.blurred - pair.sharp) ** 2).mean().item(), 1e-12))


@pytest.mark.parametrize("name", [name for name in SETS if not name.startswith("LOL")])
def test_without_blur_and_noise_input_and_target_agree(name):
    options = Options(blur=0.0, capture="none", canvas=_photograph)
    for index in range(3):
        pair = synthesize(name, "train", index, size=(45, 64), options=options)
        assert (pair.blurred - pair.sharp).abs().max() <= 1.01 / 255  # a tie of the 8-bit rounding
        assert ((pair.blurred - pair.sharp).abs() > 0).float().mean() < 0.01


def test_lolblur_is_dark_and_its_light_is_in_the_range_asked_for():
    pairs = [synthesize("LOLBlur", "train", i, size=64, options=PHOTOS) for i in range(24)]
    means = np.array([pair.blurred.mean().item() for pair in pairs])
    assert means.min() > 0.02 and means.max() < 0.35 and 0.07 < np.median(means) < 0.18
    assert all(pair.blurred.mean() < 0.6 * pair.sharp.mean() for pair in pairs)


def test_the_errors_of_lolblur_fill_three_of_four_bins():
    """Figure 10: fewer in each bin than in the one before, and 1400 of 10,200 can be drawn from the third."""
    pairs = [synthesize("LOLBlur", "train", i, size=40, options=PHOTOS) for i in range(120)]
    counts = np.histogram([(pair.blurred - pair.sharp).square().mean().item() for pair in pairs], 4)[0]
    assert (np.diff(counts) < 0).all() and counts[2] >= 12


def test_a_scene_is_exposed_by_its_mean_and_keeps_black_and_white():
    canvas = (
        torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 0.2])[:, None, None, None]
    )
    canvas[..., 0, 0], canvas[..., 0, 1] = 0, 1
    job = Job([np.random.default_rng(0)] * 2, "train", (9, 12), torch.device("cpu"), Options(), CAMERAS["LOLBlur"])
    lit = recipes_training._exposed(job, canvas, [0.3, 0.5])
    assert torch.allclose(lit.mean((1, 2, 3)), torch.tensor([0.3, 0.5]), atol=0.08)
    assert (lit[..., 0, 0] == 0).all() and (lit[..., 0, 1] == 1).all()


def test_rsblur_has_a_camera_of_its_own_and_a_mover_in_half_of_its_scenes():
    assert CAMERAS["RSBlur"].interpolate is sensor.demosaic_malvar
    assert all(camera.interpolate is sensor.demosaic for name, camera in CAMERAS.items() if name != "RSBlur")
    notes = [synthesize("RSBlur", "test", i, size=16, options=PHOTOS).note for i in range(24)]
    assert 5 <= sum("an object over" in note for note in notes) <= 19


@pytest.mark.parametrize("mean", [0.05, 0.2])
def test_darkening_meets_its_target_and_keeps_black_and_white(mean):
    lightness = np.random.default_rng(0).random((50, 60))
    strength = recipes_training._darkening(lightness, mean)
    darker = recipes_training._darken(lightness, strength)
    assert darker.mean() == pytest.approx(mean, abs=1e-3)
    assert recipes_training._darken(0.0, strength) == 0 and recipes_training._darken(1.0, strength) == 1
    order = np.argsort(lightness.ravel())
    assert (np.diff(darker.ravel()[order]) >= 0).all()


@pytest.mark.parametrize("name", ["GoPro", "DPDD", "RealDOF"])
def test_a_constant_scene_stays_constant(name):
    seen = 0
    for index in range(6):
        pair = synthesize(name, "train", index, size=48, options=Options(capture="none", canvas=_constant))
        if "object" not in pair.note:
            assert (pair.blurred - 0.5).abs().max() <= 0.5 / 255 + 1e-6
            seen += 1
    assert seen


@pytest.mark.parametrize("name", ["RealBlur", "GoPro", "DPDD", "LOLBlur", "RealDOF", "RSBlur", "Real-LOLBlur"])
def test_more_blur_is_worse(name):
    """Beside the sharp picture or, where that is brighter, which would weigh more, the same scene without blur."""

    def made(index, blur):
        return synthesize(name, "train", index, size=96, options=Options(blur, "none", canvas=_photograph))

    def score(index, blur):
        pair = made(index, blur)
        return _psnr(replace(pair, sharp=made(index, 0).blurred) if name == "LOLBlur" else pair)

    scores = [np.mean([score(i, blur) for i in range(4)]) for blur in (0.25, 0.5, 1, 2)]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 4


def test_reloblur_changes_nothing_outside_the_mask():
    covered, worst, inside = [], 0.0, []
    for index in range(12):
        pair = synthesize("ReLoBlur", "train", index, size=(96, 120), options=CLEAN)
        difference = (pair.blurred - pair.sharp).abs().amax(0)
        covered.append(pair.mask.mean().item())
        worst = max(worst, difference[pair.mask[0] == 0].max().item() if covered[-1] < 1 else 0)
        if covered[-1] > 0:
            inside.append(difference[pair.mask[0] == 1].mean().item())
        assert (pair.note == "nothing moves") <= (covered[-1] == 0)
    # The mask starts at 0.1 % of the light, which is a code of .013 on black; and 8-bit rounding
    assert worst <= 0.013 + 1 / 255 and min(inside) > 0
    assert np.mean(inside) > 0.01
    assert 0 < np.mean(covered) < 0.4 and min(covered) == 0


def _moved(pair):
    """Where the blurred image lies relative to the sharp one, pixels: the peak of their correlation, sub-pixel."""
    a, b = (image.mean(0).double() - image.mean().double() for image in (pair.blurred, pair.sharp))
    window = torch.outer(*(torch.hann_window(n, dtype=torch.float64) for n in a.shape))
    cross = torch.fft.fft2(a * window) * torch.fft.fft2(b * window).conj()
    plane = torch.fft.fftshift(torch.fft.ifft2(cross).real)
    y, x = np.unravel_index(int(plane.argmax()), plane.shape)
    patch = (plane[y - 1 : y + 2, x - 1 : x + 2]).numpy()
    sub = [(p[0] - p[2]) / (2 * (p[0] - 2 * p[1] + p[2])) for p in (patch[:, 1], patch[1])]
    return float(np.hypot(y + sub[0] - plane.shape[0] // 2, x + sub[1] - plane.shape[1] // 2))


def test_where_the_sharp_image_lies_in_the_exposure():
    """Whole-frame motion of 8 px, no noise: no shift for the centroid, hardly for mid-exposure, much for the start."""
    image = sources.photographs("train")["astronaut"][None, :, 100:356, 100:356]
    shift = {}
    for anchor in trajectories.ANCHORS:
        moved = []
        for seed in range(8):
            path = trajectories.sample(np.random.default_rng(seed), 8, length=1.0, anchor=anchor)
            blurred = psf.motion_blur(image, [path])
            crops = [psf.crop(one, (200, 200))[0] for one in (blurred, image)]
            moved.append(_moved(sets.Pair(*crops, None, "", "")))
        shift[anchor] = np.mean(moved)
    assert shift["centroid"] < 1
    assert shift["mid"] < 2 < shift["start"]


@pytest.mark.parametrize("name", ["RealBlur", "LOLBlur", "GoPro", "RSBlur", "Real-LOLBlur"])
def test_convolution_and_the_average_of_warped_frames_agree(name, monkeypatch):
    """Whole recipes, at 16 bits so that rounding hides nothing; index 1 and 2 have paths with roll, or not."""
    options = Options(capture="none", bits=16, canvas=_photograph)
    for index in (1, 2):
        fast = synthesize(name, "train", index, size=(61, 84), options=options)
        with monkeypatch.context() as patched:
            patched.setattr(psf, "motion_blur", average_of_warps)
            slow = synthesize(name, "train", index, size=(61, 84), options=options)
        assert torch.equal(fast.sharp, slow.sharp) and not torch.equal(fast.blurred, slow.blurred)
        error = ((fast.blurred - slow.blurred) ** 2).mean().item()
        assert -10 * np.log10(error) > 55
        assert (fast.blurred - slow.blurred).abs().max() < 0.03


def test_margin_covers_the_longest_path_and_roll_of_a_large_frame(monkeypatch):
    """Warped frames are black beyond the canvas: a margin too narrow would darken the frame's corners."""
    monkeypatch.setattr(psf, "motion_blur", average_of_warps)
    options = Options(blur=6.0, capture="none", canvas=_constant)
    for index in range(4):
        pair = synthesize("GoPro", "train", index, size=(16, 901), options=options)
        assert "object" in pair.note or (pair.blurred - 0.5).abs().max() <= 0.51 / 255


@pytest.mark.parametrize(("name", "reach"), [("DPDD", 21), ("RealDOF", 31)])
def test_defocus_does_not_wrap_around(name, reach):
    """White beyond the largest disk's reach: none of it may come in, from the other side either."""

    def framed(rng, split, height, width, **options):
        canvas = torch.ones(3, height, width)
        psf.crop(canvas, (41 + 2 * reach + 2, 63 + 2 * reach + 2)).fill_(0.5)
        return canvas, "framed"

    for index in range(6):
        pair = synthesize(name, "train", index, size=(41, 63), options=Options(blur=4, capture="none", canvas=framed))
        assert (pair.blurred - 0.5).abs().max() <= 0.51 / 255


@pytest.mark.parametrize("name", ["GoPro", "DPDD", "ReLoBlur", "LOLBlur", "RealDOF"])
def test_gray_stays_gray(name):
    """No coloured fringes: the noise of a camera aside, a gray scene has no colour."""

    def gray(rng, split, height, width, **options):
        canvas, source = _photograph(rng, split, height, width, **options)
        return canvas.mean(0, keepdim=True).expand(3, -1, -1), source

    for capture, tolerance in (("none", 1e-6), ("set", 0.05)):
        for index in range(3):
            pair = synthesize(name, "train", index, size=(63, 80), options=Options(capture=capture, canvas=gray))
            colour = pair.blurred - pair.blurred.mean(0, keepdim=True)
            lamps = pair.sharp.std(0) > 1e-3 if name == "LOLBlur" else torch.zeros_like(colour[0], dtype=torch.bool)
            if not lamps.any():  # lamps are warm
                assert colour.abs().mean() < tolerance
                assert colour.abs().max() < max(6 * tolerance, 2.01 / 255)


@pytest.mark.parametrize("name", [name for name in SETS if not name.startswith("LOL")])
def test_no_shift_of_colour_or_light(name):
    """The mean of each channel, over a few samples; motion blur keeps light, not code values, so it is compared there.
    Only what leaves the frame or comes in may change it, and clipped lamps."""
    difference = []
    for index in range(6):
        pair = synthesize(name, "train", index, size=(90, 101), options=Options(0.5, canvas=_photograph))
        means = [sensor.to_linear(image).mean((1, 2)) for image in (pair.blurred, pair.sharp)]
        difference.append(means[0] - means[1])
    assert torch.stack(difference).mean(0).abs().max() < 0.02


def test_highlights_of_a_night_have_no_contours():
    """A smooth ramp up to white stays smooth; with the boost beginning at a threshold it had a step."""

    def ramp(rng, split, height, width, **options):
        return torch.linspace(0.5, 1, width).expand(3, height, width).clone(), "ramp"

    for seed in range(5):
        options, camera = Options(canvas=ramp), CAMERAS["RSBlur"]
        job = sets.Job([np.random.default_rng(seed)], "train", (64, 64), torch.device("cpu"), options, camera)
        canvas, _ = job.canvases()
        light, budget = recipes_training.night(job, canvas, (0, 1), lamps=0)
        steps = light[0, 0, 0].diff() / budget[0]
        assert (steps > 0).all() and light.max() > 1.2 * budget[0]
        assert steps.diff().abs().max() < 0.2 * steps.max()


def test_lolblur_has_lamps_that_stay_bright():
    seen = 0
    for index in range(12):
        pair = synthesize("LOLBlur", "train", index, size=(201, 256), options=Options(capture="none", canvas=_dim))
        lit = pair.sharp.amin(0) > 0.99
        if 0 < lit.float().mean() < 0.05:
            seen += 1
            assert pair.blurred.median() < 0.3 and pair.blurred.amax() > 2 * pair.blurred.median()
    assert seen >= 3


def _dim(rng, split, height, width, **options):
    return torch.full((3, height, width), 0.6), "dim"


def test_lolv2_is_dark_and_does_not_move():
    for index in range(8):
        pair = synthesize("LOLv2-real", "test", index, size=(64, 75), options=CLEAN)
        light, sharp = sensor.to_linear(pair.blurred), sensor.to_linear(pair.sharp)
        share = light.mean() / sharp.mean()
        assert 0.018 < share < 0.112
        assert (light - share * sharp).abs().max() < 0.002  # pixel by pixel, to the rounding of a dark picture


def test_blur_gamma_is_brighter_and_of_the_same_scene():
    plain, gamma = (
        synthesize("GoPro", "train", 2, size=(60, 81), options=Options(gamma=g, canvas=_photograph))
        for g in (False, True)
    )
    assert torch.equal(plain.sharp, gamma.sharp) and plain.note == gamma.note
    assert (gamma.blurred - plain.blurred).min() >= -1.01 / 255  # an average of light is never darker
    assert gamma.blurred.mean() - plain.sharp.mean() > 2 * (plain.blurred.mean() - plain.sharp.mean()).abs()
