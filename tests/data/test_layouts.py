"""Every layout that datasets have on disk, official and repackaged, recognised and paired."""

import numpy as np
import pytest
import torch
from fixture_trees import LAYOUTS, picture, plant, plant_realblur, plant_rsblur, put, put_lmdb, put_pair

from demoe.data import build
from demoe.data.real import catalog, recognition
from demoe.data.real.roots import MADE, Roots


def recognise(home, name, explicit=False, variant=None):
    return recognition.recognise(catalog.get(name), home, explicit, variant)


def paths(split):
    return {(pair.blurred, pair.sharp) for pair in split.pairs}


def kinds(found, level="error"):
    problems = [*found.problems, *(one for split in found.splits.values() for one in split.problems)]
    return sorted(one.kind for one in problems if one.level == level)


IDS = [f"{name}-{layout}-{root}-{i}" for i, (name, layout, _, root, _) in enumerate(LAYOUTS)]


@pytest.mark.parametrize(("name", "layout", "split", "root", "pairs"), LAYOUTS, ids=IDS)
def test_layouts(tmp_path, name, layout, split, root, pairs):
    expected = plant(tmp_path, root, pairs)
    put_pair(tmp_path / "Other", "train/input/a.png", "train/target/a.png")  # of no dataset
    found = recognise(tmp_path, name)
    assert list(found.splits) == [split]
    assert found.splits[split].layout == layout
    assert paths(found.splits[split]) == set(expected)
    assert not kinds(found) and not kinds(found, "warning")
    assert found.splits[split].patches == (layout == "G6")
    pairs = recognition.paired_set(name, split, Roots(tmp_path))
    assert pairs.name == name and pairs.data == "real" and len(pairs) == len(expected)
    blurred, sharp = pairs.pair(0)
    assert blurred.shape == sharp.shape == (3, 28, 40)


@pytest.mark.parametrize(("name", "layout", "split", "root", "pairs"), LAYOUTS, ids=IDS)
def test_no_dataset_is_taken_for_another(tmp_path, name, layout, split, root, pairs):
    plant(tmp_path, root, pairs)
    for dataset in catalog.DATASETS:
        found = recognise(tmp_path, dataset.name)
        assert bool(found.splits) == (dataset.name == name), dataset.name


@pytest.mark.parametrize(("name", "layout", "split", "root", "pairs"), LAYOUTS, ids=IDS)
def test_any_letter_case_and_an_unknown_folder_that_a_person_names(tmp_path, name, layout, split, root, pairs):
    """With capitals for small letters and the reverse in folders, under a name that means nothing."""
    swapped = [tuple(f"{f.rsplit('/', 1)[0].swapcase()}/{f.rsplit('/', 1)[1]}" for f in pair) for pair in pairs]
    if layout == "G2":
        swapped = pairs
    expected = plant(tmp_path, "x", swapped)
    found = recognise(tmp_path / "x", name, explicit=True)
    assert list(found.splits) == [split] and paths(found.splits[split]) == set(expected)


@pytest.mark.parametrize(
    ("name", "folder"),
    [(d.name, f) for d in catalog.DATASETS for f in (d.name, *d.folders) if d.official and f != "Real_captured"],
)
def test_plain_pairs_under_any_name_of_the_dataset(tmp_path, name, folder):
    expected = plant(tmp_path, folder, [(f"train/blur/{n}.png", f"train/sharp/{n}.png") for n in ("one", "two")])
    assert paths(recognise(tmp_path, name).splits["train"]) == set(expected)
    assert paths(recognise(tmp_path / folder, name).splits["train"]) == set(expected)


def test_the_root_may_be_the_parent_the_folder_or_doubly_nested(tmp_path):
    pairs = [(f"test/GOPR0384_11_00/blur/00000{n}.png", f"test/GOPR0384_11_00/sharp/00000{n}.png") for n in (1, 2)]
    expected = set(plant(tmp_path / "a", "GOPRO_Large/GOPRO_Large", pairs))
    for base in ("a", "a/GOPRO_Large", "a/GOPRO_Large/GOPRO_Large"):
        assert paths(recognise(tmp_path / base, "GoPro").splits["test"]) == expected
    expected = set(plant(tmp_path / "b", "unpacked", pairs))  # a single folder that has the marker
    assert paths(recognise(tmp_path / "b", "GoPro").splits["test"]) == expected


def test_split_folders_twice_and_browser_copies(tmp_path):
    pairs = [("low_blur_noise/0012/0032.png", "high_sharp_scaled/0012/0032.png")]
    one = set(plant(tmp_path, "LOLBlur/test/test", pairs))
    two = set(plant(tmp_path, "LOLBlur/train (1)", pairs))
    found = recognise(tmp_path, "LOLBlur")
    assert paths(found.splits["test"]) == one and paths(found.splits["train"]) == two


VARIANTS = [("GoPro", "blur_gamma"), ("GoPro", "blur"), ("LOLBlur", "low_blur"), ("LOLBlur", "low_blur_noise")]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_variants(tmp_path, name, variant):
    for kind in ("blur", "blur_gamma", "sharp"):
        put(tmp_path / f"GOPRO_Large/test/GOPR0384_11_00/{kind}/000001.png", picture(kind))
    for kind in ("low_blur", "low_blur_noise", "low_sharp", "high_sharp_scaled", "high_sharp_original"):
        put(tmp_path / f"LOLBlur/test/{kind}/0012/0032.png", picture(kind))
    assert recognise(tmp_path, name).splits["test"].variant == catalog.get(name).variants[0]
    pairs = recognition.paired_set(name, "test", Roots(tmp_path), variant=variant)
    expected = torch.from_numpy(picture(variant)).permute(2, 0, 1)
    target = picture("sharp" if name == "GoPro" else "high_sharp_scaled")
    assert torch.equal(pairs.read(0, None)[0], expected)
    assert torch.equal(pairs.read(0, None)[1], torch.from_numpy(target).permute(2, 0, 1))
    with pytest.raises(ValueError, match=f"{name} has no variant 'nonsense': choose one of"):
        recognition.paired_set(name, "test", Roots(tmp_path), variant="nonsense")


def test_a_variant_that_is_not_there_is_never_replaced_silently(tmp_path):
    put_pair(tmp_path, "LOL_blur/train/low_blur/0012/0032.png", "LOL_blur/train/high_sharp_scaled/0012/0032.png")
    put_pair(tmp_path, "LOL_blur/eval/low_blur/0013_0032.png", "LOL_blur/eval/high_sharp_scaled/0013_0032.png")
    found = recognise(tmp_path, "LOLBlur")
    assert {split.variant for split in found.splits.values()} == {"low_blur"} and list(found.splits) == [
        "train",
        "test",
    ]
    with pytest.raises(FileNotFoundError, match=r"only low_blur pictures are in .*ask for the variant low_blur"):
        recognition.paired_set("LOLBlur", "train", Roots(tmp_path))
    assert len(recognition.paired_set("LOLBlur", "test", Roots(tmp_path), variant="low_blur")) == 1


def test_realblur_follows_its_lists(tmp_path):
    root = plant_realblur(tmp_path)
    found = recognise(tmp_path, "RealBlur")
    assert [pair.key for pair in found.splits["test"].pairs] == ["002/2", "002/10"]  # not index 1, and not 10 before 2
    assert [pair.key for pair in found.splits["train"].pairs] == ["183/1", "183/7"]
    assert found.splits["test"].pairing == "list" and kinds(found) == [] and kinds(found, "info") == ["unlisted"]
    for base in (root, root / "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"):
        again = recognise(base, "RealBlur")
        assert [[pair.key for pair in split.pairs] for split in again.splits.values()] == [
            ["183/1", "183/7"],
            ["002/2", "002/10"],
        ]


@pytest.mark.parametrize("lines", ["crlf", "backslashes", "blurred first", "blank lines"])
def test_lists_as_people_have_them(tmp_path, lines):
    root = plant_realblur(tmp_path)
    file = root / "RealBlur_J_test_list.txt"
    text = file.read_text()
    if lines == "crlf":
        file.write_bytes(text.replace("\n", "\r\n").encode() + b"\r\n")
    elif lines == "backslashes":
        file.write_text(text.replace("/", "\\"))
    elif lines == "blurred first":
        file.write_text("\n".join(" ".join(reversed(line.split())) for line in text.splitlines()))
    else:
        file.write_text("\n\n" + text.replace("\n", "\n  \n") + "\n\n")
    found = recognise(tmp_path, "RealBlur")
    assert [pair.key for pair in found.splits["test"].pairs] == ["002/2", "002/10"] and kinds(found) == []


def test_lists_that_are_wrong(tmp_path):
    root = plant_realblur(tmp_path)
    file = root / "RealBlur_J_test_list.txt"
    place = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"
    good = file.read_text()
    file.write_text(good + f"\n{place}/scene002/gt/gt_12.png {place}/scene002/blur/blur_12.png")
    found = recognise(tmp_path, "RealBlur")
    (listed,) = [one for one in found.splits["test"].problems if one.kind == "list"]
    assert listed.level == "error" and "1 of 3 pairs listed" in listed.message and "blur_12.png" in listed.files[0]
    for bad in (
        "three fields here",
        f"{place}/scene002/gt/gt_2.png {place}/scene002/gt/gt_2.png",
        "one",
        f"{place}/scene002/gt/gt_2.png {place}/scene002/blur/blur_3.png",
    ):
        file.write_text(f"{good}\n{bad}")
        found = recognise(tmp_path, "RealBlur")
        (listed,) = [one for one in found.problems if one.kind == "list"]
        assert listed.level == "error" and listed.files == (f"line 3: {bad}",)
        assert [pair.key for pair in found.splits["test"].pairs] == ["002/2", "002/10"]


def test_realblur_without_lists_takes_the_published_split(tmp_path):
    plant_realblur(tmp_path, lists=False)
    found = recognise(tmp_path, "RealBlur")
    assert [pair.key for pair in found.splits["test"].pairs] == ["002/2", "002/10"]
    assert [pair.key for pair in found.splits["train"].pairs] == ["183/1", "183/7"]
    assert found.splits["train"].pairing == "published list" and kinds(found, "warning") == ["list", "list"]


def test_a_repackaged_realblur_leaves_out_what_the_published_split_does(tmp_path):
    for number in (1, 2):
        put_pair(
            tmp_path,
            f"Realblur_J/test/blur/scene002/blur_{number}.png",
            f"Realblur_J/test/sharp/scene002/gt_{number}.png",
        )
    found = recognise(tmp_path, "RealBlur")
    assert [pair.key for pair in found.splits["test"].pairs] == ["002/2"] and kinds(found, "info") == ["unlisted"]


def test_realblur_r_and_tele_are_other_sets(tmp_path):
    for place in ("RealBlur/RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref", "RealBlur/RealBlur-J-Tele_ECC_IMCORR"):
        put_pair(tmp_path / place, "scene002/blur/blur_2.png", "scene002/gt/gt_2.png")
    put_pair(tmp_path, "test/RealBlur_R/input/scene002_blur_2.png", "test/RealBlur_R/target/scene002_blur_2.png")
    found = recognise(tmp_path, "RealBlur")
    assert not found.splits and {one.kind for one in found.problems} == {"foreign"}
    for base in (tmp_path / "RealBlur/RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref", tmp_path / "test/RealBlur_R"):
        assert not recognise(base, "RealBlur", explicit=True).splits
    with pytest.raises(FileNotFoundError, match="another set than RealBlur-J"):
        recognition.paired_set("RealBlur", "test", Roots(tmp_path))
    plant_realblur(tmp_path)
    found = recognise(tmp_path, "RealBlur")
    assert len(found.splits["test"].pairs) == 2 and kinds(found, "info").count("foreign") == 2


@pytest.mark.parametrize("nested", [False, True])
def test_rsblur_by_lists(tmp_path, nested):
    root = plant_rsblur(tmp_path, nested)
    for base in (tmp_path, tmp_path / "RSBlur", root):
        found = recognise(base, "RSBlur")
        assert {name: [pair.key for pair in split.pairs] for name, split in found.splits.items()} == {
            "train": ["0001/000022", "0002/000022"],
            "val": ["0001/000030"],
            "test": ["0002/000001"],
        }
        assert not kinds(found)
        assert {pair.blurred.name for split in found.splits.values() for pair in split.pairs} == {"real_blur.png"}
    pairs = recognition.paired_set("RSBlur", "train", Roots(tmp_path), variant="avg65_img")
    assert pairs.keys == ["avg65_img:0001/000022", "avg65_img:0002/000022"]
    assert torch.equal(pairs.read(0, None)[0], torch.from_numpy(picture("avg65_img0001/000022")).permute(2, 0, 1))


def test_rsblur_lists_in_a_clone_of_its_repository(tmp_path):
    plant_rsblur(tmp_path)
    place = tmp_path / "datalist" / "RSBlur"
    place.mkdir(parents=True)
    for file in (tmp_path / "RSBlur").glob("*.txt"):
        file.rename(place / file.name)
    (place / "RSBlur_real_test.txt").rename(place / "RSBlur_real_test_saturation.txt")
    assert [len(split.pairs) for split in recognise(tmp_path, "RSBlur").splits.values()] == [2, 1, 1]


def test_rsblur_without_lists_has_no_splits(tmp_path):
    plant_rsblur(tmp_path, lists=False)
    found = recognise(tmp_path, "RSBlur")
    assert list(found.splits) == ["all"] and len(found.splits["all"].pairs) == 4 and kinds(found) == ["list"]
    with pytest.raises(FileNotFoundError, match=r"RSBlur: no test split in .*RSBlur_real_test.txt are missing"):
        recognition.paired_set("RSBlur", "test", Roots(tmp_path))


SONY = ("0000_0082", "0002_0006", "0031_0043", "0032_0060", "0033_0025", "0034_0049")
NIGHT = ("075_blur_9", "188_blur_20", "230_blur_21", "234_blur_15")


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("folder", ["Real-LOLBlur", "RealBlur-Night/realblur_dataset_test", "LOLBlur/real_blur"])
def test_real_lolblur(tmp_path, folder, nested):
    for name in SONY:
        put(tmp_path / folder / f"{name.replace('_', '/') if nested else name}.png", picture(name))
    for name in NIGHT:
        put(tmp_path / folder / f"{name}.png", picture(name))
    for variant, keys in (("sony", SONY), ("realblur", NIGHT), ("all", (*SONY, *NIGHT)), (None, SONY)):
        pairs = recognition.paired_set("Real-LOLBlur", "test", Roots(tmp_path), variant=variant)
        assert sorted(pairs.keys) == sorted(keys) and pairs.label == 4
    blurred, sharp = pairs.pair(0)
    assert sharp is None and torch.equal(
        (blurred * 255).round().byte(), torch.from_numpy(picture(SONY[0])).permute(2, 0, 1)
    )
    assert not recognise(tmp_path, "RealBlur").splits


def test_real_lolblur_by_size_and_unclassified(tmp_path):
    put(tmp_path / "Real-LOLBlur/night one.png", np.zeros((640, 1120, 3), np.uint8))
    put(tmp_path / "Real-LOLBlur/x.png", np.zeros((760, 665, 3), np.uint8))
    put(tmp_path / "Real-LOLBlur/0000_0082.png", picture(1))
    split = recognise(tmp_path, "Real-LOLBlur").splits["test"]
    assert [pair.key for pair in split.pairs] == ["0000_0082", "night one"]
    put(tmp_path / "Real-LOLBlur/holiday.png", picture(2))
    with pytest.raises(ValueError, match=r"1 picture is neither of the Sony nor of the RealBlur part: .*holiday.png"):
        recognition.paired_set("Real-LOLBlur", "test", Roots(tmp_path))


def test_realblur_j_is_not_real_lolblur(tmp_path):
    plant_realblur(tmp_path)
    assert not recognise(tmp_path, "Real-LOLBlur").splits
    assert not recognise(tmp_path / "RealBlur", "Real-LOLBlur", explicit=True).splits


def test_lol_version_1_and_the_synthetic_part_are_not_the_control(tmp_path):
    put_pair(tmp_path, "LOL-v2/Synthetic/Train/Low/r000da54ft.png", "LOL-v2/Synthetic/Train/Normal/r000da54ft.png")
    put_pair(tmp_path, "LOLv1/Train/input/1.png", "LOLv1/Train/target/1.png")
    put_pair(tmp_path, "our485/low/1.png", "our485/high/1.png")
    found = recognise(tmp_path, "LOLv2-real")
    assert not found.splits and {one.kind for one in found.problems} == {"foreign"}
    for base in ("LOL-v2/Synthetic", "LOLv1", "our485"):
        assert not recognise(tmp_path / base, "LOLv2-real", explicit=True).splits
    with pytest.raises(FileNotFoundError, match="Real_captured"):
        recognition.paired_set("LOLv2-real", "train", Roots(tmp_path))


def test_source_and_target_alone_say_nothing(tmp_path):
    expected = set(plant(tmp_path, "somewhere", [(f"source/{n}.png", f"target/{n}.png") for n in ("01", "02")]))
    base = tmp_path / "somewhere"
    for name in [one.name for one in catalog.DATASETS]:
        assert not recognise(base, name).splits and not recognise(tmp_path, name).splits
    assert [one.kind for one in recognise(base, "RealDOF").problems] == ["evidence"]
    assert paths(recognise(base, "RealDOF", explicit=True).splits["test"]) == expected
    roots = Roots(named={"RealDOF": base})
    assert len(recognition.paired_set("RealDOF", "test", roots)) == 2


def test_dpdd_a_missing_file_shifts_no_pair(tmp_path):
    expected = plant(
        tmp_path,
        "DPDD",
        [
            (f"test_c/source/1P0A{a:04d}.png", f"test_c/target/1P0A{b:04d}.png")
            for a, b in zip((917, 933, 960, 984, 1983), (916, 932, 959, 985, 1985), strict=True)
        ],
    )
    put(tmp_path / "DPDD/test_l/source/1P0A0917_L.png", picture(1))
    put(tmp_path / "DPDD/test_r/source/1P0A0917_R.png", picture(1))
    assert paths(recognise(tmp_path, "DPDD").splits["test"]) == set(expected)
    expected[1][1].unlink()
    expected[3][0].unlink()
    split = recognise(tmp_path, "DPDD").splits["test"]  # equally many on both sides
    assert paths(split) == {expected[0], expected[2], expected[4]}
    assert sorted(one.files for one in split.problems if one.kind == "unmatched") == sorted(
        [(str(expected[1][0]),), (str(expected[3][1]),)]
    )
    with pytest.raises(ValueError, match=r"DPDD test: 1 blurred picture has no sharp partner: .*1P0A0933.png"):
        recognition.paired_set("DPDD", "test", Roots(tmp_path))
    assert len(recognition.paired_set("DPDD", "test", Roots(tmp_path), strict=False)) == 3


def test_dpdd_numbers_that_were_never_published(tmp_path):
    pairs = [("5000", "5001"), ("5004", "5003"), ("5009", "5010")]
    expected = plant(
        tmp_path, "DPDD", [(f"train_c/source/1P0A{a}.png", f"train_c/target/1P0A{b}.png") for a, b in pairs]
    )
    assert paths(recognise(tmp_path, "DPDD").splits["train"]) == set(expected)
    expected[0][1].unlink()
    split = recognise(tmp_path, "DPDD").splits["train"]
    assert paths(split) == set(expected[1:]) and [one.files for one in split.problems] == [(str(expected[0][0]),)]


def test_realdof_by_order_only_as_a_last_resort(tmp_path):
    names = [("a", "one"), ("b", "three"), ("c", "two")]  # zipped in sorted order
    expected = plant(tmp_path, "RealDOF", [(f"source/{a}.png", f"target/{b}.png") for a, b in names])
    split = recognise(tmp_path, "RealDOF").splits["test"]
    assert (
        paths(split) == set(expected) and split.pairing == "order" and kinds(recognise(tmp_path, "RealDOF"), "warning")
    )
    expected[0][0].unlink()
    split = recognise(tmp_path, "RealDOF").splits["test"]  # never by order when the counts differ
    assert not split.pairs and sorted(one.count for one in split.problems if one.kind == "unmatched") == [2, 3]


def test_realdof_prefixed_numbers_do_not_shift(tmp_path):
    expected = plant(tmp_path, "RealDOF", [(f"source/src_0{n}.png", f"target/tgt_0{n}.png") for n in range(1, 7)])
    expected[0][1].unlink()
    expected[5][0].unlink()
    assert paths(recognise(tmp_path, "RealDOF").splits["test"]) == set(expected[1:5])


def test_hide_inner_suffix_on_one_side_and_a_gt_for_all(tmp_path):
    root = tmp_path / "HIDE_dataset"
    put_pair(root, "test/test-long-shot/1fromGOPR1096.MP4.png", "GT/1fromGOPR1096.png")
    put_pair(root, "test/test-close-ups/1fromGOPR0950.png", "GT/1fromGOPR0950.png")
    put(root / "GT/2fromGOPR0950.png", picture(1))
    found = recognise(tmp_path, "HIDE")
    assert [pair.key for pair in found.splits["test"].pairs] == ["1fromGOPR0950", "1fromGOPR1096.MP4"]
    assert not kinds(found) and kinds(found, "info") == ["spare"]
    put_pair(root, "train/3fromGOPR0950.png", "GT/3fromGOPR0950.png")
    found = recognise(tmp_path, "HIDE")  # now all splits are here, and one sharp picture is left over
    assert kinds(found) == ["unmatched"] and "2fromGOPR0950.png" in found.problems[0].files[0]
    put(root / "train/2fromGOPR0950.png", picture(1))
    assert not kinds(recognise(tmp_path, "HIDE"))


def test_hide_list(tmp_path):
    root = tmp_path / "HIDE"
    put_pair(root, "test/test-close-ups/1fromGOPR0950.png", "GT/1fromGOPR0950.png")
    (root / "test.txt").write_text("1fromGOPR0950.png\r\n7fromGOPR0950.png\r\n")
    found = recognise(tmp_path, "HIDE")
    (listed,) = [one for one in found.splits["test"].problems if one.level == "error"]
    assert listed.kind == "list" and listed.files == ("7fromGOPR0950.png",)


def test_gopro_list_in_the_format_of_srn(tmp_path):
    pairs = [(f"train/GOPR0372_07_00/blur/0000{n}.png", f"train/GOPR0372_07_00/sharp/0000{n}.png") for n in (47, 48)]
    plant(tmp_path, "GOPRO_Large", pairs[:1])
    (tmp_path / "GOPRO_Large/datalist_gopro.txt").write_text("".join(f"{b} {a}\n" for a, b in pairs))
    (listed,) = [one for one in recognise(tmp_path, "GoPro").splits["train"].problems if one.level == "error"]
    assert listed.kind == "list" and listed.files == (pairs[1][0],)


def test_a_val_folder_of_a_set_without_one(tmp_path):
    put_pair(tmp_path, "GoPro/valid/blur/GOPR0384_11_00_000001.png", "GoPro/valid/sharp/GOPR0384_11_00_000001.png")
    assert list(recognise(tmp_path, "GoPro").splits) == ["test"]
    put_pair(tmp_path, "GoPro/test/blur/GOPR0384_11_00_000002.png", "GoPro/test/sharp/GOPR0384_11_00_000002.png")
    found = recognise(tmp_path, "GoPro")
    assert [pair.key for pair in found.splits["test"].pairs] == ["GOPR0384_11_00/000002"]
    assert kinds(found, "info") == ["second"]


def test_whole_pictures_are_preferred_to_patches(tmp_path):
    root = tmp_path / "GoPro"
    put_pair(
        root, "train/blur_crops/GOPR0372_07_00-000047_s001.png", "train/sharp_crops/GOPR0372_07_00-000047_s001.png"
    )
    assert recognise(tmp_path, "GoPro").splits["train"].patches
    expected = put_pair(root, "train/input/GOPR0372_07_00-000047.png", "train/target/GOPR0372_07_00-000047.png")
    split = recognise(tmp_path, "GoPro").splits["train"]
    assert paths(split) == {expected} and not split.patches


def test_patches_without_crops_in_the_folders_name(tmp_path):
    names = [f"GOPR0372_07_00-000047-{n}" for n in (1, 2, 3)]
    expected = plant(tmp_path, "GoPro", [(f"train/input/{n}.png", f"train/target/{n}.png") for n in names])
    split = recognise(tmp_path, "GoPro").splits["train"]
    assert split.patches and paths(split) == set(expected)  # not folded into one pair


LMDB = [
    ("GoPro", "test", "GoPro/test/{}.lmdb", ("input", "target"), "GOPR0384_11_00-00000{}", False),
    ("GoPro", "train", "GoPro/train/{}.lmdb", ("blur_crops", "sharp_crops"), "GOPR0372_07_00-000047_s00{}", True),
    ("GoPro", "train", "GoPro/{}.lmdb", ("blur", "sharp"), "GOPR0372_07_00-00005{}", False),
    ("RealBlur", "test", "Realblur-J/val/{}.lmdb", ("blur", "sharp"), "scene230_{}", False),
    ("RealBlur", "test", "RealBlur_J/test/{}.lmdb", ("input", "target"), "scene230_{}", False),
    ("DPDD", "test", "DPDD/test/{}.lmdb", ("inputC", "target"), "000{}", False),
    ("HIDE", "test", "HIDE/{}.lmdb", ("input", "target"), "{}fromGOPR1096.MP4", False),
]


@pytest.mark.parametrize(("name", "split", "place", "words", "key", "patches"), LMDB)
def test_lmdb(tmp_path, name, split, place, words, key, patches):
    pytest.importorskip("lmdb")
    keys = [key.format(n) + ".png" for n in (7, 9)]
    for word in words:
        put_lmdb(tmp_path / place.format(word), {k: picture(word + k) for k in keys})
    found = recognise(tmp_path, name)
    assert list(found.splits) == [split] and found.splits[split].layout == "G5" and not kinds(found)
    assert found.splits[split].patches == patches
    pairs = recognition.paired_set(name, split, Roots(tmp_path))
    assert pairs.size(0) == (28, 40)
    for i, k in enumerate(keys):
        for side, word in zip(pairs.read(i, (3, 5, 8, 9)), words, strict=True):
            whole = torch.from_numpy(picture(word + k)).permute(2, 0, 1)
            assert torch.equal(side, whole[:, 3:11, 5:14])


def test_lmdb_without_the_package_is_refused(tmp_path, monkeypatch):
    for word in ("input", "target"):
        folder = tmp_path / f"GoPro/test/{word}.lmdb"
        folder.mkdir(parents=True)
        (folder / "data.mdb").write_bytes(b"\0" * 64)
        (folder / "meta_info.txt").write_text("GOPR0384_11_00-000001.png (720,1280,3) 1\n")
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    assert set(kinds(recognise(tmp_path, "GoPro"))) == {"lmdb"}
    with pytest.raises(ValueError, match=r"input.lmdb: reading it needs the package lmdb: pip install 'demoe\[data\]'"):
        recognition.paired_set("GoPro", "test", Roots(tmp_path))


def test_a_broken_or_incomplete_lmdb(tmp_path):
    pytest.importorskip("lmdb")
    put_lmdb(tmp_path / "GoPro/test/input.lmdb", {f"GOPR0384_11_00-00000{n}.png": picture(n) for n in (1, 2)})
    put_lmdb(tmp_path / "GoPro/test/target.lmdb", {f"GOPR0384_11_00-00000{n}.png": picture(n) for n in (1, 2)})
    with (tmp_path / "GoPro/test/target.lmdb/meta_info.txt").open("a") as stream:
        stream.write("GOPR0384_11_00-000003.png (720,1280,3) 1\n")
    assert kinds(recognise(tmp_path, "GoPro")) == ["lmdb"]
    (tmp_path / "GoPro/test/target.lmdb/data.mdb").write_bytes(b"no database")
    assert "lmdb" in kinds(recognise(tmp_path, "GoPro"))
    with pytest.raises(ValueError, match=r"data.mdb is cut short: 11 bytes"):
        recognition.paired_set("GoPro", "test", Roots(tmp_path))


def test_what_is_passed_over(tmp_path):
    expected = plant(tmp_path, "RealDOF", [(f"source/{n}.PNG", f"target/{n}.png") for n in ("01", "02")])
    for place in ("source/._01.png", "target/.02.png", "source/__MACOSX/01.png", "target/@eaDir/01.png"):
        put(tmp_path / "RealDOF" / place, picture(place))
    for name in ("Thumbs.db", ".DS_Store", "labels.npy", "a.json", "b.txt", "c.mat", "d.csv", "e.pkl"):
        (tmp_path / "RealDOF/source" / name).write_bytes(b"x")
    found = recognise(tmp_path, "RealDOF")
    assert paths(found.splits["test"]) == set(expected) and not kinds(found)


def test_links_are_followed_and_loops_end(tmp_path):
    real = put_pair(tmp_path / "elsewhere", "source/01.png", "target/01.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/RealDOF").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/source/loop").symlink_to(tmp_path / "elsewhere/source")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/loop").symlink_to(tmp_path / "data")
    (tmp_path / "data/nowhere").symlink_to(tmp_path / "not there")
    (tmp_path / "data/circle").symlink_to(tmp_path / "data/circle")
    found = recognise(tmp_path / "data", "RealDOF")
    assert [pair.blurred.resolve() for pair in found.splits["test"].pairs] == [real[0]] and not kinds(found)


def test_empty_and_double_and_unmatched_files(tmp_path):
    pairs = plant(
        tmp_path, "HIDE", [(f"test/input/{n}fromGOPR0950.png", f"test/target/{n}fromGOPR0950.png") for n in range(1, 6)]
    )
    pairs[0][0].write_bytes(b"")
    pairs[1][1].unlink()
    put(pairs[2][1].with_suffix(".jpg"), picture(3))
    split = recognise(tmp_path, "HIDE").splits["test"]
    told = {one.kind: one.files for one in split.problems}
    assert told == {
        "empty": (str(pairs[0][0]),),
        "unmatched": (str(pairs[1][0]),),
        "duplicate": (str(pairs[2][1].with_suffix(".jpg")), str(pairs[2][1])),
    }
    assert {pair.key for pair in split.pairs} == {"3fromGOPR0950", "4fromGOPR0950", "5fromGOPR0950"}
    with pytest.raises(
        ValueError, match=r"HIDE test: 1 file is empty \(0 bytes\): .*1fromGOPR0950.png; fetch them again"
    ):
        recognition.paired_set("HIDE", "test", Roots(tmp_path))


def test_blur_gamma_alone(tmp_path):
    put(tmp_path / "GOPRO_Large/train/GOPR0372_07_00/blur_gamma/000047.png", picture(1))
    split = recognise(tmp_path, "GoPro").splits["train"]
    assert split.variant == "blur_gamma" and not split.pairs
    with pytest.raises(FileNotFoundError, match="only blur_gamma pictures"):
        recognition.paired_set("GoPro", "train", Roots(tmp_path))


def test_what_is_not_there_is_said_so(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"HIDE: nothing says where it is: use --data-root; `demoe data where HIDE`"
    ):
        recognition.paired_set("HIDE", "test", Roots())
    with pytest.raises(FileNotFoundError, match=r"HIDE was not found in .*HIDE_dataset or HIDE"):
        recognition.paired_set("HIDE", "test", Roots(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"HIDE: there is no folder .*gone"):
        recognition.paired_set("HIDE", "test", Roots(named={"HIDE": tmp_path / "gone"}))
    put_pair(tmp_path, "HIDE/input/1fromGOPR0950.png", "HIDE/target/1fromGOPR0950.png")
    with pytest.raises(FileNotFoundError, match=r"HIDE: no train split in .*HIDE, only test"):
        recognition.paired_set("HIDE", "train", Roots(tmp_path))


def test_sets_that_were_built_are_never_called_real(tmp_path):
    assert build.MADE == MADE
    build.build(tmp_path, ["GoPro", "LOLv2-real", "Real-LOLBlur"], "test", 2, 32, progress=False)
    for name in ("GoPro", "LOLv2-real", "Real-LOLBlur"):
        pairs = recognition.paired_set(name, "test", Roots(tmp_path))
        assert pairs.name == f"{name}-syn" and pairs.data == "synthetic" and len(pairs) == 2


def test_published_splits_are_whole():
    counts = {
        name: {split: len(set(keys)) for split, keys in catalog.get(name).published.items()}
        for name in ("GoPro", "RealBlur", "DPDD", "LOLv2-real")
    }
    assert counts == {name: dict(catalog.get(name).counts) for name in counts}
    test, train = (catalog.get("RealBlur").published[split].keys() for split in ("test", "train"))
    assert not any(key.endswith("/1") for key in test) and {k[:3] for k in test}.isdisjoint(k[:3] for k in train)
    assert len({k[:3] for k in test}) == 50 and len({k[:3] for k in train}) == 182
    dpdd = catalog.get("DPDD").published
    steps = {int(sharp[-4:]) - int(key[-4:]) for pairs in dpdd.values() for key, sharp in pairs.items()}
    assert steps == {-1, 1, 2} and dpdd["val"]["1P0A2027"] == "1P0A2029"


def test_left_and_right_views_among_the_combined_ones(tmp_path):
    expected = plant(tmp_path, "DPDD", [("test_c/source/1P0A0917.png", "test_c/target/1P0A0916.png")])
    put(tmp_path / "DPDD/test_c/source/1P0A0917_L.png", picture(1))
    found = recognise(tmp_path, "DPDD")
    assert paths(found.splits["test"]) == set(expected) and kinds(found, "warning") == ["stray"] and not kinds(found)


def test_dpdd_without_the_combined_view(tmp_path):
    for view in "lr":
        put(tmp_path / f"DPDD/test_{view}/source/1P0A0917_{view.upper()}.png", picture(1))
    found = recognise(tmp_path, "DPDD")
    (told,) = found.problems
    assert not found.splits and told.level == "warning" and "test_l, test_r" in told.message and "*_c" in told.message


def test_restormers_patches_in_val_are_no_test_set(tmp_path):
    for n in (1, 2):
        stem = f"GOPR0384_11_00-000001-{n}"
        put_pair(tmp_path, f"val/GoPro/input_crops/{stem}.png", f"val/GoPro/target_crops/{stem}.png")
    found = recognise(tmp_path, "GoPro")
    assert list(found.splits) == ["val"] and found.splits["val"].patches
    with pytest.raises(FileNotFoundError, match="no test split"):
        recognition.paired_set("GoPro", "test", Roots(tmp_path))


def test_naming_one_dataset_does_not_turn_another_into_it(tmp_path):
    put_pair(tmp_path, "HIDE/input/1fromGOPR0950.png", "HIDE/target/1fromGOPR0950.png")
    put_pair(tmp_path, "DPDD/test/source/a.png", "DPDD/test/target/a.png")
    for name in ("GoPro", "RealDOF", "RSBlur"):
        assert not recognise(tmp_path, name, explicit=True).splits
    expected = put_pair(tmp_path / "x/only/one", "test/input/a.png", "test/target/a.png")
    assert paths(recognise(tmp_path / "x/only", "GoPro", explicit=True).splits["test"]) == {expected}


def test_an_empty_folder_with_the_better_word_hides_nothing(tmp_path):
    (tmp_path / "HIDE/test/blur").mkdir(parents=True)
    expected = put_pair(tmp_path, "HIDE/test/input/1fromGOPR0950.png", "HIDE/test/target/1fromGOPR0950.png")
    assert paths(recognise(tmp_path, "HIDE").splits["test"]) == {expected}


@pytest.mark.parametrize("sharp", ["sharp", "target", "gt", "GT", "groundtruth"])
@pytest.mark.parametrize("blurred", ["blur", "input", "lq", "LQ", "source", "blurred"])
@pytest.mark.parametrize("name", [one.name for one in catalog.DATASETS if one.official])
def test_every_word_for_blurred_and_sharp(tmp_path, name, blurred, sharp):
    expected = plant(tmp_path, name, [(f"test/{blurred}/{n}.png", f"test/{sharp}/{n}.png") for n in ("p", "q")])
    assert paths(recognise(tmp_path, name).splits["test"]) == set(expected)


def test_what_is_available(tmp_path):
    for name in ("GoPro", "RealDOF"):
        for side in ("input", "target"):
            put(tmp_path / name / "test" / side / "a.png", picture(1))
    assert recognition.available(("GoPro", "RSBlur", "RealDOF"), "test", Roots(tmp_path)) == ["GoPro", "RealDOF"]
    assert recognition.available(("GoPro", "RSBlur"), "test", Roots()) == ["GoPro", "RSBlur"]


def test_a_built_set_is_synthetic_wherever_a_person_points(tmp_path):
    built = build.build(tmp_path / "deep" / "out", ["RealBlur", "GoPro"], "train", 2, 32, progress=False)
    assert Roots(tmp_path / "deep").synthetic and Roots(tmp_path / "deep" / "out").synthetic
    for root, name in ((built[0] / "RealBlur-J_ECC_IMCORR_centroid_itensity_ref", "RealBlur"), (built[1], "GoPro")):
        assert recognition.paired_set(name, "train", Roots(root)).data == "synthetic" and Roots(root).synthetic


def test_another_variant_is_told_by_its_keys(tmp_path):
    build.build(tmp_path, ["GoPro"], "train", 2, 32, progress=False)
    usual = recognition.paired_set("GoPro", "train", Roots(tmp_path))
    gamma = recognition.paired_set("GoPro", "train", Roots(tmp_path, variants={"GoPro": "blur_gamma"}))
    assert list(gamma.keys) == [f"blur_gamma:{key}" for key in usual.keys] and gamma.label == usual.label == 3
