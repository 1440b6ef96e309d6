"""Synthetic sets on disk: names, bytes, what happens when it is done again, interrupted or in the wrong place."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from demoe.blur import sets
from demoe.blur.folder import FolderCanvas
from demoe.blur.job import Options
from demoe.core import images
from demoe.data import build as building
from demoe.data.build import build, named_files
from demoe.data.real import catalog, recognition
from demoe.data.real.roots import Roots

SIZE = (24, 30)


@pytest.fixture(scope="module")
def sharp(tmp_path_factory):
    root = tmp_path_factory.mktemp("sharp")
    for i in range(9):
        small = np.random.default_rng(i).integers(256, size=(30, 34, 3), dtype=np.uint8)
        Image.fromarray(small).resize((170, 150), Image.Resampling.BICUBIC).save(root / f"{i}.png")
    return root


@pytest.fixture
def make(sharp, tmp_path):
    def made(names, split="test", count=3, size=SIZE, place="out", **more):
        return build(tmp_path / place, names, split, count, size, sharp_images=sharp, progress=False, **more)

    return made


def tree(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


EXPECTED = {
    "GoPro": "GOPRO_Large/test/GOPR0384_11_00/{blur,blur_gamma,sharp}/000002.png",
    "RealBlur": "RealBlur/RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene002/{blur/blur_3,gt/gt_3}.png",
    "ReLoBlur": "ReLoBlur/{test/scene1/00/01_blur,test/scene1/00/01_sharp,masks/test/scene1/00/01}.png",
    "LOLBlur": "LOLBlur/test/{low_blur_noise,low_blur,high_sharp_scaled}/0201/0031.png",
    "DPDD": "dd_dp_dataset_canon/test_c/{source/1P0A0933,target/1P0A0932}.png",
    "RealDOF": "RealDOF/{source,target}/02.png",
    "RSBlur": "RSBlur/0001/020002/{real_blur/real_blur,gt/gt_sharp}.png",
    "Real-LOLBlur": "Real-LOLBlur/0000_0002.png",
    "LOLv2-real": "LOL-v2/Real_captured/Test/{Low/low00691,Normal/normal00691}.png",
}


@pytest.mark.parametrize("name", sets.SETS)
def test_files_lie_where_the_real_ones_do(name, make, tmp_path, sharp):
    roots = make([name], count=2)
    before, _, rest = EXPECTED[name].partition("{")
    inner, _, after = rest.partition("}")
    second = {before + choice + after for choice in inner.split(",")}
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")}
    assert second <= written and len(written) == 2 * len(second)
    assert roots == [tmp_path / "out" / EXPECTED[name].split("/")[0].split("{")[0]]
    # The pictures are those of the recipe.
    options = Options(canvas=FolderCanvas(sharp), bits=16 if name == "DPDD" else 8)
    made = sets.synthesize(name, "test", 1, size=SIZE, options=options)
    place = list(named_files(catalog.get(name), "test", 2).values())[1]
    for role in {"blurred", "sharp"} & place.keys():
        photograph = images.read_photograph(roots[0] / place[role])
        assert photograph.bit_depth == (16 if name == "DPDD" else 8)
        assert (photograph.pixels - getattr(made, role)).abs().max() < 1e-6
    if name == "ReLoBlur":
        mask = images.read_photograph(roots[0] / place["mask"])
        assert mask.gray and torch.equal(mask.pixels[:1], made.mask)
    text = (roots[0] / "README.txt").read_text()
    assert "SYNTHETIC" in text and "30x24 pixels, seed 0" in text


def test_the_reader_of_real_sets_pairs_them(make, tmp_path):
    make(sets.SETS, "test", 3)
    make(["GoPro", "RealBlur", "DPDD", "RSBlur"], "train", 2)
    roots = Roots.resolve(tmp_path / "out")
    for name in sets.SETS:
        pairs = recognition.paired_set(name, "test", roots)
        assert len(pairs) == 3, name
        for i in range(3):
            blurred, sharp = pairs.pair(i)
            assert blurred.shape[1:] == SIZE
            assert (sharp is None) == (name in ("Real-LOLBlur",))
    for name in ("GoPro", "RealBlur", "DPDD", "RSBlur"):
        assert len(recognition.paired_set(name, "train", roots)) == 2
    assert len(recognition.paired_set("GoPro", "test", roots, variant="blur_gamma")) == 3
    deep = recognition.paired_set("DPDD", "test", roots, bits=16)
    assert deep.peak == 65535 and len(deep.read(0, None)[0].unique()) > 256


def test_lists_are_as_published(make, tmp_path):
    make(["RealBlur", "RSBlur"], "test", 3)
    text = (tmp_path / "out/RealBlur/RealBlur_J_test_list.txt").read_bytes()
    lines = text.split(b"\n")
    assert len(lines) == 3 and [line.endswith(b" ") for line in lines] == [True, True, False]
    assert lines[0] == (
        b"RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene002/gt/gt_2.png "
        b"RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene002/blur/blur_2.png "
    )
    assert (tmp_path / "out/RSBlur/RSBlur_real_test.txt").read_text().splitlines()[1] == (
        "RSBlur/0001/020002/gt/gt_sharp.png RSBlur/0001/020002/real_blur/real_blur.png"
    )


def test_building_again_continues_and_changes_nothing(make, tmp_path, monkeypatch):
    make(["GoPro", "RealBlur"], count=4)
    whole = tree(tmp_path / "out")
    made = []
    real = sets.synthesize
    monkeypatch.setattr(building.sets, "synthesize", lambda *args, **kwargs: made.append(args) or real(*args, **kwargs))
    make(["GoPro", "RealBlur"], count=4)
    make(["GoPro", "RealBlur"], count=2)  # fewer: those that are there stay
    assert not made and tree(tmp_path / "out") == whole
    make(["GoPro", "RealBlur"], count=3, place="grown")
    make(["GoPro", "RealBlur"], count=4, place="grown")
    assert tree(tmp_path / "grown") == whole
    make(["GoPro"], "train", 1)
    rows = list(csv.DictReader((tmp_path / "out/GOPRO_Large/manifest.csv").open()))
    assert [(row["split"], row["index"]) for row in rows] == [*(("test", str(i)) for i in range(4)), ("train", "0")]
    assert all((tmp_path / "out/GOPRO_Large" / row[role]).is_file() for row in rows for role in ("blurred", "sharp"))


def test_an_interrupted_build_goes_on_where_it_was(make, tmp_path, monkeypatch):
    make(["LOLBlur"], count=4, place="undisturbed")
    real = images.write_photograph
    written = []

    def failing(path, photograph):
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(path)
        real(path, photograph)

    monkeypatch.setattr(building.images, "write_photograph", failing)
    with pytest.raises(KeyboardInterrupt):
        make(["LOLBlur"], count=4)
    monkeypatch.setattr(building.images, "write_photograph", real)
    manifest = tmp_path / "out/LOLBlur/manifest.csv"
    assert len(manifest.read_text().splitlines()) == 3  # header and two whole pairs
    manifest.write_text(manifest.read_text()[:-9])  # and half a line, as a crash leaves it
    make(["LOLBlur"], count=4)
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")
    next((tmp_path / "out/LOLBlur").rglob("0032.png")).unlink()  # a picture that was lost comes back
    make(["LOLBlur"], count=4)
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("change", [{"size": 32}, {"seed": 1}])
def test_pictures_made_otherwise_are_not_mixed_in(change, make, tmp_path):
    make(["GoPro"])
    before = tree(tmp_path / "out")
    with pytest.raises(ValueError, match="GOPRO_Large holds a set that was built differently") as error:
        make(["GoPro"], count=9, **change)
    assert next(iter(change)) in str(error.value)
    assert tree(tmp_path / "out") == before


def test_folders_that_hold_something_else_are_left_alone(make, tmp_path):
    place = tmp_path / "out/GOPRO_Large"
    place.mkdir(parents=True)
    (place / "holiday.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"GOPRO_Large already holds something else \(holiday.png\)"):
        make(["RealBlur", "GoPro"])
    assert tree(tmp_path / "out") == {"GOPRO_Large/holiday.png": b"mine"}  # nothing of RealBlur either
    (tmp_path / "out/RealBlur").write_text("a file")
    with pytest.raises(ValueError, match="RealBlur is a file"):
        make(["RealBlur"])
    (place / "holiday.png").rename(place / "synthetic.json")
    with pytest.raises(ValueError, match="built differently"):
        make(["GoPro"])


@pytest.mark.parametrize(
    ("names", "more", "words"),
    [
        (["GoPro", "Gopher"], {}, "unknown dataset 'Gopher'"),
        (["HIDE"], {}, "there is no synthetic HIDE"),
        (["RealDOF"], {"split": "train"}, "RealDOF has no train split on disk: choose one of test"),
        (["GoPro"], {"split": "val"}, "no val split on disk: choose one of train, test"),
        (["RealDOF"], {"count": 51}, "RealDOF has 50 pairs in its test split"),
        (["GoPro"], {"count": 0}, "at least 1, not 0"),
        (["GoPro"], {"size": 4}, "at least 8x8"),
        (None, {"split": "all"}, "unknown split 'all'"),
    ],
)
def test_bad_input_writes_nothing(names, more, words, make, tmp_path):
    with pytest.raises(ValueError, match=words):
        make(names, **more)
    assert not (tmp_path / "out").exists()


def test_all_sets_are_those_that_have_the_split(make):
    assert [root.name for root in make(None, "val", 1)] == ["dd_dp_dataset_canon", "RSBlur"]
    assert len(make(None, "train", 1)) == len(sets.SETS) - 2  # RealDOF and Real-LOLBlur have none


def test_all_sets_stop_where_the_names_end(make, monkeypatch):
    monkeypatch.setattr(building, "_write_set", lambda dataset, *args: sizes.update({dataset.name: len(args[4])}))
    sizes: dict[str, int] = {}
    make(None, "test", 120)
    assert sizes["RealDOF"] == 50 and sizes["DPDD"] == 76 and sizes["GoPro"] == 120


def test_names_are_unique_up_to_the_last_pair():
    for name in sets.SETS:
        files: set[str] = set()
        total = 0
        for split, count in catalog.get(name).counts.items():
            named = named_files(catalog.get(name), split, count)
            assert len(named) == count
            files |= {place for places in named.values() for place in places.values()}
            total += sum(len(places) for places in named.values())
        assert len(files) == total


def test_what_the_pictures_depend_on_is_written_down(make, tmp_path):
    (root,) = make(["DPDD"], seed=3)
    facts = json.loads((root / building.MADE).read_text())
    assert facts["synthetic"] is True and (facts["set"], facts["seed"], facts["size"]) == ("DPDD", 3, [24, 30])
    assert facts["options"]["bits"] == 16 and len(facts["recipes"]) == 8
    assert str(tmp_path) not in (root / building.MADE).read_text() + (root / "README.txt").read_text()
