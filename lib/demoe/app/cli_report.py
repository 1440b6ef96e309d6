"""``demoe report``: the tables as HTML, Markdown and LaTeX, from the CSVs alone; no network is loaded or trained."""

from __future__ import annotations

import argparse
from functools import partial

from demoe.core import profiles
from demoe.core.files import results_dir
from demoe.related import matching_report, perceptual_report, prior_report
from demoe.report.layouts import write_all

RELATED = {name: partial(paper.write, name) for paper in (perceptual_report, prior_report) for name in paper.TABLES}
RELATED |= {f"13_table_{number}": partial(matching_report.write_table, number) for number in (1, 2, 3)}


def report(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Writes what there are CSVs for; 1 if there are none."""
    profile = profiles.get(args.profile).name
    written, left_out = write_all(profile, RELATED)
    folder = results_dir(profile) / "tables"
    for name in written:
        print(f"{folder / name}.html, .md, .tex")
    for name, reason in left_out.items():
        print(f"{name} was left out: {reason}")
    return 0 if written else 1
