import pandas as pd
import pytest
from scipy.stats import binomtest

from demoe.report import router_claims as claims


def routing(right: int, count: int, name: str = "DPDD-syn", label: str = "defocus", other: str = "low_light"):
    correct = [i < right for i in range(count)]
    return pd.DataFrame(
        {
            "set": name,
            "image": [f"{i:04d}_p{i}" for i in range(count)],
            "label": label,
            "predicted": [label if one else other for one in correct],
            "correct": pd.array(correct, dtype="boolean"),
        }
    )


@pytest.mark.parametrize(
    ("right", "count", "said"),
    [
        (400, 400, "over 95 %, as the paper reports"),
        (300, 400, "less than the paper reports"),
        (19, 20, "not to be told from the 95 %"),
    ],
)
def test_accuracy_is_held_against_95_percent(right, count, said):
    text = claims.accuracy(routing(right, count))
    assert said in text and f"{right / count:.1%} of {count} pictures" in text and "least on" not in text
    both = claims.accuracy(pd.concat([routing(right, count), routing(1, 4, "GoPro-syn")]))
    assert "least on GoPro-syn (25%)" in both


def test_pictures_of_a_scene_count_once():
    many = routing(400, 400)
    one = many.assign(image=[f"{i:04d}_{'abcd'[i % 4]}" for i in range(400)])
    assert "not to be told from the 95 %" in claims.accuracy(one)
    assert "neither failure nor success" in claims.outside(one)[0] and "finds that expert" in claims.outside(many)[0]
    assert claims._share(0.8, 20) == pytest.approx(binomtest(16, 20).proportion_ci(method="wilson"), abs=1e-4)


def test_outside_says_who_fails():
    parts = [
        routing(30, 30, "RSBlur-syn", "global_motion"),
        routing(0, 30, "RealDOF-syn", "defocus"),
        routing(12, 30, "Real-LOLBlur-syn", "low_light", "defocus"),
    ]
    found = claims.outside(pd.concat(parts))
    assert "30 of 30" in found[0] and "finds that expert; in the paper, on the real set, it fails" in found[0]
    assert "most to low_light (30): it fails there; in the paper, on the real set, it does not fail" in found[1]
    assert "neither failure nor success is shown" in found[2]


def test_calibration_is_held_against_chance():
    def told(accuracy, confidence, errors, chances):
        rows = [
            {
                "group": "g",
                "temperature": t,
                "pictures": 9,
                "accuracy": accuracy,
                "confidence": confidence,
                "ece": ece,
                "ece_by_chance": chance,
            }
            for t, ece, chance in zip((1.0, 2.0), errors, chances, strict=True)
        ]
        return claims.calibration(pd.DataFrame(rows))[0]

    text = told(0.5, 0.8, (0.3, 0.15), (0.1, 0.1))
    assert "above chance, it is less often right than it is sure; at temperature 2.00 it is 0.150" in text
    assert text.endswith("still above chance, but better than before.")
    assert "more often right than it is sure" in told(0.9, 0.6, (0.3, 0.4), (0.1, 0.1))
    assert told(0.9, 0.6, (0.3, 0.4), (0.1, 0.1)).endswith("still above chance, and worse than before.")
    assert "no more than so few pictures give by chance" in told(0.5, 0.6, (0.1, 0.1), (0.2, 0.2))
    assert told(0.5, 0.6, (0.1, 0.1), (0.2, 0.2)).endswith("within chance as before.")
    assert told(0.5, 0.8, (0.3, 0.15), (0.2, 0.2)).endswith("better, now within chance.")
    assert told(0.5, 0.8, (0.10, 0.09), (0.11, 0.07)).endswith("no longer within chance, so no remedy there.")


def test_what_was_held_out_is_told():
    synthetic = pd.DataFrame(
        {
            "set": ["DPDD-syn"] * 4 + ["GoPro-syn"],
            "image": ["0000_coins", "0001_gravel", "0002_coins", "0003_dead_leaves_7", "0000_coins"],
        }
    )
    text = claims.held_out(synthetic, "held-out")
    assert "5 held-out pictures of 3 scenes: 2 photographs (coins, gravel), the others" in text
    real = pd.DataFrame({"set": "GoPro", "image": ["a/1", "a/2", "b/1"]})
    assert "3 training pictures of 2 scenes, which the network was trained on" in claims.held_out(real, "training")


def test_doubt_names_both_signs():
    rows = [
        {"sign": sign, "set": name, "auroc": 0.8, "flagged": 0.25}
        for sign in ("normalised_entropy", "distance")
        for name in ("inside", "RSBlur-syn")
    ]
    found = claims.doubt(pd.DataFrame(rows))
    assert found[0].startswith("Normalised entropy as a sign") and "RSBlur-syn 0.80 (25% above the limit)" in found[1]
