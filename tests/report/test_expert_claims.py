import itertools
from pathlib import Path

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


def encoders(
    random: float,
    trained: float,
    plain: float,
    alike: tuple[float, float],
    silhouette: float = 0.3,
    pictures: int = 120,
) -> dict[str, str]:
    """Verdicts by id, of three trained encoders that name so many of the pictures right; ``alike`` are the mean CKAs
    among them and with random weights. Chance is 0.2."""
    names = ("with", "without", "original")
    knn = {"random weights": random, **dict.fromkeys(names, trained), NO_NETWORK: plain}
    numbers = pd.DataFrame(
        [
            {"reading": POOLED, "baseline": name, "knn": value, "knn_shuffled": 0.2, "silhouette": silhouette}
            for name, value in knn.items()
        ]
    )
    numbers = pd.concat([numbers, numbers.assign(reading=PICTURED, knn=0.99)])  # the other reading is not judged
    by_picture = pd.DataFrame(
        [
            {"baseline": name, "set": "DPDD-syn", "image": f"{i:04d}_p{i}", "right": i < round(value * pictures)}
            | {"silhouette": silhouette + 0.05 * (-1) ** i}
            for name, value in knn.items()
            for i in range(pictures)
        ]
    )
    pairs = [(one, other, alike[0]) for one, other in itertools.combinations(names, 2)]
    pairs += [("random weights", name, alike[1]) for name in names]
    table = pd.DataFrame(pairs, columns=["first", "second", "cka"])
    table.cka += [-0.05, 0, 0.05] * 2
    return {
        row.id.removeprefix("demoe-f13-"): row.verdict
        for row in claims.encoders(by_picture, numbers, table, "random weights")
    }


def test_encoders_are_held_against_random_weights_chance_and_colours():
    assert set(encoders(0.22, 0.85, 0.22, (0.9, 0.3)).values()) == {"holds"}
    found = encoders(0.6, 0.6, 0.9, (0.9, 0.95))
    assert set(found.values()) == {"fails"}


def test_three_pictures_more_or_less_decide_nothing():
    """0.117 more than random weights, and 0.092 more, of a limit of 0.1: 3 of 120 pictures."""
    for trained in (0.325 + 14 / 120, 0.325 + 11 / 120):
        found = encoders(0.325, trained, 0.325, (0.68, 0.74))
        assert found["with"] == found["random-weights-nothing"] == "undecided"
    assert found["alike"] == "fails" and encoders(0.3, 0.4, 0.3, (0.78, 0.7))["alike"] == "undecided"
    assert encoders(0.22, 0.85, 0.2, (0.9, 0.3), pictures=5)["with"] == "undecided"


def test_clusters_need_a_silhouette():
    by = {value: encoders(0.22, 0.85, 0.2, (0.9, 0.3), value)["original"] for value in (-0.03, 0.05, 0.2)}
    assert by == {-0.03: "fails", 0.05: "undecided", 0.2: "holds"}


def test_the_published_pairs_of_encoders_decide_nothing():
    file = Path(__file__).parents[2] / "results/published/smoke/tables/07_figure_13_alike.csv"
    alike = pd.read_csv(file)
    random = "random weights"
    trained = pd.Index(sorted({*alike["first"], *alike["second"]} - {random}))
    found = claims._alike(alike, trained, random)
    assert found.verdict == "undecided" and found.low < -0.06 < 0.1 < found.high and found.ours < 0
