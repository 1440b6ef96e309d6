"""Python as it is where only the core was installed: python tests/core_only.py CODE runs CODE, which finds no more."""

import importlib.machinery
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def with_theirs(names: list[str]) -> set[str]:
    """These distributions and all that they require without an extra."""
    found, left = set(), [normal(re.match(r"[\w.-]+", name)[0]) for name in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another system
            continue
        left += [normal(re.match(r"[\w.-]+", one)[0]) for one in wanted if "extra ==" not in one]
    return found


def modules() -> set[str]:
    """The top-level modules of the core's distributions, and our own package."""
    core = with_theirs(tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"])
    packages = importlib.metadata.packages_distributions()
    return {"demoe"} | {name for name, owners in packages.items() if core & {normal(owner) for owner in owners}}


class OnlyThese(importlib.machinery.PathFinder):
    """Finds what is built in, the standard library, and these modules."""

    allowed = modules() | set(sys.stdlib_module_names)

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        top = fullname.partition(".")[0]
        known = top in cls.allowed or top.startswith("_sysconfigdata")  # of the standard library, by the system's name
        return super().find_spec(fullname, path, target) if known else None


if __name__ == "__main__":
    own = [
        finder for finder in sys.meta_path if getattr(finder, "__name__", "") in ("BuiltinImporter", "FrozenImporter")
    ]
    editable = [finder for finder in sys.meta_path if "editable" in getattr(finder, "__module__", "") + str(finder)]
    sys.meta_path[:] = [*own, OnlyThese, *editable]
    exec(compile(sys.argv.pop(1), "<code>", "exec"))
