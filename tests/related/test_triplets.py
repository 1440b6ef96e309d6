"""Triplets: windows by motion against the true paths of cameras, the rules at their edges, and what is refused."""

import sys
import zlib
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from demoe.blur import sources, trajectories
from demoe.core.images import from_array, write_photograph
from demoe.related import triplets
from demoe.related.triplets import kept_triplets, make_triplets, read_frames, synthetic_video, triplets_of, videos_in

# The windows of ``test_the_triplets_of_a_recorded_sequence``, and check sums of their pictures: sharp, weak, strong.
RECORDED_WINDOWS = [(0, 15, 7), (15, 30, 22), (30, 51, 40), (51, 66, 58), (66, 87, 76), (87, 102, 94)]
RECORDED_SUMS = [
    [3881116899, 977594259, 1031333942],
    [4082687541, 820496204, 4093236992],
    [523458385, 3973221028, 2817364811],
    [3480142110, 1462976606, 3279713177],
    [2504699873, 2405549314, 606123264],
    [2579314301, 647420058, 1754861767],
]
PHOTOGRAPH = sources.photographs("train")["astronaut"]


def panned(steps, size=96):
    """A video of the photograph that moves to the right by so many pixels from frame to frame."""
    x = np.concatenate(([0.0], np.cumsum(steps)))
    return synthetic_video(PHOTOGRAPH, np.stack((x, 0 * x, 0 * x), 1), size)


def windows(found):
    return [(one.start, one.stop, one.centre) for one in found]


@pytest.mark.parametrize("seed", range(3))
def test_a_window_ends_where_the_camera_has_moved_far_enough(seed):
    rng = np.random.default_rng(seed)
    path = trajectories.sample(rng, 60, points=80)
    travelled = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1))))
    found = make_triplets(synthetic_video(PHOTOGRAPH, path, 160), min_shift=20)
    assert len(found) > 1 and found[0].start == 0
    for one, following in zip(found, [*found[1:], None], strict=True):
        moved = travelled[one.stop - 1] - travelled[one.start]
        if following is not None:
            assert following.start == one.stop and one.stop - one.start >= 15
            if one.stop - one.start > 15:  # it ends with the frame that makes it long enough
                assert moved > 19 and travelled[one.stop - 2] - travelled[one.start] < 21


def test_the_tracked_motion_is_the_true_one():
    frames = panned([1.5] * 11)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    corners, total = cv2.goodFeaturesToTrack(gray[0], **triplets.CORNERS), 0.0
    for before, after in pairwise(gray):
        corners, moved = triplets._followed(cv2, before, after, corners)
        total += moved
    assert total == pytest.approx(16.5, rel=0.03)


def test_the_three_pictures_of_a_window():
    frames = panned([2.0] * 14)
    (one,) = make_triplets(frames)
    assert windows([one]) == [(0, 15, 7)] and np.array_equal(one.sharp, frames[7]) and one.video == ""
    for got, chosen in ((one.weak, frames[4:10]), (one.strong, frames)):
        exact = np.mean(np.stack(chosen).astype(np.float64), axis=0)
        assert got.dtype == np.uint8 and np.array_equal(got, np.round(exact))
    even = [np.full((8, 8, 3), value, np.uint8) for value in (0, 1, 1, 2, 3, 0, 0, 0)]
    assert triplets._mean(even[:2]).max() == 0 and triplets._mean([even[1], even[3]]).max() == 2  # 0.5 and 1.5


def test_the_triplets_of_a_recorded_sequence():
    """Whole steps of a camera over a photograph: where windows end follows from the steps, and pixels are exact."""
    steps = [((1, 1), (2, 2), (0, 2), (0, 0))[i // 9 % 4] for i in range(110)]
    place, pixels = np.array([180, 20]), (PHOTOGRAPH * 255).round().byte().permute(1, 2, 0).numpy()
    places = np.concatenate(([place], place + np.cumsum(steps, 0)))
    frames = [np.ascontiguousarray(pixels[y : y + 160, x : x + 160]) for x, y in places]
    wanted, start = [], 0
    while start < len(frames):
        stop, moved = start + 1, 0.0
        while stop < len(frames) and (moved < 25 or stop - start < 15):
            moved += np.hypot(*(places[stop] - places[stop - 1]))
            stop += 1
        wanted += [(start, stop, start + (stop - start) // 2)] if stop - start >= 15 else []
        start = stop
    found = make_triplets(frames)
    assert windows(found) == wanted == RECORDED_WINDOWS
    for one in found:
        inside = np.stack(frames[one.start : one.stop]).astype(np.float64)
        half = (one.centre - one.start) // 2
        middle = inside[one.centre - one.start - half : one.centre - one.start + half]
        assert np.array_equal(one.sharp, frames[one.centre])
        assert np.array_equal(one.weak, np.rint(middle.mean(0))) and np.array_equal(one.strong, np.rint(inside.mean(0)))
    sums = [[zlib.crc32(side.tobytes()) for side in one[3:6]] for one in found]
    assert sums == RECORDED_SUMS


def test_edges_of_windows():
    assert make_triplets([]) == [] and make_triplets(panned([2.0] * 13)) == []  # 14 frames
    assert windows(make_triplets(panned([0.0] * 39))) == [(0, 40, 20)]  # nothing moves: one window
    assert windows(make_triplets(panned([2.0] * 43))) == [(0, 15, 7), (15, 30, 22)]  # 14 are left, and dropped
    assert windows(make_triplets(panned([2.0] * 44))) == [(0, 15, 7), (15, 30, 22), (30, 45, 37)]
    assert windows(make_triplets(panned([2.0] * 14 + [0.0] * 20))) == [(0, 15, 7), (15, 35, 25)]  # moves too little
    assert windows(make_triplets(panned([2.0] * 9), min_shift=5, min_frames=4)) == [(0, 4, 2), (4, 8, 6)]


def test_without_corners_a_window_ends():
    flat = [np.full((96, 96, 3), 90, np.uint8)] * 20
    assert make_triplets(flat) == []
    assert windows(make_triplets(flat[:3] + panned([2.0] * 14))) == [(3, 18, 10)]
    cut = panned([0.5] * 16) + flat[:4] + panned([0.5] * 5)
    # The tracker looks at the frame before: it goes one frame beyond the cut. The 6 frames at the end are too few.
    assert windows(make_triplets(cut)) == [(0, 18, 9)]
    with pytest.raises(ValueError, match=r"frame 1 of the video is 64x96, the one before it is not"):
        make_triplets([flat[0], flat[0][:, :64]])
    with pytest.raises(ValueError, match=r"frame 0 of GOPR is float64 \(4, 4\)"):
        make_triplets([np.zeros((4, 4))], video="GOPR")
    with pytest.raises(ValueError, match="at least 2 frames"):
        make_triplets(flat, min_frames=1)


def write(folder, frames, first=1):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, first):
        write_photograph(folder / f"{number}.png", from_array(frame))


def test_folders_and_videos_are_read(tmp_path):
    frames = panned([2.0] * 15, 64)
    write(tmp_path / "raw/GOPR1", frames, 95)  # 95 to 110: by their numbers
    write(tmp_path / "raw/GOPR2/sharp", frames[:3])
    write(tmp_path / "raw/GOPR2/blur", frames[:3])
    (tmp_path / "raw/empty").mkdir()
    (tmp_path / "raw/GOPR1/notes.txt").write_text("no picture")
    writer = cv2.VideoWriter(str(tmp_path / "raw/hand.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 64))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    assert list(videos_in(tmp_path / "raw")) == ["GOPR1", "GOPR2/sharp", "hand"]
    assert list(videos_in(tmp_path / "raw/GOPR1")) == ["GOPR1"] and list(videos_in(tmp_path / "raw/hand.avi")) == [
        "hand"
    ]
    assert np.array_equal(list(read_frames(tmp_path / "raw/GOPR1")), frames)
    decoded = list(read_frames(tmp_path / "raw/hand.avi"))
    assert len(decoded) == 16 and np.abs(decoded[3].astype(int) - frames[3]).mean() < 4
    found = triplets_of(tmp_path / "raw")
    assert [(one.video, *windows([one])[0]) for one in found] == [("GOPR1", 0, 15, 7), ("hand", 0, 15, 7)]
    kept = triplets_of(tmp_path / "raw", tmp_path / "kept")
    for mine, theirs in zip(kept, found, strict=True):
        assert (mine[:3], mine.video) == (theirs[:3], theirs.video) and isinstance(mine.sharp, np.memmap)
        assert all(np.array_equal(*sides) for sides in zip(mine[3:6], theirs[3:6], strict=True))
    assert [one.video for one in kept_triplets(tmp_path / "kept")] == ["GOPR1", "hand"]
    with pytest.raises(ValueError, match="kept holds triplets already"):
        triplets_of(tmp_path / "raw", tmp_path / "kept", min_shift=5)


def test_what_gives_no_triplets_is_told(tmp_path, monkeypatch):
    (tmp_path / "none").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    write(tmp_path / "one", panned([], 32))
    for source, words in (
        (tmp_path / "none", "holds neither videos nor folders of frames"),
        (tmp_path / "absent", "holds neither videos nor folders of frames"),
        (tmp_path / "broken.mp4", "is not there, damaged, or no video file"),
        (tmp_path / "one", "of no video do 15 frames in a row have corners to follow"),
    ):
        with pytest.raises(ValueError, match=words):
            triplets_of(source)
    with pytest.raises(ValueError, match="holds no frames"):
        list(read_frames(tmp_path / "none"))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'demoe\[align\]'"):
        make_triplets(panned([1.0]))


def test_a_synthetic_video_moves_and_turns_as_its_path_says():
    still, moved = (synthetic_video(PHOTOGRAPH, np.array([[x, y, 0.0]]), 64)[0] for x, y in ((0, 0), (3, -5)))
    middle = (PHOTOGRAPH[:, 224:288, 224:288] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(still, middle)
    assert np.array_equal(moved[:-5, 3:], still[5:, :-3])
    (turned,) = synthetic_video(PHOTOGRAPH, np.array([[0, 0, np.pi / 2]]), 64)
    assert np.abs(turned.astype(int) - np.rot90(still, -1)).max() <= 1  # y points down: clockwise
    small = synthetic_video(torch.rand(3, 16, 16), np.zeros((1, 3)), 20)[0]
    assert small.shape == (20, 20, 3)


def test_synthetic_triplets_depend_on_their_seed_alone():
    first, again, other = (triplets.synthetic_triplets(2, 40, 64, seed=seed) for seed in (0, 0, 1))
    assert len({one.video for one in first}) == 2 and windows(first) == windows(again)
    assert all(np.array_equal(a.strong, b.strong) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].sharp, other[0].sharp)
