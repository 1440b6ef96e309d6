"""Projects of a few tiny notebooks, which the workflow runs as it runs those of the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow"))  # its scripts are no package
PROGRAM = [sys.executable, str(ROOT / "workflow" / "run.py")]
TABLE = """import time
from demoe.core.files import results_dir, write_text
time.sleep(0.2)
write_text(results_dir(PROFILE) / "tables" / "{number}_table.csv", "psnr\\n" + "30.1\\n" * 1000)"""


def notebook(root: Path, name: str, *cells: str, parameters: int = 1) -> Path:
    """``notebooks/<name>.ipynb``, which runs ``cells``; without any it writes one table. ``parameters``: such cells."""
    content = nbformat.v4.new_notebook()
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    first = [nbformat.v4.new_code_cell('PROFILE = "smoke"\nDATA_ROOT = None') for _ in range(parameters)]
    for cell in first:
        cell.metadata.tags = ["parameters"]
    cells = cells or (TABLE.format(number=name[:2]),)
    content.cells = [nbformat.v4.new_markdown_cell(f"# {name}"), *first, *map(nbformat.v4.new_code_cell, cells)]
    for number, cell in enumerate(content.cells):
        cell.id = f"cell-{number}"
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(content, path)
    return path


def environment(root: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DEMOE_")}
    return kept | {"DEMOE_HOME": str(root), "PYTHONPATH": str(ROOT / "lib"), "OMP_NUM_THREADS": "1"}


def start(root: Path, *arguments: str) -> subprocess.Popen:
    """The workflow, in a process of its own, in the test profile."""
    command, pipe = [*PROGRAM, "--profile", "test", *arguments], subprocess.PIPE
    return subprocess.Popen(command, env=environment(root), cwd="/", text=True, stdout=pipe, stderr=pipe)


def run(root: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output, errors."""
    process = start(root, *arguments)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors
