"""``demoe frames``: a folder of numbered frames, or a video."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from demoe.core import images

from . import arguments, networks, photos, video
from .frames import JOURNAL, check_sizes, deblur_frames

GUARDED = {  # what was done to frames, by the reason not to follow the router
    "bright": "the router saw low light in a bright picture, which was left as it is",
    "sharp": "the picture was sharp already, and was left as it is",
    "brighter": "a bright picture would have come out brighter, and was left as it is",
    "unsure": "the router was unsure, and all experts took part, but for low light in bright pictures",
    "blocks": "blocks of JPEG that the network has not seen were restored by what harms least",
}


def frames(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Deblurs the frames and, with ``--video``, puts them together; 1 if any failed."""
    _check(args, parser)
    if args.video or args.input.is_file():
        video.require()  # before an hour's work
    if args.video and args.input.is_dir():
        check_sizes(args.input)
    described = video.describe(args.input) if args.input.is_file() else None
    if args.video and described and len(described.sizes) > 1:
        sizes = " and ".join(f"{width}x{height}" for width, height in described.sizes)
        parser.error(f"{args.input} has frames of different sizes, of which no video can be made: {sizes}")
    lost = [*described.lost] if described else []
    sound = _sound(args, described)
    if described and described.sound and not sound:
        lost.append(f"its sound ({described.sound}{_silence(args, described)})")
    for phrase in lost:
        _tell(args, f"  not kept: {phrase}")
    model = networks.default_model(args.weights, args.device)
    if why := networks.unfit(model, args.expert, args.k, max_memory=args.max_memory):
        parser.error(why)
    done = deblur_frames(
        args.input,
        args.output,
        model=model,
        expert=args.expert,
        k=args.k,
        max_memory=args.max_memory,
        guard=not args.no_guard,
        smooth=args.smooth,
        overwrite=args.overwrite,
        progress=arguments.bar(args),
        tell=arguments.complain,
    )
    shares = ", ".join(f"{name} {count}" for name, count in done.experts.most_common())
    made = f"{done.made} frames deblurred, {done.kept} kept, {len(done.failed)} failed"
    _tell(args, f"{args.input} -> {args.output}  {made}")
    for note, count in done.notes.most_common():
        _tell(args, f"  {note} (in {count} frames)")
    if shares:
        _tell(args, f"  experts: {shares}; {done.switches} switches ({done.alone} had each frame decided alone)")
    for reason, count in done.guarded.most_common():
        _tell(args, f"  in {count} frames {GUARDED[reason]} (--no-guard follows the router)")
    _tell(args, f"  decisions: {args.output / JOURNAL}" + (f"; warnings on {done.warned} frames" * bool(done.warned)))
    if args.video and done.failed:
        arguments.complain(f"{args.video} was not written: frames are missing")
    elif args.video:
        rate, flattened = args.fps or (described.rate if described else 25), set()
        padded = video.write_video(args.video, _pictures(done.files, flattened), rate, sound, args.overwrite)
        heard = "with its sound" if sound else "without sound"
        odd = "; one pixel more at odd sides, which H.264 cannot have" if padded else ""
        _tell(args, f"  video: {args.video}, {float(rate):g} frames a second, {heard}{odd}")
        if flattened:
            _tell(args, f"  not kept in the video: {', '.join(sorted(flattened))}")
        lost += sorted(flattened)
    if args.json:
        names = ("made", "kept", "failed", "experts", "switches", "guarded", "warned")
        facts = {name: getattr(done, name) for name in names}
        written = args.video if args.video and not done.failed else None
        arguments.print_json(
            {"input": args.input, "output": args.output}
            | facts
            | {"video": written, "sound": bool(sound), "lost": lost}
        )
    return 1 if done.failed else 0


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses what makes no sense before anything is done."""
    if not 0 <= args.smooth < 1:
        parser.error("--smooth is at least 0 and below 1")
    if args.fps and not args.video:
        parser.error("--fps is for the video that --video FILE makes")
    if args.video and args.video.exists() and args.input.exists() and args.video.samefile(args.input):
        parser.error(f"--video {args.video} is the input itself, which is never replaced; choose another name")
    if args.video and args.video.exists() and not args.overwrite:
        parser.error(f"{args.video} exists already; use --overwrite or choose another --video")
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


def _sound(args: argparse.Namespace, described: video.Description | None) -> Path | None:
    """The file whose sound the video gets."""
    fits = args.video and described and described.sound and args.fps in (None, described.rate)
    return args.input if fits and video.takes_sound(args.video, described.sound) else None


def _silence(args: argparse.Namespace, described: video.Description) -> str:
    """Why there is no sound in what is written, behind the name of its codec."""
    if not args.video:
        return ": frames have none"
    if args.fps not in (None, described.rate):
        return ": --fps changes how long it would be"
    return f": it does not go into {args.video.suffix}"


def _tell(args: argparse.Namespace, text: str) -> None:
    if not arguments.silent(args):
        print(text, flush=True)


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
