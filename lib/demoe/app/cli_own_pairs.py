"""``demoe train --pairs``: a network trained, or trained on, with pairs of one's own."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from demoe.data.own_pairs import complaints, own_pairs
from demoe.data.pairs import PairedSet
from demoe.experiments import fine_tuning
from demoe.experiments.fine_tuning import Stopped, Tuned
from demoe.experiments.own_card import command
from demoe.experiments.own_training import OwnTraining, configured, write_config
from demoe.experiments.watching import BEST, summary_writer
from demoe.related import terms
from demoe.training import distributed

from . import hub
from .train_options import KEYS

ODD = ("identical", "roles", "shift", "misaligned")  # kinds of problems that make a training useless
NOT_FOR_PAIRS = ("experiment", "all", "list", "json", "profile", "data_root", "sharp_images", "start_seed", "anew")


def asked_for(args: argparse.Namespace) -> bool:
    """Whether the options of ``demoe train`` are about pairs of one's own."""
    return any(value not in (None, False) for value in (args.pairs, args.config, args.write_config, args.start))


def train(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Trains on the pairs, or writes a configuration. Returns the exit status."""
    if wrong := [name for name in NOT_FOR_PAIRS if getattr(args, name) not in (None, False)]:
        flag = f"--{wrong[0].replace('_', '-')}"
        parser.error(f"{flag} is for the paper's experiments: leave it out where pairs of your own are trained on")
    flags = {key: value for key in KEYS if (value := getattr(args, key)) is not None}
    if "learn" in flags:
        flags["learn"] = " ".join(flags["learn"])
    try:
        config = configured(args.config, flags)
        if "class" in dict(terms.parse(config.loss)):
            raise ValueError("pairs of your own say nothing of the kind of their blur: leave class out of the loss")
    except ValueError as error:
        parser.error(str(error))
    if args.write_config:
        write_config(config, args.write_config)
        print(f"{args.write_config}: edit it, then demoe train --config {args.write_config}")
        return 0
    if not config.pairs:
        parser.error("no pairs are named: --pairs DIR, with DIR/blur and DIR/sharp")
    if config.tensorboard:
        summary_writer()
    with distributed.processes():
        return _train(args, config)


def _train(args: argparse.Namespace, config: OwnTraining) -> int:
    first = distributed.rank() == 0
    start = hub.find(config.start) if config.start else None
    pairs = own_pairs(Path(config.pairs))
    _look_at(pairs, config, first)
    loss = dict(terms.parse(config.loss))
    known, sources = terms.terms(loss), terms.sources(loss)
    try:
        tuned = fine_tuning.fine_tuned(config, pairs, start, args.deadline, loss, known, sources, args.fresh, first)
    except Stopped as stopped:
        if first:
            print(f"{stopped}; the same command goes on from there")
            if (stopped.folder / BEST).is_file():
                print(f"the best so far:\n{command(stopped.folder / BEST, _one_expert(config))}")
        return 0
    if first:
        _tell(tuned)
    return 0


def _look_at(pairs: PairedSet, config: OwnTraining, aloud: bool) -> None:
    """Says what is odd about the pairs. Raises ``ValueError`` where it keeps from training on them."""
    found = complaints(pairs, config.crop, progress=aloud and sys.stderr.isatty())
    for problem in found:
        if problem.level == "error":
            raise ValueError(f"{pairs.name}: {problem.sentence}")
        if aloud:
            print(f"demoe: {pairs.name}: {problem.sentence}", file=sys.stderr)
    if any(problem.kind in ODD for problem in found) and not config.accept_odd_pairs:
        raise ValueError(
            f"{pairs.name}: nothing was trained: put these pairs right or take them out, or say --accept-odd-pairs"
        )


def _one_expert(config: OwnTraining) -> str | None:
    return None if config.learn in (None, "all", "decoder", "experts") else config.learn


def _tell(tuned: Tuned) -> None:
    scores = tuned.scores
    if scores.rows:
        best, start = scores.best(), scores.steps()[0]
        print(f"at the start: {scores.line(start)}")
        print(f"the result, after {best} steps: {scores.line(best)}")
        if best == start:
            print("nothing was better than the start, which is the result: try another rate, more steps or more pairs")
    print(f"{os.path.relpath(tuned.weights)}, with a model card, README.md, beside it")
    print(command(Path(os.path.relpath(tuned.weights)), tuned.expert))
