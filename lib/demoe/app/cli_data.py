"""``demoe data check``, ``where`` and ``build``: the datasets on disk, and synthetic stand-ins for them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_commands(commands) -> None:
    """Adds ``data`` with its three commands to the subparsers of ``demoe``."""
    text = "find and check the real datasets, or build synthetic ones"
    data = commands.add_parser("data", help=text, description=text[0].upper() + text[1:] + ".")
    inner = data.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = inner.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(run=run)
        return sub

    check = command("check", _check, "say what is there of each dataset, and what is wrong with it")
    check.add_argument("--json", metavar="FILE", help="also write the report there, for machines; - prints it instead")
    check.add_argument("--pairs", action="store_true", help="name every pair in the JSON report")
    check.add_argument("--decode", action="store_true", help="read every pixel, not only the ends of each file (slow)")
    check.add_argument(
        "--sample",
        type=_count,
        default=24,
        metavar="N",
        help="pairs of each split whose content is looked at (default 24, 0 for none)",
    )
    check.add_argument("--seed", type=_count, default=0, help="chooses these pairs (default 0)")
    where = command("where", _where, "say where each dataset comes from and what to download")
    for sub in (check, where):
        sub.add_argument("names", nargs="*", type=_dataset, metavar="NAME", help="datasets (default: all ten)")
        sub.add_argument(
            "--data-root",
            metavar="DIR",
            default=None,
            help="a folder that holds datasets, or a .toml file that names a folder for each "
            "(default: $DEMOE_DATA_ROOT, else data.toml)",
        )

    build = command("build", _build, "write synthetic sets to disk in the layout of the real ones")
    build.add_argument("folder", type=Path, metavar="DIR", help="where to write; each set gets a folder in it")
    build.add_argument(
        "--sets", nargs="+", type=_dataset, metavar="NAME", default=None, help="default: all that have this split"
    )
    build.add_argument("--split", default="train", choices=("train", "val", "test"), help="default train")
    build.add_argument("--count", type=_count, default=100, metavar="N", help="pairs a set (default 100)")
    build.add_argument("--size", type=_count, default=256, metavar="PIXELS", help="their side (default 256)")
    build.add_argument("--seed", type=_count, default=0, help="default 0")
    build.add_argument(
        "--sharp-images",
        type=Path,
        metavar="DIR",
        help="sharp photographs to blur (default: those that come with the package)",
    )


def _dataset(name: str) -> str:
    from demoe.data.real import catalog

    try:
        return catalog.get(name).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.data.real import check, check_print
    from demoe.data.real.roots import Roots

    roots = Roots.resolve(args.data_root)
    if not roots:
        print("demoe: no datasets to check: use --data-root, $DEMOE_DATA_ROOT or data.toml", file=sys.stderr)
        return 2
    reports = check.check(args.names, roots, args.decode, args.sample, args.seed, progress=sys.stderr.isatty())
    status = check.exit_status(reports, args.names)
    if args.json:
        text = json.dumps(check.as_json(reports, status, args.pairs), indent=1) + "\n"
        if args.json == "-":
            print(text, end="")
            return status
        from demoe.core.files import write_text

        write_text(Path(args.json), text)
    print(check_print.table(reports))
    for report in reports:
        if not report.found and (status == 2 or args.names):
            print("\n" + check_print.not_found(report))
    return status


def _where(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.data.real import catalog, check_print
    from demoe.data.real.roots import Roots

    roots = Roots.resolve(args.data_root)
    places = {one.name: str(roots.find(one.name) or "") for one in catalog.DATASETS}
    print(check_print.where(args.names, places))
    return 0


def _build(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.data.build import build

    for folder in build(
        args.folder,
        args.sets,
        args.split,
        args.count,
        args.size,
        args.seed,
        args.sharp_images,
        progress=sys.stderr.isatty(),
    ):
        print(folder)
    return 0
