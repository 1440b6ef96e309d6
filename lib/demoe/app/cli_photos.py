"""``demoe deblur`` and ``demoe export``: one's own photographs, and the network for other programs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from demoe.core import images
from demoe.core.files import write_text
from demoe.inference.export import export as export_network

from . import arguments, photos

EXPERT_FILES, COMPARISON = (".experts.png", ".experts.csv"), ".compare.png"  # what is added to a result's name
_FAILURES = (ValueError, OSError, RuntimeError, MemoryError)  # of one photograph, which the others do not mind


def export(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Writes the network and prints where."""
    print(export_network(photos.default_model(args.weights, "cpu"), args.output, expert=args.expert, k=args.k))
    return 0


@dataclass
class _Plan:
    """What goes where, made before anything is computed."""

    jobs: list[tuple[Path, Path]] = field(default_factory=list)  # (photograph, result)
    refused: list[str] = field(default_factory=list)  # one sentence for each input that is not processed
    left_alone: int = 0  # of these, photographs whose result would take the place of a file
    skipped: int = 0  # files in folders whose suffix is no image's


def deblur(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Deblurs photographs one by one; 1 if any failed or was left alone."""
    folder: Path = args.output
    if folder.exists() and not folder.is_dir():
        parser.error(f"-o needs a folder, and {folder} is a file")
    if not folder.exists() and folder.suffix.lower() in images.READABLE:
        parser.error(f"-o needs a folder for the results, and {folder} is the name of an image file")
    if args.expert_map and (args.route == "image" or args.expert):
        parser.error("--expert-map shows the router's decisions a tile: it goes with --route tile and --expert auto")
    route = args.route or ("tile" if args.expert_map else "image")
    beside = [*EXPERT_FILES] * args.expert_map + [COMPARISON] * args.compare
    plan = _plan(args.inputs, folder, args.overwrite, beside)
    for sentence in plan.refused:
        arguments.complain(sentence)
    failed, done, warned = len(plan.refused) - plan.left_alone, 0, 0
    if plan.jobs:
        model = photos.default_model(args.weights, args.device)
        if not (args.weights or os.environ.get("DEMOE_WEIGHTS")):
            print(f"network: {photos.default_label()}", flush=True)
    bar = sys.stderr.isatty()
    for source, target in tqdm(plan.jobs, unit="photo", leave=False, disable=not bar):
        start = time.perf_counter()
        try:
            result = photos.deblur(
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
        extra = _write_beside(source, target, result, model, args, bar)
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
        for file in photographs if path.is_dir() else [path]:
            relative = file.relative_to(path) if path.is_dir() else Path(path.name)
            sources.setdefault(os.path.abspath(file), (file, relative))
    inputs_on_disk = {_identity(file) for file, _ in sources.values() if file.exists()}
    taken: set[str] = set()  # lower case: some file systems do not tell A.jpg from a.jpg
    for file, relative in sources.values():
        if not file.exists():
            plan.refused.append(f"{file} does not exist")
            continue
        if file.suffix.lower() not in images.READABLE:
            plan.refused.append(f"{file} has no image's suffix; known are {', '.join(images.READABLE)}")
            continue
        relative = images.result_name(relative, file)
        results, number = _results(folder / relative, beside), 1
        while taken & {str(path).casefold() for path in results}:
            number += 1
            results = _results(folder / relative.with_stem(f"{relative.stem}-{number}"), beside)
        taken |= {str(path).casefold() for path in results}
        there = [path for path in results if path.exists()]
        replaces = any(_identity(path) in inputs_on_disk for path in there)
        if replaces or (there and not overwrite):
            why = (
                f"its result {there[0]} would replace an input; choose another -o"
                if replaces
                else f"{there[0]} exists already; use --overwrite or another -o"
            )
            plan.refused.append(f"{file} was left alone: {why}")
            plan.left_alone += 1
        else:
            plan.jobs.append((file, results[0]))
    return plan


def _results(target: Path, beside: list[str]) -> list[Path]:
    """A result and the files beside it."""
    return [target.with_name(target.name + ending) for ending in ("", *beside)]


def _identity(file: Path) -> tuple[int, int]:
    """The same for two names of one file: links, and letter case where the file system ignores it."""
    status = file.stat()
    return status.st_dev, status.st_ino


def _summary(source: Path, target: Path, result: photos.Deblurred, asked: str | None, seconds: float) -> list[str]:
    """What a person reads about one photograph: what became of it, what the router said, how much changed, doubts."""
    width, height = result.photograph.size
    way = "whole" if result.tile is None else f"tiles of {result.tile}"
    note = f", {result.note}" if result.note else ""
    lines = [f"{source} -> {target}  ({width}x{height}, {way}, {seconds:.1f} s{note})"]
    if result.router:
        ranked = sorted(result.router.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{name} {share:.2f}" for name, share in ranked if share >= 0.005)
        mean = "mean over tiles: " if result.expert_map else ""
        lines.append(f"  router: {mean}{shares}; entropy {result.entropy:.2f} of 1")
    if result.expert is not None:
        mixed = [f"{name} {share:.2f}" for name, share in result.weights.items() if share]
        used = result.expert if len(mixed) == 1 else ", ".join(mixed)
        lines.append(f"  expert: {used}{' (as asked)' if asked else ''}")
    change = result.change
    lines.append(
        f"  change: {change.mean:.2f} of 255 levels on average, {change.psnr:.1f} dB to the input, "
        f"mean brightness {change.brightness:+.1f}"
    )
    return lines + [f"  warning: {warning}" for warning in result.warnings]


def _write_beside(source: Path, target: Path, result: photos.Deblurred, model, args, bar: bool) -> list[str]:
    """Writes the map of experts and the comparison; a line about each, a warning where one could not be made."""
    if not (args.expert_map or args.compare):
        return []
    from . import contact_sheet  # loads matplotlib, for which other calls need not wait

    picture, table, comparison = _results(target, [*EXPERT_FILES, COMPARISON])[1:]
    lines = []
    try:
        if args.expert_map:
            photo = images.read_photograph(source).pixels
            contact_sheet.save_picture(picture, contact_sheet.expert_map(photo, result.expert_map))
            write_text(table, contact_sheet.expert_table(result.expert_map).to_csv(index=False, lineterminator="\n"))
            lines.append(f"  experts: {picture}, {table}")
    except _FAILURES as error:  # the result itself is there
        lines.append(f"  warning: no map of experts: {arguments.sentence(error)}")
    try:
        if args.compare:
            photo = images.read_photograph(source).pixels
            sheet = contact_sheet.comparison(photo, result, model, args.max_memory, bar)
            contact_sheet.save_picture(comparison, sheet)
            lines.append(f"  compare: {comparison}  (panels of at most {contact_sheet.PANEL} pixels)")
    except _FAILURES as error:
        lines.append(f"  warning: no comparison: {arguments.sentence(error)}")
    return lines
