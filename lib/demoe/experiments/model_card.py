"""The model card of the networks that come with the package: every number is read from their files or from a CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from demoe.blur.folder import BUNDLED
from demoe.core.files import checksum, project_root
from demoe.models import checkpoints
from demoe.models.pretrained import PACKAGED, RELEASES, Release, releases

from .release import PHOTOGRAPHS
from .status import duration

PAPER_CROPS, PAPER_PATCH, PAPER_WIDTH = 2 * 250_400 * 32, 384, 32  # Section 3.4 and Appendix C
SHARE = {0.25: "a quarter"}.get(BUNDLED, f"{BUNDLED:.0%}")
OWN = "the training photographs that scikit-image, scikit-learn and matplotlib ship"


def card(folder: Path = PACKAGED) -> str:
    """``weights/README.md``: a section for each network in ``folder``, the default first."""
    found = releases(folder)
    lines = [
        "# Model cards",
        "",
        "The networks that come with the package; written by "
        "`python scripts/package_weights.py`. Commit, hardware, versions and the whole configuration are in each "
        "file (`demoe.models.checkpoints.provenance(path)`).",
        "",
    ]
    for place, release in enumerate(found):
        lines += [*_section(release, place == 0), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(release: Release, default: bool) -> list[str]:
    origin = checkpoints.provenance(release.demoe)
    training, record = origin["training"], origin["release"]
    model = checkpoints.load(release.demoe)
    count = sum(parameter.numel() for parameter in model.parameters())
    use = "What `demoe deblur` uses when it is given no weights. " if default else "Not the default. "
    size = f"{release.demoe.stat().st_size / 2**20:.1f} MiB"
    beside = " The baseline that it was made from is beside it." if release.baseline else ""
    return [
        f"## {release.name}",
        "",
        f"{use}DeMoE, {RELEASES[release.profile]}.",
        "",
        f"- **What it is**: width {model.config.width} (the paper's network has width {PAPER_WIDTH}), "
        f"{count / 1e6:.2f} M parameters in half precision, {size}.{beside}",
        f"- **Trained on**: {_data(training, record)}",
        *_recipe(training, record),
        *_measured(release),
        *_limits(record),
        f"- **Licence**: MIT, as the code.{_terms(record)} Credits of the bundled photographs (one is CC BY 2.0) are "
        "in `lib/demoe/blur/sources.py`.",
        f"- **Origin**: commit `{origin['commit']}`, configuration `{origin['config']}`, seed {origin['seed']}, "
        f"{origin['hardware']}.",
    ]


def _data(training: dict, record: dict) -> str:
    side = training.get("image_size")
    pairs = (
        "synthetic pairs made anew at every step"
        if training.get("fresh")
        else (
            f"{5 * training['train_images']} synthetic pairs of {side}x{side} pixels (five kinds of blur, "
            f"{training['train_images']} each)"
        )
    )
    known = PHOTOGRAPHS.get(record.get("photographs", ""))
    if known:
        return (
            f"{pairs}, of crops from {known.what}; {SHARE} of the crops from bundled photographs and dead leaves "
            f"({OWN}, and dead-leaves scenes coloured by them)."
        )
    return f"{pairs}, made from {OWN}, and from dead-leaves scenes coloured by them."


def _recipe(training: dict, record: dict) -> list[str]:
    average = f", weights averaged (decay {training['average']:g})" if training.get("average") else ""
    precision = training.get("precision") or "bfloat16 on a GPU, float32 on a CPU"
    line = (
        f"- **Recipe**: AdamW, learning rate {training['learning_rate']:g} to {training['min_learning_rate']:g} by "
        f"cosine, L1 and {_class_weight(training):g} times the router's cross-entropy in stage 1; L1 in stage 2, "
        f"encoder and router frozen; {precision}{average}."
    )
    rows = [
        "",
        "  | stage | steps | crops | batch | time | images/s | waiting for data | hardware |",
        "  | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, one in enumerate(record["stages"], 1):
        seconds = max(one["seconds"], 1)
        rows.append(
            f"  | {number} | {one['steps']} | {one['patch']} px | {one['batch']} | {duration(one['seconds'])} "
            f"| {one['images'] / seconds:.1f} | {one['waited'] / seconds:.1%} | {one['hardware']} |"
        )
    return [line, *rows, ""]


def _class_weight(training: dict) -> float:
    """The weight of the router's loss in stage 1; older files have it beside the numbers of stage 2."""
    start = training.get("starts_from")
    return start["loss"]["class"] if start else training["class_weight"]


def _measured(release: Release) -> list[str]:
    """What notebook 10 measured of this very file."""
    folder = _tables(release)
    if folder is None:
        return ["- **What it can do**: not measured yet; notebook `10` does it."]
    summary, routing = pd.read_csv(folder / "10_summary.csv"), pd.read_csv(folder / "10_routing.csv")
    psnr = summary[summary.metric == "psnr"].pivot(index="set", columns="method", values="mean")
    psnr = psnr.loc[list(dict.fromkeys(summary["set"]))]
    shown = [name for name in ("input", "baseline", "DeMoE k=1", "DeMoE manual") if name in psnr]
    about = pd.read_csv(folder / "10_networks.csv").iloc[0]
    rows = ["", f"  | PSNR (dB) | {' | '.join(shown)} |", f"  |{' --- |' * (len(shown) + 1)}"]
    rows += [f"  | {name} | {' | '.join(f'{psnr.loc[name, one]:.2f}' for one in shown)} |" for name in psnr.index]
    right = routing.correct.dropna().astype(bool).mean()
    return [
        f"- **What it can do** (notebook `10`, {len(routing)} {summary['data'].iloc[0]} test pictures made from "
        f"{about['pictures']}; profile {summary.profile.iloc[0]}, commit "
        f"`{summary.commit.iloc[0]}`): the router names {right:.1%} of the blurs.",
        *rows,
        "",
    ]


def _tables(release: Release) -> Path | None:
    """The folder of tables that were made with this file, the profile's own first; never those of the profile test,
    which are not committed."""
    found = [file for file in (project_root() / "results").glob("*/tables/10_networks.csv") if file.parts[-3] != "test"]
    found.sort(key=lambda file: (file.parts[-3] != release.profile, file.parts[-3]))
    wanted = checksum(release.demoe)
    return next((file.parent for file in found if wanted in set(pd.read_csv(file)["sha256"])), None)


def _limits(record: dict) -> list[str]:
    seen = sum(stage["images"] for stage in record["stages"])
    sides = sorted({stage["patch"] for stage in record["stages"]})
    return [
        f"- **What it cannot do**: reach the paper's numbers. It saw {seen / 1e6:.2f} million crops of "
        f"{' and '.join(map(str, sides))} pixels (the paper: {PAPER_CROPS / 1e6:.1f} million of {PAPER_PATCH}), "
        "and synthetic blur alone: real blur differs, strong blur stays, and nothing is made up that is not there. "
        "Look at what it does to your photographs, or use the authors' release (`--weights DeMoE.pt`)."
    ]


def _terms(record: dict) -> str:
    known = PHOTOGRAPHS.get(record.get("photographs", ""))
    return f" {known.terms}." if known else ""
