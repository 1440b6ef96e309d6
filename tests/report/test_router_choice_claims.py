import pandas as pd
import pytest

from demoe.evaluation import expert_choice
from demoe.report import router_choice_claims as claims

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
        for method in expert_choice.METHODS:
            mean, low, high = values.get((group, method), (0.0, 0.0, 0.0))
            for name in [*names, "Average"]:
                common = {"method": method, "group": group, "set": name}
                rows.append(common | {"quantity": "gain", "mean": mean, "low": low, "high": high})
                mean_over, low_over, high_over = (over or {}).get((group, method), (0.0, 0.0, 0.0))
                rows.append(common | {"quantity": "over input", "mean": mean_over, "low": low_over, "high": high_over})
                rows.append(common | {"quantity": "share", "mean": share, "low": share - 0.1, "high": share + 0.1})
            rows.append(
                {
                    "method": method,
                    "group": group,
                    "set": "Average",
                    "quantity": "experts",
                    "mean": 2.0,
                    "low": float("nan"),
                    "high": float("nan"),
                }
            )
    return pd.DataFrame(rows).assign(scenes=scenes, pictures=24, changed=changed, changed_scenes=changed)


BETTER, WORSE, UNSURE = (0.5, 0.2, 0.8), (-0.5, -0.8, -0.2), (0.1, -0.2, 0.4)


def test_gains_stand_beside_the_papers():
    found = claims.gains(
        comparison(
            {
                ("outside", expert_choice.MANUAL): BETTER,
                ("outside", expert_choice.BASELINE): BETTER,
                ("outside", expert_choice.INPUT): UNSURE,
            }
        )
    )
    by_hand = [text for text in found if "by hand" in text]
    assert "+0.500 dB [+0.200, +0.800], better (paper, real set: +8.30 dB)" in by_hand[1]
    assert by_hand[0].startswith("RealDOF-syn") and "(paper, real set: +0.00 dB)" in by_hand[0]
    against = [text for text in found if "over the baseline" in text]
    assert "-0.500 dB [-0.800, -0.200], worse (paper, real set: +4.23 dB)" in against[1]
    untouched = next(text for text in found if "untouched input" in text)
    assert "-0.100 dB [-0.400, +0.200], no difference shown." in untouched
    other = claims.gains(comparison({("outside", expert_choice.MANUAL): WORSE}))
    assert sum("worse" in text for text in other) == 2


def test_a_gain_of_nothing_at_the_digits_shown_is_none():
    tiny = claims.gains(comparison({("outside", expert_choice.MANUAL): (0.001, 0.0001, 0.002)}))
    assert all("no difference shown" in text for text in tiny if "by hand" in text)


def test_a_handful_of_scenes_shows_nothing():
    values = {("outside", expert_choice.MANUAL): BETTER, ("outside", expert_choice.ENTROPY): BETTER}
    few, many = (comparison(values, scenes=count, over=values) for count in (2, 5))
    assert all("no difference shown" in text for text in claims.gains(few))
    assert any("better" in text for text in claims.gains(many))
    assert "negative result" in claims.verdict(few) and "Better than the router" in claims.verdict(many)


def test_a_handful_of_changed_pictures_is_no_success():
    values = {("outside", expert_choice.DISTANCE): BETTER}
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
    values = {("outside", expert_choice.DISTANCE): BETTER, ("outside", expert_choice.INPUT): (0.6, -0.1, 1.2)}
    table = comparison(values, over={("outside", expert_choice.DISTANCE): (-0.1, -0.4, 0.2)})
    assert "not shown to be better than leaving the picture as it is: distance gate" in claims.verdict(table)
    outside, inside = claims.without_network(table)
    assert "the untouched input is at +0.600 dB [-0.100, +1.200] (no difference shown)" in outside
    assert "The input is above the rule or mixture with the highest mean (distance gate, +0.500 dB" in outside
    assert "over the input: -0.100 dB [-0.400, +0.200]; neither the router nor any rule" in outside
    assert inside.startswith("In distribution")
    other = comparison(
        values | {("outside", expert_choice.INPUT): WORSE}, over={("outside", expert_choice.DISTANCE): BETTER}
    )
    outside = claims.without_network(other)[0]
    assert "The input is below" in outside and "shown to be better than the untouched input: distance gate" in outside
    assert claims.verdict(other).endswith("in distribution: distance gate.")


def test_the_bound_names_oracle_fixed_and_blind():
    text = claims.bound(
        comparison({("outside", expert_choice.ORACLE): BETTER, ("inside", expert_choice.RANDOM): WORSE})
    )
    assert "on the sets outside the best expert of each picture is at +0.500 dB" in text
    assert "one drawn blindly at -0.500 dB [-0.800, -0.200], the untouched input at +0.000 dB" in text


@pytest.mark.parametrize(
    ("there", "here", "said", "cost", "verdict"),
    [
        (
            BETTER,
            UNSURE,
            "is better than the router (+0.500 dB [+0.200, +0.800], 40% of the gap to the oracle (30% to 50%))",
            "In distribution: +0.100 dB [-0.200, +0.400], no difference shown",
            "not shown to be worse in distribution: entropy gate",
        ),
        (
            BETTER,
            WORSE,
            "is better than the router",
            "In distribution: -0.500 dB [-0.800, -0.200], worse",
            "at a cost in distribution: entropy gate",
        ),
        (
            UNSURE,
            BETTER,
            "shows no difference from the router",
            "In distribution: +0.500 dB [+0.200, +0.800], better",
            "a negative result",
        ),
        (WORSE, UNSURE, "is worse than the router", "no difference shown", "a negative result"),
    ],
)
def test_rules_without_labels_are_judged_by_their_intervals(there, here, said, cost, verdict):
    table = comparison(
        {("outside", expert_choice.ENTROPY): there, ("inside", expert_choice.ENTROPY): here},
        over={("outside", expert_choice.ENTROPY): there},
    )
    text = next(one for one in claims.label_free(table) if one.startswith("Entropy gate"))
    assert said in text and cost in text and "2 experts run" in text
    assert verdict in claims.verdict(table)


def test_a_share_that_is_missing_is_not_told():
    table = comparison({("outside", expert_choice.ENTROPY): BETTER}, share=float("nan"))
    assert "is better than the router (+0.500 dB [+0.200, +0.800])" in claims.label_free(table)[2]


def blind(scenes: int, moved: int) -> pd.DataFrame:
    """``scenes`` pictures a set; by hand ``moved`` of them get another expert, with higher MUSIQ and NIQE."""
    rows = []
    for name in ("RSBlur-syn", "Real-LOLBlur-syn"):
        for i in range(scenes):
            for method in (expert_choice.ROUTER, expert_choice.MANUAL):
                up = 2 + 0.1 * i if method == expert_choice.MANUAL and i < moved else 0
                rows.append(
                    {
                        "set": name,
                        "image": f"{i:04d}_p{i}",
                        "method": method,
                        "choice": "low_light" if up else "defocus",
                        "psnr": 30.0 if name == "RSBlur-syn" else float("nan"),
                        "musiq": 30.0 + up,
                        "nrqm": float("nan"),
                        "niqe": 5.0 + up,
                        "missing": "psnr: no ground truth; nrqm: pyiqa not installed",
                    }
                )
    return pd.DataFrame(rows)


def test_sets_without_sharp_pictures():
    found = claims.without_sharp(blind(6, 6), ["RSBlur-syn", "Real-LOLBlur-syn"])
    assert len(found) == 1 and found[0].startswith("Real-LOLBlur-syn has no sharp pictures")
    assert "MUSIQ ↑ +2.25 [" in found[0] and "] by hand (better)" in found[0] and "] by hand (worse)" in found[0]
    assert "NRQM missing" in found[0] and found[0].endswith("(nrqm: pyiqa not installed).")
    for few in (blind(4, 4), blind(9, 4)):
        text = claims.without_sharp(few, ["Real-LOLBlur-syn"])[0]
        assert text.count("too few scenes to say") == 2 and "better" not in text
