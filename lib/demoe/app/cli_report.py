"""``demoe report``: the tables as HTML, Markdown and LaTeX, from the CSVs alone; no network is loaded or trained."""

from __future__ import annotations

import argparse

from demoe.core import profiles
from demoe.core.files import results_dir
from demoe.report.layouts import write_all


def report(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Writes what there are CSVs for; 1 if there are none."""
    profile = profiles.get(args.profile).name
    written, left_out = write_all(profile)
    folder = results_dir(profile) / "tables"
    for name in written:
        print(f"{folder / name}.html, .md, .tex")
    for name, reason in left_out.items():
        print(f"{name} was left out: {reason}")
    return 0 if written else 1
