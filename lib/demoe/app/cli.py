"""The command ``demoe``: deblur photographs, count costs, train, evaluate, look after data.

Here are the options; what a command does is imported when it runs, so that ``demoe --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path

from demoe.core import __version__, extras
from demoe.core.profiles import PROFILES

from . import arguments, train_options
from .photo_options import add_app, add_completion, add_export, add_photos, add_weights

EXIT = """exit status:
  0    everything that was asked for was done
  1    something failed, was left alone, or could not be measured: a line on stderr says what
  2    the command makes no sense, for example by an unknown option; nothing was done
  130  interrupted by Ctrl-C; what was finished before is whole"""


def main(argv: list[str] | None = None) -> int:
    """Run one command line (``sys.argv`` by default) and return its exit status."""
    return execute(command_parser(), argv)


def execute(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> int:
    """Run the command that ``parser`` finds in ``argv``; errors become sentences. Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    args = parser.parse_args(argv)
    from demoe.inference import allocator  # ctypes, for which --help need not wait

    allocator.raise_thresholds()
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"demoe: {message}\n"  # a sentence, not where it comes from
    try:
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing if arguments.quiet(args) else sys.stdout):
            return args.run(args, getattr(args, "parser", parser))
    except KeyboardInterrupt as interrupt:
        arguments.complain(str(interrupt) or "interrupted", args.debug)
        return arguments.INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe went away: `demoe cost | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        arguments.complain(extras.told(error, getattr(args, "command", "")), args.debug)
        return 1
    except (ValueError, OSError, RuntimeError, MemoryError, ArithmeticError) as error:
        arguments.complain(arguments.sentence(error), args.debug)
        return 1
    finally:
        warnings.formatwarning = usual


def _run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    match args.command:
        case "demoe deblur":
            from .cli_photos import deblur as run
        case "demoe app":
            from .cli_app import app as run
        case "demoe frames":
            from .cli_frames import frames as run
        case "demoe export":
            from .cli_photos import export as run
        case "demoe push":
            from .cli_weights import push as run
        case "demoe completion":
            from .cli_completion import completion as run
        case "demoe cost":
            from .cli_cost import cost as run
        case "demoe train":
            from .cli_train import train as run
        case "demoe evaluate":
            from .cli_evaluate import evaluate as run
        case "demoe status":
            from .cli_train import status as run
        case "demoe data check":
            from .cli_data import check as run
        case "demoe data where":
            from .cli_data import where as run
        case "demoe data statistics":
            from .cli_statistics import statistics as run
        case "demoe data build":
            from .cli_data import build as run
        case "demoe weights":
            from .cli_weights import show as run
        case "demoe weights fetch":
            from .cli_weights import fetch as run
        case "demoe report":
            from .cli_report import report as run
    return run(args, parser)


def command_parser() -> arguments.Parser:
    """All commands with their options; nothing but argparse is needed to make it."""
    parser = arguments.Parser(
        prog="demoe",
        description="Unified image deblurring with a mixture-of-experts decoder (DeMoE).",
        epilog=f"examples:\n  demoe deblur photo.jpg holiday/ -o restored/\n  demoe weights\n\n{EXIT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"demoe {__version__}")
    parser.set_defaults(run=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_photos(commands)
    add_app(commands)
    add_export(commands)
    cost = arguments.add(commands, "cost", "print parameters and MACs of every published network beside the paper's")
    cost.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")
    _add_experiments(commands)
    _add_data(commands)
    add_weights(commands)
    report = arguments.add(commands, "report", "write the tables of a profile's results as HTML, Markdown and LaTeX")
    report.add_argument("--profile", choices=tuple(PROFILES), help="default: $DEMOE_PROFILE, else smoke")
    add_completion(commands)
    return parser


def _add_experiments(commands) -> None:
    """``train``, ``evaluate`` and ``status``."""
    train = arguments.add(
        commands,
        "train",
        "train a named experiment, or a network on pairs of your own; or continue where it stopped",
        examples=train_options.EXAMPLES,
    )
    train.add_argument("--experiment", metavar="NAME", help="default demoe; --list shows all")
    train.add_argument(
        "--loss",
        metavar="TERM+TERM",
        help="another loss than the experiment's, such as pixel+mae-local or pixel+edge=0.1; --list shows all terms",
    )
    arguments.flag(train, "--fresh", "forget earlier runs of this experiment and seed")
    arguments.flag(train, "--anew", "train also what comes with the package (profile cpu's baseline and demoe)")
    train.add_argument(
        "--start-seed",
        type=int,
        metavar="SEED",
        help="seed of the baseline that ablations start from (default: that of --seed)",
    )
    arguments.flag(train, "--list", "list the experiments and stop")
    arguments.flag(train, "--json", "with --list: every training of the profile, its files and what needs it")
    arguments.flag(
        train, "--all", "everything that the notebooks need, the most valuable first, instead of one experiment"
    )
    train.add_argument(
        "--minutes",
        dest="deadline",
        type=arguments.deadline,
        metavar="M",
        help="stop after so many minutes and keep the whole state; the same command goes on from it, "
        "also on another machine",
    )
    train_options.add_own_pairs(train)
    evaluate = arguments.add(commands, "evaluate", "score a network on the test sets, or one folder against another")
    arguments.add_output(evaluate, "the means")
    evaluate.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="PRED_DIR GT_DIR",
        help="score these pictures, paired by their names, instead of a network",
    )
    evaluate.add_argument(
        "--real",
        type=Path,
        metavar="DIR",
        help="real photographs with a sources.csv (docs/real_photographs.md): gains, the router's answers, harm done "
        "to sharp ones; --csv then names a folder",
    )
    evaluate.add_argument(
        "--crop", type=arguments.count, metavar="PIXELS", help="with --real: the middle of each alone (default: whole)"
    )
    arguments.flag(evaluate, "--counterfactual", "does the router see blur or cameras? every blur through every camera")
    network = evaluate.add_mutually_exclusive_group()
    network.add_argument("--experiment", metavar="NAME", help="default demoe; it must have been trained")
    network.add_argument("--weights", metavar="FILE", help="a network from a file instead, or by its name")
    evaluate.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="also write the scores of every picture there; an interrupted call is continued",
    )
    evaluate.add_argument(
        "--metrics",
        default="psnr,ssim",
        type=lambda text: text.split(","),
        metavar="NAME,NAME",
        help="default psnr,ssim; also psnr_8bit, lpips_vgg, lpips_alex, musiq, niqe and others",
    )
    arguments.flag(evaluate, "--aligned", "also PSNR and SSIM aligned as for RealBlur")
    evaluate.add_argument("--save-images", type=Path, metavar="DIR", help="keep the restored pictures there")
    arguments.flag(evaluate, "--no-resume", "with --csv: do not continue an interrupted call")
    evaluate.add_argument(
        "--tile",
        type=arguments.tile,
        metavar="PIXELS",
        help="restore in tiles of this side, where the network is ours (default: whole pictures)",
    )
    status = arguments.add(
        commands, "status", "what of a profile is trained, for how long, on what, and what is missing"
    )
    for sub in (train, evaluate, status):
        sub.add_argument("--profile", choices=tuple(PROFILES), help="default: $DEMOE_PROFILE, else smoke")
        sub.add_argument("--seed", type=int, default=None if sub is train else 0, help="default 0")
        sub.add_argument(
            "--data-root",
            metavar="DIR",
            help="real datasets: a folder, or a TOML file that names one for each (default: "
            "$DEMOE_DATA_ROOT, else data.toml here); without it synthetic ones are made",
        )
        sub.add_argument(
            "--sharp-images",
            metavar="DIR",
            help="sharp photographs to make the synthetic sets from (default: $DEMOE_SHARP_IMAGES, else bundled ones)",
        )


def _add_data(commands) -> None:
    """``data check``, ``data where``, ``data statistics`` and ``data build``."""
    data = arguments.add(commands, "data", "find and check the real datasets, or build synthetic ones", debug=False)
    inner = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = arguments.add(inner, "check", "say what is there of each dataset, and what is wrong with it")
    check.add_argument("--json", metavar="FILE", help="also write the report there, for machines; - prints it instead")
    arguments.flag(check, "--pairs", "name every pair in the JSON report")
    arguments.flag(check, "--decode", "read every pixel, not only the ends of each file (slow)")
    check.add_argument(
        "--sample",
        type=arguments.count,
        default=24,
        metavar="N",
        help="pairs of each split whose content is looked at (default 24, 0 for none)",
    )
    check.add_argument("--seed", type=arguments.count, default=0, help="chooses these pairs (default 0)")
    where = arguments.add(inner, "where", "say where each dataset comes from and what to download")
    for sub in (check, where):
        sub.add_argument("names", nargs="*", type=arguments.dataset, metavar="NAME", help="datasets (default: all ten)")
        sub.add_argument(
            "--data-root",
            metavar="DIR",
            help="a folder that holds datasets, or a .toml file that names a folder for each "
            "(default: $DEMOE_DATA_ROOT, else data.toml)",
        )

    look = arguments.add(inner, "statistics", "noise, detail, JPEG blocks of synthetic pictures, and of your own")
    look.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="photographs to measure beside them")
    look.add_argument(
        "--capture",
        nargs="+",
        default=["set", "shared"],
        choices=("set", "none", "shared"),
        help="whose camera: each set's own, none, one for all (default: set and shared)",
    )
    look.add_argument("--csv", metavar="FILE", help="also write a row a picture there")

    build = arguments.add(inner, "build", "write synthetic sets to disk in the layout of the real ones")
    build.add_argument("folder", type=Path, metavar="DIR", help="where to write; each set gets a folder in it")
    build.add_argument(
        "--sets", nargs="+", type=arguments.dataset, metavar="NAME", help="default: all that have this split"
    )
    build.add_argument("--split", default="train", choices=("train", "val", "test"), help="default train")
    for sub, count, size in ((build, 100, 256), (look, 24, 192)):
        sub.add_argument(
            "--count", type=arguments.count, default=count, metavar="N", help=f"pairs a set (default {count})"
        )
        sub.add_argument(
            "--size", type=arguments.count, default=size, metavar="PIXELS", help=f"their side (default {size})"
        )
        sub.add_argument("--seed", type=arguments.count, default=0, help="default 0")
        sub.add_argument(
            "--sharp-images",
            type=Path,
            metavar="DIR",
            help="sharp photographs to blur (default: those that come with the package)",
        )
