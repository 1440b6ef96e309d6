"""One's own pairs: what is wrong with them is told with names, and every changed picture is another set."""

import os
import shutil
from dataclasses import replace

import pytest
from fixture_trees import picture, put, put_pair

from demoe.data.composition import select
from demoe.data.own_pairs import complaints, fingerprint, own_pairs


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
