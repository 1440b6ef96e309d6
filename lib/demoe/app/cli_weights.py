"""``demoe weights``: what pretrained weights there are, and ``demoe weights fetch``."""

from __future__ import annotations

import argparse
import sys

from demoe.models import pretrained
from demoe.models.fetch import fetch as fetch_item


def show(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints the list."""
    print(pretrained.table(args.check))
    return 0


def fetch(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Fetches one and says how to use it."""
    item = pretrained.get(args.name)
    path = fetch_item(item, args.source, args.to, progress=sys.stderr.isatty())
    print(f"{path}  ({pretrained.verdict(item, path)})")
    if item.use:
        print(f"  {item.use.format(path=path)}")
    return 0
