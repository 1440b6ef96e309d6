"""The networks that come with the package, on blur made from photographs that their training has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
from torch import nn

from demoe.blur.folder import FolderCanvas, picture_mark
from demoe.blur.job import Options
from demoe.core.files import checksum
from demoe.core.tasks import DATASETS, EXPERTS, expert_index
from demoe.data import aio_blur
from demoe.data.pairs import PairedSet
from demoe.data.real.roots import Roots
from demoe.data.setting import Setting
from demoe.data.synthetic import synthetic
from demoe.models import checkpoints
from demoe.models.pretrained import Release

from . import statistics
from .methods import Method, blurred_input, network

INPUT, BASELINE, DEMOE, MANUAL, WRONG = "input", "baseline", "DeMoE k=1", "DeMoE manual", "average wrong expert"
SHOWN = (INPUT, BASELINE, DEMOE, MANUAL)  # of these the tables give means
COMPARED = ((BASELINE, INPUT), (DEMOE, INPUT), (MANUAL, INPUT), (DEMOE, BASELINE), (MANUAL, DEMOE), (MANUAL, WRONG))


def networks(release: Release, device: str = "cpu") -> dict[str, nn.Module]:
    """DeMoE, and its baseline where it comes along, by their names in the tables."""
    found = {DEMOE: checkpoints.load(release.demoe, device)}
    return found if release.baseline is None else {BASELINE: checkpoints.load(release.baseline, device)} | found


def about(release: Release, models: Mapping[str, nn.Module], pictures: str) -> pd.DataFrame:
    """Which files were measured on what. Columns: network, release, file, sha256, width, params, run, pictures."""
    rows = []
    for name, file in ((DEMOE, release.demoe), (BASELINE, release.baseline)):
        if name in models:
            size = models[name].config.width, sum(p.numel() for p in models[name].parameters())
            run = checkpoints.provenance(file).get("config", "")
            rows.append((name, release.name, file.name, checksum(file), *size, run, pictures))
    columns = ["network", "release", "file", "sha256", "width", "params", "run", "pictures"]
    return pd.DataFrame(rows, columns=columns)


def test_sets(setting: Setting, release: Release, held_out: str | Path | None = None) -> tuple[list[PairedSet], str]:
    """The five test sets and, in words, the photographs that they are made from.

    ``held_out`` is a folder of sharp photographs, all of which are used (BSDS500's validation pictures, for a network
    that has seen its training pictures). Without it the test sets are those of every notebook: the real ones, or
    made from the bundled photographs that no training of this project sees. Raises ``ValueError`` for a folder that
    the network was trained on and, where its file notes what it has seen, for one that holds some of that: pictures
    of the same name and size.
    """
    if held_out is None:
        plain = setting if setting.roots else replace(setting, roots=Roots())
        words = "real pictures" if setting.roots else "the bundled photographs that are kept for tests"
        return aio_blur.aio_blur(plain, "test"), words
    canvas = FolderCanvas(held_out)
    origin = checkpoints.provenance(release.demoe)
    if canvas.identity == origin.get("training", {}).get("source", ""):
        raise ValueError(f"{held_out} holds the photographs that {release.name} was trained on: give others")
    names = sorted(name for split in canvas.splits.values() for name in split)
    noted = origin.get("release", {}).get("pictures")
    if known := [name for name in names if picture_mark(canvas.folder / name) in (noted or ())]:
        raise ValueError(
            f"{held_out} holds {len(known)} pictures that {release.name} was trained on, {known[0]} for "
            "one: give others"
        )
    canvas.splits = dict.fromkeys(canvas.splits, names)  # none of them is for training here
    size, kept = (setting.profile.test_images, setting.profile.image_size), (setting.cache, setting.progress)
    source = Options(canvas=canvas), f"{canvas.identity}-all"
    sets = [synthetic(name, "test", *size, 0, *kept, *source) for name in DATASETS]
    which = "that training has not seen" if noted else "of another folder than that of training"
    return sets, f"{len(names)} photographs {which} ({canvas.identity})"


def released_methods(models: Mapping[str, nn.Module]) -> dict[str, Method]:
    """The input, the networks, and DeMoE with each expert chosen by hand."""
    experts = {name: network(models[DEMOE], expert=name) for name in EXPERTS}
    return {INPUT: blurred_input, **{name: network(model) for name, model in models.items()}, **experts}


def with_choices(scores: pd.DataFrame) -> pd.DataFrame:
    """``scores`` of ``released_methods``, with rows for DeMoE with the expert of the set's own blur, and for the mean
    over the four others."""
    metrics = statistics.metric_columns(scores)
    own = scores["set"].map(lambda name: EXPERTS[expert_index(name)])
    by_an_expert = scores.method.isin(EXPERTS)
    right, others = scores[by_an_expert & (scores.method == own)], scores[by_an_expert & (scores.method != own)]
    means = others.groupby(["set", "image"], sort=False)[metrics].mean()
    wrong = right.drop(columns=metrics).merge(means, on=["set", "image"])[scores.columns]
    return pd.concat([scores, right.assign(method=MANUAL), wrong.assign(method=WRONG)], ignore_index=True)


def released_differences(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """What ``COMPARED`` differ by on the same pictures (``statistics.differences``), from ``with_choices``. A network
    that is not there is left out."""
    return statistics.differences(scores, [pair for pair in COMPARED if set(pair) <= set(scores.method)], seed)
