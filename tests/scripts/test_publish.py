"""What commands write stays out of git; what is published is put there by one script, whole, and only if it agrees."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from PIL import Image

from demoe.app import cli
from demoe.core import provenance
from demoe.core.files import figures_dir, published_dir, published_figures_dir, results_dir, write_text
from demoe.report import claims, figures, tables
from demoe.report.claims import Claim

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))  # they are no package

import publish

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "03_weight_similarity.ipynb"


def git(*arguments: str) -> str:
    home = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(["git", *home], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def clone(home, monkeypatch):
    """A repository with this one's .gitignore and one notebook, in which the commands work."""
    monkeypatch.chdir(home)
    monkeypatch.delenv("DEMOE_COMMIT", raising=False)
    (home / "notebooks").mkdir()
    shutil.copy(ROOT / ".gitignore", home)
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, home / "notebooks")
    write_text(published_dir("test") / "tables" / "02_kept.csv", "published\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "start")
    provenance.commit.cache_clear()
    yield home
    provenance.commit.cache_clear()


@pytest.fixture
def ran(clone):
    """The stamp of what notebook 03 left: a table, timings, a figure, a claim, the executed copy."""
    mark = provenance.stamp("test", "synthetic", 0)
    claim = Claim("a-claim", "What is counted", 4.0, verdict="holds")
    claims.keep([claim], "03", mark)
    tables.save(claims.read("test")[["id"]], "03_pairs", mark)
    write_text(results_dir("test") / "timings" / "03_runtime.json", "[]\n")
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([1, 2, 3])
    figures.save(figure, "03_figure_2", mark)
    plt.close(figure)
    notebook = nbformat.read(clone / "notebooks" / NOTEBOOK, 4)
    picture = publish.base64.b64encode((figures_dir("test") / "03_figure_2.png").read_bytes()).decode()
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": picture})]
    write_text(results_dir("test") / "notebooks" / NOTEBOOK, nbformat.writes(notebook))
    return mark


def test_what_commands_write_is_ignored(ran):
    assert cli.main(["status", "--profile", "test"]) == 0
    cli.main(["report", "--profile", "test"])
    for file in ("results/bench/cpu/plain.csv", "figures/bench/cpu-time.pdf", "results/.lock", "restored/a.png"):
        write_text(Path(file), "")
    assert git("status", "--porcelain") == ""


def test_what_is_published_is_a_smaller_copy_and_not_ignored(ran, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["publish.py", "test"])
    write_text(published_figures_dir("test") / "03_gone.png", "of an earlier run")
    assert publish.main() == 0
    assert capsys.readouterr().out == "results/published/test\nfigures/published/test\n"
    own, shown = results_dir("test"), published_dir("test")
    assert (own / "tables/03_pairs.csv").read_bytes() == (shown / "tables/03_pairs.csv").read_bytes()
    assert (shown / "timings/03_runtime.json").is_file() and (shown / "tables/02_kept.csv").read_text() == "published\n"
    assert "a-claim" in (shown / "tables/claims.csv").read_text() and "What is counted" in claims.read("test").what[0]
    assert [file.name for file in published_figures_dir("test").iterdir()] == ["03_figure_2.png"]
    before, after = figures_dir("test") / "03_figure_2.png", published_figures_dir("test") / "03_figure_2.png"
    with Image.open(before) as one, Image.open(after) as other:
        assert one.convert("RGBA").tobytes() == other.convert("RGBA").tobytes()
        assert one.info["Description"] == other.info["Description"] == ran.line()
    assert after.stat().st_size < before.stat().st_size
    assert (shown / "notebooks" / NOTEBOOK).stat().st_size < (own / "notebooks" / NOTEBOOK).stat().st_size
    assert "03_figure_2" in (shown / "report.html").read_text()
    new = git("status", "--porcelain", "-uall").split()[1::2]
    assert {Path(name).parts[1] for name in new} == {"published"} and "results/published/test/report.html" in new
    assert not list(Path("results").glob(".publish*"))


def test_what_has_not_run_here_is_read_from_the_published_rows(ran):
    publish.publish("test")
    shutil.rmtree(results_dir("test"))
    assert claims.read("test").id.tolist() == ["a-claim"] and f"03, made by commit {ran.commit}" in claims.published(
        "test"
    )
    assert tables.read("03_pairs", "test").id.tolist() == ["a-claim"]
    claims.keep([Claim("another", "Another", 1.0, verdict="holds")], "04", ran)
    assert claims.read("test").notebook.tolist() == ["03", "04"]
    assert "a-claim" not in (results_dir("test") / "tables/claims.csv").read_text()
    claims.keep([Claim("new", "New", 1.0, verdict="holds")], "03", ran)
    assert claims.read("test").id.tolist() == ["new", "another"] and claims.published("test").endswith("none")


def test_what_a_sweep_wrote_is_published_also_where_no_notebook_ran(clone):
    mark = provenance.stamp("real", "real", 0)
    tables.save(publish.pd.DataFrame({"steps": [1], "gain": [0.5]}), "gain_by_hours", mark)
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([1, 2, 3])
    figures.save(figure, "gain_by_hours", mark)
    plt.close(figure)
    publish.publish("real")
    assert {file.name for file in (published_dir("real") / "tables").iterdir()} == {
        "gain_by_hours.csv",
        "gain_by_hours.json",
    }
    assert [file.name for file in published_figures_dir("real").iterdir()] == ["gain_by_hours.png"]
    tables.save(publish.pd.DataFrame({"steps": [1]}), "gain_by_hours", replace(mark, commit="0123abcd"))
    with pytest.raises(ValueError, match="gain_by_hours wrote has several stamps"):
        publish.publish("real")


def test_networks_of_an_earlier_run_are_not_said_to_be_missing_without_more(ran):
    own, shown = results_dir("test"), published_dir("test")
    write_text(own / "runs" / "demoe-s0-01234567" / "model.safetensors", "")
    for told, more in (("| 1 | demoe | missing | |\n", publish.EARLIER), ("| 1 | demoe | done | |\n", "")):
        write_text(own / "STATUS.md", told)
        publish.publish("test")
        assert (shown / "STATUS.md").read_text() == told + more


def test_a_notebook_that_stopped_is_not_published_and_what_was_stays(ran):
    publish.publish("test")
    file = results_dir("test") / "notebooks" / NOTEBOOK
    notebook = nbformat.read(file, 4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]
    nbformat.write(notebook, file)
    (results_dir("test") / "tables/03_pairs.csv").unlink()
    with pytest.raises(ValueError, match=r"03_weight_similarity\.ipynb stopped with an error"):
        publish.publish("test")
    assert (published_dir("test") / "tables/03_pairs.csv").is_file()


def test_changed_sources_and_stamps_that_disagree_are_refused(ran, clone):
    def refused(words: str, profile: str = "test") -> None:
        with pytest.raises(ValueError, match=words):
            publish.publish(profile)
        assert not published_figures_dir("test").exists()

    file = results_dir("test") / "tables/03_pairs.json"
    said = json.loads(file.read_text())
    write_text(file, json.dumps(said | {"seed": 7}))
    refused("several stamps .*03_pairs.json: test 7")
    write_text(file, json.dumps(said))
    for sort in ("csv", "json"):
        text = file.with_suffix(f".{sort}").read_text()
        write_text(file.with_suffix(f".{sort}"), text.replace(ran.commit, "0123abcd"))
    refused("several stamps")
    refused("no notebook has run", "smoke")
    refused("nothing was measured", "bench")
    shutil.rmtree(results_dir("test") / "tables")
    shutil.rmtree(figures_dir("test"))
    tables.save(
        claims.read("test")[["id"]].assign(a=1), "03_pairs", provenance.Stamp("test", "none", 0, commit="0123abcd")
    )
    write_text(results_dir("test") / "tables/03_pairs.csv", "profile,seed,commit\ntest,0,0123abcd\n")
    refused("commit 0123abcd, which is no part of this history")
    write_text(clone / "notebooks/04_new.ipynb", "{}")
    provenance.commit.cache_clear()
    refused(r"the sources differ from their commit \([0-9a-f]+\+\)")
