import pytest
from PIL import Image

from demoe.core.tasks import EXPERTS
from demoe.evaluation import photo_sources
from demoe.evaluation.photo_sources import blurred_sets, read_sources

HEAD = "file,set,role,kind_of_blur,paired,licence,note\n"
ROWS = """\
a/rain_k1_blur.png,street,blur,global_motion,yes,own,x
a/rain_k2_blur.png,street,blur,global_motion,yes,own,x
a/rain_sharp.png,street,sharp,global_motion,yes,own,x
a/rain_k2_sharp.png,street,sharp,global_motion,yes,own,x
a/tram.png,street,blur,motion,no,own,x
dark.png,night,blur,low_light,yes,own,x
dark_pseudo.png,night,pseudo_reference,low_light,yes,own,x
tree.png,garden,sharp_unpaired,sharp,no,own,x
"""


@pytest.fixture
def folder(tmp_path):
    for i, row in enumerate(ROWS.splitlines()):
        file = tmp_path / row.split(",")[0]
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (10 * i, 20, 30)).save(file)
    (tmp_path / "sources.csv").write_text(HEAD + ROWS)
    return tmp_path


def test_pairs_belong_together_by_the_longest_name(folder):
    sources = read_sources(folder)
    sharp = {one.file.name: one.sharp.name if one.sharp else None for one in sources}
    assert sharp["rain_k1_blur.png"] == "rain_sharp.png" and sharp["rain_k2_blur.png"] == "rain_k2_sharp.png"
    assert sharp["dark.png"] == "dark_pseudo.png" and sharp["tram.png"] is None
    assert [one.file.name for one in photo_sources.sharp_photographs(sources)] == [
        "rain_sharp.png",
        "rain_k2_sharp.png",
        "tree.png",
    ]


def test_scenes_of_one_name_in_different_folders_are_told_apart(tmp_path):
    names = [f"{scene}/0001_{kind}.png" for scene in ("one", "two") for kind in ("blur", "sharp")]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    rows = [f"{name},street,{'blur' if 'blur' in name else 'sharp'},global_motion,yes,own,x\n" for name in names]
    (tmp_path / "sources.csv").write_text(HEAD + "".join(rows))
    blurred = [one for one in read_sources(tmp_path) if one.sharp]
    assert [one.sharp.parent for one in blurred] == [one.file.parent for one in blurred]
    assert len({one.key.split("/")[0] for one in blurred}) == 2  # two scenes
    (tmp_path / "0001_blur.png").write_bytes((tmp_path / names[0]).read_bytes())
    (tmp_path / "sources.csv").write_text(HEAD + "".join(rows) + rows[0].replace("one/", ""))
    with pytest.raises(ValueError, match=r"one/0001_sharp\.png and two/0001_sharp\.png could both be"):
        read_sources(tmp_path)


def test_sets_are_parted_by_kind_and_by_whether_they_are_paired(folder):
    sources = read_sources(folder)
    paired, alone = blurred_sets(sources, True), blurred_sets(sources, False)
    assert {name: (kind, len(pairs)) for name, (kind, pairs) in paired.items()} == {
        "street (global_motion)": ("global_motion", 2),
        "night": ("low_light", 1),
    }
    assert [(kind, len(pairs)) for kind, pairs in alone.values()] == [("motion", 1)]
    blurred, sharp = paired["night"][1].pair(0)
    assert blurred.shape == sharp.shape == (3, 30, 40) and len(blurred_sets(sources)) == 3
    assert set(photo_sources.KINDS) > set(EXPERTS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("licence", "rights"), "has no column licence"),
        (("night,blur,low_light", "night,blur,dark"), "line 7: kind_of_blur 'dark': choose one of defocus"),
        (("tram.png,street,blur", "tram.png,street,smear"), "line 6: role 'smear'"),
        (("tram.png", "bus.png"), "line 6: there is no"),
        (("tree.png,garden", "dark.png,garden"), "line 9: dark.png is named twice"),
        (("sharp,no,own", "sharp,no,"), "line 9: licence is empty"),
        (("motion,no", "motion,yes"), "line 6: a/tram.png is paired, but no sharp picture of set street"),
    ],
)
def test_what_is_wrong_with_the_table_is_told_by_its_line(folder, change, sentence):
    table = folder / "sources.csv"
    table.write_text(table.read_text().replace(*change))
    with pytest.raises(ValueError, match=sentence):
        read_sources(folder)


def test_a_folder_without_a_table_or_rows(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"sources\.csv: a table of the photographs"):
        read_sources(tmp_path)
    (tmp_path / "sources.csv").write_text(HEAD)
    with pytest.raises(ValueError, match="names no photographs"):
        read_sources(tmp_path)
