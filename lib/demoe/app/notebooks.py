"""One notebook: is it well formed, run it with given parameters, keep a copy that names no machine."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from demoe.core.files import write_text

KERNEL = "demoe-this-interpreter"
# A kernel asks for the inline backend, so that figures land in the notebook whatever the caller's environment says;
# bars written as text are renewed every ten seconds, because each renewal becomes a line of the notebook.
KERNEL_ENVIRONMENT = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "TQDM_MININTERVAL": "10"}
WIDGET = "application/vnd.jupyter.widget-view+json"
Watch = Callable[[int, int], None]  # called at the start of each cell with its number (from 1) and how many there are


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


def execute(path: Path, output: Path, parameters: dict[str, str], root: Path, watch: Watch) -> None:
    """Run the notebook ``path`` in its own folder and write the executed copy to ``output``, also when a cell fails.

    The kernel is the interpreter that calls this. Paths below ``root`` are written relative to it in the copy; other
    folders of this machine are replaced by what they stand for. Raises ``NotebookError``.
    """
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines

    class WatchedEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
            start = nb_man.cell_start

            def cell_start(cell, index=None, **more):
                at.update(zip(("cell", "of"), _position(nb_man.nb.cells, index), strict=True))
                at["source"] = cell.source
                watch(at["cell"], at["of"])
                start(cell, index, **more)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    at = {"cell": 0, "of": 0, "source": ""}  # where the run is
    papermill_engines.register("demoe", WatchedEngine)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="demoe-") as scratch, _own_kernel(Path(scratch)):
        copy = Path(scratch) / path.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the event loop and old notebook formats: not for our readers
                papermill.execute_notebook(
                    path,
                    copy,
                    parameters,
                    engine_name="demoe",
                    kernel_name=KERNEL,
                    cwd=path.parent,
                    progress_bar=False,
                    request_save_on_cell_execute=False,
                    autosave_cell_every=0,
                    start_timeout=120,
                )
        except papermill.PapermillExecutionError as error:
            raise NotebookError(_failure(path, at, f"{error.ename}: {error.evalue}")) from None
        except Exception as error:  # the kernel could not start, or died: nbclient and zmq raise many kinds
            raise NotebookError(_failure(path, at, f"{type(error).__name__}: {error}")) from None
        finally:
            if copy.exists():
                source_kernel = check(path).get("metadata", {}).get("kernelspec")
                replacements = {str(root): "", parameters.get("DATA_ROOT", ""): "<data root>", scratch: "<scratch>"}
                write_text(output, portable(copy.read_text(encoding="utf-8"), replacements, source_kernel))


def _position(cells: list, index: int) -> tuple[int, int]:
    """Number (from 1) of a cell in the notebook as its author sees it, without papermill's injected cell."""
    injected = next((i for i, cell in enumerate(cells) if "injected-parameters" in cell.metadata.get("tags", [])), None)
    if injected is None:
        return index + 1, len(cells)
    return index + 1 - (injected <= index), len(cells) - 1


def _failure(path: Path, at: dict, error: str) -> str:
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", error).splitlines() if line.strip()]
    reason = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
    code = next((line for line in at["source"].splitlines() if line.strip() and not line.startswith(("#", "%"))), "")
    where = f"cell {at['cell']} of {at['of']}, {code[:60]!r}" if at["cell"] else "before its first cell"
    return f"{path.name} failed ({where}): {reason[:300]}"


@contextmanager
def _own_kernel(folder: Path) -> Iterator[None]:
    """Make the kernel called KERNEL mean this interpreter while the block runs; nothing is registered for good."""
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    command += ["--HistoryManager.hist_file=:memory:", "--log-level=CRITICAL"]  # keep to itself
    spec = {"argv": command, "display_name": KERNEL, "language": "python", "env": KERNEL_ENVIRONMENT}
    place = folder / "jupyter" / "kernels" / KERNEL
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec))
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = os.pathsep.join([str(folder / "jupyter"), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["JUPYTER_PATH"]
        else:
            os.environ["JUPYTER_PATH"] = before


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
    known = {folder: word for folder, word in known.items() if len(folder) > 1}  # "/" is the root of everything
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
    """``value`` (text, list or dictionary, nested) with the folders of ``known`` replaced, the longest first."""
    if isinstance(value, dict):
        return {
            key: item if key.startswith("image/") and key != "image/svg+xml" else _replace(item, known, cell)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_replace(item, known, cell) for item in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"[^\s'\"(]*ipykernel_\d+/\d+\.py", cell, value)  # the file names ipykernel invents for cells
    for folder in sorted(known, key=len, reverse=True):
        # A whole path, not the end of a longer one: after a colour code, too, where the letter m comes before it.
        edge = rf"(^|[^\w./-]|\x1b\[[0-9;]*m|file://){re.escape(folder)}"
        word = known[folder]
        value = re.sub(rf"{edge}/(?=[\w.])", rf"\g<1>{word}/" if word else r"\g<1>", value)
        value = re.sub(rf"{edge}(?![\w-])", rf"\g<1>{word or '.'}", value)
    return value
