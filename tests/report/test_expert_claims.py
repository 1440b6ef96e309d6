import pandas as pd

from demoe.core.tasks import EXPERTS
from demoe.evaluation.embedding import NO_NETWORK, PICTURED, POOLED
from demoe.evaluation.weight_similarity import KINDS, SCALES
from demoe.report import similarity_claims as claims

SETS = ["DPDD-syn", "RealBlur-syn", "ReLoBlur-syn", "GoPro-syn", "LOLBlur-syn"]


def correlations(others: float, norms: float) -> pd.DataFrame:
    return pd.DataFrame({"kind": KINDS, "value": [others, others, norms, others]})


def test_weights_are_judged_beside_the_start():
    norms, others = claims.weights("random", correlations(0.05, 0.8), correlations(0.0, float("nan")))
    assert (norms.verdict, others.verdict) == ("holds", "holds") and norms.control == "constant before training"
    assert "says nothing about what they learnt" in others.control and norms.ours == 0.8
    norms, others = claims.weights("pretrained", correlations(0.5, 0.2), correlations(1.0, 1.0))
    assert (norms.verdict, others.verdict) == ("fails", "fails") and norms.control == "1.00 before training"
    assert others.control.endswith("mean before training 1.00") and others.id == "demoe-f11-pretrained-others"


def judged(own: float, rest: float, count: int = 5, spread: float = 0.1, before: float | None = None):
    """The row for eight pictures a set, whose PSNR lies ``spread`` above and below the means: ``own`` for a set's own
    expert on the first ``count`` sets, ``rest`` everywhere else."""
    table = pd.DataFrame(rest, index=SETS, columns=["input", "router", *EXPERTS])
    for i, name in enumerate(SETS[:count]):
        table.loc[name, EXPERTS[i]] = own
    table["input"] = rest if before is None else before
    rows = [
        {
            "set": name,
            "image": f"{i:04d}_p{i}",
            "method": expert,
            "psnr": table.loc[name, expert] + spread * (-1) ** (i // (j + 1)),
        }
        for name in SETS
        for i in range(8)
        for j, expert in enumerate(EXPERTS)
    ]
    return claims.specialisation("random", table, pd.DataFrame(rows))


def test_the_matrix_decides_on_specialisation():
    every = judged(30.0, 29.0)
    assert every.verdict == "holds" and abs(every.ours - 1) < 0.1 and "untouched" not in every.control
    assert judged(30.0, 29.0, 3).verdict == "undecided" and "better on DPDD-syn" in judged(30.0, 29.0, 3).control
    assert judged(28.0, 29.0, spread=0).verdict == "fails"
    assert judged(29.5, 29.0, spread=2).verdict == "undecided"  # a lead within its error
    assert "below the untouched input even so: DPDD-syn" in judged(30, 29, before=31).control


def test_movement_names_who_went_farthest():
    rows = [
        {"expert": name, "kind": KINDS[0], "change": 0.1 * (i + 1), "correlation": 0.9}
        for i, name in enumerate(EXPERTS)
    ]
    rows += [{"expert": name, "kind": SCALES, "change": 0.25, "correlation": float("nan")} for name in EXPERTS]
    found = claims.movement("random", pd.DataFrame(rows))
    assert found.here == "30.0 %" and found.control.startswith("10.0% (defocus) to 50.0% (low_light)")
    assert "0.250" in found.control and found.verdict == "undecided"  # above 0.3 they have left their start


def encoders(random: float, trained: tuple[float, float], plain: float, among: float, against: float) -> list[str]:
    knn = {"random weights": random, "with": trained[0], "without": trained[1], NO_NETWORK: plain}
    numbers = pd.DataFrame(
        [
            {"reading": POOLED, "baseline": name, "knn": value, "knn_shuffled": 0.2, "silhouette": 0.3}
            for name, value in knn.items()
        ]
    )
    numbers = pd.concat([numbers, numbers.assign(reading=PICTURED, knn=0.99)])  # the other reading is not judged
    alike = pd.DataFrame(
        [("random weights", "with", against), ("random weights", "without", against), ("with", "without", among)],
        columns=["first", "second", "cka"],
    )
    return [row.verdict for row in claims.encoders(numbers, alike, "random weights")]


def test_encoders_are_held_against_random_weights_chance_and_colours():
    assert encoders(0.22, (0.9, 0.8), 0.25, 0.95, 0.3) == ["holds"] * 5
    assert encoders(0.6, (0.9, 0.6), 0.95, 0.9, 0.89) == ["holds", "fails", "fails", "fails", "fails"]
