from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake

from demoe.core import profiles
from demoe.core.tasks import DATASETS, EXPERTS
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.evaluation import router
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.moe import normalised_entropy
from demoe.models.nafnet import NAFNet, NAFNetConfig

TINY = DeMoEConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))


def noisy_set(name: str, count: int = 2) -> PairedSet:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (count, 3, 23, 17), dtype=torch.uint8, generator=generator)
    keys = [f"{i:04d}_grass" for i in range(count)]
    return PairedSet(name, "synthetic", keys, lambda i, window: (pictures[i], None), lambda i: (23, 17))


def some_probabilities(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(5, 0.7), count)


@pytest.mark.parametrize(
    "model", [DeMoE(TINY), NAFNet(NAFNetConfig(4, (1,), 1, (1,), router=True))], ids=["DeMoE", "baseline with a router"]
)
def test_the_view_without_a_decoder_is_that_of_the_whole_network(model):
    sets = [noisy_set("RealDOF-syn"), noisy_set("GoPro-syn", 3), noisy_set("HIDE")]
    shake(model).train()
    view = router.router_view(model, sets)
    assert model.training
    model.eval()
    pictures = [pairs.pair(i)[0][None] for pairs in sets for i in range(len(pairs))]
    with torch.no_grad():
        logits = torch.cat([model(picture).logits for picture in pictures])
        y, _ = model.encode(torch.nn.functional.pad(pictures[0], (0, 1, 0, 1)))
    assert np.allclose(view.probabilities, logits.softmax(1), atol=1e-6)
    table = view.table
    assert list(table.label) == ["defocus"] * 2 + ["synth_global_motion"] * 3 + [""] * 2
    assert (table.predicted == table[list(EXPERTS)].idxmax(axis=1)).all() and table.correct.isna().sum() == 2
    assert (table.correct == (table.predicted == table.label))[:5].all()
    assert view.features.shape == (7, 8) and np.allclose(view.features[0], y.mean((2, 3))[0], atol=1e-5)


def test_reference_sets_keep_away_from_the_test_sets(monkeypatch, tmp_path):
    asked = []

    def one_set(name, setting, split):
        asked.append(split)
        return noisy_set(f"{name} {split}", {"train": 450, "val": 7}[split])

    monkeypatch.setattr(router.aio_blur, "one_set", one_set)
    known, held_out = router.reference_sets(Setting(profiles.get("test")))
    assert [pairs.name for pairs in known] == [f"{name} train" for name in DATASETS] and set(asked) == {"train", "val"}
    assert {len(pairs) for pairs in known} == {100} and {len(pairs) for pairs in held_out} == {7}
    assert known[0].keys[0] == "0000_grass" and known[0].keys[-1] == "0445_grass"
    asked.clear()
    known, held_out = router.reference_sets(Setting.of("test", data_root=tmp_path))  # real: no "val" of all sets
    assert set(asked) == {"train"} and {len(pairs) for pairs in (*known, *held_out)} == {100}
    assert not set(known[0].keys) & set(held_out[0].keys)


def test_signs_of_tests_and_of_held_out_pictures_are_against_the_same_known_ones(monkeypatch):
    model, test = shake(DeMoE(TINY)), noisy_set("HIDE")
    known, held_out = noisy_set("GoPro-syn", 6), noisy_set("DPDD-syn", 3)
    monkeypatch.setattr(router, "reference_sets", lambda setting: ([known], [held_out]))
    seen, held, name = router.signed(model, Setting(profiles.get("test")), [test])
    features = router.router_view(model, [known]).features
    for table, pairs in ((seen, test), (held, held_out)):
        expected = router.add_signs(router.router_view(model, [pairs]), features)
        pd.testing.assert_frame_equal(table, expected)
    assert name == "held-out" and len(held) == 3


def test_what_real_networks_have_seen_is_not_called_held_out():
    assert router.reference_name([noisy_set("GoPro-syn")]) == "held-out"
    assert router.reference_name([replace(noisy_set("GoPro"), data="real")]) == "training"


def test_distance_equals_the_slow_formulation():
    rng = np.random.default_rng(0)
    known, features = rng.normal(size=(9, 6)), rng.normal(size=(4, 6))
    slow = []
    for one in features:
        every = sorted(np.linalg.norm(one / np.linalg.norm(one) - other / np.linalg.norm(other)) for other in known)
        slow.append(every[2])
    assert router.distance(features, known, 3) == pytest.approx(slow)
    assert router.distance(5 * features, known, 3) == pytest.approx(slow)  # only the direction counts
    assert router.distance(known, known, 1) == pytest.approx(np.zeros(9), abs=1e-7)
    few = router.distance(features, known[:2], 5)  # fewer than asked for: the farthest
    assert few == pytest.approx(
        np.maximum(router.distance(features, known[:1], 1), router.distance(features, known[1:2], 1))
    )


def test_thresholds_let_the_share_through():
    table = pd.DataFrame({"normalised_entropy": np.arange(101.0), "distance": np.arange(101.0)[::-1] / 10})
    assert router.thresholds(table, 0.9) == pytest.approx({"normalised_entropy": 90, "distance": 9.0})


def test_auroc_equals_the_slow_formulation():
    rng = np.random.default_rng(3)
    inside, outside = rng.integers(0, 6, 17).astype(float), rng.integers(2, 8, 11).astype(float)
    slow = np.mean([(o > i) + 0.5 * (o == i) for o in outside for i in inside])
    assert router.auroc(inside, outside) == pytest.approx(slow)
    assert router.auroc([0, 1], [2, 3]) == 1 and router.auroc([2, 3], [0, 1]) == 0 and router.auroc([1], [1]) == 0.5


def test_detection_counts_what_is_flagged():
    inside = pd.DataFrame({"set": "a", "normalised_entropy": [0.0, 1.0], "distance": [0.0, 0.0]})
    outside = pd.DataFrame({"set": ["b", "b"], "normalised_entropy": [2.0, 3.0], "distance": [0.0, 1.0]})
    found = router.detection(inside, outside, {"normalised_entropy": 0.5, "distance": 0.5}).set_index(["sign", "set"])
    assert (
        found.loc[("normalised_entropy", "inside"), "flagged"] == 0.5
        and found.loc[("normalised_entropy", "b"), "flagged"] == 1
    )
    assert found.loc[("normalised_entropy", "b"), "auroc"] == 1 and found.loc[("distance", "b"), "auroc"] == 0.75


def slow_error(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    total = 0.0
    for i in range(bins):
        chosen = [j for j, c in enumerate(confidence) if i / bins < c <= (i + 1) / bins or (i == 0 and c == 0)]
        if chosen:
            gap = np.mean([correct[j] for j in chosen]) - np.mean([confidence[j] for j in chosen])
            total += len(chosen) * abs(gap)
    return total / len(confidence)


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_calibration_error_equals_the_slow_formulation(bins):
    rng = np.random.default_rng(bins)
    confidence, correct = rng.random(53), rng.random(53) < 0.6
    diagram = router.reliability(confidence, correct, bins)
    assert router.calibration_error(diagram) == pytest.approx(slow_error(confidence, correct, bins))
    assert diagram["count"].sum() == 53 and len(diagram) == bins


def test_calibration_error_in_closed_cases():
    def error(confidence, correct):
        return router.calibration_error(router.reliability(np.array(confidence), np.array(correct)))

    assert error([1.0] * 4, [True] * 4) == 0
    assert error([1.0] * 4, [False] * 4) == 1
    assert error([0.75] * 4, [True, True, True, False]) == 0
    assert error([0.0, 1.0], [False, True]) == 0
    # A value on an edge belongs to the bin below: [0.5] in (0.4, 0.5].
    assert router.reliability(np.array([0.5]), np.array([1]))["count"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("confidence", "correct"), [([], []), ([0.5], [1, 0]), ([1.2], [1]), ([-0.1], [0])])
def test_calibration_refuses_what_is_no_confidence(confidence, correct):
    with pytest.raises(ValueError, match="reliability diagram"):
        router.reliability(np.array(confidence), np.array(correct))


def test_chance_error_is_what_a_calibrated_router_stays_below():
    rng = np.random.default_rng(0)
    confidence = np.random.default_rng(1).random(9)
    slow = [slow_error(confidence, rng.random(9) < confidence, 10) for _ in range(50)]
    assert router.chance_error(confidence, draws=50) == pytest.approx(np.quantile(slow, 0.95))
    few, many = (router.chance_error(np.full(count, 0.7), draws=200) for count in (10, 1000))
    assert 0 < many < 0.05 < few
    assert router.chance_error(np.ones(8), draws=20) == 0
    assert few == router.chance_error(np.full(10, 0.7), draws=200)


def test_temperature_is_found_again():
    rng = np.random.default_rng(0)
    right = some_probabilities(4000)
    truth = np.array([rng.choice(5, p=row) for row in right])
    for t in (0.5, 1.0, 3.0):
        sharpened = router.at_temperature(right, t)
        assert router.temperature(sharpened, truth) == pytest.approx(1 / t, rel=0.1)
    rows = router.at_temperature(right, 1.0)
    assert rows == pytest.approx(right, abs=1e-9)
    hot = router.at_temperature(right, 4.0)
    assert (hot.argmax(1) == right.argmax(1)).all()
    assert (normalised_entropy(hot) >= normalised_entropy(right) - 1e-12).all()


def test_the_temperature_of_a_table_is_that_of_its_labels():
    weights = some_probabilities(40)
    labels = np.arange(40) % 5
    table = pd.DataFrame(weights, columns=list(EXPERTS)).assign(label=[EXPERTS[label] for label in labels])
    assert router.fitted_temperature(table) == router.temperature(weights, labels)
    assert router.fitted_temperature(table) != router.temperature(weights, (labels + 1) % 5)


def test_calibration_leaves_out_what_has_no_label():
    table = pd.DataFrame(some_probabilities(8), columns=list(EXPERTS)).assign(label="defocus", set="DPDD-syn")
    table["image"] = [f"{i:04d}_p{i}" for i in range(8)]
    table["correct"] = pd.array(table[list(EXPERTS)].to_numpy().argmax(1) == 0, dtype="boolean")
    unknown = table.assign(label="", correct=pd.NA)
    bins, errors = router.calibration({"known": pd.concat([table, unknown]), "unknown": unknown}, 2.0)
    assert errors.group.tolist() == ["known", "known"] and errors.pictures.tolist() == [8, 8]
    assert errors.temperature.tolist() == [1.0, 2.0] and errors.confidence[1] < errors.confidence[0]
    assert bins.groupby("temperature")["count"].sum().tolist() == [8, 8]


def sure(confidence: float, right: int, count: int, scenes: int) -> pd.Series:
    """The row of a router as sure as that of each of ``count`` pictures of so many scenes, ``right`` of them so."""
    weights = np.full((count, len(EXPERTS)), (1 - confidence) / (len(EXPERTS) - 1))
    weights[:, 0] = confidence
    table = pd.DataFrame(weights, columns=list(EXPERTS)).assign(label=EXPERTS[0], set="DPDD-syn")
    table["image"] = [f"{i:04d}_p{i * scenes // count}" for i in range(count)]
    table["correct"] = pd.array([i % count < right for i in np.arange(count) * 7 % count], dtype="boolean")
    return router.calibration({"group": table}, 1.0)[1].iloc[0]


@pytest.mark.parametrize(
    ("confidence", "right", "count", "scenes", "verdict"),
    [
        (0.8, 800, 1000, 1000, "holds"),  # as right as sure, and all of the interval near it
        (0.8, 16, 20, 20, "undecided"),  # as right as sure, of so few that nothing is shown
        (0.8, 800, 1000, 5, "undecided"),  # of too few scenes
        (0.75, 940, 1000, 1000, "fails"),  # too little sure
        (0.95, 30, 100, 100, "fails"),  # too sure
    ],
)
def test_calibration_holds_by_evidence_alone(confidence, right, count, scenes, verdict):
    found = sure(confidence, right, count, scenes)
    assert found.verdict == verdict and found.gap_low <= found.gap <= found.gap_high
    assert found.gap == pytest.approx(right / count - confidence)


def test_an_error_within_chance_may_be_one_all_the_same():
    """84 % right and 75 % sure of 120 pictures: below the limit by a hair, and the interval leaves out 0."""
    row = {"ece": 0.10897, "ece_by_chance": 0.11001, "gap_low": 0.032, "gap_high": 0.157, "scenes": 80}
    assert router.calibrated(**row) == "fails"
    assert router.calibrated(**row | {"gap_low": -0.01}) == "undecided"
    assert router.calibrated(**row | {"gap_low": -0.01, "gap_high": 0.01}) == "holds"
    assert router.calibrated(**row | {"gap_low": -0.01, "gap_high": 0.01, "ece": 0.2}) == "fails"
