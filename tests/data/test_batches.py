import numpy as np
import pytest
import torch
from PIL import Image

from demoe.data import aio
from demoe.data.batches import Batches
from demoe.data.pairs import PairedSet, folder, synthetic
from demoe.profiles import PROFILES
from demoe.tasks import DATASETS


def ramp_set(name, height=20, width=30, count=2):
    """Pictures that say where each pixel came from: red = row, green = column; sharp = blurred + 100 in blue."""
    rows = torch.arange(height).view(-1, 1).expand(height, width)
    columns = torch.arange(width).expand(height, width)
    blurred = torch.stack([rows, columns, torch.zeros_like(rows)]).byte()
    sharp = blurred.clone()
    sharp[2] = 100
    return PairedSet(name, "synthetic", [str(i) for i in range(count)], lambda i: (blurred, sharp))


def test_batches_are_a_function_of_seed_and_step():
    sets = [ramp_set("GoPro-syn"), ramp_set("DPDD-syn")]
    first, again, other = Batches(sets, 8, 4, seed=1), Batches(sets, 8, 4, seed=1), Batches(sets, 8, 4, seed=2)
    _ = again[99]  # asking for another step first changes nothing
    for a, b in zip(first[7], again[7], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[7].blurred, other[7].blurred)
    assert not torch.equal(first[7].blurred, first[8].blurred)


def test_crops_are_aligned_contiguous_and_labelled():
    sets = [ramp_set("GoPro-syn"), ramp_set("LOLBlur-syn")]
    seen = set()
    for step in range(20):
        batch = Batches(sets, 8, 3)[step]
        assert batch.blurred.shape == batch.sharp.shape == (3, 3, 8, 8)
        torch.testing.assert_close(batch.blurred[:, :2], batch.sharp[:, :2])  # the same window of both
        rows, columns = (batch.blurred[:, :2] * 255).round().unbind(1)
        assert ((rows[:, 1:] - rows[:, :-1]).abs() == 1).all()
        assert ((columns[..., 1:] - columns[..., :-1]).abs() == 1).all()
        seen |= {(bool(r[1, 0] > r[0, 0]), bool(c[0, 1] > c[0, 0])) for r, c in zip(rows, columns, strict=True)}
        assert set(batch.labels.tolist()) <= {3, 4}
    assert len(seen) == 4  # all four flips happen


def test_every_set_comes_equally_often():
    sets = [ramp_set(f"{name}-syn") for name in DATASETS]
    for size in (3, 5, 8):
        labels = torch.cat([Batches(sets, 8, size)[step].labels for step in range(10)])
        assert torch.bincount(labels, minlength=5).tolist() == [size * 2] * 5


def test_a_picture_smaller_than_the_crop_is_named():
    with pytest.raises(ValueError, match=r"GoPro-syn: picture \d is 30x20, smaller than the 24-pixel crops"):
        Batches([ramp_set("GoPro-syn")], 24, 2)[0]


def test_synthetic_pairs_are_cached_and_equal(tmp_path):
    made = synthetic("GoPro", "train", 2, 48, seed=3, cache=tmp_path, progress=False)
    assert len(list(tmp_path.glob("*.npz"))) == 1 and not list(tmp_path.glob("*.tmp"))
    cached = synthetic("GoPro", "train", 2, 48, seed=3, cache=tmp_path, progress=False)
    uncached = synthetic("GoPro", "train", 2, 48, seed=3, progress=False)
    assert made.name == "GoPro-syn" and made.data == "synthetic" and made.label == 3
    for i in range(2):
        for a, b, c in zip(made.pair(i), cached.pair(i), uncached.pair(i), strict=True):
            assert torch.equal(a, b) and torch.equal(a, c)
    assert list(made.keys) == list(cached.keys)


def save(file, height=20, width=30, value=9):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(file)


def test_real_pairs_from_two_folders(tmp_path):
    for name in DATASETS:
        for split in ("train", "test"):
            save(tmp_path / name / split / "blur" / "one.png", value=10)
            save(tmp_path / name / split / "sharp" / "one.png", value=200)
    sets = aio.aio_blur(PROFILES["paper"], "test", data_root=tmp_path)
    assert [one.name for one in sets] == list(DATASETS) and aio.kind(sets) == "real"
    blurred, sharp = sets[0].pair(0)
    assert blurred.unique().item() == pytest.approx(10 / 255) and sharp.unique().item() == pytest.approx(200 / 255)


def test_broken_real_sets_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="DPDD: there is no folder"):
        aio.aio_blur(PROFILES["smoke"], "train", data_root=tmp_path)
    save(tmp_path / "blur" / "a.png")
    save(tmp_path / "sharp" / "a.png", height=22)
    pairs = folder("GoPro", tmp_path / "blur", tmp_path / "sharp")
    with pytest.raises(ValueError, match=r"a\.png and .*a\.png are a pair of different sizes: 30x20 and 30x22"):
        pairs.pair(0)
    save(tmp_path / "blur" / "b.png")
    with pytest.raises(ValueError, match=r"b in .*blur has no partner in .*sharp"):
        folder("GoPro", tmp_path / "blur", tmp_path / "sharp")


def test_the_paper_profile_wants_real_data():
    with pytest.raises(ValueError, match="--data-root"):
        aio.aio_blur(PROFILES["paper"], "train")
