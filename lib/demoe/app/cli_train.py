"""``demoe train`` and ``demoe status``."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

from demoe import experiments
from demoe.core.files import project_root, published_dir
from demoe.data.setting import Setting
from demoe.experiments import status as kept
from demoe.related import experiments as guests
from demoe.related.terms import with_loss
from demoe.training import distributed

from . import cli_own_pairs, train_options


def train(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Trains what is asked for, or lists what can be."""
    if cli_own_pairs.asked_for(args):
        return cli_own_pairs.train(args, parser)
    for name in train_options.KEYS:
        if name not in ("loss", "seed") and getattr(args, name) is not None:
            parser.error(f"--{name.replace('_', '-')} is for pairs of your own: say --pairs DIR, or leave it out")
    if args.json and not args.list:
        parser.error("--json says how --list is printed: it goes with --list")
    if args.all and (args.experiment is not None or args.fresh or args.loss is not None):
        parser.error("--all trains every experiment: leave --experiment, --loss and --fresh out")
    if args.all and "LOCAL_RANK" in os.environ:
        parser.error("--all trains on one device: start it without torchrun")
    setting = Setting.of(args.profile, args.seed or 0, args.data_root, sharp_images=args.sharp_images)
    setting = replace(setting, start_seed=args.start_seed, anew=args.anew or setting.anew)
    if args.list:
        print(experiments.list_as_json(setting) if args.json else guests.listing(setting))
        return 0
    try:
        with distributed.processes():
            message = _train_all(setting, args.deadline) if args.all else _train_one(args, setting)
    except experiments.TimeUp as error:
        message = f"{error}; the same command goes on from there"
    if os.environ.get("RANK", "0") != "0":  # the first of several processes speaks for all
        return 0
    print(message)
    kept.write_status(setting)
    return 0


def _train_one(args: argparse.Namespace, setting: Setting) -> Path:
    spec = guests.named(args.experiment or "demoe", setting)
    if args.loss is not None:
        spec = with_loss(spec, args.loss, setting.profile.class_weight)
    return guests.obtain(spec, setting, args.deadline, fresh=args.fresh).weights


def _train_all(setting: Setting, deadline: float | None) -> str:
    planned, missing = experiments.plan(setting), experiments.missing(setting)
    for number, spec in enumerate(missing, 1):
        start = time.monotonic()
        experiments.obtain(spec, setting, deadline)
        print(f"trained {spec.label} in {time.monotonic() - start:.0f} s ({number} of {len(missing)})", flush=True)
    return f"all {len(planned)} networks are trained"


def status(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Writes the status of a profile and prints it; where another one is published, its path behind it."""
    setting = Setting.of(args.profile, args.seed, args.data_root, sharp_images=args.sharp_images)
    path = kept.write_status(setting)
    print(path.read_text(encoding="utf-8"), end="")
    shown = published_dir(setting.profile.name) / path.name
    if shown.is_file():
        print(f"\nWhat the published results come from: {shown.relative_to(project_root())}")
    return 0
