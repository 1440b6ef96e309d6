import pandas as pd
import pytest
from scipy.stats import binomtest

from demoe.evaluation import rules
from demoe.report import router_claims as claims


def routing(right: int, count: int, name: str = "DPDD-syn", label: str = "defocus", other: str = "low_light"):
    correct = [i < right for i in range(count)]
    return pd.DataFrame({"set": name, "image": [f"{i:04d}_p{i}" for i in range(count)], "label": label,
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


def test_pictures_of_a_scene_count_once():
    many = routing(400, 400)
    one = many.assign(image=[f"{i:04d}_{'abcd'[i % 4]}" for i in range(400)])
    assert "not to be told from the 95 %" in claims.accuracy(one)
    assert "neither failure nor success" in claims.outside(one)[0] and "finds that expert" in claims.outside(many)[0]
    assert claims._share(0.8, 20) == pytest.approx(binomtest(16, 20).proportion_ci(method="wilson"), abs=1e-4)


def test_outside_says_who_fails():
    parts = [routing(30, 30, "RSBlur-syn", "global_motion"), routing(0, 30, "RealDOF-syn", "defocus"),
             routing(12, 30, "Real-LOLBlur-syn", "low_light", "defocus")]
    found = claims.outside(pd.concat(parts))
    assert "30 of 30" in found[0] and "finds that expert; in the paper, on the real set, it fails" in found[0]
    assert "most to low_light (30): it fails there; in the paper, on the real set, it does not fail" in found[1]
    assert "neither failure nor success is shown" in found[2]


Values = dict[tuple[str, str], tuple[float, float, float]]


def comparison(
    values: Values, share: float = 0.4, scenes: int = 9, changed: int = 9, over: Values | None = None
) -> pd.DataFrame:
    """``rules.compare``'s table: (mean, low, high) of the gain by (group, method); others are at zero.

    ``over`` are those over the untouched input. ``changed`` pictures, each a scene, get another choice.
    """
    sets = {"inside": ["DPDD-syn"], "outside": ["RealDOF-syn", "RSBlur-syn"]}
    rows = []
    for group, names in sets.items():
        for method in rules.METHODS:
            mean, low, high = values.get((group, method), (0.0, 0.0, 0.0))
            for name in [*names, "Average"]:
                common = {"method": method, "group": group, "set": name}
                rows.append(common | {"quantity": "gain", "mean": mean, "low": low, "high": high})
                mean_over, low_over, high_over = (over or {}).get((group, method), (0.0, 0.0, 0.0))
                rows.append(common | {"quantity": "over input", "mean": mean_over, "low": low_over, "high": high_over})
                rows.append(common | {"quantity": "share", "mean": share, "low": share - 0.1, "high": share + 0.1})
            rows.append({"method": method, "group": group, "set": "Average", "quantity": "experts", "mean": 2.0,
                         "low": float("nan"), "high": float("nan")})
    return pd.DataFrame(rows).assign(scenes=scenes, pictures=24, changed=changed, changed_scenes=changed)


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
    few, many = (comparison(values, scenes=count, over=values) for count in (2, 5))
    assert all("no difference shown" in text for text in claims.gains(few))
    assert any("better" in text for text in claims.gains(many))
    assert "negative result" in claims.verdict(few) and "Better than the router" in claims.verdict(many)


def test_a_handful_of_changed_pictures_is_no_success():
    values = {("outside", rules.DISTANCE): BETTER}
    few, many = (comparison(values, changed=count, over=values) for count in (4, 5))
    text = next(one for one in claims.label_free(few) if one.startswith("Distance gate"))
    assert "changes 4 of 24 pictures" in text and "too few to say anything (+0.500 dB" in text
    assert "RSBlur-syn +0.500 dB [+0.200, +0.800], 4 of 24 pictures changed, too few to say" in text
    assert "better" not in text and "negative result" in claims.verdict(few)
    text = next(one for one in claims.label_free(many) if one.startswith("Distance gate"))
    assert "it is better than the router" in text and "RSBlur-syn +0.500 dB [+0.200, +0.800], better" in text
    assert "distance gate" in claims.verdict(many)
    assert "no picture changed" in claims.label_free(comparison(values, changed=0))[0]


def test_a_rule_that_the_untouched_input_matches_is_not_worth_having():
    values = {("outside", rules.DISTANCE): BETTER, ("outside", rules.INPUT): (0.6, -0.1, 1.2)}
    table = comparison(values, over={("outside", rules.DISTANCE): (-0.1, -0.4, 0.2)})
    assert "not shown to be better than leaving the picture as it is: distance gate" in claims.verdict(table)
    outside, inside = claims.without_network(table)
    assert "the untouched input is at +0.600 dB [-0.100, +1.200] (no difference shown)" in outside
    assert "The input is above the rule or mixture with the highest mean (distance gate, +0.500 dB" in outside
    assert "over the input: -0.100 dB [-0.400, +0.200]; neither the router nor any rule" in outside
    assert inside.startswith("In distribution")
    other = comparison(values | {("outside", rules.INPUT): WORSE}, over={("outside", rules.DISTANCE): BETTER})
    outside = claims.without_network(other)[0]
    assert "The input is below" in outside and "shown to be better than the untouched input: distance gate" in outside
    assert claims.verdict(other).endswith("in distribution: distance gate.")


def test_the_bound_names_oracle_fixed_and_blind():
    text = claims.bound(comparison({("outside", rules.ORACLE): BETTER, ("inside", rules.RANDOM): WORSE}))
    assert "on the sets outside the best expert of each picture is at +0.500 dB" in text
    assert "one drawn blindly at -0.500 dB [-0.800, -0.200], the untouched input at +0.000 dB" in text


@pytest.mark.parametrize(("there", "here", "said", "cost", "verdict"), [
    (BETTER, UNSURE,
     "is better than the router (+0.500 dB [+0.200, +0.800], 40% of the gap to the oracle (30% to 50%))",
     "In distribution: +0.100 dB [-0.200, +0.400], no difference shown",
     "not shown to be worse in distribution: entropy gate"),
    (BETTER, WORSE, "is better than the router", "In distribution: -0.500 dB [-0.800, -0.200], worse",
     "at a cost in distribution: entropy gate"),
    (UNSURE, BETTER, "shows no difference from the router", "In distribution: +0.500 dB [+0.200, +0.800], better",
     "a negative result"),
    (WORSE, UNSURE, "is worse than the router", "no difference shown", "a negative result"),
])
def test_rules_without_labels_are_judged_by_their_intervals(there, here, said, cost, verdict):
    table = comparison({("outside", rules.ENTROPY): there, ("inside", rules.ENTROPY): here},
                       over={("outside", rules.ENTROPY): there})
    text = next(one for one in claims.label_free(table) if one.startswith("Entropy gate"))
    assert said in text and cost in text and "2 experts run" in text
    assert verdict in claims.verdict(table)


def test_a_share_that_is_missing_is_not_told():
    table = comparison({("outside", rules.ENTROPY): BETTER}, share=float("nan"))
    assert "is better than the router (+0.500 dB [+0.200, +0.800])" in claims.label_free(table)[2]


def test_calibration_is_held_against_chance():
    def told(accuracy, confidence, errors, chances):
        rows = [{"group": "g", "temperature": t, "pictures": 9, "accuracy": accuracy, "confidence": confidence,
                 "ece": ece, "ece_by_chance": chance}
                for t, ece, chance in zip((1.0, 2.0), errors, chances, strict=True)]
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
    synthetic = pd.DataFrame({"set": ["DPDD-syn"] * 4 + ["GoPro-syn"],
                              "image": ["0000_coins", "0001_gravel", "0002_coins", "0003_dead_leaves_7", "0000_coins"]})
    text = claims.held_out(synthetic, "held-out")
    assert "5 held-out pictures of 3 scenes: 2 photographs (coins, gravel), the others" in text
    real = pd.DataFrame({"set": "GoPro", "image": ["a/1", "a/2", "b/1"]})
    assert "3 training pictures of 2 scenes, which the network was trained on" in claims.held_out(real, "training")


def test_doubt_names_both_signs():
    rows = [{"sign": sign, "set": name, "auroc": 0.8, "flagged": 0.25} for sign in ("entropy", "distance")
            for name in ("inside", "RSBlur-syn")]
    found = claims.doubt(pd.DataFrame(rows))
    assert found[0].startswith("Entropy") and "RSBlur-syn 0.80 (25% above the limit)" in found[1]


def blind(scenes: int, moved: int) -> pd.DataFrame:
    """``scenes`` pictures a set; by hand ``moved`` of them get another expert, with higher MUSIQ and NIQE."""
    rows = []
    for name in ("RSBlur-syn", "Real-LOLBlur-syn"):
        for i in range(scenes):
            for method in (rules.ROUTER, rules.MANUAL):
                up = 2 + 0.1 * i if method == rules.MANUAL and i < moved else 0
                rows.append({"set": name, "image": f"{i:04d}_p{i}", "method": method,
                             "choice": "low_light" if up else "defocus",
                             "psnr": 30.0 if name == "RSBlur-syn" else float("nan"), "musiq": 30.0 + up,
                             "nrqm": float("nan"), "niqe": 5.0 + up,
                             "missing": "psnr: no ground truth; nrqm: pyiqa not installed"})
    return pd.DataFrame(rows)


def test_sets_without_sharp_pictures():
    found = claims.without_sharp(blind(6, 6), ["RSBlur-syn", "Real-LOLBlur-syn"])
    assert len(found) == 1 and found[0].startswith("Real-LOLBlur-syn has no sharp pictures")
    assert "MUSIQ ↑ +2.25 [" in found[0] and "] by hand (better)" in found[0] and "] by hand (worse)" in found[0]
    assert "NRQM missing" in found[0] and found[0].endswith("(nrqm: pyiqa not installed).")
    for few in (blind(4, 4), blind(9, 4)):
        text = claims.without_sharp(few, ["Real-LOLBlur-syn"])[0]
        assert text.count("too few scenes to say") == 2 and "better" not in text
