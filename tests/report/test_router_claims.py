import pandas as pd
import pytest

from demoe.evaluation import rules
from demoe.report import router_claims as claims


def routing(right: int, count: int, name: str = "DPDD-syn", label: str = "defocus", other: str = "low_light"):
    correct = [i < right for i in range(count)]
    return pd.DataFrame({"set": name, "image": [f"{i}" for i in range(count)], "label": label,
                         "predicted": [label if one else other for one in correct],
                         "correct": pd.array(correct, dtype="boolean")})


@pytest.mark.parametrize(("right", "count", "said"), [
    (400, 400, "over 95 %, as the paper reports"), (300, 400, "less than the paper reports"),
    (19, 20, "not to be told from the 95 %"),
])
def test_accuracy_is_held_against_95_percent(right, count, said):
    text = claims.accuracy(routing(right, count))
    assert said in text and f"{right / count:.1%} of {count} pictures" in text and "least on" not in text
    both = claims.accuracy(pd.concat([routing(right, count), routing(1, 4, "GoPro-syn")]))
    assert "least on GoPro-syn (25%)" in both


def test_outside_says_who_fails():
    parts = [routing(30, 30, "RSBlur-syn", "global_motion"), routing(0, 30, "RealDOF-syn", "defocus"),
             routing(12, 30, "Real-LOLBlur-syn", "low_light", "defocus")]
    found = claims.outside(pd.concat(parts))
    assert "30 of 30" in found[0] and "finds that expert; in the paper, on the real set, it fails" in found[0]
    assert "most to low_light (30): it fails there; in the paper, on the real set, it does not fail" in found[1]
    assert "neither failure nor success is shown" in found[2]


Values = dict[tuple[str, str], tuple[float, float, float]]


def comparison(values: Values, share: float = 0.4, scenes: int = 9) -> pd.DataFrame:
    """``rules.compare``'s table: (mean, low, high) of the gain by (group, method); others are at zero."""
    sets = {"inside": ["DPDD-syn"], "outside": ["RealDOF-syn", "RSBlur-syn"]}
    rows = []
    for group, names in sets.items():
        for method in rules.METHODS:
            mean, low, high = values.get((group, method), (0.0, 0.0, 0.0))
            for name in [*names, "Average"]:
                common = {"method": method, "group": group, "set": name}
                rows.append(common | {"quantity": "gain", "mean": mean, "low": low, "high": high})
                rows.append(common | {"quantity": "share", "mean": share, "low": share - 0.1, "high": share + 0.1})
            rows.append({"method": method, "group": group, "set": "Average", "quantity": "experts", "mean": 2.0,
                         "low": float("nan"), "high": float("nan")})
    return pd.DataFrame(rows).assign(scenes=scenes)


BETTER, WORSE, UNSURE = (0.5, 0.2, 0.8), (-0.5, -0.8, -0.2), (0.1, -0.2, 0.4)


def test_gains_stand_beside_the_papers():
    found = claims.gains(comparison({("outside", rules.MANUAL): BETTER, ("outside", rules.BASELINE): BETTER,
                                     ("outside", rules.INPUT): UNSURE}))
    by_hand = [text for text in found if "by hand" in text]
    assert "+0.500 dB [+0.200, +0.800], better (paper, real set: +8.30 dB)" in by_hand[1]
    assert by_hand[0].startswith("RealDOF-syn") and "(paper, real set: +0.00 dB)" in by_hand[0]
    against = [text for text in found if "over the baseline" in text]
    assert "-0.500 dB [-0.800, -0.200], worse (paper, real set: +4.23 dB)" in against[1]
    untouched = next(text for text in found if "untouched input" in text)
    assert "-0.100 dB [-0.400, +0.200], no difference shown." in untouched
    other = claims.gains(comparison({("outside", rules.MANUAL): WORSE}))
    assert sum("worse" in text for text in other) == 2


def test_a_gain_of_nothing_at_the_digits_shown_is_none():
    tiny = claims.gains(comparison({("outside", rules.MANUAL): (0.001, 0.0001, 0.002)}))
    assert all("no difference shown" in text for text in tiny if "by hand" in text)


def test_a_handful_of_scenes_shows_nothing():
    values = {("outside", rules.MANUAL): BETTER, ("outside", rules.ENTROPY): BETTER}
    few, many = comparison(values, scenes=2), comparison(values, scenes=5)
    assert all("no difference shown" in text for text in claims.gains(few))
    assert any("better" in text for text in claims.gains(many))
    assert "negative result" in claims.verdict(few) and "Better than the router" in claims.verdict(many)


def test_the_bound_names_oracle_fixed_and_blind():
    text = claims.bound(comparison({("outside", rules.ORACLE): BETTER, ("inside", rules.RANDOM): WORSE}))
    assert "on the sets outside the best expert of each picture is at +0.500 dB" in text
    assert "one drawn blindly at -0.500 dB [-0.800, -0.200]; on" in text


@pytest.mark.parametrize(("there", "here", "said", "cost", "verdict"), [
    (BETTER, UNSURE,
     "is better than the router (+0.500 dB [+0.200, +0.800], 40% of the gap to the oracle (30% to 50%))",
     "in distribution no difference is shown", "not shown to be worse in distribution: entropy gate"),
    (BETTER, WORSE, "is better than the router", "in distribution it costs +0.500 dB [+0.200, +0.800]",
     "at a cost in distribution: entropy gate"),
    (UNSURE, BETTER, "shows no difference from the router", "in distribution it gains", "a negative result"),
    (WORSE, UNSURE, "is worse than the router there", "no difference is shown", "a negative result"),
])
def test_rules_without_labels_are_judged_by_their_intervals(there, here, said, cost, verdict):
    table = comparison({("outside", rules.ENTROPY): there, ("inside", rules.ENTROPY): here})
    text = next(one for one in claims.label_free(table) if one.startswith("Entropy gate"))
    assert said in text and cost in text and "2 experts run" in text
    assert verdict in claims.verdict(table)


def test_a_share_that_is_missing_is_not_told():
    table = comparison({("outside", rules.ENTROPY): BETTER}, share=float("nan"))
    assert "is better than the router (+0.500 dB [+0.200, +0.800])" in claims.label_free(table)[2]


def test_calibration_is_held_against_chance():
    def told(accuracy, confidence, ece, chance):
        rows = [{"group": "g", "temperature": t, "pictures": 9, "accuracy": accuracy, "confidence": confidence,
                 "ece": ece / t, "ece_by_chance": chance} for t in (1.0, 2.0)]
        return claims.calibration(pd.DataFrame(rows))[0]

    assert "less often right than it is sure; at temperature 2.00 it is 0.150" in told(0.5, 0.8, 0.3, 0.1)
    assert "more often right than it is sure" in told(0.9, 0.6, 0.3, 0.1)
    assert "by chance up to 0.200): no more than so few pictures give by chance" in told(0.5, 0.6, 0.1, 0.2)
    assert "it is 0.150, within chance" in told(0.5, 0.8, 0.3, 0.2)


def test_doubt_names_both_signs():
    rows = [{"sign": sign, "set": name, "auroc": 0.8, "flagged": 0.25} for sign in ("entropy", "distance")
            for name in ("inside", "RSBlur-syn")]
    found = claims.doubt(pd.DataFrame(rows))
    assert found[0].startswith("Entropy") and "RSBlur-syn 0.80 (25% above the limit)" in found[1]


def test_sets_without_sharp_pictures():
    rows = [{"set": name, "image": str(i), "method": method, "psnr": 30.0 if name == "RSBlur-syn" else float("nan"),
             "musiq": 30.0 + up + 0.1 * i * up, "nrqm": float("nan"), "niqe": 5.0 + up + 0.1 * i * up,
             "missing": "psnr: no ground truth; nrqm: pyiqa not installed"}
            for name in ("RSBlur-syn", "Real-LOLBlur-syn") for i in range(3)
            for method, up in ((rules.ROUTER, 0), (rules.MANUAL, 2))]
    found = claims.without_sharp(pd.DataFrame(rows), ["RSBlur-syn", "Real-LOLBlur-syn"])
    assert len(found) == 1 and found[0].startswith("Real-LOLBlur-syn has no sharp pictures")
    assert "MUSIQ ↑ +2.20 by hand (better)" in found[0] and "NIQE ↓ +2.20 by hand (worse)" in found[0]
    assert "NRQM missing" in found[0] and found[0].endswith("(nrqm: pyiqa not installed).")


