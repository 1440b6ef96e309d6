"""The shell scripts: they parse, explain themselves, and refuse what they do not know before installing anything."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ["run_all.sh", "run_tests.sh", "scripts/environment.sh", ".ci/run"]


def shell(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    return subprocess.run(command, cwd=cwd, env=environment | variables, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS)
def test_syntax(script, tmp_path):
    result = shell("bash", "-n", str(ROOT / script), cwd=tmp_path)
    assert result.returncode == 0 and result.stderr == ""


@pytest.mark.parametrize("script", ["run_all.sh", "run_tests.sh", ".ci/run"])
def test_executable(script):
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("script", ["run_all.sh", "run_tests.sh"])
def test_help_from_any_folder_installs_nothing(script, tmp_path):
    result = shell(str(ROOT / script), "--help", cwd=tmp_path, HOME=str(tmp_path))
    assert result.returncode == 0 and f"usage: {script}" in result.stdout and result.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("run_all.sh", ["--profil", "test"], "unknown argument '--profil'"),
        ("run_all.sh", ["04"], "unknown argument '04'"),
        ("run_all.sh", ["--fresh", "--only"], "--only needs a value"),
        ("run_all.sh", ["--minutes", "9"], "unknown argument '--minutes'"),
        ("run_tests.sh", ["--fast"], "unknown argument '--fast'"),
    ],
)
def test_unknown_arguments_exit_with_2(script, arguments, words, tmp_path):
    result = shell(str(ROOT / script), *arguments, cwd=tmp_path)
    assert result.returncode == 2 and words in result.stderr


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder, with a space in its name, that holds the scripts and a package that installs nothing."""
    root = tmp_path / "my checkout"
    for name in ("run_all.sh", "scripts/environment.sh", "pyproject.toml", "constraints.txt"):
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    (root / "run_all.sh").chmod(0o755)
    return root


def fake(folder: Path, name: str, body: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def test_without_a_recent_python_it_says_so(checkout, tmp_path):
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        fake(tmp_path / "bin", name, "exit 1")
    result = shell(str(checkout / "run_all.sh"), cwd=tmp_path, PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert result.returncode == 1 and "no Python 3.11 or later found" in result.stderr
    assert not (checkout / ".venv").exists()


def test_active_environment_is_used_and_installed_into_once(checkout, tmp_path):
    real = shell("python3", "-c", "import sys; print(sys.executable)", cwd=tmp_path).stdout.strip()
    # Answers pip, uv and the runner by a line in a log, everything else as Python does.
    body = f"""case "$*" in
  *"-m pip config get"*) echo "${{PIP_INDEX:-}}" ;;
  *"-m compileall"*) ;;
  *"-m uv pip install"*) echo "uv: $*" >>"{tmp_path}/log"; exit "${{UV_STATUS:-0}}" ;;
  *"-m pip install"*) echo "pip: $*" >>"{tmp_path}/log"; exit "${{PIP_STATUS:-0}}" ;;
  *"workflow/run.py"*) echo "runner: $* in $DEMOE_HOME" >>"{tmp_path}/log" ;;
  *"sys.prefix"*) echo "{tmp_path}/env" ;;
  *"version_info"*) exit 0 ;;
  *) exec {real} "$@" ;;
esac"""
    fake(tmp_path / "env" / "bin", "python", body)

    def run(**variables: str) -> tuple[int, list[str]]:
        (tmp_path / "log").write_text("")
        variables = {"VIRTUAL_ENV": str(tmp_path / "env")} | variables
        result = shell(str(checkout / "run_all.sh"), "--only", "01, 04", cwd=tmp_path, **variables)
        return result.returncode, (tmp_path / "log").read_text().splitlines()

    runner = f"runner: {checkout}/workflow/run.py --only 01, 04 in {checkout}"
    wanted = r".*-c constraints.txt -e \.\[test,comparators,workflow\]"
    status, log = run(PIP_STATUS="1")
    assert status == 1 and len(log) == 2, "a failed installation starts nothing"
    status, log = run(UV_STATUS="1")
    assert status == 0 and log[3:] == [runner] and re.match(f"pip: {wanted}", log[2]), "where uv cannot, pip does it"
    (checkout / "constraints.txt").write_text("numpy==2.0.0\n")
    status, log = run(PIP_INDEX="https://index.example/simple")
    assert status == 0 and log[2:] == [runner], "other versions are installed"
    assert re.match(f"uv: .*--default-index https://index.example/simple{wanted}", log[1])
    assert run() == (0, [runner]), "no second installation"
    conda = {"VIRTUAL_ENV": "", "CONDA_PREFIX": str(tmp_path / "env"), "CONDA_DEFAULT_ENV": "demoe"}
    assert run(**conda) == (0, [runner])


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    assert len({line.split("==")[0].lower() for line in lines}) == len(lines) > 50
