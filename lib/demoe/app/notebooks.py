"""One notebook: is it well formed, run it with given parameters, keep a copy that names no machine."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demoe.core.files import write_text

WIDGET = "application/vnd.jupyter.widget-view+json"


class NotebookError(RuntimeError):
    """A notebook that cannot be run, or that failed. The message is one line and names the notebook and the cell."""


def check(path: Path) -> dict:
    """The notebook in ``path`` as JSON, if it has exactly one ``parameters`` cell and this cell sets PROFILE.

    papermill itself only warns when there is none, and then runs the notebook with its defaults. Raises
    ``NotebookError``.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
        tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotebookError(f"{path.name} is not a Jupyter notebook.") from None
    if len(tagged) != 1:
        raise NotebookError(f"{path.name} has {len(tagged)} cells tagged 'parameters': it needs exactly one.")
    if not re.search(r"^PROFILE\b", "".join(tagged[0]["source"]), re.MULTILINE):
        raise NotebookError(f"{path.name} does not set PROFILE in its cell tagged 'parameters'.")
    return notebook


def execute(path: Path, output: Path, parameters: dict[str, str], root: Path) -> None:
    """Run the notebook ``path`` in its own folder and write the executed copy to ``output``, also when a cell fails.

    The kernel is python3 of the environment of the caller, without the person's configuration of Jupyter, IPython and
    matplotlib. Paths below ``root`` are written relative to it in the copy; other folders of this machine are replaced
    by what they stand for. Raises ``NotebookError``.
    """
    import papermill

    kernelspec = check(path).get("metadata", {}).get("kernelspec")
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="demoe-") as scratch, _kernel_environment(scratch):
        copy = Path(scratch) / path.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the event loop and old notebook formats: not for our readers
                papermill.execute_notebook(
                    path,
                    copy,
                    parameters,
                    kernel_name="python3",
                    cwd=path.parent,
                    progress_bar=False,
                    autosave_cell_every=0,
                    start_timeout=120,
                )
        except papermill.PapermillExecutionError as error:
            raise NotebookError(_failure(copy, f"{error.ename}: {error.evalue}")) from None
        except Exception as error:  # the kernel could not start, or died: nbclient and zmq raise many kinds
            raise NotebookError(_failure(copy, f"{type(error).__name__}: {error}")) from None
        finally:
            if copy.exists():
                replacements = {str(root): "", parameters.get("DATA_ROOT", ""): "<data root>", scratch: "<scratch>"}
                write_text(output, portable(copy.read_text(encoding="utf-8"), replacements, kernelspec))


@contextmanager
def _kernel_environment(scratch: str) -> Iterator[None]:
    """Kernels that start while the block runs see this environment instead of what the person has configured.

    Figures land in the notebook whatever the caller's backend is; bars written as text are renewed every ten seconds,
    because each renewal becomes a line of the notebook.
    """
    matplotlib = Path(importlib.util.find_spec("matplotlib").origin).parent
    before = dict(os.environ)
    for name in ("JUPYTER_PATH", "PYTHONSTARTUP"):
        os.environ.pop(name, None)
    os.environ |= {
        "IPYTHONDIR": f"{scratch}/ipython",
        "JUPYTER_DATA_DIR": f"{scratch}/jupyter",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "MATPLOTLIBRC": str(matplotlib / "mpl-data" / "matplotlibrc"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "TQDM_MININTERVAL": "10",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def _failure(copy: Path, error: str) -> str:
    """A sentence about a failed run, from the copy in which papermill notes how far it came."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", error).splitlines() if line.strip()]
    reason = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
    where = "before its first cell"
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"] if copy.exists() else []
    # Counted as the author sees them, without those that papermill puts in: parameters, marks of an error.
    cells = [
        cell
        for cell in cells
        if not {"injected-parameters", "papermill-error-cell-tag"} & {*cell["metadata"].get("tags", [])}
    ]
    for number, cell in enumerate(cells, 1):
        if cell["metadata"].get("papermill", {}).get("start_time"):  # the last of these is the one
            source = "".join(cell["source"]).splitlines()
            code = next((line for line in source if line.strip() and not line.startswith(("#", "%"))), "")
            where = f"cell {number} of {len(cells)}, {code[:60]!r}"
    return f"{copy.name} failed ({where}): {reason[:300]}"


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
            before = match.string[max(match.start() - 16, 0) : match.start()]
            inside = before[-1:].isalnum() or before[-1:] in tuple("_./-")
            if inside and not re.search(r"(file://|\x1b\[[0-9;]*m)$", before):
                return match[0]
            return (f"{word}/" if word else "") if match[1] else word or "."

        value = re.sub(rf"{re.escape(folder)}(?:(/)(?=[\w.])|(?![\w-]))", replaced, value)
    return value
