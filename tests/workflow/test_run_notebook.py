"""One notebook: what is refused, what its kernel sees, what its executed copy says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from projects import notebook  # first: it says where the next is

from run_notebook import NotebookError, check, execute  # isort: skip


def text_of(path: Path) -> str:
    """All that the cells of an executed notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", output.get("data", {}).get("text/plain", "")) for output in outputs)


def test_parameters_interpreter_and_a_configuration_that_is_not_the_projects(tmp_path, monkeypatch):
    """The person draws figures as SVG and with LaTeX, and has a startup file and a kernel called python3."""
    person, data = tmp_path / "person", tmp_path / "data"
    for name, text in {
        "ipython/profile_default/ipython_config.py": "c.InlineBackend.figure_formats = {'svg'}\n",
        "ipython/profile_default/startup/first.py": "raise SystemExit('the startup file ran')\n",
        "matplotlib/matplotlibrc": "text.usetex: True\nsavefig.format: svg\n",
        "jupyter/kernels/python3/kernel.json": '{"argv": ["false"], "display_name": "mine", "language": "python"}',
        "data/a.txt": "",
    }.items():
        file = person / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    data.mkdir()
    monkeypatch.setenv("IPYTHONDIR", str(person / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(person / "matplotlib"))
    monkeypatch.setenv("JUPYTER_PATH", str(person / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    show = "import os, sys\nprint(sys.executable, PROFILE, DATA_ROOT, os.getcwd())"
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('a_b');"
    source = notebook(tmp_path, "01_one", show, draw)
    before, environment = source.read_bytes(), dict(os.environ)
    copy = tmp_path / "results" / "01_one.ipynb"
    execute(source, copy, {"PROFILE": "test", "DATA_ROOT": str(data)}, tmp_path)
    interpreter = os.path.relpath(sys.executable, sys.prefix)
    said = text_of(copy)
    assert said.split()[:5] == [f"<environment>/{interpreter}", "test", "<data", "root>", "notebooks"]
    (picture,) = (one.data for one in nbformat.read(copy, 4).cells[-1].outputs if one.output_type == "display_data")
    assert "image/png" in picture and "image/svg+xml" not in picture
    assert str(tmp_path) not in copy.read_text() and str(Path.home()) not in copy.read_text()
    nbformat.validate(nbformat.read(copy, as_version=4))
    assert nbformat.read(copy, as_version=4).metadata.kernelspec.name == "python3"
    assert source.read_bytes() == before and dict(os.environ) == environment


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (
            "# a comment\ny = [1]\nraise ValueError(f'no such\\nthing in {__name__}')",
            "ValueError: no such ... thing in __main__",
        ),
        ("y = [1]\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)", "DeadKernelError: Kernel died"),
    ],
)
def test_a_failure_is_one_sentence_that_names_the_cell(tmp_path, breaks, reason):
    path, copy = notebook(tmp_path, "01_breaks", "x = 1", breaks, "x"), tmp_path / "copy.ipynb"
    with pytest.raises(NotebookError) as error:
        execute(path, copy, {"PROFILE": "test"}, tmp_path)
    assert str(error.value).startswith(f"01_breaks.ipynb failed (cell 4 of 5, 'y = [1]'): {reason}")
    assert "\n" not in str(error.value) and str(tmp_path) not in copy.read_text()


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one_parameters_cell(tmp_path, count):
    with pytest.raises(NotebookError, match=f"02_wrong.ipynb has {count} cells tagged 'parameters'"):
        check(notebook(tmp_path, "02_wrong", "1", parameters=count))


def test_parameters_cell_without_profile_and_foreign_file(tmp_path):
    path = notebook(tmp_path, "01_one", "1")
    path.write_text(path.read_text().replace("PROFILE = ", "SIZE = "))
    with pytest.raises(NotebookError, match=r"01_one.ipynb does not set PROFILE"):
        check(path)
    for text in ("", "{}", "[]", '{"cells": 3}', "hello"):
        path.write_text(text)
        with pytest.raises(NotebookError, match="not a Jupyter notebook"):
            check(path)
