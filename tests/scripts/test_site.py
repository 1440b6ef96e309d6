"""The site's configuration fits what is published; .github/workflows/site.yml builds it, where a broken link fails."""

import csv
import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def conf(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    return runpy.run_path(str(ROOT / "docs/site/conf.py"))


def test_every_published_notebook_is_a_page(conf):
    pages = {file for pattern in conf["include_patterns"] for file in ROOT.glob(pattern)}
    published = set((ROOT / conf["PUBLISHED"] / "notebooks").glob("*.ipynb"))
    assert published and published <= pages
    index = (ROOT / "docs/site/index.md").read_text(encoding="utf-8")
    assert f"../../{conf['PUBLISHED']}/notebooks/*" in index
    named = [
        (ROOT / "docs/site" / f"{line}.md").resolve()
        for line in re.findall(r"^(?:[\w ]+ <)?([\w./]+)>?$", index, re.M)
        if "autoapi" not in line
    ]
    assert len(named) >= 7 and all(file.is_file() and file in {page.resolve() for page in pages} for file in named)


def test_the_claims_page_has_every_claim_once(conf):
    text = conf["claims"]()
    with (ROOT / conf["PUBLISHED"] / "tables/14_ledger.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        assert sum(line.startswith(f"**{row['id']}** ") for line in text.splitlines()) == 1
    assert sum(line.startswith("> ") for line in text.splitlines()) == len(rows) > 40
    assert text.count("here: **holds**") == sum(row["here"] == "holds" for row in rows)


def test_links_to_notebooks_lead_to_those_that_ran(conf):
    source = ["see [a](notebooks/00_start_here.ipynb)"]
    conf["_read"](None, "README", source)
    assert source == [f"see [a]({conf['PUBLISHED']}/notebooks/00_start_here.ipynb)"]


def test_badges_are_those_of_the_repository_that_builds_it(monkeypatch, conf):
    assert conf["myst_substitutions"]["badges"] == ""  # none that leads nowhere
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/a-copy")
    copy = runpy.run_path(str(ROOT / "docs/site/conf.py"))
    assert copy["myst_substitutions"]["badges"].count("someone/a-copy") == 2
    assert copy["html_theme_options"]["repository_url"].endswith("someone/a-copy")


def test_the_workflow_builds_with_pinned_versions_and_publishes_the_main_branch_alone():
    workflow = yaml.safe_load((ROOT / ".github/workflows/site.yml").read_text(encoding="utf-8"))
    commands = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    assert any(re.search(r"sphinx-build -W .*-c docs/site \. build/site", command) for command in commands)
    assert "default_branch" in workflow["jobs"]["publish"]["if"] and workflow["jobs"]["publish"]["needs"] == "build"
    pins = [
        line for line in (ROOT / "docs/site/requirements.txt").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    assert pins and all("==" in pin for pin in pins)


def test_readmes_bibtex_is_that_of_the_file():
    readme, entries = (ROOT.joinpath(name).read_text(encoding="utf-8") for name in ("README.md", "docs/cite.bib"))
    assert entries.split("\n\n")[0] in readme
