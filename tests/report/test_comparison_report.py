"""Tables, claims and figures of notebook 05 on made-up numbers, both ways."""

import itertools
import math

import pandas as pd
import pytest
import torch

from demoe.core import provenance
from demoe.core.files import results_dir
from demoe.data.pairs import PairedSet
from demoe.evaluation import metrics
from demoe.evaluation.comparison import MAIN, crossed, examples, worst_crop
from demoe.evaluation.methods import Compared, blurred_input
from demoe.evaluation.statistics import WITHOUT
from demoe.models.outputs import Restored
from demoe.report import comparison_claims as claims
from demoe.report import comparison_report, layouts, tables
from demoe.report.claims import settled

SETS = ("RealBlur-syn", "ReLoBlur-syn", "DPDD-syn", "LOLBlur-syn", "GoPro-syn")
MARK = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")
KS = [f"DeMoE longer k={k}" for k in range(1, 6)]
ROLES = {
    "input": "input",
    "PromptIR": "equal length",
    "Restormer": "equal length",
    "NAFNet": "equal length",
    "DeMoE": "equal length",
    "NAFNet longer": "longer",
    **dict.fromkeys(KS, "longer"),
    "DeMoE*": "task-specific",
}


def methods(left_out: str = "", width: str = "") -> pd.DataFrame:
    rows = [(role, f"the {role}{width}", group, "3 steps", 1e6, 2e9, "", "abc") for role, group in ROLES.items()]
    table = pd.DataFrame(rows, columns=["role", "method", "group", "training", "params", "macs", "missing", "trained"])
    table.loc[table.role == left_out, "missing"] = "not installed"
    return table


def summary(psnr: float = 25.0) -> pd.DataFrame:
    rows = [
        {"set": name, "method": f"the {role}", "metric": metric, "mean": value, "low": value - 1, "high": value + 1}
        for i, role in enumerate(ROLES)
        for name in (*SETS, "Average")
        for metric, value in (("psnr", psnr + 0.1 * i), ("ssim", 0.8), ("lpips_vgg", math.nan))
    ]
    return pd.DataFrame(rows).assign(images=9, missing=0, scenes=9)


def differences(means: dict[tuple[str, str], float], spread: float = 0.05, sets=("Average",)) -> pd.DataFrame:
    rows = [
        {
            "first": first,
            "second": second,
            "set": name,
            "metric": "psnr",
            "mean": mean,
            "low": mean - spread,
            "high": mean + spread,
        }
        for (first, second), mean in means.items()
        for name in sets
    ]
    return pd.DataFrame(rows).assign(images=9, missing=0, scenes=9)


def by_id(rows) -> dict:
    return {row.id.removeprefix("demoe-"): row for row in rows}


def test_table_1_is_judged_by_the_intervals():
    compared = ("PromptIR", "Restormer", "NAFNet")
    best = {("DeMoE", name): 0.3 for name in compared} | {("DeMoE", "input"): -5.0}
    best |= {(name, "input"): -5.3 for name in compared}
    rows = claims.best_overall(differences(best), methods())
    found = by_id(rows)
    assert found["t1-average"].verdict == "holds"
    assert set(found) == {"t1-average", "t1-promptir", "t1-restormer", "t1-nafnet", "t1-restores"}
    assert found["t1-restores"].verdict == "worse" and found["t1-restores"].control == "DeMoE"
    kept = by_id(settled(rows))
    assert kept["t1-average"].verdict == kept["t1-nafnet"].verdict == "undecided"
    assert "better by itself, but nothing follows without this" in kept["t1-nafnet"].control
    restoring = {key: gain + 6 * (key[1] == "input") for key, gain in best.items()}
    assert settled(claims.best_overall(differences(restoring), methods()))[0].verdict == "holds"
    assert found["t1-nafnet"].published == pytest.approx(0.07) and found["t1-promptir"].published == pytest.approx(0.56)
    assert found["t1-nafnet"].control == "" and "slim" not in found["t1-average"].control
    unsure = claims.best_overall(differences(best | {("DeMoE", "NAFNet"): 0.01}), methods(width=" (width 8)"))
    assert unsure[0].verdict == "undecided"
    slim = methods(width=" (width 8)").assign(macs=[math.nan, 1e9, 4e9, *[2e9] * 9])
    assert "slim networks of uneven cost (1.00 to 4.00 G" in claims.best_overall(differences(best), slim)[0].control
    beaten = claims.best_overall(differences(best | {("DeMoE", "PromptIR"): -0.3}), methods("Restormer"))
    assert beaten[0].verdict == "fails" and "left out: Restormer (not installed)" in beaten[0].control


def test_without_lolblur_is_said_where_it_is_known():
    pair = {("DeMoE", "PromptIR"): -0.3, ("DeMoE", "input"): -0.3, ("PromptIR", "input"): -0.3}
    both = pd.concat([differences(pair), differences({key: 0.3 for key in pair}, sets=(WITHOUT,))], ignore_index=True)
    row = by_id(claims.best_overall(both, methods()))["t1-promptir"]
    assert row.verdict == "worse" and row.control == "without LOLBlur +0.30 dB [+0.25, +0.35], better"


def equal_length(psnr: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """A summary: the PSNR of each role on ``SETS``."""
    return pd.DataFrame(
        [
            {"set": name, "method": f"the {role}", "metric": "psnr", "mean": value}
            for role, values in psnr.items()
            for name, value in zip((*SETS, "Average"), (*values, sum(values) / 5), strict=True)
        ]
    )


def test_who_only_makes_dark_pictures_brighter_is_told():
    psnr = {"input": (26, 34, 25, 11, 27), "DeMoE": (25, 33, 24, 17, 26), "NAFNet": (25.5, 33.5, 24.5, 11.5, 28)}
    hangs, places, above = claims.brightness(equal_length(psnr), methods())
    assert hangs.verdict == "holds" and hangs.here == "5.50 dB apart" and hangs.control == "2.00 dB apart on GoPro-syn"
    assert places.here == "1 of 5" and "RealBlur-syn 2, ReLoBlur-syn 2, DPDD-syn 2, LOLBlur-syn 1" in places.control
    assert above.here == "3 of 5" and above.control == "RealBlur-syn, ReLoBlur-syn, DPDD-syn"
    even = psnr | {"DeMoE": (25, 33, 24, 12, 26)}
    assert claims.brightness(equal_length(even), methods())[0].verdict == "fails"


def test_stage_2_the_gain_and_the_upper_bound():
    trained = methods().assign(training=[f"{i} steps" for i in range(len(ROLES))])
    for mean, verdict in ((0.2, "better"), (-0.2, "worse"), (0.02, "undecided")):
        pairs = {(MAIN, "NAFNet longer"): mean, (MAIN, "input"): -mean, ("DeMoE*", MAIN): 2 * mean}
        found = claims.longer(differences(pairs, sets=("Average", "A")), summary(), trained)
        stage_2, over_input, bright, drop, share = found
        assert share.verdict == {0.02: "holds"}.get(mean, "fails" if mean > 0 else "holds")  # 0.04 +- 0.05 of 26 dB
        assert bright.verdict == over_input.verdict  # there is no LOLBlur
        assert stage_2.verdict == verdict and "trained 6 steps, its baseline 5 steps" in stage_2.control
        assert over_input.verdict == {"better": "worse", "worse": "better"}.get(verdict, verdict)
        assert over_input.control == f"{over_input.verdict} on A" and drop.published == pytest.approx(0.08)
        assert drop.control.startswith("1.9% of its PSNR; DeMoE* 11 steps, DeMoE 6 steps on all")


def test_more_experts():
    costs = pd.DataFrame({"k": range(1, 6), "macs": [1e10, 1.2e10, 1.4e10, 1.6e10, 2e10]})
    pairs = {(name, MAIN): mean for name, mean in zip(KS[1:], (0.2, 0, -0.2, 0.01), strict=True)}
    found = claims.experts_k(differences(pairs), costs)
    assert [row.verdict for row in found] == ["better", "undecided", "worse", "undecided"]
    assert found[-1].id == "demoe-k-5" and found[-1].control.startswith("2.00 times the multiply-accumulates")


def test_costs_follow_from_the_counts():
    counted = pd.DataFrame(
        {
            "row": ["PromptIR", "NAFNet", "DeMoE k=1"],
            "params": [35.6e6, 10e6, 20e6],
            "macs": [158.0e9, 11.0e9, 11.1e9],
            "paper_params_m": [35.6, 10.0, 20.0],
            "paper_macs_g": [158.0, 11.0, 11.1],
        }
    )
    counts, params, macs, rank = claims.cost(counted)
    assert counts.verdict == "holds" and counts.here == "4 of 4"
    assert claims.cost(counted.assign(paper_macs_g=[158.0, 11.0, 11.2]))[0].verdict == "fails"
    assert params.here == "1.78 times" and macs.here == "14.23 times" and rank.verdict == "holds" and rank.here == "2"
    assert claims.cost(counted.assign(macs=[158.0e9, 11.0e9, 10e9]))[3].verdict == "fails"
    sums = pd.DataFrame({"what": ["DeMoE-5, one for each set", "DeMoE"], "params": [50.38e6, 20.15e6]})
    assert claims.ensemble(sums).verdict == "holds" and claims.ensemble(sums).here == "2.50 times"
    assert claims.ensemble(sums.assign(params=[40e6, 20.15e6])).verdict == "fails"


@pytest.fixture
def saved(home):
    kept = methods("Restormer")
    some = summary()
    tables.save(kept, "05_methods", MARK, decimals=0)
    tables.save(some[some.method != "the Restormer"], "05_summary", MARK)
    pairs = {("DeMoE*", MAIN): 0.25} | {(name, MAIN): 0.1 for name in KS[1:]}
    tables.save(differences(pairs, sets=(*SETS, "Average")), "05_differences", MARK)
    costs = pd.DataFrame(
        {
            "table": "Table 1",
            "row": ["PromptIR", "Restormer", "NAFNet", "DeMoE k=1"],
            "params": [35592263, None, 10076675, 20150665],
            "macs": [158405655870, None, 11015009120, 1],
            "paper_params_m": 35.59,
            "paper_macs_g": 158.4,
            "paper_runtime_ms": 34.4,
            "note": ["", "not installed", "", ""],
        }
    )
    tables.save(costs.astype({"params": "Int64", "macs": "Int64"}), "05_costs", MARK)
    tables.save(pd.DataFrame({"k": range(1, 6), "params": 20150665, "macs": [11049122154] * 5}), "05_cost_of_k", MARK)
    tables.save(
        pd.DataFrame(
            {
                "what": ["one DeMoE*, a NAFNet", "DeMoE-5, one for each set", "DeMoE"],
                "networks": [1, 5, 1],
                "params": [10076675, 50383375, 20150665],
            }
        ),
        "05_ensemble",
        MARK,
    )


def test_every_table_comes_from_the_csvs_alone(saved):
    written, left_out = layouts.write_all("test")
    assert all(name.startswith("05") for name in written) and not any(name.startswith("05") for name in left_out)
    folder = results_dir("test") / "tables"
    for name in written:
        assert "profile test · data synthetic · seed 0 · commit 1234567" in (folder / f"{name}.md").read_text()
        tex = (folder / f"{name}.tex").read_text()
        assert tex.count("{") == tex.count("}") and "–" not in tex


def test_table_1_never_mixes_papers_numbers_with_ours(saved):
    table = comparison_report.table_1(lambda name: tables.read(name, "test"))
    assert list(table.columns[:2]) == ["RealBlur, paper (real)", "RealBlur-syn, here"]
    rows = table.droplevel(0)
    assert rows.loc["the PromptIR", "RealBlur, paper (real)"] == "29.23 / 0.867 / 0.198"
    assert rows.loc["the DeMoE", "Average, paper (real)"] == "29.19 / 0.877 / 0.208"
    assert rows.loc["the DeMoE", "Average, here"] == "**25.40 / 0.800 / –**"  # the best of its group
    assert rows.loc["the NAFNet", "GoPro-syn, here"] == "25.30 / 0.800 / –"
    assert rows.loc["the Restormer (not installed)", "GoPro-syn, here"] == "–"
    assert rows.loc["the NAFNet longer", "GoPro, paper (real)"] == "–" and "the DeMoE*" not in rows.index
    assert KS[4] not in rows.index.str.removeprefix("the ")


def test_where_none_of_equal_length_is_trained_the_longer_trained_stand_beside_the_published(saved):
    def reading(name):
        table = tables.read(name, "test")
        return table.assign(missing=table.missing.mask(late, "from quick on")) if name == "05_methods" else table

    late = tables.read("05_methods", "test").role.isin(["NAFNet", "DeMoE"])
    table = comparison_report.table_1(reading)
    rows = table.droplevel(0)
    for label, theirs in (
        ("the NAFNet longer", "29.12 / 0.873 / 0.215"),
        ("the DeMoE longer k=1", "29.19 / 0.877 / 0.208"),
    ):
        assert rows.loc[label, "Average, paper (real)"] == theirs and rows.loc[label, "Average, here"] != "–"
    assert not any("from quick on" in label for label in rows.index)
    groups = [group for group, _ in itertools.groupby(table.index.get_level_values(0))]
    assert len(groups) == len(set(groups))  # each is one block


def test_tables_of_cost_of_specialists_and_of_k(saved):
    def reading(name):
        return tables.read(name, "test")

    cost = comparison_report.table_1_cost(reading)
    assert cost.loc["PromptIR"].tolist() == ["35.59 / 158.40", "34.4", "35.59 / 158.41", "1.00 / 2.00", "the PromptIR"]
    assert cost.loc["Restormer", "published size, counted here"] == "not installed"
    three = comparison_report.table_3(reading)
    assert three.loc["GoPro", "drop in dB, paper"] == "+0.11" and three.loc["Average", "drop in dB, paper"] == "+0.08"
    assert three.loc["GoPro", "drop in dB, here [95 % interval]"] == "+0.25 [+0.20, +0.30]"
    assert three.loc["GoPro", "set here"] == "GoPro-syn" and three.loc["RealBlur-J", "set here"] == "RealBlur-syn"


def reach(axis) -> list[list[float]]:
    """From where to where the intervals of a panel go."""
    bars = [segment for container in axis.containers for segment in container.lines[2][0].get_segments()]
    return [segment[:, 0].tolist() for segment in bars]


def test_figures_are_drawn():
    images = [torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    images[2][:, 4:12, 9:17] += 0.5 * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(4))  # lacks most
    titles = ("a\nlong\n1 dB", "b\nlong\n2 dB", "sharp\n\n")
    rows = [(name, "k", list(zip(titles, images, strict=True))) for name in ("GoPro-syn", "DPDD-syn")]
    figure = comparison_report.figure_5(rows)
    part = figure.subfigs[0].axes
    titles_of = [axis.get_title() for axis in part]
    assert titles_of == ["GoPro-syn, blurred", titles[0], titles[1], "", "", "sharp", "", "", ""]
    zoom = part[1].images[0].get_array()
    top, left, side = worst_crop(images[0], images[2])
    crop = images[0][:, top : top + side, left : left + side]
    assert zoom.shape == (8, 8, 3) and torch.allclose(torch.tensor(zoom), crop.permute(1, 2, 0))
    assert [len(axis.images) for axis in part[3:5]] == [0, 1]  # the input has changed nothing
    brighter = comparison_report._change(images[0], images[0] + 0.1)
    assert torch.allclose(brighter, torch.full_like(brighter, 0.5), atol=1e-5)
    table = differences({("DeMoE", "input"): 0.5, ("NAFNet", "input"): -0.1, ("DeMoE", "NAFNet"): 9.0})
    drawn = comparison_report.gains(table, methods()).axes[0]
    assert [text.get_text() for text in drawn.get_yticklabels()] == ["the NAFNet", "the DeMoE"]
    assert reach(drawn)[1] == pytest.approx([0.45, 0.55])
    rest = differences({("DeMoE", "input"): 0.2, ("NAFNet", "input"): -0.3}, sets=(WITHOUT,))
    both = comparison_report.gains(pd.concat([table, rest], ignore_index=True), methods()).axes
    assert [axis.get_title() for axis in both] == ["all sets", "without LOLBlur"]
    assert reach(both[1])[1] == pytest.approx([0.15, 0.25])


def test_figure_1_shows_each_tuned_network_on_both_blurs():
    class Half(torch.nn.Module):
        def forward(self, x, **choice):
            return Restored(x / 2)

    entries = [
        Compared(role, role, "", "", "", make) for role, make in (("input", blurred_input), (MAIN, blurred_input))
    ]
    pixels = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sets = [
        PairedSet(f"{name}-syn", "synthetic", ["a"], lambda i, window=None: tuple(pixels), lambda i: (20, 30))
        for name in ("DPDD", "GoPro", "RealBlur")
    ]
    rows = [(pairs.name, "a", role, 20.0) for pairs in sets for role in ("input", MAIN)]
    scores = pd.DataFrame(rows, columns=["set", "image", "method", "psnr"])
    found = crossed(sets, entries, {"DPDD": Half(), "GoPro": Half()}, scores)
    assert [name for name, _, _ in found] == ["DPDD-syn", "GoPro-syn"]
    heads = ["blurred", "DeMoE* for DPDD", "DeMoE* for GoPro", "DeMoE k=1", "sharp"]
    for _, _, images in found:
        assert [title.split("\n")[0].split(",")[0] for title, _ in images] == heads
        assert torch.allclose(images[1][1], pixels[0] / 510) and torch.equal(images[3][1], pixels[0] / 255)


def test_figure_5_shows_the_median_gain_and_how_long_each_learned():
    def half(image, pairs):
        return image / 2

    made = {"input": blurred_input, "NAFNet": half, MAIN: half}
    steps = {"input": "", "NAFNet": "180 steps", MAIN: "1600 + 600 steps"}
    entries = [Compared(role, role, "", "", "", make, steps=steps[role]) for role, make in made.items()]
    pixels = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sets = [PairedSet("GoPro-syn", "synthetic", list("abc"), lambda i, window: tuple(pixels), lambda i: (20, 30))]
    psnr = {"input": (20, 20, 20), "NAFNet": (21, 21, 21), MAIN: (23, 21, 22)}
    scores = pd.DataFrame(
        [("GoPro-syn", key, role, value) for role, of in psnr.items() for key, value in zip("abc", of, strict=True)],
        columns=["set", "image", "method", "psnr"],
    )
    ((name, key, images),) = examples(sets, entries, scores)
    assert (name, key) == ("GoPro-syn", "c")
    level = [f"{metrics.psnr(image[None], images[-1][1][None]).item():.2f} dB" for _, image in images[:3]]
    titles = [f"blurred\n\n{level[0]}", f"NAFNet\n180 steps\n{level[1]}", f"DeMoE k=1\n1600 + 600 steps\n{level[2]}"]
    assert [title for title, _ in images] == [*titles, "sharp\n\n"]
    assert torch.equal(images[1][1], images[0][1] / 2)
