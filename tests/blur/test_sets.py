import numpy as np
import pytest
import torch

from demoe import tasks
from demoe.blur import psf, scenes, sensor, sets, sources, training, trajectories
from demoe.blur.sets import SETS, Options, synthesize, synthesize_batch


def _photograph(rng, split, height, width, **options):
    """Photographs only: dead-leaves scenes take a second each to make."""
    return sources.sharp_canvas(rng, split, height, width, **{**options, "dead_leaves": 0.0})


def _constant(rng, split, height, width, *, scale=1.0, for_defocus=False, exclude=None):
    level = 0.5 if exclude is None else 0.8
    return torch.full((3, height, width), level), "constant" if exclude is None else "object"


PHOTOS = Options(canvas=_photograph)
CLEAN = Options(canvas=_photograph, capture=False)


def _psnr(pair):
    return -10 * np.log10(max(((pair.blurred - pair.sharp) ** 2).mean().item(), 1e-12))


def _equal(one, other):
    return (
        torch.equal(one.blurred, other.blurred)
        and torch.equal(one.sharp, other.sharp)
        and (one.mask is other.mask is None or torch.equal(one.mask, other.mask))
        and (one.source, one.note) == (other.source, other.note)
    )


def test_there_is_a_recipe_for_every_set():
    assert SETS == sets.TRAINING + sets.OOD + sets.CONTROL and len(set(SETS)) == 9
    assert set(sets.TRAINING) == set(tasks.DATASETS)
    assert list(sets.OOD) == list(tasks.OOD_EXPERT) and list(sets.CONTROL) == ["LOLv2-real"]
    assert list(sets.WITHOUT_GROUND_TRUTH) == ["Real-LOLBlur"]
    assert [sets._RECIPES[name][0] for name in SETS] == list(range(1, 10))  # the samples hang on these


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("size", [64, (37, 51), (70, 33)])
def test_shapes_range_and_8_bit_levels(name, size):
    pair = synthesize(name, "train", 3, size=size, options=PHOTOS)
    height, width = (size, size) if isinstance(size, int) else size
    for image in (pair.blurred, pair.sharp):
        assert image.shape == (3, height, width) and image.dtype == torch.float32
        assert image.min() >= 0 and image.max() <= 1
        assert torch.equal(sensor.quantise(image), image)
    assert not torch.equal(pair.blurred, pair.sharp)
    assert (pair.mask is not None) == (name == "ReLoBlur")
    if pair.mask is not None:
        assert pair.mask.shape == (1, height, width) and set(pair.mask.unique().tolist()) <= {0.0, 1.0}
    assert isinstance(pair.source, str) and isinstance(pair.note, str) and pair.note


@pytest.mark.parametrize("name", SETS)
def test_one_key_one_sample(name):
    keys = [(0, "train", 1), (0, "train", 2), (1, "train", 1), (0, "val", 1), (0, "test", 1)]
    make = {
        key: synthesize(name, key[1], key[2], size=(40, 52), seed=key[0], options=PHOTOS) for key in keys
    }
    assert _equal(make[keys[0]], synthesize(name, "train", 1, size=(40, 52), seed=0, options=PHOTOS))
    pictures = {pair.blurred.numpy().tobytes() for pair in make.values()}
    assert len(pictures) == len(keys)


def test_sets_do_not_share_their_random_numbers():
    assert len({synthesize(name, "train", 0, size=32, options=PHOTOS).sharp.numpy().tobytes() for name in SETS}) == 9


@pytest.mark.parametrize("name", SETS)
def test_a_batch_is_its_samples_bit_for_bit(name):
    indices = [4, 0, 9, 4]
    batch = synthesize_batch(name, "train", indices, size=(48, 37), seed=2, options=PHOTOS)
    assert batch.blurred.shape == batch.sharp.shape == (4, 3, 48, 37)
    for i, index in enumerate(indices):
        single = synthesize(name, "train", index, size=(48, 37), seed=2, options=PHOTOS)
        mask = None if batch.mask is None else batch.mask[i]
        assert _equal(single, sets.Pair(batch.blurred[i], batch.sharp[i], mask, batch.source[i], batch.note[i]))


@pytest.mark.parametrize("name", SETS)
def test_computing_a_batch_at_once_changes_rounding_only(name):
    """What a GPU does, on the CPU: all samples in one call of the recipe."""
    rngs = [np.random.default_rng(i) for i in range(3)]
    again = [np.random.default_rng(i) for i in range(3)]
    job = sets.Job(rngs, "train", (40, 50), torch.device("cpu"), PHOTOS)
    recipe = sets._RECIPES[name][1]
    together = recipe(job)
    for i, rng in enumerate(again):
        alone = recipe(sets.Job([rng], "train", (40, 50), torch.device("cpu"), PHOTOS))
        for one, other in ((alone.blurred[0], together.blurred[i]), (alone.sharp[0], together.sharp[i])):
            # JPEG turns a difference in rounding into a few levels
            assert (one - other).abs().max() < (0.05 if name in ("RealBlur", "Real-LOLBlur") else 1.01 / 255)
            assert (one - other).abs().mean() < 2e-4
        assert alone.note[0] == together.note[i]


@pytest.mark.parametrize("name", SETS)
def test_threads_do_not_matter(name):
    before = torch.get_num_threads()
    try:
        made = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(synthesize(name, "train", 5, size=64, options=PHOTOS))
    finally:
        torch.set_num_threads(before)
    # 8-bit rounding may fall either way at a tie, and nothing else may differ
    assert ((made[0].blurred - made[1].blurred).abs() > 1e-5).float().mean() < 1e-4
    assert torch.equal(made[0].sharp, made[1].sharp)


@pytest.mark.parametrize("name", [name for name in SETS if not name.startswith("LOL")])
def test_without_blur_and_noise_input_and_target_agree(name):
    options = Options(blur=0.0, capture=False, canvas=_photograph)
    for index in range(3):
        pair = synthesize(name, "train", index, size=(45, 64), options=options)
        assert (pair.blurred - pair.sharp).abs().max() <= 1.01 / 255  # a tie of the 8-bit rounding
        assert ((pair.blurred - pair.sharp).abs() > 0).float().mean() < 0.01


def test_lolblur_is_dark_and_its_light_is_in_the_range_asked_for():
    pairs = [synthesize("LOLBlur", "train", i, size=64, options=PHOTOS) for i in range(24)]
    means = np.array([pair.blurred.mean().item() for pair in pairs])
    assert means.min() > 0.02 and means.max() < 0.35 and 0.07 < np.median(means) < 0.18
    assert all(pair.blurred.mean() < 0.6 * pair.sharp.mean() for pair in pairs)


@pytest.mark.parametrize("mean", [0.05, 0.2])
def test_darkening_meets_its_target_and_keeps_black_and_white(mean):
    lightness = np.random.default_rng(0).random((50, 60))
    strength = training._darkening(lightness, mean)
    darker = training._darken(lightness, strength)
    assert darker.mean() == pytest.approx(mean, abs=1e-3)
    assert training._darken(0.0, strength) == 0 and training._darken(1.0, strength) == 1
    order = np.argsort(lightness.ravel())
    assert (np.diff(darker.ravel()[order]) >= 0).all()


@pytest.mark.parametrize("name", ["GoPro", "DPDD", "RealDOF"])
def test_a_constant_scene_stays_constant(name):
    seen = 0
    for index in range(6):
        pair = synthesize(name, "train", index, size=48, options=Options(capture=False, canvas=_constant))
        if "object" not in pair.note:
            assert (pair.blurred - 0.5).abs().max() <= 0.5 / 255 + 1e-6
            seen += 1
    assert seen


@pytest.mark.parametrize("name", ["RealBlur", "GoPro", "DPDD", "LOLBlur", "RealDOF", "RSBlur", "Real-LOLBlur"])
def test_more_blur_is_worse(name):
    scores = [
        np.mean([
            _psnr(synthesize(name, "train", i, size=96, options=Options(blur, False, canvas=_photograph)))
            for i in range(4)
        ])
        for blur in (0.25, 0.5, 1, 2)
    ]
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
def test_convolution_and_the_average_of_warped_frames_agree(name):
    """Whole recipes, at 16 bits so that rounding hides nothing; index 1 and 2 have paths with roll, or not."""
    for index in (1, 2):
        fast, slow = (
            synthesize(name, "train", index, size=(61, 84),
                       options=Options(capture=False, exact=exact, bits=16, canvas=_photograph))
            for exact in (False, True)
        )  # fmt: skip
        assert torch.equal(fast.sharp, slow.sharp) and not torch.equal(fast.blurred, slow.blurred)
        error = ((fast.blurred - slow.blurred) ** 2).mean().item()
        assert -10 * np.log10(error) > 55
        assert (fast.blurred - slow.blurred).abs().max() < 0.03


def test_margin_covers_the_longest_path_and_roll_of_a_large_frame():
    """The exact path is black beyond the canvas: a margin too narrow would darken the frame's corners."""
    for index in range(4):
        pair = synthesize("GoPro", "train", index, size=(16, 901),
                          options=Options(blur=6.0, capture=False, exact=True, canvas=_constant))
        assert "object" in pair.note or (pair.blurred - 0.5).abs().max() <= 0.51 / 255


@pytest.mark.parametrize(("name", "reach"), [("DPDD", 21), ("RealDOF", 31)])
def test_defocus_does_not_wrap_around(name, reach):
    """White beyond the largest disk's reach: none of it may come in, from the other side either."""

    def framed(rng, split, height, width, **options):
        canvas = torch.ones(3, height, width)
        psf.crop(canvas, (41 + 2 * reach + 2, 63 + 2 * reach + 2)).fill_(0.5)
        return canvas, "framed"

    for index in range(6):
        pair = synthesize(name, "train", index, size=(41, 63), options=Options(blur=4, capture=False, canvas=framed))
        assert (pair.blurred - 0.5).abs().max() <= 0.51 / 255


@pytest.mark.parametrize("name", ["GoPro", "DPDD", "ReLoBlur", "LOLBlur", "RealDOF"])
def test_gray_stays_gray(name):
    """No coloured fringes: the noise of a camera aside, a gray scene has no colour."""

    def gray(rng, split, height, width, **options):
        canvas, source = _photograph(rng, split, height, width, **options)
        return canvas.mean(0, keepdim=True).expand(3, -1, -1), source

    for capture, tolerance in ((False, 1e-6), (True, 0.05)):
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
        job = sets.Job([np.random.default_rng(seed)], "train", (64, 64), torch.device("cpu"), Options(canvas=ramp))
        canvas, _ = job.canvases()
        light, budget = training.night(job, canvas, (0, 1), lamps=0)
        steps = light[0, 0, 0].diff() / budget[0]
        assert (steps > 0).all() and light.max() > 1.2 * budget[0]
        assert steps.diff().abs().max() < 0.2 * steps.max()


def test_lolblur_has_lamps_that_stay_bright():
    seen = 0
    for index in range(12):
        pair = synthesize("LOLBlur", "train", index, size=(201, 256), options=Options(capture=False, canvas=_dim))
        lit = pair.sharp.amin(0) > 0.99
        if 0 < lit.float().mean() < 0.05:
            seen += 1
            assert pair.blurred.median() < 0.3 and pair.blurred.amax() > 2 * pair.blurred.median()
    assert seen >= 3


def _dim(rng, split, height, width, **options):
    return torch.full((3, height, width), 0.6), "dim"


def test_rsblur_moves_by_another_law():
    """Constant speed along the path: the notes give the extent, the recipe's own job the path."""
    job = sets.Job([np.random.default_rng(0)], "test", (32, 32), torch.device("cpu"), PHOTOS)
    walk = job.paths(4, 0.5, "mid", None)[0]
    speed = np.hypot(*np.diff(walk[:, :2], axis=0).T)
    assert speed.std() < 1e-6 * speed.mean() and np.allclose(walk[len(walk) // 2], 0)


def test_lolv2_is_dark_and_does_not_move():
    for index in range(8):
        pair = synthesize("LOLv2-real", "test", index, size=(64, 75), options=CLEAN)
        light, sharp = sensor.to_linear(pair.blurred), sensor.to_linear(pair.sharp)
        share = light.mean() / sharp.mean()
        assert 0.018 < share < 0.102
        assert (light - share * sharp).abs().max() < 0.002  # pixel by pixel, to the rounding of a dark picture


def test_blur_gamma_is_brighter_and_of_the_same_scene():
    plain, gamma = (
        synthesize("GoPro", "train", 2, size=(60, 81), options=Options(gamma=g, canvas=_photograph))
        for g in (False, True)
    )
    assert torch.equal(plain.sharp, gamma.sharp) and plain.note == gamma.note
    assert (gamma.blurred - plain.blurred).min() >= -1.01 / 255  # an average of light is never darker
    assert gamma.blurred.mean() - plain.sharp.mean() > 2 * (plain.blurred.mean() - plain.sharp.mean()).abs()


def test_16_bits_are_the_same_picture_in_finer_steps():
    coarse, fine = (
        synthesize("DPDD", "test", 1, size=(48, 61), options=Options(bits=bits, canvas=_photograph)) for bits in (8, 16)
    )
    assert (coarse.blurred - fine.blurred).abs().max() <= 0.51 / 255 and len(fine.blurred.unique()) > 1000
    assert torch.equal(sensor.quantise(fine.blurred, 16), fine.blurred)


@pytest.mark.parametrize("name", ["DPDD", "RealDOF"])
def test_some_defocus_test_samples_have_measured_depth(name, monkeypatch):
    painted = sources.sharp_canvas.__kwdefaults__ | {"dead_leaves": 0.0}
    monkeypatch.setattr(sources.sharp_canvas, "__kwdefaults__", painted)
    notes = [(pair.note, pair.source) for pair in (synthesize(name, "test", i, size=32) for i in range(48))]
    measured = [source for note, source in notes if "measured" in note]
    assert 1 <= len(measured) <= 15 and set(measured) == {"motorcycle"}
    assert all(source != "motorcycle" for note, source in notes if "measured" not in note)
    for split, canvas in (("train", sources.sharp_canvas), ("test", _photograph)):
        pairs = [synthesize(name, split, i, size=32, options=Options(canvas=canvas)) for i in range(24)]
        assert not any("measured" in pair.note for pair in pairs)


def test_the_bundled_motorcycle_is_no_part_of_others_pictures(monkeypatch):
    def refuse(*args):
        raise AssertionError("the bundled scene was taken")

    monkeypatch.setattr(scenes, "motorcycle_crop", refuse)
    for index in range(24):
        synthesize("DPDD", "test", index, size=24, options=Options(canvas=_constant))


@pytest.mark.parametrize(("name", "kwargs", "words"), [
    ("GOPRO", {}, "choose one of RealBlur"),
    ("GoPro", {"split": "training"}, "train, val, test"),
    ("GoPro", {"index": -1}, "0 or more"),
    ("GoPro", {"seed": -1}, "0 or more"),
    ("GoPro", {"size": (4, 64)}, "at least 8x8"),
])
def test_bad_input(name, kwargs, words):
    arguments = {"split": "train", "index": 0, "size": 32, "seed": 0} | kwargs
    with pytest.raises(ValueError, match=words):
        synthesize(name, arguments["split"], arguments["index"], size=arguments["size"], seed=arguments["seed"])
    if name == "GoPro":
        with pytest.raises(ValueError, match="at least one index"):
            synthesize_batch("GoPro", "train", [], size=32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", SETS)
def test_gpu_agrees(name):
    cpu = synthesize_batch(name, "train", range(4), size=(64, 80), options=PHOTOS)
    gpu = synthesize_batch(name, "train", range(4), size=(64, 80), device="cuda", options=PHOTOS)
    assert gpu.blurred.is_cuda and gpu.note == cpu.note
    assert (gpu.blurred.cpu() - cpu.blurred).abs().mean() < 5e-4
    assert (gpu.sharp.cpu() - cpu.sharp).abs().max() < 1.01 / 255
