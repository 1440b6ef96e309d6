"""Writes results/<profile>/report.html: claims, tables and figures of all notebooks in one file that opens offline.

Run by the rule ``report``, or by hand: python workflow/html_report.py --profile smoke. It reads what the notebooks
wrote and computes nothing.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import mistune
import nbformat
import pandas as pd
from markupsafe import Markup
from PIL import Image

from demoe.core.files import figures_dir, project_root, results_dir, write_text
from demoe.core.profiles import PROFILES
from demoe.report import claims, ledger

WIDTH = 1600  # pixels of a figure at most: sharp at the width of the page, and the file stays small
ROWS = 40  # of a CSV that has no layout for readers; the rest is in the file
LONGEST = 70  # characters of a heading
STAMP = ["profile", "data", "seed", "commit"]
markdown = mistune.create_markdown(plugins=["table"])  # raw HTML is escaped


@dataclass
class Section:
    """A notebook: where it is, how it begins, and what it wrote."""

    number: str
    title: str
    introduction: Markup
    executed: str  # relative to the report
    tables: list[tuple[str, str, Markup]] = field(default_factory=list)  # name, heading, HTML
    figures: list[tuple[str, str, str, str, Markup]] = field(
        default_factory=list
    )  # name, data URI, stamp, alt, caption
    data: list[tuple[str, str, Markup]] = field(default_factory=list)  # CSV: name, where from, HTML


def section(notebook: Path, results: Path, figures: Path) -> Section | None:
    """What one notebook left in these folders; None where it has not run."""
    number = notebook.name[:2]
    if not (results / "notebooks" / notebook.name).is_file():
        return None
    cells = nbformat.read(notebook, 4).cells
    title, _, rest = cells[0].source.partition("\n")
    told = captions(cells)
    found = Section(number, title.lstrip("# "), Markup(markdown(rest)), f"notebooks/{notebook.name}")
    for file in sorted((results / "tables").glob(f"{number}_*")):
        if file.suffix == ".html":
            text = file.read_text(encoding="utf-8")
            found.tables.append((file.stem, heading(text) or file.stem, Markup(text)))
        elif file.suffix == ".csv":
            found.data.append((file.stem, stamp(file), rows(file)))
    for file in sorted(figures.glob(f"{number}_*.png")):
        with Image.open(file) as image:
            known = image.info
            words = known.get("Title", f"Figure {file.stem}")
            shown = told.get(file.stem, Markup())
            found.figures.append((file.stem, picture(image), known.get("Description", ""), words, shown))
    return found


def captions(cells: Iterable[nbformat.NotebookNode]) -> dict[str, Markup]:
    """What stands above the cell that saves a figure, by the figure's name: the heading and the first paragraph."""
    found, text = {}, ""
    for cell in cells:
        if cell.cell_type == "markdown":
            text = re.split(r"^#+ +", cell.source, flags=re.MULTILINE)[-1].strip()
            title, _, rest = text.partition("\n\n")
            if re.search(r"^#+ ", cell.source, re.MULTILINE):
                text = f"**{title}{'' if title.endswith('?') else '.'}** {rest.partition(chr(10) * 2)[0]}"
        elif "figures.save(" in cell.source:
            found |= {name: Markup(markdown(text)) for name in re.findall(r'"(\d\d_\w+)"', cell.source)}
    return found


def heading(table: str) -> str:
    """What a table's caption begins with, "Table 1, quality"; "" where it has none."""
    caption = re.search(r"<caption>(.*?)</caption>", table, re.DOTALL)
    words = Markup(caption[1]).striptags() if caption else ""
    first = re.split(r"[:;.]\s", words + " ", maxsplit=1)[0].strip()
    first = first if first.count("(") == first.count(")") else first.rpartition(" (")[0]
    return first if len(first) <= LONGEST else first[:LONGEST].rsplit(" ", 1)[0] + " ..."


def picture(image: Image.Image) -> str:
    """A figure as a data URI, at most ``WIDTH`` pixels wide."""
    height = round(image.height * min(1, WIDTH / image.width))
    shown = image.convert("RGB").resize((min(image.width, WIDTH), height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    shown.save(stream, "WEBP", quality=85, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def rows(file: Path) -> Markup:
    """The first ``ROWS`` rows of a CSV as HTML, without its stamp."""
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    shown = table.drop(columns=STAMP, errors="ignore").head(ROWS)
    more = f"<p>{len(table) - ROWS} more rows in <code>tables/{file.name}</code></p>" if len(table) > ROWS else ""
    return Markup(shown.to_html(index=False, border=0) + more)


def stamp(file: Path) -> str:
    """Where the numbers of a CSV come from, in one line: profile, data, seed, commit, hardware."""
    try:
        known = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return " · ".join(f"{name} {known[name]}" for name in (*STAMP, "hardware") if known.get(name) not in (None, ""))


def build(profile: str, results: Path | None = None, figures: Path | None = None) -> str:
    """The report of a profile, of what lies in ``results_dir`` and ``figures_dir`` or in other folders.

    Raises ``FileNotFoundError`` where no notebook has run.
    """
    results, figures = results or results_dir(profile), figures or figures_dir(profile)
    notebooks = sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    sections = [found for notebook in notebooks if (found := section(notebook, results, figures))]
    if not sections:
        raise FileNotFoundError(f"no notebook has run in {results}: run ./run_all.sh --profile {profile}")
    table = ledger.table(claims.read(profile))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html.jinja").render(
        profile=profile,
        claims=table.to_dict("records"),
        counts=table[ledger.HERE].replace("", "only printed").value_counts().to_dict(),
        printed=ledger.PRINTED,
        here=ledger.HERE,
        sections=sections,
    )


def main() -> int:
    """Exit status: 0 written, 1 nothing to write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", required=True, choices=list(PROFILES))
    profile = parser.parse_args().profile
    file = results_dir(profile) / "report.html"
    try:
        write_text(file, build(profile))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(file.relative_to(project_root()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
