"""Tables: one tidy CSV with its stamp, and the same numbers laid out for a reader, as HTML, Markdown and LaTeX."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from demoe.core import provenance
from demoe.core.files import own_or_published, results_dir, write_text
from demoe.core.markdown import markdown_table
from demoe.core.paper import published
from demoe.evaluation.metrics import LABELS

Read = Callable[[str], pd.DataFrame]  # name of a saved CSV -> its rows, stamp columns included
# A table for a reader: row labels in its index, cells of text ready to print, ``**bold**`` where a value is to stand
# out. A second level of the columns stands below the first, and in Markdown behind it, after a comma.
Build = Callable[[Read], pd.DataFrame]
NONE = "–"  # no such number: not published, or nothing of ours
BELOW = "↓"  # behind a PSNR of ours: worse than leaving the pictures alone
PSNR_AND_SSIM = f"PSNR (dB; {BELOW}: below the input) / SSIM"
DECIMALS = {"psnr": 2, "ssim": 3, "lpips": 3, "musiq": 2, "nrqm": 3, "niqe": 3}  # that the paper prints
OURS = {name: "lpips_vgg" if name == "lpips" else name for name in DECIMALS}  # it does not say which LPIPS; see design
# Columns that hold text whatever stands in them: a key "0007" is no number, and a commit "12345678" is none either.
TEXTS = frozenset({"set", "image", "method", "missing", "note", "profile", "data", "commit"})
STAMP = ("profile", "data", "seed", "commit")
BOLD = re.compile(r"\*\*(.+?)\*\*")
TEXT_NAMES = ("backslash", "asciitilde", "asciicircum", "less", "greater")
MATH_NAMES = ("uparrow", "downarrow", "rightarrow", "pm", "times", "cdot", "approx", "leq", "geq", "dagger", "sigma")
LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {letter: rf"\text{name}{{}}" for letter, name in zip("\\~^<>", TEXT_NAMES, strict=True)}
    | {letter: rf"$\{name}$" for letter, name in zip("↑↓→±×·≈≤≥†σ", MATH_NAMES, strict=True)}
    | {"…": r"\ldots{}", "–": "--", "−": "$-$", "λ": r"$\lambda$", "°": r"$^\circ$", "²": "$^2$"}
)


def save(table: pd.DataFrame, name: str, mark: provenance.Stamp, decimals: int = 5) -> Path:
    """Writes ``results/<profile>/tables/<name>.csv`` and ``<name>.json`` beside it; returns the CSV's path.

    Profile, data, seed and commit are columns of the CSV; hardware and library versions are in the JSON, so that the
    CSV of a count is the same on every machine, and that of a training on every run of one machine. Both appear whole
    or not at all.
    """
    folder = results_dir(mark.profile) / "tables"
    stamped = table.assign(**mark.columns())
    write_text(folder / f"{name}.csv", stamped.to_csv(index=False, float_format=f"%.{decimals}f", lineterminator="\n"))
    write_text(folder / f"{name}.json", json.dumps(provenance.full(mark), indent=2) + "\n")
    return folder / f"{name}.csv"


def save_all(prefix: str, found: Mapping[str, pd.DataFrame], mark: provenance.Stamp, decimals: int = 5) -> None:
    """``save`` of every table by its name behind ``prefix``: "10" and "scores" give ``10_scores``."""
    for name, table in found.items():
        save(table, f"{prefix}_{name}", mark, decimals)


def save_timings(table: pd.DataFrame, name: str, mark: provenance.Stamp, **facts: str) -> Path:
    """Writes ``results/<profile>/timings/<name>.json`` and returns its path: a record a row, with ``facts`` and the
    machine. No two runs give the same, so that no table has them."""
    records = table.assign(**facts, hardware=mark.hardware).to_json(orient="records", indent=2)
    file = results_dir(mark.profile) / "timings" / f"{name}.json"
    write_text(file, records + "\n")
    return file


def read(name: str, profile_name: str) -> pd.DataFrame:
    """The rows that ``save`` wrote as ``<name>.csv``: text stays text, an empty cell is NaN only among numbers.

    Where nothing was written here, those that are published; their stamp tells. Raises ``FileNotFoundError`` where
    there is no such CSV.
    """
    file = own_or_published(profile_name, f"tables/{name}.csv")
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}: run the notebook that writes it (its name begins alike)")
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return table.assign(**{column: _typed(table[column]) for column in table.columns if column not in TEXTS})


def written_here(name: str, profile_name: str) -> pd.DataFrame | None:
    """``read`` of a CSV that this machine wrote; None where it did not, whatever is published."""
    return read(name, profile_name) if (results_dir(profile_name) / "tables" / f"{name}.csv").is_file() else None


def _typed(cells: pd.Series) -> pd.Series:
    """Numbers or truth values where all cells hold such or nothing, else the text as it is."""
    written = cells[cells != ""]
    if len(written) and written.isin(["True", "False"]).all():
        return cells.map({"True": True, "False": False}).astype("boolean")
    numbers = pd.to_numeric(written, errors="coerce")
    if numbers.isna().any() or written.str.fullmatch(r"[-+]?0\d+").any():  # "007" is a name
        return cells
    return pd.to_numeric(cells.where(cells != "", None)) if len(written) else cells.map(lambda _: float("nan"))


@dataclass(frozen=True)
class Table:
    """A table for a reader: shown by notebooks as HTML, written as HTML, Markdown and LaTeX with the same cells.

    ``caption`` says what is shown (plain text), ``notes`` what was not measured, and profile, data, seed and commit.
    """

    cells: pd.DataFrame
    caption: str
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """GitHub's Markdown, between the caption and the notes."""
        notes = "\n\n".join(f"*{note}*" for note in self.notes)
        return f"**{self.caption}**\n\n{markdown_table(self.cells)}\n\n{notes}\n"

    def html(self) -> str:
        """A table whose levels of columns and rows span their cells, and which needs no style sheet."""
        styler = self._styler(_html).set_caption(escape(self.caption))
        notes = "".join(f"<p><small>{escape(note)}</small></p>\n" for note in self.notes)
        return styler.to_html(exclude_styles=True) + notes

    _repr_html_ = html

    def latex(self, label: str) -> str:
        """A float, for the packages booktabs, multirow and graphicx (which shrinks it to the line's width)."""
        columns = "l" * self.cells.index.nlevels + "r" * self.cells.shape[1]
        text = self._styler(_latex).to_latex(
            hrules=True,
            position_float="centering",
            caption=_latex(self.caption),
            label=f"tab:{label}",
            column_format=columns,
            multicol_align="c",
            multirow_align="t",
        )
        notes = "".join(f"\n\\par\\footnotesize {_latex(note)}" for note in self.notes)
        shrink = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        text = text.replace(r"\begin{tabular}", shrink + r"\begin{tabular}")
        text = text.replace(r"\end{tabular}", r"\end{tabular}}" + notes)
        return "% needs \\usepackage{booktabs,multirow,graphicx}\n" + text

    def _styler(self, written: Callable[[str], str]) -> Styler:
        """With the names of the index in the last row of heads, where those of the columns would stand."""
        names = written(", ".join(name for name in self.cells.index.names if name))
        cells = self.cells.rename_axis(columns=[None] * (self.cells.columns.nlevels - 1) + [names])
        styler = cells.style.format(written).format_index(written, axis=0).format_index(written, axis=1)
        return styler.hide(axis=0, names=True)


def _html(text: str) -> str:
    return BOLD.sub(r"<b>\1</b>", escape(str(text)))


def _latex(text: str) -> str:
    return BOLD.sub(r"\\textbf{\1}", str(text).translate(LATEX))


def write(name: str, build: Build, caption: str, profile_name: str) -> Table:
    """Builds a table from the CSVs in ``results/<profile>/tables`` and writes it there as HTML, Markdown and LaTeX.

    Each holds the ``caption`` (plain text: what is shown, of which data, what paper table stands beside it), the table,
    why metrics were not measured, and profile, data, seed and commit of the CSVs; they appear whole or not at all.
    Returns the table, for display. Raises ``FileNotFoundError`` where a CSV is missing.
    """
    stamps: list[pd.DataFrame] = []
    reasons: set[str] = set()

    def reading(csv: str) -> pd.DataFrame:
        table = read(csv, profile_name)
        stamps.append(table[[column for column in STAMP if column in table]].astype(str))
        if "missing" in table:
            reasons.update(reason for cell in table["missing"].unique() for reason in str(cell).split("; "))
        return table

    cells = build(reading)
    table = Table(cells, caption, (*_not_measured(reasons), _stamp_line(stamps)))
    folder = results_dir(profile_name) / "tables"
    for suffix, text in (("html", table.html()), ("md", table.markdown()), ("tex", table.latex(name))):
        write_text(folder / f"{name}.{suffix}", text)
    return table


def _not_measured(reasons: Iterable[str]) -> list[str]:
    """Said once below a table: "Not measured here: LPIPS VGG: weights missing", of "lpips_vgg: weights missing"."""
    pairs = sorted(reason.split(": ", 1) for reason in reasons if ": " in reason and "no ground truth" not in reason)
    told = [f"{LABELS[metric].split(' (')[0].rstrip(' ↑↓')}: {why}" for metric, why in pairs if metric in LABELS]
    return [f"Not measured here: {'; '.join(told)}"] if told else []


def _stamp_line(stamps: list[pd.DataFrame]) -> str:
    """What the CSVs say of themselves. Counts, whose data are "none", are left out beside measurements."""
    rows = pd.concat(stamps).drop_duplicates() if stamps else pd.DataFrame(columns=list(STAMP))
    if "data" in rows and (rows["data"] != "none").any():
        rows = rows[rows["data"] != "none"]
    return " · ".join(f"{column} {', '.join(sorted(rows[column].dropna().unique()))}" for column in rows.columns)


def number(value: float, decimals: int = 2, sign: bool = False, missing: str = NONE) -> str:
    """A number for a reader, zero always without a sign; ``missing`` stands for NaN."""
    if math.isnan(value):
        return missing
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if sign and rounded else ''}.{decimals}f}"


def interval(row: Mapping, decimals: int = 2, sign: bool = True, unit: str = "") -> str:
    """ "+0.12 [+0.03, +0.25]" of a row with mean, low and high, with a ``unit`` "+0.12 dB [+0.03, +0.25]"; for "%" the
    values are shares, 0 to 1.

    The mean alone where there is no interval, or nothing that could differ.
    """
    mean, low, high = (row[name] * (100 if unit == "%" else 1) for name in ("mean", "low", "high"))
    texts = [number(value, decimals, sign) for value in (mean, low, high)]
    text = f"{texts[0]} {unit}" if unit and not math.isnan(mean) else texts[0]
    return text if math.isnan(low) or low == mean == high else f"{text} [{texts[1]}, {texts[2]}]"


def where(table: pd.DataFrame, /, **values) -> pd.DataFrame:
    """The rows in which the columns named hold these values."""
    return table[(table[list(values)] == pd.Series(values)).all(axis=1)]


@lru_cache
def _published() -> pd.Series:
    return published().set_index(["table", "method", "dataset", "metric"]).value


def paper(table: str, method: str, dataset: str, metric: str) -> float:
    """A published number (``demoe_tables.csv``), NaN where there is none."""
    return float(_published().get((table, method, dataset, metric), math.nan))


def paper_cell(table: str, method: str, dataset: str, metrics: Iterable[str]) -> str:
    """ "29.23 / 0.867 / 0.198", what the paper prints; one dash where it has nothing at all."""
    return joined(number(paper(table, method, dataset, one), DECIMALS[one]) for one in metrics)


def our_cell(means: pd.DataFrame, method: str, name: str, metrics: Iterable[str], untouched: str = "") -> str:
    """The same of ``means``, with the index (method, set) and a column a metric; a dash for what was not scored.

    ``BELOW`` stands behind a PSNR that is lower than that of the method ``untouched``, as printed.
    """
    if (method, name) not in means.index:
        return NONE
    row, least = means.loc[(method, name)], means.psnr.get((untouched, name), math.nan)
    marks = {"psnr": harm(row["psnr"], least)}
    return joined(number(row[OURS[one]], DECIMALS[one]) + marks.get(one, "") for one in metrics)


def harm(psnr: float, untouched: float) -> str:
    """``BELOW`` where a PSNR is lower than that of the untouched input, both as printed; otherwise nothing."""
    return BELOW if round(psnr, DECIMALS["psnr"]) < round(untouched, DECIMALS["psnr"]) else ""


def bare(name: str) -> str:
    """The set that a synthetic one stands in for."""
    return name.removesuffix("-syn")


def best(values: Iterable[float], decimals: int = 2, lowest: bool = False) -> list[str]:
    """Values as text, the best in bold as printed (so that equals are bold together)."""
    texts = [number(value, decimals) for value in values]
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce")
    target = numbers.min() if lowest else numbers.max()
    return [f"**{text}**" if number == target else text for text, number in zip(texts, numbers, strict=True)]


def joined(cells: Iterable[str]) -> str:
    """Several numbers in one cell, behind each other; once where all are the same word or dash."""
    texts = list(cells)
    return texts[0] if len(set(texts)) == 1 and not any(map(str.isdigit, texts[0])) else " / ".join(texts)


def by_set(summary: pd.DataFrame) -> pd.DataFrame:
    """Methods down, sets across, "PSNR / SSIM" in the cells, from ``statistics.summarise``'s table.

    ``BELOW`` marks what harms, where one of the methods is "input".
    """
    means, methods = summary.set_index(["method", "set"]), summary.method.unique()
    cells = {
        name: [our_cell(means, method, name, ("psnr", "ssim"), "input") for method in methods]
        for name in summary["set"].unique()
    }
    return pd.DataFrame(cells, index=pd.Index(methods, name="method")).rename_axis(columns=PSNR_AND_SSIM)
