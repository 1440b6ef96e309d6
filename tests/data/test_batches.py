from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from demoe.blur.job import Options
from demoe.blur.sources import sharp_canvas
from demoe.core import profiles
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.data.batches import Batches, Fresh, ahead, workers_for
from demoe.data.composition import select
from demoe.data.pairs import PairedSet, folder
from demoe.data.setting import Setting
from demoe.data.synthetic import synthetic


def ramp_set(name, height=20, width=30, count=2, peak=255):
    """Pictures that say where each pixel came from: red = row, green = column; blue: 0 blurred, 100 sharp."""
    rows = torch.arange(height).view(-1, 1).expand(height, width)
    columns = torch.arange(width).expand(height, width)
    blurred = torch.stack([rows, columns, torch.zeros_like(rows)]).to(torch.uint8 if peak == 255 else torch.int32)
    sharp = blurred.clone()
    sharp[2] = 100

    def read(i, window=None):
        top, left, h, w = window or (0, 0, height, width)
        return tuple(side[:, top : top + h, left : left + w] for side in (blurred, sharp))

    return PairedSet(name, "synthetic", [str(i) for i in range(count)], read, lambda i: (height, width), peak)


def numbered(name, count):
    """Pictures of 8 x 8 pixels that say which pair they are."""

    def read(i, window=None):
        return torch.full((3, 8, 8), i, dtype=torch.uint8), torch.full((3, 8, 8), i, dtype=torch.uint8)

    return PairedSet(name, "synthetic", [str(i) for i in range(count)], read, lambda i: (8, 8))


def test_batches_are_a_function_of_seed_and_step():
    sets = [ramp_set("GoPro-syn"), ramp_set("DPDD-syn")]
    first, again, other = Batches(sets, 8, 4, seed=1), Batches(sets, 8, 4, seed=1), Batches(sets, 8, 4, seed=2)
    _ = again[99]  # asking for another step first changes nothing
    for a, b in zip(first[7], again[7], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[7].blurred, other[7].blurred)
    assert not torch.equal(first[7].blurred, first[8].blurred)


@pytest.mark.parametrize("peak", [255, 65535])
def test_crops_are_aligned_and_labelled(peak):
    sets = [ramp_set("GoPro-syn", peak=peak), ramp_set("LOLBlur-syn", peak=peak)]
    seen = set()
    for step in range(20):
        batch = Batches(sets, 8, 3)[step]
        assert batch.blurred.shape == batch.sharp.shape == (3, 3, 8, 8)
        torch.testing.assert_close(batch.blurred[:, :2], batch.sharp[:, :2])  # the same window of both
        rows, columns = (batch.blurred[:, :2] * peak).round().unbind(1)
        assert ((rows[:, 1:] - rows[:, :-1]).abs() == 1).all()
        assert ((columns[..., 1:] - columns[..., :-1]).abs() == 1).all()
        seen |= {(bool(r[1, 0] > r[0, 0]), bool(c[0, 1] > c[0, 0])) for r, c in zip(rows, columns, strict=True)}
        assert set(batch.labels.tolist()) <= {3, 4}
    assert len(seen) == 4  # all four flips happen


@pytest.mark.parametrize("size", [3, 5, 11])
def test_an_epoch_shows_every_entry_once(size):
    """And a pair that comes twice in the composition twice, in an order that differs from epoch to epoch."""
    sets = [numbered("GoPro-syn", 4), select(numbered("DPDD-syn", 3), [0, 1, 2, 2, 1]), numbered("LOLBlur-syn", 2)]
    batches, seen = Batches(sets, 8, size, seed=4), []
    for step in range(11):  # 11 x size positions: whole epochs of 11 entries
        batch = batches[step]
        seen += list(zip(batch.labels.tolist(), (batch.sharp[:, 0, 0, 0] * 255).round().int().tolist(), strict=True))
    epochs = [seen[start : start + 11] for start in range(0, len(seen), 11)]
    whole = {(3, i): 1 for i in range(4)} | {(0, 0): 1, (0, 1): 2, (0, 2): 2} | {(4, 0): 1, (4, 1): 1}
    assert all(Counter(epoch) == whole for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_picture_smaller_than_the_crop_is_named():
    with pytest.raises(ValueError, match=r"GoPro-syn: picture \d is 30x20, smaller than the 24-pixel crops"):
        Batches([ramp_set("GoPro-syn")], 24, 2)[0]


def test_a_set_without_sharp_pictures_is_not_trained_on():
    pairs = synthetic("Real-LOLBlur", "train", 1, 48, progress=False)
    assert pairs.pair(0)[1] is None
    with pytest.raises(ValueError, match="Real-LOLBlur-syn has no sharp pictures"):
        Batches([pairs], 24, 1)[0]


def test_nothing_to_train_on():
    with pytest.raises(ValueError, match="no pairs"):
        Batches([select(numbered("GoPro", 2), [])], 8, 2)


def test_a_set_of_no_expert_has_the_label_minus_one():
    assert Batches([numbered("LOLv2-real-syn", 3)], 8, 2)[0].labels.tolist() == [-1, -1]


def test_synthetic_pairs_are_cached_and_equal(tmp_path):
    made = synthetic("GoPro", "train", 2, 48, seed=3, cache=tmp_path, progress=False)
    assert [file.name for file in tmp_path.glob("*/*.npz")] == ["pictures.npz"]
    cached = synthetic("GoPro", "train", 2, 48, seed=3, cache=tmp_path, progress=False)
    uncached = synthetic("GoPro", "train", 2, 48, seed=3, progress=False)
    assert made.name == "GoPro-syn" and made.data == "synthetic" and made.label == 3
    for i in range(2):
        for a, b, c in zip(made.pair(i), cached.pair(i), uncached.pair(i), strict=True):
            assert torch.equal(a, b) and torch.equal(a, c)
    assert list(made.keys) == list(cached.keys) and made.size(1) == (48, 48)
    (folder,) = tmp_path.iterdir()
    (folder / ".lock").unlink(missing_ok=True)
    before = folder.stat().st_mtime_ns
    synthetic("GoPro", "train", 2, 48, seed=3, cache=tmp_path, progress=False)
    assert folder.stat().st_mtime_ns == before  # it may be one in which nothing can be written
    assert torch.equal(made.read(1, (3, 5, 7, 9))[0], made.read(1)[0][:, 3:10, 5:14])


def test_fresh_batches_follow_from_seed_and_step_and_never_repeat():
    fresh, again = Fresh(DATASETS, 16, 5, seed=2), Fresh(DATASETS, 16, 5, seed=2)
    _ = again[3]
    assert all(torch.equal(a, b) for a, b in zip(fresh[1], again[1], strict=True))
    assert sorted(fresh[1].labels.tolist()) == [0, 1, 2, 3, 4]
    assert not torch.equal(fresh[0].blurred, fresh[1].blurred)


def test_fresh_pairs_do_not_depend_on_the_batch_size():
    wide, narrow = Fresh(DATASETS[:2], 16, 4, seed=1)[0], [Fresh(DATASETS[:2], 16, 2, seed=1)[step] for step in (0, 1)]
    pairs = {sharp.numpy().tobytes() for sharp in wide.sharp}
    assert pairs == {sharp.numpy().tobytes() for batch in narrow for sharp in batch.sharp} and len(pairs) == 4


def test_fresh_pairs_without_blur_have_no_label():
    options = Options(capture="shared", canvas=partial(sharp_canvas, dead_leaves=0.0))
    fresh = Fresh(DATASETS, 16, 20, seed=1, options=options)
    labels = [label for step in range(4) for label in fresh[step].labels.tolist()]
    assert set(labels) == {-1, 0, 1, 2, 3, 4} and labels.count(4) == 16  # low light always has one


def test_pairs_without_blur_have_no_label_in_a_set_either(tmp_path):
    make = partial(synthetic, "GoPro", "train", 12, 24, progress=False, options=Options(capture="shared"))
    pairs, cached = make(cache=tmp_path), make(cache=tmp_path)
    assert list(pairs.named) == list(cached.named) and not all(pairs.named) and pairs.label == 3
    without = list(pairs.named).index(False)
    assert pairs.label_of(without) is None and select(pairs, [without]).label_of(0) is None
    assert Batches([select(pairs, [without])], 16, 2)[0].labels.tolist() == [-1, -1]
    synthetic("GoPro", "train", 12, 24, cache=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2  # another camera, another cache


def test_the_real_profile_shares_a_camera_but_where_a_set_has_its_own_alone(home):
    profile = profiles.get("real", image_size=32, test_images=1, train_images=1, batch=5)
    setting = Setting(profile, progress=False)
    anew = replace(setting, profile=replace(profile, fresh=True))
    fresh = aio_blur.training_data(anew, 16)
    assert fresh.options.capture == "shared"
    kept = aio_blur.training_data(setting, 16)
    for pairs in kept:
        name = pairs.name.removesuffix("-syn")
        wanted = synthetic(name, "train", 1, 32, progress=False, options=Options(capture="shared"))
        assert torch.equal(pairs.pair(0)[0], wanted.pair(0)[0]), name
    assert aio_blur.training_data(anew, 16, ("LOLv2-real",)).options.capture == "set"
    for name, capture in (("GoPro", "shared"), ("RSBlur", "set")):
        wanted = synthetic(name, "test", 1, 32, progress=False, options=Options(capture=capture))
        assert torch.equal(wanted.pair(0)[0], aio_blur.one_set(name, setting, "test").pair(0)[0])


def save(file, height=20, width=30, value=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(file)))
    pixels = rng.integers(0, 256, (height, width, 3)) if value is None else np.full((height, width, 3), value)
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def own_pairs(root, count=4):
    for i in range(count):
        for side in ("blur", "sharp"):
            save(root / side / f"{i}.png", 20 + i, 30)
    return folder("GoPro", root / "blur", root / "sharp")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(tmp_path, workers):
    batches = Batches([own_pairs(tmp_path)], 16, 3, seed=6)
    for step, batch in enumerate(ahead(batches, 2, 6, workers), start=2):
        assert all(torch.equal(a, b) for a, b in zip(batch, batches[step], strict=True))
    assert step == 5
    assert workers_for(batches, cores=4) == 4 and workers_for(Batches([ramp_set("GoPro-syn")], 8, 1), cores=4) == 0
    assert workers_for(Fresh(DATASETS, 16, 5), cores=4) == 4 and workers_for(Fresh(DATASETS, 16, 5, device="cuda")) == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_wherever_it_is_read(tmp_path, workers):
    pairs = own_pairs(tmp_path)
    whole = (tmp_path / "blur" / "2.png").read_bytes()
    (tmp_path / "blur" / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"^[^\n]*2\.png[^\n]*$"):  # one sentence, no traceback of a worker
        list(ahead(Batches([pairs], 16, 2), 0, 4, workers))


def test_real_pairs_from_plain_folders(tmp_path):
    for name in DATASETS:
        for split in ("train", "test"):
            save(tmp_path / name / split / "blur" / "one.png", value=10)
            save(tmp_path / name / split / "sharp" / "one.png", value=200)
    sets = aio_blur.aio_blur(Setting.of("paper", data_root=tmp_path), "test")
    assert [one.name for one in sets] == list(DATASETS) and aio_blur.kind(sets) == "real"
    blurred, sharp = sets[0].pair(0)
    assert blurred.unique().item() == pytest.approx(10 / 255) and sharp.unique().item() == pytest.approx(200 / 255)


def test_a_missing_real_set_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="DPDD"):
        aio_blur.aio_blur(Setting.of("smoke", data_root=tmp_path), "train")


def test_the_paper_profile_wants_real_data():
    with pytest.raises(ValueError, match="--data-root"):
        aio_blur.aio_blur(Setting.of("paper"), "train")
