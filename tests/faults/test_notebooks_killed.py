"""The runner of the notebooks: killed for good, with a kernel that dies, with results damaged behind its back."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest

from demoe.app import runner

CELL = """import os, time
from pathlib import Path
from demoe.paths import results_dir, write_text
time.sleep(0.1)
write_text(results_dir(PROFILE) / "tables" / "{name}.csv", "psnr\\n" + "30.1\\n" * 1000)
write_text(Path("../kernel"), str(os.getpid()))
time.sleep({seconds})"""
KILLS = max(3, int(os.environ.get("DEMOE_FAULTS", 0)) // 20)
SEED = int(os.environ.get("DEMOE_FAULTS_SEED", 0))


def notebook(root, name, *cells):
    content = nbformat.v4.new_notebook()
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    parameters = nbformat.v4.new_code_cell('PROFILE = "smoke"\nDATA_ROOT = None')
    parameters.metadata.tags = ["parameters"]
    content.cells = [nbformat.v4.new_markdown_cell(f"# {name}"), parameters, *map(nbformat.v4.new_code_cell, cells)]
    for number, cell in enumerate(content.cells):
        cell.id = f"cell-{number}"
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(content, path)


def start(root):
    environment = os.environ | {"DEMOE_HOME": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "demoe.app.runner", "--profile", "test"],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def tables(root):
    return {path.name: path.read_bytes() for path in (root / "results/test/tables").iterdir()}


def sources(root):
    """What the executed copies say, without times."""
    found = {}
    for path in (root / "results/test/notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        found[path.name] = [(cell.source, cell.get("outputs"), cell.get("execution_count")) for cell in cells]
    return found


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_moment_and_run_again(tmp_path, monkeypatch, capsys):
    """Killed runs are processes of their own; the others, here: the same program, but for the start of Python."""
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path))
    for name in ("01_one", "02_two"):
        notebook(tmp_path, name, CELL.format(name=name, seconds=0.2))
    began = time.monotonic()
    assert runner.main(["--profile", "test"]) == 0, capsys.readouterr().err
    took, expected = time.monotonic() - began, (tables(tmp_path), sources(tmp_path))
    for delay in np.random.default_rng(SEED).uniform(0.1, 0.95, KILLS):
        subprocess.run(["rm", "-r", str(tmp_path / "results")], check=True)
        (tmp_path / "kernel").unlink(missing_ok=True)
        process = start(tmp_path)
        assert process.stdout.readline().startswith("profile test")
        time.sleep(delay * took)
        process.kill()
        process.communicate()
        if (tmp_path / "kernel").exists():  # the kernel notices by itself that nobody is there any more
            kernel, deadline = int((tmp_path / "kernel").read_text()), time.monotonic() + 30
            while alive(kernel) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not alive(kernel)
        assert runner.main(["--profile", "test"]) == 0, (delay, capsys.readouterr().err)
        assert (tables(tmp_path), sources(tmp_path)) == expected, delay
        left = [path for path in tmp_path.rglob(".*") if path.is_file() and path.name != ".lock"]
        assert left == []


def alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_kernel_that_dies_is_one_sentence_and_the_next_run_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path))
    dies = "import os, signal\nfrom pathlib import Path\nif not Path('../died').exists():\n"
    dies += "    Path('../died').touch()\n    os.kill(os.getpid(), signal.SIGKILL)"
    notebook(tmp_path, "01_dies", dies, CELL.format(name="after", seconds=0))
    assert runner.main(["--profile", "test"]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("run_all.sh: 01_dies.ipynb failed (cell 3 of 4") and "\n" not in said
    assert "died" in said.lower()
    assert runner.main(["--profile", "test"]) == 0 and list(tables(tmp_path)) == ["after.csv"]


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """A run in which nothing is executed: each notebook writes one table of its name; the names of those that did."""
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path))
    notebook(tmp_path, "01_one", "1")
    names = []

    def pretend(path, output, parameters, root, watch):
        names.append(path.stem)
        for file in (output, root / "results/test/tables/one.csv"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("psnr\n30.1\n")

    monkeypatch.setattr(runner, "execute", pretend)
    assert runner.main(["--profile", "test"]) == 0 and names == ["01_one"]
    return names


@pytest.mark.parametrize("name", ["notebooks/01_one.ipynb", "tables/one.csv", "cache/notebooks/01_one.json"])
@pytest.mark.parametrize("damage", [b"", b"psnr\n", b"psnr\n30.2\n"])
def test_a_damaged_result_is_made_again(pretended, tmp_path, name, damage):
    file = tmp_path / "results/test" / name
    before = file.read_bytes()
    file.write_bytes(damage)
    assert runner.main(["--profile", "test"]) == 0 and len(pretended) == 2
    if file.suffix == ".json":
        assert json.loads(file.read_bytes())["sums"] == json.loads(before)["sums"]
    else:
        assert file.read_bytes() == before
    assert runner.main(["--profile", "test"]) == 0 and len(pretended) == 2


def test_a_full_disk_is_one_sentence(pretended, tmp_path, monkeypatch, capsys):
    (tmp_path / "results/test/tables/one.csv").unlink()

    def full(*arguments):
        raise OSError(28, "No space left on device", "results/one.csv")

    monkeypatch.setattr(runner, "execute", full)
    assert runner.main(["--profile", "test"]) == 1
    assert capsys.readouterr().err == "run_all.sh: results/one.csv: No space left on device\n"
