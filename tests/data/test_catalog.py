"""One description is all that a dataset needs: nothing else in the package knows it by name."""

import re

import pytest
from fixture_trees import put_pair

from demoe.blur import cameras, recipes_ood, sets
from demoe.core import tasks
from demoe.data.build import build
from demoe.data.real import catalog, check, recognition
from demoe.data.real.description import Dataset, Form, Target
from demoe.data.real.roots import Roots

NEW = Dataset(
    name="Newblur",
    aliases=("NB",),
    folders=("Newblur_v1", "Newblur"),
    marker="{train,test}/{shaky,still}/*.png",
    official=(Form("<split>/<kind>/**"),),
    blurred={"shaky": ("shaky",)},
    sharp=("still",),
    counts={"train": 40, "test": 3},
    depth=8,
    home="https://example.org",
    licence="none stated",
    download="Newblur.zip",
    expert="local_motion",
    target=Target(28.0, None, "bound"),
    files={"blurred": "{split}/shaky/{0}.png", "sharp": "{split}/still/{0}.png"},
    made={"train": "{000..039}", "test": "{000..002}"},
)


@pytest.fixture
def described(monkeypatch):
    monkeypatch.setattr(catalog, "DATASETS", (*catalog.DATASETS, NEW))
    monkeypatch.setitem(catalog._BY_NAME, "newblur", NEW)
    monkeypatch.setitem(sets._RECIPES, "Newblur", (10, recipes_ood.rsblur))
    monkeypatch.setitem(cameras.CAMERAS, "Newblur", cameras.CAMERAS["RSBlur"])
    monkeypatch.setattr(sets, "SETS", (*sets.SETS, "Newblur"))


def test_a_new_description_is_found_paired_checked_and_built(tmp_path, described):
    for n in (1, 2, 3):
        put_pair(tmp_path / "d/Newblur_v1", f"test/shaky/{n}.png", f"test/still/{n}.png")
    pairs = recognition.paired_set("newblur", "test", Roots(tmp_path / "d"))
    assert len(pairs) == 3 and pairs.label == tasks.EXPERTS.index("local_motion")
    (report,) = check.check(["Newblur"], Roots(tmp_path / "d"), progress=False)
    assert report.splits[0].outcome == "exact" and report.errors == 0
    (root,) = build(tmp_path / "made", ["Newblur"], "train", 2, 24, progress=False)
    assert root.name == "Newblur_v1" and (root / "train/shaky/001.png").is_file()
    made = recognition.paired_set("Newblur", "train", Roots(tmp_path / "made"))
    assert made.name == "Newblur-syn" and made.label == pairs.label and len(made) == 2


@pytest.mark.parametrize(
    ("facts", "named"),
    [({"licens": "none"}, "licens"), ({"official": [{"split": "test"}]}, "path"), ({"target": {}}, "psnr")],
)
def test_a_misspelt_or_missing_field_is_refused(facts, named):
    with pytest.raises(ValueError, match=rf"datasets.toml, \[NB\]: .*'{named}'.*description.py lists the fields"):
        catalog._dataset("NB", facts, {})


def test_what_is_described_fits_together():
    for dataset in catalog.DATASETS:
        assert bool(dataset.files) == bool(dataset.target) == (dataset.name in sets.SETS), dataset.name
        assert dataset.expert in ("", *tasks.EXPERTS) and dataset.counts.keys() <= {"train", "val", "test"}
        assert dataset.brighter in ("", *dataset.variants)
        assert dataset.marker and dataset.home and dataset.licence and dataset.download and dataset.folders
        for pattern in (dataset.key, dataset.typical, dataset.stem, dataset.stray, *dataset.foreign):
            re.compile(pattern)
    assert [catalog.get(name).expert for name in tasks.DATASETS] == list(tasks.EXPERTS)
    outside = {"RealDOF": "defocus", "RSBlur": "global_motion", "Real-LOLBlur": "low_light"}
    assert outside.items() <= catalog.OOD_EXPERT.items() and catalog.expert_label("GoPro-syn") == 3
    assert catalog.expert_label("LOLv2-real") is catalog.expert_label("own-GoPro") is None
    assert not catalog.get("Real-LOLBlur").ground_truth
