"""Above which blockiness a picture is unlike what a network was trained on, for inference/guard.toml.

    python scripts/router_limit.py lib/demoe/weights/demoe-cpu.safetensors [--capture set|shared]

Of synthetic pictures of the validation split, in which no photograph of training is, recorded as in training
(``--capture``), 99 % stay below the limit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from demoe.blur.job import Options
from demoe.core.tasks import DATASETS
from demoe.data.synthetic import synthetic
from demoe.inference.guard import blocks, router_hash
from demoe.models import checkpoints

KEPT = 0.99  # share of the pictures that the limit lets pass


def table(file: Path, capture: str, count: int, size: int) -> str:
    """The lines for ``guard.toml``."""
    router, values = checkpoints.load(file).mlp_branch, []
    for name in DATASETS:
        pairs = synthetic(name, "val", count, size, progress=False, options=Options(capture=capture))
        values += [blocks(pairs.pair(i)[0]) for i in range(count)]
    limit = float(np.quantile(values, KEPT))
    words = f"# {len(values)} pictures, capture {capture}, {min(values):.2f} to {max(values):.2f}"
    return f'[{file.stem}]\nrouter = "{router_hash(router)}"\nlimit = {limit:.2f} {words}\n'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="weights of a network with a router")
    parser.add_argument("--capture", choices=("set", "shared"), default="set", help="as its training pictures' (set)")
    parser.add_argument("--count", type=int, default=20, help="pictures of each kind of blur (20)")
    parser.add_argument("--size", type=int, default=512, help="their side in pixels (512)")
    args = parser.parse_args()
    print(table(args.file, args.capture, args.count, args.size))
