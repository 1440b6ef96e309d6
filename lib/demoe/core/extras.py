"""Packages that not everybody needs: the extras of ``pyproject.toml``, and the sentence for who lacks one."""

from __future__ import annotations

import importlib.util

from .files import first_line

# What a command of `demoe` needs beyond the core, with which photographs are deblurred.
OF_COMMAND = {
    "demoe cost": "metrics",
    "demoe data build": "data",
    "demoe evaluate": "training",
    "demoe report": "notebooks",
    "demoe status": "training",
    "demoe train": "training",
}


def sentence(what: str, package: str, extra: str) -> str:
    """What is missing and the command that installs it, which works in any folder: demoe is installed already."""
    return f"{what} needs the package {package}: pip install 'demoe[{extra}]'"


def need(what: str, extra: str, *packages: str) -> None:
    """Raises ``ModuleNotFoundError`` with a ``sentence`` for the first of these modules that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(sentence(what, package, extra), name=package)


def told(error: ModuleNotFoundError, command: str) -> str:
    """What a person is told of a module that ``command`` did not find: one extra that has all it needs."""
    extra, package = OF_COMMAND.get(command), (error.name or "").partition(".")[0]
    return sentence(command, package, extra) if extra and package else first_line(error)
