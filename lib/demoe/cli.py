"""The command ``demoe``: deblur photographs, count costs, train, evaluate, look after data.

Exit status 0 if everything was done, 1 if something failed, 2 for a command that makes no sense. Heavy imports stand
inside the functions, so that ``demoe --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from demoe import __version__, cli_data
from demoe.profiles import PROFILES
from demoe.tasks import EXPERTS, expert_index


def main(argv: list[str] | None = None) -> int:
    """Run one command line (``sys.argv`` by default) and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        return args.run(args, parser)
    except KeyboardInterrupt:
        _complain("interrupted", args.debug)
        return 1
    except BrokenPipeError:  # the reader of a pipe went away: `demoe cost | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, MemoryError, ArithmeticError) as error:
        _complain(_sentence(error), args.debug)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demoe", description="Unified image deblurring with a mixture-of-experts decoder (DeMoE)."
    )
    parser.add_argument("--version", action="version", version=f"demoe {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(run=run)
        return sub

    deblur = command("deblur", _deblur, "deblur photographs, at their own size")
    deblur.add_argument("inputs", nargs="+", type=Path, metavar="IN",
                        help="an image file (PNG, JPEG, TIFF, WebP, BMP) or a folder, whose subfolders are included")
    deblur.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    deblur.add_argument("--expert", type=_expert, default=None, metavar="NAME",
                        help=f"auto (the router chooses; default) or one of {', '.join(EXPERTS)}, or a dataset's name")
    deblur.add_argument("--k", type=int, default=1, choices=range(1, len(EXPERTS) + 1),
                        help="how many experts are mixed (default 1)")
    deblur.add_argument("--weights", type=Path, metavar="FILE",
                        help="trained network (default: $DEMOE_WEIGHTS, else the one in the package)")
    deblur.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
    deblur.add_argument("--overwrite", action="store_true",
                        help="replace results that are there already; the photographs themselves never are")

    deblur.add_argument("--max-memory", type=_memory, metavar="SIZE",
                        help="for the whole process, such as 3G (default: four fifths of what is free); a photograph "
                        "that needs more is cut into tiles")
    deblur.add_argument("--route", choices=("image", "tile"), default="image",
                        help="one decision of the router for the photograph, or one a tile")
    deblur.add_argument("--tile", type=int, metavar="PIXELS", help="cut into tiles of this side in any case")

    export = command("export", _export, "write a network for other programs (.pt2 or .onnx)")
    export.add_argument("output", type=Path, metavar="FILE", help="its suffix says which: .pt2 or .onnx")
    export.add_argument("--expert", type=_expert, default=None, metavar="NAME",
                        help="fix this expert (default: the router inside)")
    export.add_argument("--k", type=int, default=1, choices=range(1, len(EXPERTS) + 1),
                        help="how many experts the router mixes (default 1)")
    export.add_argument("--weights", type=Path, metavar="FILE",
                        help="trained network (default: $DEMOE_WEIGHTS, else the one in the package)")

    cost = command("cost", _cost, "print parameters and MACs of every published network beside the paper's")
    cost.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")

    train = command("train", _train, "train a named experiment, or continue where it stopped")
    train.add_argument("--experiment", default="demoe", metavar="NAME", help="default demoe; --list shows all")
    train.add_argument("--pairs", type=Path, metavar="DIR",
                       help="train a network on pairs of your own instead: DIR/blur and DIR/sharp, equal names")
    train.add_argument("--fresh", action="store_true", help="forget earlier runs of this experiment and seed")
    train.add_argument("--list", action="store_true", help="list the experiments and stop")
    evaluate = command("evaluate", _evaluate, "score a network on the test sets, or one folder against another")
    evaluate.add_argument("folders", nargs="*", type=Path, metavar="PRED_DIR GT_DIR",
                          help="score these pictures, paired by their names, instead of a network")
    network = evaluate.add_mutually_exclusive_group()
    network.add_argument("--experiment", default=None, metavar="NAME", help="default demoe; trained if need be")
    network.add_argument("--weights", type=Path, metavar="FILE", help="a network from a file instead")
    evaluate.add_argument("--csv", type=Path, metavar="FILE",
                          help="also write the scores of every picture there; an interrupted call is continued")
    evaluate.add_argument("--metrics", default="psnr,ssim", type=lambda text: text.split(","), metavar="NAME,NAME",
                          help="default psnr,ssim; also psnr_8bit, lpips_vgg, lpips_alex, musiq, niqe and others")
    evaluate.add_argument("--aligned", action="store_true", help="also PSNR and SSIM aligned as for RealBlur")
    evaluate.add_argument("--save-images", type=Path, metavar="DIR", help="keep the restored pictures there")
    evaluate.add_argument("--no-resume", action="store_true", help="with --csv: do not continue an interrupted call")
    for sub in (train, evaluate):
        sub.add_argument("--profile", choices=tuple(PROFILES), help="default: $DEMOE_PROFILE, else smoke")
        sub.add_argument("--seed", type=int, default=0, help="default 0")
        sub.add_argument("--data-root", metavar="DIR",
                         help="real datasets: a folder, or a TOML file that names one for each (default: "
                         "$DEMOE_DATA_ROOT, else data.toml here); without it synthetic ones are made")
        sub.add_argument("--sharp-images", metavar="DIR",
                         help="sharp photographs to make the synthetic sets from (default: $DEMOE_SHARP_IMAGES, else "
                         "bundled ones)")
    cli_data.add_commands(commands)
    return parser


def _expert(name: str) -> str | None:
    if name == "auto":
        return None
    try:
        return EXPERTS[expert_index(name)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _memory(text: str) -> int:
    from demoe.evaluation.tiles import memory_size

    try:
        return memory_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _complain(text: str, debug: bool = False) -> None:
    """One line on stderr, which does not break a progress bar; the traceback before it if ``debug``."""
    from tqdm import tqdm

    if debug and sys.exc_info()[0] is not None:
        tqdm.write(traceback.format_exc(), file=sys.stderr)
    tqdm.write(f"demoe: {text}", file=sys.stderr)


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return "not enough memory for a picture of this size"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# demoe deblur


@dataclass
class _Plan:
    """What goes where, made before anything is computed."""

    jobs: list[tuple[Path, Path]] = field(default_factory=list)  # (photograph, result)
    refused: list[str] = field(default_factory=list)  # one sentence for each input that is not processed
    skipped: int = 0  # files in folders whose suffix is no image's


def _deblur(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    folder: Path = args.output
    if folder.exists() and not folder.is_dir():
        parser.error(f"-o needs a folder, and {folder} is a file")
    from tqdm import tqdm

    from demoe import images
    from demoe.photos import deblur, default_model

    if not folder.exists() and folder.suffix.lower() in images.SUFFIXES:
        parser.error(f"-o needs a folder for the results, and {folder} is the name of an image file")
    plan = _plan(args.inputs, folder, args.overwrite)
    for sentence in plan.refused:
        _complain(sentence)
    failed, done = len(plan.refused), 0
    if plan.jobs:
        model = default_model(args.weights, args.device)
    for source, target in tqdm(plan.jobs, unit="photo", leave=False, disable=not sys.stderr.isatty()):
        start = time.perf_counter()
        try:
            result = deblur(source, model=model, expert=args.expert, k=args.k, max_memory=args.max_memory,
                            route=args.route, tile=args.tile, progress=sys.stderr.isatty())
            images.write(target, result.photograph)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            text = _sentence(error)
            _complain(text if source.name in text else f"{source}: {text}", args.debug)
            failed += 1
            continue
        done += 1
        tqdm.write(_line(source, target, result, args.expert, time.perf_counter() - start), file=sys.stdout)
    if done + failed + plan.skipped > 1:
        print(f"{done} deblurred, {failed} failed, {plan.skipped} other files skipped", file=sys.stderr)
    return 1 if failed else 0


def _plan(inputs: list[Path], folder: Path, overwrite: bool) -> _Plan:
    """Every photograph once, each with a result of its own that is no input and, unless ``overwrite``, not there yet.

    A file's result is ``folder``/name; those of a folder keep their names relative to it. Should two of them get the
    same name, the later one becomes name-2, name-3, ...
    """
    from demoe import images

    plan = _Plan()
    sources: dict[str, tuple[Path, Path]] = {}  # by absolute path: (as named, relative name)
    for path in inputs:
        if path.is_dir():
            listed = images.list_files(path)
            if path.resolve() in folder.resolve().parents:  # then these are the results of an earlier run
                listed = [file for file in listed if folder.resolve() not in file.resolve().parents]
            photographs = [file for file in listed if file.suffix.lower() in images.SUFFIXES]
            plan.skipped += len(listed) - len(photographs)
            if not photographs:
                plan.refused.append(f"{path} holds no photographs")
            found = [(file, file.relative_to(path)) for file in photographs]
        else:
            found = [(path, Path(path.name))]
        for file, relative in found:
            sources.setdefault(os.path.abspath(file), (file, relative))
    inputs_on_disk = {_identity(file) for file, _ in sources.values() if file.exists()}
    taken: set[str] = set()  # lower case: some file systems do not tell A.jpg from a.jpg
    for file, relative in sources.values():
        if file.suffix.lower() not in images.SUFFIXES:
            plan.refused.append(f"{file} does not exist" if not file.exists() else
                                f"{file} has no image's suffix; known are {', '.join(images.SUFFIXES)}")
            continue
        target, number = folder / relative, 1
        while str(target).casefold() in taken:
            number += 1
            target = folder / relative.with_stem(f"{relative.stem}-{number}")
        taken.add(str(target).casefold())
        if target.exists() and _identity(target) in inputs_on_disk:
            plan.refused.append(f"{file} was left alone: its result {target} would replace an input; choose another -o")
        elif target.exists() and not overwrite:
            plan.refused.append(f"{file} was left alone: {target} exists already; use --overwrite or another -o")
        else:
            plan.jobs.append((file, target))
    return plan


def _identity(file: Path) -> tuple[int, int]:
    """The same for two names of one file: links, and letter case where the file system ignores it."""
    status = file.stat()
    return status.st_dev, status.st_ino


def _line(source: Path, target: Path, result, asked: str | None, seconds: float) -> str:
    width, height = result.photograph.size
    expert = ""
    if result.expert is not None:
        chosen = f" chosen, router {result.router[asked]:.2f}" if asked else f" {result.router[result.expert]:.2f}"
        expert = f"  expert {result.expert}{chosen}"
    note = f", {result.note}" if result.note else ""
    return f"{source} -> {target}{expert}  ({width}x{height}, {seconds:.1f} s{note})"


# demoe export, cost, train, evaluate


def _export(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.export import export
    from demoe.photos import default_model

    print(export(default_model(args.weights, "cpu"), args.output, expert=args.expert, k=args.k))
    return 0


def _cost(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.model.complexity import cost_table, print_costs

    table = cost_table()
    print_costs(table)
    if args.csv:
        from demoe.paths import write_text

        columns = ["table", "row", "params", "macs", "paper_params_m", "paper_macs_g"]
        write_text(args.csv, table[columns].to_csv(index=False, lineterminator="\n"))
    return 0


def _train(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe import experiments, profiles
    from demoe.data.real.own import own_pairs
    from demoe.data.real.roots import Roots

    if args.list:
        for name, function in experiments.EXPERIMENTS.items():
            print(f"{name:24s} {(function.__doc__ or '').strip().splitlines()[0]}")
        return 0
    profile, roots = profiles.get(args.profile), Roots.resolve(args.data_root, args.sharp_images)
    if args.pairs:
        pairs = own_pairs(args.pairs)
        run = experiments.specialist(profile, pairs.name, args.seed, roots, pairs=pairs)
    else:
        run = experiments.train_experiment(args.experiment, profile, args.seed, roots, fresh=args.fresh)
    print(run.folder / "model.safetensors")
    return 0


def _evaluate(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    measured = args.metrics + (["aligned"] if args.aligned and "aligned" not in args.metrics else [])
    if args.folders:
        if len(args.folders) != 2 or args.weights or args.experiment or args.save_images:
            parser.error("give PRED_DIR and GT_DIR alone, without a network or --save-images")
        from demoe.evaluation.folders import evaluate_folders

        return evaluate_folders(*args.folders, measured, args.csv, args.no_resume)
    from demoe import profiles
    from demoe.data.real.roots import Roots
    from demoe.evaluation.benchmark import evaluate_command

    return evaluate_command(
        experiment=None if args.weights else args.experiment or "demoe", weights=args.weights,
        profile=profiles.get(args.profile), seed=args.seed, csv=args.csv,
        data_root=Roots.resolve(args.data_root, args.sharp_images), measured=measured, pictures=args.save_images,
        fresh=args.no_resume,
    )
