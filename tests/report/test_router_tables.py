import numpy as np
import pandas as pd
import pytest

from demoe.core import provenance
from demoe.core.paper import published
from demoe.evaluation import expert_choice
from demoe.report import layouts, router_tables, tables

SETS = ("RealDOF-syn", "RSBlur-syn", "Real-LOLBlur-syn")
SHORT = tuple(name + router_tables.SHORT for name in ("PromptIR", "SFHFormer", "NAFNet", "DeMoE"))
METRICS = ("psnr", "ssim", "lpips_vgg", "musiq", "nrqm", "niqe")
MARK = provenance.Stamp("test", "synthetic", 3, commit="abc")


def scores(methods, sets=SETS) -> pd.DataFrame:
    """Two pictures a set; the value tells set and method, and LPIPS is nowhere."""
    rows = []
    for i, name in enumerate(sets):
        for j, method in enumerate(methods):
            for picture in (-1, 1):
                row = {"set": name, "image": f"{picture}", "method": method, "missing": ""}
                values = {metric: 20 + 10 * i + j + 0.25 * picture for metric in METRICS}
                rows.append(row | values | {"lpips_vgg": np.nan})
    return pd.DataFrame(rows)


def comparison() -> pd.DataFrame:
    rows = []
    for group, name in (("inside", "GoPro-syn"), ("outside", "RSBlur-syn")):
        for i, method in enumerate(expert_choice.METHODS):
            common = {"method": method, "group": group}
            rows += [
                common
                | {
                    "set": place,
                    "quantity": quantity,
                    "mean": value,
                    "low": low,
                    "high": high,
                    "pictures": 48,
                    "changed": i,
                }
                for place in (name, "Average")
                for quantity, value, low, high in (
                    ("psnr", 25.0 + i, 24.0, 26.0),
                    ("gain", 0.1 * i, -0.1, 0.5),
                    ("share", 0.25, 0.1, 0.4),
                )
            ]
            rows += [
                common | {"set": "Average", "quantity": quantity, "mean": value, "low": np.nan, "high": np.nan}
                for quantity, value in (("encoder", 1.0), ("decoder", 5.0), ("experts", 2.125))
            ]
    return pd.DataFrame(rows)


@pytest.fixture
def saved(home):
    tables.save(scores(expert_choice.METHODS), "06_scores", MARK)
    tables.save(scores(SHORT), "06_short", MARK)
    tables.save(comparison(), "06_comparison", MARK)
    return home / "results" / "test" / "tables"


def built(name: str) -> pd.DataFrame:
    return layouts.TABLES[name](lambda csv: tables.read(csv, "test"))


def test_every_table_is_written_from_its_csvs(saved):
    for name in (name for name in layouts.TABLES if name.startswith("06")):
        assert layouts.write(name, "test").markdown() == (saved / f"{name}.md").read_text()
        table = built(name)
        assert table.index.is_unique and table.map(lambda cell: isinstance(cell, str)).all().all()
        assert (saved / f"{name}.tex").read_text()
        heads = [" ".join(column) for column in table.columns]
        assert not any("real" in head and "-syn" in head for head in heads)


def test_table_2_keeps_the_papers_numbers_apart(saved):
    table = built("06_table_2")
    table.columns = table.columns.droplevel(0)
    by_hand = table.loc["DeMoE, expert chosen by hand"]
    place = expert_choice.METHODS.index(expert_choice.MANUAL)
    assert by_hand["paper (RSBlur, real)"] == "27.53 / 0.763"
    assert by_hand["here (RSBlur-syn)"] == f"{30 + place:.2f} / {30 + place:.3f}"
    assert by_hand["here (RealDOF-syn)"].endswith("/ –")
    assert table.loc["NAFNet", "paper (RealDOF, real)"] == "24.64 / 0.762 / 0.382"
    assert table.loc["NAFNet", "here (RealDOF-syn)"].startswith("21.00")  # the baseline's, not the short one's
    assert table.loc["NAFNet, as short as these", "here (RealDOF-syn)"].startswith("22.00")
    assert table.loc["NAFNet, as short as these", "paper (RealDOF, real)"] == tables.NONE
    assert table.loc["Restormer (not trained here)", "here (RealDOF-syn)"] == tables.NONE
    assert table.loc["IFAN", "paper (RealDOF, real)"] == "24.71 / 0.748 / 0.306"
    assert table.loc["LEDNet", "here (Real-LOLBlur-syn)"] == tables.NONE


@pytest.mark.parametrize(
    ("name", "paper", "dataset"),
    [
        ("06_table_8_realdof", "table8_realdof", "RealDOF"),
        ("06_table_8_rsblur", "table8_rsblur", "RSBlur"),
        ("06_table_9", "table9_real_lolblur", "Real-LOLBlur"),
    ],
)
def test_every_published_number_of_tables_8_and_9_is_there_once(saved, name, paper, dataset):
    table = built(name)
    printed = table.xs(f"paper ({dataset}, real)", axis=1, level=1)
    numbers = published().query("table == @paper")
    shown = sorted(float(cell) for cell in printed.to_numpy().ravel() if cell != tables.NONE)
    assert shown == pytest.approx(sorted(numbers.value))
    assert "DeMoE k=1" in printed.index and printed.loc["DeMoE k=1"].ne(tables.NONE).all()
    here = table.xs(f"here ({dataset}-syn)", axis=1, level=1)
    assert here.loc["input"].ne(tables.NONE).any() and here.loc["DeMoE k=5"].ne(tables.NONE).any()


def test_the_rules_tell_intervals_needs_and_cost(saved):
    table = built("06_rules")
    row = table.loc[expert_choice.ORACLE]
    place = expert_choice.METHODS.index(expert_choice.ORACLE)
    assert row["needs", "at inference"] == "sharp pictures"
    assert table.loc[expert_choice.ENTROPY, ("needs", "at inference")] == "nothing"
    assert row["PSNR (dB)", "RSBlur-syn"] == f"{25 + place:.2f}"
    assert row["gap to the oracle closed", "OOD average"] == "25 % [10, 40]"
    assert row["dB over k=1", "in-distribution average"] == f"{0.1 * place:+.3f} [-0.100, +0.500]"
    assert row["another choice than k=1", "OOD pictures"] == f"{place} of 48"
    assert row["passes of encoder / decoder / experts", "OOD"] == "1 / 5 / 2.12"


def test_a_set_that_was_not_scored_is_named():
    read = {"06_scores": scores(expert_choice.METHODS, SETS[1:]), "06_short": scores(SHORT, SETS[1:])}.__getitem__
    with pytest.raises(ValueError, match="have no RealDOF"):
        layouts.TABLES["06_table_2"](read)


def test_real_sets_are_called_by_their_name():
    real = [name.removesuffix("-syn") for name in SETS]
    read = {"06_scores": scores(expert_choice.METHODS, real), "06_short": scores(SHORT, real)}.__getitem__
    assert "here (RealDOF)" in layouts.TABLES["06_table_2"](read).columns.get_level_values(1)


def test_the_published_choices_are_those_of_the_three_sets():
    table = router_tables.paper_by_hand()
    assert list(table.index.get_level_values("dataset").unique()) == list(router_tables.SETS) and table.shape == (8, 3)
    rsblur = table.loc[("RSBlur", "psnr")]
    assert round(rsblur["DeMoE_k1_manual"] - rsblur["DeMoE_k1"], 2) == 8.3  # Section 4.2


def test_accuracy_is_by_set_and_of_all_pictures_alike():
    routing = pd.DataFrame({"set": ["b", "b", "b", "a"], "correct": [True, True, False, False]})
    found = router_tables.accuracy(routing)
    assert found.index.tolist() == ["b", "a", "all"] and found.tolist() == pytest.approx([2 / 3, 0, 0.5])
