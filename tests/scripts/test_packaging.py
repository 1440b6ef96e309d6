"""What is installed: extras and their licences; and that the files for conda, Docker and CI hold together."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from demoe.core import __version__, extras

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CORE = ["torch", "numpy", "pillow", "tifffile", "imagecodecs", "safetensors", "filelock", "tqdm", "psutil"]


def name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0]


def asked(text: str) -> set[str]:
    """The extras that a text installs: '.[a,b]' or 'demoe[c]'."""
    return {extra for found in re.findall(r"(?:demoe|\.)\[([a-z,]+)\\?\]", text) for extra in found.split(",")}


def test_the_core_is_what_photographs_need():
    assert set(CORE) <= {name(one) for one in PROJECT["dependencies"]}
    heavy = {"pandas", "scipy", "matplotlib", "torchvision", "jupyterlab", "scikit-image"}
    assert not heavy & {name(one) for one in PROJECT["dependencies"]}


@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_name_extras_that_there_are(extra):
    assert {inner for one in EXTRAS[extra] for inner in asked(one)} <= EXTRAS.keys()


def test_whoever_is_told_of_an_extra_can_install_it():
    files = [
        *(ROOT / "lib").rglob("*.py"),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *ROOT.glob("scripts/*.sh"),
    ]
    told = {extra: file.name for file in files for extra in asked(file.read_text(encoding="utf-8"))}
    assert {extra: file for extra, file in told.items() if extra not in EXTRAS} == {}
    assert set(extras.OF_COMMAND.values()) <= EXTRAS.keys() and len(told) > 5


def test_a_wheel_has_every_file_of_the_package():
    package = ROOT / "lib/demoe"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["demoe"]
    packed = {file for pattern in patterns for file in package.glob(pattern)}
    listed = subprocess.run(["git", "ls-files", "-z", "lib/demoe"], cwd=ROOT, capture_output=True, text=True)
    files = {ROOT / name for name in listed.stdout.split("\0") if name and not name.endswith(".py")}
    if not files:
        pytest.skip("this is no checkout")
    assert files <= packed and package / "models/fused_rows.h" in packed


def test_every_package_has_its_licence_in_the_table():
    table = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    listed = {one.strip() for row in re.findall(r"^\|[^|]*\|([^|]+)\|", table, re.MULTILINE) for one in row.split(",")}
    wanted = {name(one) for group in (PROJECT["dependencies"], *EXTRAS.values()) for one in group} - {"demoe"}
    assert wanted <= listed


def test_conda_installs_what_the_scripts_do():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (part["pip"] for part in conda["dependencies"] if isinstance(part, dict))
    assert pip[0] == "-c constraints.txt" and "pip" in conda["dependencies"]
    assert asked(pip[1]) == asked((ROOT / "scripts/environment.sh").read_text())
    (python,) = (part for part in conda["dependencies"] if str(part).startswith("python"))
    assert tuple(map(int, python.split("=")[1].split("."))) >= (3, 11)


def test_the_workflow_file_installs_on_three_systems():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    systems = set(jobs["install"]["strategy"]["matrix"]["os"])
    assert {one.split("-")[0] for one in systems} == {"ubuntu", "windows", "macos"}
    shown = re.findall(r"figures/\S+\.png", str(jobs))
    assert shown and all((ROOT / file).is_file() for file in shown)


def test_other_files_are_well_formed_and_agree():
    for file in [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]:
        assert isinstance(yaml.safe_load(file.read_text()), dict), file
    for form in (ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"):
        assert {"name", "description", "body"} <= yaml.safe_load(form.read_text()).keys()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"[{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^ENTRYPOINT \[\"demoe\"\]$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
