import json
import math
import re
from functools import partial

import pandas as pd
import pytest

from demoe.app import cli
from demoe.core import provenance
from demoe.core.files import published_dir, results_dir
from demoe.related import matching_report, perceptual_report, prior_report
from demoe.report import layouts, tables

MARK = provenance.Stamp("test", "synthetic", 3, "", "12345678", "a machine")
ROWS = pd.DataFrame(
    {
        "set": ["GoPro-syn", "NA"],
        "image": ["0001", "007"],
        "psnr": [20.5, math.nan],
        "count": [3, 4],
        "scene": ["01", "1"],
        "correct": [True, None],
        "lpips_vgg": [math.nan, math.nan],
        "missing": ["", "psnr: 1|2"],
    }
)


CAPTION = "Scores_1, 100 % of 3#"


def built_of(*names: str) -> tables.Build:
    def build(read):
        frames = [read(name) for name in names]
        return pd.DataFrame(
            {"A_b & c": ["**1.0 ±0.1**", "a|b"], "x": ["50 %", "↑"]}, index=pd.Index(frames[0]["set"], name="set_")
        )

    return build


def test_text_stays_text_and_gaps_stay_gaps(home):
    tables.save(ROWS, "a", MARK)
    back = tables.read("a", "test")
    assert back["set"].tolist() == ["GoPro-syn", "NA"] and back.image.tolist() == ["0001", "007"]
    assert back.scene.tolist() == ["01", "1"] and back.commit.tolist() == ["12345678"] * 2
    assert back.psnr.dtype == float and math.isnan(back.psnr[1]) and back["count"].tolist() == [3, 4]
    assert back.correct[0] and back.correct.isna().tolist() == [False, True]
    assert back.lpips_vgg.dtype == float and back.lpips_vgg.isna().all()
    assert back.missing.tolist() == ["", "psnr: 1|2"] and back.seed.tolist() == [3, 3]
    with pytest.raises(FileNotFoundError, match=r"b\.csv: run the notebook"):
        tables.read("b", "test")


def test_what_this_machine_wrote_is_told_from_what_is_published(home):
    mark, table = provenance.Stamp("test", "synthetic", 0), pd.DataFrame({"value": [0.5]})
    tables.save_all("10", {"a": table, "b": 2 * table}, mark)
    assert tables.read("10_b", "test").value.tolist() == [1.0] and tables.written_here("10_a", "test").value[0] == 0.5
    shown = home / "results/published/test/tables/10_c.csv"
    shown.parent.mkdir(parents=True)
    shown.write_text("value\n2\n")
    assert tables.read("10_c", "test").value[0] == 2 and tables.written_here("10_c", "test") is None


def test_markdown_and_latex_hold_the_same_cells(home):
    tables.save(ROWS, "a", MARK)
    shown = tables.write("t", built_of("a"), CAPTION, "test")
    folder = results_dir("test") / "tables"
    text, tex = (folder / "t.md").read_text(), (folder / "t.tex").read_text()
    assert shown.markdown() == text and shown.html() == (folder / "t.html").read_text()
    assert text.splitlines() == [
        "**Scores_1, 100 % of 3#**",
        "",
        "| set_ | A_b & c | x |",
        "|:---|---:|---:|",
        "| GoPro-syn | **1.0 ±0.1** | 50 % |",
        "| NA | a\\|b | ↑ |",
        "",
        "*Not measured here: PSNR: 1|2*",
        "",
        "*profile test · data synthetic · seed 3 · commit 12345678*",
    ]
    assert r"GoPro-syn & \textbf{1.0 $\pm$0.1} & 50 \% \\" in tex and r"NA & a|b & $\uparrow$ \\" in tex
    assert r"set\_ & A\_b \& c & x \\" in tex and r"\caption{Scores\_1, 100 \% of 3\#}" in tex
    assert r"commit 12345678" in tex and tex.count("{") == tex.count("}") and not list(folder.glob("*.tmp"))


def test_the_stamp_names_all_sources_and_no_count_hides_the_data(home):
    tables.save(ROWS, "a", MARK)
    tables.save(ROWS, "b", provenance.Stamp("test", "real", 4, "", "aaa", ""))
    tables.save(ROWS, "c", provenance.Stamp("test", "none", 0, "", "bbb", ""))
    tables.write("t", built_of("a", "b", "c"), CAPTION, "test")
    text = (results_dir("test") / "tables" / "t.md").read_text()
    assert "*profile test · data real, synthetic · seed 3, 4 · commit 12345678, aaa*" in text
    tables.write("t", built_of("c"), CAPTION, "test")
    assert "data none · seed 0 · commit bbb" in (results_dir("test") / "tables" / "t.md").read_text()


def test_levels_become_columns_and_names():
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["group", None])
    table = pd.DataFrame([["1", "2"], ["3", "4"]], index, pd.MultiIndex.from_tuples([("x", "paper"), ("x", "")]))
    shown = tables.Table(table, "c", ("l",))
    lines = shown.markdown().splitlines()
    assert lines[2] == "| group | | x, paper | x |" and lines[4] == "| a | 1 | 1 | 2 |"
    assert r"\begin{tabular}{llrr}" in shown.latex("n") and r"\multicolumn{2}{c}{x}" in shown.latex("n")
    assert '<th colspan="2">x</th>' in shown.html() and "<small>l</small>" in shown.html()


def test_bold_is_a_mark_of_each_language_and_text_is_only_text():
    cells = pd.DataFrame({"a_<b>": ["**23.45** / 0.7", "DeMoE* & <i>"]}, index=pd.Index(["x", "<y>"], name="m_1"))
    shown = tables.Table(cells, "50 % <c>", ("from_d",))
    page, tex = shown.html(), shown.latex("n")
    assert "<b>23.45</b> / 0.7" in page and "DeMoE* &amp; &lt;i&gt;" in page and "<i>" not in page + tex
    assert "a_&lt;b&gt;" in page and "&lt;y&gt;" in page and "m_1" in page and "<c>" not in page and "**" not in page
    assert r"\textbf{23.45} / 0.7" in tex and r"DeMoE* \& \textless{}i\textgreater{}" in tex and r"m\_1" in tex
    assert r"from\_d" in tex and r"50 \%" in tex and "**" not in tex


def test_what_was_not_measured_is_said_once_below(home):
    reasons = ["psnr: no ground truth; lpips_vgg: weights missing (a.pth)", "", "lpips_vgg: weights missing (a.pth)"]
    tables.save(pd.DataFrame({"set": ["A", "B", "C"], "missing": reasons}), "a", MARK)
    notes = tables.write("t", lambda read: read("a")[["set"]], CAPTION, "test").notes
    assert notes[0] == "Not measured here: LPIPS VGG: weights missing (a.pth)" and len(notes) == 2


def test_the_best_is_bold_as_printed():
    assert tables.best([1.001, 1.004, 0.5, math.nan]) == ["**1.00**", "**1.00**", "0.50", "–"]
    assert tables.best([0.2, 0.1], 1, lowest=True) == ["0.2", "**0.1**"]
    assert tables.best([math.nan]) == ["–"]


def test_report_writes_what_can_be_written(home, monkeypatch, capsys):
    tables.save(ROWS, "a", MARK)
    monkeypatch.setattr(layouts, "TABLES", {"one": built_of("a"), "two": built_of("nowhere")})
    monkeypatch.setattr(layouts, "CAPTIONS", {"one": CAPTION, "two": CAPTION})
    assert cli.main(["report", "--profile", "test"]) == 0
    said = capsys.readouterr().out
    assert "one.html, .md, .tex" in said and "two was left out: there is no" in said
    assert all(f"{name} was left out" in said for name in ("11_table_1", "12_table_4", "13_table_3"))  # related papers
    assert (results_dir("test") / "tables" / "one.tex").is_file()
    assert cli.main(["report", "--profile", "smoke"]) == 1


def test_every_table_has_a_caption_and_a_name_that_begins_with_its_notebooks_number():
    assert set(layouts.TABLES) == set(layouts.CAPTIONS) and len(layouts.TABLES) > 10
    assert all(re.match(r"\d\d_[a-z]", name) and "{" not in text for name, text in layouts.CAPTIONS.items())


def test_timings_name_the_machine_and_stand_apart(home):
    mark = provenance.Stamp("test", "none", 0, hardware="a machine")
    file = tables.save_timings(pd.DataFrame({"network": ["a"], "runtime_ms": [1.5]}), "09_runtime", mark, device="cpu")
    assert file == home / "results/test/timings/09_runtime.json"
    row = {"network": "a", "runtime_ms": 1.5, "device": "cpu", "hardware": "a machine"}
    assert json.loads(file.read_text()) == [row]


MARKED = {
    name: layouts.TABLES[name] for name in ("05_table_1", "06_rules", "06_table_2", "06_table_8_rsblur", "10_quality")
}
MARKED |= {name: layouts.TABLES[name] for name in ("09_table_6", "06_table_8_realdof")}
MARKED |= {"13_table_1": partial(matching_report._table, 1), "12_table_1": prior_report.TABLES["12_table_1"]}
MARKED |= {"11_table_1": perceptual_report.TABLES["11_table_1"][0]}


@pytest.mark.parametrize("profile", ["smoke", "cpu"])
@pytest.mark.parametrize("name", MARKED)
def test_what_harms_is_marked_and_nothing_else(profile, name):
    """Over the published numbers: a PSNR of ours below the blurred input's of the same set has the mark."""
    table = MARKED[name](lambda csv: tables.read(csv, profile))
    untouched = {}  # of "set" where a row has one, and of the column: what the input has
    for looked_for in ("the input", "marks"):
        for row, cells in zip(table.index, table.itertuples(index=False), strict=True):
            words = row if isinstance(row, tuple) else (row,)
            for column, cell in zip(table.columns, cells, strict=True):
                head = " ".join([*column] if isinstance(column, tuple) else [column])
                text = str(cell).replace("*", "").split(" / ")[0]
                if not re.fullmatch(r"\d+[.]\d\d↓?", text) or "paper" in head or "MUSIQ" in head:
                    assert "↓" not in text
                    continue
                key = (words[0] if name.startswith("13") else "", head, "SSIM" in words[0])
                if looked_for == "the input" and any("input" in str(word) or word == "blurred" for word in words):
                    untouched[key] = float(text)
                elif looked_for == "marks" and key in untouched:
                    assert text.endswith("↓") == (float(text.rstrip("↓")) < untouched[key]), (row, head)
    assert untouched


@pytest.mark.parametrize("profile", ["smoke", "cpu"])
def test_table_3_which_has_no_row_of_the_input_marks_as_table_1(profile):
    one, three = (layouts.TABLES[f"05_table_{n}"](lambda csv: tables.read(csv, profile)) for n in (1, 3))
    longer = next(row for row in one.index if row[1].startswith("DeMoE k=1") and row[1].endswith("longer trained"))
    for row in three.itertuples():
        assert row[6] == one.loc[longer, f"{row[4]}, here"].replace("*", "")
    assert any("↓" in cell for cell in three["DeMoE, here"])


@pytest.mark.parametrize("profile", ["smoke", "cpu"])
def test_tables_with_a_mark_explain_it(profile):
    marked = {}
    for file in (published_dir(profile) / "tables").glob("*.md"):
        caption, _, cells = file.read_text(encoding="utf-8").partition("\n")
        if re.search(r"\d↓", cells):
            marked[file.stem] = "↓ behind a PSNR" in caption or "↓: below" in caption + cells
    assert len(marked) >= 5 and all(marked.values()), marked


def test_a_cell_compares_what_is_printed():
    means = pd.DataFrame(
        {"psnr": [20.004, 20.0, 19.994], "ssim": [0.5, 0.4, 0.6]},
        index=pd.MultiIndex.from_product([["input", "same", "worse"], ["GoPro-syn"]], names=["method", "set"]),
    )
    cell = [tables.our_cell(means, one, "GoPro-syn", ("psnr", "ssim"), "input") for one in ("input", "same", "worse")]
    assert cell == ["20.00 / 0.500", "20.00 / 0.400", "19.99↓ / 0.600"]
    assert tables.our_cell(means, "worse", "GoPro-syn", ("psnr",)) == "19.99"  # nothing to compare with
    assert tables.our_cell(means, "worse", "GoPro-syn", ("ssim",), "input") == "0.600"
    assert tables.harm(float("nan"), 20) == tables.harm(20, float("nan")) == ""
    shown = tables.by_set(means.reset_index())
    assert shown["GoPro-syn"].tolist() == cell and tables.BELOW in shown.columns.name
