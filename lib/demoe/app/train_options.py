"""The options of ``demoe train`` for pairs of one's own; their values are checked where the configuration is."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """demoe train --pairs DIR --start demoe-cpu
demoe train --pairs DIR --start DeMoE.pt --learn expert defocus --steps 2000
demoe train --pairs DIR --start demoe-cpu --write-config train.toml
demoe train --experiment baseline --profile cpu --minutes 9"""
# Flags whose names are keys of the configuration (``experiments.own_training``), where nothing is said None.
KEYS = (
    "pairs",
    "start",
    "learn",
    "steps",
    "rate",
    "crop",
    "batch",
    "width",
    "loss",
    "seed",
    "held_out",
    "validate_every",
    "tensorboard",
    "accept_odd_pairs",
    "output",
)


def add_own_pairs(train: argparse.ArgumentParser) -> None:
    """The flags, in a group of their own."""
    own = train.add_argument_group(
        "pairs of your own",
        "DIR/blur and DIR/sharp hold pictures with equal names. Part of the pairs is held\n"
        "out and scored meanwhile; the best state is the result, in a folder with a model\n"
        "card, below results/own/runs/. Ctrl-C stops, the same command goes on.",
    )
    own.add_argument("--pairs", metavar="DIR", help="train on these")
    own.add_argument(
        "--start",
        metavar="WEIGHTS",
        help="fine-tune this network: a file (DeMoE or NAFNet, ours or released) or a packaged one's name, such as "
        "demoe-cpu (default: a NAFNet from random weights)",
    )
    own.add_argument(
        "--learn",
        nargs="+",
        metavar="PART",
        help="what learns: experts, expert NAME (one alone), decoder (default from a start that has experts) or all",
    )
    own.add_argument("--steps", type=int, metavar="N", help="length of the training (default 1000)")
    own.add_argument("--rate", type=float, metavar="R", help="learning rate (default 2e-4 from a start, else 1e-3)")
    own.add_argument("--crop", type=int, metavar="PIXELS", help="side of the crops (default 128)")
    own.add_argument("--batch", type=int, metavar="N", help="crops a step (default 8)")
    own.add_argument("--width", type=int, metavar="N", help="channels of a network without a start (default 32)")
    own.add_argument("--held-out", type=float, metavar="SHARE", help="of the pairs, to be watched (default 0.2)")
    own.add_argument(
        "--validate-every", type=int, metavar="N", help="steps between two looks at the held-out pairs (default 50)"
    )
    for name, text in (
        ("--tensorboard", "also write curves and pictures for TensorBoard (extra training)"),
        ("--accept-odd-pairs", "train although pairs look identical, exchanged, shifted or misaligned"),
    ):
        own.add_argument(name, action="store_true", default=None, help=text)
    own.add_argument("-o", "--output", metavar="DIR", help="the folder of the training")
    own.add_argument("--config", type=Path, metavar="FILE", help="TOML with these and more settings; flags override it")
    own.add_argument(
        "--write-config",
        type=Path,
        metavar="FILE",
        help="write such a file, commented, with what the flags say, and its JSON schema; and stop",
    )
