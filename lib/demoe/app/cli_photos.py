"""``demoe deblur`` and ``demoe export``: one's own photographs, and the network for other programs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from torch import nn
from tqdm import tqdm

from demoe.core import images
from demoe.core.files import write_text
from demoe.inference.export import export as export_network
from demoe.models import checkpoints

from . import arguments, networks, photos
from .plan import Plan, plan, results
from .watch import arriving

EXPERT_FILES, COMPARISON = (".experts.png", ".experts.csv"), ".compare.png"  # what is added to a result's name
_FAILURES = (ValueError, OSError, RuntimeError, MemoryError)  # of one photograph, which the others do not mind
DONE, FAILED, LEFT, THERE = "deblurred", "failed", "left alone", "there already"  # what became of a photograph


def export(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Writes the network and prints where."""
    path = networks.default_path(args.weights)
    network = networks.load(path)
    if why := networks.unfit(network, args.expert, args.k):
        parser.error(why)
    print(export_network(network, args.output, expert=args.expert, k=args.k, origin=checkpoints.provenance(path)))
    return 0


def deblur(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Deblurs photographs one by one; 1 if any failed or was left alone. With ``--watch`` until Ctrl-C."""
    folder: Path = args.output
    if folder.exists() and not folder.is_dir():
        parser.error(f"-o needs a folder, and {folder} is a file")
    if not folder.exists() and folder.suffix.lower() in images.READABLE:
        parser.error(f"-o needs a folder for the results, and {folder} is the name of an image file")
    if args.expert_map and (args.route == "image" or args.expert):
        parser.error("--expert-map shows the router's decisions a tile: it goes with --route tile and --expert auto")
    if args.watch and (len(args.inputs) > 1 or not args.inputs[0].is_dir()):
        parser.error("--watch looks after one folder, which must be there")
    batch = _Batch(args, parser)
    try:
        if args.watch:
            batch.tell(f"watching {args.inputs[0]}, until Ctrl-C")
        for arrived in arriving(args.inputs[0]) if args.watch else [None]:
            if arrived != []:
                made = plan(args.inputs, folder, batch.beside, args.overwrite, batch.skip)
                batch.work(made if arrived is None else _of(made, arrived), made.skipped)
    finally:  # also after Ctrl-C
        batch.finish()
    return 1 if {FAILED, LEFT} & set(batch.outcomes.values()) else 0


def _of(made: Plan, files: list[Path]) -> Plan:
    """The part of a plan that is about these photographs."""
    chosen = set(files)
    parts = (
        [entry for entry in part if entry[0] in chosen] for part in (made.jobs, made.failed, made.left, made.there)
    )
    return Plan(*parts)


class _Batch:
    """Photographs on their way, with what became of each and a line, or a record, for whoever waits."""

    def __init__(self, args: argparse.Namespace, parser: argparse.ArgumentParser):
        self.args, self.parser = args, parser
        self.beside = [*EXPERT_FILES] * args.expert_map + [COMPARISON] * args.compare
        self.skip = args.skip_existing or (args.watch and not args.overwrite)  # results that are there stay
        self.route = args.route or ("tile" if args.expert_map else "image")
        self.model: nn.Module | None = None
        self.outcomes: dict[Path, str] = {}  # of each photograph the last
        self.warned: set[Path] = set()
        self.skipped = 0

    def tell(self, text: str) -> None:
        """A line for a person, where one reads."""
        if not arguments.silent(self.args):
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def work(self, made: Plan, skipped: int) -> None:
        """Does the jobs of a plan, and says what becomes of the others."""
        self.skipped = skipped
        for outcome, refused in ((FAILED, made.failed), (LEFT, made.left)):
            for source, sentence in refused:
                arguments.complain(sentence)
                self._record(source, outcome, error=sentence)
        for source, target in made.there:
            self._record(source, THERE, result=target)
        if made.jobs and self.model is None:
            self.model = networks.default_model(self.args.weights, self.args.device)
            if why := networks.unfit(self.model, self.args.expert, self.args.k, self.route, self.args.max_memory):
                self.parser.error(why)
            if not (self.args.weights or os.environ.get("DEMOE_WEIGHTS")):
                self.tell(f"deblurring with {networks.default_label()}; --weights takes another")
        bar = arguments.bar(self.args)
        for source, target in tqdm(made.jobs, unit="photo", leave=False, disable=not bar):
            try:
                self._deblur(source, target, bar)
            except _FAILURES as error:
                text = arguments.sentence(error)
                text = text if source.name in text else f"{source}: {text}"
                arguments.complain(text, self.args.debug)
                self._record(source, FAILED, error=text)

    def _deblur(self, source: Path, target: Path, bar: bool) -> None:
        args, start = self.args, time.perf_counter()
        result = photos.deblur(
            source,
            model=self.model,
            expert=args.expert,
            k=args.k,
            max_memory=args.max_memory,
            route=self.route,
            tile=args.tile,
            bf16=args.bf16,
            guard=not args.no_guard,
            progress=bar,
        )
        if not (self.skip and target.exists()):  # then only what is beside it was missing
            images.write_photograph(target, result.photograph)
        seconds = time.perf_counter() - start
        self.tell("\n".join(_summary(source, target, result, args.expert, seconds)))
        files, doubts = _write_beside(source, target, result, self.model, args, bar)
        for line in (
            *(f"  {what}: {file}" for what, file in files.items()),
            *(f"  warning: {doubt}" for doubt in doubts),
        ):
            self.tell(line)
        if result.warnings or doubts:
            self.warned.add(source)
        self._record(
            source, DONE, target, **_as_json(result, seconds), beside=files, warnings=[*result.warnings, *doubts]
        )

    def _record(self, source: Path, outcome: str, result: Path | None = None, **facts: object) -> None:
        self.outcomes[source] = outcome
        if self.args.json:
            arguments.print_json({"photograph": source, "result": result, "outcome": outcome} | facts)

    def finish(self) -> None:
        """The line about all of them, unless there was but one."""
        count = Counter(self.outcomes.values())
        if arguments.silent(self.args) or count.total() + self.skipped < 2:
            return
        doubts = f" ({len(self.warned)} with warnings)" if self.warned else ""
        more = "".join(f" {count[outcome]} {outcome}," for outcome in (LEFT, THERE) if count[outcome])
        told = f"{count[DONE]} deblurred{doubts}, {count[FAILED]} failed,{more} {self.skipped} other files skipped"
        print(told, file=sys.stderr)


def _as_json(result: photos.Deblurred, seconds: float) -> dict[str, object]:
    """What a program reads about one photograph: the numbers of ``_summary``."""
    width, height = result.photograph.size
    return {
        "width": width,
        "height": height,
        "expert": result.expert,
        "weights": result.weights,
        "router": result.router,
        "entropy": result.entropy,
        "change": asdict(result.change),
        "tile": result.tile,
        "guarded": result.guarded,
        "note": result.note,
        "seconds": round(seconds, 3),
    }


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


def _write_beside(source: Path, target: Path, result: photos.Deblurred, model, args, bar: bool):
    """Writes the map of experts and the comparison: {what it is: its file}, and a sentence for each that is not."""
    files: dict[str, Path] = {}
    doubts: list[str] = []
    if not (args.expert_map or args.compare):
        return files, doubts
    from . import contact_sheet  # loads matplotlib, for which other calls need not wait

    picture, table, comparison = results(target, [*EXPERT_FILES, COMPARISON])[1:]
    try:
        if args.expert_map and result.expert_map is None:
            used = " and ".join(name for name, share in result.weights.items() if share) or "no expert"
            doubts.append(f"no map of experts: {used} restored all of the photograph")
        elif args.expert_map:
            photo = images.read_photograph(source).pixels
            contact_sheet.save_picture(picture, contact_sheet.expert_map(photo, result.expert_map))
            write_text(table, contact_sheet.expert_table(result.expert_map))
            files |= {"experts": picture, "experts, as a table": table}
    except _FAILURES as error:  # the result itself is there
        doubts.append(f"no map of experts: {arguments.sentence(error)}")
    try:
        if args.compare:
            photo = images.read_photograph(source).pixels
            sheet = contact_sheet.comparison(photo, result, model, args.max_memory, bar)
            contact_sheet.save_picture(comparison, sheet)
            files["compare"] = comparison
    except _FAILURES as error:
        doubts.append(f"no comparison: {arguments.sentence(error)}")
    return files, doubts
