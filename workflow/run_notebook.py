"""Runs one notebook, keeps a copy that names no machine, and notes what it wrote: the job of the rule ``notebook``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portable import portable

from demoe.core.files import figures_dir, project_root, results_dir, write_text


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


def main() -> int:
    """Exit status: 0 done, 1 the notebook failed; the last line that is printed then says why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("record", type=Path, help="where is written which tables and figures it made, and in what time")
    parser.add_argument("--profile", required=True)
    parser.add_argument("--data-root")
    args = parser.parse_args()
    root, began = project_root(), time.time()
    copy = results_dir(args.profile) / "notebooks" / args.notebook.name
    parameters = {"PROFILE": args.profile} | ({"DATA_ROOT": args.data_root} if args.data_root else {})
    try:
        execute(args.notebook.resolve(), copy, parameters, root)
        made = [copy, *products(args.notebook.name[:2], args.profile, began)]
        record = {"seconds": round(time.time() - began, 1), "files": [str(file.relative_to(root)) for file in made]}
        write_text(args.record, json.dumps(record, indent=1) + "\n")
    except (NotebookError, OSError) as error:
        print(f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error)
        return 1
    return 0


def products(number: str, profile: str, since: float) -> list[Path]:
    """The tables and figures of a notebook, whose names begin with its number, that were written after ``since``."""
    folders = results_dir(profile) / "tables", figures_dir(profile)
    files = [file for folder in folders for file in sorted(folder.glob(f"{number}_*"))]
    return [file for file in files if file.stat().st_mtime >= since - 1]


if __name__ == "__main__":
    sys.exit(main())
