"""One camera for all kinds of blur: what it promises, and that it leaves nothing by which a kind could be known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from demoe.blur import shared_camera, sources
from demoe.blur.sets import Options, synthesize, synthesize_batch
from demoe.blur.shared_camera import Recording
from demoe.core.tasks import DATASETS
from demoe.evaluation import capture_statistics


def _photograph(rng, split, height, width, **options):
    return sources.sharp_canvas(rng, split, height, width, **{**options, "dead_leaves": 0.0})


def _plain(rng, split, height, width, **options):
    """A scene in which no blur can be seen: all that is left is the camera."""
    return torch.full((3, height, width), float(rng.uniform(0.3, 0.7))), "plain"


SHARED = Options(canvas=_photograph, capture="shared")


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("size", [64, (37, 51)])
def test_a_batch_is_its_samples_bit_for_bit(name, size):
    indices = [4, 0, 9]
    batch = synthesize_batch(name, "train", indices, size=size, seed=2, options=SHARED)
    height, width = (size, size) if isinstance(size, int) else size
    assert batch.blurred.shape == batch.sharp.shape == (3, 3, height, width)
    assert torch.equal((batch.blurred * 255).round() / 255, batch.blurred) and batch.blurred.min() >= 0
    for i, index in enumerate(indices):
        single = synthesize(name, "train", index, size=size, seed=2, options=SHARED)
        assert torch.equal(single.blurred, batch.blurred[i]) and torch.equal(single.sharp, batch.sharp[i])
        assert (single.source, single.note, single.named) == (batch.source[i], batch.note[i], batch.named[i])
    other = synthesize(name, "train", 4, size=size, seed=3, options=SHARED)
    assert not torch.equal(other.blurred, batch.blurred[0])


@pytest.mark.parametrize("name", DATASETS)
def test_without_blur_and_camera_the_sharp_picture_is_the_answer(name):
    options = replace(SHARED, blur=0.0, cameras=0.0)
    for index in range(3):
        pair = synthesize(name, "train", index, size=(45, 64), options=options)
        if name == "LOLBlur":
            assert pair.named and pair.blurred.mean() < 0.7 * pair.sharp.mean()  # there is light to be restored
        else:
            assert not pair.named
            assert (pair.blurred - pair.sharp).abs().max() <= 1.01 / 255


@pytest.mark.parametrize("name", DATASETS)
def test_some_training_pictures_have_no_blur_and_all_test_pictures_have_one(name):
    named = [synthesize(name, "train", i, size=32, options=SHARED).named for i in range(40)]
    assert all(named) if name == "LOLBlur" else 20 < sum(named) < 40
    if name not in ("ReLoBlur", "DPDD"):  # whose objects and depths may lie outside so small a frame
        assert all(synthesize(name, "test", i, size=32, options=SHARED).named for i in range(12))


@pytest.mark.parametrize("name", DATASETS)
def test_the_share_of_cameras_changes_no_scene(name):
    with_cameras, without = (
        synthesize(name, "train", 7, size=40, options=replace(SHARED, cameras=share)) for share in (1.0, 0.0)
    )
    assert (with_cameras.note, with_cameras.source) == (without.note, without.source)
    assert not torch.equal(with_cameras.blurred, without.blurred)


@pytest.mark.parametrize("light", [0.01, 0.2, 0.6])
@pytest.mark.parametrize("shot", [0.0, 0.5, 1.0])
def test_noise_has_the_level_asked_for_in_the_dark_and_in_the_light(light, shot):
    plain = torch.full((3, 90, 101), light)
    made = shared_camera.blurred_file(Recording(noise=2.0, shot=shot), plain, np.random.default_rng(0))
    assert 255 * float(made.std()) == pytest.approx(2.0, rel=0.08)
    assert abs(float(made.mean() - shared_camera.sharp_file(Recording(), plain).mean())) < 0.5 / 255


def test_a_recording_without_effects_is_the_picture():
    light = torch.rand(3, 21, 34, generator=torch.Generator().manual_seed(0))
    same = shared_camera.blurred_file(Recording(), light, np.random.default_rng(0))
    assert torch.equal(same, shared_camera.sharp_file(Recording(), light))
    gray = shared_camera.blurred_file(Recording(gray=True, noise=3.0), light, np.random.default_rng(0))
    assert torch.equal(gray[0], gray[1]) and torch.equal(gray[1], gray[2])
    smooth = shared_camera.gaussian(light, 0.7)
    assert torch.allclose(shared_camera.gaussian(torch.ones_like(light), 0.7), torch.ones_like(light))
    assert smooth.var() < light.var() and smooth.shape == light.shape


def test_recordings_cover_what_photographs_have():
    drawn = [shared_camera.draw(np.random.default_rng(i)) for i in range(400)]
    share = {
        "no noise": np.mean([one.noise == 0 for one in drawn]),
        "much noise": np.mean([one.noise > 2.5 for one in drawn]),
        "no jpeg": np.mean([not one.jpegs for one in drawn]),
        "two jpegs": np.mean([len(one.jpegs) == 2 for one in drawn]),
        "gray": np.mean([one.gray for one in drawn]),
        "mosaic": np.mean([one.mosaic for one in drawn]),
    }
    wanted = {
        "no noise": 0.2, "much noise": 0.2, "no jpeg": 0.35, "two jpegs": 0.2, "gray": 0.08, "mosaic": 0.35,
    }  # fmt: skip
    assert share == pytest.approx(wanted, abs=0.08)
    assert all(shared_camera.draw(np.random.default_rng(i), 0.0) == Recording(gray=drawn[i].gray) for i in range(9))


def _guessed(capture: str, kinds: tuple[str, ...], count: int = 36) -> float:
    """How often the nearest neighbours by capture statistics name the kind of blur of pictures without texture."""
    options = Options(canvas=_plain, capture=capture)
    measures, labels = [], []
    for label, name in enumerate(kinds):
        for i in range(count):
            found = capture_statistics.measure(synthesize(name, "train", i, size=40, options=options).blurred)
            measures.append([found[key] for key in ("noise", "chroma", "blockiness", "detail")])
            labels.append(label)
    known = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
    return float(cross_val_score(known, np.log(np.array(measures) + 0.1), labels, cv=4).mean())


def test_statistics_of_the_camera_name_the_kind_of_blur_only_where_each_has_its_own():
    """RealBlur, GoPro, DPDD on plain scenes, in which there is nothing to blur: chance is a third."""
    kinds = ("RealBlur", "GoPro", "DPDD")
    assert _guessed("set", kinds) > 0.7
    assert _guessed("shared", kinds) < 0.5


def test_darkness_says_nothing_of_noise():
    """Levels of noise in low light and in daylight come from one distribution (Kolmogorov and Smirnov)."""
    options = Options(canvas=_plain, capture="shared")
    noise = {
        name: [
            capture_statistics.measure(synthesize(name, "train", i, size=40, options=options).blurred)["noise"]
            for i in range(60)
        ]
        for name in ("LOLBlur", "RealBlur")
    }
    assert ks_2samp(noise["LOLBlur"], noise["RealBlur"]).pvalue > 0.01


def test_a_capture_that_there_is_not_is_told():
    with pytest.raises(ValueError, match="unknown capture 'own': choose set, none, shared, or one of RealBlur"):
        synthesize("GoPro", "train", 0, size=32, options=Options(capture="own"))
    with pytest.raises(ValueError, match="RSBlur has a camera of its own only"):
        synthesize("RSBlur", "train", 0, size=32, options=Options(capture="shared"))


@pytest.mark.parametrize("name", DATASETS)
def test_any_set_can_be_seen_through_the_camera_of_another(name):
    through = {
        capture: synthesize(name, "train", 2, size=(40, 51), options=Options(canvas=_photograph, capture=capture))
        for capture in ("set", "none", *DATASETS)
    }
    assert torch.equal(through["set"].blurred, through[name].blurred)
    assert len({pair.blurred.numpy().tobytes() for pair in through.values()}) >= len(DATASETS)
