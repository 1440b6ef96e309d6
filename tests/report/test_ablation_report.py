"""Tables and sentences about the ablations: complete, beside the paper's numbers, and following from theirs."""

import itertools

import numpy as np
import pandas as pd
import pytest

from demoe.core import profiles
from demoe.core.paper import published
from demoe.core.tasks import DATASETS
from demoe.experiments import NEEDED_BY
from demoe.report import ablation_report, claims, layouts
from demoe.report import ablation_tables as at

ALL = (at.FIGURE_6, at.TABLE_5_LEFT, at.TABLE_5_RIGHT, at.TABLE_7, at.START)


def made_up(effects: dict[str, float], count=1, routed=0.0):
    """Scores by hand; the router's differ by ``routed`` dB for all that has experts."""
    rng = np.random.default_rng(0)
    rows = []
    for training, method in itertools.product(range(count), [*at.experiments_of(*ALL), "input"]):
        for name, image in itertools.product(DATASETS, range(6)):
            psnr = 20 + image + effects.get(method, 0) + 0.03 * rng.standard_normal()
            experts = method.startswith("ablation")
            common = {
                "training": training,
                "set": f"{name}-syn",
                "image": f"{image}_p{image}",
                "method": method,
                "ssim": 0.7,
                "right": float(image < 3) if experts else np.nan,
            }
            rows += [
                common | {"choice": "router", "psnr": psnr + routed * experts},
                common | {"choice": "by hand", "psnr": psnr},
            ]
    return pd.DataFrame(rows)


def like_the_paper():
    """Every experiment has the published average."""
    numbers = published().query("dataset == 'Average' and metric == 'psnr'").set_index(["table", "method"]).value
    return {row.experiment: 10 * (numbers[row.source] - 29.19) for row in at.ROWS if row.source[0]}


def test_every_published_row_has_an_experiment_of_its_own():
    sources = {row.source for row in at.ROWS}
    for name in ("figure6_training_ablation", "table5_fusion_ablation", "table5_baseline_ablation", "table7_experts"):
        for method in published().query("table == @name").method.unique():
            assert (name, method) in sources
    assert {row.experiment for row in at.ROWS} <= set(NEEDED_BY["08"])
    stage1_only = {"variant-wide", "variant-more-middle", at.SHORT_REFERENCE}
    assert set(NEEDED_BY["08"]) - {row.experiment for row in at.ROWS} == stage1_only


def test_results_stand_beside_the_papers_numbers():
    table = at.results(made_up(like_the_paper()), *ALL)
    for choice in ("router", "by hand"):
        part = table[table.choice == choice]
        plk = part[part.method == "ablation-plk"].iloc[0]
        assert (
            (plk.paper_psnr, plk.paper_difference) == (28.46, -0.73) and plk.verdict == "worse" and plk.accuracy == 0.5
        )
        loss = part[part.method == "variant-no-class-loss"].iloc[0]
        assert loss.reference == "variant-class-loss" and loss.paper_difference == -0.28 and np.isnan(loss.accuracy)
    assert table[table.table == at.START].paper_psnr.isna().all()
    orders = at.orders(table).set_index("table")
    for suffix in ("", ", expert by hand"):
        name = at.TABLE_7 + suffix
        assert orders.rho[name] == pytest.approx(1) and orders.p[name] == pytest.approx(1 / 120)
        assert orders.rows[f"all rows{suffix}"] == 16
    assert not any(name.startswith(at.START) for name in orders.index) and orders.index.is_unique


def by_id(rows) -> dict:
    return {row.id.removeprefix("demoe-"): row for row in rows}


def test_verdicts_change_with_the_numbers():
    same, other = at.results(made_up(like_the_paper(), 3), *ALL), at.results(made_up({"ablation-plk": 1}, 3), *ALL)
    for choice in ("router-s-expert", "expert-by-hand"):
        before, after = (by_id(ablation_report.differences(table, False, "08")) for table in (same, other))
        plk = f"table-7-plk-experts-{choice}"
        assert (before[plk].verdict, after[plk].verdict) == ("worse", "better") and before[plk].trainings == 3
        assert before[plk].published == pytest.approx(-0.73) and "over trainings [" in before[plk].control
        assert after[f"figure-6-right-noise-on-the-router-s-weights-{choice}"].verdict != "better"
        assert before[f"start-of-the-experts-copies-of-the-baseline-s-blocks-{choice}"].place == ""
        kept, turned = (by_id(ablation_report.order(at.orders(table), False, "08")) for table in (same, other))
        order = f"table-7-order-{choice}"
        assert (kept[order].verdict, turned[order].verdict) == ("holds", "fails") and kept[order].here == "1.00"
        reversed_ = at.results(made_up({name: -gain for name, gain in like_the_paper().items()}, 3), *ALL)
        assert by_id(ablation_report.order(at.orders(reversed_), False, "08"))[order].verdict == "fails"


def test_an_order_that_lolblur_alone_makes_is_undecided():
    scores, gains = made_up({}, 3), like_the_paper()
    dark = scores["set"] == "LOLBlur-syn"
    scores.loc[dark, "psnr"] += scores[dark].method.map(gains).fillna(0)
    row = by_id(ablation_report.order(at.orders(at.results(scores, *ALL)), False, "08"))["table-7-order-expert-by-hand"]
    assert row.ours == 1 and row.verdict == "undecided" and "without LOLBlur" in row.control


def test_nothing_is_decided_where_the_reference_does_not_restore():
    scores = made_up(like_the_paper() | {"input": -1}, 3)
    for change, verdict in ((0, "worse"), (3, "undecided")):  # the input is below the reference, and above
        better = scores.assign(psnr=scores.psnr + change * (scores.method == "input"))
        table, basis = at.results(better, *ALL), at.basis(better)
        rows = [*ablation_report.basis(basis, "08"), *ablation_report.differences(table, False, "08")]
        found = by_id(claims.settled([*rows, *ablation_report.order(at.orders(table), False, "08")]))
        assert found["table-7-plk-experts-expert-by-hand"].verdict == verdict
        assert found["table-7-order-expert-by-hand"].verdict == ("undecided" if change else "holds")
    dark = better.assign(psnr=better.psnr + 9 * ((better["set"] == "LOLBlur-syn") & (better.method == at.REFERENCE)))
    by = {row.sets: row.verdict for row in at.basis(dark).itertuples() if row.reference == "input"}
    assert by[at.BRIGHT] == "worse"


def test_no_verdict_from_the_router_where_it_decides():
    scores = made_up(like_the_paper(), 3, routed=-12)
    table, basis = at.results(scores, *ALL), at.basis(scores)
    assert ablation_report.routing_decides(basis)
    assert not ablation_report.routing_decides(at.basis(made_up(like_the_paper(), 3)))
    # Below its stage 1 with every expert, it is the training that decides, and not the router.
    lost = dict.fromkeys([one for one in at.experiments_of(*ALL) if one.startswith("ablation")], -2)
    assert not ablation_report.routing_decides(at.basis(made_up(lost, 3, routed=-0.1)))
    found = [*ablation_report.differences(table, True, "08"), *ablation_report.order(at.orders(table), True, "08")]
    rows = by_id(found)
    by_router = [row for name, row in rows.items() if name.endswith("router-s-expert")]
    assert {row.verdict for row in by_router} == {"undecided"} and len(by_router) >= 20
    assert all(ablation_report.ROUTED in row.control for row in by_router)
    by_hand = [row for name, row in rows.items() if name.endswith("expert-by-hand")]
    assert {"worse", "better", "holds"} <= {row.verdict for row in by_hand} and len(by_hand) == len(by_router)
    assert "of one stage" in rows["all-rows-order-expert-by-hand"].control


def test_the_reference_stands_beside_its_stage_1_and_the_input():
    good, bad = at.basis(made_up({at.REFERENCE: 1})), at.basis(made_up({at.REFERENCE: 1}, routed=-3))
    assert list(good.reference) == ["baseline", "input"] * 4 and (good.verdict == "better").all()
    assert list(good.sets) == [*[at.ALL_SETS] * 2, *[at.BRIGHT] * 2] * 2
    assert list(bad.verdict) == ["worse"] * 4 + ["better"] * 4 and (bad.accuracy == 0.5).all()
    rows = ablation_report.basis(bad, "ablations")
    assert [row.verdict for row in rows] == ["worse"] * 4 + ["better"] * 4
    assert "right on 50% of" in rows[0].control and "router" not in rows[4].control
    assert rows[0].control.startswith("without LOLBlur -1.982 dB [-1.997, -1.967], worse")


def test_one_training_is_said_to_be_one():
    once, thrice = (at.results(made_up(like_the_paper(), count), *ALL) for count in (1, 3))
    assert (
        ablation_report.noise(once, "08").verdict == "undecided"
        and "unknown" in ablation_report.noise(once, "08").control
    )
    assert ablation_report.noise(thrice, "08").ours > 0 and "unknown" not in ablation_report.noise(thrice, "08").control
    assert all("one training each" in row.control for row in ablation_report.differences(once, False, "08"))
    assert not any("one training each" in row.control for row in ablation_report.differences(thrice, False, "08"))
    laid = layouts.TABLES["08_table_7"](lambda name: once)
    more = layouts.TABLES["08_table_7"](lambda name: thrice)
    assert {name for _, name in set(more.columns) - set(laid.columns)} == {
        "[95 % over trainings]",
        "standard deviation over trainings (dB)",
    }


def test_layouts_hold_both_sides():
    table = at.results(made_up({}), *ALL).assign(data="synthetic")
    laid = layouts.TABLES["08_table_5_right"](lambda name: table)
    assert {head for head, _ in laid.columns} == {
        "paper (real)",
        "here (-syn), router's expert",
        "here (-syn), expert by hand",
        "here",
    }
    assert laid.loc["more MoEBlocks", ("here", "router is right")] == "50%"
    assert laid.loc["baseline, classification loss", ("here", "router is right")] == "–"
    assert laid.loc["more MoEBlocks", ("paper (real)", "PSNR (dB) ↑")] == "**29.26**"
    assert list(laid.index) == [row.label for row in at.rows(at.TABLE_5_RIGHT)]
    start = layouts.TABLES["08_start"](lambda name: table)
    assert "paper (real)" not in {head for head, _ in start.columns}


@pytest.mark.parametrize("in_use, verdict", [((1.5, 2.5), "holds"), ((1.5, 1.51), "undecided"), ((3, 2.5), "fails")])
def test_router_noise_is_held_against_none(in_use, verdict):
    (row,) = ablation_report.noise_in_use(in_use[0], {"weights": in_use[1]}, {"weights": 0.2})
    assert row.verdict == verdict and row.id == "demoe-f6-noise-on-weights" and "sigma 0.2" in row.control


def made_up_costs():
    rows = [
        {
            "experiment": name,
            "params": 10**6,
            "macs": 10**9,
            "steps": 360,
            "activation_bytes": 2**28,
            "state_bytes": 2**20,
        }
        for name in NEEDED_BY["08"]
    ]
    table = pd.DataFrame(rows).set_index("experiment")
    for name in ("wide", "more-middle", "more-moe", "wavelet", "restormer", "plk"):
        table.loc[f"ablation-{name}", "macs"] = 2 * 10**9
    table.loc["ablation-finetune-all", "activation_bytes"] = 2**29
    table.loc["ablation-wide", "activation_bytes"] = 2**30
    return table.reset_index()


def both_sizes():
    published = at.published_costs().macs_g * 1e9
    paper = made_up_costs().set_index("experiment")
    paper["macs"] = published.reindex(paper.index).fillna(10**9)
    paper.loc["ablation-darkir", "macs"] = 10.74e9
    return pd.concat([paper.reset_index().assign(size="paper"), made_up_costs().assign(size="here")])


def test_costs_as_claims():
    memory, pays, macs = ablation_report.costs(both_sizes(), at.results(made_up({}, 3), *ALL))
    assert memory.here == "50 %" and "to 1025 MiB (ablation-wide)" in memory.control
    assert pays.here == "0 of 6" and pays.words.startswith("4: twice the width")
    assert macs.here == "10 of 11" and "10.74 G counted, 11.05 G published" in macs.control and macs.verdict == "fails"
    few = at.results(made_up({}, 3), *ALL)
    few = few[few.method.isin(["ablation-demoe", "ablation-residual"])]
    assert [row.id for row in ablation_report.costs(both_sizes(), few)] == ["demoe-t5-memory", "demoe-t5-macs"]
    dear = ablation_report.costs(both_sizes(), at.results(made_up({"ablation-plk": 1}, 3), *ALL))[1]
    assert dear.here == "1 of 6" and dear.control == "PLK experts (2.00 times)"


def test_published_costs_stand_beside_the_counted():
    laid = layouts.TABLES["08_costs"](lambda name: both_sizes())
    row = laid.loc["DarkIR experts"]
    assert (row["paper: MACs (G)"], row["counted: MACs (G)"], row["paper: runtime (ms)"]) == ("11.05", "10.74", "14.2")
    assert laid.loc["residual fusion", "paper: MACs (G)"] == "–" and laid.loc["DeMoE", "paper: MACs (G)"] == "11.05"
    timed = pd.DataFrame({"network": ["ablation-demoe", "ablation-residual"], "runtime_ms": [5.04, 6], "side": 64})
    assert at.runtimes(timed).to_numpy().tolist() == [["13.1", "5.0"], ["–", "6.0"]]


def test_figures_show_every_row():
    table = at.results(made_up({}, 3), *ALL)
    figure = ablation_report.difference_figure(table)
    labels = [label.get_text().removesuffix(" *") for label in figure.axes[0].get_yticklabels()]
    assert labels == [row.label for row in at.ROWS if row.experiment != row.reference]
    assert len(figure.axes[0].containers) == 4  # two choices, over pictures and over trainings


def test_rows_that_a_profile_does_not_train_say_from_which_on_they_are():
    smoke = profiles.get("smoke")
    assert set(at.experiments_of(*ALL)) - set(at.experiments_of(*ALL, profile=smoke)) <= set(smoke.leaves_out)
    scores = made_up(like_the_paper())
    table = at.results(scores[~scores.method.isin(smoke.leaves_out)], *ALL)
    assert not set(table.method) & set(smoke.leaves_out)
    laid = layouts.TABLES["08_table_7"](lambda name: table)
    row = laid.loc["wavelet experts (from profile quick on)"]
    assert row["paper (real)", "PSNR (dB) ↑"] == "29.25" and row["paper (real)", "difference (dB)"] == "+0.06"
    assert {cell for (head, _), cell in row.items() if head.startswith("here")} == {"–"}
    assert "PLK experts" in laid.index and len(laid) == len(at.rows(at.TABLE_7))


@pytest.mark.parametrize("name", ["smoke", "cpu"])
def test_what_a_smaller_profile_trains_is_not_said_to_come_later(name):
    """A row of cpu's that is missing is none "from profile smoke on": it says why."""
    left_out, sizes = profiles.get(name).leaves_out, list(profiles.PROFILES)
    scores = made_up(like_the_paper())
    table = at.results(scores[~scores.method.isin(left_out)], *ALL)
    later = {f"from profile {one} on" for one in sizes[sizes.index(name) + 1 :]}
    for layout in ("04_figure_6_right", "08_table_5_left", "08_table_5_right", "08_table_7"):
        for label in layouts.TABLES[layout](lambda csv: table).index:
            reason = label.rpartition(" (")[2].removesuffix(")")
            assert reason in later | {"DeMoE", label} or reason in at.IN_VAIN.values(), label
    assert {one for one in at.IN_VAIN if one in left_out} == (set(at.IN_VAIN) if name == "cpu" else set())


def test_dearer_rows_that_the_paper_prints_as_better():
    found = at.dearer_and_better(at.TABLE_5_LEFT, at.TABLE_5_RIGHT, at.TABLE_7)
    assert found == ["twice the width", "more MoEBlocks", "wavelet experts", "Restormer experts"]
