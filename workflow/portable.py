"""The executed copy of a notebook: a valid notebook that names no folder of the machine that ran it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

# What must not stand before a path, or it ends a longer one; and what may all the same: a colour code ends in m.
_BEFORE = (r"(?<![\w./-]{})", r"(?<=file://{})", *(rf"(?<=\x1b\[{'[0-9;]' * length}m{{}})" for length in range(13)))
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
    rules = []
    for folder in sorted((folder for folder in known if len(folder) > 1), key=len, reverse=True):  # not "/"
        path, word = re.escape(folder), known[folder]
        whole = f"{path}(?:{'|'.join(before.format(path) for before in _BEFORE)})"  # begins with letters: is found fast
        rules.append((folder, re.compile(whole + r"/(?=[\w.])"), f"{word}/" if word else ""))
        rules.append((folder, re.compile(whole + r"(?![\w-])"), word or "."))
    for number, cell in enumerate(notebook.cells, 1):
        cell.source = _replace(cell.source, rules)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.get("outputs", []):
            output.update(_replace(dict(output), rules, f"<cell {number}>"))
    notebook.metadata = nbformat.from_dict(_replace(notebook.metadata, rules))
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _replace(value, rules: list[tuple[str, re.Pattern, str]], cell: str = "<cell>"):
    """``value`` (text, list or dictionary, nested) with folders replaced, in linear time.

    ``rules``: a folder, where it is found, and what is written instead, in the order in which they are applied.
    """
    if isinstance(value, dict):
        return {
            key: item if key.startswith("image/") and key != "image/svg+xml" else _replace(item, rules, cell)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_replace(item, rules, cell) for item in value]
    if not isinstance(value, str):
        return value
    if "ipykernel_" in value:  # the file names that ipykernel invents for cells, from where a word begins
        value = re.sub(r"(?<![^\s'\"(])[^\s'\"(]*ipykernel_\d+/\d+\.py", cell, value)
    for folder, found, word in rules:
        if folder in value:
            value = found.sub(word.replace("\\", r"\\"), value)
    return value
