import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake

from demoe.core import images, provenance
from demoe.data.pairs import PairedSet
from demoe.evaluation import benchmark
from demoe.evaluation.methods import blurred_input
from demoe.evaluation.methods import methods as compared_methods
from demoe.evaluation.statistics import difference, intervals, report, scene, summarise
from demoe.models.demoe import DeMoE, DeMoEConfig

TINY = DeMoEConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))


def flat_set(name, difference, count=2, truth=True):
    sharp = torch.full((3, 24, 18), 100, dtype=torch.uint8)
    keys = [f"{i:04d}_{'chelsea' if i % 2 else 'grass'}" for i in range(count)]
    return PairedSet(
        name,
        "synthetic",
        keys,
        lambda i, window: (sharp + difference + i, sharp if truth else None),
        lambda i: (24, 18),
    )


def test_scores_and_averages():
    sets = [flat_set("GoPro-syn", 10, 1), flat_set("RealBlur-syn", 51, 1)]
    methods = {"input": blurred_input, "perfect": lambda image, pairs: torch.full_like(image, 100 / 255)}
    scores = benchmark.score(sets, methods, progress=False)
    assert len(scores) == 4 and (scores.missing == "").all()
    summary = summarise(scores).set_index(["set", "method"])
    ten, fifty = -20 * math.log10(10 / 255), -20 * math.log10(51 / 255)
    assert summary.loc[("GoPro-syn", "input"), "psnr"] == pytest.approx(ten, abs=1e-4)
    assert summary.loc[("Average", "input"), "psnr"] == pytest.approx((ten + fifty) / 2, abs=1e-4)
    assert summary.loc[("Average", "input"), "images"] == 2
    assert summary.loc[("GoPro-syn", "perfect"), "psnr"] == pytest.approx(100, abs=0.5)
    assert list(dict.fromkeys(summarise(scores).set)) == ["RealBlur-syn", "GoPro-syn", "Average"]


def test_methods_differ_as_they_say():
    model = shake(DeMoE(TINY))
    methods = compared_methods(None, model)
    image = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        manual = methods["DeMoE manual"](image, flat_set("LOLBlur-syn", 1))
        torch.testing.assert_close(manual, model(image, expert="low_light").image.clamp(0, 1))
        torch.testing.assert_close(methods["DeMoE k=5"](image, None), model(image, k=5).image.clamp(0, 1))
        torch.testing.assert_close(methods["DeMoE k=1"](image, None), model(image, k=1).image.clamp(0, 1))


MARK = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")


def sets():
    return [flat_set("GoPro-syn", 10, 5), flat_set("Real-LOLBlur-syn", 20, 3, truth=False)]


def half(image, pairs):
    return (image + 100 / 255) / 2


@pytest.mark.parametrize("stop_at", [1, 3, 8])
def test_interrupted_in_the_middle_of_a_set_it_ends_with_the_same_bytes(tmp_path, stop_at):
    calls = []

    def breaks(image, pairs):
        calls.append(1)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return half(image, pairs)

    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    expected = benchmark.score(sets(), {"input": blurred_input, "half": half}, progress=False, file=whole, mark=MARK)
    compared = {"input": blurred_input, "half": breaks}
    with pytest.raises(KeyboardInterrupt):
        benchmark.score(sets(), compared, progress=False, file=broken, mark=MARK)
    assert not broken.exists()
    with (tmp_path / "broken.csv.partial").open("ab") as stream:
        stream.write(b"GoPro-syn,0004_grass,inp")  # torn
    found = benchmark.score(sets(), compared, progress=False, file=broken, mark=MARK)
    assert broken.read_bytes() == whole.read_bytes() and not list(tmp_path.glob("*.partial*"))
    assert len(calls) == 9  # what was done is not done again
    pd.testing.assert_frame_equal(found, expected)
    straight = benchmark.score(sets(), compared, progress=False, mark=MARK)
    np.testing.assert_allclose(straight.psnr, expected.psnr, atol=1e-5)


def test_sets_without_ground_truth_have_no_psnr_and_say_so():
    scores = benchmark.score(sets(), {"input": blurred_input}, progress=False)
    alone = scores[scores["set"] == "Real-LOLBlur-syn"]
    assert alone.psnr.isna().all() and (alone.missing == "psnr: no ground truth; ssim: no ground truth").all()
    summary = summarise(scores).set_index("set")
    assert list(summary.index) == ["GoPro-syn", "Real-LOLBlur-syn", "Average"]
    assert math.isnan(summary.psnr["Average"]) and summary.psnr["GoPro-syn"] > 20
    text = report(intervals(scores))
    assert "missing" in text and "nan" not in text.lower()


def test_restored_pictures_are_kept_where_asked(tmp_path):
    benchmark.score(sets(), {"half": half}, progress=False, pictures=tmp_path)
    restored = images.read_photograph(benchmark.picture_file(tmp_path, "GoPro-syn", "half", "0001_chelsea"))
    torch.testing.assert_close(restored.pixels * 255, torch.full((3, 24, 18), 106.0), atol=0.5, rtol=0)


def test_what_other_rooms_measure_is_kept_and_compared_like_the_metrics(home):
    calls = []

    def distance(image, sharp):
        calls.append(image.shape)
        return (image - sharp).abs().mean()

    given = sets(), {"input": blurred_input, "half": half}, {}, MARK
    for _ in range(2):
        scores, folder = benchmark.run("further", *given, progress=False, further={"cnn_distance": distance})
    assert calls == [(1, 3, 24, 18)] * 10  # once, and not where there is no sharp picture
    assert scores.cnn_distance.isna().sum() == 6 and scores.cnn_distance[0] == pytest.approx(10 / 255, abs=1e-5)
    rows = difference(scores, "half", "input").set_index(["set", "metric"])
    assert rows.loc[("GoPro-syn", "cnn_distance"), "mean"] == pytest.approx(-6 / 255, abs=1e-4)
    _, other = benchmark.run("further", *given, progress=False)
    assert other != folder


def test_a_run_has_a_folder_and_is_loaded_the_second_time(home):
    compared = {"input": blurred_input, "half": half}
    scores, folder = benchmark.run("t", sets(), compared, {"weights": "a"}, MARK, progress=False)
    assert json.loads((folder / "config.json").read_text())["config"] == {"weights": "a"}

    def never(image, pairs):
        raise AssertionError("computed again")

    again, same = benchmark.run("t", sets(), {"input": never, "half": never}, {"weights": "a"}, MARK, progress=False)
    assert same == folder
    pd.testing.assert_frame_equal(again, scores)
    _, other = benchmark.run("t", sets(), compared, {"weights": "b"}, MARK, progress=False)
    assert other != folder


def test_intervals_come_from_scenes():
    rng = np.random.default_rng(0)
    rows = [
        {"set": "GoPro-syn", "image": f"{i:04d}_s{i % 6}", "method": m, "psnr": 20 + i % 6 + rng.random() + add}
        for i in range(60)
        for m, add in (("a", 0), ("b", 0.3))
    ]
    scores = pd.DataFrame(rows)
    one, two = intervals(scores), intervals(scores)
    pd.testing.assert_frame_equal(one, two)
    row = one[(one.method == "a") & (one.set == "GoPro-syn")].iloc[0]
    assert row["mean"] == pytest.approx(scores[scores.method == "a"].psnr.mean()) and row.scenes == 6
    means = scores.query("method == 'a'").groupby(scores.image.str[5:]).psnr.mean()
    assert row.high - row.low == pytest.approx(2 * 1.96 * means.std(ddof=0) / 6**0.5, rel=0.15)
    gain = difference(scores, "b", "a").iloc[0]
    assert gain.low < 0.3 < gain.high and gain.high - gain.low < (row.high - row.low) / 3
    single = intervals(scores[scores.image.str.endswith("s1")]).iloc[0]
    assert math.isnan(single.low) and single.images == 10
    with pytest.raises(ValueError, match="no scores of 'c'"):
        difference(scores, "c", "a")


def test_scenes():
    assert scene("GoPro-syn", "0003_chelsea") == "chelsea" and scene("GoPro", "0003_chelsea") == "0003_chelsea"
    assert scene("RealBlur", "scene002/7") == "scene002" and scene("HIDE", "1fromGOPR1096.MP4") == "1fromGOPR1096.MP4"


def test_nothing_is_taken_for_something_else(tmp_path):
    for bad, text in (([], "nothing to compare"), ([flat_set("A", 1), flat_set("A", 2)], "one name")):
        with pytest.raises(ValueError, match=text):
            benchmark.score(bad, {"input": blurred_input}, progress=False)
    assert benchmark.picture_file(tmp_path, "A", "k=1 x", "../b").relative_to(tmp_path).as_posix() == "A/k=1_x/_/b.png"


def test_sets_of_no_expert():
    model = shake(DeMoE(TINY))
    none = flat_set("LOLv2-real", 5)
    scores = benchmark.score([none], compared_methods(None, model), progress=False)
    assert scores[scores.method == "DeMoE manual"].psnr.isna().all() and scores.psnr.notna().sum() == 6


@pytest.mark.parametrize("room", ["core", "models", "inference", "evaluation", "blur", "data"])
def test_kept_scores_do_not_outlive_the_code_that_made_them(home, tmp_path, monkeypatch, room):
    """With another line in any room that a score passes through, the run has another folder."""
    compared = {"input": blurred_input}
    _, before = benchmark.run("code", sets(), compared, {}, MARK, progress=False)
    package = shutil.copytree(Path(provenance.__file__).parents[1], tmp_path / "demoe")
    monkeypatch.setattr(provenance, "__file__", str(package / "core/provenance.py"))
    provenance.code_hash.cache_clear()
    assert benchmark.run("code", sets(), compared, {}, MARK, progress=False)[1] == before
    source = next(file for file in sorted((package / room).glob("*.py")) if file.name != "__init__.py")
    source.write_text(source.read_text() + "# changed\n")
    provenance.code_hash.cache_clear()
    try:
        assert benchmark.run("code", sets(), compared, {}, MARK, progress=False)[1] != before
    finally:
        provenance.code_hash.cache_clear()
