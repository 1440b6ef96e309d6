"""One's own sharp photographs: which picture is in which split, what is read, and what is refused."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from demoe.blur import folder
from demoe.blur.folder import FolderCanvas
from demoe.blur.sets import Options, synthesize
from demoe.core import images


def _picture(file, seed, height=140, width=170):
    file.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(256, size=(height // 5, width // 5, 3), dtype=np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(file)


@pytest.fixture
def photographs(tmp_path):
    """23 pictures in two folders, with a file that is none."""
    root = tmp_path / "sharp"
    for i in range(23):
        _picture(root / ("a" if i % 2 else "b/c") / f"{i:02d}.png", i)
    (root / "notes.txt").write_text("no picture")
    return root


def _rng(seed=0):
    return np.random.default_rng(seed)


def test_every_picture_is_in_one_split_whatever_the_order_on_disk(photographs, tmp_path):
    canvas = FolderCanvas(photographs)
    assert {split: len(names) for split, names in canvas.splits.items()} == {"train": 19, "val": 2, "test": 2}
    everything = [name for names in canvas.splits.values() for name in names]
    assert sorted(everything) == sorted(p.relative_to(photographs).as_posix() for p in photographs.rglob("*.png"))
    shutil.copytree(photographs, tmp_path / "elsewhere")
    again = FolderCanvas(tmp_path / "elsewhere")
    assert again.splits == canvas.splits and again.identity == canvas.identity


def test_crops_come_from_their_split_and_are_pieces_of_their_picture(photographs):
    canvas = FolderCanvas(photographs)
    for split, names in canvas.splits.items():
        seen = set()
        for seed in range(30):
            crop, name = canvas(_rng(seed), split, 31, 47)
            assert crop.shape == (3, 31, 47) and crop.dtype == torch.float32
            seen.add(name)
            if seed == 0:  # colours and all
                windows = images.read_photograph(photographs / name).pixels.unfold(1, 31, 1).unfold(2, 47, 1)
                either = [(windows - one[:, None, None]).abs().amax((0, 3, 4)).min() for one in (crop, crop.flip(-1))]
                assert min(either) < 1e-6
        assert seen <= set(names) and len(seen) > 1
    crop, name = canvas(_rng(4), "train", 61, 300, scale=1.5)  # larger than the picture
    assert crop.shape == (3, 61, 300) and crop.min() >= 0 and crop.max() <= 1
    assert torch.equal(crop, canvas(_rng(4), "train", 61, 300, scale=1.5)[0])


def test_exclude_takes_another_picture_if_there_is_one(photographs, tmp_path):
    canvas = FolderCanvas(photographs)
    one, other = canvas.splits["test"]
    assert {canvas(_rng(i), "test", 8, 8, exclude=one)[1] for i in range(20)} == {other}
    for i in range(3):
        _picture(tmp_path / "three" / f"{i}.png", i)
    few = FolderCanvas(tmp_path / "three")
    only = few.splits["val"]
    assert len(only) == 1 and few(_rng(), "val", 8, 8, exclude=only[0])[1] == only[0]


def test_identity_changes_with_the_files(photographs):
    before = FolderCanvas(photographs).identity
    assert len(before) == 12
    _picture(photographs / "new.png", 99)
    added = FolderCanvas(photographs).identity
    (photographs / "new.png").rename(photographs / "newer.png")
    renamed = FolderCanvas(photographs).identity
    _picture(photographs / "newer.png", 100, 150, 150)
    resized = FolderCanvas(photographs).identity
    assert len({before, added, renamed, resized}) == 4
    (photographs / "newer.png").unlink()
    assert FolderCanvas(photographs).identity == before


@pytest.mark.parametrize("name", ["GoPro", "ReLoBlur", "DPDD", "LOLv2-real"])
def test_sets_can_be_made_from_them(photographs, name):
    options = Options(canvas=FolderCanvas(photographs))
    pairs = [synthesize(name, "test", i, size=(40, 51), options=options) for i in range(3)]
    assert {pair.source for pair in pairs} <= set(options.canvas.splits["test"])
    again = pickle.loads(pickle.dumps(options))  # as worker processes get it
    assert torch.equal(synthesize(name, "test", 0, size=(40, 51), options=again).blurred, pairs[0].blurred)


def test_memory_is_bounded_and_pictures_are_read_when_needed(photographs, monkeypatch):
    read = []
    real = images.read_photograph
    monkeypatch.setattr(folder.images, "read_photograph", lambda path: read.append(path) or real(path))
    monkeypatch.setattr(folder, "_CACHE_BYTES", 4 * 3 * 140 * 170)
    canvas = FolderCanvas(photographs)
    assert not read
    for i in range(40):
        canvas(_rng(i), "train", 8, 8)
        assert sum(kept.nbytes for kept in canvas._cache.values()) <= folder._CACHE_BYTES
    assert len(canvas._cache) == 4 and len(read) > 10
    count = len(read)
    name = next(reversed(canvas._cache))
    canvas._picture(name)
    assert len(read) == count


def test_large_pictures_are_reduced(photographs, monkeypatch):
    monkeypatch.setattr(folder, "LARGEST", 85)
    canvas = FolderCanvas(photographs)
    name = canvas.splits["train"][0]
    reduced = canvas._picture(name)
    assert reduced.shape == (3, 70, 85)
    halved = torch.nn.functional.avg_pool2d(images.read_photograph(photographs / name).pixels, 2)
    assert np.abs(reduced / 255 - halved.numpy()).max() <= 0.51 / 255


def test_what_cannot_be_used_is_named(tmp_path, photographs):
    with pytest.raises(NotADirectoryError, match="nowhere"):
        FolderCanvas(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds 0 pictures: at least 3"):
        FolderCanvas(tmp_path / "empty")
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        FolderCanvas(photographs)(_rng(), "dev", 8, 8)
    _picture(photographs / "tiny.png", 1, 100, 400)
    with pytest.raises(ValueError, match=r"tiny.png has 400x100 pixels: sharp pictures need at least 128"):
        FolderCanvas(photographs)
    (photographs / "tiny.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"tiny.png is not a PNG"):
        FolderCanvas(photographs)


def test_a_damaged_picture_is_named_when_it_is_read(photographs):
    canvas = FolderCanvas(photographs)
    for name in canvas.splits["val"]:
        data = (photographs / name).read_bytes()
        (photographs / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"\d\d\.png is damaged or incomplete"):
        canvas(_rng(), "val", 16, 16)
