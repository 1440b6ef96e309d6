import numpy as np
import pytest
import torch

from demoe.blur import sensor, sources


def _image(height=33, width=46, seed=0):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _normal(height=33, width=46, seed=1, batch=2):
    return torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(seed))


def test_srgb_known_values_and_inverse():
    codes = torch.tensor([0.0, 0.04045, 0.5, 1.0])
    assert torch.allclose(sensor.to_linear(codes), torch.tensor([0.0, 0.0031308, 0.2140411, 1.0]), atol=1e-6)
    every = torch.arange(256) / 255
    assert torch.allclose(sensor.to_srgb(sensor.to_linear(every)), every, atol=1e-6)
    assert torch.equal(sensor.quantise(sensor.to_srgb(sensor.to_linear(every))), every)
    assert sensor.to_srgb(torch.tensor([-1.0, 7.0])).tolist() == [0.0, pytest.approx(1.0)]


def test_contrast_curve_keeps_ends_and_middle_and_grows():
    light = torch.linspace(0, 1, 1000)
    code = sensor.contrast_curve(light)
    assert code[0] == 0 and code[-1].item() == pytest.approx(1)
    assert (code.diff() > 0).all()
    srgb = sensor.to_srgb(light)
    assert (code[srgb < 0.49] <= srgb[srgb < 0.49]).all() and (code[srgb > 0.51] >= srgb[srgb > 0.51]).all()


def test_quantise():
    out = sensor.quantise(_image() * 3 - 1)
    assert out.min() == 0 and out.max() == 1
    assert torch.equal((out * 255).round() / 255, out)


def test_quantise_to_16_bits_is_finer():
    image = _image()
    deep = sensor.quantise(image, 16)
    assert torch.equal((deep.double() * 65535).round().float() / 65535, deep)
    assert 0 < (deep - image).abs().max() <= 0.51 / 65535
    assert len(deep.unique()) > 256


def test_colour_matrix_keeps_white_and_has_a_nonnegative_inverse():
    matrix = torch.tensor(sensor.CCM, dtype=torch.float64)
    assert torch.allclose(matrix.sum(1), torch.ones(3, dtype=torch.float64))
    assert (matrix.inverse() >= 0).all()


def test_mosaic_pattern():
    image = torch.stack([torch.full((3, 5), value) for value in (0.1, 0.2, 0.3)])[None]
    raw = sensor.mosaic(image)[0, 0]
    expected = [[0.1, 0.2, 0.1, 0.2, 0.1], [0.2, 0.3, 0.2, 0.3, 0.2], [0.1, 0.2, 0.1, 0.2, 0.1]]
    assert torch.allclose(raw, torch.tensor(expected))


@pytest.mark.parametrize("size", [(2, 2), (7, 10), (12, 9)])
def test_demosaic_against_a_loop(size):
    """A missing value is the mean of the photosites of its colour among the 8 (for green: 4) neighbours."""
    height, width = size
    raw = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    out = sensor.demosaic(raw)
    assert out.shape == (1, 3, height, width)

    def colour(y, x):
        return (1 if (y + x) % 2 else 0) if y % 2 == 0 else (2 if x % 2 else 1)

    def mirrored(i, length):
        return -i if i < 0 else 2 * (length - 1) - i if i >= length else i

    for y in range(height):
        for x in range(width):
            for channel in range(3):
                if colour(y, x) == channel:
                    expected = raw[0, 0, y, x].item()
                else:
                    near = [
                        raw[0, 0, mirrored(y + dy, height), mirrored(x + dx, width)].item()
                        for dy in (-1, 0, 1)
                        for dx in (-1, 0, 1)
                        if colour(y + dy, x + dx) == channel and (channel != 1 or abs(dy) + abs(dx) == 1)
                    ]
                    expected = np.mean(near)
                assert out[0, channel, y, x].item() == pytest.approx(expected, abs=1e-6)


def test_demosaic_of_a_gray_ramp_is_exact_inside():
    ramp = torch.linspace(0, 1, 20).expand(1, 3, 15, 20)
    out = sensor.demosaic(sensor.mosaic(ramp))
    assert torch.allclose(out[..., 1:-1, 1:-1], ramp[..., 1:-1, 1:-1], atol=1e-6)


@pytest.mark.parametrize("size", [(15, 20), (12, 9)])
def test_malvar_keeps_photosites_and_is_exact_on_slopes_of_gray(size):
    height, width = size
    for slope in ((1.0, 0.0), (0.0, 1.0), (0.4, -0.3)):
        rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
        gray = (0.5 + slope[0] * rows / 60 + slope[1] * columns / 60).expand(1, 3, height, width)
        out = sensor.demosaic_malvar(sensor.mosaic(gray))
        assert torch.allclose(out[..., 2:-2, 2:-2], gray[..., 2:-2, 2:-2], atol=1e-6)
    raw = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sensor.mosaic(sensor.demosaic_malvar(raw)), raw)


def test_malvar_is_bilinear_and_a_share_of_the_curvature_of_the_photosites_own_colour():
    """The gains of the published method: 1/2 for green, 3/4 across."""
    raw = torch.rand(1, 1, 14, 16, generator=torch.Generator().manual_seed(1))
    plain, out = sensor.demosaic(raw), sensor.demosaic_malvar(raw)
    at = raw[0, 0]
    around = (at[:-4, 2:-2] + at[4:, 2:-2] + at[2:-2, :-4] + at[2:-2, 4:]) / 4
    curved = at[2:-2, 2:-2] - around
    more = (out - plain)[0, :, 2:-2, 2:-2]
    red, blue = (slice(0, None, 2),) * 2, (slice(1, None, 2),) * 2
    for places in (red, blue):
        assert torch.allclose(more[1][places], curved[places] / 2, atol=1e-6)
    assert torch.allclose(more[0][blue], 0.75 * curved[blue], atol=1e-6)
    assert torch.allclose(more[2][red], 0.75 * curved[red], atol=1e-6)


MAKERS = (sensor.demosaic, sensor.demosaic_malvar)


def test_malvar_is_nearer_to_a_photograph_than_bilinear():
    image = sources.photographs("test")["chelsea"][None, :, 100:197, 100:180]
    error = [(make(sensor.mosaic(image)) - image).square().mean() for make in MAKERS]
    assert error[1] < 0.8 * error[0]


def test_expose_without_capture_only_clips():
    light = _image() * 3
    assert torch.equal(sensor.expose(light, None), light.clamp(0, 1))


def test_expose_without_noise_keeps_any_uniform_colour():
    light = torch.tensor([0.9, 0.2, 0.05]).view(1, 3, 1, 1).expand(1, 3, 21, 16)
    out = sensor.expose(light, _normal(21, 16, batch=1))
    assert (out - light).abs().max() < 1e-6


def test_noise_has_the_variance_asked_for():
    """Green of a gray scene before colour correction is impractical to see; undo it: gains 1, and the matrix's rows."""
    level, shot, read = 0.3, 2e-3, 1e-2
    raw_sd = (shot * level + read**2) ** 0.5
    light = torch.full((1, 3, 400, 400), level)
    gains = torch.ones(1, 3, 1, 1)
    out = sensor.expose(light, _normal(400, 400, batch=1), shot=shot, read=read, gains=gains)
    inverse = torch.tensor(sensor.CCM).inverse()
    camera = torch.einsum("ij,bjhw->bihw", inverse, out)
    red_sites = camera[0, 0, 0::2, 0::2]
    assert red_sites.std().item() == pytest.approx(raw_sd, rel=0.02)
    assert red_sites.mean().item() == pytest.approx(level, abs=3 * raw_sd / 200)
    double = sensor.expose(light, _normal(400, 400, batch=1), shot=4 * shot, read=2 * read, gains=gains)
    assert (double - level).std().item() == pytest.approx(2 * (out - level).std().item(), rel=0.02)


def test_expose_stays_in_range_and_per_sample_noise_levels_apply():
    light = _image() * 2
    shot = torch.tensor([0.0, 0.1]).view(2, 1, 1, 1)
    out = sensor.expose(light, _normal(), shot=shot, read=torch.zeros(2, 1, 1, 1))
    assert out.min() >= 0 and out.max() <= 1
    clean = sensor.expose(light, torch.zeros(2, 1, 33, 46))
    assert torch.equal(out[0], clean[0]) and not torch.equal(out[1], clean[1])


def test_without_a_mosaic_there_is_noise_alone():
    """One normal number per colour: details keep their colour, and the noise has the variance asked for."""
    gray = _image(40, 50)[:, :1].expand(-1, 3, -1, -1)  # pixel-fine detail, where a mosaic gives coloured fringes
    normal = torch.randn(2, 3, 40, 50, generator=torch.Generator().manual_seed(3))
    clean = sensor.expose(gray, torch.zeros_like(normal))
    assert (clean - gray).abs().max() < 1e-6
    assert (sensor.expose(gray, torch.zeros(2, 1, 40, 50)) - gray).abs().max() > 0.1
    noisy = sensor.expose(
        torch.full((1, 3, 300, 300), 0.3),
        torch.randn(1, 3, 300, 300),
        shot=1e-3,
        read=5e-3,
        gains=torch.ones(1, 3, 1, 1),
    )
    camera = torch.einsum("ij,bjhw->bihw", torch.tensor(sensor.CCM).inverse(), noisy)
    assert camera.std((0, 2, 3)).tolist() == pytest.approx([(1e-3 * 0.3 + 5e-3**2) ** 0.5] * 3, rel=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_saturated_photosites_can_be_spared(channels):
    light = torch.full((1, 3, 20, 30), 0.4)
    light[..., :12, :] = 3.0
    normal = torch.randn(1, channels, 20, 30, generator=torch.Generator().manual_seed(0))
    spared, noisy = (
        sensor.expose(light, normal, shot=1e-3, read=1e-2, spare_saturated=spare) for spare in (True, False)
    )
    assert (spared[..., :11, :] - 1).abs().max() < 1e-6 and (noisy[..., :11, :] < 0.999).any()
    assert torch.equal(spared[..., 13:, :], noisy[..., 13:, :])


def test_jpeg_is_close_on_8_bit_levels_and_better_at_higher_quality():
    ramp = torch.linspace(0, 1, 64).expand(3, 40, 64) * torch.tensor([1.0, 0.8, 0.5]).view(3, 1, 1)
    textured = (ramp + 0.1 * _image(40, 64)[0]).clamp(0, 1)
    errors = []
    for quality in (60, 90, 98):
        out = sensor.jpeg(textured, quality)
        assert out.shape == textured.shape
        assert torch.equal(sensor.quantise(out), out)
        errors.append((out - textured).abs().mean().item())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.03
