"""``demoe frames``: a folder of numbered frames, or a video."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from demoe.core import images

from . import arguments, photos, video
from .frames import JOURNAL, check_sizes, deblur_frames


def frames(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Deblurs the frames and, with ``--video``, puts them together; 1 if any failed."""
    if not 0 <= args.smooth < 1:
        parser.error("--smooth is at least 0 and below 1")
    if args.video and args.video.exists():
        parser.error(f"{args.video} exists already; choose another --video")
    if args.output.exists() and not args.output.is_dir():
        parser.error(f"-o needs a folder, and {args.output} is a file")
    if not args.output.exists() and args.output.suffix.lower() in (*images.READABLE, *video.SUFFIXES):
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
        check_sizes(args.input)
    described = video.describe(args.input) if args.input.is_file() else None
    if args.video and described and len(described.sizes) > 1:
        sizes = " and ".join(f"{width}x{height}" for width, height in described.sizes)
        parser.error(f"{args.input} has frames of different sizes, of which no video can be made: {sizes}")
    for phrase in described.lost if described else ():
        print(f"  not kept: {phrase}", flush=True)
    done = deblur_frames(
        args.input,
        args.output,
        model=photos.default_model(args.weights, args.device),
        expert=args.expert,
        k=args.k,
        max_memory=args.max_memory,
        smooth=args.smooth,
        progress=sys.stderr.isatty(),
        tell=arguments.complain,
    )
    shares = ", ".join(f"{name} {count}" for name, count in done.experts.most_common())
    print(f"{args.input} -> {args.output}  {done.made} frames deblurred, {done.kept} kept, {len(done.failed)} failed")
    for note, count in done.notes.most_common():
        print(f"  {note} (in {count} frames)")
    if shares:
        print(f"  experts: {shares}; {done.switches} switches ({done.alone} had each frame decided alone)")
    print(f"  decisions: {args.output / JOURNAL}" + (f"; warnings on {done.warned} frames" * bool(done.warned)))
    if args.video and done.failed:
        arguments.complain(f"{args.video} was not written: frames are missing")
    elif args.video:
        rate = args.fps or (described.rate if described else 25)
        lost: set[str] = set()
        padded = video.write_video(args.video, _pictures(done.files, lost), rate)
        print(
            f"  video: {args.video}, {float(rate):g} frames a second, without sound"
            + ("; one pixel more at odd sides, which H.264 cannot have" if padded else "")
        )
        if lost:
            print(f"  not kept in the video: {', '.join(sorted(lost))}")
    return 1 if done.failed else 0


def _pictures(files: list[Path], lost: set[str]) -> Iterator[np.ndarray]:
    """The frames at 8 bits; adds to ``lost`` what a video does not have of them."""
    for file in files:
        photograph = images.read_photograph(file)
        has = {
            "transparency": photograph.alpha is not None,
            "16 bits a sample": photograph.bit_depth > 8,
            "colour profiles": photograph.metadata.icc_profile is not None,
        }
        lost |= {name for name, there in has.items() if there}
        yield photos.eight_bit(photograph.pixels)
