"""Every verdict changes when the numbers that it is about do, and to the right one."""

import pandas as pd

from demoe.evaluation import similarity_controls
from demoe.evaluation.weight_similarity import KINDS
from demoe.report import similarity_claims as claims

INHERITED = {  # what networks look like that are alike by their start alone
    similarity_controls.BLURS: 0.95,
    similarity_controls.LOW_LIGHT: 0.95,
    similarity_controls.START_ALONE: 0.95,
    similarity_controls.START_OUT: 0.05,
    similarity_controls.SAME: 0.01,
    similarity_controls.OTHER: 0.0,
    similarity_controls.LOW_LIGHT_OTHER: 0.0,
    similarity_controls.UNTRAINED: 0.97,
    similarity_controls.RENAMED: 0.02,
}
SHARED = INHERITED | {  # ... and by their task
    similarity_controls.LOW_LIGHT: 0.1,
    similarity_controls.START_ALONE: 0.2,
    similarity_controls.START_OUT: 0.9,
    similarity_controls.SAME: 0.9,
    similarity_controls.OTHER: 0.85,
    similarity_controls.UNTRAINED: 0.45,
    similarity_controls.RENAMED: 0.8,
}


def summary(spatial: dict[str, float], other: dict[str, float] | None = None, cka: dict[str, float] | None = None):
    """A summary with ``spatial`` for 3x3 convolutions, ``other`` for the rest, ``cka`` for the CKA of all."""
    rows = []
    constant = (similarity_controls.UNTRAINED, similarity_controls.START_ALONE)
    for measure, values in (("pearson", spatial), ("cka rbf", cka or spatial)):
        for comparison, value in values.items():
            for kind in KINDS:
                mean = value if kind == KINDS[0] or measure != "pearson" else (other or spatial)[comparison]
                if kind == "LayerNorm" and comparison in constant:
                    mean = float("nan")
                rows.append({"measure": measure, "comparison": comparison, "kind": kind, "mean": mean})
    return pd.DataFrame(rows)


def pairs(lolblur: float, others: float, low_light: float = 0.9) -> pd.DataFrame:
    """3x3 convolutions and layer norms of pairs with and without LOLBlur, and against the low-light network."""
    rows = [
        (similarity_controls.BLURS, "LOLBlur-syn", "GoPro-syn", lolblur),
        (similarity_controls.BLURS, "DPDD-syn", "LOLBlur-syn", lolblur),
        (similarity_controls.BLURS, "DPDD-syn", "GoPro-syn", others),
        (similarity_controls.LOW_LIGHT, "LOLBlur-syn", "LOLv2-real-syn", lolblur),
        (similarity_controls.LOW_LIGHT, "GoPro-syn", "LOLv2-real-syn", low_light),
    ]
    table = pd.DataFrame(rows, columns=["comparison", "first", "second", "value"]).assign(measure="pearson")
    return pd.concat([table.assign(kind=kind) for kind in (KINDS[0], "LayerNorm")])


def verdicts(table: pd.DataFrame, of_pairs: pd.DataFrame) -> dict[str, str]:
    rows = [*claims.conclusions(table), *claims.start(table), *claims.low_light(table, of_pairs), *claims.limits(table)]
    return {row.id.removeprefix("demoe-").removeprefix("weights-"): row.verdict for row in rows}


def test_conclusions_that_live_on_the_shared_start_fall_with_it():
    found = verdicts(summary(INHERITED, dict.fromkeys(INHERITED, 0.1)), pairs(0.5, 0.9))
    one = [found[f"one-start-{name}"] for name in ("3x3", "others", "cka")]
    two = [found[f"two-starts-{name}"] for name in ("3x3", "others", "cka")]
    assert one == ["holds"] * 3 and two == ["fails", "holds", "fails"]
    assert found["survives"] == found["same-blur"] == found["left"] == found["start-out"] == found["norms"] == "fails"
    assert found["blur-or-low-light"] == "fails" and found["f2-lolblur"] == "holds"
    assert found["reordered"] == "fails" and found["cka-floor"] == "holds"


def test_conclusions_that_are_the_tasks_survive():
    table = summary(SHARED, dict.fromkeys(SHARED, 0.1), dict.fromkeys(SHARED, 0.71))
    found = verdicts(table, pairs(0.9, 0.9, 0.1))
    for name in ("survives", "same-blur", "left", "start-out", "f8-low-light", "blur-or-low-light", "reordered"):
        assert found[name] == "holds", name
    assert found["f2-lolblur"] == found["cka-floor"] == found["start-alone"] == "fails"


def test_what_was_not_there_cannot_survive():
    low = summary(INHERITED | {similarity_controls.BLURS: 0.4})
    assert verdicts(low, pairs(1, 1))["survives"] == "undecided"
    # LOLBlur's own pairs do not count when blur is told from low light
    assert verdicts(summary(INHERITED), pairs(0.1, 1, 0.8))["blur-or-low-light"] == "holds"
    inherited = verdicts(summary(INHERITED), pairs(1, 1))
    assert inherited["start-alone"] == inherited["norms"] == "holds" and inherited["one-start-others"] == "fails"


def test_the_table_beside_the_paper_shows_constant_layers_as_such():
    table = claims.side_by_side(summary(INHERITED))
    assert list(table.columns) == list(KINDS) and list(table.index)[:-1] == list(similarity_controls.COMPARISONS)
    assert table.loc[similarity_controls.UNTRAINED, "LayerNorm"] == "constant"
    assert table.loc[similarity_controls.BLURS, "SCA"] == "0.95" and table.iloc[-1].to_dict() == claims.PAPER
    assert claims.side_by_side(summary(INHERITED), "cka rbf").iloc[-1, 0] == "great similarity"
