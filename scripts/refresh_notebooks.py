"""Write into notebooks/ the outputs that nbval compares: those of the cells marked NBVAL_CHECK_OUTPUT, no others.

Run it after changing a notebook: python scripts/refresh_notebooks.py notebooks/04_training_stages.ipynb; without a file
all of them are run. The test profile is used, as run_tests.sh does; pictures and whatever depends on the machine stay
out, they are in the executed copies under results/published/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat

from demoe.core.files import project_root, write_text

sys.path.append(str(project_root() / "workflow"))  # whose scripts are no package
from run_notebook import execute


def refresh(path: Path) -> None:
    """Runs one notebook in the test profile and takes over the outputs of its checked cells."""
    with tempfile.TemporaryDirectory() as folder:
        executed_file = Path(folder) / path.name
        execute(path, executed_file, {"PROFILE": "test"}, project_root())
        executed = nbformat.read(executed_file, 4)
    outputs = {cell.source: cell.outputs for cell in executed.cells if cell.cell_type == "code"}
    notebook = nbformat.read(path, 4)
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code":
            checked = cell.source.startswith("# NBVAL_CHECK_OUTPUT")
            cell.outputs = outputs[cell.source] if checked else []
            cell.execution_count = number if checked else None  # nbval refuses outputs of a cell that never ran
            for output in cell.outputs:
                output.pop("execution_count", None)
            cell.metadata.pop("execution", None)
    write_text(path, nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="files (default: all)")
    for notebook_path in parser.parse_args().notebooks or sorted((project_root() / "notebooks").glob("[0-9]*.ipynb")):
        print(notebook_path.name, flush=True)
        refresh(notebook_path)
