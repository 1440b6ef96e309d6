"""Every sentence changes when the numbers that it is about do, and to the right one."""

import pandas as pd
import pytest

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
    for measure, values in (("pearson", spatial), ("cka rbf", cka or spatial)):
        for comparison, value in values.items():
            for kind in KINDS:
                mean = value if kind == KINDS[0] or measure != "pearson" else (other or spatial)[comparison]
                if kind == "LayerNorm" and comparison in (
                    similarity_controls.UNTRAINED,
                    similarity_controls.START_ALONE,
                ):
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


@pytest.mark.parametrize(
    ("r", "words"), [(0.95, "very high"), (-0.75, "high"), (0.5, "moderate"), (0.3, "low"), (0.29, "little if any")]
)
def test_correlations_in_words(r, words):
    assert claims.strength(r) == words


def test_conclusions_that_live_on_the_shared_start_fall_with_it():
    quiet = dict.fromkeys(INHERITED, 0.1)
    table = claims.verdicts(summary(INHERITED, quiet)).set_index("conclusion")
    assert list(table["one start"]) == ["holds"] * 3 and list(table["two starts"]) == ["fails", "holds", "fails"]
    text = " ".join(claims.paragraph(summary(INHERITED, quiet), pairs(0.5, 0.9)))
    for part in (
        "the 0.95 from one start is the start's doing",
        "make are not alike",
        "have hardly left their start",
        "correlated is so here; that the other layers are not correlated is so here",
        "does not tell blur from low light",
        "they are lower, as in the paper",
        "nothing of the likeness found with one start survives. Hold with one start only: 3x3 convolutions "
        "are highly correlated; 3x3 convolutions have a high CKA. Hold with one start and with two: the other "
        "layers are not correlated.",
    ):
        assert part in text, part


def test_conclusions_that_are_the_tasks_survive():
    text = " ".join(
        claims.paragraph(summary(SHARED, dict.fromkeys(SHARED, 0.1), dict.fromkeys(SHARED, 0.71)), pairs(0.9, 0.9, 0.1))
    )
    for part in (
        "the high correlation stays without the shared start (0.95 with it)",
        "have partly left their start",
        "in no kind of layer",
        "are alike (very high)",
        "which tells blur from low light",
        "there is little",
        "not lower, unlike in the paper",
        "the order of the channels matters less",
        "the likeness found with one start survives. A high CKA is no likeness here",
    ):
        assert part in text.replace("1x1 convolution, SCA", "no kind of layer"), part
    assert "only" not in text.split("With the shared start taken away")[1]


def test_other_outcomes_have_their_own_words():
    same_only = INHERITED | {similarity_controls.SAME: 0.8, similarity_controls.OTHER: 0.2}
    assert "networks for the same blur find each other again" in claims.paragraph(summary(same_only), pairs(1, 1))[1]
    middling = INHERITED | {similarity_controls.SAME: 0.5, similarity_controls.OTHER: 0.5}
    assert "some is left, but no high correlation" in claims.paragraph(summary(middling), pairs(1, 1))[1]
    low = INHERITED | {similarity_controls.BLURS: 0.4}
    found = claims.paragraph(summary(low), pairs(1, 1))
    assert "no high correlation to explain" in found[1] and "highly correlated is not so here" in found[0]
    assert "LayerNorm (low)" in found[0] and "are found with one start" not in found[-1]
    assert "no likeness is found with one start, so none could be lost" in found[-1]
    gone = claims.paragraph(summary(INHERITED | {similarity_controls.UNTRAINED: 0.1}), pairs(1, 1))
    assert "have left their start behind" in gone[2]
    assert (
        "0.20 more than with it in the 3x3 convolutions, which tells"
        in claims.paragraph(summary(INHERITED), pairs(0.1, 1, 0.8))[4]
    )  # LOLBlur's own pairs do not count
    inherited = claims.paragraph(summary(INHERITED), pairs(1, 1))
    assert "1x1 convolution (very high), LayerNorm (very high), SCA (very high) show" in inherited[0]
    assert "the rest of the start decides" in inherited[3] and "in every kind of layer" in inherited[2]


def test_a_cka_that_is_high_for_unrelated_networks_is_called_empty():
    noisy = claims.paragraph(summary(INHERITED, cka=dict.fromkeys(INHERITED, 0.9)), pairs(1, 1))[6]
    assert "already reach 3x3 convolution 0.90" in noisy and "a high CKA says nothing" in noisy
    clean = claims.paragraph(summary(INHERITED), pairs(1, 1))[6]
    assert "no kind of layer gets above 0.7 without a shared start" in clean


def test_the_table_beside_the_paper_shows_constant_layers_as_such():
    table = claims.side_by_side(summary(INHERITED))
    assert list(table.columns) == list(KINDS) and list(table.index)[:-1] == list(similarity_controls.COMPARISONS)
    assert (
        table.loc[similarity_controls.UNTRAINED, "LayerNorm"] == "constant"
        and table.loc[similarity_controls.BLURS, "SCA"] == "0.95"
    )
    assert table.iloc[-1].to_dict() == claims.PAPER
    assert claims.side_by_side(summary(INHERITED), "cka rbf").iloc[-1, 0] == "great similarity"
