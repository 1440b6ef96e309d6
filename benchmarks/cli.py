"""``python -m benchmarks``: measure this machine, side by side with the plain formulation of the published code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demoe.app import arguments
from demoe.app.cli import execute
from demoe.core.profiles import PROFILES

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


def main(argv: list[str] | None = None) -> int:
    """Runs one command line (``sys.argv`` by default) and returns its exit status, as ``demoe`` does."""
    return execute(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure on this machine.")
    parser.set_defaults(run=_nothing)
    _settings(parser, full=False, device=None, width=32, threads=0, rounds=9, debug=False)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND")
    for part, about in PARTS.items():
        sub = arguments.add(inner, part, about, debug=False)
        sub.set_defaults(run=_bench, part=part)
        _settings(sub)  # what stands before the part's name holds as well
    tiles = arguments.add(inner, "tiles", "how far tiles are from the whole photograph, and their seams")
    tiles.set_defaults(run=_tiles)
    tiles.add_argument("photo", type=Path, metavar="FILE", help="a photograph that fits into memory whole")
    tiles.add_argument("--tile", type=int, default=1024, metavar="PIXELS", help="side of the tiles (default 1024)")
    arguments.add_network(tiles, "auto (the router chooses; default) or an expert's or a dataset's name")
    loading = arguments.add(inner, "loading", "patches a second, and whether loading keeps up with training")
    loading.set_defaults(run=_loading)
    loading.add_argument("--profile", choices=PROFILES, default="smoke", help="whose sizes are used (default smoke)")
    loading.add_argument("--steps", type=int, default=20, metavar="N", help="training steps timed (default 20)")
    loading.add_argument("--data-root", metavar="DIR", help="load these real datasets instead")
    return parser


def _settings(sub: argparse.ArgumentParser, **defaults: object) -> None:
    def option(name: str, **how) -> None:
        sub.add_argument(f"--{name}", default=defaults.get(name, argparse.SUPPRESS), **how)

    option("debug", action="store_true", help="show the traceback of an error")
    option(
        "full",
        action="store_true",
        help="also what takes long or much memory: the plain side at twelve megapixels (18 GB), training at 192 and "
        "384 pixels (what fits into memory), k above 1 with the system's allocator",
    )
    option("device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU of NVIDIA")
    option("width", type=int, metavar="N", help="channels of the networks (default 32)")
    option("threads", type=int, metavar="N", help="default: as PyTorch chooses")
    option("rounds", type=int, metavar="N", help="rounds whose median counts (default 9)")


def _nothing(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    parser.error(
        f"say what to measure: `python -m benchmarks all` is {PARTS['all']}; `python -m benchmarks --help` lists parts"
    )


def _bench(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if min(args.width, args.rounds) < 1 or args.threads < 0:
        parser.error("--width and --rounds are at least 1, --threads at least 0")
    import torch

    from . import report, run
    from .options import PATCHES, Options

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    patches = PATCHES if args.full or device == "cuda" else PATCHES[:1]
    given = {"threads": args.threads, "width": args.width, "rounds": args.rounds, "full": args.full}
    options = Options(device=device, patches=patches, progress=sys.stderr.isatty(), **given)
    if args.part != "report":
        parts = run.ALL if args.part == "all" else (args.part,)
        for file in run.run(parts, options, lambda line: print(line, flush=True)):
            print(file)
    for file in report.write(options.folder, device):
        print(file)
    print(report.verdicts(report.read(options.folder), device))
    return 0


def _tiles(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.app import networks
    from demoe.core import images

    from . import tiling

    photo = images.read_photograph(args.photo).pixels
    tiling.compare_tiles(networks.default_model(args.weights, "cpu"), photo, args.tile, args.k, args.expert)
    return 0


def _loading(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from demoe.data.setting import Setting

    from . import data

    setting = Setting.of(args.profile, data_root=args.data_root)
    profile = setting.profile
    print(f"Patches of {profile.patch} pixels synthesised a second, batches of {profile.batch}; median of five rounds")
    print(data.patches_per_second(size=profile.patch, batch=profile.batch).round(1).to_string(index=False))
    print(f"\nStage 1 at profile {profile.name}: time of a step, and the share of it spent waiting for data")
    print(data.loading(setting, max(1, args.steps)).round(3).to_string(index=False))
    return 0
