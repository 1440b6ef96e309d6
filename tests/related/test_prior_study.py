"""Notebook 12: the premise and the severe set measured, an image-level prior, and what the report says of both."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from demoe.core import profiles
from demoe.data.setting import Setting
from demoe.evaluation import statistics, trainings
from demoe.related import experiments as guests
from demoe.related import prior_claims, prior_report, prior_study, teachers, weight_files
from demoe.related.networks.unet import UNet
from demoe.related.prior import PriorStudent, with_prior

TINY = profiles.get("test", guest_steps=2, train_images=1, test_images=3, image_size=64)
SETTING = Setting(TINY, progress=False)


def test_kernels_keep_the_light():
    for kernel in prior_study.blurs().values():
        assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
    picture = torch.full((1, 3, 64, 64), 0.3)
    torch.testing.assert_close(prior_study.blurred(picture, kernel), picture)


def test_the_premise_is_told_from_what_is_not():
    """By the means of pixels blurred and sharp are closer than by pixels, by their differences further apart."""
    sharp, names = prior_study.photographs(8, 64)
    assert sharp.shape == (8, 3, 64, 64) and len(set(names)) >= 6
    looks = {
        prior_study.PIXELS: lambda x: {"": x},
        "coarse": lambda x: {"8": F.avg_pool2d(x, 8)},
        "edges": lambda x: {"x": x.diff(dim=-1)},
    }
    rows = prior_study.premise(sharp, names, looks)
    assert (rows["share"] > 0).all() and len(rows) == 3 * 6 * 8
    found = prior_study.premise_summary(rows).set_index(["features", "blur"])
    assert found.loc[("coarse, 8", "all")].verdict == "better" and found.loc[("edges, x", "all")].verdict == "worse"
    assert found.loc[(prior_study.PIXELS, "all")]["mean"] == 0
    motions = [found.loc[("pixels", f"motion {n} px")]["share"] for n in (7, 17, 25, 41)]
    assert motions == sorted(motions)
    one, other = prior_claims.premise_claims(found.reset_index())
    assert (one.verdict, other.verdict) == ("holds", "fails") and one.id == "prior-premise-coarse-8"


def test_the_severe_set_has_one_scene_under_growing_motions(home):
    sets = prior_study.severe(SETTING)
    assert [pairs.name for pairs in sets] == ["GoPro-x0.5-syn", "GoPro-x1-syn", "GoPro-x2-syn", "GoPro-x4-syn"]
    for i in range(3):
        lengths = [prior_study.strength(pairs.notes[i]) for pairs in sets]
        assert lengths == sorted(lengths) and lengths[-1] > 2 * lengths[0]
        assert len({pairs.keys[i] for pairs in sets}) == 1
    errors = [(pairs.pair(0)[0] - pairs.pair(0)[1]).square().mean() for pairs in sets]
    assert errors[-1] > errors[0]
    scores = pd.DataFrame(
        [(pairs.name, key, "Net0", 20.0) for pairs in sets for key in pairs.keys],
        columns=["set", "image", "method", "psnr"],
    )
    found = prior_study.by_strength(scores, sets)
    assert found.image.is_unique and (found["strength"] <= 48).all()
    scenes = {statistics.scene(*row) for row in zip(found["set"], found.image, strict=True)}
    assert scenes == {key.split("_", 1)[1] for key in sets[0].keys}


@pytest.mark.parametrize("image", ["probability", "one-hot"])
def test_an_image_level_prior_is_the_students_idea_of_classes(image):
    torch.manual_seed(0)
    network, student = UNet(4), PriorStudent((4, 6, 8), (3, 3, 3))
    student.teacher_mean.fill_(0.3)
    student.teacher_variance.fill_(0.04)
    model, x = with_prior(network, student, mla=False, clc=False, image=image), torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(x)[-1], network(x)[-1], atol=1e-6, rtol=0)  # the identity at the start
    entered = model.embedded(model.priors(x))
    mapped = student.mapped(student(x))
    if image == "probability":
        torch.testing.assert_close(entered, [0.2 * one + 0.3 for one in mapped])
    else:
        assert all((one.sum(1) == 1).all() and set(one.unique().tolist()) <= {0, 1} for one in entered)
        assert (entered[0].argmax(1) == mapped[0].argmax(1)).all()
    torch.nn.init.normal_(model.network.fusions[2].attention.mu[-1].weight)
    model(x)[-1].sum().backward()
    learns = any(p.grad is not None and p.grad.any() for p in student.parameters())
    assert learns == (image == "probability")  # nothing comes back through a choice
    with pytest.raises(ValueError, match="leave mla out"):
        with_prior(network, student, image=image)


def test_segments_are_probabilities():
    try:
        teacher = teachers.segments()
    except weight_files.WeightsMissing as error:
        pytest.skip(str(error))
    maps = teacher(torch.rand(1, 3, 40, 64))
    assert [tuple(one.shape) for one in maps] == [(1, 8, 10, 16), (1, 8, 5, 8), (1, 8, 3, 4)]
    assert all(torch.allclose(one.sum(1), torch.ones(())) for one in maps)
    again = teachers.segments()(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(again, teacher(torch.ones(1, 3, 32, 32)))


def test_every_row_of_the_notebook_is_an_experiment():
    rows = prior_report.rows(SETTING)
    assert rows["Net6 + L_cnn"].loss[-1][0] == "cnn" and rows["Net6"].loss == (("pixel", 1.0), ("prior", 0.1))
    for label in prior_report.EXPERIMENTS.values():
        one, other = rows[label], rows[label + "+SP"]
        assert other.loss[-1] == ("prior", 0.1) and other.loss[:-1] == one.loss
        assert replace(one.network, mode="sat") == other.network
    paper = guests.specs(Setting(profiles.get("paper"), progress=False))["prior-net6"]
    assert (paper.steps, paper.batch, paper.patch) == (147_210, 10, 256) and paper.network.sizes == (32,)
    assert {"learning_rate": 2e-4, "betas": (0.9, 0.999)}.items() <= dict(paper.recipe).items()


def test_published_sizes_of_the_networks():
    rows = prior_report.rows(Setting(profiles.get("paper"), progress=False))
    labels = ("MIMO-UNet", "MIMO-UNet+SP", "MIMO-UNet+", "MIMO-UNet++SP")
    found = prior_study.costs({label: rows[label] for label in labels}).set_index("network")
    assert found.params["MIMO-UNet"] == 6_807_171 and found.macs["MIMO-UNet+SP"] > found.macs["MIMO-UNet"]
    claim, other = prior_claims.cost_claims(found.reset_index())
    assert (
        claim.ours > 1 and claim.published == pytest.approx(0.043 / 0.019) and other.id == "prior-cost-mimo-unet-plus"
    )


def test_rows_are_trained_side_by_side_and_the_missing_named(home, monkeypatch):
    monkeypatch.delenv("DEMOE_TRESNET", raising=False)
    setting = replace(SETTING, profile=profiles.get("test", guest_steps=2, train_images=1, image_size=64, threads=1))
    known = guests.specs(setting)
    names = ("prior-net0", "prior-net6-random", "prior-net6-tresnet")
    runs, missing = guests.obtain_all([known[name] for name in names], setting)
    assert set(runs) == set(names[:2]) and "DEMOE_TRESNET" in missing["prior-net6-tresnet"]
    assert "prior-random" in runs["prior-net6-random"].metrics


def scores(gain):
    """Ten scenes: Net0 1 dB above its input, Net6 ``gain`` above it, the random teacher 0.3, the wide Net0 0.2."""
    above = {"input": -1, "Net0": 0, "Net6": gain, prior_report.RANDOM: 0.3, prior_report.WIDE: 0.2, "Net3": 0.1}
    noise = np.random.default_rng(0).normal(0, 0.02, (10, len(above)))
    rows = [
        ("GoPro-syn", f"{i:04d}_s{i}", name, 25 + i / 10 + value + noise[i, j], 0.8, float("nan"))
        for i in range(10)
        for j, (name, value) in enumerate(above.items())
    ]
    return pd.DataFrame(rows, columns=["set", "image", "method", "psnr", "ssim", "lpips_vgg"])


def test_the_controls_decide_whether_a_gain_survives():
    for gain, verdict in ((0.5, "holds"), (0.25, "fails"), (0.2, "fails")):
        found = {one.id: one for one in prior_claims.gains(prior_report.compared(scores(gain)), 1.0)}
        assert found["prior-survives"].verdict == verdict
        assert found["prior-t4-net6"].verdict == "better" and found["prior-t4-net6"].published == pytest.approx(0.7722)
        assert found["prior-t4-unstable"].verdict == "fails" and found["prior-t1-unet"].published == pytest.approx(0.77)


@pytest.mark.parametrize(
    ("rho", "p", "holds"), [(0.9, 0.01, True), (0.9, 0.06, None), (0.0, 0.6, False), (-0.5, 0.9, False)]
)
def test_an_order_of_few_rows_is_neither_confirmed_nor_refuted(rho, p, holds):
    assert prior_claims.ordered(trainings.Order(rho, p, 7, True)) is holds
    assert prior_claims.ordered(trainings.order([1, 2, 3], [2, 2, 2])) is None  # no order at all
    verdicts = [
        {one.id: one.verdict for one in prior_claims.gains(prior_report.compared(scores(gain)), 1.0)}["prior-t4-order"]
        for gain in (0.5, -0.3)
    ]
    assert verdicts == ["undecided", "fails"]  # three rows in perfect order have p = 1/6


def test_nothing_is_judged_where_net0_does_not_beat_its_input():
    table = scores(0.5)
    table.loc[table.method == "input", "psnr"] += 2
    found = {one.id: one for one in prior_claims.gains(prior_report.compared(table), 1.0)}
    kinds = {
        found[name].verdict for name in ("prior-t4-net6", "prior-survives", "prior-t4-order", "prior-control-wide")
    }
    assert kinds == {"undecided"} and found["prior-basis"].verdict == "worse"


def test_tables_keep_the_papers_numbers_apart():
    table, missing = scores(0.5), pd.DataFrame([("Net5", "weights are not here")], columns=["method", "missing"])
    saved = {"12_scores": table, "12_differences": prior_report.compared(table), "12_missing": missing}
    found = prior_report.table_4(saved.get)
    assert found.loc["Net6", ("PSNR / LPIPS", "paper")] == "31.0608 / 0.0745"
    assert found.loc["Net6", ("verdict", "GoPro-syn")] == "better"
    assert found.loc["Net5", ("verdict", "GoPro-syn")] == "weights are not here"
    one = prior_report.table_1(saved.get)
    assert (
        one.loc["UNet+SP", ("s", "paper")] == "0.170"
        and one.loc["SRN [4]", ("PSNR / SSIM / LPIPS", "GoPro-syn")] == "–"
    )
    three = prior_report.table_3(saved.get)
    assert three.loc["UNet", "paper: gain"] == "+0.77" and three.loc["UNet", "verdict"] == "better"
    assert prior_report.table_2(saved.get).loc["UNet", ("HIDE", "paper")] == "27.92 / 0.915"
