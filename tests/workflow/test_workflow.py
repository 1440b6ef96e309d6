"""The whole workflow on tiny notebooks: run, run again, changed, failed, interrupted, killed, and on a cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from projects import ROOT, TABLE, notebook, run, start

KILLS = max(1, int(os.environ.get("DEMOE_FAULTS", 0)) // 20)
SEED = int(os.environ.get("DEMOE_FAULTS_SEED", 0))
KERNEL = "import os\nfrom pathlib import Path\nPath(f'../kernel-{os.getpid()}').touch()"
WAITS = """import os, time
from pathlib import Path
Path('../kernel').write_text(str(os.getpid()))
time.sleep(600)"""


def tables(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "results/test/tables").iterdir()}


def cells(root: Path) -> dict[str, list]:
    """What the executed copies say, without times."""
    found = {}
    for path in (root / "results/test/notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        found[path.name] = [(cell.source, cell.get("outputs"), cell.get("execution_count")) for cell in cells]
    return found


def alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


TWO = ("--only", "01,10", "--", "--until", "notebook")  # and no report


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Five notebooks, of which two, that load no network, were run once."""
    root = tmp_path_factory.mktemp("project")
    for name in ("01_one", "02_two", "10_ten"):
        notebook(root, name)
    notebook(root, "20_breaks", "x = 1", "# a comment\ny = [1]\nraise ValueError('no')", "x")
    notebook(root, "30_waits", WAITS)
    status, output, errors = run(root, *TWO)
    assert status == 0 and errors == "", (output, errors)
    assert "to do: 0 networks, 2 notebooks" in output and "(2 of 2)" in output
    return root


def test_nothing_to_do_then_a_changed_notebook_and_a_lost_table(project):
    status, output, errors = run(project, *TWO)
    assert (status, errors) == (0, "") and "done in" not in output
    assert "kept  results/test/tables/10_table.csv" in output
    path = notebook(project, "10_ten")
    path.write_text(path.read_text().replace("# 10_ten", "# another title"))
    (project / "results/test/tables/01_table.csv").unlink()
    status, output, errors = run(project, *TWO)
    assert (status, errors) == (0, "") and "01_one: done" in output and "10_ten: done" in output
    assert (project / "results/test/tables/01_table.csv").is_file()


def test_first_failure_is_named_with_its_cell(project):
    status, output, errors = run(project, "--only", "20")
    assert status == 1 and "20_breaks  not done" in output
    assert errors.startswith("run_all.sh: 20_breaks.ipynb failed (cell 4 of 5, 'y = [1]'): ValueError: no (results/")
    assert errors.count("\n") == 1
    copy = project / "results/test/notebooks/20_breaks.ipynb"
    assert "ValueError" in copy.read_text() and str(project) not in copy.read_text()


def test_interrupt_ends_cleanly_and_leaves_no_kernel(project):
    process, kernel = start(project, "--only", "30"), project / "kernel"
    assert wait_for(lambda: kernel.exists() and kernel.read_text(), 120)
    process.send_signal(signal.SIGTERM)  # as Ctrl-C; that one is ignored where tests run in the background
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, (output, errors)
    assert errors.strip() == "run_all.sh: interrupted; the same command continues where this one stopped."
    assert wait_for(lambda: not alive(int(kernel.read_text())))


def test_an_impatient_interrupt_leaves_no_job(tmp_path):
    """Jobs that do not end at the first Ctrl-C, and a second one."""
    job = "import os, signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    job += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); import run; run.snakemake("
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}[sys.executable, '-c', {job!r}])"],
        cwd=ROOT / "workflow",
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(1)
        process.wait(30)
        assert wait_for(lambda: not alive(int((tmp_path / "pid").read_text())))
    finally:
        process.kill()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_moment_and_run_again(project):
    """Equal bytes at the end; the jobs end with the killed process, and nothing is left over."""
    for name in ("01_one", "10_ten"):
        notebook(project, name, TABLE.format(number=name[:2]), KERNEL)
    results = project / "results/test"
    shutil.rmtree(results / "notebooks")

    def forget() -> None:
        shutil.rmtree(results / "cache/notebooks")
        shutil.rmtree(results / "tables")
        for kernel in project.glob("kernel-*"):
            kernel.unlink()  # its number may soon be another process's

    forget()
    began = time.monotonic()
    status, output, errors = run(project, *TWO)
    assert (status, errors) == (0, ""), output
    took, expected = time.monotonic() - began, (tables(project), cells(project))
    for delay in np.random.default_rng(SEED).uniform(0.05, 0.95, KILLS):
        forget()
        process = start(project, *TWO)
        time.sleep(delay * took)
        process.kill()
        process.communicate()
        kernels = [int(file.name.split("-")[1]) for file in project.glob("kernel-*")]
        assert wait_for(lambda: not any(map(alive, kernels)))  # noqa: B023
        status, output, errors = run(project, *TWO)
        assert (status, errors) == (0, ""), (delay, output)
        assert (tables(project), cells(project)) == expected, delay
        assert not list(results.rglob(".*demoe-part*"))


def test_a_network_and_its_notebook_on_a_cluster(project):
    """By the executor cluster-generic, whose ``sbatch`` is a script that runs the job here, in the background."""
    submit, log = project / "submit.sh", project / "submitted"
    submit.write_text(f'#!/bin/sh\necho "$1" >>{log}\nsh "$1" >/dev/null 2>&1 &\necho $!\n')
    submit.chmod(0o755)
    options = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(submit), "--jobs", "2"]
    status, output, errors = run(project, "--only", "02", "--", *options, "--seconds-between-status-checks", "1")
    assert status == 0, (output, errors)
    assert "(2 of 2)" in output and "1 networks trained" in output and len(log.read_text().splitlines()) == 2
    assert (project / "results/test/tables/02_table.csv").is_file()
    assert (project / "results/test/STATUS.md").is_file()
    (weights,) = (project / "results/test/runs").glob("baseline-*/model.safetensors")
    before = weights.stat().st_mtime_ns
    (weights.parent / "SHA256SUMS").touch()  # newer than the notebook, but the same network
    status, output, errors = run(project, "--only", "02")
    assert (status, errors) == (0, "") and "02_two      kept" in output, output
    assert weights.stat().st_mtime_ns == before


def test_in_smoke_networks_and_notebooks_have_one_thread_each(project):
    """So that as many as there are cores run side by side."""
    process = start(project, "--profile", "smoke", "--only", "02", "--", "--dry-run", "--cores", "4")
    output, errors = process.communicate(timeout=300)
    assert "network baseline-s0-" in output and ", 1 threads: missing output files" in output, errors
    assert "notebook 02_two, 1 threads" in output


def test_networks_alone_with_those_that_start_from_others(project):
    """--until network would end with the first ones, in Snakemake 9.15 at least."""
    path = notebook(project, "04_four")
    status, output, errors = run(project, "--only", "04", "--", "networks", "--dry-run")
    assert (status, errors) == (0, ""), output
    assert " networks, 0 notebooks" in output and "network demoe-s0-" in output  # which starts from baseline
    path.unlink()
    for option in (["--until", "network"], ["--until=network"]):
        status, _, errors = run(project, "--", *option)
        assert status == 2 and "ask for -- networks." in errors


def test_several_gpus_are_shared_by_torchrun(project):
    """What the rule runs where a profile asks for four; nothing is trained."""
    options = ["--dry-run", "--printshellcmds", "--forcerun", "network", "--set-resources", "network:gpu=4"]
    status, output, errors = run(project, "--only", "02", "--", "--cores", "4", *options)
    assert status == 0 and "network baseline-s0-" in output and "if [ 4 -gt 1 ]" in output, (output, errors)
    assert "torch.distributed.run --standalone --nproc-per-node 4" in output
