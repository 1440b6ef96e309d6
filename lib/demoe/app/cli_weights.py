"""``demoe weights``: what pretrained weights there are; ``demoe weights fetch``; ``demoe push``."""

from __future__ import annotations

import argparse

from demoe.models import pretrained
from demoe.models.fetch import fetch as fetch_item

from . import arguments, hub, hub_card, networks


def show(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints the list, a line an item; with ``--long`` or ``--check`` all that is known of each."""
    if args.json:
        arguments.print_json([_as_json(item) for item in pretrained.ITEMS])
    elif args.long or args.check:
        print(pretrained.table(args.check))
    else:
        width = max(len(item.name) for item in pretrained.ITEMS)
        for item in pretrained.ITEMS:
            place = "here" if item.find() else "with its package" if item.owner else "to fetch"
            print(f"{item.name:{width}}  {place:8}  {item.what} ({item.size})")
        print("\ndemoe weights --long tells where they come from, demoe weights fetch NAME gets one")
    return 0


def _as_json(item: pretrained.Item) -> dict[str, object]:
    named = ("name", "what", "file", "page", "licence", "size", "url", "sha256")
    return {field: getattr(item, field) for field in named} | {"path": item.find()}


def fetch(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Fetches one and says how to use it."""
    try:
        item = pretrained.get(args.name)
    except ValueError as error:
        parser.error(str(error))
    path = fetch_item(item, args.source, args.to, progress=arguments.bar(args))
    print(f"{path}  ({pretrained.verdict(item, path)})")
    if item.use:
        print(f"  {item.use.format(path=path)}")
    return 0


def push(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Gives a network with its card to the Hub, or writes both into a folder; prints where they are."""
    if not hub.REPOSITORY.fullmatch(args.repository):
        parser.error(f"{args.repository!r} is no repository of the Hugging Face Hub: write USER/NAME")
    path = networks.default_path(args.weights)
    files = hub_card.files(path, args.repository, args.licence, args.data)
    if args.dry_run:
        for file in hub_card.write(files, args.dry_run):
            print(file)
    else:
        print(hub_card.push(files, args.repository, args.private))
    return 0
