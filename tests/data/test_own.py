"""One's own pairs: what is wrong with them is told with names, and every changed picture is another set."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixture_trees import picture, put, put_pair

from demoe.data.composition import select
from demoe.data.own_pairs import complaints, fingerprint, held_out, in_memory, misalignment, own_pairs


@pytest.fixture
def home(tmp_path):
    for n in range(12):
        put_pair(tmp_path / "GoPro", f"blur/{n:02d}.png", f"sharp/{n:02d}.png")
    return tmp_path / "GoPro"


def told(home, patch=16):
    return {problem.kind: problem for problem in complaints(own_pairs(home), patch, progress=False)}


def exchange(one, other):
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def test_own_pairs_are_never_called_a_datasets(home):
    pairs = own_pairs(home)
    assert pairs.name == "own-GoPro" and pairs.label is None and len(pairs) == 12 and told(home) == {}


def test_sizes_that_cannot_be_trained_on_are_errors_with_all_names(home):
    put(home / "blur/03.png", picture(1, (15, 40)))
    put(home / "sharp/03.png", picture(1, (15, 40)))
    put(home / "sharp/05.png", picture(1, (40, 30)))
    found = told(home)
    assert found["small"].level == found["pair_size"].level == "error"
    assert found["small"].files == ("03 is 15x40",) and "smaller than the 16-pixel crops" in found["small"].sentence
    assert found["pair_size"].files == (f"{home / 'blur/05.png'} and {home / 'sharp/05.png'}: 40x28 and 40x30",)
    (home / "blur/07.png").write_bytes(b"")
    assert "07.png" in told(home)["damaged"].files[0]


def test_identical_exchanged_and_shifted_sides_are_warned_of(home):
    shutil.copy(home / "sharp/04.png", home / "blur/04.png")
    assert [problem.level for problem in told(home).values()] == ["warning"]
    assert "blur/04.png" in told(home)["identical"].sentence
    put_pair(home, "blur/04.png", "sharp/04.png")
    exchange(home / "blur/02.png", home / "sharp/02.png")
    assert "sharp/02.png" in told(home)["roles"].sentence
    exchange(home / "blur/02.png", home / "sharp/02.png")
    exchange(home / "sharp/06.png", home / "sharp/09.png")
    assert {file[-6:] for file in told(home)["shift"].files} == {"06.png", "09.png"}
    exchange(home / "sharp/06.png", home / "sharp/09.png")
    (home / "blur").rename(home / "other")
    (home / "sharp").rename(home / "blur")
    (home / "other").rename(home / "sharp")
    assert "the two folders are probably swapped" in told(home)["roles"].sentence


def test_the_fingerprint_changes_with_every_picture_and_not_with_times(home):
    pairs = own_pairs(home)
    first, seen = fingerprint(pairs), set()
    for file in sorted(home.rglob("*.png")):
        kept, times = file.read_bytes(), file.stat()
        file.write_bytes(kept[:-1] + b"\0")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as tools do that keep times
        seen.add(fingerprint(pairs))
        file.write_bytes(kept)
    assert len(seen) == 24 and first not in seen and fingerprint(pairs) == first
    (home / "blur/00.png").rename(home / "blur/aa.png")
    (home / "sharp/00.png").rename(home / "sharp/aa.png")
    assert fingerprint(own_pairs(home)) != first
    pairs = own_pairs(home)
    in_memory = replace(select(pairs, range(6)), entries=())
    assert fingerprint(in_memory) != fingerprint(replace(select(pairs, range(1, 7)), entries=()))


def scene(seed=0, side=96):
    noise = np.random.default_rng(seed).random((side, side)).astype(np.float32)
    return sum(np.roll(noise, (y, x), (0, 1)) for y in range(3) for x in range(3)) / 9


@pytest.mark.parametrize("move", [(5, -3), (-8, 0), (0, 11)])
def test_a_misalignment_is_found_under_blur_and_blur_alone_is_none(move):
    sharp = scene()
    blurred = sum(np.roll(sharp, x, 1) for x in range(-3, 4)) / 7  # a path around the pixel
    assert misalignment(blurred, sharp) == misalignment(sharp, sharp) == (0, 0)
    found = misalignment(np.roll(blurred, move, (0, 1)), sharp)
    assert np.abs(np.subtract(found, move)).max() <= 1  # within the path
    assert misalignment(np.roll(sharp, move, (0, 1)), sharp) == move
    twice = (np.roll(sharp, move, (0, 1)) + np.roll(sharp, np.negative(move), (0, 1))) / 2  # a double exposure
    assert misalignment(twice, sharp) == (0, 0)
    assert misalignment(scene(1), sharp) == misalignment(np.ones_like(sharp), sharp) == (0, 0)


def test_misaligned_pairs_are_warned_of_with_their_distance(home):
    sharp = np.repeat((scene() * 255).astype(np.uint8)[..., None], 3, 2)
    put(home / "sharp/03.png", sharp)
    put(home / "blur/03.png", np.roll(sharp, (4, 6), (0, 1)))
    assert told(home)["misaligned"].files == ("03 by (6, 4) pixels",)
    assert told(home)["misaligned"].level == "warning"


def test_what_is_held_out_is_whole_scenes_and_hardly_changes_with_more_pictures(home):
    pairs = own_pairs(home)
    learnt, kept = held_out(pairs, 0.2)
    assert len(kept) == 3 and sorted([*learnt.keys, *kept.keys]) == list(pairs.keys)
    assert held_out(pairs, 0.2)[1].keys == kept.keys and len(held_out(pairs, 0)[1]) == 0
    assert len(held_out(pairs, 0.99)[0]) == 1
    put_pair(home, "blur/zz.png", "sharp/zz.png")
    assert len(set(kept.keys) - set(held_out(own_pairs(home), 0.2)[1].keys)) <= 1
    for name in ("a", "b", "c"):
        for n in range(3):
            put_pair(home, f"blur/{name}/{n}.png", f"sharp/{name}/{n}.png")
    learnt, kept = held_out(own_pairs(home), 0.1)
    folders = [{key.rpartition("/")[0] for key in side.keys} for side in (learnt, kept)]
    assert not folders[0] & folders[1] and len(folders[0] | folders[1]) == 4
    one = select(pairs, [0])
    with pytest.raises(ValueError, match="is one pair"):
        held_out(one, 0.1)
    with pytest.raises(ValueError, match="from 0 to below 1"):
        held_out(pairs, 1)


def test_pictures_kept_in_memory_are_those_of_the_files(home):
    pairs, window = own_pairs(home), (2, 3, 8, 5)
    kept = in_memory(pairs)
    for part in (window, None):
        assert all(map(torch.equal, pairs.read(4, part), kept.read(4, part)))
    assert in_memory(pairs, share=0) is None
    (home / "blur/04.png").unlink()
    assert torch.equal(kept.read(4, window)[0], kept.read(4, None)[0][:, 2:10, 3:8])
