"""``demoe evaluate``: a trained network on the test sets, or anyone's pictures beside sharp ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from demoe import experiments
from demoe.core import images, provenance
from demoe.data import aio_blur, pairs
from demoe.data.setting import Setting
from demoe.evaluation import metrics, real_benchmark
from demoe.evaluation.benchmark import score
from demoe.evaluation.methods import blurred_input, methods, network
from demoe.evaluation.router import router_view
from demoe.evaluation.statistics import intervals, report, shown, summarise
from demoe.models import published
from demoe.models.outputs import experts_of
from demoe.models.pretrained import releases
from demoe.related import experiments as guests
from demoe.related.terms import identified
from demoe.report import tables

from . import arguments, cli_real, hub

SHOWN = 30  # pictures printed one by one


def evaluate(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Scores the two folders, or else the network, that are named."""
    measured = args.metrics + (["aligned"] if args.aligned and "aligned" not in args.metrics else [])
    try:
        metrics.columns(measured)  # an unknown one is refused before anything is trained
    except ValueError as error:
        parser.error(str(error))
    if args.folders:
        if len(args.folders) != 2 or args.weights or args.experiment or args.save_images:
            parser.error("give PRED_DIR and GT_DIR alone, without a network or --save-images")
        return evaluate_folders(*args.folders, measured, args.csv, args.no_resume, arguments.bar(args), args.json)
    if args.real and (args.counterfactual or args.experiment):
        parser.error("give --real with --weights, or alone: it takes the network that comes with the package")
    if args.real:
        asked = measured if args.metrics != list(metrics.DEFAULT) or args.aligned else real_benchmark.MEASURED
        return cli_real.evaluate_real(args, asked)
    setting = Setting.of(args.profile, args.seed, args.data_root, sharp_images=args.sharp_images)
    if args.counterfactual:
        return cli_real.evaluate_counterfactual(args, setting)
    return evaluate_network(args, setting, measured)


def evaluate_network(args: argparse.Namespace, setting: Setting, measured: Sequence[str]) -> int:
    """Prints the metrics a set and the router's accuracy; ``--csv`` gets a row a picture.

    The network is that of ``--weights`` (ours or others', ``published.load``), or the experiment's, which must have
    been trained. With ``--csv``, an interrupted call is continued unless ``--no-resume``. Returns the exit status: 1
    if a metric has no value for any picture.
    """
    device = experiments.default_device()
    if args.weights:
        loaded = published.load(hub.find(args.weights), device)
        model, name, config = loaded.model, loaded.label, {"weights": loaded.sha256}
    else:
        spec = guests.named(args.experiment or "demoe", setting)
        _need(spec, args.data_root, setting)
        run = guests.obtain(spec, setting)
        model, name, config = run.model, "network", {"training": run.spec.configuration()}
    # A DeMoE of ours is shown beside the baseline that it was made from; a file's has none that we know.
    known = experts_of(model) and not args.weights
    baseline = None
    if known:
        _need(experiments.named("baseline", setting), args.data_root, setting)
        baseline = experiments.obtain(experiments.named("baseline", setting), setting).model
    sets = aio_blur.aio_blur(setting, "test")
    plain = {"input": blurred_input, name: network(model, tile=args.tile)}
    scores = score(
        sets,
        methods(baseline, model, tile=args.tile) if experts_of(model) else plain,
        device,
        measured=measured,
        file=args.csv,
        config=config | {"tile": args.tile},
        mark=provenance.stamp(setting.profile.name, aio_blur.kind(sets), setting.seed),
        pictures=args.save_images,
        fresh=args.no_resume,
    )
    if args.json:
        arguments.print_json(_records(intervals(scores, setting.seed)))
    elif tuple(measured) == metrics.DEFAULT:
        print(f"{tables.PSNR_AND_SSIM}, {aio_blur.kind(sets)} data, profile {setting.profile.name}")
        print(tables.by_set(summarise(scores)).to_string())
    else:
        print(f"{aio_blur.kind(sets)} data, profile {setting.profile.name}")
        print(report(intervals(scores, setting.seed)))
        for name, error in metrics.missing(measured).items():
            print(f"{name} is missing: {error}")
    if getattr(model, "mlp_branch", None) is not None and not args.json:
        print(f"router accuracy: {router_view(model, sets, device).table.correct.mean():.3f}")
    if args.save_images and not args.json:
        print(f"restored pictures: {args.save_images}")
    if args.csv and not args.json:
        print(f"scores of every picture: {args.csv}")
    return _status(scores, measured)


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of a table of means, for programs."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _status(scores: pd.DataFrame, measured: Sequence[str]) -> int:
    """1, and a line on stderr, if a metric that was asked for has no value for any picture."""
    nothing = [name for name in measured if scores[metrics.columns([name])].isna().all(axis=None)]
    if nothing:
        arguments.complain(f"nothing was scored by {', '.join(nothing)}")
    return 1 if nothing else 0


def _need(spec: experiments.Spec, data_root: str | None, setting: Setting) -> None:
    """Raises ``ValueError`` with what to do unless ``spec`` is trained: a score is asked for, not hours of training."""
    if not experiments.trained(identified(spec), setting):
        asked = [f"--profile {setting.profile.name}", *([f"--seed {setting.seed}"] if setting.seed else [])]
        asked += [f"--data-root {data_root}"] if data_root else []
        asked += [f"--sharp-images {setting.roots.sharp_images}"] if setting.roots.sharp_images else []
        ready = f", as the packaged {releases()[0].demoe}" if releases() else ""
        raise ValueError(
            f"{spec.name} is not trained here in profile {setting.profile.name}, with this code and these data: `demoe "
            f"train --experiment {spec.name} {' '.join(asked)}` trains it; or name a network with --weights{ready}"
        )


def evaluate_folders(
    predictions: Path,
    references: Path,
    measured: Sequence[str] = metrics.DEFAULT,
    csv: Path | None = None,
    fresh: bool = False,
    progress: bool = True,
    as_json: bool = False,
) -> int:
    """Prints the metrics of every picture (of up to 30) and their means; ``csv`` gets a row a picture.

    Pictures have equal names below both folders (suffixes may differ); files of 16 bits are read by their upper 8. With
    ``csv``, an interrupted call is continued unless ``fresh`` or a picture has changed. Returns the exit status: 1 if a
    metric has no value for any picture, which is said. Raises ``ValueError`` for an unknown metric and naming a picture
    without a partner, a pair of different sizes or a file that is no picture; ``FileNotFoundError`` for a missing or
    empty folder.
    """
    names = metrics.columns(measured)
    paired = pairs.folder(references.resolve().name or str(references), predictions, references)
    for i in range(len(paired)):
        paired.read(i, (0, 0, 1, 1))  # one of different sizes, or damaged, is refused before any is scored
    files = [file for folder in (predictions, references) for file in images.list_photographs(folder)]
    state = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    method = {predictions.resolve().name or str(predictions): blurred_input}
    settings = {"measured": measured, "file": csv, "config": {"files": state}, "fresh": fresh}
    scores = score([paired], method, progress=progress, **settings)
    means = intervals(scores)  # what the pictures show is not known: each is a scene of its own unless in a folder
    if as_json:
        arguments.print_json(_records(means[means["set"] != "Average"]))
        return _status(scores, measured)
    if len(scores) <= SHOWN:
        cells = {column: [shown(value) for value in scores[column]] for column in names}
        print(scores[["image"]].assign(**cells).rename(columns=metrics.LABELS).to_string(index=False), end="\n\n")
    print(report(means[means["set"] != "Average"]))
    for reason in dict.fromkeys(reason for cell in scores["missing"] for reason in cell.split("; ") if reason):
        print(f"{reason} ({sum(reason in cell.split('; ') for cell in scores['missing'])} pictures)")
    for name, error in metrics.missing(measured).items():
        print(f"{name}: {error}")
    if csv:
        print(f"scores of every picture: {csv}")
    return _status(scores, measured)
