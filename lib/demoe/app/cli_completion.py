"""``demoe completion``: commands, options, experts and files completed by the shell, through shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import shtab

from demoe.core.tasks import EXPERTS

from . import cli

FILES, FOLDERS = ("FILE", "IN", "ADDRESS|PATH", "PRED_DIR GT_DIR"), ("DIR",)  # what an argument is, by its placeholder


def completion(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints the script for a shell."""
    root = cli.command_parser()
    for action in _actions(root):
        if action.metavar in FILES:
            action.complete = shtab.FILE
        elif action.metavar in FOLDERS:
            action.complete = shtab.DIRECTORY
        elif action.dest == "expert":
            action.choices = ("auto", *EXPERTS)
    print(shtab.complete(root, args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of those of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _actions(sub)
