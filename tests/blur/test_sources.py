"""Sharp sources: what is in which split, and crops that depend on nothing but their key."""

from __future__ import annotations

import importlib.util
import socket

import numpy as np
import pytest
import torch

from demoe.blur import sources

ALWAYS = {  # inside every scikit-image wheel
    "train": {"astronaut", "coffee", "rocket", "brick"},
    "val": {"coins", "gravel"},
    "test": {"motorcycle_left", "motorcycle_right", "chelsea", "camera", "grass"},
}
SMALL = 96  # pixels: dead leaves are quick at this size


@pytest.fixture
def fresh():
    """Empty caches before and after, for tests that replace the photographs."""

    def clear():
        sources._scenes.cache_clear()
        sources._leaves.cache_clear()

    clear()
    yield clear
    clear()


def canvas(seed=0, split="train", height=61, width=97, **options):
    return sources.sharp_canvas(np.random.default_rng(seed), split, height, width, **options)


def gradient(image):
    return float((image[:, :, 1:] - image[:, :, :-1]).abs().mean())


@pytest.mark.parametrize("split", sources.SPLITS)
def test_photographs_are_sharp_rgb_in_range_and_complete(split):
    photos = sources.photographs(split)
    assert set(photos) >= ALWAYS[split]
    for name, image in photos.items():
        assert image.dtype == torch.float32 and image.shape[0] == 3 and min(image.shape[1:]) >= 300, name
        assert float(image.min()) >= 0 and 0.75 < float(image.max()) <= 1 and image.std() > 0.05, name
        assert gradient(image) > 0.01, name
    for name in {"coins", "gravel", "camera", "grass", "brick"} & set(photos):
        assert torch.equal(photos[name][0], photos[name][1]) and torch.equal(photos[name][0], photos[name][2])


def test_no_picture_is_in_two_splits():
    # By content as well as by name; the two views of the motorcycle must not be separated either.
    owners: dict[bytes, str] = {}
    for split in sources.SPLITS:
        for name, image in sources.photographs(split).items():
            thumbnail = torch.nn.functional.adaptive_avg_pool2d(image, 8).numpy().tobytes()
            for key in (thumbnail, name.encode(), name.split("_left")[0].split("_right")[0].encode()):
                assert owners.setdefault(key, split) == split, name


def test_callers_cannot_damage_the_photographs():
    sources.photographs("val")["coins"].zero_()
    assert sources.photographs("val")["coins"].mean() > 0.1
    sources.dead_leaves("val", 3, SMALL).zero_()
    assert sources.dead_leaves("val", 3, SMALL).mean() > 0.1


def test_nothing_is_downloaded(monkeypatch, fresh):
    def refuse(*args, **kwargs):
        raise AssertionError("a network connection was attempted")

    monkeypatch.setattr(socket, "socket", refuse)
    for split in sources.SPLITS:
        assert sources.photographs(split)
        canvas(split=split)


def test_optional_packages_may_be_missing(monkeypatch, fresh):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find(name) if name == "skimage" else None)
    assert {split: set(sources.photographs(split)) for split in sources.SPLITS} == ALWAYS
    fresh()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'demoe\[data\]'"):
        sources.photographs("train")


def test_no_scene_is_in_two_splits():
    scenes = [name for split in sources.SPLITS for name in sources.SCENES[split]]
    assert len(set(scenes)) == len(scenes)


def test_pictures_under_a_licence_that_asks_for_it_are_credited():
    for name in ("china", "flower"):
        assert "CC BY 2.0" in sources.CREDITS[name]


def test_dead_leaves_take_their_colours_from_their_own_split(monkeypatch, fresh):
    # One pure colour per split: red, green, blue. Blends of one colour are that colour.
    def pure(channel):
        picture = np.zeros((3, 40, 50), np.uint8)
        picture[channel] = 200
        return {"only": {"only": picture}}

    plain = {split: pure(channel) for channel, split in enumerate(sources.SPLITS)}
    monkeypatch.setattr(sources, "_scenes", plain.__getitem__)
    sources._leaves.cache_clear()
    for channel, split in enumerate(sources.SPLITS):
        for seed in range(3):
            levels = sources.dead_leaves(split, seed, SMALL).mul(255).round()
            expected = torch.zeros(3)
            expected[channel] = 200
            assert torch.equal(levels, expected[:, None, None].expand_as(levels)), (split, seed)
    monkeypatch.undo()


def test_dead_leaves_streams_of_the_splits_are_disjoint(monkeypatch, fresh):
    # Coloured alike, scenes of equal seed still differ: each split has its own range of seeds.
    assert [k * sources.SEEDS_PER_SPLIT for k in (1, 2)] == [500_000, 1_000_000]
    picture = np.random.default_rng(0).integers(256, size=(3, 40, 50), dtype=np.uint8)
    monkeypatch.setattr(sources, "_scenes", lambda split: {"same": {"same": picture}})
    sources._leaves.cache_clear()
    train, val, test = (sources.dead_leaves(split, 0, SMALL) for split in sources.SPLITS)
    assert not torch.equal(train, val) and not torch.equal(train, test) and not torch.equal(val, test)
    monkeypatch.undo()


def test_dead_leaves_are_deterministic_and_differ_by_seed(fresh):
    first = sources.dead_leaves("train", 7, SMALL)
    other = sources.dead_leaves("train", 8, SMALL)
    sources._leaves.cache_clear()
    assert torch.equal(sources.dead_leaves("train", 8, SMALL), other)
    assert torch.equal(sources.dead_leaves("train", 7, SMALL), first)
    assert not torch.equal(first, other)
    assert first.shape == (3, SMALL, SMALL) and first.dtype == torch.float32


def test_dead_leaves_memory_is_bounded():
    assert sources._leaves.cache_info().maxsize * 3 * 512 * 512 < 256e6


def spectral_slope(image):
    """Exponent of the radially averaged power spectrum, from 8 cycles a picture to a third of the sampling rate."""
    gray = image.mean(0).numpy()
    size = min(gray.shape)
    window = np.hanning(size)
    gray = (gray[:size, :size] - gray.mean()) * window[:, None] * window
    power = np.abs(np.fft.fftshift(np.fft.fft2(gray))) ** 2
    y, x = np.indices(power.shape) - size // 2
    radius = np.hypot(y, x).astype(int).ravel()
    profile = np.bincount(radius, power.ravel()) / np.bincount(radius)
    f = np.arange(8, size // 3)
    return np.polyfit(np.log(f), np.log(profile[f]), 1)[0]


def test_dead_leaves_have_the_statistics_of_photographs():
    scenes = [sources.dead_leaves(split, seed) for split in ("train", "test") for seed in range(6)]
    assert np.mean([spectral_slope(scene) for scene in scenes]) == pytest.approx(-2.4, abs=0.4)
    assert 0.02 < np.mean([gradient(scene) for scene in scenes]) < 0.05  # photographs: 0.03
    assert all(float(scene.min()) >= 0 and float(scene.max()) <= 1 and scene.std() > 0.02 for scene in scenes)


@pytest.mark.parametrize("scale", [1.0, 1.5, 1.73, 0.5])
@pytest.mark.parametrize("dead_leaves", [0.0, 1.0])
def test_canvas_has_the_asked_size_whatever_the_scale(scale, dead_leaves):
    for seed, (height, width) in enumerate([(61, 97), (1, 1), (250, 33), (128, 128)]):
        image, name = canvas(seed, height=height, width=width, scale=scale, dead_leaves=dead_leaves, pool=2)
        assert image.shape == (3, height, width) and image.dtype == torch.float32 and image.is_contiguous()
        assert float(image.min()) >= 0 and float(image.max()) <= 1
        assert name.startswith("dead_leaves_") == (dead_leaves == 1)


def test_canvas_is_a_piece_of_its_source_at_scale_one():
    for seed in range(6):
        image, name = canvas(seed, height=9, width=14, dead_leaves=0)
        photo = sources.photographs("train")[name]
        # Recolouring keeps the mean of the channels.
        windows = photo.mean(0).unfold(0, 9, 1).unfold(1, 14, 1)  # (H-8, W-13, 9, 14)
        gray = image.mean(0)
        found = any(((windows - piece).abs().amax((-1, -2)) < 1e-5).any() for piece in (gray, gray.flip(-1)))
        assert found, name


def test_larger_scale_means_softer_pixels():
    sharp = np.mean([gradient(canvas(seed, dead_leaves=0)[0]) for seed in range(40)])
    soft = np.mean([gradient(canvas(seed, dead_leaves=0, scale=2.0)[0]) for seed in range(40)])
    assert soft < 0.75 * sharp


def test_a_source_smaller_than_the_canvas_is_enlarged_before_it_is_mirrored():
    # Of 250 rows, 370: enlarged 1.48 times, nothing is mirrored. 600: enlarged 1.5 times, and the rest is mirrored.
    rng = np.random.default_rng(0)
    source = np.tile(np.arange(250, dtype=np.uint8)[None, :, None], (3, 1, 250))  # rows rise steadily
    for height, monotone in ((370, True), (600, False)):
        rows = sources.random_crop(rng, source, height, 100, 1.0)[0, :, 50]
        assert len(rows) == height
        step = rows[3:-3].diff()  # bicubic overshoots at the very ends
        assert bool((step > 0).all()) == monotone
        assert float(step.abs().median()) * 255 == pytest.approx(1 / min(height / 250, 1.5), rel=0.1)


def test_canvas_depends_on_its_generator_alone(fresh):
    def draw():
        rng = np.random.default_rng([4, 2])
        return [sources.sharp_canvas(rng, "test", 45, 71, scale=1.3, pool=3) for _ in range(6)]

    first = draw()
    canvas(9, split="train", pool=3)  # other calls in between
    fresh()
    for (image, name), (image_again, name_again) in zip(first, draw(), strict=True):
        assert name == name_again and torch.equal(image, image_again)
    assert len({name for _, name in first}) > 1


def test_splits_and_exclusions_are_respected():
    def names(split, **options):
        return {canvas(seed, split, 8, 8, pool=3, **options)[1] for seed in range(120)}

    train, test = names("train"), names("test")
    leaves = {f"dead_leaves_{seed}" for seed in range(3)}
    assert leaves <= train and leaves <= test
    assert (train - leaves).isdisjoint(test - leaves)
    assert "motorcycle" in test and "motorcycle_left" not in test  # two views, one name
    assert "coffee" in train and "coffee" not in names("train", for_defocus=True)
    assert "flower" not in names("test", for_defocus=True)
    assert "astronaut" not in names("train", exclude="astronaut")
    assert "dead_leaves_1" not in names("train", exclude="dead_leaves_1")
    assert leaves.isdisjoint(names("test", dead_leaves=0.0))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="unknown split 'training'"):
        sources.photographs("training")
    with pytest.raises(ValueError, match="unknown split"):
        canvas(split="dev")
    with pytest.raises(ValueError, match="seed"):
        sources.dead_leaves("train", sources.SEEDS_PER_SPLIT)
    with pytest.raises(ValueError, match="seed"):
        sources.dead_leaves("train", -1)
    with pytest.raises(ValueError, match="size"):
        sources.dead_leaves("train", 0, 8)
    with pytest.raises(ValueError, match="positive"):
        canvas(height=0)


def test_running_out_of_sources_is_an_error(monkeypatch, fresh):
    monkeypatch.setattr(sources, "_scenes", lambda split: {"one": {"one": np.full((3, 9, 9), 90, np.uint8)}})
    with pytest.raises(ValueError, match="allow dead leaves"):
        canvas(dead_leaves=0.0, exclude="one", height=4, width=4)
    monkeypatch.undo()


def test_colours_vary_and_light_does_not():
    """The same crop from the same photograph comes in different colours, so that colours tell nothing about the set."""
    crops = [canvas(seed, height=9, width=14, dead_leaves=0)[0] for seed in range(12)]
    spread = torch.stack([(crop - crop.mean(0, keepdim=True)).abs().mean() for crop in crops])
    assert spread.max() > 1.5 * spread.median()
    orders = {tuple(crop.mean((1, 2)).argsort().tolist()) for crop in crops if crop.std(0).mean() > 1e-3}
    assert len(orders) > 2


@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_what_goes_with_a_picture_is_cropped_with_it(scale):
    """A fourth channel, here the mean of the three: recolouring keeps the mean, everything else is geometry."""
    photo = sources.photographs("train")["rocket"].numpy()
    source = np.concatenate([photo, photo.mean(0, keepdims=True)])
    for seed, (height, width) in enumerate([(61, 97), (300, 33), (450, 520)]):
        crop = sources.random_crop(np.random.default_rng(seed), source, height, width, scale)
        assert crop.shape == (4, height, width)
        inside = (crop[:3] > 0.01).all(0) & (crop[:3] < 0.99).all(0)  # bicubic overshoot is clipped
        assert ((crop[:3].mean(0) - crop[3]).abs()[inside] < 1e-3).float().mean() > 0.999
    small = photo[:, :70, :90]
    plain = sources.random_crop(np.random.default_rng(3), small, 40, 50, 1.0, recolour=False)
    windows = torch.from_numpy(small).unfold(1, 40, 1).unfold(2, 50, 1)  # (3, 31, 41, 40, 50)
    either = [(windows - one[:, None, None]).abs().amax((0, 3, 4)).min() for one in (plain, plain.flip(-1))]
    assert min(either) == 0


def test_one_photograph_is_its_middle_scaled_to_fill():
    picture = sources.photographs("test")["chelsea"]
    canvas = sources.one_photograph("chelsea")
    crop, name = canvas(np.random.default_rng(0), "test", 40, 300, scale=1.5, for_defocus=True)
    assert name == "chelsea" and crop.shape == (3, 40, 300)
    same, _ = canvas(None, "train", *picture.shape[1:])
    torch.testing.assert_close(same, picture, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="there is no photograph 'dog'"):
        sources.one_photograph("dog")
