"""What the commands of ``demoe`` share: arguments, complaints, errors as sentences."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from demoe.core.files import first_line
from demoe.core.tasks import EXPERTS, expert_index


def add(commands, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    """A command with ``--debug``; ``run(args, parser)`` gives its exit status."""
    sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    sub.set_defaults(run=run)
    return sub


def add_network(sub: argparse.ArgumentParser, expert_help: str) -> None:
    """``--expert``, ``--k`` and ``--weights``."""
    sub.add_argument("--expert", type=expert, default=None, metavar="NAME", help=expert_help)
    sub.add_argument(
        "--k", type=int, default=1, choices=range(1, len(EXPERTS) + 1), help="how many experts are mixed (default 1)"
    )
    sub.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="trained network (default: $DEMOE_WEIGHTS, else the one in the package)",
    )


def expert(name: str) -> str | None:
    """An expert's name of an argument; None for "auto"."""
    if name == "auto":
        return None
    try:
        return EXPERTS[expert_index(name)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def memory(text: str) -> int:
    """Bytes of an argument such as 3G."""
    from demoe.inference.memory import memory_size

    try:
        return memory_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def complain(text: str, debug: bool = False) -> None:
    """One line on stderr, which does not break a progress bar; the traceback before it if ``debug``."""
    from tqdm import tqdm

    if debug and sys.exc_info()[0] is not None:
        tqdm.write(traceback.format_exc(), file=sys.stderr)
    tqdm.write(f"demoe: {text}", file=sys.stderr)


def sentence(error: BaseException) -> str:
    """One line about an error, for a person."""
    if type(error) is MemoryError and str(error):  # our own, with numbers in it
        return f"{error}; close programs, or raise --max-memory where it was given"
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return "not enough memory for a picture of this size"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return first_line(error)
