"""``demoe deblur`` and ``frames``: photographs and frames of one's own.

Frames have a command of their own because they have another kind of input and output (one folder each, in order,
continued when interrupted), and because one decision for each photograph is what ``deblur`` promises.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from demoe.core.tasks import EXPERTS

from . import arguments

EXPERT_HELP = f"auto (the router chooses; default) or one of {', '.join(EXPERTS)}, or a dataset's name"


def add_commands(commands) -> None:
    """Adds these commands to the subparsers of ``demoe``."""
    deblur = arguments.add(commands, "deblur", _deblur, "deblur photographs, at their own size")
    deblur.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="IN",
        help="an image file (PNG, JPEG, TIFF, WebP, BMP, AVIF, JPEG XL, HEIC with the extra heic) or a folder, whose "
        "subfolders are included",
    )
    deblur.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the results, named as the photographs; those of HEIC are .png",
    )
    arguments.add_network(deblur, EXPERT_HELP)
    deblur.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results that are there already; the photographs themselves never are",
    )
    deblur.add_argument(
        "--route",
        choices=("image", "tile"),
        default=None,
        help="one decision of the router for the photograph (default), or one a tile",
    )
    deblur.add_argument("--tile", type=int, metavar="PIXELS", help="cut into tiles of this side in any case")
    deblur.add_argument(
        "--bf16",
        action="store_true",
        help="compute in bfloat16: faster where the processor has it, half the memory, nearly the same",
    )
    deblur.add_argument(
        "--expert-map",
        action="store_true",
        help="with --route tile, which it implies: also write which expert each tile had, "
        "as NAME.experts.png and NAME.experts.csv",
    )
    deblur.add_argument(
        "--compare",
        action="store_true",
        help="also write NAME.compare.png: photograph, result and the five experts side by side, "
        "whole (made smaller) and a detail; takes up to six times as long",
    )

    frames = arguments.add(commands, "frames", _frames, "deblur a folder of numbered frames, or a video")
    frames.add_argument("input", type=Path, metavar="IN", help="a folder of frames, or a video file")
    frames.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the frames: those of a folder keep their names, those of a video are "
        "000001.png, ...; an interrupted call is continued",
    )
    arguments.add_network(frames, EXPERT_HELP)
    frames.add_argument(
        "--smooth",
        type=float,
        default=None,
        metavar="S",  # frames.SMOOTH, which imports PyTorch
        help="from 0 (each frame decides alone) to below 1: how much of the router's average is past (default 0.8)",
    )
    frames.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="also put the results together as a video, without sound: .mp4, .m4v, .mov, .mkv or .avi",
    )
    frames.add_argument("--fps", type=_rate, metavar="N", help="its frames a second (default: the input's, else 25)")

    for sub in (deblur, frames):
        sub.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
        sub.add_argument(
            "--max-memory",
            type=arguments.memory,
            metavar="SIZE",
            help="for the whole process, such as 3G (default: four fifths of what is free); a picture "
            "that needs more is cut into tiles",
        )


def _rate(text: str):
    from fractions import Fraction

    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = 0
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of frames a second: write 25 or 30000/1001")
    return rate


# demoe deblur

_FAILURES = (ValueError, OSError, RuntimeError, MemoryError)  # of one photograph, which the others do not mind


@dataclass
class _Plan:
    """What goes where, made before anything is computed."""

    jobs: list[tuple[Path, Path]] = field(default_factory=list)  # (photograph, result)
    refused: list[str] = field(default_factory=list)  # one sentence for each input that is not processed
    left_alone: int = 0  # of these, photographs whose result would take the place of a file
    skipped: int = 0  # files in folders whose suffix is no image's


def _deblur(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    folder: Path = args.output
    if folder.exists() and not folder.is_dir():
        parser.error(f"-o needs a folder, and {folder} is a file")
    if args.expert_map and (args.route == "image" or args.expert):
        parser.error("--expert-map shows the router's decisions a tile: it goes with --route tile and --expert auto")
    route = args.route or ("tile" if args.expert_map else "image")
    from tqdm import tqdm

    from demoe.core import images

    from .photos import deblur, default_label, default_model

    if not folder.exists() and folder.suffix.lower() in images.READABLE:
        parser.error(f"-o needs a folder for the results, and {folder} is the name of an image file")
    beside = [".experts.png", ".experts.csv"] * args.expert_map + [".compare.png"] * args.compare
    plan = _plan(args.inputs, folder, args.overwrite, beside)
    for sentence in plan.refused:
        arguments.complain(sentence)
    failed, done, warned = len(plan.refused) - plan.left_alone, 0, 0
    if plan.jobs:
        model = default_model(args.weights, args.device)
        if not (args.weights or os.environ.get("DEMOE_WEIGHTS")):
            print(f"network: {default_label()}", flush=True)
    bar = sys.stderr.isatty()
    for source, target in tqdm(plan.jobs, unit="photo", leave=False, disable=not bar):
        start = time.perf_counter()
        try:
            result = deblur(
                source,
                model=model,
                expert=args.expert,
                k=args.k,
                max_memory=args.max_memory,
                route=route,
                tile=args.tile,
                bf16=args.bf16,
                progress=bar,
            )
            images.write_photograph(target, result.photograph)
        except _FAILURES as error:
            text = arguments.sentence(error)
            arguments.complain(text if source.name in text else f"{source}: {text}", args.debug)
            failed += 1
            continue
        seconds = time.perf_counter() - start
        tqdm.write("\n".join(_summary(source, target, result, args.expert, seconds)), file=sys.stdout)
        extra = _beside(source, target, result, model, args, bar) if beside else []
        if extra:
            tqdm.write("\n".join(extra), file=sys.stdout)
        done += 1
        warned += bool(result.warnings) or any(line.startswith("  warning: ") for line in extra)
        del result  # before the next photograph needs the memory
    if done + failed + plan.left_alone + plan.skipped > 1:
        doubts = f" ({warned} with warnings)" if warned else ""
        left = f" {plan.left_alone} left alone," if plan.left_alone else ""
        print(f"{done} deblurred{doubts}, {failed} failed,{left} {plan.skipped} other files skipped", file=sys.stderr)
    return 1 if failed or plan.left_alone else 0


def _plan(inputs: list[Path], folder: Path, overwrite: bool, beside: list[str]) -> _Plan:
    """Every photograph once, each with a result of its own that is no input and, unless ``overwrite``, not there yet.

    A file's result is ``folder``/name; those of a folder keep their names relative to it. Should two of them get the
    same name, the later one becomes name-2, name-3, ... ``beside``: what is added to a result's name for files beside
    it, to which the same applies.
    """
    from demoe.core import images

    plan = _Plan()
    sources: dict[str, tuple[Path, Path]] = {}  # by absolute path: (as named, relative name)
    for path in inputs:
        if path.is_dir():
            listed = images.list_files(path)
            if path.resolve() in folder.resolve().parents:  # then these are the results of an earlier run
                listed = [file for file in listed if folder.resolve() not in file.resolve().parents]
            photographs = [file for file in listed if file.suffix.lower() in images.READABLE]
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
        if file.suffix.lower() not in images.READABLE:
            plan.refused.append(
                f"{file} does not exist"
                if not file.exists()
                else f"{file} has no image's suffix; known are {', '.join(images.READABLE)}"
            )
            continue
        relative = images.result_name(relative, file)
        target, number = folder / relative, 1
        while taken & {str(one).casefold() for one in (target, *_names(target, beside))}:
            number += 1
            target = folder / relative.with_stem(f"{relative.stem}-{number}")
        wanted = [target, *_names(target, beside)]
        taken |= {str(one).casefold() for one in wanted}
        there = [one for one in wanted if one.exists()]
        if any(_identity(one) in inputs_on_disk for one in there):
            plan.refused.append(
                f"{file} was left alone: its result {there[0]} would replace an input; choose another -o"
            )
            plan.left_alone += 1
        elif there and not overwrite:
            plan.refused.append(f"{file} was left alone: {there[0]} exists already; use --overwrite or another -o")
            plan.left_alone += 1
        else:
            plan.jobs.append((file, target))
    return plan


def _names(target: Path, beside: list[str]) -> list[Path]:
    return [target.with_name(target.name + ending) for ending in beside]


def _identity(file: Path) -> tuple[int, int]:
    """The same for two names of one file: links, and letter case where the file system ignores it."""
    status = file.stat()
    return status.st_dev, status.st_ino


def _summary(source: Path, target: Path, result, asked: str | None, seconds: float) -> list[str]:
    """What a person reads about one photograph: what became of it, what the router said, how much changed, doubts."""
    width, height = result.photograph.size
    way = "whole" if result.tile is None else f"tiles of {result.tile}"
    notes = "".join(f", {note}" for note in (result.note,) if note)
    lines = [f"{source} -> {target}  ({width}x{height}, {way}, {seconds:.1f} s{notes})"]
    if result.router:
        ranked = sorted(result.router.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{name} {share:.2f}" for name, share in ranked if share >= 0.005)
        mean = "mean over tiles: " if result.expert_map else ""
        lines.append(f"  router: {mean}{shares}; entropy {result.entropy:.2f} of 1")
    if result.expert is not None:
        mixed = [f"{name} {share:.2f}" for name, share in result.weights.items() if share]
        used = result.expert if len(mixed) == 1 else ", ".join(mixed)
        lines.append(f"  expert: {used}{' (as asked)' if asked else ''}")
    found = result.change
    lines.append(
        f"  change: {found.mean:.2f} of 255 levels on average, {found.psnr:.1f} dB to the input, "
        f"mean brightness {found.brightness:+.1f}"
    )
    return lines + [f"  warning: {warning}" for warning in result.warnings]


def _beside(source: Path, target: Path, result, model, args: argparse.Namespace, bar: bool) -> list[str]:
    """Writes the map of experts and the comparison; a line about each, a warning where one could not be made."""
    from demoe.core import images

    from . import contact_sheet

    def experts() -> str:
        picture, table = _names(target, [".experts.png", ".experts.csv"])
        contact_sheet.save_picture(
            picture, contact_sheet.expert_map(images.read_photograph(source).pixels, result.expert_map)
        )
        contact_sheet.save_table(table, contact_sheet.expert_table(result.expert_map))
        return f"  experts: {picture}, {table}"

    def compare() -> str:
        (picture,) = _names(target, [".compare.png"])
        sheet = contact_sheet.comparison(images.read_photograph(source).pixels, result, model, args.max_memory, bar)
        contact_sheet.save_picture(picture, sheet)
        return f"  compare: {picture}  (panels of at most {contact_sheet.PANEL} pixels)"

    lines = []
    for wanted, what, make in ((args.expert_map, "map of experts", experts), (args.compare, "comparison", compare)):
        try:
            lines += [make()] if wanted else []
        except _FAILURES as error:  # the result itself is there
            lines.append(f"  warning: no {what}: {arguments.sentence(error)}")
    return lines


# demoe frames


def _frames(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if args.smooth is not None and not 0 <= args.smooth < 1:
        parser.error("--smooth is at least 0 and below 1")
    if args.video and args.video.exists():
        parser.error(f"{args.video} exists already; choose another --video")
    from demoe.core import images

    from . import frames, photos, video

    suffix = args.output.suffix.lower()
    if args.output.exists() and not args.output.is_dir():
        parser.error(f"-o needs a folder, and {args.output} is a file")
    if not args.output.exists() and suffix in (*images.READABLE, *video.SUFFIXES):
        parser.error(
            f"-o needs a folder for the frames, and {args.output} is the name of a file; "
            "--video FILE makes a video of them"
        )
    if args.video and args.video.suffix.lower() not in video.CONTAINERS:
        parser.error(
            f"{args.video} has no suffix of a video that can be written: use one of {', '.join(video.CONTAINERS)}"
        )
    if args.video or args.input.is_file():
        video.require()  # before an hour's work
    if args.video and args.input.is_dir():
        frames.check_sizes(args.input)
    described = video.describe(args.input) if args.input.is_file() else None
    for phrase in described.lost if described else ():
        print(f"  not kept: {phrase}", flush=True)
    done = frames.deblur_frames(
        args.input,
        args.output,
        model=photos.default_model(args.weights, args.device),
        expert=args.expert,
        k=args.k,
        max_memory=args.max_memory,
        smooth=frames.SMOOTH if args.smooth is None else args.smooth,
        progress=sys.stderr.isatty(),
        tell=arguments.complain,
    )
    shares = ", ".join(f"{name} {count}" for name, count in done.experts.most_common())
    print(f"{args.input} -> {args.output}  {done.made} frames deblurred, {done.kept} kept, {len(done.failed)} failed")
    if shares:
        print(f"  experts: {shares}; {done.switches} switches ({done.alone} had each frame decided alone)")
    print(f"  decisions: {args.output / frames.JOURNAL}" + (f"; warnings on {done.warned} frames" * bool(done.warned)))
    if args.video and done.failed:
        arguments.complain(f"{args.video} was not written: frames are missing")
    elif args.video:
        rate = args.fps or (described.rate if described else 25)
        pixels = (images.read_photograph(file).pixels for file in done.files)
        padded = video.write_video(
            args.video, ((one * 255).round().byte().permute(1, 2, 0).numpy() for one in pixels), rate
        )
        print(
            f"  video: {args.video}, {float(rate):g} frames a second, without sound"
            + ("; one pixel more at odd sides, which H.264 cannot have" if padded else "")
        )
    return 1 if done.failed else 0
