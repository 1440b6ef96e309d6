"""``demoe weights``: what pretrained weights there are, and ``demoe weights fetch``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import arguments


def add_commands(commands) -> None:
    """Adds ``weights`` to the subparsers of ``demoe``."""
    weights = arguments.add(commands, "weights", _list, "list pretrained weights, or fetch some")
    weights.add_argument("--check", action="store_true", help="compute the SHA-256 of what is here, and compare")
    inner = weights.add_subparsers(title="commands", metavar="COMMAND")
    fetch = arguments.add(inner, "fetch", _fetch, "fetch one of them, checked")
    fetch.add_argument("name", metavar="NAME", help="as `demoe weights` lists it")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="ADDRESS|PATH",
        help="a mirror (http or https), or a file or folder on this machine",
    )
    fetch.add_argument("--to", type=Path, metavar="DIR", help="where to put it (default: torch's hub cache)")


def _list(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.models import pretrained

    print(pretrained.table(args.check))
    return 0


def _fetch(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.models import pretrained
    from demoe.models.fetch import fetch

    item = pretrained.get(args.name)
    path = fetch(item, args.source, args.to, progress=sys.stderr.isatty())
    print(f"{path}  ({pretrained.verdict(item, path)})")
    if item.use:
        print(f"  {item.use.format(path=path)}")
    return 0
