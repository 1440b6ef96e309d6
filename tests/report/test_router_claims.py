import pandas as pd
import pytest
from scipy.stats import binomtest

from demoe.evaluation import expert_choice
from demoe.report import router_claims as claims
from demoe.report.claims import settled

Values = dict[tuple[str, str], tuple[float, float, float]]
BETTER, WORSE, UNSURE = (0.5, 0.2, 0.8), (-0.5, -0.8, -0.2), (0.1, -0.2, 0.4)


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
    ("right", "count", "verdict"), [(400, 400, "holds"), (300, 400, "fails"), (19, 20, "undecided")]
)
def test_accuracy_is_held_against_95_percent(right, count, verdict):
    found = claims.accuracy(routing(right, count))
    assert found.verdict == verdict and found.ours == right / count and found.id == "demoe-router-accuracy"
    both = claims.accuracy(pd.concat([routing(right, count), routing(1, 4, "GoPro-syn")]), "release")
    assert "least on GoPro-syn, 25%" in both.control and both.id == "release-router-accuracy"


def test_pictures_of_a_scene_count_once():
    many = routing(400, 400)
    few = many.assign(image=[f"{i:04d}_{'abcd'[i % 4]}" for i in range(400)])
    assert claims.accuracy(few).verdict == "undecided" and claims.accuracy(few).low < claims.accuracy(many).low
    assert claims.outside(few.assign(set="RSBlur-syn"))[0].verdict == "undecided"
    assert claims.share_interval(0.8, 20) == pytest.approx(binomtest(16, 20).proportion_ci(method="wilson"), abs=1e-4)


def test_outside_says_who_fails_and_who_should():
    parts = [
        routing(30, 30, "RSBlur-syn", "global_motion"),
        routing(0, 30, "RealDOF-syn", "defocus"),
        routing(0, 30, "Real-LOLBlur-syn", "low_light", "defocus"),
        routing(12, 30, "RealDOF", "defocus"),
        routing(30, 30, "unknown"),
    ]
    found = claims.outside(pd.concat(parts))
    assert [row.verdict for row in found] == ["fails", "fails", "holds", "undecided", "undecided"]
    assert [row.words for row in found[:3]] == ["it fails there", "it does not fail", "it fails there"]
    assert "most go to low_light (30)" in found[1].control and found[4].words == ""


def test_calibration_has_the_verdict_of_its_table():
    rows = [
        {
            "group": "g",
            "temperature": t,
            "pictures": 9,
            "accuracy": 0.5,
            "confidence": 0.8,
            "ece": ece,
            "ece_by_chance": 0.1,
            "gap": -0.3,
            "gap_low": -0.4,
            "gap_high": -0.2,
            "verdict": verdict,
        }
        for t, ece, verdict in ((1.0, 0.3, "fails"), (2.0, 0.09, "undecided"))
    ]
    plain, scaled = claims.calibration(pd.DataFrame(rows))
    assert (plain.verdict, scaled.verdict) == ("fails", "undecided") and scaled.id == "demoe-calibration-g-scaled"
    assert (
        "by chance up to 0.100; right on 50%, sure by 80%: -0.300 [-0.400, -0.200]" in plain.control
        and "temperature 2.00" in scaled.what
    )


def test_doubt_tells_both_signs_and_what_the_limit_comes_from():
    rows = [
        {"sign": sign, "set": name, "auroc": 0.8, "flagged": 0.25}
        for sign in ("normalised_entropy", "distance")
        for name in ("inside", "RSBlur-syn")
    ]
    images = ["0000_coins", "0001_gravel", "0002_coins", "0003_dead_leaves_7", "0000_coins"]
    synthetic = pd.DataFrame({"set": ["DPDD-syn"] * 4 + ["GoPro-syn"], "image": images})
    found = claims.doubt(pd.DataFrame(rows), synthetic, "held-out")
    assert [row.ours for row in found] == [0.8, 0.8]
    assert found[0].what.startswith("Normalised entropy as a sign that RSBlur-syn")
    assert "25% above the limit, in distribution 25%; limit from 5 held-out pictures of 3 scenes, 2" in found[0].control
    real = pd.DataFrame({"set": "GoPro", "image": ["a/1", "a/2", "b/1"]})
    found = claims.doubt(pd.DataFrame(rows), real, "training")
    assert found[0].control.endswith("3 training pictures of 2 scenes, which the network was trained on")


def comparison(values: Values, scenes: int = 9, changed: int = 9, over: Values | None = None) -> pd.DataFrame:
    """``expert_choice.compare_methods``'s table: (mean, low, high) of the gain by (group, method); others are at zero.

    ``over`` are those over the untouched input. ``changed`` pictures, each a scene, get another choice.
    """
    sets, rows = {"inside": ["DPDD-syn"], "outside": ["RealDOF-syn", "RSBlur-syn"]}, []
    for group, names in sets.items():
        for method in expert_choice.METHODS:
            quantities = {
                "gain": values.get((group, method), (0.0, 0.0, 0.0)),
                "over input": (over or {}).get((group, method), (0.0, 0.0, 0.0)),
                "share": (0.4, 0.3, 0.5),
            }
            rows += [
                (method, group, name, what, *of) for what, of in quantities.items() for name in (*names, "Average")
            ]
            rows.append((method, group, "Average", "experts", 2.0, float("nan"), float("nan")))
    table = pd.DataFrame(rows, columns=["method", "group", "set", "quantity", "mean", "low", "high"])
    return table.assign(scenes=scenes, pictures=24, changed=changed, changed_scenes=changed)


def by_id(rows) -> dict:
    return {row.id.removeprefix("demoe-"): row for row in rows}


def test_gains_stand_beside_the_papers():
    values = {
        ("outside", expert_choice.MANUAL): BETTER,
        ("outside", expert_choice.BASELINE): BETTER,
        ("outside", expert_choice.INPUT): UNSURE,
    }
    found = by_id(claims.gains(comparison(values)))
    by_hand = found["t2-rsblur-syn-demoe-manual"]
    assert by_hand.needs == "demoe-t2-rsblur-syn-restores" and found["t2-rsblur-syn-restores"].verdict != "better"
    assert by_hand.verdict == "better" and by_hand.published == pytest.approx(8.3)
    assert by_hand.here == "+0.500 dB [+0.200, +0.800]"
    over = found["t2-rsblur-syn-baseline"]
    assert over.verdict == "worse" and over.here == "-0.500 dB [-0.800, -0.200]"  # k=1 over it: the other way round
    assert found["t2-realdof-syn-input"].verdict == "undecided" and found["t2-realdof-syn-input"].published != 0


@pytest.mark.parametrize("few", [{"scenes": 2}, {"changed": 4}])
def test_a_handful_of_scenes_or_of_changed_pictures_shows_nothing(few):
    values = {("outside", expert_choice.MANUAL): BETTER, ("outside", expert_choice.DISTANCE): BETTER}
    rows = [*claims.gains(comparison(values, **few)), *claims.choices(comparison(values, over=values, **few))]
    assert not {"better", "worse"} & {row.verdict for row in rows} and rows[-1].verdict == "fails"
    many = comparison(values, over=values)
    assert by_id(claims.choices(many))["choice-worth"].verdict == "holds"


@pytest.mark.parametrize(
    ("there", "inside", "over_input", "verdict", "control"),
    [
        (BETTER, UNSURE, BETTER, "holds", "so are: entropy gate"),
        (BETTER, WORSE, BETTER, "fails", "better outside, but worse in distribution: entropy gate"),
        (UNSURE, BETTER, BETTER, "fails", ""),
        (WORSE, UNSURE, BETTER, "fails", ""),
        (BETTER, UNSURE, UNSURE, "fails", ""),  # what the untouched input matches is not worth having
    ],
)
def test_a_rule_is_worth_having_only_where_it_beats_router_and_input(there, inside, over_input, verdict, control):
    values = {("outside", expert_choice.ENTROPY): there, ("inside", expert_choice.ENTROPY): inside}
    over = {("outside", expert_choice.ENTROPY): over_input}
    found = by_id(claims.choices(comparison(values, over=over)))
    assert found["choice-worth"].verdict == verdict and found["choice-worth"].control == control
    gate = found["choice-outside-the-training-sets-entropy-gate"]
    assert gate.verdict == {BETTER: "better", WORSE: "worse", UNSURE: "undecided"}[there]
    assert "40 % [30, 50] of the gap to the oracle; 2 experts run" in gate.control
    assert "choice-in-distribution-oracle" in found and "choice-in-distribution-oracle-input" not in found


@pytest.mark.parametrize(("best", "verdict"), [(BETTER, "better"), (WORSE, "undecided"), (UNSURE, "undecided")])
def test_where_not_even_the_best_expert_beats_the_input_no_choice_says_anything(best, verdict):
    over = {("outside", expert_choice.ORACLE): best}
    found = by_id(settled(claims.choices(comparison({("outside", expert_choice.ENTROPY): BETTER}, over=over))))
    assert found["choice-outside-the-training-sets-entropy-gate"].verdict == verdict
    assert found["choice-outside-the-training-sets-basis"].here.startswith(f"{best[0]:+.3f} dB")


def blind(scenes: int, moved: int) -> pd.DataFrame:
    """Scores of a set with sharp pictures and of one without: by hand better in MUSIQ, worse in NIQE, on ``moved``."""
    rows = []
    for name in ("RSBlur-syn", "Real-LOLBlur-syn"):
        for i in range(scenes):
            for method in (expert_choice.ROUTER, expert_choice.MANUAL):
                up = 2 + 0.1 * i if method == expert_choice.MANUAL and i < moved else 0
                row = {
                    "set": name,
                    "image": f"{i:04d}_p{i}",
                    "method": method,
                    "choice": "low_light" if up else "defocus",
                }
                row |= {"psnr": 30.0 if name == "RSBlur-syn" else float("nan"), "musiq": 30.0 + up, "niqe": 5.0 + up}
                rows.append(row | {"nrqm": float("nan"), "missing": "psnr: no ground truth; nrqm: pyiqa not installed"})
    return pd.DataFrame(rows)


def test_sets_without_sharp_pictures():
    found = claims.without_sharp(blind(6, 6), ["RSBlur-syn", "Real-LOLBlur-syn"])
    assert [row.id.rpartition("-")[2] for row in found] == ["musiq", "nrqm", "niqe"]
    assert [row.verdict for row in found] == ["better", "undecided", "worse"]  # more is better; missing; less is better
    assert found[1].control == "missing: nrqm: pyiqa not installed" and found[1].here == ""
    for few in (blind(4, 4), blind(9, 4)):
        rows = claims.without_sharp(few, ["Real-LOLBlur-syn"])
        assert {row.verdict for row in rows} == {"undecided"}
