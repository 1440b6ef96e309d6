"""The runner, on tiny notebooks in a project of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from demoe import experiments
from demoe.app import runner, runner_files
from demoe.app.notebooks import WIDGET, NotebookError, check, portable

TABLE = """import os, sys
from pathlib import Path
folder = Path("../results") / PROFILE / "tables"
folder.mkdir(parents=True, exist_ok=True)
_ = (folder / "{name}.csv").write_text("psnr\\n30.1\\n")"""


def notebook(root: Path, name: str, *cells: str, parameters: int = 1) -> Path:
    """``notebooks/<name>.ipynb`` with a title, ``parameters`` cells and the given code cells."""
    content = nbformat.v4.new_notebook()
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content.cells = [nbformat.v4.new_markdown_cell(f"# {name}")]
    for _ in range(parameters):
        cell = nbformat.v4.new_code_cell('PROFILE = "smoke"\nDATA_ROOT = None')
        cell.metadata.tags = ["parameters"]
        content.cells.append(cell)
    content.cells += [nbformat.v4.new_code_cell(source) for source in cells]
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(content, path)
    return path


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path))
    monkeypatch.delenv("DEMOE_PROFILE", raising=False)
    monkeypatch.delenv("DEMOE_DATA_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def executed(monkeypatch) -> list[str]:
    """Executes nothing: the names of the notebooks that would have been run, each of which writes one table."""
    names: list[str] = []

    def pretend(path, output, parameters, root, watch):
        names.append(path.stem[:2])
        for file in (output, root / "results" / parameters["PROFILE"] / "tables" / f"{path.stem}.csv"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{time.time_ns()}\n")

    monkeypatch.setattr(runner, "execute", pretend)
    return names


def text_of(path: Path) -> str:
    """All that the cells of an executed notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", output.get("data", {}).get("text/plain", "")) for output in outputs)


def test_success_parameters_interpreter_and_summary(root, capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    (root / "data").mkdir()
    show = "print(sys.executable, PROFILE, DATA_ROOT, os.getcwd())"
    source = notebook(root, "01_one", TABLE.format(name="one"), show)
    before = source.read_bytes()
    notebook(root, "02_two", "1 + 1")
    monkeypatch.chdir("/")
    assert runner.main(["--profile", "test", "--data-root", str(root / "data")]) == 0
    shown = capsys.readouterr().out
    assert "results/test/tables/one.csv" in shown and "02_two" in shown and "01_one: done in 0:" in shown
    assert (root / "results/test/tables/one.csv").exists()
    copy = root / "results/test/notebooks/01_one.ipynb"
    interpreter = os.path.relpath(sys.executable, sys.prefix)
    assert text_of(copy).split() == [f"<environment>/{interpreter}", "test", "<data", "root>", "notebooks"]
    assert str(root) not in copy.read_text() and str(Path.home()) not in copy.read_text()
    nbformat.validate(nbformat.read(copy, as_version=4))
    assert nbformat.read(copy, as_version=4).metadata.kernelspec.name == "python3"
    assert source.read_bytes() == before
    assert "JUPYTER_PATH" not in os.environ


def test_first_failure_stops_and_is_named(root, capsys):
    breaks = "# a comment\ny = [1]\nraise ValueError(f'no such\\nthing in {__name__}')"
    notebook(root, "01_breaks", "x = 1", breaks, "x")
    notebook(root, "02_never", TABLE.format(name="never"))
    assert runner.main(["--profile", "test"]) == 1
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    assert "01_breaks.ipynb failed (cell 4 of 5, 'y = [1]')" in message
    assert "ValueError: no such ... thing in __main__" in message
    copy = root / "results/test/notebooks/01_breaks.ipynb"
    assert "ValueError" in copy.read_text() and str(root) not in copy.read_text()
    assert not (root / "results/test/tables").exists()
    notebook(root, "01_breaks", "x = 1")
    assert runner.main(["--profile", "test", "--only", "1"]) == 0


def test_up_to_date_notebooks_are_skipped(root, executed, capsys):
    for name in ("01_one", "02_two"):
        notebook(root, name, "1")
    assert runner.run("test") == 0 and executed == ["01", "02"]
    assert runner.run("test") == 0 and executed == ["01", "02"]
    assert "kept  results/test/tables/02_two.csv" in capsys.readouterr().out
    notebook(root, "02_two", "2")
    runner.run("test")
    assert executed == ["01", "02", "02"]
    (root / "results/test/tables/01_one.csv").unlink()
    runner.run("test")
    assert executed == ["01", "02", "02", "01"]
    (root / "results/test/notebooks/02_two.ipynb").unlink()
    runner.run("test")
    assert executed == ["01", "02", "02", "01", "02"]


def test_a_lost_network_is_trained_again(root, executed, monkeypatch):
    notebook(root, "01_trains", "1")
    inner, network = runner.execute, root / "results/test/runs/demoe-s0-1234/model.safetensors"

    def trains(*arguments):
        inner(*arguments)
        network.parent.mkdir(parents=True, exist_ok=True)
        network.touch()

    monkeypatch.setattr(runner, "execute", trains)
    runner.run("test")
    runner.run("test")
    assert executed == ["01"]
    network.unlink()
    runner.run("test")
    assert executed == ["01", "01"]


def test_package_profile_data_and_versions_invalidate(root, executed, monkeypatch):
    notebook(root, "01_one", "1")
    source = root / "module.py"
    source.write_text("A = 1\n")
    monkeypatch.setattr(runner_files, "package_files", lambda: [source])
    runs = [lambda: runner.run("test"), lambda: runner.run("smoke"), lambda: runner.run("test", data_root=str(root))]
    for run in runs:
        run()
    assert len(executed) == 3
    runner.run("test", data_root=str(root))
    assert len(executed) == 3
    source.write_text("A = 2\n")
    runner.run("test", data_root=str(root))
    runner.run("test", data_root=str(root))
    assert len(executed) == 4
    monkeypatch.setattr(runner_files.provenance, "versions", lambda: {"torch": "9.9"})
    runner.run("test", data_root=str(root))
    assert len(executed) == 5
    monkeypatch.setattr(runner_files, "weights_here", lambda: ["vgg"])  # LPIPS can be measured now
    runner.run("test", data_root=str(root))
    runner.run("test", data_root=str(root))
    assert len(executed) == 6


def test_the_package_is_part_of_the_identity():
    names = {path.name for path in runner_files.package_files()}
    assert {"runner.py", "demoe.py", "layers.py"} <= names


def test_a_damaged_stamp_is_not_trusted(root, executed):
    notebook(root, "01_one", "1")
    runner.run("test")
    (stamp,) = root.glob("results/test/cache/notebooks/*.json")
    record = stamp.read_text()
    for text in ("", "[1]", "{}", record[: len(record) // 2], json.dumps({**json.loads(record), "new": 1})):
        stamp.write_text(text)
        count = len(executed)
        runner.run("test")
        assert len(executed) == count + 1, text


def test_a_failed_notebook_is_run_again(root, executed, monkeypatch):
    path = notebook(root, "01_one", "1")
    runner.run("test")
    notebook(root, "01_one", "2")
    inner = runner.execute

    def fails(*arguments):
        raise NotebookError("no")

    monkeypatch.setattr(runner, "execute", fails)
    with pytest.raises(NotebookError):
        runner.run("test")
    notebook(root, "01_one", "1")  # as it was when it succeeded; but its copy is now that of the failure
    monkeypatch.setattr(runner, "execute", inner)
    runner.run("test")
    assert executed == ["01", "01"] and path.exists()


def test_fresh_forgets_one_profile_and_keeps_tables(root, executed):
    notebook(root, "01_one", "1")
    runner.run("test")
    runner.run("smoke")
    for profile in ("test", "smoke"):
        (root / "results" / profile / "runs").mkdir()
        (root / "results" / profile / "runs" / "metrics.jsonl").touch()
    (root / "results/test/tables/by_hand.csv").touch()
    runner.run("test", fresh=True)
    assert executed == ["01"] * 3
    assert not (root / "results/test/runs").exists() and (root / "results/smoke/runs/metrics.jsonl").exists()
    assert (root / "results/test/tables/by_hand.csv").exists()
    runner.run("smoke")
    assert executed == ["01"] * 3


def test_only_selects_by_number(root, executed, capsys):
    for name in ("00_start", "01_one", "04_four", "10_ten"):
        notebook(root, name, "1")
    assert runner.main(["--only", "4, 01"]) == 0 and executed == ["01", "04"]
    for only in ("01,07", "four", ",", "-1"):
        assert runner.main([f"--only={only}"]) == 2
        assert "there are 00, 01, 04, 10" in capsys.readouterr().err
    assert executed == ["01", "04"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "tiny"], "choose one of test, smoke, cpu, quick, paper"),
        (["--data-root", "/does/not/exist"], "/does/not/exist is not a folder"),
        (["--sharp-images", "/does/not/exist"], "/does/not/exist is not a folder"),
    ],
)
def test_wrong_requests_run_nothing(root, executed, arguments, words, capsys):
    notebook(root, "01_one", "1")
    assert runner.main(arguments) == 2 and words in capsys.readouterr().err
    assert executed == [] and not (root / "results").exists()


def test_no_notebooks_is_an_error(root, capsys):
    assert runner.main([]) == 2 and "no notebooks" in capsys.readouterr().err


def test_environment_variables_are_the_defaults(root, executed, monkeypatch, capsys):
    notebook(root, "01_one", "1")
    monkeypatch.setenv("DEMOE_PROFILE", "test")
    assert runner.main([]) == 0 and (root / "results/test/notebooks/01_one.ipynb").exists()
    monkeypatch.setenv("DEMOE_DATA_ROOT", "/does/not/exist")
    assert runner.main([]) == 2 and "/does/not/exist" in capsys.readouterr().err


NEEDS = 'experiments.prepare(experiments.NEEDED_BY["09"], profile)'


@pytest.fixture
def planned(monkeypatch) -> list[tuple]:
    """Trains nothing: what was asked for, (names, deadline, compact). Time is always up, until told otherwise."""
    asked: list[tuple] = []

    def train_plan(profile, seed, data_root, names, part, progress, say):
        asked.append((names, part.deadline, part.compact))
        at = None if train_plan.done else experiments.TimeUp("demoe", 0, 4, 9, 1)
        return experiments.Standing(2 if train_plan.done else 1, 2, at)

    train_plan.done = False
    asked.append(train_plan)
    monkeypatch.setattr(experiments, "train_plan", train_plan)
    monkeypatch.setattr(runner, "train", lambda *arguments: {})
    return asked


def test_a_slice_trains_until_time_is_up_and_the_notebooks_wait(root, executed, planned, capsys):
    notebook(root, "01_one", "1")
    notebook(root, "09_nine", NEEDS)
    before = time.monotonic()
    assert runner.main(["--profile", "test", "--minutes", "9", "--compact"]) == 0 and executed == []
    names, deadline, compact = planned[1]
    assert names is None and compact and 0 <= deadline - before - 540 < 60
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        "time is up: demoe is at step 4 of 9; 1 of 2 networks are trained; no notebook has begun "
        "before all are trained, and the same command goes on (results/test/STATUS.md)."
    )
    planned[0].done = True
    assert runner.main(["--profile", "test", "--minutes", "9"]) == 0 and executed == ["01", "09"]
    assert "all 2 networks are trained (results" in capsys.readouterr().out


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory.\nTried"), MemoryError()])
def test_a_slice_that_fails_is_told_in_a_sentence_and_the_status_is_written(root, executed, monkeypatch, capsys, error):
    def fails(*arguments):
        raise error

    notebook(root, "01_one", "1")
    monkeypatch.setattr(experiments, "train_plan", fails)
    assert runner.main(["--profile", "test", "--minutes", "9"]) == 1 and executed == []
    told = capsys.readouterr().err.strip()
    assert told == f"run_all.sh: training: {str(error).splitlines()[0] if str(error) else 'MemoryError'}"
    assert (root / "results/test/STATUS.md").is_file()


def test_a_slice_for_some_notebooks_trains_what_they_load(root, executed, planned):
    notebook(root, "01_one", "1")
    notebook(root, "09_nine", NEEDS)
    planned[0].done = True
    assert runner.main(["--profile", "test", "--only", "01", "--minutes", "9"]) == 0
    assert len(planned) == 1 and executed == ["01"]  # it loads nothing
    assert runner.main(["--profile", "test", "--only", "09", "--minutes", "9"]) == 0
    assert planned[1][0] == ["demoe"] and executed == ["01", "09"]


def test_no_notebook_begins_when_time_is_up(root, executed, planned, capsys):
    notebook(root, "01_one", "1")
    planned[0].done = True
    assert runner.run("test", deadline=time.monotonic() - 1) == 0 and executed == []
    assert capsys.readouterr().out.endswith("time is up: 0 of 1 notebooks are done; the same command goes on.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--minutes", "0"], "--minutes 0: give a number above 0"), (["--compact"], "it goes with --minutes")],
)
def test_slices_that_make_no_sense(root, executed, arguments, words, capsys):
    notebook(root, "01_one", "1")
    assert runner.main(arguments) == 2 and words in capsys.readouterr().err and executed == []


def test_networks_in_the_package_are_part_of_what_a_notebook_depends_on(root, executed, monkeypatch):
    notebook(root, "00_start", "photos.default_model()")
    notebook(root, "01_one", "1")
    runner.run("test")
    monkeypatch.setattr(runner_files, "networks_here", lambda: ["a better one"])
    runner.run("test")
    monkeypatch.setenv("DEMOE_WEIGHTS", "mine.safetensors")
    runner.run("test")
    assert executed == ["00", "01", "00", "00"]


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one_parameters_cell(root, executed, count, capsys):
    notebook(root, "01_fine", "1")
    notebook(root, "02_wrong", "1", parameters=count)
    assert runner.main([]) == 1
    assert f"02_wrong.ipynb has {count} cells tagged 'parameters'" in capsys.readouterr().err
    assert executed == [], "all notebooks are looked at before the first is run"


def test_parameters_cell_without_profile_and_foreign_file(root):
    path = notebook(root, "01_one", "1")
    path.write_text(path.read_text().replace("PROFILE = ", "SIZE = "))
    with pytest.raises(NotebookError, match=r"01_one.ipynb does not set PROFILE"):
        check(path)
    for text in ("", "{}", "[]", '{"cells": 3}', "hello"):
        path.write_text(text)
        with pytest.raises(NotebookError, match="not a Jupyter notebook"):
            check(path)


def test_second_run_is_refused(root, executed, capsys):
    notebook(root, "01_one", "1")
    with runner.locked(root / "results"):
        assert runner.main([]) == 2
    assert "another run is working" in capsys.readouterr().err and executed == []
    assert runner.main([]) == 0


def test_interrupt_ends_cleanly_and_leaves_no_kernel(root):
    notebook(root, "01_done", "1")
    notebook(
        root,
        "02_waits",
        "import os, time\nfrom pathlib import Path\nPath('../kernel').write_text(str(os.getpid()))\ntime.sleep(600)",
    )
    command = [sys.executable, "-m", "demoe.app.runner", "--profile", "test"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )
    deadline = time.monotonic() + 60
    while not ((root / "kernel").exists() and (root / "kernel").read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    # The kernel has this stderr too, and libzmq in it may complain of being stopped; nobody else says anything.
    said = [line for line in errors.splitlines() if line and "signaler.cpp" not in line]
    assert said == ["run_all.sh: interrupted; the same command continues where this one stopped."]
    assert "01_done: done" in output
    kernel = int((root / "kernel").read_text())
    while Path(f"/proc/{kernel}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
    assert [path.name for path in (root / "results/test/notebooks").iterdir()] == ["01_done.ipynb"]


def test_portable_replaces_whole_paths_only(tmp_path):
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    content.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {}}
    content.metadata.papermill = {"input_path": "/srv/app/notebooks/a.ipynb", "duration": 1.0}
    text = {
        "/srv/app/results/x.csv": "results/x.csv",
        "at /srv/app": "at .",
        "/srv/application/x": "/srv/application/x",
        "/data/srv/app/x": "/data/srv/app/x",
        "\x1b[92m/srv/app/lib/y.py": "\x1b[92mlib/y.py",
        "'/srv/app/a':/srv/app/b": "'a':b",
        "/tmp/ipykernel_71/991.py:3: UserWarning": "<cell 1>:3: UserWarning",
        "file:///srv/app/z": "file://z",
    }
    picture = "/srv/app/AAAA"
    content.cells[0].outputs = [
        nbformat.v4.new_output("stream", text="\n".join(text)),
        nbformat.v4.new_output("display_data", data={"image/png": picture, "text/html": "<b>/srv/app/h</b>"}),
        nbformat.v4.new_output("display_data", data={WIDGET: {}, "text/plain": "0%"}),
        nbformat.v4.new_output("error", ename="E", evalue="/srv/app/e", traceback=["/srv/app/t"]),
    ]
    folders = {"/srv/app": "", "/": "never", "": "never"}
    result = nbformat.reads(portable(nbformat.writes(content), folders), as_version=4)
    stream, data, error = result.cells[0].outputs
    assert stream.text.split("\n") == list(text.values())
    assert data.data == {"image/png": picture, "text/html": "<b>h</b>"}
    assert error.evalue == "e" and error.traceback == ["t"]
    assert result.metadata == {"papermill": {"duration": 1.0}}


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (187, "3:07"), (3723, "1:02:03")])
def test_clock(seconds, shown):
    assert runner.clock(seconds) == shown
