"""The one way in which a table becomes Markdown."""

from __future__ import annotations

import re

import pandas as pd


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text without an index: its levels are the first columns, levels of the columns joined by commas."""
    heads = [
        ", ".join(str(part) for part in (name if isinstance(name, tuple) else (name,)) if part != "") for name in table
    ]
    names = ["" if name is None else str(name) for name in table.index.names]
    cells = table.set_axis(heads, axis=1).reset_index(names=names, allow_duplicates=True)
    return cells.map(lambda cell: re.sub(r"\s*\n\s*", " ", str(cell)))


def markdown_table(table: pd.DataFrame, index: bool = True) -> str:
    """The table as GitHub's Markdown: the levels of its index to the left, if ``index``, its cells to the right."""
    labels = table.index.nlevels if index else 0
    cells = flat(table) if index else flat(table).iloc[:, table.index.nlevels :]
    escaped = cells.map(lambda cell: cell.replace("|", r"\|"))
    alignment = ["left"] * labels + ["right" if index else "left"] * (cells.shape[1] - labels)
    heads = [str(head).replace("|", r"\|") for head in cells]
    text = escaped.to_markdown(index=False, headers=heads, tablefmt="pipe", colalign=alignment, disable_numparse=True)
    head, rule, *rows = re.sub(" {2,}", " ", text).split("\n")  # nobody has to read aligned columns in a wide table
    return "\n".join([head, re.sub("-{4,}", "---", rule), *rows])
