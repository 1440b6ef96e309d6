"""Laws of the ledger: which rows decide a claim, and what they say together."""

import itertools
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from demoe.core import provenance
from demoe.core.files import published_dir
from demoe.core.paper import published
from demoe.report import claims, ledger, published_claims
from demoe.report.claims import Claim

MARK = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")


@pytest.mark.parametrize(
    ("words", "wants", "together"),
    [
        ([], "better", "not looked at"),
        (["better", "holds"], "better", "holds"),
        (["better", "undecided"], "better", "undecided"),
        (["better", ""], "better", "undecided"),
        (["better", "undecided", "worse"], "better", "fails"),
        (["no difference"], "better", "fails"),
        (["worse", "holds"], "worse", "holds"),
        (["better"], "worse", "fails"),
        (["worse", "no difference"], "no difference", "holds"),
        (["better"], "no difference", "fails"),
        (["better", "no difference"], "no worse", "holds"),
        (["worse"], "no worse", "fails"),
    ],
)
def test_rows_together(words, wants, together):
    for order in itertools.permutations(words):
        assert ledger.verdict(order, wants) == together


def test_a_verdict_that_no_row_has_is_refused():
    with pytest.raises(ValueError, match="no such verdict: perhaps"):
        ledger.verdict(["perhaps"])


def test_every_entry_is_complete():
    entries, numbering = ledger.entries()
    assert len(entries) >= 38 and numbering
    for key, entry in entries.items():
        assert entry["says"] and entry["place"] and (entry.get("rows") or entry.get("printed")), key
        assert set(entry) <= {
            "says",
            "paper",
            "place",
            "rows",
            "printed",
            "wants",
            "most",
            "lacks",
            "real",
            "patience",
            "basis",
            "least",
        }, key
        assert ("basis" in entry) == ("least" in entry), key
        ledger.verdict([], entry.get("wants", "better"))


def kept(home, *rows: Claim) -> pd.DataFrame:
    claims.keep(rows, "05", MARK)
    return ledger.table(claims.read("test")).set_index("id")


def test_a_claim_is_decided_by_its_rows_alone(home):
    found = kept(
        home,
        Claim("demoe-t1-counts", "Counts", 4.0, verdict="holds"),
        Claim("demoe-t1-average", "The best", verdict="fails"),
        Claim("demoe-f10-bins", "Bins", 0.2, verdict="holds"),
        Claim("demoe-p-averages", "Averages", 32.0, verdict="fails"),
    )
    assert found.here["01-cost"] == "holds" and found.here["08-best"] == "fails"
    assert found.here["19-histogram"] == "undecided" and "these are synthetic" in found.ours["19-histogram"]
    assert found[ledger.PRINTED]["37-averages"] == "fails" and found.here["37-averages"] == ""
    assert found.here["21-noise"] == "not looked at" and found.notebook["01-cost"] == "05"
    assert found.commit["01-cost"] == "1234567" and "Counts: +4.00 dB" in found.ours["01-cost"]
    counted = ledger.counts(found.reset_index())
    assert counted.loc["DeMoE", "holds"] == 1 and counted.to_numpy().sum() == (found.here != "").sum()


@pytest.mark.parametrize(("profile", "data"), [*itertools.product(("smoke", "cpu"), ("synthetic", "real"))])
def test_who_fails_after_minutes_or_on_other_data_decides_nothing(home, profile, data):
    mark = provenance.Stamp(profile, data, 0, "", "1234567", "a machine")
    rows = [Claim("demoe-router-accuracy", "A", verdict="fails"), Claim("demoe-f10-bins", "B", verdict="holds")]
    claims.keep(rows, "06", mark)
    here = ledger.table(claims.read(profile)).set_index("id").here
    assert here["11-router"] == ("undecided" if profile == "smoke" else "fails")
    assert here["19-histogram"] == ("holds" if data == "real" else "undecided")


@pytest.mark.parametrize(
    ("interval", "word"),
    [((0.02, 0.06), "holds"), ((0.02, 0.3), "undecided"), ((0.2, 0.3), "fails"), ((-0.3, -0.2), "holds")],
)
def test_a_gain_is_little_only_where_all_of_its_interval_is(home, interval, word):
    verdict = "better" if interval[0] > 0 else "worse"
    rows = [
        Claim(f"demoe-table-5-left-twice-the-width-{choice}", "twice the width", 0.0, *interval, verdict=verdict)
        for choice in ("router-s-expert", "expert-by-hand")
    ]
    assert kept(home, *rows)[ledger.HERE]["25-width"] == word


def test_what_no_notebook_has_written_is_named(home):
    names = ledger.unused(claims.read("test"))
    claims.keep([Claim("demoe-t1-counts", "Counts", 4.0, verdict="holds")], "05", MARK)
    assert set(names) - set(ledger.unused(claims.read("test"))) == {"demoe-t1-counts"}


def test_the_printed_numbers_decide_by_themselves(home):
    rows = {row.id.removeprefix("demoe-p-"): row for row in published_claims.all_rows()}
    assert rows["averages"].here == "32 of 33" and "Restormer, ssim of table1: 0.853" in rows["averages"].control
    manual = rows["manual"].control
    assert "NAFNet on RealDOF (PSNR)" in manual and "Real-LOLBlur MUSIQ +7.57" in manual and "NIQE -1.74" in manual
    assert rows["params"].criterion == "within a quarter of 2" and "14 when rounded" in rows["macs"].control
    assert [published_claims.near(ratio, 2) for ratio in (1.49, 1.51, 2.49, 2.51)] == [False, True, True, False]
    fail = {"averages", "runtime", "deblurgan-v2", "manual", "aperture"}
    assert {name for name, row in rows.items() if row.verdict == "fails"} == fail
    assert all(row.verdict == "holds" for name, row in rows.items() if name not in fail)
    numbers = published().query("table == 'table1_aio' and dataset == '-'").set_index(["method", "metric"]).value
    assert (
        rows["runtime"].ours
        == pytest.approx(13.1 / 8)
        == numbers["DeMoE_k1", "runtime_ms"] / numbers["NAFNet", "runtime_ms"]
    )
    claims.keep(rows.values(), "14", MARK)
    table = ledger.table(claims.read("test")).set_index("id")
    assert (table[ledger.PRINTED] == "fails").sum() == 5 and (table[ledger.PRINTED] == "not looked at").sum() == 0


def test_the_figure_shows_every_claim(home):
    found = kept(home, Claim("demoe-t1-counts", "Counts", 4.0, verdict="holds")).reset_index()
    bars = ledger.figure(found).axes[0].patches
    assert sum(bar.get_width() for bar in bars) == (found.here != "").sum()


def test_the_published_results_have_every_row_of_the_ledger():
    """But those of weights that no machine without a download has, and of networks that smoke leaves out."""
    left_out = {
        "demoe-t1-average",
        "demoe-t1-equal-steps",
        "demoe-figure-6-right-end-to-end-*",
        "demoe-figure-6-right-noise-on-*",
        "demoe-table-5-left-twice-the-width-*",
        "demoe-table-7-order-*",
    }
    file = Path(__file__).parents[2] / "results/published/smoke/tables/claims.csv"
    unused = set(ledger.unused(pd.read_csv(file, dtype=str, keep_default_na=False)))
    assert unused - left_out == {"prior-premise-*-tresnet-*"}


def test_a_claim_does_not_hold_by_some_of_its_rows(home):
    one, other = "demoe-experts-random", "demoe-experts-pretrained"
    found = kept(home, Claim(one, "R", 0.9, verdict="holds"))
    assert found.here["30-own-blur"] == "undecided" and "cannot hold" in found.ours["30-own-blur"]
    assert kept(home, Claim(one, "R", 0.1, verdict="fails")).here["30-own-blur"] == "fails"
    both = [Claim(name, "R", 0.9, verdict="holds") for name in (one, other)]
    assert kept(home, *both).here["30-own-blur"] == "holds"


def test_what_turns_without_lolblur_is_decided_by_brightness(home):
    name = "demoe-table-5-right-baseline-no-classification-loss-expert-by-hand"
    for word, rest, here in (
        ("better", "worse", "undecided"),
        ("better", "better", "fails"),
        ("worse", "worse", "holds"),
    ):
        told = f"without LOLBlur -0.297 dB [-0.524, -0.159], {rest}; one training each"
        found = kept(home, Claim(name, "R", 0.8, verdict=word, control=told))
        assert found.here["22-class-loss"] == here
        assert ("the other way round" in found.ours["22-class-loss"]) == (here == "undecided")


def test_networks_that_have_learnt_less_than_the_effect_show_nothing_of_it(home):
    for learnt, here in ((0.07, "undecided"), (0.5, "fails")):
        basis = Claim("prior-basis", "Net0 over its input", learnt, verdict="better", unit="dB")
        rows = [Claim(id, "R", 0.0, verdict="no difference") for id in ("prior-t1-unet", "prior-survives")]
        claims.keep([basis, *rows], "12", replace(MARK, profile="cpu"))  # smoke decides nothing of it anyway
        found = ledger.table(claims.read("cpu")).set_index("id")
        assert found.here["b2-gain"] == here
        assert ("less than the +0.17 dB" in found.ours["b2-gain"]) == (here == "undecided")


def test_what_the_paper_does_not_claim_decides_nothing(home):
    names = {"one-start-3x3": "holds", "two-starts-3x3": "fails", "survives": "fails"}
    rows = [Claim(f"demoe-weights-{name}", "R", verdict=verdict) for name, verdict in names.items()]
    rows += [Claim("demoe-weights-one-start-others", "R", verdict="holds")]
    rows += [Claim("demoe-weights-two-starts-others", "R", verdict="fails")]
    here = kept(home, *rows).here
    assert here["12-3x3"] == here["13-others"] == "holds"


def test_both_readings_of_the_noise_decide(home):
    rows = [Claim("demoe-f6-noise-on-weights", "W", verdict="holds")]
    assert kept(home, *rows).here["21-noise"] == "holds"
    mark = provenance.Stamp("cpu", "synthetic", 0, "", "1234567", "a machine")
    claims.keep([*rows, Claim("demoe-f6-noise-on-logits", "L", verdict="fails")], "04", mark)
    assert ledger.table(claims.read("cpu")).set_index("id").here["21-noise"] == "fails"


def test_a_loss_that_costs_what_the_papers_own_cost_is_comparable(home):
    names = ("mae-kept-local", "mae-kept-global", "fmlc-hinet-fmlc-img-focus-comparable", "fmlc-hinet-tfmlc-comparable")
    worse = Claim("mae-psnr-local-none", "L", -0.1, verdict="worse")
    here = kept(home, worse, *(Claim(name, "K", -0.1, verdict="holds") for name in names)).here
    assert here["a1-psnr"] == here["c3-psnr"] == "holds"


@pytest.mark.parametrize("profile", ["smoke", "cpu"])
def test_a_published_ledger_tells_what_the_published_claims_say(profile):
    """Notebook 14 was published after the notebooks whose rows it shows."""
    table = pd.read_csv(published_dir(profile) / "tables" / "14_ledger.csv", keep_default_na=False)
    told = sorted(claims._rows(published_dir(profile) / "tables" / claims.FILE).sentence, key=len, reverse=True)
    for row in table.itertuples():
        rest = row.ours
        for sentence in told:
            rest = rest.replace(sentence, "")
        assert not rest.strip() or rest.strip().startswith("Undecided: "), (row.id, rest)
