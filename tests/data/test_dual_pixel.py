"""DPDD for defocus papers: its views at 16 bits, and which patches of a picture stay."""

import imagecodecs
import numpy as np
import pytest
import torch

from demoe.data import dual_pixel
from demoe.data.batches import Batches
from demoe.data.dual_pixel import dual_pixel as dpdd
from demoe.data.dual_pixel import patches
from demoe.data.pairs import PairedSet
from demoe.data.real.roots import Roots

NAMES = {"train": ("1P0A0890", "1P0A0891"), "test": ("1P0A0917", "1P0A0916")}


@pytest.fixture
def views(tmp_path):
    """One picture a split, 40 x 28 pixels; both views, their combination and the sharp picture are unrelated."""
    generator, found = np.random.default_rng(0), {}
    for split, (blurred, sharp) in NAMES.items():
        places = {"c": f"source/{blurred}", "l": f"source/{blurred}_L", "r": f"source/{blurred}_R"}
        files = {side: f"{split}_{side}/{place}.png" for side, place in places.items()}
        files["sharp"] = f"{split}_c/target/{sharp}.png"
        for side, file in files.items():
            found[split, side] = generator.integers(0, 65536, (28, 40, 3), dtype=np.uint16)
            place = tmp_path / "dd_dp_dataset_canon" / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(imagecodecs.png_encode(found[split, side]))
    return Roots.resolve(tmp_path), found


def test_both_views_or_their_mean_with_all_sixteen_bits(views):
    roots, written = views
    for split in NAMES:
        left, right, sharp = (written[split, side].astype(int).transpose(2, 0, 1) for side in ("l", "r", "sharp"))
        for single, wanted in ((False, np.concatenate((left, right))), (True, (left + right + 1) // 2)):
            pairs = dpdd(split, roots, single)
            blurred, target = pairs.read(0, None)
            assert (pairs.name, pairs.data, pairs.peak, len(pairs)) == ("DPDD", "real", 65535, 1)
            assert np.array_equal(blurred, wanted) and np.array_equal(target, sharp)
            part = pairs.read(0, (3, 5, 7, 9))
            assert np.array_equal(part[0], wanted[:, 3:10, 5:14]) and part[1].shape == (3, 7, 9)


def test_a_view_that_is_missing_is_named(views):
    roots, _ = views
    (roots.folder / "dd_dp_dataset_canon/train_r/source/1P0A0890_R.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1P0A0890_R.png is not there: dual-pixel pictures need both views"):
        dpdd("train", roots)
    assert len(dpdd("test", roots)) == 1


def pictures(height, width, count=2):
    """Noise whose strength grows from left to right, so that the first columns of patches are the most homogeneous."""
    generator = torch.Generator().manual_seed(0)
    sides = torch.randint(0, 65536, (count, 2, 3, height, width), generator=generator)
    sides[:, 1] = (sides[:, 1] * torch.linspace(0, 1, width)).long()

    def read(i, window=None):
        top, left, rows, columns = window or (0, 0, height, width)
        return tuple(sides[i, :, :, top : top + rows, left : left + columns].int())

    return PairedSet("own", "real", [str(i) for i in range(count)], read, lambda i: (height, width), 65535)


def test_patches_are_flush_with_the_border_and_the_homogeneous_ones_are_left_out(tmp_path):
    whole = pictures(28, 40)
    every = patches(whole, 20, dropped=0, progress=False)  # 8 apart: rows 0, 8; columns 0, 8, 16, 20
    places = [(top, left) for top in (0, 8) for left in (0, 8, 16, 20)]
    assert list(every.keys) == [f"{i}/{top}-{left}" for i in (0, 1) for top, left in places]
    kept = patches(whole, 20, file=tmp_path / "patches.csv", progress=False)
    gone = [place for place in places if f"0/{place[0]}-{place[1]}" not in kept.keys]
    assert gone == [(0, 0), (8, 0)] and len(kept) == 12  # int(0.3 * 8) of each picture
    blurred, sharp = kept.read(0, None)
    assert torch.equal(blurred, whole.read(0, (0, 8, 20, 20))[0]) and sharp.shape == (3, 20, 20)
    assert torch.equal(kept.read(1, (2, 3, 5, 6))[1], whole.read(0, (2, 19, 5, 6))[1])
    assert Batches([kept], 16, 3)[0].sharp.shape == (3, 3, 16, 16)
    with pytest.raises(ValueError, match="picture 0 is 40x28, smaller than patches of 30"):
        patches(whole, 30, progress=False)


def test_what_was_found_is_kept_until_pairs_or_numbers_are_others(tmp_path, monkeypatch):
    file, whole = tmp_path / "patches.csv", pictures(28, 40)
    first = patches(whole, 20, file=file, progress=False)
    with monkeypatch.context() as context:
        context.setattr(dual_pixel, "sharpness", None)  # would fail
        assert list(patches(whole, 20, file=file, progress=False).keys) == list(first.keys)
    assert len(patches(whole, 20, dropped=0.5, file=file, progress=False)) == 8
    assert len(patches(pictures(28, 40, 1), 20, file=file, progress=False)) == 6


def test_the_published_size_gives_twenty_of_twenty_eight_patches(monkeypatch):
    monkeypatch.setattr(dual_pixel, "sharpness", lambda gray: [gray.mean()] * 4)
    (kept,) = (dual_pixel._chosen(pictures(1120, 1680, 1), 512, int(0.4 * 512), 0.3, 0),)
    assert len(kept) == 20 and max(kept) == (608, 1168)  # 28 of 4 x 7, without int(8.4)


def test_sharpness_is_that_of_opencv():
    cv2 = pytest.importorskip("cv2")
    gray = np.random.default_rng(1).random((23, 31))
    for size, found in zip(dual_pixel.KERNELS, dual_pixel.sharpness(gray), strict=True):
        across, down = (cv2.Sobel(gray, cv2.CV_64F, 1 - axis, axis, ksize=size) for axis in (0, 1))
        assert found == pytest.approx(np.hypot(across, down).sum(), rel=1e-10)
