"""Tables and sentences about the ablations: complete, beside the paper's numbers, and following from theirs."""

import itertools

import numpy as np
import pandas as pd
import pytest

from demoe.experiments import ablations, costs
from demoe.report import ablation_claims, ablation_figures
from demoe.report import ablation_tables as at
from demoe.report.paper import published
from demoe.tasks import DATASETS

ALL = (at.FIGURE_6, at.TABLE_5_LEFT, at.TABLE_5_RIGHT, at.TABLE_7, at.START)


def made_up(effects: dict[str, float], count=1):
    rng = np.random.default_rng(0)
    rows = []
    for training, method in itertools.product(range(count), at.experiments_of(*ALL)):
        for name, image in itertools.product(DATASETS, range(6)):
            psnr = 20 + image + effects.get(method, 0) + 0.03 * rng.standard_normal()
            rows.append({"training": training, "set": f"{name}-syn", "image": f"{image}_p{image}", "method": method,
                         "psnr": psnr, "ssim": 0.7})
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
    assert {row.experiment for row in at.ROWS} <= set(ablations.NAMED)
    stage1_only = {"variant-wide", "variant-more-middle"}
    assert set(ablations.NAMED) - {row.experiment for row in at.ROWS} == stage1_only


def test_results_stand_beside_the_papers_numbers():
    table = at.results(made_up(like_the_paper()), *ALL)
    plk = table[table.method == "ablation-plk"].iloc[0]
    assert (plk.paper_psnr, plk.paper_difference) == (28.46, -0.73) and plk.sign == -1
    loss = table[table.method == "variant-no-class-loss"].iloc[0]
    assert loss.reference == "variant-class-loss" and loss.paper_difference == -0.28
    assert table[table.table == at.START].paper_psnr.isna().all()
    orders = at.orders(table).set_index("table")
    assert orders.rho[at.TABLE_7] == pytest.approx(1) and orders.p[at.TABLE_7] == pytest.approx(1 / 120)
    assert orders.rows["all rows"] == 16 and at.START not in orders.index


def test_sentences_change_with_the_numbers():
    same, other = at.results(made_up(like_the_paper()), *ALL), at.results(made_up({"ablation-plk": 1}), *ALL)
    assert "have the paper's sign" in ablation_claims.differences(same, at.TABLE_7)
    assert "below the reference: " in ablation_claims.differences(same, at.TABLE_7)
    assert "other way round than in the paper: PLK experts" in ablation_claims.differences(other, at.TABLE_7)
    assert "No difference here is beyond noise" in ablation_claims.differences(other, at.FIGURE_6)
    kept, turned = (ablation_claims.order(at.orders(table))[3] for table in (same, other))
    assert kept.startswith("Table 7, 5 rows: Spearman's rho +1.00") and "more than chance" in kept
    assert turned.startswith("Table 7, 5 rows") and "cannot be told from a random one" in turned
    for effect, words in ((1, "copies end above in this one"), (-1, "copies end below"), (0, "cannot be told")):
        table = at.results(made_up({"ablation-pretrained-experts": effect}), *ALL)
        assert words in ablation_claims.experts_start(table)


def test_one_training_is_said_to_be_one():
    once, thrice = (at.results(made_up({}, count), *ALL) for count in (1, 3))
    assert "spread over trainings is unknown" in ablation_claims.noise(once)
    assert "mean of 3 trainings" in ablation_claims.noise(thrice) and "unknown" not in ablation_claims.noise(thrice)
    laid = at.LAYOUTS["08_table_7"].build(lambda name: once)
    more = at.LAYOUTS["08_table_7"].build(lambda name: thrice)
    assert {name for _, name in set(more.columns) - set(laid.columns)} == {
        "[95 % over trainings]", "standard deviation over trainings (dB)"}


def test_layouts_hold_both_sides():
    table = at.results(made_up({}), *ALL).assign(data="synthetic")
    laid = at.LAYOUTS["08_table_5_right"].build(lambda name: table)
    assert {head for head, _ in laid.columns} == {"paper (real)", "here (-syn)"}
    assert laid.loc["more MoEBlocks", ("paper (real)", "PSNR (dB) ↑")] == "**29.26**"
    assert list(laid.index) == [row.label for row in at.rows(at.TABLE_5_RIGHT)]
    start = at.LAYOUTS["08_start"].build(lambda name: table)
    assert {head for head, _ in start.columns} == {"here (-syn)"}


@pytest.mark.parametrize("in_use, words", [((1.5, 2.5), "more experts learn"), ((1.5, 1.51), "hardly more"),
                                           ((3, 2.5), "no more experts")])
def test_router_noise_sentence(in_use, words):
    assert words in ablation_claims.router_noise(*in_use, 1.0)


def made_up_costs():
    rows = [{"experiment": name, "params": 10**6, "macs": 10**9, "steps": 360, "activation_bytes": 2**28,
             "state_bytes": 2**20} for name in costs.NAMES]
    table = pd.DataFrame(rows).set_index("experiment")
    for name in ("wide", "more-middle", "more-moe", "wavelet", "restormer", "plk"):
        table.loc[f"ablation-{name}", "macs"] = 2 * 10**9
    table.loc["ablation-finetune-all", "activation_bytes"] = 2**29
    table.loc["ablation-wide", "activation_bytes"] = 2**30
    return table.reset_index()


def test_cost_sentences():
    first, second = ablation_claims.costs(made_up_costs(), at.results(made_up({}), *ALL))
    assert "to 1025 MiB (ablation-wide)" in first and "takes 50% off" in first
    assert "Of 6 variants with more MACs than DeMoE, 0 are above" in second and "4 are: twice the width" in second
    dear = ablation_claims.costs(made_up_costs(), at.results(made_up({"ablation-plk": 1}), *ALL))[1]
    assert "1 are above it here beyond noise: PLK experts (2.00 times the MACs)" in dear


def test_figures_show_every_row():
    table = at.results(made_up({}, 3), *ALL)
    figure = ablation_figures.differences(table)
    labels = [label.get_text().removesuffix(" *") for label in figure.axes[0].get_yticklabels()]
    assert labels == [row.label for row in at.ROWS if row.experiment != row.reference]
    both = pd.concat([made_up_costs().assign(size=size) for size in ("paper", "here")])
    figure = ablation_figures.cost_and_quality(table, both)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 13
