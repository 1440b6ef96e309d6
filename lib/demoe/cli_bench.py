"""``demoe bench``: measure this machine, side by side with the plain formulation of the published code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demoe import cli_base

PARTS = {
    "all": "everything below but gpu-count and tiles (about half an hour on two cores)",
    "inference": "restoring pictures of several sizes, and mixed batches",
    "training": "training steps, plain and ours, with the gradients compared",
    "memory": "peak memory of a large picture",
    "data": "synthesis, and the time training waits for data",
    "growth": "time against size and experts; hours of the paper's training on more processors",
    "machine": "the machine's peaks, which the floors come from",
    "plain": "count the plain side's operations beside those of the published code",
    "gpu-count": "count what the generated GPU code would launch, without a GPU (minutes; not part of all)",
    "report": "write report and figures again from the CSVs",
}


def add_commands(commands) -> None:
    """Adds ``bench`` to the subparsers of ``demoe``."""
    text = "measure on this machine"
    bench = commands.add_parser("bench", help=text, description=text[0].upper() + text[1:] + ".")
    _settings(bench, {"full": False, "device": None, "width": 32, "threads": 0, "rounds": 9, "debug": False})
    bench.set_defaults(run=_bench, part="all")
    inner = bench.add_subparsers(title="commands", metavar="COMMAND")
    for part, about in PARTS.items():
        sub = inner.add_parser(part, help=about, description=about[0].upper() + about[1:] + ".")
        _settings(sub, {})  # what stands before the part's name holds as well
        sub.set_defaults(run=_bench, part=part)
    tiles = cli_base.add(inner, "tiles", _tiles, "how far tiles are from the whole photograph, and their seams")
    tiles.add_argument("photo", type=Path, metavar="FILE", help="a photograph that fits into memory whole")
    tiles.add_argument("--tile", type=int, default=1024, metavar="PIXELS", help="side of the tiles (default 1024)")
    cli_base.add_network(tiles, "auto (the router chooses; default) or an expert's or a dataset's name")


def _settings(sub: argparse.ArgumentParser, defaults: dict) -> None:
    def option(name: str, **how) -> None:
        sub.add_argument(f"--{name}", default=defaults.get(name, argparse.SUPPRESS), **how)

    option("debug", action="store_true", help="show the traceback of an error")
    option(
        "full",
        action="store_true",
        help="also what takes long or much memory: the plain side at twelve megapixels (18 GB), training at 192 and "
        "384 pixels (what fits into memory), k above 1 with the system's allocator",
    )
    option("device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
    option("width", type=int, metavar="N", help="channels of the networks (default 32)")
    option("threads", type=int, metavar="N", help="default: as PyTorch chooses")
    option("rounds", type=int, metavar="N", help="rounds whose median counts (default 9)")


def _bench(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if min(args.width, args.rounds) < 1 or args.threads < 0:
        parser.error("--width and --rounds are at least 1, --threads at least 0")
    import torch

    from demoe import provenance
    from demoe.benchmarks import report, run
    from demoe.benchmarks.options import PATCHES, Options

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = Options(
        device=device,
        threads=args.threads,
        width=args.width,
        rounds=args.rounds,
        full=args.full,
        patches=PATCHES if args.full or device == "cuda" else PATCHES[:1],
        progress=sys.stderr.isatty(),
    )
    if args.part != "report":
        parts = run.ALL if args.part == "all" else (args.part,)
        for file in run.run(parts, options, lambda line: print(line, flush=True)):
            print(file)
    folder = run.folder(device)
    for file in report.write(folder, device, provenance.stamp(run.GROUP, "none", 0)):
        print(file)
    print(report.verdicts(report.read(folder), device))
    return 0


def _tiles(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe import images, photos
    from demoe.evaluation.tiles import compare

    compare(photos.default_model(args.weights, "cpu"), images.read(args.photo).pixels, args.tile, args.k, args.expert)
    return 0
