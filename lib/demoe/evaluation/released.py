"""The networks that come with the package, on blur made from photographs that their training has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from demoe.blur.folder import FolderCanvas, picture_mark
from demoe.blur.job import Options
from demoe.core.files import checksum
from demoe.core.profiles import Profile
from demoe.core.provenance import Stamp
from demoe.core.tasks import DATASETS, EXPERTS, expert_index
from demoe.data import aio_blur
from demoe.data.pairs import PairedSet
from demoe.data.real.roots import Roots
from demoe.data.setting import Setting
from demoe.data.synthetic import synthetic
from demoe.models import checkpoints
from demoe.models.pretrained import Release, releases

from . import benchmark, photo_sources, real_benchmark, statistics
from .methods import Method, blurred_input, network
from .router import router_view

INPUT, BASELINE, DEMOE, MANUAL, WRONG = "input", "baseline", "DeMoE k=1", "DeMoE manual", "average wrong expert"
SHOWN = (INPUT, BASELINE, DEMOE, MANUAL)  # of these the tables give means
COMPARED = ((BASELINE, INPUT), (DEMOE, INPUT), (MANUAL, INPUT), (DEMOE, BASELINE), (MANUAL, DEMOE), (MANUAL, WRONG))


def named(name: str | None = None) -> Release:
    """The release of this name, "demoe-cpu", or the best that comes with the package.

    Raises ``ValueError``, with the names that there are, for one that does not come with it."""
    found = {one.name: one for one in releases()}
    if name and name not in found:
        raise ValueError(f"no network {name} comes with the package: choose one of {', '.join(found)}")
    return found[name or next(iter(found))]


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
    """What ``COMPARED`` differ by on the same pictures, by ``statistics.with_and_without``, from ``with_choices``. A
    network that is not there is left out."""
    return statistics.with_and_without(scores, [pair for pair in COMPARED if set(pair) <= set(scores.method)], seed)


def measured(
    about: pd.DataFrame,
    models: Mapping[str, nn.Module],
    sets: Sequence[PairedSet],
    profile: Profile,
    mark: Stamp,
    device: str = "cpu",
) -> dict[str, pd.DataFrame]:
    """The tables of the released networks on ``sets``, a row a picture and method in "scores" (``with_choices``).

    Besides: "networks" (``about``), "summary" (``statistics.intervals``), "differences" (``released_differences``), and
    "routing", what DeMoE's router says of every picture."""
    pictures = about.pictures.iloc[0]
    made_of = {"files": about.sha256.to_dict(), "pictures": pictures, "size": [profile.test_images, profile.image_size]}
    scores, _ = benchmark.run("release", sets, released_methods(models), made_of, mark, device)
    scores = with_choices(scores.drop(columns=list(mark.columns())))
    return {
        "networks": about,
        "scores": scores,
        "summary": statistics.intervals(scores, mark.seed),
        "differences": released_differences(scores, mark.seed),
        "routing": router_view(models[DEMOE], sets, device).table,
    }


def laws(scores: pd.DataFrame) -> dict[str, bool]:
    """What holds of ``with_choices``' scores whatever the weights, in words, and whether it does.

    A manual choice is one of the five experts, and so is what the router chose (PSNR to 0.001 dB)."""
    psnr = scores.pivot_table(index=["set", "image"], columns="method", values="psnr")
    experts = psnr[list(EXPERTS)]
    return {
        "manual is one of the experts": all(experts.eq(psnr[MANUAL], axis=0).any(axis=1)),
        "the router's is one of the experts": all(experts.sub(psnr[DEMOE], axis=0).abs().min(axis=1) < 1e-3),
        "wrong and right together are all five": all(
            (4 * psnr[WRONG] + psnr[MANUAL] - experts.sum(axis=1)).abs() < 1e-3
        ),
    }


def examples(
    setting: Setting, release: Release, models: Mapping[str, nn.Module], device: str = "cpu"
) -> dict[str, list[tuple[str, Tensor]]]:
    """The first picture of each set, by the set's name, as ``benchmark.restored`` shows it: input, networks, sharp.

    Made from the bundled photographs, which anybody may be shown, where there are no real sets."""
    sets, _ = test_sets(replace(setting, profile=replace(setting.profile, test_images=1)), release)
    shown = {INPUT: blurred_input} | {name: network(one) for name, one in models.items()}
    return {pairs.name: benchmark.restored(pairs, pairs.keys[0], shown.items(), device, ", ") for pairs in sets}


def on_real(
    folder: str | Path,
    models: Mapping[str, nn.Module],
    about: pd.DataFrame,
    side: int | None = None,
    out: Path | None = None,
    device: str = "cpu",
) -> dict[str, pd.DataFrame]:
    """``real_benchmark.on_photographs`` of DeMoE and, where it came along, its baseline.

    ``folder`` has a ``sources.csv`` (errors as for ``photo_sources.read_sources``); ``out`` gets a row a photograph."""
    sources, config = photo_sources.read_sources(Path(folder)), {"sha256": about.sha256.iloc[0]}
    more = {"side": side, "folder": out, "device": device}
    return real_benchmark.on_photographs(sources, models[DEMOE], DEMOE, config, models.get(BASELINE), **more)
