"""The limits of inference/guard.toml, measured: above which sharpness a picture is taken for sharp, and above which
blockiness it is unlike what a network was trained on.

    python scripts/guard_limits.py lib/demoe/weights/demoe-cpu.safetensors=set [FILE=shared ...]

Every network is named with the camera of its training pictures (``set`` or ``shared``). All are synthetic, of the
validation split, made of photographs that scikit-image and scikit-learn ship and that no training has seen. Of them
99 % (``KEPT``) stay below the limits: of sharpness those whose blur is all over the picture (``WHOLLY``), of
blockiness all. Prints the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from demoe.blur.job import Options
from demoe.core.tasks import DATASETS
from demoe.data.synthetic import synthetic
from demoe.inference import guard
from demoe.inference.sharpness import sharpness
from demoe.models import checkpoints

KEPT = 0.99  # share of the pictures that the limits let pass
WHOLLY = ("DPDD", "RealBlur", "GoPro")  # sets whose blur is all over the picture


def pictures(names: tuple[str, ...], capture: str, count: int, size: int) -> Iterator[Tensor]:
    """``count`` blurred ones (3, size, size) of each set."""
    for name in names:
        pairs = synthetic(name, "val", count, size, progress=False, options=Options(capture=capture))
        yield from (pairs.pair(i)[0] for i in range(count))


def sharp_limit(count: int, size: int) -> str:
    """The line about sharpness."""
    values = [
        sharpness(guard.middle(one)) for capture in ("set", "none") for one in pictures(WHOLLY, capture, count, size)
    ]
    words = f"# {len(values)} blurred pictures: median {np.median(values):.2f}, {max(values):.2f} at most"
    return f"sharp = {np.quantile(values, KEPT):.2f} {words}"


def router_limit(file: Path, capture: str, count: int, size: int) -> str:
    """The table of a network."""
    values = [guard.blocks(one) for one in pictures(tuple(DATASETS), capture, count, size)]
    words = f"# {len(values)} pictures, capture {capture}, {min(values):.2f} to {max(values):.2f}"
    router = guard.router_hash(checkpoints.load(file).mlp_branch)
    return f'[{file.stem}]\nrouter = "{router}"\nlimit = {np.quantile(values, KEPT):.2f} {words}'


def main(words: list[str] | None = None) -> None:
    """Prints what is to be in ``guard.toml``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="FILE=CAPTURE", help="weights with a router, =set or =shared")
    parser.add_argument("--count", type=int, default=20, help="pictures of each kind of blur (20)")
    parser.add_argument("--size", type=int, default=384, help="their side in pixels (384)")
    args = parser.parse_args(words)
    print("# What inference/guard.py compares pictures with; measured on synthetic pictures of the validation split by")
    print(f"# scripts/guard_limits.py --count {args.count} --size {args.size}, whose head says how.\n")
    print(sharp_limit(args.count, args.size))
    for one in args.networks:
        file, _, capture = one.rpartition("=")
        print("\n" + router_limit(Path(file), capture, args.count, args.size))


if __name__ == "__main__":
    main()
