"""The executed copy of a notebook: a valid notebook that names no folder of the machine that ran it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_BREAKS = re.compile(r"(file://|\x1b\[[0-9;]*m)$")
WIDGET = "application/vnd.jupyter.widget-view+json"


def portable(text: str, replacements: dict[str, str], kernelspec: dict | None = None) -> str:
    """An executed notebook (JSON text) without the folders of the machine that ran it; still a valid notebook.

    ``replacements``: folder -> what is written instead; the empty string makes paths below it relative. Pictures are
    left alone: a short folder name can occur in their encoded bytes by chance.
    """
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    if "papermill" in notebook.metadata:
        for key in ("input_path", "output_path", "environment_variables"):
            notebook.metadata.papermill.pop(key, None)
    if kernelspec:
        notebook.metadata.kernelspec = kernelspec
    notebook.metadata.pop("widgets", None)  # progress bars: in a copy that nobody can resume they stand at 0 %
    known = {**replacements, sys.prefix: "<environment>", sys.base_prefix: "<python>", str(Path.home()): "~"}
    known = {folder: known[folder] for folder in sorted(known, key=len, reverse=True) if len(folder) > 1}  # not "/"
    for number, cell in enumerate(notebook.cells, 1):
        cell.source = _replace(cell.source, known)
        if "outputs" in cell:
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):  # a widget that left a picture for those who cannot run it
                    output.data.pop(WIDGET, None)
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.get("outputs", []):
            output.update(_replace(dict(output), known, f"<cell {number}>"))
    notebook.metadata = nbformat.from_dict(_replace(notebook.metadata, known))
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _replace(value, known: dict[str, str], cell: str = "<cell>"):
    """``value`` (text, list or dictionary, nested) with the folders of ``known`` replaced, in linear time."""
    if isinstance(value, dict):
        return {
            key: item if key.startswith("image/") and key != "image/svg+xml" else _replace(item, known, cell)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_replace(item, known, cell) for item in value]
    if not isinstance(value, str):
        return value
    if "ipykernel_" in value:  # the file names that ipykernel invents for cells, from where a word begins
        value = re.sub(r"(?<![^\s'\"(])[^\s'\"(]*ipykernel_\d+/\d+\.py", cell, value)
    for folder, word in known.items():

        def replaced(match: re.Match, word: str = word) -> str:
            # A whole path, not the end of a longer one: after a colour code, too, where the letter m comes before it.
            at, text = match.start(), match.string
            inside = at > 0 and (text[at - 1].isalnum() or text[at - 1] in "_./-")
            if inside and not _BREAKS.search(text[max(at - 16, 0) : at]):
                return match[0]
            return (f"{word}/" if word else "") if match[1] else word or "."

        value = re.sub(rf"{re.escape(folder)}(?:(/)(?=[\w.])|(?![\w-]))", replaced, value)
    return value
