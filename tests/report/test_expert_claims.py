import pandas as pd

from demoe.analysis.encoders import NO_NETWORK, PICTURED, POOLED
from demoe.analysis.experts import SCALES
from demoe.analysis.similarity import KINDS
from demoe.report import expert_claims as claims
from demoe.tasks import EXPERTS

SETS = ["DPDD-syn", "RealBlur-syn", "ReLoBlur-syn", "GoPro-syn", "LOLBlur-syn"]


def correlations(others: float, norms: float) -> pd.DataFrame:
    return pd.DataFrame({"kind": KINDS, "value": [others, others, norms, others]})


def matrix(own: float, rest: float, count: int = 5) -> pd.DataFrame:
    """``own`` for a set's own expert on the first ``count`` sets, ``rest`` everywhere else."""
    table = pd.DataFrame(rest, index=SETS, columns=["input", "router", *EXPERTS])
    for i, name in enumerate(SETS[:count]):
        table.loc[name, EXPERTS[i]] = own
    return table


def test_weights_are_judged_against_the_start():
    paper = claims.weights("random", correlations(0.05, 0.8), correlations(0.0, float("nan")))
    assert "very similar, as the paper says" in paper and "no significant correlation, as the paper says" in paper
    assert "as unalike as they started" in paper and "LayerNorm 0.80" in paper
    copied = claims.weights("pretrained", correlations(0.95, 0.2), correlations(1.0, 1.0))
    assert "little if any" in copied and "are correlated, unlike in the paper" in copied
    assert "as alike as they started" in copied
    parted = claims.weights("pretrained", correlations(0.1, 0.9), correlations(1.0, 1.0))
    assert "which has changed it to 0.10" in parted


def test_the_matrix_decides_on_specialisation():
    every = claims.specialisation("random", matrix(30.0, 29.0))
    assert "best on 5 of 5 sets, on average +1.00 dB" in every and "they have specialised" in every
    most = claims.specialisation("random", matrix(30.0, 29.0, 3))
    assert "3 of 5 sets (DPDD-syn, RealBlur-syn, ReLoBlur-syn)" in most and "most experts" in most
    few = claims.specialisation("random", matrix(30.0, 29.0, 1))
    assert "1 of 5 sets (DPDD-syn)" in few and "better by another blur's expert" in few
    worse = claims.specialisation("random", matrix(28.0, 29.0))
    assert "0 of 5 sets, on average -1.00 dB" in worse and "better by another blur's expert" in worse
    assert "interchangeable" in claims.specialisation("random", matrix(29.01, 29.0))


def test_movement_names_who_went_farthest():
    rows = [{"expert": name, "kind": KINDS[0], "change": 0.1 * (i + 1), "correlation": 0.9}
            for i, name in enumerate(EXPERTS)]
    rows += [{"expert": name, "kind": SCALES, "change": 0.25, "correlation": float("nan")} for name in EXPERTS]
    text = claims.movement("random", pd.DataFrame(rows))
    assert "10.0% to 50.0%" in text and "low_light farthest, defocus least" in text and "0.250" in text
    even = pd.DataFrame([row | {"change": 0.1} for row in rows])
    assert "about as far as each other" in claims.movement("random", even)


def encoders(random: float, trained: tuple[float, float], plain: float, among: float, against: float) -> list[str]:
    knn = {"random weights": random, "with": trained[0], "without": trained[1], NO_NETWORK: plain}
    numbers = pd.DataFrame([{"reading": POOLED, "baseline": name, "knn": value, "knn_shuffled": 0.2}
                            for name, value in knn.items()])
    numbers = pd.concat([numbers, numbers.assign(reading=PICTURED, knn=0.99)])  # the other reading is not judged
    alike = pd.DataFrame([("random weights", "with", against), ("random weights", "without", against),
                          ("with", "without", among)], columns=["first", "second", "cka"])
    return claims.encoders(numbers, alike, "random weights")


def test_encoder_features_in_words():
    paper = " ".join(encoders(0.22, (0.9, 0.8), 0.25, 0.95, 0.3))
    for part in ("better than random ones, as the paper says", "random weights separate nothing, as in the paper",
                 "0.90 with, 0.80 without", "does not tell its set", "remarkably similar, as the paper says:"):
        assert part in paper, part
    other = " ".join(encoders(0.6, (0.9, 0.6), 0.95, 0.9, 0.89))
    for part in ("better than random ones only with;", "separate them too, unlike in the paper", "more than the best",
                 "not only its blur", "but hardly more than with random weights"):
        assert part in other, part
    none = " ".join(encoders(0.6, (0.5, 0.6), 0.5, 0.5, 0.2))
    assert "no better than random ones" in none and "not remarkably similar, unlike in the paper" in none
