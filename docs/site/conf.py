"""The site: executed notebooks, claims, architecture and API, by Sphinx with myst-nb and sphinx-autoapi.

sphinx-build -W --keep-going -c docs/site . build/site   (docs/site/requirements.txt, in an environment of its own)

The repository itself is the source folder, so that links between its files hold; nothing of the package is imported.
"""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = "results/published/smoke"
HOME = f"https://github.com/{os.environ['GITHUB_REPOSITORY']}" if "GITHUB_REPOSITORY" in os.environ else ""

project = "DeMoE, reproduced"
author = copyright = "the DeMoE reproduction authors"
root_doc = "docs/site/index"
extensions = ["myst_nb", "autoapi.extension"]
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/site/*.md", "workflow/README.md"]
include_patterns += ["autoapi/**", f"{PUBLISHED}/notebooks/*.ipynb"]
nb_execution_mode = "off"  # pages show what ran, as it ran
nb_merge_streams = True
nb_render_markdown_format = "gfm"
myst_enable_extensions = ["dollarmath", "substitution"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",
    "myst.xref_missing",
    "mystnb.unknown_mime_type",
    "autoapi",
    "ref.python",
    "docutils",
]
myst_substitutions = {
    "badges": "",
    "figure": f"![Blurred, restored, sharp](../../figures/{PUBLISHED[8:]}/00_before_after.png)",
}
if HOME:
    target = f"{os.environ['GITHUB_REPOSITORY']}/blob/main/notebooks/00_start_here.ipynb"
    myst_substitutions["badges"] = (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{target}) "
        "[![Launch Binder](https://mybinder.org/badge_logo.svg)]"
        f"(https://mybinder.org/v2/gh/{os.environ['GITHUB_REPOSITORY']}/main?labpath=notebooks/00_start_here.ipynb)"
    )

autoapi_dirs = [str(ROOT / "lib" / "demoe")]
autoapi_root = "autoapi"
autoapi_add_toctree_entry = False
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_python_class_content = "class"

html_theme = "sphinx_book_theme"
html_title = project
html_extra_path = [str(ROOT / PUBLISHED / "report.html"), "start"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"show_toc_level": 2, "use_download_button": True, "home_page_in_toc": True}
if HOME:
    html_theme_options |= {
        "repository_url": HOME,
        "use_repository_button": True,
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"},
    }


def claims() -> str:
    """The ledger of claims as Markdown, paper by paper: the sentence, its verdicts, and what they rest on."""
    with (ROOT / PUBLISHED / "tables" / "14_ledger.csv").open(encoding="utf-8", newline="") as stream:
        rows = [
            {name: re.sub(r"([*$<|\\])", r"\\\1", cell) for name, cell in row.items()} for row in csv.DictReader(stream)
        ]
    lines = []
    for paper in dict.fromkeys(row["paper"] for row in rows):
        lines += ["", f"## {paper}"]
        for row in (row for row in rows if row["paper"] == paper):
            verdicts = [f"{name}: **{row[name]}**" for name in ("here", "by its printed numbers") if row[name]]
            lines += ["", " · ".join([f"**{row['id']}**", row["place"], *verdicts]), "", f"> {row['says']}"]
            lines += ["", f"{row['ours']} (notebook {row['notebook']})"] if row["ours"] else []
    return "\n".join(lines)


def _read(app, name: str, source: list[str]) -> None:
    if name == "docs/site/claims":
        source[0] += claims()
    # A diagram is drawn by GitHub alone; links to notebooks lead to those that ran.
    source[0] = source[0].replace("```mermaid", "```text")
    source[0] = re.sub(r"\]\(notebooks/(\d\d_\w+\.ipynb)\)", rf"]({PUBLISHED}/notebooks/\1)", source[0])


def _skip(app, kind: str, name: str, documented, skip: bool, options) -> bool:
    return skip or (kind not in ("package", "module") and not documented.docstring)  # which is not for callers


def setup(app) -> None:
    app.connect("source-read", _read)
    app.connect("autoapi-skip-member", _skip)
