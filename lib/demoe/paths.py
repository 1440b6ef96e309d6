"""Where results and figures go: below the project's root, wherever the caller stands. And that texts appear whole."""

from __future__ import annotations

import os
from pathlib import Path


def project_root() -> Path:
    """``$DEMOE_HOME`` if set, else the checkout that contains this package, else the current folder. Absolute."""
    if home := os.environ.get("DEMOE_HOME"):
        return Path(home).expanduser().resolve()
    checkout = Path(__file__).resolve().parents[2]  # <root>/lib/demoe/paths.py
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def results_dir(profile: str) -> Path:
    """``<root>/results/<profile>``: tables, runs, cache, executed notebooks. Not created here."""
    return project_root() / "results" / profile


def figures_dir(profile: str) -> Path:
    """``<root>/figures/<profile>``. Not created here."""
    return project_root() / "figures" / profile


def write_text(file: Path, text: str) -> None:
    """Writes a text file atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".tmp")
    partial.write_text(text)
    partial.replace(file)
