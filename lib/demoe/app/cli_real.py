"""``demoe evaluate --real DIR`` and ``--counterfactual``: a network on real photographs, and whether its router sees
blur or cameras."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from torch import nn

from demoe import experiments
from demoe.core.files import write_text
from demoe.data.setting import Setting
from demoe.evaluation import counterfactual, metrics, photo_sources, real_benchmark
from demoe.evaluation.statistics import report
from demoe.models import checkpoints, published
from demoe.models.pretrained import releases

from . import arguments, hub, networks


def evaluate_real(args: argparse.Namespace, measured: Sequence[str]) -> int:
    """Prints what the network gains on the photographs of ``args.real``, what its router says, and what it does to
    sharp ones; ``--csv`` names a folder that gets the tables, and where an interrupted call goes on."""
    sources = photo_sources.read_sources(args.real)
    model, name, config, baseline = _network(args)
    device, bar = experiments.default_device(), arguments.bar(args)
    tables = real_benchmark.on_photographs(
        sources, model, name, config, baseline, measured, args.crop, args.csv, device, bar
    )
    for title, table in tables.items():
        print(f"\n{TITLES[title]}")
        means = table.rename(columns={"first": "method"})
        print(report(means) if title == "gains" else table.to_string(index=False, float_format="{:.2f}".format))
    for missing, error in metrics.missing([*measured, *real_benchmark.BLIND]).items():
        print(f"{missing} is missing: {error}")
    if args.csv:
        print(f"tables of every photograph: {args.csv}")
    return 0


TITLES = {
    "gains": "Over the untouched photograph, where a sharp one is known",
    "blind": "Without a sharp one: means by metrics that need none",
    "router": "The router's answers, by what is known of the blur",
    "harm": "Sharp photographs, as they are and spoilt but not blurred: dB over what went in, to the photograph itself",
}


def _network(args: argparse.Namespace) -> tuple[nn.Module, str, dict, nn.Module | None]:
    """The network of ``--weights``, else the one that comes with the package, beside the baseline of the latter."""
    device = experiments.default_device()
    if args.weights:
        loaded = published.load(hub.find(args.weights), device)
        return loaded.model, loaded.label, {"weights": loaded.sha256}, None
    path = networks.default_path()
    loaded = published.load(path, device)
    release = next((one for one in releases() if one.demoe == path), None)
    baseline = checkpoints.load(release.baseline, device) if release and release.baseline else None
    return loaded.model, release.name if release else loaded.label, {"weights": loaded.sha256}, baseline


def evaluate_counterfactual(args: argparse.Namespace, setting: Setting) -> int:
    """Prints how often the router is right on every blur through every camera, and what its choice depends on."""
    model, name, _, _ = _network(args)
    if getattr(model, "mlp_branch", None) is None:
        raise ValueError(f"{name} has no router, so that it cannot be asked whether it sees blur or cameras")
    profile = setting.profile
    count = min(profile.test_images, counterfactual.MOST)
    device, bar = experiments.default_device(), arguments.bar(args)
    seen = counterfactual.look({name: model}, count, profile.image_size, device=device, progress=bar)
    matrix = counterfactual.accuracies(seen.routing).pivot(index="blur", columns="capture", values="accuracy")
    matrix = matrix.loc[list(counterfactual.CAMERAS), list(counterfactual.COLUMNS)]
    print(f"{name}: share of right answers, {count} synthetic pictures a cell; blur down, camera or change across")
    print(matrix.T.rename_axis(None).rename_axis(None, axis=1).to_string(float_format="{:.2f}".format))
    found = counterfactual.information(seen.routing).iloc[0]
    print(
        f"of its choice ({found.choice:.2f} bits) the blur explains {found.blur_share:.0%}, the camera "
        f"{found.camera_share:.0%}; by chance {found.by_chance:.2f} bits"
    )
    if args.csv:
        write_text(args.csv, seen.routing.to_csv(index=False, float_format="%.5f", lineterminator="\n"))
    return 0
