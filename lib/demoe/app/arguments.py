"""What the commands of ``demoe`` share: options, types of arguments, complaints, errors as sentences."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path

from demoe.core.files import first_line
from demoe.core.tasks import EXPERTS, expert_index


def add(commands, name: str, text: str, debug: bool = True) -> argparse.ArgumentParser:
    """A command, whose name with all before it (``demoe data check``) is ``args.command``."""
    sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    if debug:
        flag(sub, "--debug", "show the traceback of an error")
    sub.set_defaults(command=sub.prog)
    return sub


def flag(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    """An option without a value."""
    sub.add_argument(name, action="store_true", help=text)


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


def in_words(convert: Callable[[str], object]) -> Callable[[str], object]:
    """The type of an argument: of a ``ValueError`` a person reads the words, not only that the argument is bad."""

    @wraps(convert)
    def converted(text: str) -> object:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


@in_words
def expert(name: str) -> str | None:
    """An expert's name; None for "auto"."""
    return None if name == "auto" else EXPERTS[expert_index(name)]


@in_words
def memory(text: str) -> int:
    """Bytes of a size such as 3G."""
    from demoe.inference.memory import memory_size

    return memory_size(text)


@in_words
def dataset(name: str) -> str:
    """The name of a real dataset as we write it."""
    from demoe.data.real import catalog

    return catalog.get(name).name


@in_words
def count(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdigit():
        raise ValueError(f"{text!r} is no whole number of 0 or more")
    return int(text)


@in_words
def rate(text: str):
    """Frames a second, such as 30000/1001, as a ``Fraction`` above 0."""
    from fractions import Fraction

    with suppress(ValueError, ZeroDivisionError):
        if 0 < Fraction(text) <= 1000:
            return Fraction(text)
    raise ValueError(f"{text!r} is no number of frames a second: write 25 or 30000/1001")


@in_words
def deadline(text: str) -> float:
    """When so many minutes are over, on the clock of ``time.monotonic``: what loading PyTorch takes counts as well."""
    with suppress(ValueError):
        if 0 < (minutes := float(text)) < float("inf"):
            return time.monotonic() + 60 * minutes
    raise ValueError(f"{text!r} must be a positive number of minutes")


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
