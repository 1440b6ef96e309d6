"""What the commands of ``demoe`` share: options, types of arguments, complaints, errors as sentences."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import wraps

from demoe.core.files import first_line
from demoe.core.tasks import EXPERTS, expert_index
from demoe.core.words import meant

INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended: 128 + SIGINT


class Parser(argparse.ArgumentParser):
    """One that says which word was meant, and of a wrong option the usage of the command that it was given to."""

    def parse_args(self, args=None, namespace=None):
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            sub = getattr(found, "parser", self)
            options = [name for name in sub._option_string_actions if name.startswith("--")]
            word = next((each for each in unknown if each.startswith("-")), unknown[0])
            sub.error(f"unrecognized arguments: {' '.join(unknown)}{meant(word.partition('=')[0], options)}")
        return found

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            known = [str(each) for each in action.choices]
            what = f"unknown {action.metavar.lower()}" if action.metavar else "invalid choice:"
            raise argparse.ArgumentError(
                action, f"{what} {value!r}{meant(str(value), known)}: choose one of {', '.join(known)}"
            )


def add(commands, name: str, text: str, debug: bool = True, examples: str = "") -> Parser:
    """A command, which is ``args.parser``; its name with all before it (``demoe data check``) is ``args.command``.

    ``examples``: lines that stand below its help, each a call.
    """
    sub = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=examples and "examples:\n" + "\n".join(f"  {line}" for line in examples.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if debug:
        flag(sub, "--debug", "show the traceback of an error")
    sub.set_defaults(command=sub.prog, parser=sub)
    return sub


def add_output(sub: argparse.ArgumentParser, what: str) -> None:
    """``--quiet`` and ``--json``; ``what`` is printed as JSON."""
    group = sub.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    group.add_argument("--json", action="store_true", help=f"print {what} as JSON instead, for scripts")


def flag(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    """An option without a value."""
    sub.add_argument(name, action="store_true", help=text)


def add_network(sub: argparse.ArgumentParser, expert_help: str) -> None:
    """``--expert``, ``--k`` and ``--weights``."""
    sub.add_argument("--expert", type=expert, default=None, metavar="NAME", help=expert_help)
    sub.add_argument(
        "--k",
        type=int,
        default=1,
        choices=range(1, len(EXPERTS) + 1),
        help="how many experts are mixed (default 1, or all of an unsure router)",
    )
    sub.add_argument(
        "--weights",
        metavar="FILE",
        help="trained network: a file, a name that `demoe weights` lists, an address, or USER/NAME of the Hugging Face "
        "Hub (default: $DEMOE_WEIGHTS, else the one in the package)",
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
    return _memory().memory_size(text)


@in_words
def tile(text: str) -> int:
    """The side of a tile in pixels."""
    least = 2 * _memory().OVERLAP
    if not text.isdigit() or int(text) < least or int(text) % 16:
        raise ValueError(f"a tile has at least {least} pixels a side, in whole multiples of 16, not {text!r}")
    return int(text)


def _memory():
    from demoe.inference import memory  # PyTorch, for which --help need not wait

    return memory


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


def quiet(args: argparse.Namespace) -> bool:
    """Whether errors alone are to be said."""
    return getattr(args, "quiet", False)


def silent(args: argparse.Namespace) -> bool:
    """Whether nothing but errors is for a person to read: a program reads the rest, or nobody."""
    return quiet(args) or getattr(args, "json", False) is True


def bar(args: argparse.Namespace) -> bool:
    """Whether progress is shown: on a terminal, and not where silence was asked for."""
    return sys.stderr.isatty() and not silent(args)


def print_json(value: object) -> None:
    """One line of JSON on stdout, at once. Numbers that JSON does not know, as infinity, are null."""
    import json

    print(json.dumps(_finite(value), default=os.fspath), flush=True)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not -float("inf") < value < float("inf") else value


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
