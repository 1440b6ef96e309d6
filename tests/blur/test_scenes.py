"""Outlines, depth and lights: areas, ranges, and dependence on the generator alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demoe.blur import scenes

SIZES = [(61, 97), (256, 190), (120, 301)]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fraction", [0.01, 0.04, 0.15, 0.4])
def test_blob_has_the_asked_area_and_a_soft_edge(size, fraction):
    for seed in range(8):
        alpha = scenes.blob_alpha(rng(seed), *size, fraction)
        assert alpha.shape == (1, *size) and alpha.dtype == torch.float32
        assert float(alpha.min()) == 0 and float(alpha.max()) == 1
        assert float(alpha.mean()) == pytest.approx(fraction, rel=0.15)
        edge = ((alpha > 0) & (alpha < 1)).float().sum()
        assert edge < 14 * (fraction * size[0] * size[1]) ** 0.5  # a line, at most a few pixels wide
        assert edge > 1.5 * (fraction * size[0] * size[1]) ** 0.5


def test_blob_is_one_piece_mostly_inside():
    from scipy.ndimage import label

    touching = 0
    for seed in range(60):
        alpha = scenes.blob_alpha(rng(seed), 121, 163, 0.06)[0].numpy()
        assert label(alpha > 0.5)[1] == 1
        touching += bool(np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]).max() > 0)
    assert touching < 15


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.0, 3.0])
def test_blob_refuses_an_impossible_area(fraction):
    with pytest.raises(ValueError, match="area_fraction"):
        scenes.blob_alpha(rng(), 20, 20, fraction)


@pytest.mark.parametrize("size", SIZES)
def test_disparity_is_a_layered_map_in_range(size):
    for seed in range(6):
        depth = scenes.disparity(rng(seed), *size)
        assert depth.shape == (1, *size) and depth.dtype == torch.float32
        assert float(depth.min()) >= 0 and float(depth.max()) <= 1
        assert float(depth.max() - depth.min()) > 0.25
        jumps = (depth.diff(dim=-1).abs() > 0.02).float().mean()
        assert 0 < jumps < 0.1  # edges exist, and most of the map is smooth


def test_circles_of_confusion_follow_the_quartiles_of_dpdd():
    # radius = kappa |d - focus|, kappa ~ LogN(13 px, .35): quartiles near 1.0, 2.3 and 4.6 px.
    generator = rng(1)
    radii = []
    for _ in range(150):
        depth = scenes.disparity(generator, 96, 96).numpy().ravel()[::29]
        focus = generator.uniform(*np.percentile(depth, [5, 95]))
        radii.append(13 * np.exp(0.35 * generator.standard_normal()) * np.abs(depth - focus))
    assert np.percentile(np.concatenate(radii), [25, 50, 75]) == pytest.approx([1.0, 2.3, 4.6], rel=0.25)


def test_motorcycle_is_complete_and_its_holes_are_far():
    picture, depth = torch.from_numpy(scenes._motorcycle()).split((3, 1))
    assert picture.shape == (3, 500, 741) and depth.shape == (1, 500, 741)
    assert float(depth.min()) == 0 and float(depth.max()) == 1 and torch.isfinite(depth).all()
    with np.load(scenes.installed_file("skimage/data/motorcycle_disp.npz")) as archive:
        measured = archive[archive.files[0]]
    valid = np.isfinite(measured)
    scaled = (measured[valid] - measured[valid].min()) / np.ptp(measured[valid])
    np.testing.assert_allclose(depth[0].numpy()[valid], scaled, atol=1e-6)
    assert 0.05 < 1 - valid.mean() < 0.1
    y, x = np.argwhere(~valid)[::997].T
    for row, column in zip(y, x, strict=True):  # no hole is nearer than everything measured around it
        around = np.s_[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5]
        if valid[around].any():
            assert depth[0].numpy()[row, column] == pytest.approx(
                depth[0].numpy()[around][valid[around]].min(), abs=1e-6
            )


def test_a_crop_of_the_motorcycle_has_its_own_depth():
    from demoe.blur import sources

    for side in scenes.motorcycle_crop(rng(0), 500, 741):
        side.zero_()  # what a caller does to them is the caller's
    whole, depth = torch.from_numpy(scenes._motorcycle()).split((3, 1))
    for seed in range(4):
        crop, near = scenes.motorcycle_crop(rng(seed), 61, 87)
        assert crop.shape == (3, 61, 87) and near.shape == (1, 61, 87)
        again = scenes.motorcycle_crop(rng(seed), 61, 87)
        assert torch.equal(crop, again[0]) and torch.equal(near, again[1])
        found = False
        for piece, picture in ((near[0], crop), (near[0].flip(-1), crop.flip(-1))):
            for y, x in np.argwhere(depth[0].numpy()[:-60, :-86] == piece[0, 0].item()):
                if torch.equal(depth[0, y : y + 61, x : x + 87], piece):
                    found = True
                    there = whole[:, y : y + 61, x : x + 87].mean(0)
                    assert (picture.mean(0) - there).abs().max() < 1e-5
        assert found
    assert sources.photographs("test")["motorcycle_left"].shape == whole.shape


def test_lights_are_warm_bright_and_small():
    generator, counts, peaks = rng(3), [], []
    for _ in range(60):
        light = scenes.point_lights(generator, 143, 201, 1.0)
        assert light.shape == (3, 143, 201) and light.dtype == torch.float32 and float(light.min()) == 0
        counts.append(float(light.max()) > 0)
        peaks.append(float(light.max()))
        assert (light[0] >= light[1]).all() and (light[1] >= light[2]).all()
        assert (light[0] > 0.01).float().mean() < 0.1
    assert 0.45 < np.mean(counts) < 0.8  # 1 - exp(-1) = 0.63
    assert 10 < max(peaks) < 80


def test_lights_are_gaussians():
    # One lamp of fixed width: against the formula evaluated over the whole picture.
    for seed in range(40):
        light = scenes.point_lights(rng(seed), 80, 90, 0.7, radius_median=2.5, radius_sigma=0.0, peak=(5.0, 5.0))
        generator = rng(seed)
        if generator.poisson(0.7) != 1:
            continue
        cy, cx = generator.uniform(0, 80), generator.uniform(0, 90)
        y, x = np.mgrid[:80, :90] + 0.5
        expected = 5 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 2.5**2))
        np.testing.assert_allclose(light[0].numpy(), expected, atol=1.1e-3)


def test_no_lights_when_none_are_asked_for():
    assert float(scenes.point_lights(rng(), 20, 31, 0.0).abs().max()) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda g: scenes.blob_alpha(g, 61, 97, 0.1),
        lambda g: scenes.disparity(g, 61, 97),
        lambda g: scenes.point_lights(g, 61, 97, 5.0),
    ],
)
def test_same_generator_state_same_bytes(make):
    assert torch.equal(make(rng(11)), make(rng(11)))
    assert not torch.equal(make(rng(11)), make(rng(12)))
