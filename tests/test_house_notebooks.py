"""What every notebook of the repository must be; nbval checks what they print."""

import re

import nbformat
import pytest

from demoe.core.files import project_root

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_house_rules(path):
    cells = nbformat.read(path, 4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem) and cells[0].cell_type == "markdown"
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    lines = [line for cell in code for line in cell.source.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 150 and not any(re.match(r"\s*(def|class|!|%pip)\b", line) for line in lines)
    checked = [cell for cell in code if cell.source.startswith("# NBVAL_CHECK_OUTPUT")]
    assert checked and all(cell.outputs for cell in checked)  # else nbval has nothing to compare with
    assert not any(cell.outputs for cell in code if cell not in checked)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3
