import pandas as pd

from demoe.core.tasks import EXPERTS
from demoe.evaluation.embedding import NO_NETWORK, PICTURED, POOLED
from demoe.evaluation.expert_specialisation import SCALES
from demoe.evaluation.weight_similarity import KINDS
from demoe.report import expert_claims as claims

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
    assert "little if any) (1.00 before training)" in copied and "are correlated, unlike in the paper" in copied
    assert "as alike as they started" in copied
    parted = claims.weights("pretrained", correlations(0.1, 0.9), correlations(1.0, 1.0))
    assert "which has changed it to 0.10" in parted


def judged(own: float, rest: float, count: int = 5, spread: float = 0.1, before: float | None = None) -> str:
    """The sentence for four pictures a set, whose PSNR lies ``spread`` above and below the means."""
    table = matrix(own, rest, count)
    table["input"] = rest if before is None else before
    rows = [
        {"set": name, "image": i, "method": expert, "psnr": table.loc[name, expert] + spread * (-1) ** (i // (j + 1))}
        for name in SETS
        for i in range(4)
        for j, expert in enumerate(EXPERTS)
    ]
    return claims.specialisation("random", table, pd.DataFrame(rows))


def test_the_matrix_decides_on_specialisation():
    every = judged(30.0, 29.0)
    assert "on 5 of 5 sets; its mean is +1.00 dB" in every and "they have specialised" in every
    assert "untouched input" not in every
    most = judged(30.0, 29.0, 3)
    assert "3 of 5 sets (DPDD-syn, RealBlur-syn, ReLoBlur-syn)" in most and "most experts" in most
    few = judged(30.0, 29.0, 1)
    assert "1 of 5 sets (DPDD-syn)" in few and "not clearly the best" in few
    worse = judged(28.0, 29.0)
    assert "0 of 5 sets; its mean is -1.00 dB" in worse and "not clearly the best" in worse
    assert "interchangeable" in judged(29.01, 29.0, spread=0)


def test_a_lead_within_its_error_is_none():
    assert "on 5 of 5 sets" in judged(29.5, 29.0, spread=0.1)
    assert "on 5 of 5 sets" not in judged(29.5, 29.0, spread=2)


def test_an_expert_that_makes_pictures_worse_is_said_to():
    assert "Worse than the untouched input even with their own expert: DPDD-syn" in judged(30, 29, before=31)


def test_movement_names_who_went_farthest():
    rows = [
        {"expert": name, "kind": KINDS[0], "change": 0.1 * (i + 1), "correlation": 0.9}
        for i, name in enumerate(EXPERTS)
    ]
    rows += [{"expert": name, "kind": SCALES, "change": 0.25, "correlation": float("nan")} for name in EXPERTS]
    text = claims.movement("random", pd.DataFrame(rows))
    assert "10.0% to 50.0%" in text and "low_light farthest, defocus least" in text and "0.250" in text
    even = pd.DataFrame([row | {"change": 0.1} for row in rows])
    assert "about as far as each other" in claims.movement("random", even)


def encoders(
    random: float, trained: tuple[float, float], plain: float, among: float, against: float, silhouette: float = 0.3
) -> list[str]:
    knn = {"random weights": random, "with": trained[0], "without": trained[1], NO_NETWORK: plain}
    numbers = pd.DataFrame(
        [
            {"reading": POOLED, "baseline": name, "knn": value, "knn_shuffled": 0.2, "silhouette": silhouette}
            for name, value in knn.items()
        ]
    )
    numbers = pd.concat([numbers, numbers.assign(reading=PICTURED, knn=0.99)])  # the other reading is not judged
    alike = pd.DataFrame(
        [("random weights", "with", against), ("random weights", "without", against), ("with", "without", among)],
        columns=["first", "second", "cka"],
    )
    return claims.encoders(numbers, alike, "random weights")


def test_encoder_features_in_words():
    paper = " ".join(encoders(0.22, (0.9, 0.8), 0.25, 0.95, 0.3))
    for part in (
        "better than random ones, in distinct clusters as the paper says",
        "separate nothing, as in the paper",
        "0.90 with, 0.80 without",
        "do not tell the sets apart",
        "more alike than any is to an encoder",
    ):
        assert part in paper, part
    vague = " ".join(encoders(0.22, (0.9, 0.8), 0.25, 0.95, 0.3, silhouette=0.01))
    assert "better than random ones, but not in distinct clusters" in vague
    other = " ".join(encoders(0.6, (0.9, 0.6), 0.95, 0.9, 0.89))
    for part in (
        "in some cases only (with);",
        "separate them too, unlike in the paper",
        "more than the best",
        "no encoder is needed",
        "about as alike as any is",
    ):
        assert part in other, part
    none = " ".join(encoders(0.6, (0.5, 0.6), 0.5, 0.5, 0.7))
    assert "no better than random ones" in none and "less alike than any is to an encoder that learnt nothing" in none
