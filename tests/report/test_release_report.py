"""Notebook 10: what is made of scores, and the sets and photographs it looks at."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from demoe.app import photos
from demoe.blur import folder as folder_module
from demoe.core import images, profiles, provenance
from demoe.core.files import checksum
from demoe.core.tasks import DATASETS, EXPERTS
from demoe.data.real.roots import Roots
from demoe.data.setting import Setting
from demoe.evaluation import released, statistics
from demoe.models import checkpoints, pretrained
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.report import figures, layouts, release_report, tables

GAINS = {released.INPUT: 0.0, released.BASELINE: 1.0, released.DEMOE: 1.5}
TINY = DeMoEConfig(width=2, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))


def made_up(gains: dict[str, float] = GAINS, lead: float = 0.6, pictures: int = 6) -> pd.DataFrame:
    """Scores of every method: each ``gains`` above the input, and the right expert ``lead`` above the four others."""
    rng = np.random.default_rng(0)
    rows = []
    for place, name in enumerate(DATASETS):
        for i in range(pictures):
            level = 20 + place + rng.normal()
            of = gains | {
                one: 1.0 + lead * (one == EXPERTS[place]) + 0.1 * abs(place - j) for j, one in enumerate(EXPERTS)
            }
            rows += [
                {
                    "set": f"{name}-syn",
                    "image": f"{i:04d}_photo{i}",
                    "method": method,
                    "psnr": level + gain + 0.01 * rng.normal(),
                    "ssim": 0.8,
                    "missing": "",
                    "how": "whole",
                }
                for method, gain in of.items()
            ]
    return pd.DataFrame(rows)


def test_manual_is_the_sets_expert_and_wrong_the_mean_of_the_others():
    scores = released.with_choices(made_up())
    psnr = scores.pivot(index=["set", "image"], columns="method", values="psnr")
    for place, name in enumerate(DATASETS):
        here = psnr.loc[f"{name}-syn"]
        own = EXPERTS[place]
        assert here[released.MANUAL].equals(here[own].rename(released.MANUAL))
        rest = here[[one for one in EXPERTS if one != own]].mean(axis=1)
        assert np.allclose(here[released.WRONG], rest, rtol=0, atol=1e-12)
    assert len(scores) == 5 * 6 * (3 + 5 + 2)


def test_laws_are_told_apart_from_what_breaks_them():
    scores = made_up()
    routed = scores.method.eq(released.DEMOE)
    scores.loc[routed, "psnr"] = scores.loc[scores.method.eq(EXPERTS[2]), "psnr"].to_numpy()  # the router's choice
    scores = released.with_choices(scores)
    laws = released.laws(scores)
    assert len(laws) == 3 and all(laws.values())
    for method, broken in ((released.MANUAL, {0, 2}), (released.DEMOE, {1}), (released.WRONG, {2})):
        changed = scores.assign(psnr=scores.psnr + 0.02 * scores.method.eq(method))
        assert [place for place, holds in enumerate(released.laws(changed).values()) if not holds] == sorted(broken)


def verdicts(table: pd.DataFrame) -> dict[str, str]:
    return {row.id.removeprefix("release-"): row.verdict for row in release_report.claims(table)}


def test_claims_and_figures_follow_the_numbers():
    good = released.released_differences(released.with_choices(made_up()))
    assert verdicts(good)["demoe-k-1-input"] == verdicts(good)["demoe-k-1-baseline"] == "better"
    assert verdicts(good)["demoe-manual-average-wrong-expert"] == "better"
    bad = released.released_differences(released.with_choices(made_up({**GAINS, released.DEMOE: -0.2}, lead=-0.8)))
    assert verdicts(bad)["demoe-k-1-input"] == verdicts(bad)["demoe-manual-average-wrong-expert"] == "worse"
    row = next(row for row in release_report.claims(bad) if row.id == "release-demoe-k-1-input")
    sets = [name for name in good["set"].unique() if not name.startswith("Average")]
    assert row.control == f"without LOLBlur -0.20 dB [-0.21, -0.20], worse; worse on {', '.join(sets)}"
    alone = {name: gain for name, gain in GAINS.items() if name != released.BASELINE}
    without = released.released_differences(released.with_choices(made_up(alone)))
    assert "demoe-k-1-baseline" not in verdicts(without) and set(without["first"]) == {released.DEMOE, released.MANUAL}
    for table, count in ((good, 3), (without, 2)):
        axes = figures.gains(table).axes
        assert [label.get_text() for axis in axes for label in axis.get_xticklabels()] == [
            "RealBlur-syn",
            "ReLoBlur-syn",
            "DPDD-syn",
            "GoPro-syn",
            "LOLBlur-syn",
            "Average",
            "Average\nwithout LOLBlur",
        ]
        assert len(axes[0].containers) == count


def test_one_scene_a_set_gives_a_mean_without_interval():
    single = released.released_differences(released.with_choices(made_up(pictures=1)))
    for row in release_report.claims(single):
        assert row.verdict == "undecided" and "[" not in row.here and "nan" not in row.sentence


def test_tables_from_the_csvs(home):
    mark = provenance.Stamp("test", "synthetic", 0, "abcd", "1234567", "a machine")
    scores = released.with_choices(made_up())
    for name, table in {
        "scores": scores,
        "summary": statistics.intervals(scores),
        "differences": released.released_differences(scores),
    }.items():
        tables.save(table, f"10_{name}", mark)
    read = partial(tables.read, profile_name="test")
    names = layouts.write_all("test")[0]
    assert names == [name for name in layouts.TABLES if name.startswith("10")]
    found = {name: layouts.TABLES[name](read) for name in names}
    quality = found["10_quality"]
    assert list(quality.index) == list(released.SHOWN)
    theirs = quality[("Average", "paper (real)")]
    assert theirs[released.DEMOE] == "29.19 / 0.877" and theirs[released.MANUAL] == theirs[released.INPUT] == "–"
    assert quality.loc[released.INPUT, ("GoPro-syn", "here")].endswith("/ 0.800")
    assert f"{released.DEMOE} over {released.BASELINE}" in found["10_differences"].index
    assert (home / "results/test/tables/10_quality.tex").is_file()


# The sets.


@pytest.fixture
def release(tmp_path) -> pretrained.Release:
    torch.manual_seed(0)
    path = checkpoints.save(
        DeMoE(TINY).eval(), tmp_path / "weights/demoe-cpu.safetensors", {"training": {"source": "of another folder"}}
    )
    return pretrained.Release("cpu", path)


def test_every_picture_of_a_held_out_folder_is_used_and_those_trained_on_are_refused(release, tmp_path, home):
    folder = tmp_path / "sharp"
    for i in range(4):
        images.write_photograph(folder / f"{i}.png", images.Photograph(torch.rand(3, 130, 140)))
    setting = Setting(profiles.get("test", test_images=12, image_size=32), progress=False)
    sets, words = released.test_sets(setting, release, folder)
    assert [pairs.name for pairs in sets] == [f"{name}-syn" for name in DATASETS]
    assert words.startswith("4 photographs of another folder than that of training")
    seen = {key.split("_", 1)[1] for pairs in sets for key in pairs.keys}
    assert seen == {f"{i}.png" for i in range(4)}
    identity = words.rpartition("(")[2].rstrip(")")
    own = checkpoints.save(
        DeMoE(TINY).eval(), tmp_path / "weights/demoe-quick.safetensors", {"training": {"source": identity}}
    )
    with pytest.raises(ValueError, match="holds the photographs that demoe-quick was trained on"):
        released.test_sets(setting, pretrained.Release("quick", own), folder)
    for marks, refused in (([folder_module.picture_mark(folder / "2.png")], True), (["0" * 12], False)):
        noted = checkpoints.save(
            DeMoE(TINY).eval(),
            tmp_path / "weights/demoe-smoke.safetensors",
            {"training": {"source": "another"}, "release": {"pictures": marks}},
        )
        one = pretrained.Release("smoke", noted)
        if refused:
            with pytest.raises(ValueError, match=r"holds 1 pictures that demoe-smoke was trained on, 2\.png for one"):
                released.test_sets(setting, one, folder)
        else:
            words = released.test_sets(setting, one, folder)[1]
            assert words.startswith("4 photographs that training has not seen")


def test_without_a_folder_the_bundled_test_photographs(release, tmp_path, home):
    elsewhere = Roots(sharp_images=tmp_path)  # what training used: not looked at
    setting = Setting(profiles.get("test", test_images=1, image_size=32), roots=elsewhere, progress=False)
    sets, words = released.test_sets(setting, release)
    assert len(sets) == 5 and words == "the bundled photographs that are kept for tests"


def test_a_release_is_found_by_name_and_the_first_is_the_default(monkeypatch, tmp_path):
    found = [pretrained.Release(name, tmp_path / name) for name in ("quick", "cpu")]
    monkeypatch.setattr(released, "releases", lambda: found)
    assert released.named() is found[0] and released.named(found[1].name) is found[1]
    with pytest.raises(ValueError, match=r"no network demoe-paper comes with the package.*demoe-quick, demoe-cpu"):
        released.named("demoe-paper")


def test_measured_and_shown_are_the_sets_that_were_given(release, home):
    setting = Setting(profiles.get("test", test_images=2, image_size=32), progress=False)
    models, (sets, words) = released.networks(release), released.test_sets(setting, release)
    mark, about = provenance.Stamp("test", "synthetic", 3), released.about(release, models, words)
    found = released.measured(about, models, sets, setting.profile, mark)
    assert list(found) == ["networks", "scores", "summary", "differences", "routing"]
    assert not {"profile", "commit"} & set(found["scores"]) and len(found["routing"]) == 5 * 2
    assert len(found["scores"]) == 5 * 2 * (2 + 5 + 2) and all(released.laws(found["scores"]).values())
    assert found["differences"].equals(released.released_differences(found["scores"], 3))
    shown = released.examples(setting, release, models)
    assert list(shown) == [pairs.name for pairs in sets]
    for pairs in sets:
        titles, pictures = zip(*shown[pairs.name], strict=True)
        assert [title.split(", ")[0] for title in titles] == [released.INPUT, released.DEMOE, "sharp"]
        assert torch.equal(pictures[0], pairs.pair(0)[0])


def test_real_photographs_through_the_released_network(release, tmp_path):
    torch.manual_seed(2)
    for name in ("a_blur", "a_sharp"):
        images.write_photograph(tmp_path / f"real/{name}.png", images.Photograph(torch.rand(3, 48, 40)))
    rows = ("a_blur.png,s,blur,defocus,yes,CC0", "a_sharp.png,s,sharp,sharp,yes,CC0")
    (tmp_path / "real/sources.csv").write_text("\n".join(("file,set,role,kind_of_blur,paired,licence", *rows)))
    models = released.networks(release)
    about = released.about(release, models, "p")
    found = released.on_real(tmp_path / "real", models, about, side=32, out=tmp_path / "rows")
    assert set(found) == {"gains", "router", "harm"} and released.DEMOE in set(found["gains"]["first"])
    assert released.BASELINE not in set(found["gains"]["first"])  # it did not come along
    assert (tmp_path / "rows/gains.csv").is_file()


def test_photographs(release, tmp_path):
    torch.manual_seed(1)
    for name, light in (("a", 0.2), ("b", 0.2), ("sub/a", 1.0)):  # the last one is guarded: it is not dark
        images.write_photograph(tmp_path / f"in/{name}.png", images.Photograph(light * torch.rand(3, 24, 20)))
    models = released.networks(release)
    with torch.no_grad():  # its router takes everything for low light
        models[released.DEMOE].mlp_branch.classifier[-1].bias.copy_(99 * torch.eye(5)[EXPERTS.index("low_light")])
    table = photos.deblur_folder(models[released.DEMOE], tmp_path / "in", tmp_path / "out")
    assert table.photograph.tolist() == [1, 2, 3] and images.read_photograph(tmp_path / "out/001_a.png").size == (
        40,
        24,
    )
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert table.expert.isna().tolist() == [False, False, True]
    assert set(table.expert.dropna()) <= set(EXPERTS) and table.sharpness.dtype == float
    first, second = (row.sentence for row in release_report.photographs(table))
    assert "of 3;" in first and "png" not in first + second and second.endswith("left as they are: 1.")
    assert released.about(release, models, "p").sha256.tolist() == [checksum(release.demoe)]
