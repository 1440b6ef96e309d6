import numpy as np
import pytest
import torch
from warps import average_of_warps

from demoe.blur import psf, sources, trajectories


def _path(extent, roll=0.0, seed=0, anchor="mid"):
    return trajectories.sample(np.random.default_rng(seed), extent, roll_degrees=roll, anchor=anchor)


def _image(height=96, width=130, channels=3, seed=0, smooth=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, channels, height, width, generator=generator)
    for _ in range(smooth):
        image = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(image, (1, 1, 1, 1), mode="circular"), 3, 1)
    return image


def _psnr(a, b):
    return -10 * torch.log10(((a - b) ** 2).mean()).item()


@pytest.mark.parametrize("minimum", [7, 64, 101, 256, 360, 361, 613])
def test_fft_length(minimum):
    length = psf.fft_length(minimum)
    assert length >= minimum and length % 2 == 0
    while length > 1:
        length //= next(p for p in (2, 3, 5) if length % p == 0)


@pytest.mark.parametrize("size", [(97, 131), (128, 128)])
@pytest.mark.parametrize("extent", [0, 3.3, 48])
def test_motion_psf_is_nonnegative_and_sums_to_one(size, extent):
    kernel = psf.splat(_path(extent)[:, :2], size)
    assert kernel.shape == size and kernel.dtype == torch.float32
    assert kernel.min() >= 0
    assert kernel.double().sum().item() == pytest.approx(1, abs=1e-6)


def test_splat_shares_a_point_between_four_pixels_and_wraps():
    kernel = psf.splat(np.array([[-0.25, 2.5]]), (8, 9))
    expected = torch.zeros(8, 9)
    expected[2, 0] = expected[3, 0] = 0.375
    expected[2, 8] = expected[3, 8] = 0.125
    assert torch.allclose(kernel, expected)


def test_kernels_too_large_for_the_canvas_are_refused():
    with pytest.raises(ValueError, match="20x50 pixels is too small for a blur 45 wide"):
        psf.embed(torch.from_numpy(psf.disk(21))[None], (20, 50))


@pytest.mark.parametrize("size", [(97, 131), (64, 50)])
def test_splats_of_several_paths_are_the_single_ones(size):
    """Through small windows where they fit, with wrapping where they do not."""
    paths = [_path(extent, seed=i)[:, :2] for i, extent in enumerate((0, 3.3, 20, 40))]
    together = psf.splats(paths, size)
    for path, kernel in zip(paths, together[:, 0], strict=True):
        assert (kernel - psf.splat(path, size)).abs().max() < 1e-6


@pytest.mark.parametrize("roll", [0, 0.5])
@pytest.mark.parametrize("exact", [False, True])
def test_no_motion_is_the_identity(roll, exact):
    image = _image()
    path = _path(0, roll) * np.array([1, 1, 0])
    if not exact:  # roll of zero through the corner PSFs, too
        path[:, 2] = 1e-300 if roll else 0
    # grid_sample works out its own coordinates in single precision
    blur = average_of_warps if exact else psf.motion_blur
    assert (blur(image, [path]) - image).abs().max() <= (5e-5 if exact else 2e-6)


@pytest.mark.parametrize("roll", [0, 1.0])
def test_constant_stays_constant_and_energy_is_conserved(roll):
    path = _path(20, roll)
    if not roll:  # with roll a uniform picture has darker corners where light leaves a spot: weights come first
        constant = torch.full((1, 3, 97, 131), 0.7)
        assert (psf.motion_blur(constant, [path]) - constant).abs().max() <= 1e-6
    image = _image(seed=2) ** 4
    ratio = psf.motion_blur(image, [path]).double().sum() / image.double().sum()
    assert ratio.item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("roll", "corners", "nine"), [(0, 100, 100), (0.2, 69, 80), (0.5, 53, 62), (1.0, 41, 49)])
def test_agreement_with_the_average_of_warped_frames(roll, corners, nine):
    """Frame 128 x 128 with a margin of 52, three paths."""
    image = sources.photographs("train")["astronaut"][None, :, 60:292, 60:292].expand(3, -1, -1, -1)
    paths = [_path(12, roll, seed=seed) for seed in (0, 3, 4)]
    exact = psf.crop(average_of_warps(image, paths), (128, 128))
    for nodes, agreement in ((None, corners), (3, nine)):
        fast = psf.crop(psf.motion_blur(image, paths, frame=(128, 128), nodes=nodes), (128, 128))
        for one, other in zip(fast, exact, strict=True):
            assert _psnr(one, other) > agreement
    assert _psnr(exact, psf.crop(image, (128, 128))) < 26


def test_nodes_at_the_corners_of_the_frame_beat_those_of_the_canvas():
    image = sources.photographs("train")["astronaut"][None, :, 60:292, 60:280]
    path = _path(12, 0.5, seed=1)
    blurred = average_of_warps(image, [path]), *(psf.motion_blur(image, [path], frame=f) for f in ((128, 116), None))
    exact, inner, outer = (psf.crop(one, (128, 116)) for one in blurred)
    assert _psnr(inner, exact) > _psnr(outer, exact) + 6


def test_large_frames_use_more_nodes():
    image = _image(64, 1000, channels=1, smooth=3)
    path = _path(6, 1.0, seed=1)
    for frame, nodes in (((20, 384), 2), ((20, 385), 3), ((20, 769), 4)):
        default, chosen = (psf.motion_blur(image, [path], frame=frame, nodes=n) for n in (None, nodes))
        assert torch.equal(default, chosen)
        assert not torch.equal(default, psf.motion_blur(image, [path], frame=frame, nodes=nodes - 1))
    blurred = psf.motion_blur(image, [path], frame=(20, 890)), average_of_warps(image, [path])
    fast, exact = (psf.crop(one, (20, 890)) for one in blurred)
    assert _psnr(fast, exact) > 38


def test_longer_motion_is_worse():
    image = _image(200, 200, smooth=2)
    scores = [_psnr(psf.motion_blur(image, [_path(extent, seed=5)]), image) for extent in (2, 5, 10, 20, 40)]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5


def test_convolution_moves_a_point_where_the_path_says():
    image = torch.zeros(1, 1, 41, 50)
    image[..., 20, 25] = 1
    path = np.zeros((3, 3))
    path[:, 0], path[:, 1] = 4, -7
    for blur in (psf.motion_blur, average_of_warps):
        moved = blur(image, [path])
        assert moved[0, 0, 13, 29].item() == pytest.approx(1, abs=1e-5)


def test_batch_equals_singles():
    images = torch.cat([_image(seed=seed) for seed in range(3)])
    paths = [_path(extent, 0.3, seed=i) for i, extent in enumerate((2, 9, 30))]
    batch = psf.motion_blur(images, paths)
    for image, path, out in zip(images, paths, batch, strict=True):
        assert torch.allclose(psf.motion_blur(image[None], [path])[0], out, atol=1e-6)


def test_moving_object():
    background, texture = _image(seed=1), _image(seed=2)
    alpha = torch.zeros(1, 1, 96, 130)
    alpha[..., 30:60, 40:90] = 1
    kernel = psf.splats([_path(9, anchor="start")], (96, 130))
    out, cover = psf.moving_object(background, texture, alpha, kernel)
    untouched = cover[:, 0] <= 1e-6
    assert untouched.float().mean() > 0.5
    assert (out - background).movedim(1, -1)[untouched].abs().max() < 1e-5
    # An object of the background's own uniform colour leaves no trace, and a still one is pasted in.
    gray = torch.full_like(background, 0.4)
    assert (psf.moving_object(gray, gray, alpha, kernel)[0] - 0.4).abs().max() < 1e-6
    still = psf.splats([np.zeros((5, 3))], (96, 130))
    pasted = alpha * texture + (1 - alpha) * background
    assert (psf.moving_object(background, texture, alpha, still)[0] - pasted).abs().max() < 2e-6


def test_moving_object_is_the_average_of_its_moments():
    """Whole-pixel steps, one composite per moment, a background that stands still."""
    background, texture = _image(47, 60, seed=1), _image(47, 60, seed=2)
    alpha = torch.zeros(1, 1, 47, 60)
    alpha[..., 14:30, 20:41] = 1
    alpha[..., 14, 20:41] = 0.4
    path = np.array([[0, 0, 0], [1, 0, 0], [3, -1, 0], [4, -3, 0], [6, -4, 0]], float)
    moments = []
    for x, y, _ in path.astype(int):
        here, there = alpha.roll((y, x), (2, 3)), texture.roll((y, x), (2, 3))
        moments.append(here * there + (1 - here) * background)
    out, cover = psf.moving_object(background, texture, alpha, psf.splats([path], (47, 60)))
    assert (out - torch.stack(moments).mean(0)).abs().max() < 1e-5
    covered = torch.stack([alpha.roll((int(y), int(x)), (2, 3)) for x, y, _ in path]).mean(0)
    assert (cover - covered).abs().max() < 1e-5


@pytest.mark.parametrize("offset", [(0.0, 0.0), (3.0, -2.0), (0.25, -0.6)])
def test_shift(offset):
    image = _image(40, 51)
    out = psf.shift(image, np.array([offset]))
    kernel = psf.splat(np.array([offset]), (40, 51))[None, None]
    assert (out - psf.convolve(image, kernel)).abs().max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees():
    image, path = _image(), _path(12, 0.5)
    assert torch.allclose(psf.motion_blur(image.cuda(), [path]).cpu(), psf.motion_blur(image, [path]), atol=1e-5)
