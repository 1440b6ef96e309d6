import numpy as np
import pytest

from demoe.blur import trajectories


def _rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("extent", [0.5, 12.0, 48.0])
@pytest.mark.parametrize("anchor", trajectories.ANCHORS)
def test_extent_is_the_diagonal_of_the_bounding_box(extent, anchor):
    path = trajectories.sample(_rng(), extent, anchor=anchor)
    assert path.shape == (trajectories.POINTS, 3)
    assert np.hypot(*np.ptp(path[:, :2], axis=0)) == pytest.approx(extent, rel=1e-9)
    assert not path[:, 2].any()


def test_anchors():
    paths = {anchor: trajectories.sample(_rng(), 10, anchor=anchor, roll_degrees=1) for anchor in trajectories.ANCHORS}
    assert np.allclose(paths["mid"][trajectories.POINTS // 2], 0)
    assert np.allclose(paths["centroid"].mean(axis=0), 0)
    assert np.allclose(paths["start"][0], 0)
    for path in paths.values():  # the same curve, moved
        assert np.allclose(np.diff(path, axis=0), np.diff(paths["mid"], axis=0))
        assert np.ptp(path[:, 2]) == pytest.approx(np.deg2rad(1))


def test_unknown_anchor():
    with pytest.raises(ValueError, match="mid, centroid, start"):
        trajectories.sample(_rng(), 10, anchor="end")


def test_zero_extent_stays_at_the_origin():
    assert not trajectories.sample(_rng(), 0.0).any()


def test_same_generator_state_same_path_and_same_draws_for_any_values():
    one, other = _rng(3), _rng(3)
    assert np.array_equal(trajectories.sample(one, 10), trajectories.sample(other, 10))
    trajectories.sample(one, 5, length=0.25, anchor="start")
    trajectories.sample(other, 40, roll_degrees=1)
    assert one.random() == other.random()


def test_process_has_the_covariance_that_it_should():
    """Unscaled paths, against the Matern-5/2 formula written out: 1 at distance 0, 0.5240 at the correlation length."""
    time = np.linspace(0, 1, trajectories.POINTS)
    expected = trajectories.matern52(time[:, None] - time[None], 0.5)
    assert expected[0, 0] == 1
    assert expected[0, 64] == pytest.approx((1 + 5**0.5 + 5 / 3) * np.exp(-(5**0.5)))
    paths = trajectories._factor(0.5, trajectories.POINTS) @ _rng().standard_normal((trajectories.POINTS, 20000))
    assert abs(paths.mean(axis=1)).max() < 0.04
    assert abs(paths @ paths.T / 20000 - expected)[::16, ::16].max() < 0.05


def test_shorter_correlation_gives_a_longer_way():
    way = {
        length: np.mean(
            [
                np.hypot(*np.diff(trajectories.sample(_rng(i), 10, length=length)[:, :2], axis=0).T).sum()
                for i in range(50)
            ]
        )
        for length in (0.1, 0.25, 0.6, 1.0)
    }
    assert way[0.1] > way[0.25] > way[0.6] > way[1.0] >= 10


def test_extents_are_log_normal_and_clipped():
    drawn = np.array([trajectories.sample_extent(rng, 9, 0.5) for rng in [_rng(1)] for _ in range(20000)])
    assert np.median(drawn) == pytest.approx(9, rel=0.02)
    assert np.log(drawn).std() == pytest.approx(0.5, rel=0.03)
    assert trajectories.sample_extent(_rng(), 1e6, 0.1) == trajectories.MAX_EXTENT


def test_limited_shrinks_long_paths_only():
    path = trajectories.sample(_rng(), 60, anchor="start", roll_degrees=1)
    short = trajectories.limited(path)
    assert trajectories.extent(short) == pytest.approx(trajectories.MAX_EXTENT)
    assert np.allclose(short[0], 0)
    assert np.array_equal(trajectories.limited(short * 0.5), short * 0.5)


@pytest.mark.parametrize("extent", [0.5, 12.0, 48.0])
@pytest.mark.parametrize("anchor", trajectories.ANCHORS)
def test_walk_has_the_extent_roll_and_anchor_asked_for(extent, anchor):
    path = trajectories.walk(_rng(), extent, anchor=anchor, roll_degrees=0.4)
    assert path.shape == (trajectories.POINTS, 3) and np.isfinite(path).all()
    assert trajectories.extent(path) == pytest.approx(extent, rel=1e-9)
    assert np.ptp(path[:, 2]) == pytest.approx(np.deg2rad(0.4))
    origin = {"mid": path[trajectories.POINTS // 2], "centroid": path.mean(axis=0), "start": path[0]}[anchor]
    assert np.allclose(origin, 0)
    with pytest.raises(ValueError, match="mid, centroid, start"):
        trajectories.walk(_rng(), extent, anchor="end")


def test_walk_has_constant_speed_and_the_process_has_not():
    for make, steady in ((trajectories.walk, True), (trajectories.sample, False)):
        speed = np.hypot(*np.diff(make(_rng(2), 20)[:, :2], axis=0).T)
        assert (speed.std() < 1e-9 * speed.mean()) == steady


def test_walk_draws_the_same_whatever_its_values_and_turns_about_now_and_then():
    one, other = _rng(3), _rng(3)
    assert np.array_equal(trajectories.walk(one, 10), trajectories.walk(other, 10))
    trajectories.walk(one, 5, anchor="start")
    trajectories.walk(other, 40, roll_degrees=1)
    assert one.random() == other.random()
    jerks = []
    for seed in range(60):
        step = np.diff(trajectories.walk(_rng(seed), 20)[:, :2], axis=0)
        turn = (step[1:] * step[:-1]).sum(1) / np.hypot(*step[1:].T) / np.hypot(*step[:-1].T)
        jerks.append((turn < -0.5).sum())
    assert 0.15 < np.mean(np.array(jerks) == 0) < 0.8 and max(jerks) < 12
    assert not trajectories.walk(_rng(), 0.0).any()
