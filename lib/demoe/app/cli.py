"""The command ``demoe``: deblur photographs, count costs, train, evaluate, look after data.

Exit status 0 if everything was done, 1 if something failed, 2 for a command that makes no sense. Heavy imports stand
inside the functions, so that ``demoe --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from demoe.core import __version__
from demoe.core.profiles import PROFILES
from demoe.inference import allocator

from . import arguments, cli_data, cli_photos, cli_weights
from . import cli_report as report_command


def main(argv: list[str] | None = None) -> int:
    """Run one command line (``sys.argv`` by default) and return its exit status."""
    return execute(_parser(), argv)


def execute(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> int:
    """Run the command that ``parser`` finds in ``argv``; errors become sentences. Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    allocator.raise_thresholds()
    args = parser.parse_args(argv)
    try:
        return args.run(args, parser)
    except KeyboardInterrupt:
        arguments.complain("interrupted", args.debug)
        return 1
    except BrokenPipeError:  # the reader of a pipe went away: `demoe cost | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, MemoryError, ArithmeticError) as error:
        arguments.complain(arguments.sentence(error), args.debug)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demoe", description="Unified image deblurring with a mixture-of-experts decoder (DeMoE)."
    )
    parser.add_argument("--version", action="version", version=f"demoe {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        return arguments.add(commands, name, run, text)

    cli_photos.add_commands(commands)
    export = command("export", _export, "write a network for other programs (.pt2 or .onnx)")
    export.add_argument("output", type=Path, metavar="FILE", help="its suffix says which: .pt2 or .onnx")
    arguments.add_network(export, "fix this expert (default: the router inside)")

    cost = command("cost", _cost, "print parameters and MACs of every published network beside the paper's")
    cost.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")

    train = command("train", _train, "train a named experiment, or continue where it stopped")
    train.add_argument("--experiment", metavar="NAME", help="default demoe; --list shows all")
    train.add_argument(
        "--pairs",
        type=Path,
        metavar="DIR",
        help="train a network on pairs of your own instead: DIR/blur and DIR/sharp, equal names",
    )
    train.add_argument("--fresh", action="store_true", help="forget earlier runs of this experiment and seed")
    train.add_argument("--list", action="store_true", help="list the experiments and stop")
    train.add_argument(
        "--json", action="store_true", help="with --list: every training of the profile, its files and what needs it"
    )
    train.add_argument(
        "--all",
        action="store_true",
        help="everything that the notebooks need, the most valuable first, instead of one experiment",
    )
    train.add_argument(
        "--minutes",
        type=_minutes,
        metavar="M",
        help="stop after so many minutes and keep the whole state; the same command goes on from it, "
        "also on another machine",
    )
    evaluate = command("evaluate", _evaluate, "score a network on the test sets, or one folder against another")
    evaluate.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="PRED_DIR GT_DIR",
        help="score these pictures, paired by their names, instead of a network",
    )
    network = evaluate.add_mutually_exclusive_group()
    network.add_argument("--experiment", default=None, metavar="NAME", help="default demoe; trained if need be")
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
    evaluate.add_argument("--aligned", action="store_true", help="also PSNR and SSIM aligned as for RealBlur")
    evaluate.add_argument("--save-images", type=Path, metavar="DIR", help="keep the restored pictures there")
    evaluate.add_argument("--no-resume", action="store_true", help="with --csv: do not continue an interrupted call")
    evaluate.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="restore in tiles of this side, where the network is ours (default: whole pictures)",
    )
    status = command("status", _status, "what of a profile is trained, for how long, on what, and what is missing")
    for sub in (train, evaluate, status):
        sub.add_argument("--profile", choices=tuple(PROFILES), help="default: $DEMOE_PROFILE, else smoke")
        sub.add_argument("--seed", type=int, default=0, help="default 0")
    for sub in (train, evaluate, status):
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
    cli_data.add_commands(commands)
    cli_weights.add_commands(commands)
    report_command.add_command(commands)
    return parser


# demoe export, cost, train, evaluate


def _export(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.inference.export import export

    from .photos import default_model

    print(export(default_model(args.weights, "cpu"), args.output, expert=args.expert, k=args.k))
    return 0


def _cost(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.models.complexity import cost_table, print_costs

    table = cost_table()
    print_costs(table)
    if args.csv:
        from demoe.core.files import write_text

        columns = ["table", "row", "params", "macs", "paper_params_m", "paper_macs_g"]
        write_text(args.csv, table[columns].to_csv(index=False, lineterminator="\n"))
    return 0


def _minutes(text: str) -> float:
    """A length of time of an argument, above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive number of minutes")
    return value


def _setting(args: argparse.Namespace):
    from demoe.data.setting import Setting

    return Setting.of(args.profile, args.seed, args.data_root, sharp_images=args.sharp_images)


def _train(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    began = time.monotonic()  # what loading PyTorch takes counts as well
    if args.json and not args.list:
        parser.error("--json says how --list is printed: it goes with --list")
    if args.all and (args.pairs or args.experiment is not None or args.fresh):
        parser.error("--all trains every experiment: leave --experiment, --pairs and --fresh out")
    if args.all and "LOCAL_RANK" in os.environ:
        parser.error("--all trains on one device: start it without torchrun")
    from demoe import experiments
    from demoe.experiments import listing, status
    from demoe.training import distributed

    setting = _setting(args)
    if args.list:
        print(listing.as_json(setting) if args.json else listing.as_text(setting))
        return 0
    deadline = began + 60 * args.minutes if args.minutes is not None else None
    try:
        with distributed.processes():
            message = _train_all(setting, deadline) if args.all else _train_one(args, setting, deadline)
    except experiments.TimeUp as error:
        message = f"{error}; the same command goes on from there"
    if os.environ.get("RANK", "0") != "0":  # the first of several processes speaks for all
        return 0
    print(message)
    if args.pairs is None:
        status.write(setting)
    return 0


def _train_one(args: argparse.Namespace, setting, deadline: float | None) -> Path:
    from demoe import experiments

    pairs = _own_pairs(args.pairs, setting) if args.pairs else None
    if pairs:
        spec = experiments.own_specialist(pairs, setting)
    else:
        spec = experiments.named(args.experiment or "demoe", setting)
    if args.fresh:
        experiments.forget(spec, setting)
    return experiments.obtain(spec, setting, deadline, pairs).weights


def _own_pairs(folder: Path, setting):
    from demoe.data.own_pairs import complaints, own_pairs

    pairs = own_pairs(folder)
    for problem in complaints(pairs, setting.profile.specialist_patch, progress=sys.stderr.isatty()):
        if problem.level == "error":
            raise ValueError(f"{pairs.name}: {problem.sentence}")
        if os.environ.get("RANK", "0") == "0":
            print(f"demoe: {pairs.name}: {problem.sentence}", file=sys.stderr)
    return pairs


def _train_all(setting, deadline: float | None) -> str:
    from demoe import experiments

    planned, missing = experiments.plan(setting), experiments.missing(setting)
    for number, spec in enumerate(missing, 1):
        start = time.monotonic()
        experiments.obtain(spec, setting, deadline)
        print(f"trained {spec.label} in {time.monotonic() - start:.0f} s ({number} of {len(missing)})", flush=True)
    return f"all {len(planned)} networks are trained"


def _status(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.experiments import status

    setting = _setting(args)
    written, kept = status.write(setting), status.file(setting)
    print((written or kept).read_text(encoding="utf-8"), end="")
    if written is None:
        print(f"\n(no runs of this profile are here: {status.shown_path(kept)} is as it was)")
    return 0


def _evaluate(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    measured = args.metrics + (["aligned"] if args.aligned and "aligned" not in args.metrics else [])
    if args.folders:
        if len(args.folders) != 2 or args.weights or args.experiment or args.save_images:
            parser.error("give PRED_DIR and GT_DIR alone, without a network or --save-images")
        from .cli_evaluate import evaluate_folders

        return evaluate_folders(*args.folders, measured, args.csv, args.no_resume)
    from .cli_evaluate import evaluate_command

    return evaluate_command(
        experiment=None if args.weights else args.experiment or "demoe",
        weights=args.weights,
        setting=_setting(args),
        csv=args.csv,
        measured=measured,
        pictures=args.save_images,
        fresh=args.no_resume,
        tile=args.tile,
    )
