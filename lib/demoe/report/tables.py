"""Tables: one tidy CSV with its stamp, and the same numbers laid out for a reader, as Markdown and LaTeX."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from demoe.core import provenance
from demoe.core.files import results_dir, write_text
from demoe.evaluation.statistics import shown

Read = Callable[[str], pd.DataFrame]  # name of a saved CSV -> its rows, stamp columns included
# Columns that hold text whatever stands in them: a key "0007" is no number, and a commit "12345678" is none either.
TEXTS = frozenset({"set", "image", "method", "missing", "note", "profile", "data", "commit"})
STAMP = ("profile", "data", "seed", "commit")
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "…": r"\ldots{}",
    "†": r"$\dagger$",
    "–": "--",
    "σ": r"$\sigma$",
    "λ": r"$\lambda$",
    "°": r"$^\circ$",
    "²": r"$^2$",
}


@dataclass(frozen=True)
class Layout:
    """How saved rows become a table for a reader.

    ``build`` gives a table whose index holds the row labels and whose cells are text ready to print, ``**bold**`` where
    a value is to stand out. A second level of the columns is written behind the first, after a comma.
    """

    build: Callable[[Read], pd.DataFrame]
    caption: str  # plain text: what is shown, of which data, and what paper table stands beside it


def save(table: pd.DataFrame, name: str, mark: provenance.Stamp, decimals: int = 5) -> Path:
    """Writes ``results/<profile>/tables/<name>.csv`` and ``<name>.json`` beside it; returns the CSV's path.

    Profile, data, seed and commit are columns of the CSV; hardware and library versions are in the JSON, so that the
    CSV of a count is the same on every machine, and that of a training on every run of one machine. Both appear whole
    or not at all.
    """
    folder = results_dir(mark.profile) / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    stamped = table.assign(**mark.columns())
    write_text(folder / f"{name}.csv", stamped.to_csv(index=False, float_format=f"%.{decimals}f", lineterminator="\n"))
    write_text(folder / f"{name}.json", json.dumps(provenance.full(mark), indent=2) + "\n")
    return folder / f"{name}.csv"


def read(name: str, profile_name: str) -> pd.DataFrame:
    """The rows that ``save`` wrote as ``<name>.csv``: text stays text, an empty cell is NaN only among numbers.

    Raises ``FileNotFoundError`` where there is no such CSV.
    """
    file = results_dir(profile_name) / "tables" / f"{name}.csv"
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}: run the notebook that writes it (its name begins alike)")
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return table.assign(**{column: _typed(table[column]) for column in table.columns if column not in TEXTS})


def _typed(cells: pd.Series) -> pd.Series:
    """Numbers or truth values where all cells hold such or nothing, else the text as it is."""
    written = cells[cells != ""]
    if len(written) and written.isin(["True", "False"]).all():
        return cells.map({"True": True, "False": False}).astype("boolean")
    numbers = pd.to_numeric(written, errors="coerce")
    if numbers.isna().any() or written.str.fullmatch(r"[-+]?0\d+").any():  # "007" is a name
        return cells
    return pd.to_numeric(cells.where(cells != "", None)) if len(written) else cells.map(lambda _: float("nan"))


def write(name: str, layout: Layout, profile_name: str) -> pd.DataFrame:
    """Builds the table from the CSVs in ``results/<profile>/tables`` and writes ``<name>.md`` and ``<name>.tex`` there.

    Both hold the caption, the table, and a line with profile, data, seed and commit of the CSVs; they appear whole or
    not at all. Returns the table for display. Raises ``FileNotFoundError`` where a CSV is missing.
    """
    stamps: list[pd.DataFrame] = []

    def reading(csv: str) -> pd.DataFrame:
        table = read(csv, profile_name)
        stamps.append(table[[column for column in STAMP if column in table]].astype(str))
        return table

    table = layout.build(reading)
    line = _stamp_line(stamps)
    folder = results_dir(profile_name) / "tables"
    write_text(folder / f"{name}.md", markdown(table, layout.caption, line))
    write_text(folder / f"{name}.tex", latex(table, layout.caption, line, label=name))
    return table


def write_all(layouts: dict[str, Layout], profile_name: str) -> tuple[list[str], dict[str, str]]:
    """Writes every table whose CSVs are there, without any network.

    Returns the names written, and why for each of the others.
    """
    written, left_out = [], {}
    for name, layout in layouts.items():
        try:
            write(name, layout, profile_name)
        except FileNotFoundError as error:
            left_out[name] = str(error)
        else:
            written.append(name)
    return written, left_out


def _stamp_line(stamps: list[pd.DataFrame]) -> str:
    """What the CSVs say of themselves. Counts, whose data are "none", are left out beside measurements."""
    rows = pd.concat(stamps).drop_duplicates() if stamps else pd.DataFrame(columns=list(STAMP))
    if "data" in rows and (rows["data"] != "none").any():
        rows = rows[rows["data"] != "none"]
    return " · ".join(f"{column} {', '.join(sorted(rows[column].dropna().unique()))}" for column in rows.columns)


def markdown(table: pd.DataFrame, caption: str, line: str) -> str:
    """The table as GitHub's Markdown, between its caption and the line about its origin."""
    escape = partial(re.sub, r"([|])", r"\\\1")
    head, rows = _cells(table)
    lines = [f"| {' | '.join(map(escape, cells))} |" for cells in (head, *rows)]
    rule = "|" + "|".join(["---"] * _labels(table) + ["---:"] * table.shape[1]) + "|"
    return "\n".join([f"**{escape(caption)}**", "", lines[0], rule, *lines[1:], "", f"*{escape(line)}*", ""])


def latex(table: pd.DataFrame, caption: str, line: str, label: str) -> str:
    """The table as a LaTeX float, for the packages booktabs and graphicx (which shrinks it to the line's width)."""
    head, rows = _cells(table)
    lines = [" & ".join(map(_latex, cells)) + r" \\" for cells in (head, *rows)]
    columns = "l" * _labels(table) + "r" * table.shape[1]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(caption)}}}",
            rf"\label{{tab:{label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}}",
            rf"\par\footnotesize {_latex(line)}",
            r"\end{table}",
            "",
        ]
    )


def _latex(text: str) -> str:
    parts = re.split(r"\*\*(.+?)\*\*", text)  # what is bold stands at the odd places
    parts = ["".join(LATEX.get(letter, letter) for letter in part) for part in parts]
    return "".join(rf"\textbf{{{part}}}" if i % 2 else part for i, part in enumerate(parts))


def _labels(table: pd.DataFrame) -> int:
    return table.index.nlevels


def _cells(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Head and rows as text, row labels first. A label of several levels takes a column each."""
    head = ["" if name is None else str(name) for name in table.index.names] + [_joined(name) for name in table.columns]
    labels = [[str(part) for part in (key if isinstance(key, tuple) else (key,))] for key in table.index]
    rows = [[*label, *map(str, cells)] for label, cells in zip(labels, table.to_numpy(), strict=True)]
    return head, [[re.sub(r"\s*\n\s*", " ", cell) for cell in row] for row in rows]


def _joined(name: object) -> str:
    return ", ".join(str(part) for part in name if part != "") if isinstance(name, tuple) else str(name)


def best(values: Iterable[float], decimals: int = 2, lowest: bool = False) -> list[str]:
    """Values as text, the best in bold as printed (so that equals are bold together); NaN is "missing"."""
    texts = [shown(value, decimals) for value in values]
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce")
    target = numbers.min() if lowest else numbers.max()
    return [f"**{text}**" if number == target else text for text, number in zip(texts, numbers, strict=True)]


def by_set(summary: pd.DataFrame, decimals: tuple[int, int] = (2, 3)) -> pd.DataFrame:
    """Methods down, sets across, "PSNR / SSIM" in the cells, from ``statistics.summarise``'s table."""
    cells = summary.assign(
        value=[
            f"{shown(p, decimals[0])} / {shown(s, decimals[1])}"
            for p, s in zip(summary.psnr, summary.ssim, strict=True)
        ]
    )
    order_rows, order_columns = summary.method.unique(), summary.set.unique()
    return cells.pivot(index="method", columns="set", values="value").loc[order_rows, order_columns]
