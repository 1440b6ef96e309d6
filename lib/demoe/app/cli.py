"""The command ``demoe``: deblur photographs, count costs, train, evaluate, look after data.

Exit status 0 if everything was done, 1 if something failed, 2 for a command that makes no sense. Here are the options;
what a command does is imported when it runs, so that ``demoe --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

from demoe.core import __version__
from demoe.core.profiles import PROFILES
from demoe.core.tasks import EXPERTS

from . import arguments

EXPERT_HELP = f"auto (the router chooses; default) or one of {', '.join(EXPERTS)}, or a dataset's name"


def main(argv: list[str] | None = None) -> int:
    """Run one command line (``sys.argv`` by default) and return its exit status."""
    return execute(_parser(), argv)


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
        return args.run(args, parser)
    except KeyboardInterrupt:
        arguments.complain("interrupted", args.debug)
        return 1
    except BrokenPipeError:  # the reader of a pipe went away: `demoe cost | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, MemoryError, ArithmeticError, ModuleNotFoundError) as error:
        arguments.complain(arguments.sentence(error), args.debug)
        return 1
    finally:
        warnings.formatwarning = usual


def _run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    match args.command:
        case "demoe deblur":
            from .cli_photos import deblur as run
        case "demoe frames":
            from .cli_frames import frames as run
        case "demoe export":
            from .cli_photos import export as run
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
        case "demoe data build":
            from .cli_data import build as run
        case "demoe weights":
            from .cli_weights import show as run
        case "demoe weights fetch":
            from .cli_weights import fetch as run
        case "demoe report":
            from .cli_report import report as run
    return run(args, parser)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demoe", description="Unified image deblurring with a mixture-of-experts decoder (DeMoE)."
    )
    parser.add_argument("--version", action="version", version=f"demoe {__version__}")
    parser.set_defaults(run=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_photos(commands)
    export = arguments.add(commands, "export", "write a network for other programs (.pt2 or .onnx)")
    export.add_argument("output", type=Path, metavar="FILE", help="its suffix says which: .pt2 or .onnx")
    arguments.add_network(export, "fix this expert (default: the router inside)")
    cost = arguments.add(commands, "cost", "print parameters and MACs of every published network beside the paper's")
    cost.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")
    _add_experiments(commands)
    _add_data(commands)
    weights = arguments.add(commands, "weights", "list pretrained weights, or fetch some")
    arguments.flag(weights, "--check", "compute the SHA-256 of what is here, and compare")
    inner = weights.add_subparsers(title="commands", metavar="COMMAND")
    fetch = arguments.add(inner, "fetch", "fetch one of them, checked")
    fetch.add_argument("name", metavar="NAME", help="as `demoe weights` lists it")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="ADDRESS|PATH",
        help="a mirror (http or https), or a file or folder on this machine",
    )
    fetch.add_argument("--to", type=Path, metavar="DIR", help="where to put it (default: torch's hub cache)")
    report = arguments.add(commands, "report", "write the tables of a profile's results as Markdown and LaTeX")
    report.add_argument("--profile", choices=tuple(PROFILES), help="default: $DEMOE_PROFILE, else smoke")
    return parser


def _add_photos(commands) -> None:
    """``deblur`` and ``frames``.

    Frames have a command of their own because they have another kind of input and output (one folder each, in order,
    continued when interrupted), and because one decision for each photograph is what ``deblur`` promises.
    """
    deblur = arguments.add(commands, "deblur", "deblur photographs, at their own size")
    frames = arguments.add(commands, "frames", "deblur a folder of numbered frames, or a video")
    deblur.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="IN",
        help="an image file (PNG, JPEG, TIFF, WebP, BMP, AVIF, JPEG XL, HEIC with the extra heic) or a folder, whose "
        "subfolders are included",
    )
    frames.add_argument("input", type=Path, metavar="IN", help="a folder of frames, or a video file")
    of_photographs = "folder for the results, named as the photographs; those of HEIC are .png"
    of_frames = (
        "folder for the frames: those of a folder keep their names, those of a video are 000001.png, ...; "
        "an interrupted call is continued"
    )
    for sub, text in ((deblur, of_photographs), (frames, of_frames)):
        sub.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=text)
        arguments.add_network(sub, EXPERT_HELP)
    arguments.flag(
        deblur, "--overwrite", "replace results that are there already; the photographs themselves never are"
    )
    deblur.add_argument(
        "--route",
        choices=("image", "tile"),
        help="one decision of the router for the photograph (default), or one a tile",
    )
    deblur.add_argument("--tile", type=int, metavar="PIXELS", help="cut into tiles of this side in any case")
    arguments.flag(
        deblur, "--bf16", "compute in bfloat16: faster where the processor has it, half the memory, nearly the same"
    )
    arguments.flag(
        deblur,
        "--expert-map",
        "with --route tile, which it implies: also write which expert each tile had, "
        "as NAME.experts.png and NAME.experts.csv",
    )
    arguments.flag(
        deblur,
        "--compare",
        "also write NAME.compare.png: photograph, result and the five experts side by side, "
        "whole (made smaller) and a detail; takes up to six times as long",
    )

    frames.add_argument(
        "--smooth",
        type=float,
        default=0.8,  # frames.SMOOTH, which imports PyTorch
        metavar="S",
        help="from 0 (each frame decides alone) to below 1: how much of the router's average is past (default 0.8)",
    )
    frames.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="also put the results together as a video, without sound: .mp4, .m4v, .mov, .mkv or .avi",
    )
    frames.add_argument(
        "--fps", type=arguments.rate, metavar="N", help="its frames a second (default: the input's, else 25)"
    )
    for sub in (deblur, frames):
        sub.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
        sub.add_argument(
            "--max-memory",
            type=arguments.memory,
            metavar="SIZE",
            help="for the whole process, such as 3G (default: four fifths of what is free); a picture "
            "that needs more is cut into tiles",
        )


def _add_experiments(commands) -> None:
    """``train``, ``evaluate`` and ``status``."""
    train = arguments.add(commands, "train", "train a named experiment, or continue where it stopped")
    train.add_argument("--experiment", metavar="NAME", help="default demoe; --list shows all")
    train.add_argument(
        "--pairs",
        type=Path,
        metavar="DIR",
        help="train a network on pairs of your own instead: DIR/blur and DIR/sharp, equal names",
    )
    train.add_argument(
        "--loss",
        metavar="TERM+TERM",
        help="another loss than the experiment's, such as pixel+mae-local or pixel+edge=0.1; --list shows all terms",
    )
    arguments.flag(train, "--fresh", "forget earlier runs of this experiment and seed")
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
    evaluate = arguments.add(commands, "evaluate", "score a network on the test sets, or one folder against another")
    evaluate.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="PRED_DIR GT_DIR",
        help="score these pictures, paired by their names, instead of a network",
    )
    network = evaluate.add_mutually_exclusive_group()
    network.add_argument("--experiment", metavar="NAME", help="default demoe; it must have been trained")
    network.add_argument("--weights", type=Path, metavar="FILE", help="a network from a file instead")
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
        type=int,
        metavar="PIXELS",
        help="restore in tiles of this side, where the network is ours (default: whole pictures)",
    )
    status = arguments.add(
        commands, "status", "what of a profile is trained, for how long, on what, and what is missing"
    )
    for sub in (train, evaluate, status):
        sub.add_argument("--profile", choices=tuple(PROFILES), help="default: $DEMOE_PROFILE, else smoke")
        sub.add_argument("--seed", type=int, default=0, help="default 0")
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
    """``data check``, ``data where`` and ``data build``."""
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

    build = arguments.add(inner, "build", "write synthetic sets to disk in the layout of the real ones")
    build.add_argument("folder", type=Path, metavar="DIR", help="where to write; each set gets a folder in it")
    build.add_argument(
        "--sets", nargs="+", type=arguments.dataset, metavar="NAME", help="default: all that have this split"
    )
    build.add_argument("--split", default="train", choices=("train", "val", "test"), help="default train")
    build.add_argument("--count", type=arguments.count, default=100, metavar="N", help="pairs a set (default 100)")
    build.add_argument("--size", type=arguments.count, default=256, metavar="PIXELS", help="their side (default 256)")
    build.add_argument("--seed", type=arguments.count, default=0, help="default 0")
    build.add_argument(
        "--sharp-images",
        type=Path,
        metavar="DIR",
        help="sharp photographs to blur (default: those that come with the package)",
    )
