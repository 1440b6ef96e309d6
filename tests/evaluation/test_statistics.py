"""What differs by more than noise, and whether an order is the paper's: against brute force and made-up scores."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from demoe.evaluation import router, statistics, trainings


def scores(effects: dict[str, float], count=3, images=8, noise=0.02, wander=0.01):
    """Every method is the same pictures plus its effect, noise a picture and a shift a training."""
    rng = np.random.default_rng(0)
    rows = []
    for training, (method, effect) in itertools.product(range(count), effects.items()):
        shift = wander * rng.standard_normal()
        for name, image in itertools.product(("GoPro-syn", "DPDD-syn"), range(images)):
            psnr = 20 + image + effect + shift + noise * rng.standard_normal()
            rows.append(
                {
                    "training": training,
                    "set": name,
                    "image": f"{image}_p{image}",
                    "method": method,
                    "psnr": psnr,
                    "ssim": 0.5,
                }
            )
    return pd.DataFrame(rows)


def test_clear_differences_are_told_and_small_ones_are_not():
    found = trainings.compare_trainings(
        scores({"a": 0, "up": 1, "down": -1, "same": 0}), {"a": "a", "up": "a", "down": "a", "same": "a"}
    ).set_index("method")
    assert found.verdict.to_dict() == {"a": "undecided", "up": "better", "down": "worse", "same": "undecided"}
    assert found.difference["up"] == pytest.approx(1, abs=0.05) and (found.trainings == 3).all()
    for name in ("up", "down"):
        row = found.loc[name]
        assert row.low < row.difference < row.high and row.low_trainings < row.difference < row.high_trainings


def test_student_and_spread_against_scipy():
    table = scores({"a": 0, "b": 0.1}, count=4)
    row = trainings.compare_trainings(table, {"b": "a"}).iloc[0]
    by = table.groupby(["training", "method"]).psnr.mean().unstack()
    wanted = stats.ttest_rel(by["b"], by["a"]).confidence_interval(0.95)
    assert (row.low_trainings, row.high_trainings) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    assert row.spread == pytest.approx(by["b"].std()) and row.psnr == pytest.approx(by["b"].mean())


def test_less_is_better_where_the_metric_says_so():
    table = scores({"a": 0, "up": 1, "down": -1}).rename(columns={"psnr": "mae"})
    found = trainings.compare_trainings(table, {"up": "a", "down": "a"}, metric="mae").set_index("method")
    assert found.verdict.to_dict() == {"up": "worse", "down": "better"} and found.difference["up"] > 0


def test_another_training_can_undo_what_the_pictures_show():
    """Each training shifts a method by far more than the pictures differ: no difference is told."""
    effects = {"a": 0, "b": 0.02}
    quiet = scores(effects, images=30, noise=0.001, wander=0)
    loud = quiet.assign(psnr=quiet.psnr + (quiet.method == "b") * quiet.training.map({0: 0.5, 1: -0.5, 2: 0.1}))
    assert trainings.compare_trainings(quiet, {"b": "a"}).verdict.item() == "better"
    assert trainings.compare_trainings(loud, {"b": "a"}).verdict.item() == "undecided"


def test_one_training_has_no_spread_and_a_hidden_digit_is_no_difference():
    row = trainings.compare_trainings(scores({"a": 0, "b": 1}, count=1), {"b": "a"}).iloc[0]
    assert math.isnan(row.spread) and math.isnan(row.low_trainings) and row.verdict == "better"
    tiny = trainings.compare_trainings(scores({"a": 0, "b": 0.001}, noise=0, wander=0), {"b": "a"}).iloc[0]
    assert tiny.low > 0 and tiny.verdict == "no difference"


def test_missing_methods_and_unequal_seeds_are_refused():
    table = scores({"a": 0, "b": 1})
    with pytest.raises(ValueError, match="no scores of 'c': choose from a, b"):
        trainings.compare_trainings(table, {"c": "a"})
    with pytest.raises(ValueError, match="not trained from the same seeds"):
        trainings.compare_trainings(table[(table.method == "a") | (table.training == 0)], {"b": "a"})


@pytest.mark.parametrize("ours", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 2, 5, 1), (0.3, 0.1, 0.2, 0.9)])
def test_order_against_brute_force(ours):
    published = (10, 20, 30, 25)
    found = trainings.order(published, ours)
    rho = stats.spearmanr(published, ours).statistic
    every = [stats.spearmanr(published, one).statistic for one in itertools.permutations(ours)]
    assert found.rho == pytest.approx(rho) and found.exact
    assert found.p == pytest.approx(np.mean(np.array(every) >= rho - 1e-9))


def test_order_of_many_rows_is_drawn_and_reproducible():
    rng = np.random.default_rng(0)
    published, ours = rng.random(12), rng.random(12)
    found = trainings.order(published, ours)
    wanted = stats.spearmanr(published, ours, alternative="greater")
    assert not found.exact and found.rho == pytest.approx(wanted.statistic)
    assert found.p == pytest.approx(wanted.pvalue, abs=0.03) and found == trainings.order(published, ours)
    assert trainings.order(published, published).p == pytest.approx(1 / 20_001)


def test_no_order_without_differences():
    assert math.isnan(trainings.order([1, 2, 3], [5, 5, 5]).rho) and math.isnan(trainings.order([1], [2]).p)
    with pytest.raises(ValueError, match="got 2 and 3"):
        trainings.order([1, 2], [1, 2, 3])


def test_experts_in_use():
    one = np.array([[1.0, 0, 0, 0, 0]])
    assert router.experts_in_use(one) == pytest.approx(1, abs=1e-6)
    assert router.experts_in_use(np.full((3, 5), 0.2)) == pytest.approx(5)
    sure = np.array([[0.9, 0.025, 0.025, 0.025, 0.025]])
    assert router.experts_in_use(sure, 2.0, draws=500) > router.experts_in_use(sure) + 0.1
    assert router.experts_in_use(one, 1.0, draws=500) < 1.01
    assert router.experts_in_use(one, 0.2, draws=500, on="weights") > 1.3


NAN = math.nan
ROWS = {  # difference, low, high, scenes: what five rules once called by up to three different words
    (0.004, 0.0012, 0.0075, 9): "undecided",
    (0.020, 0.0003, 0.040, 9): "undecided",
    (0.40, NAN, NAN, 1): "undecided",
    (0.40, 0.1, 0.7, 3): "undecided",
    (0.40, 0.1, 0.7, 9): "better",
    (-0.40, -0.7, -0.1, 9): "worse",
    (0.001, -0.004, 0.004, 9): "no difference",
    (0.0, 0.0, 0.0, 9): "no difference",
    (0.005, 0.005, 0.005, 6): "better",  # "counts" begins at the smallest difference itself
    (-0.1, -0.3, 0.2, 9): "undecided",
    (NAN, NAN, NAN, 0): "undecided",
}


@pytest.mark.parametrize("row, word", ROWS.items())
def test_one_rule_says_whether_a_difference_is_one(row, word):
    verdict = statistics.judge(*row)
    assert verdict.word == str(verdict) == word and verdict.reason
    assert verdict.sign == {"better": 1, "worse": -1}.get(word, 0)


def test_why_nothing_is_decided():
    reasons = [statistics.judge(*row).reason for row in list(ROWS)[1:4]]
    assert "less and of more than 0.005" in reasons[0]
    assert "no interval" in reasons[1] and "3 scenes, fewer than 6" in reasons[2]


DECIDED = ("better", "worse", "no difference")


@pytest.mark.parametrize("seed", range(300))
def test_laws_of_the_verdict(seed):
    rng = np.random.default_rng(seed)
    low, difference, high = np.sort(rng.normal(0, 0.2, 3).round(4)) * rng.choice([0.01, 0.1, 1])
    scenes, more, wider, smallest = rng.integers(12), rng.integers(9), rng.exponential(0.1), rng.exponential(0.03)

    def judge(shift=0.0, wider=0.0, more=0, smallest=smallest, **also):
        row = (difference + shift, low + shift - wider, high + shift + wider, scenes + more)
        return statistics.judge(*row, smallest=smallest, **also)

    word = judge().word
    opposite = {"better": "worse", "worse": "better"}.get(word, word)
    assert statistics.judge(-difference, -high, -low, scenes, smallest=smallest).word == opposite
    assert judge(metric="niqe").word == opposite  # of which less is better
    if word in DECIDED:  # more scenes, or a narrower interval, undo nothing
        assert judge(more=more).word == word
        assert statistics.judge(difference, difference, difference, scenes, smallest=smallest).word == word
    else:  # and fewer scenes, or a wider interval, decide nothing
        assert judge(more=-more).word == judge(wider=wider).word == "undecided"
    assert judge(shift=wider).sign >= judge().sign  # what grows does not become worse
    larger = judge(smallest=smallest + wider)
    assert larger.word == word or larger.sign == 0  # a coarser ruler finds no more differences


def test_several_trainings_must_agree_with_the_pictures():
    row = (0.4, 0.1, 0.7, 9)
    assert statistics.judge(*row, trainings=3, low_trainings=0.2, high_trainings=0.6).word == "better"
    assert statistics.judge(*row, trainings=3, low_trainings=-0.2, high_trainings=1.0).word == "undecided"
    assert statistics.judge(*row, trainings=3).word == "undecided"
    assert "of one training each" in statistics.judge(*row).reason


def test_a_metric_has_its_own_smallest_difference():
    assert statistics.judge(0.002, 0.001, 0.003, 9).word == "no difference"
    assert statistics.judge(0.002, 0.001, 0.003, 9, metric="ssim").word == "better"
    assert statistics.judge(0.002, 0.001, 0.003, 9, metric="lpips_vgg").word == "worse"


def test_what_cannot_be_judged_is_refused():
    for row, more in (((0, 1, -1, 9), {}), ((0, 0, 1, 9), {"smallest": 0}), ((0, 0, 1, 9), {"metric": "beauty"})):
        with pytest.raises(ValueError):
            statistics.judge(*row, **more)


def test_a_difference_says_in_how_many_scenes_a_picture_changes():
    part = scores({"a": 0, "b": 0}, count=1, noise=0, wander=0).drop(columns="training")
    moved = (part.method == "b") & (part["set"] == "DPDD-syn") & part.image.isin(["1_p1", "4_p4"])
    part.loc[moved, "psnr"] += 0.5
    found = statistics.difference(part, "b", "a").set_index(["metric", "set"]).changed_scenes
    assert found["psnr"].to_dict() == {"GoPro-syn": 0, "DPDD-syn": 2, "Average": 2}  # of the set that carries the mean
    assert (found["ssim"] == 0).all()


def test_the_average_without_lolblur_is_that_of_the_other_sets_alone():
    part = scores({"a": 0, "b": 0.1}, count=1).drop(columns="training")
    dark = part[part["set"] == "DPDD-syn"].assign(set="LOLBlur-syn")
    dark.loc[dark.method == "b", "psnr"] += 5
    both = statistics.with_and_without(pd.concat([part, dark]), [("b", "a")])
    columns = ["mean", "low", "high", "scenes", "changed_scenes"]
    found = both.set_index(["metric", "set"]).loc[("psnr", statistics.WITHOUT), columns]
    alone = (
        statistics.difference(part, "b", "a").set_index(["metric", "set"]).loc[("psnr", statistics.AVERAGE), columns]
    )
    assert found.tolist() == alone.tolist()
    assert statistics.WITHOUT not in set(statistics.with_and_without(part, [("b", "a")])["set"])  # nothing to leave out
    assert statistics.WITHOUT not in set(
        statistics.with_and_without(dark, [("b", "a")])["set"]
    )  # nothing would be left
