"""What differs by more than noise, and whether an order is the paper's: against brute force and made-up scores."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from demoe.evaluation import statistics


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
    found = statistics.compare(
        scores({"a": 0, "up": 1, "down": -1, "same": 0}), {"a": "a", "up": "a", "down": "a", "same": "a"}
    ).set_index("method")
    assert found.sign.to_dict() == {"a": 0, "up": 1, "down": -1, "same": 0}
    assert found.difference["up"] == pytest.approx(1, abs=0.05) and (found.trainings == 3).all()
    for name in ("up", "down"):
        row = found.loc[name]
        assert row.low < row.difference < row.high and row.low_trainings < row.difference < row.high_trainings


def test_student_and_spread_against_scipy():
    table = scores({"a": 0, "b": 0.1}, count=4)
    row = statistics.compare(table, {"b": "a"}).iloc[0]
    by = table.groupby(["training", "method"]).psnr.mean().unstack()
    wanted = stats.ttest_rel(by["b"], by["a"]).confidence_interval(0.95)
    assert (row.low_trainings, row.high_trainings) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    assert row.spread == pytest.approx(by["b"].std()) and row.psnr == pytest.approx(by["b"].mean())


def test_another_training_can_undo_what_the_pictures_show():
    """Each training shifts a method by far more than the pictures differ: no difference is told."""
    effects = {"a": 0, "b": 0.02}
    quiet = scores(effects, images=30, noise=0.001, wander=0)
    loud = quiet.assign(psnr=quiet.psnr + (quiet.method == "b") * quiet.training.map({0: 0.5, 1: -0.5, 2: 0.1}))
    assert statistics.compare(quiet, {"b": "a"}).sign.item() == 1
    assert statistics.compare(loud, {"b": "a"}).sign.item() == 0


def test_one_training_has_no_spread_and_a_hidden_digit_is_no_difference():
    row = statistics.compare(scores({"a": 0, "b": 1}, count=1), {"b": "a"}).iloc[0]
    assert math.isnan(row.spread) and math.isnan(row.low_trainings) and row.sign == 1
    tiny = statistics.compare(scores({"a": 0, "b": 0.001}, noise=0, wander=0), {"b": "a"}).iloc[0]
    assert tiny.low > 0 and tiny.sign == 0


def test_missing_methods_and_unequal_seeds_are_refused():
    table = scores({"a": 0, "b": 1})
    with pytest.raises(ValueError, match="no scores of 'c': choose from a, b"):
        statistics.compare(table, {"c": "a"})
    with pytest.raises(ValueError, match="not the same seeds"):
        statistics.compare(table[(table.method == "a") | (table.training == 0)], {"b": "a"})


@pytest.mark.parametrize("ours", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 2, 5, 1), (0.3, 0.1, 0.2, 0.9)])
def test_order_against_brute_force(ours):
    published = (10, 20, 30, 25)
    found = statistics.order(published, ours)
    rho = stats.spearmanr(published, ours).statistic
    every = [stats.spearmanr(published, one).statistic for one in itertools.permutations(ours)]
    assert found.rho == pytest.approx(rho) and found.exact
    assert found.p == pytest.approx(np.mean(np.array(every) >= rho - 1e-9))


def test_order_of_many_rows_is_drawn_and_reproducible():
    rng = np.random.default_rng(0)
    published, ours = rng.random(12), rng.random(12)
    found = statistics.order(published, ours)
    wanted = stats.spearmanr(published, ours, alternative="greater")
    assert not found.exact and found.rho == pytest.approx(wanted.statistic)
    assert found.p == pytest.approx(wanted.pvalue, abs=0.03) and found == statistics.order(published, ours)
    assert statistics.order(published, published).p == pytest.approx(1 / 20_001)


def test_no_order_without_differences():
    assert math.isnan(statistics.order([1, 2, 3], [5, 5, 5]).rho) and math.isnan(statistics.order([1], [2]).p)
    with pytest.raises(ValueError, match="got 2 and 3"):
        statistics.order([1, 2], [1, 2, 3])


def test_experts_in_use():
    one = np.array([[1.0, 0, 0, 0, 0]])
    assert statistics.experts_in_use(one) == pytest.approx(1, abs=1e-6)
    assert statistics.experts_in_use(np.full((3, 5), 0.2)) == pytest.approx(5)
    sure = np.array([[0.9, 0.025, 0.025, 0.025, 0.025]])
    assert statistics.experts_in_use(sure, 2.0, draws=500) > statistics.experts_in_use(sure) + 0.1
