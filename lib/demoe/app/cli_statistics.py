"""``demoe data statistics``: what the cameras of synthetic pairs leave in them, beside what is in one's photographs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm.auto import tqdm

from demoe.blur.job import Options
from demoe.blur.sets import synthesize
from demoe.core import images
from demoe.core.files import write_text
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.evaluation import capture_statistics


def statistics(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints medians a set; a folder's pictures by the folders in it."""
    options = Options()
    if args.sharp_images:
        options = Options(canvas=aio_blur.sharp_photographs(Path(args.sharp_images)))
    rows = capture_statistics.table([*_synthetic(args, options), *_photographs(args)])
    print(capture_statistics.medians(rows).to_string(index=False, float_format="{:.2f}".format))
    if args.csv:
        write_text(Path(args.csv), rows.round(6).to_csv(index=False, lineterminator="\n"))
    return 0


def _synthetic(args: argparse.Namespace, options: Options) -> Iterator[tuple[str, torch.Tensor]]:
    todo = [(capture, name, i) for capture in args.capture for name in DATASETS for i in range(args.count)]
    for capture, name, i in tqdm(todo, desc="making pairs", leave=False, disable=not sys.stderr.isatty()):
        chosen = Options(capture=capture, canvas=options.canvas)
        pair = synthesize(name, "train", i, size=args.size, seed=args.seed, options=chosen)
        yield f"{name}-syn, capture {capture}", pair.blurred


def _photographs(args: argparse.Namespace) -> Iterator[tuple[str, torch.Tensor]]:
    """The middle of each photograph, where it is as large; its corner lies on the grid of 8 pixels that JPEG has."""
    for folder in map(Path, args.folders):
        for file in images.list_photographs(folder):
            pixels = images.read_photograph(file).pixels  # (3,H,W)
            top, left = (max(0, side - args.size) // 16 * 8 for side in pixels.shape[1:])
            crop = pixels[:, top : top + args.size, left : left + args.size]
            if min(crop.shape[1:]) >= 32:
                yield file.parent.as_posix(), crop
