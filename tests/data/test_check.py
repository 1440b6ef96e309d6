"""The check names every planted fault, and finds none where there is none."""

import json
import os

import numpy as np
import pytest
from fixture_trees import LAYOUTS, picture, plant, plant_realblur, plant_rsblur, put, put_lmdb, put_pair

from demoe.data.real import catalog, check_print
from demoe.data.real import check as module
from demoe.data.real.roots import Roots

QUIET = {"size", "count"}  # tiny trees have other sizes and counts than the real ones


def check(home, *names, **options):
    return module.check(names, Roots(home), progress=False, **options)


def problems(reports, level=None):
    """(kind, split, files) of everything but sizes and counts."""
    return [
        (one.kind, one.split, one.files)
        for report in reports
        for one in report.problems
        if one.kind not in QUIET and level in (None, one.level)
    ]


def faults(home, *names, **options):
    """Kinds of errors and warnings."""
    reports = check(home, *names, **options)
    return sorted(
        one.kind for report in reports for one in report.problems if one.level != "info" and one.kind not in QUIET
    )


def gopro(home, count=5, split="test", sequence="GOPR0384_11_00", **options):
    return plant(
        home,
        "GOPRO_Large",
        [
            (f"{split}/{sequence}/blur/{n:06d}.png", f"{split}/{sequence}/sharp/{n:06d}.png")
            for n in range(1, count + 1)
        ],
        **options,
    )


IDS = [f"{name}-{layout}-{root}-{i}" for i, (name, layout, _, root, _) in enumerate(LAYOUTS)]


@pytest.mark.parametrize(("name", "layout", "split", "root", "pairs"), LAYOUTS, ids=IDS)
def test_good_trees_have_no_faults(tmp_path, name, layout, split, root, pairs):
    dataset = catalog.get(name)
    expected = plant(tmp_path, root, pairs, bits=dataset.depth or 8, dark=0.2 if dataset.dark else 1.0)
    reports = check(tmp_path, decode=True)
    assert [report.dataset for report in reports if report.found] == [name]
    (report,) = [one for one in reports if one.found]
    assert faults(tmp_path) == (["patches"] if layout == "G6" else [])
    (found,) = [one for one in report.splits if one.outcome != "absent"]
    assert found.name == split and found.layout == layout and found.pairs == len(pairs)
    assert {(a, b) for _, a, b in found.all_pairs} == {(str(a), str(b)) for a, b in expected}
    assert found.sizes == {"40x28": len(pairs)} and found.depths == {str(dataset.depth or 8): 2 * len(pairs)}
    assert found.content == {} or found.content["reversed"] == 0


def test_the_other_good_trees(tmp_path):
    plant_realblur(tmp_path)
    plant_rsblur(tmp_path)
    put(tmp_path / "Real-LOLBlur/0000_0082.png", picture(1))
    put(tmp_path / "Real-LOLBlur/075_blur_9.png", picture(2))
    assert faults(tmp_path, decode=True) == []
    told = [one.message for report in check(tmp_path) for one in report.problems if one.kind in ("parts", "variant")]
    assert told == ["blurred pictures: real_blur is used"] * 3 + [
        "parts: Sony 1 of 872, RealBlur 1 of 482; sony is used"
    ]


def test_counts_exact_known_and_unexpected(tmp_path, monkeypatch):
    gopro(tmp_path)
    (report,) = check(tmp_path, "GoPro")
    (one,) = [one for one in report.problems if one.kind == "count"]
    assert one.level == "error" and one.message == "5 pairs, expected 1111" and one.split == "test"
    assert one.count == 1106 and one.files[0] == "GOPR0384_11_00/000006"  # the first ten that are missing
    assert module.exit_status([report]) == 1
    assert [(split.name, split.outcome) for split in report.splits] == [("test", "unexpected"), ("train", "absent")]
    monkeypatch.setitem(catalog.get("GoPro").counts, "test", 5)
    (report,) = check(tmp_path, "GoPro")
    assert report.splits[0].outcome == "exact" and report.errors == 0 and module.exit_status([report]) == 0
    monkeypatch.setitem(catalog.get("GoPro").counts, "test", 6)
    monkeypatch.setitem(catalog.get("GoPro").known_counts, "test", {5: "a number that people know"})
    (report,) = check(tmp_path, "GoPro")
    assert (report.splits[0].outcome, report.splits[0].note) == ("known variant", "a number that people know")
    assert module.exit_status([report]) == 0


def test_the_known_numbers_are_those_of_the_benchmarks():
    counts = {one.name: dict(one.counts) for one in catalog.DATASETS}
    assert counts == {
        "RealBlur": {"train": 3758, "test": 980},
        "ReLoBlur": {"train": 2010, "test": 395},
        "GoPro": {"train": 2103, "test": 1111},
        "DPDD": {"train": 350, "val": 74, "test": 76},
        "LOLBlur": {"train": 10200, "test": 1800},
        "RealDOF": {"test": 50},
        "RSBlur": {"train": 8878, "val": 1120, "test": 3360},
        "Real-LOLBlur": {"test": 872},
        "LOLv2-real": {"train": 689, "test": 100},
        "HIDE": {"train": 6397, "test": 2025},
    }
    known = {
        (one.name, split, count)
        for one in catalog.DATASETS
        for split, some in one.known_counts.items()
        for count in some
    }
    assert known >= {("HIDE", "test", 8422), ("ReLoBlur", "train", 2009), ("Real-LOLBlur", "test", 1354)}


def test_empty_truncated_and_undecodable_files(tmp_path):
    pairs = gopro(tmp_path, 8)
    whole = pairs[1][0].read_bytes()
    pairs[0][1].write_bytes(b"")
    pairs[1][0].write_bytes(whole[: len(whole) // 2])
    pairs[2][0].write_bytes(b"<html>quota exceeded</html>")
    broken = bytearray(pairs[3][1].read_bytes())
    broken[60:80] = bytes(20)  # inside the pixels: --decode finds it, or the sample
    pairs[3][1].write_bytes(broken)
    pairs[4][0].write_bytes(pairs[4][0].read_bytes()[:20])
    pairs[5][0].unlink()
    pairs[5][0].symlink_to("nowhere.png")
    reports = check(tmp_path, "GoPro")
    told = {kind: files for kind, _, files in problems(reports, "error")}
    assert len(told["undecodable"]) == 1 and str(pairs[3][1]) in told["undecodable"][0]  # the sample happened on it
    assert told["empty"] == (str(pairs[0][1]),)
    assert [file.split(" ")[0] for file in told["damaged"]] == [str(pairs[i][0]) for i in (1, 2, 4, 5)]
    assert "end of the PNG is missing" in told["damaged"][0] and "does not exist" in told["damaged"][3]
    told = {kind: files for kind, _, files in problems(check(tmp_path, "GoPro", decode=True), "error")}
    assert [file.split(" ")[0] for file in told["damaged"]] == [str(pairs[i][0]) for i in (1, 2, 4, 5)] + [
        str(pairs[3][1])
    ]


def test_a_truncated_jpeg_and_a_suffix_that_lies(tmp_path):
    pairs = plant(
        tmp_path, "HIDE", [(f"test/input/{n}fromGOPR0950.jpg", f"test/target/{n}fromGOPR0950.jpg") for n in (1, 2, 3)]
    )
    data = pairs[0][0].read_bytes()
    pairs[0][0].write_bytes(data[:-40])
    pairs[1][1].rename(pairs[1][1].with_suffix(".png"))
    told = {kind: files for kind, _, files in problems(check(tmp_path, "HIDE"))}
    assert told["damaged"] == (f"{pairs[0][0]} is damaged or incomplete: the end of the JPEG is missing",)
    assert told["suffix"] == (f"{pairs[1][1].with_suffix('.png')}: JPEG",)


def test_unmatched_pairs_on_both_sides(tmp_path):
    pairs = gopro(tmp_path, 30)
    for blurred, _ in pairs[:12]:
        blurred.unlink()
    pairs[20][1].unlink()
    (report,) = check(tmp_path, "GoPro", sample=0)
    told = [(one.message, one.count, len(one.files)) for one in report.problems if one.kind == "unmatched"]
    assert told == [
        ("1 blurred picture has no sharp partner", 1, 1),
        ("12 sharp pictures have no blurred partner", 12, 10),
    ]
    assert report.splits[0].pairs == 17
    text = " ".join(check_print.table([report]).split())
    assert "... and 2 more" in text and str(pairs[20][0]) in text and "move these away" in text


def test_pairs_of_different_sizes_and_unusual_sizes(tmp_path):
    pairs = gopro(tmp_path, 4)
    put(pairs[2][1], picture(1, (38, 28)))
    (report,) = check(tmp_path, "GoPro")
    told = {one.kind: one for one in report.problems}
    assert told["pair_size"].level == "error"
    assert told["pair_size"].files == (f"{pairs[2][0]} and {pairs[2][1]}: 40x28 and 38x28",)
    assert told["size"].level == "warning" and "4 pictures are not 1280x720" in told["size"].message


def test_expected_sizes_are_not_complained_of(tmp_path):
    gopro(tmp_path, 1, size=(1280, 720))
    put_pair(tmp_path, "DPDD/test_c/source/1P0A0917.png", "DPDD/test_c/target/1P0A0916.png", size=(1120, 1680), bits=16)
    told = {(report.dataset, one.kind): one.level for report in check(tmp_path) for one in report.problems}
    assert ("GoPro", "size") not in told and told["DPDD", "size"] == "info"  # turned upright by DPDNet


def test_the_resized_reloblur_is_named(tmp_path):
    put_pair(tmp_path, "ReLoBlur/train/s01/00/00_blur.png", "ReLoBlur/train/s01/00/00_sharp.png", size=(538, 359))
    (report,) = check(tmp_path, "ReLoBlur")
    assert ["resized version, not the benchmark" in one.message for one in report.problems if one.kind == "size"] == [
        True
    ]


def test_depth(tmp_path):
    put_pair(tmp_path, "DPDD/test_c/source/1P0A0917.png", "DPDD/test_c/target/1P0A0916.png", bits=8)
    put_pair(
        tmp_path,
        "GOPRO_Large/test/GOPR0384_11_00/blur/000001.png",
        "GOPRO_Large/test/GOPR0384_11_00/sharp/000001.png",
        bits=16,
    )
    put_pair(tmp_path, "RealDOF/source/01.png", "RealDOF/target/01.png", bits=16)
    told = [
        (report.dataset, one.level, one.count)
        for report in check(tmp_path)
        for one in report.problems
        if one.kind == "depth"
    ]
    assert sorted(told) == [("DPDD", "warning", 2), ("GoPro", "warning", 2)]


def test_patches_by_name_and_by_size(tmp_path):
    plant(tmp_path, "HIDE", [(f"train/input/{n}.png", f"train/target/{n}.png") for n in "abc"], size=(512, 512))
    put_pair(
        tmp_path,
        "GoPro/train/blur_crops/GOPR0372_07_00-000047_s001.png",
        "GoPro/train/sharp_crops/GOPR0372_07_00-000047_s001.png",
    )
    reports = {one.dataset: one for one in check(tmp_path, sample=0)}
    for name in ("HIDE", "GoPro"):
        (one,) = [one for one in reports[name].problems if one.kind == "patches"]
        assert one.level == "warning" and "usable to train, not to test" in one.message
    assert reports["GoPro"].splits[0].outcome == "patches" and reports["GoPro"].errors == 0


@pytest.mark.parametrize(("name", "dark"), [("GoPro", 1.0), ("LOLBlur", 1.0), ("LOLBlur", 0.1), ("LOLv2-real", 0.2)])
def test_swapped_folders(tmp_path, name, dark):
    words = {
        "GoPro": ("blur", "sharp"),
        "LOLBlur": ("low_blur_noise", "high_sharp_scaled"),
        "LOLv2-real": ("Low", "Normal"),
    }
    here, there = words[name]
    root = catalog.get(name).folders[0]
    stems = [f"0012_00{n}" for n in range(10, 18)] if name != "LOLv2-real" else [f"007{n}" for n in range(10, 18)]
    plant(tmp_path / "good", root, [(f"test/{here}/{n}.png", f"test/{there}/{n}.png") for n in stems], dark=dark)
    plant(tmp_path / "bad", root, [(f"test/{there}/{n}.png", f"test/{here}/{n}.png") for n in stems], dark=dark)
    assert "roles" not in faults(tmp_path / "good") and "roles" in faults(tmp_path / "bad")
    (report,) = check(tmp_path / "bad", name)
    (one,) = [one for one in report.problems if one.kind == "roles"]
    assert one.level == "warning" and "8 of 8 pairs" in one.message and one.files[0].endswith(here)
    assert module.exit_status([report]) == 1  # for the count alone
    assert report.splits[0].content["reversed"] == 8


def test_noise_in_the_dark_is_not_taken_for_sharpness(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(6):
        noise = rng.normal(0, 6, (64, 80, 3))
        dark = (picture(n, (80, 64), True).astype(float) * 0.06 + noise).clip(0, 255).astype(np.uint8)
        put(tmp_path / f"LOLBlur/test/low_blur_noise/0012/{n:04d}.png", dark)
        put(tmp_path / f"LOLBlur/test/high_sharp_scaled/0012/{n:04d}.png", picture(n, (80, 64)))
    assert faults(tmp_path, "LOLBlur") == []


def test_a_shifted_pairing(tmp_path):
    """RealDOF with names of no meaning: the first sharp and the last blurred picture are missing."""
    pairs = plant(
        tmp_path,
        "RealDOF",
        [(f"source/{a}.png", f"target/{b}.png") for a, b in zip("abcdefgh", "pqrstuvw", strict=True)],
    )
    assert faults(tmp_path, "RealDOF") == ["order"]
    pairs[0][1].unlink()
    pairs[7][0].unlink()
    assert faults(tmp_path, "RealDOF") == ["order", "shift"]
    (report,) = check(tmp_path, "RealDOF")
    (shift,) = [one for one in report.problems if one.kind == "shift"]
    assert "pairing is shifted" in shift.message


def test_two_exchanged_pictures_are_named(tmp_path):
    pairs = gopro(tmp_path, 9)
    one, other = pairs[3][1].read_bytes(), pairs[4][1].read_bytes()
    pairs[3][1].write_bytes(other)
    pairs[4][1].write_bytes(one)
    told = {kind: files for kind, _, files in problems(check(tmp_path, "GoPro"), "warning")}
    assert told["shift"] == tuple(f"{a} and {b}" for a, b in pairs[3:5])


def test_the_sample_is_seeded_and_limited(tmp_path):
    for pair in gopro(tmp_path, 12):
        put(pair[0], picture(pair[0], blurred=True, dark=0.9))
    first, again = (check(tmp_path, "GoPro", sample=4, seed=7)[0].splits[0].content for _ in range(2))
    other = check(tmp_path, "GoPro", sample=4, seed=8)[0].splits[0].content
    assert first == again != other and first["sampled"] == 4
    assert check(tmp_path, "GoPro", sample=0)[0].splits[0].content == {}


def test_blur_against_blur_gamma(tmp_path):
    """A flat copy whose blurred side was averaged in linear light is brighter than its sharp one."""
    for n in range(4):
        sharp = picture(n).astype(float)
        for kind, power in (("blur", 1.0), ("blur_gamma", 2.2)):
            frames = [np.roll(sharp, shift, 1) for shift in range(-3, 4)]
            mean = (
                (np.mean([(frame / 255) ** power for frame in frames], 0) ** (1 / power) * 255).round().astype(np.uint8)
            )
            put(tmp_path / kind / f"GoPro/test/input/GOPR0384_11_00-00000{n}.png", mean)
            put(tmp_path / kind / f"GoPro/test/target/GOPR0384_11_00-00000{n}.png", sharp.astype(np.uint8))
    assert "variant" not in faults(tmp_path / "blur") and "variant" in faults(tmp_path / "blur_gamma")
    assert ("variant", "test", ()) in problems(check(tmp_path / "blur", "GoPro"), "info")


def test_blur_gamma_alone_is_explained(tmp_path):
    put(tmp_path / "GOPRO_Large/train/GOPR0372_07_00/blur_gamma/000047.png", picture(1))
    (report,) = check(tmp_path, "GoPro")
    (one,) = [one for one in report.problems if one.kind == "variant"]
    assert report.found and one.level == "error" and "only blur_gamma is here" in one.message and "MIMO-UNet" in one.fix
    put(tmp_path / "GOPRO_Large/train/GOPR0372_07_00/sharp/000047.png", picture(1))
    (report,) = check(tmp_path, "GoPro")
    (one,) = [one for one in report.problems if one.kind == "variant"]
    assert one.level == "warning" and report.splits[0].pairs == 1 and report.splits[0].variant == "blur_gamma"


def test_lolblur_kinds_and_videos(tmp_path):
    for kind in ("low_sharp", "low_blur_noise", "high_sharp_original"):
        put(tmp_path / f"LOLBlur/test/{kind}/0012/0032.png", picture(kind))
    (report,) = check(tmp_path, "LOLBlur")
    told = {one.kind: one for one in report.problems if one.level == "info"}
    assert "kinds here: high_sharp_original, low_blur_noise, low_sharp" in told["variant"].message
    assert "unmatched" in faults(tmp_path, "LOLBlur") and report.splits[0].pairs == 0
    put(tmp_path / "LOLBlur/test/high_sharp_scaled/0012/0032.png", picture(1))
    (report,) = check(tmp_path, "LOLBlur")
    assert [one.files for one in report.problems if one.kind == "count"] == [("video 0012: 1 of 60 frames",)]


def test_overlap_of_train_and_test(tmp_path):
    gopro(tmp_path, 2, "train", "GOPR0372_07_00")
    gopro(tmp_path, 2, "test", "GOPR0372_07_00")
    put_pair(tmp_path, "HIDE/train/input/1fromGOPR0950.png", "HIDE/train/target/1fromGOPR0950.png")
    put_pair(tmp_path, "HIDE/test/input/1fromGOPR0950.png", "HIDE/test/target/1fromGOPR0950.png")
    for split, frame in (("train", "0032"), ("test", "0043")):
        put_pair(
            tmp_path,
            f"LOLBlur/{split}/low_blur_noise/0012/{frame}.png",
            f"LOLBlur/{split}/high_sharp_scaled/0012/{frame}.png",
            dark=0.1,
        )
        put_pair(
            tmp_path,
            f"RealBlur_J/{split}/input/scene001_{frame[3:]}.png",
            f"RealBlur_J/{split}/target/scene001_{frame[3:]}.png",
        )
    plant_rsblur(tmp_path)
    with (tmp_path / "RSBlur/RSBlur_real_test.txt").open("a") as stream:
        stream.write("RSBlur/0001/000022/gt/gt_sharp.png RSBlur/0001/000022/real_blur/real_blur.png\n")
    told = {report.dataset: one for report in check(tmp_path) for one in report.problems if one.kind == "overlap"}
    assert {name: one.files for name, one in told.items()} == {
        "GoPro": ("GOPR0372_07_00",),
        "HIDE": ("1fromGOPR0950",),
        "LOLBlur": ("0012",),
        "RealBlur": ("001",),
        "RSBlur": ("0001/000022",),
    }
    assert {one.level for one in told.values()} == {"error"}


def test_a_test_sequence_among_the_training_ones(tmp_path):
    gopro(tmp_path, 2, "train", "GOPR0384_11_00")
    assert ("split", "train", ("GOPR0384_11_00",)) in problems(check(tmp_path, "GoPro"), "warning")


def test_hide_as_one_set(tmp_path, monkeypatch):
    monkeypatch.setitem(catalog.get("HIDE").known_counts, "test", {2: catalog.get("HIDE").known_counts["test"][8422]})
    plant(tmp_path, "HIDE", [(f"input/{n}fromGOPR0950.png", f"target/{n}fromGOPR0950.png") for n in (1, 2)])
    (report,) = check(tmp_path, "HIDE")
    assert report.splits[0].outcome == "known variant" and "the 2025 of the test split" in report.splits[0].note


def test_lmdb_is_checked_like_files(tmp_path):
    pytest.importorskip("lmdb")
    names = [f"GOPR0384_11_00-00000{n}.png" for n in range(1, 5)]
    put_lmdb(tmp_path / "GoPro/test/input.lmdb", {n: picture(n, blurred=True) for n in names})
    put_lmdb(tmp_path / "GoPro/test/target.lmdb", {n: picture(n, (40, 28 if n != names[1] else 30)) for n in names[:3]})
    told = {kind: files for kind, _, files in problems(check(tmp_path, "GoPro"), "error")}
    place = tmp_path / "GoPro/test/input.lmdb"
    assert told["unmatched"] == (str(place / names[3][:-4]),)
    assert told["pair_size"][0].startswith(str(place / names[1][:-4]))


def test_a_damaged_lmdb_is_an_error_of_its_set_and_not_the_end(tmp_path):
    pytest.importorskip("lmdb")
    for kind in ("input", "target"):
        put_lmdb(tmp_path / f"GoPro/test/{kind}.lmdb", {f"{n}.png": picture(f"{n}.png") for n in range(60)})
    file = tmp_path / "GoPro/test/input.lmdb/data.mdb"
    data = bytearray(file.read_bytes())
    data[8192:] = bytes(len(data) - 8192)  # a copy that was broken off has pages of zeros
    file.write_bytes(data)
    (report,) = check(tmp_path, "GoPro")
    assert any("input.lmdb is damaged" in one.message for one in report.problems if one.level == "error")


def test_a_dead_link_among_the_lists_is_a_list_that_is_missing(tmp_path):
    plant_rsblur(tmp_path)
    file = tmp_path / "RSBlur/RSBlur_real_test.txt"
    file.unlink()
    file.symlink_to(tmp_path / "nowhere.txt")
    (report,) = check(tmp_path, "RSBlur")
    assert report.found and report.problems


def test_exit_status_and_json(tmp_path, monkeypatch):
    reports = check(tmp_path)
    assert module.exit_status(reports) == 2 and not any(one.found for one in reports)
    monkeypatch.setitem(catalog.get("RealDOF").counts, "test", 2)
    plant(tmp_path, "RealDOF", [(f"source/{n}.png", f"target/{n}.png") for n in ("01", "02")])
    reports = check(tmp_path)
    assert module.exit_status(reports) == 0
    assert (
        module.exit_status(check(tmp_path, "RealDOF", "HIDE"), ["RealDOF", "HIDE"]) == 1
    )  # one asked for is not there
    data = json.loads(json.dumps(module.as_json(reports, 0)))
    entry = next(one for one in data["datasets"] if one["dataset"] == "RealDOF")
    assert entry["found"] and entry["errors"] == 0 and "all_pairs" not in entry["splits"][0]
    assert entry["splits"][0]["layout"] == "official" and entry["splits"][0]["sizes"] == {"40x28": 2}
    data = module.as_json(reports, 0, pairs=True)
    entry = next(one for one in data["datasets"] if one["dataset"] == "RealDOF")
    assert entry["splits"][0]["all_pairs"][1] == [
        "02",
        *(str(tmp_path / f"RealDOF/{s}/02.png") for s in ("source", "target")),
    ]


def test_a_named_folder_that_is_gone(tmp_path):
    (report,) = module.check(["HIDE"], Roots(named={"HIDE": tmp_path / "gone"}, source="data.toml"), progress=False)
    assert [(one.kind, one.message) for one in report.problems] == [("root", f"there is no folder {tmp_path / 'gone'}")]


def test_the_table_fits_the_terminal(tmp_path):
    plant_realblur(tmp_path)
    plant_rsblur(tmp_path)
    for name, _, _, root, pairs in LAYOUTS[::3]:
        plant(tmp_path / name, root, pairs)
    reports = check(tmp_path)
    table = check_print.table(reports).split("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 100 and len(table) >= 2 + 10
    for one in catalog.DATASETS:
        assert any(line.startswith(one.name) for line in table)
    for line in check_print.table(reports).splitlines():
        assert len(line) <= 100 or os.sep in line, line


def test_what_was_not_recognised_is_shown_beside_what_it_should_be(tmp_path):
    for n in range(6):
        put(tmp_path / f"folder{n}/inside/a.png", picture(1))
    (report,) = check(tmp_path, "HIDE")
    text = check_print.not_found(report)
    assert catalog.get("HIDE").marker in text and "folder0/inside/" in text and "... and 2 more" in text


def test_two_archives_in_one_folder(tmp_path):
    for stem in (*(f"GOPR0384_11_00-00000{n}" for n in range(1, 6)), "3fromGOPR0950"):
        put_pair(tmp_path, f"GoPro/test/input/{stem}.png", f"GoPro/test/target/{stem}.png")
    told = {kind: files for kind, _, files in problems(check(tmp_path, "GoPro"), "warning")}
    assert told == {"mixed": (str(tmp_path / "GoPro/test/input/3fromGOPR0950.png"),)}
    for n in range(1, 4):
        put_pair(tmp_path, f"HIDE/test/input/{n}fromGOPR0950.png", f"HIDE/test/target/{n}fromGOPR0950.png")
    put_pair(tmp_path, "HIDE/test/input/GOPR0384_11_00-000001.png", "HIDE/test/target/GOPR0384_11_00-000001.png")
    assert faults(tmp_path, "HIDE") == ["mixed"]


def test_a_list_that_is_too_short_does_not_hide_what_is_missing(tmp_path):
    plant_realblur(tmp_path)
    (report,) = check(tmp_path, "RealBlur")
    told = {one.split: one for one in report.problems if one.kind == "count"}
    assert told["test"].count == 978 and told["test"].files[0] == "002/3"


def exchange(one, other):
    one_bytes, other_bytes = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_bytes)
    other.write_bytes(one_bytes)


def suspects(home):
    return {kind: files for kind, _, files in problems(check(home, "GoPro"), "warning")}


def test_a_picture_of_another_scene_is_named(tmp_path):
    pairs = gopro(tmp_path, 8)
    assert suspects(tmp_path) == {}
    put(pairs[4][1], picture("quite another scene"))
    assert [str(pairs[4][1]) in file for file in suspects(tmp_path)["shift"]] == [True]


def test_pictures_exchanged_over_a_distance_are_named(tmp_path):
    pairs = gopro(tmp_path, 8)
    exchange(pairs[0][1], pairs[6][1])
    named = suspects(tmp_path)["shift"]
    assert [str(pairs[i][1]) in file for i, file in zip((0, 6), named, strict=True)] == [True, True]


def test_a_split_shifted_by_two_is_seen(tmp_path):
    pairs = gopro(tmp_path, 8)
    sharp = [pair[1].read_bytes() for pair in pairs]
    for i, pair in enumerate(pairs):
        pair[1].write_bytes(sharp[(i + 2) % 8])
    found = check(tmp_path, "GoPro")
    assert any("2 before its own fits better" in one.message for report in found for one in report.problems)


def test_single_pairs_with_exchanged_roles_are_named(tmp_path):
    pairs = gopro(tmp_path, 8)
    exchange(*pairs[3])
    assert [str(pairs[3][0]) in file for file in suspects(tmp_path)["roles"]] == [True]
