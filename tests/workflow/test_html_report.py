"""The report is one file that needs nothing else, and says what the tables say."""

import re
import sys

import nbformat
import pandas as pd
import pytest
from PIL import Image

from demoe.core import provenance
from demoe.core.files import figures_dir, project_root, results_dir
from demoe.report import claims, tables
from demoe.report.claims import Claim

sys.path.append(str(project_root() / "workflow"))
import html_report

MARK = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")


@pytest.fixture
def project(home):
    """A project of one notebook that has run: a table, a CSV, a figure and a claim."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title <b>\n\nWhat it does.")])
    for folder in (home / "notebooks", results_dir("test") / "notebooks"):
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / "05_all.ipynb")
    claims.keep([Claim("demoe-t1-counts", "<script>counts", 4.0, verdict="holds")], "05", MARK)
    laid = tables.Table(pd.DataFrame({"a": ["**1.25**"], "b": ["<i>"]}), "A & B", ("where from",))
    (results_dir("test") / "tables" / "05_table_1.html").write_text(laid.html())
    tables.save(claims.read("test")[["id", "sentence"]], "05_rows", MARK)
    figures_dir("test").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3000, 300), "red").save(figures_dir("test") / "05_red.png")
    return home


def test_one_file_with_everything_and_nothing_from_elsewhere(project):
    page = html_report.build("test")
    assert (
        "<b>1.25</b>" in page
        and "where from" in page
        and "A &amp; B" in page
        and "<i>" not in page
        and "<script>counts" not in page
        and "A title &lt;b&gt;" in page
    )
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    outside = [source for source in sources if not source.startswith(("#", "data:image/webp", "notebooks/", "tables/"))]
    assert not outside and not re.search(r"https?://", page)
    links = {source[1:] for source in sources if source.startswith("#")}
    assert links <= set(re.findall(r'id="([^"]*)"', page)) and {"claims", "n05"} <= links
    for source in sources:
        if source.startswith(("notebooks/", "tables/")):
            assert (results_dir("test") / source).is_file()
    assert "--only 05" in page and "commit 1234567" in page


def test_figures_are_no_wider_than_a_page_needs(project):
    with Image.open(figures_dir("test") / "05_red.png") as image:
        assert len(html_report.picture(image)) < 4000
    assert html_report.build("test").count("data:image/webp") == 1


def test_nothing_to_report_is_said(home, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["html_report.py", "--profile", "test"])
    assert html_report.main() == 1
    assert "run ./run_all.sh --profile test" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Table 1, quality: PSNR (dB) / SSIM. Paper: real sets", "Table 1, quality"),
        ("Table 3, the block in the loss (TFMLC. HINet), more", "Table 3, the block in the loss"),
        ("<b>Costs</b>", "Costs"),
        ("word " * 40, "word " * 13 + "word ..."),
    ],
)
def test_a_table_is_headed_by_what_its_caption_begins_with(caption, words):
    assert html_report.heading(f"<table><caption>{caption}</caption></table>") == words
    assert html_report.heading("<table></table>") == ""


def test_a_figure_is_told_by_what_stands_above_it_in_its_notebook():
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [
        markdown("Of before.\n\n## Who *chooses*?\n\nOne <b>.\n\nMore."),
        code('figures.save(figure, "03_one", mark)'),
        markdown("What follows."),
        code('figures.save(figure, "03_two", mark)\ntables.save(rows, "03_three", mark)'),
        code('tables.save(rows, "03_four", mark)'),
    ]
    found = html_report.captions(cells)
    assert found["03_one"].strip() == "<p><strong>Who <em>chooses</em>?</strong> One &lt;b&gt;.</p>"
    assert found["03_two"].strip() == "<p>What follows.</p>" and "03_four" not in found
