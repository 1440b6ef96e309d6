"""Laws of claims: what a verdict needs, what a row says, and how the file of all of them is kept."""

import math
import re
import threading
from dataclasses import replace

import pandas as pd
import pytest

from demoe.core import provenance
from demoe.core.files import results_dir
from demoe.report import claims
from demoe.report.claims import Claim

MARK = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")


def row(mean: float, low: float, high: float, scenes: int = 9, **more: float) -> pd.Series:
    return pd.Series({"mean": mean, "low": low, "high": high, "scenes": scenes, **more})


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.4, 0.1, 0.7), "better"),
        ((-0.4, -0.7, -0.1), "worse"),
        ((0.4, -0.1, 0.9), "undecided"),
        ((0.4, math.nan, math.nan), "undecided"),
        ((0.0, -0.001, 0.001), "no difference"),
    ],
)
def test_a_difference_is_better_only_where_its_interval_leaves_zero_out(values, verdict):
    found = claims.difference("demoe-t1-input", row(*values))
    assert found.verdict == verdict and found.criterion
    turned = claims.difference("demoe-t1-input", claims.reverse(row(*values)))
    assert turned.verdict == {"better": "worse", "worse": "better"}.get(verdict, verdict)
    few = claims.difference("demoe-t1-input", row(*values, scenes=2))
    changed = claims.difference("demoe-t1-input", row(*values, changed_scenes=2))
    assert few.verdict == changed.verdict == "undecided"


def test_where_no_picture_changes_nothing_differs_in_all_scenes():
    same = claims.difference("demoe-t1-input", row(0.0, 0.0, 0.0, changed_scenes=0))
    assert same.verdict == "no difference"


def test_an_average_says_what_is_left_of_it_without_lolblur():
    values = {"LOLBlur-syn": (5, 4, 6), "GoPro-syn": (0, -0.1, 0.1), "Average": (2.5, 2, 3)}
    table = pd.DataFrame({name: row(*value) for name, value in values.items()}).T
    assert claims.averaged("demoe-t1-input", table).control == "better on LOLBlur-syn; undecided on GoPro-syn"
    table.loc[claims.WITHOUT] = row(0, -0.1, 0.1)
    found = claims.averaged("demoe-t1-input", table)
    assert found.control.startswith("without LOLBlur 0.00 dB [-0.10, +0.10], undecided; better on LOLBlur-syn")
    assert found.verdict == "better" and "Average" not in found.control


def test_a_share_is_written_in_percent(home):
    claims.keep([claims.claim("demoe-t3-drop-share", 0.25, low=0.1, high=0.5)], "05", MARK)
    (kept,) = pd.read_csv(results_dir("test") / "tables" / claims.FILE).itertuples()
    assert (kept.ours, kept.low, kept.high, kept.published, kept.unit) == (25, 10, 50, 0.27, "%")
    assert "25.00 %" in kept.sentence


def test_a_limit_decides_and_says_so():
    for value, verdict in ((0.5, "holds"), (0.05, "undecided"), (0.01, "fails")):  # above 0.1; fails at 0.02
        found = claims.claim("demoe-weights-blur-or-low-light", value, norms="0.5")
        assert found.verdict == verdict and found.criterion == "above 0.1; fails at 0.02"
        assert found.control == "layer norms 0.5"
    for value, verdict in ((0.29, "holds"), (0.3, "fails"), (math.nan, "fails")):
        assert claims.claim("demoe-f8-low-light", value, one="SCA 0.1", two="0.2").verdict == verdict
    assert claims.claim("demoe-t1-average", holds=None).verdict == "undecided"
    assert claims.claim("demoe-t1-params", 2.0).verdict == ""


def test_every_claim_is_complete_and_has_a_rule_or_none():
    for key, entry in claims.ledger().items():
        fields = set(entry) - {"above", "below", "fails"}
        assert fields <= set(Claim.__dataclass_fields__) and entry["what"] and not entry["what"].endswith(".")
        assert not {"above", "below"} <= set(entry) and ("fails" not in entry or {"above", "below"} & set(entry)), key


def test_nothing_follows_from_a_row_whose_basis_does_not_hold():
    basis, row = Claim("a", "Networks restore", 0.5, verdict="better"), Claim("b", "B", verdict="holds", needs="a")
    assert claims.settled([row, basis]) == [row, basis]
    for verdict in ("worse", "undecided", "no difference", "fails"):
        other = claims.settled([row, replace(basis, verdict=verdict)])[0]
        assert other.verdict == "undecided"
        assert other.control == "holds by itself, but nothing follows without this: Networks restore, +0.50 dB"
    open_ = replace(row, verdict="undecided")
    assert claims.settled([open_])[0] == open_
    with pytest.raises(ValueError, match="claim b needs a, which is not among"):
        claims.settled([row])


def test_what_a_claim_needs_is_a_claim():
    known = [re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(key))) for key in claims.ledger()]
    known = [one for one in known if not one.fullmatch("demoe-there-is-no-such-row")]  # names in braces alone
    wanted = {entry["needs"] for entry in claims.ledger().values() if "needs" in entry}
    assert len(wanted) >= 6
    for needs in wanted:
        assert any(one.fullmatch(re.sub(r"\{\w+\}", "some", needs)) for one in known), needs


def test_a_row_in_words():
    found = claims.difference("demoe-t1-{other}", row(0.123, 0.05, 0.2), "a control", other="NAFNet", published=0.07)
    assert (
        found.id == "demoe-t1-nafnet" and found.here == "+0.12 dB [+0.05, +0.20]" and found.there == "Table 1: +0.07 dB"
    )
    assert found.sentence == (
        "DeMoE k=1 over NAFNet, trained equally long, average PSNR: +0.12 dB [+0.05, +0.20]; paper, Table 1: +0.07 dB; "
        "a control. Verdict: better."
    )
    bare = Claim("a", "A count", 3.0, unit="of 5", decimals=0)
    assert bare.sentence == "A count: 3 of 5." and bare.there == ""
    assert Claim("a", "A share", 0.5, 0.4, 0.6, "%", 0).here == "50 % [40, 60]"


def test_sets_are_listed_by_their_verdict_and_all_must_agree():
    rows = pd.DataFrame({"A": row(1, 0.5, 1.5), "B": row(-1, -2, -0.5), "C": row(1, 0.5, 1.5), "D": row(0, -1, 1)}).T
    assert claims.told_by_set(rows) == "better on A, C; worse on B; undecided on D"
    assert claims.every(["better", "better"]) and claims.every(["better", "undecided"]) is None
    assert claims.every(["better", "worse", "undecided"]) is False and claims.every([]) is None


def test_a_notebook_replaces_its_own_rows_alone(home):
    first, second = Claim("a", "1 | 2, 3", 0.5), Claim("b", "B", verdict="holds")
    text = claims.keep([first, second], "05", MARK)
    assert text.splitlines()[0].startswith("| claim") and r"1 \| 2, 3" in text and len(text.splitlines()) == 4
    claims.keep([Claim("c", "C")], "03", MARK)
    claims.keep([second], "05", MARK)
    table = claims.read("test")
    assert table.id.tolist() == ["c", "b"] and table.notebook.tolist() == ["03", "05"]
    assert (
        table.verdict.tolist() == ["", "holds"] and set(table.commit) == {"1234567"} and table.ours.tolist() == ["", ""]
    )
    assert list(table) == list(claims.COLUMNS) and claims.read("smoke").empty
    with pytest.raises(ValueError, match=r"claims\.csv would have two claims named b"):
        claims.keep([second], "03", MARK)
    assert claims.read("test").equals(table)


def test_two_notebooks_at_once_lose_nothing(home):
    names = [f"{number:02d}" for number in range(8)]
    threads = [threading.Thread(target=claims.keep, args=([Claim(f"id-{name}", "W")], name, MARK)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert claims.read("test").notebook.tolist() == names
    assert [file.name for file in (results_dir("test") / "tables").glob("*.csv")] == ["claims.csv"]
