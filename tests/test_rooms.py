"""The walls of the house: which room imports which, how long a file may be, where files stand."""

import ast
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lib" / "demoe"
MAY_IMPORT = {
    "core": "",
    "blur": "core",
    "data": "core blur",
    "models": "core",
    "training": "core data models",
    "inference": "core models",
    "evaluation": "core blur data models inference",
    "experiments": "core blur data models training evaluation",
    "report": "core data evaluation experiments",
    "related": "core blur data models training inference evaluation experiments report",
    "app": "core blur data models training inference evaluation experiments report related",
}
FILES = sorted(PACKAGE.rglob("*.py"))
LINES = 400  # of a file
INNER = 4  # imports inside functions that cross rooms: all in app/, so that `demoe --help` answers at once


def imports(file: Path) -> list[tuple[str, bool]]:
    """(room, whether inside a function) of every import of the package in a file; "" for the package itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    outer = {id(node) for node in tree.body}
    outer |= {id(node) for branch in tree.body if isinstance(branch, ast.If | ast.Try) for node in branch.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            folder = ["demoe", *file.relative_to(PACKAGE).parts[:-1]]
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"demoe.{name.name}" for name in node.names] if module == "demoe" else [module]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found += [((part[1:] or [""])[0], id(node) not in outer) for part in parts if part[0] == "demoe"]
        assert all(part[0] != "benchmarks" for part in parts), f"{file}: benchmarks/ is not installed"
    return found


def crossing(file: Path) -> list[tuple[str, bool]]:
    room = file.relative_to(PACKAGE).parts[0]
    return [(to, inside) for to, inside in imports(file) if to != room]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_keeps_to_the_rooms_that_it_may_import(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LINES
    parts = file.relative_to(PACKAGE).parts
    if len(parts) == 1:
        assert parts[0] in ("__init__.py", "__main__.py")
    else:
        assert {to for to, _ in crossing(file)} <= set(MAY_IMPORT[parts[0]].split())


def test_imports_inside_functions_cross_rooms_in_app_alone_and_seldom():
    inner = [file for file in FILES if file.parent != PACKAGE for _, inside in crossing(file) if inside]
    assert len(inner) <= INNER and all("app" in file.relative_to(PACKAGE).parts for file in inner)


def test_no_two_files_have_one_name():
    names = Counter(file.name for file in FILES if file.name != "__init__.py")
    assert not [name for name, count in names.items() if count > 1]
