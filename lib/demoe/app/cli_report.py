"""``demoe report``: the tables as Markdown and LaTeX, from the CSVs alone; no network is loaded or trained."""

from __future__ import annotations

import argparse

from demoe.core.profiles import PROFILES


def add_command(commands) -> None:
    """Adds ``report`` to the subparsers of ``demoe``."""
    text = "write the tables of a profile's results as Markdown and LaTeX"
    report = commands.add_parser("report", help=text, description=text[0].upper() + text[1:] + ".")
    report.add_argument("--profile", choices=tuple(PROFILES), help="default: $DEMOE_PROFILE, else smoke")
    report.add_argument("--debug", action="store_true", help="show the traceback of an error")
    report.set_defaults(run=_report)


def _report(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.core import profiles
    from demoe.core.files import results_dir
    from demoe.report.layouts import write_all

    profile = profiles.get(args.profile).name
    written, left_out = write_all(profile)
    folder = results_dir(profile) / "tables"
    for name in written:
        print(f"{folder / name}.md, .tex")
    for name, reason in left_out.items():
        print(f"{name} was left out: {reason}")
    return 0 if written else 1
