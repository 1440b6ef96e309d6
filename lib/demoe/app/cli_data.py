"""``demoe data check``, ``where`` and ``build``: the datasets on disk, and synthetic stand-ins for them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from demoe.core.files import write_text
from demoe.data.real import catalog, check_print
from demoe.data.real import check as checks
from demoe.data.real.roots import Roots


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints a table of the datasets, or the report as JSON; 2 if no folder is named."""
    roots = Roots.resolve(args.data_root)
    if not roots:
        print("demoe: no datasets to check: use --data-root, $DEMOE_DATA_ROOT or data.toml", file=sys.stderr)
        return 2
    reports = checks.check(args.names, roots, args.decode, args.sample, args.seed, progress=sys.stderr.isatty())
    status = checks.exit_status(reports, args.names)
    if args.json:
        text = json.dumps(checks.as_json(reports, status, args.pairs), indent=1) + "\n"
        if args.json == "-":
            print(text, end="")
            return status
        write_text(Path(args.json), text)
    print(check_print.table(reports))
    for report in reports:
        if not report.found and (status == 2 or args.names):
            print("\n" + check_print.not_found(report))
    return status


def where(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints where each dataset comes from, and where it was found."""
    roots = Roots.resolve(args.data_root)
    folders = {dataset.name: str(roots.find(dataset.name) or "") for dataset in catalog.DATASETS}
    print(check_print.where(args.names, folders))
    return 0


def build(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Writes synthetic sets, and prints the folder of each."""
    from demoe.data.build import build as build_sets  # loads what blurs, for which the others need not wait

    what = (args.folder, args.sets, args.split, args.count, args.size, args.seed, args.sharp_images)
    for folder in build_sets(*what, progress=sys.stderr.isatty()):
        print(folder)
    return 0
