import numpy as np
import pytest
import torch

from demoe.blur import scenes, sensor, sets, sources
from demoe.blur.cameras import CAMERAS
from demoe.blur.sets import SETS, Options, synthesize, synthesize_batch
from demoe.core import tasks


def _photograph(rng, split, height, width, **options):
    """Photographs only: dead-leaves scenes take a second each to make."""
    return sources.sharp_canvas(rng, split, height, width, **{**options, "dead_leaves": 0.0})


def _constant(rng, split, height, width, *, scale=1.0, for_defocus=False, exclude=None):
    level = 0.5 if exclude is None else 0.8
    return torch.full((3, height, width), level), "constant" if exclude is None else "object"


PHOTOS = Options(canvas=_photograph)


def _equal(one, other):
    return (
        torch.equal(one.blurred, other.blurred)
        and torch.equal(one.sharp, other.sharp)
        and (one.mask is other.mask is None or torch.equal(one.mask, other.mask))
        and (one.source, one.note, one.named) == (other.source, other.note, other.named)
    )


def test_there_is_a_recipe_for_every_set():
    assert len(set(SETS)) == len(SETS) and set(SETS[:5]) == set(tasks.DATASETS)
    assert [sets._RECIPES[name][0] for name in SETS] == list(range(1, len(SETS) + 1))  # the samples hang on these


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
    make = {key: synthesize(name, key[1], key[2], size=(40, 52), seed=key[0], options=PHOTOS) for key in keys}
    assert _equal(make[keys[0]], synthesize(name, "train", 1, size=(40, 52), seed=0, options=PHOTOS))
    pictures = {pair.blurred.numpy().tobytes() for pair in make.values()}
    assert len(pictures) == len(keys)


def test_sets_do_not_share_their_random_numbers():
    assert len({synthesize(name, "train", 0, size=32, options=PHOTOS).sharp.numpy().tobytes() for name in SETS}) == len(
        SETS
    )


@pytest.mark.parametrize("name", SETS)
def test_a_batch_is_its_samples_bit_for_bit(name):
    indices = [4, 0, 9, 4]
    batch = synthesize_batch(name, "train", indices, size=(48, 37), seed=2, options=PHOTOS)
    assert batch.blurred.shape == batch.sharp.shape == (4, 3, 48, 37)
    for i, index in enumerate(indices):
        single = synthesize(name, "train", index, size=(48, 37), seed=2, options=PHOTOS)
        mask = None if batch.mask is None else batch.mask[i]
        assert _equal(
            single, sets.Pair(batch.blurred[i], batch.sharp[i], mask, batch.source[i], batch.note[i], batch.named[i])
        )


@pytest.mark.parametrize("name", SETS)
def test_computing_a_batch_at_once_changes_rounding_only(name):
    """What a GPU does, on the CPU: all samples in one call of the recipe."""
    rngs = [np.random.default_rng(i) for i in range(3)]
    again = [np.random.default_rng(i) for i in range(3)]
    job = sets.Job(rngs, "train", (40, 50), torch.device("cpu"), PHOTOS, CAMERAS[name])
    recipe = sets._RECIPES[name][1]
    together = recipe(job)
    for i, rng in enumerate(again):
        alone = recipe(sets.Job([rng], "train", (40, 50), torch.device("cpu"), PHOTOS, CAMERAS[name]))
        for one, other in ((alone.blurred[0], together.blurred[i]), (alone.sharp[0], together.sharp[i])):
            # JPEG turns a difference in rounding into a few levels
            assert (one - other).abs().max() < (0.05 if name in ("RealBlur", "Real-LOLBlur") else 1.01 / 255)
            assert (one - other).abs().mean() < 2e-4
        assert alone.note[0] == together.note[i]


def test_samples_shared_among_threads_are_the_same():
    """As beside a GPU, which this needs none of: every sample has its own generator."""

    def make(rng, offset):
        return offset + rng.random(3).sum(), PHOTOS.canvas(rng, "train", 20, 31)[0]

    made = []
    for device in ("cpu", "cuda"):
        rngs = [np.random.default_rng(i) for i in range(9)]
        job = sets.Job(rngs, "train", (8, 8), torch.device(device), PHOTOS, CAMERAS["GoPro"])
        made.append(job.each(make, range(9)))
    for (one, canvas), (other, again) in zip(*made, strict=True):
        assert one == other and torch.equal(canvas, again)


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


def test_rsblur_moves_by_another_law():
    """Constant speed along the path: the notes give the extent, the recipe's own job the path."""
    job = sets.Job([np.random.default_rng(0)], "test", (32, 32), torch.device("cpu"), PHOTOS, CAMERAS["RSBlur"])
    walk = job.paths(4, 0.5, "mid", None)[0]
    speed = np.hypot(*np.diff(walk[:, :2], axis=0).T)
    assert speed.std() < 1e-6 * speed.mean() and np.allclose(walk[len(walk) // 2], 0)


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


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("GOPRO", {}, "choose one of RealBlur"),
        ("GoPro", {"split": "training"}, "train, val, test"),
        ("GoPro", {"index": -1}, "0 or more"),
        ("GoPro", {"seed": -1}, "0 or more"),
        ("GoPro", {"size": (4, 64)}, "at least 8x8"),
    ],
)
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
