"""The methods of the comparison (Tables 1 and 3): DeMoE, its baseline, DeMoE*, and the networks of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from demoe.core import provenance
from demoe.core.profiles import Profile, trained_from
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.evaluation import benchmark, expert_choice
from demoe.evaluation.comparison import AS_LONG
from demoe.evaluation.methods import EQUAL, FOREIGN, INPUT, LONGER, TASK, Compared, Made, blurred_input
from demoe.evaluation.methods import network as as_method
from demoe.models import comparators, published
from demoe.models.demoe import DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training.stages import demoe_from_baseline

from .runs import Run, default_device, obtain
from .spec import COMPARATORS, not_installed, specs

SHORT = " (short)"  # behind the name of a network that was trained for the ablations' length


def absent(profile: Profile) -> dict[str, str]:
    """Which networks of equal length are no rows of a profile's tables, and why: not installed, or left out at this
    size. ``COMPARATORS``, and the NAFNet and DeMoE that are as short as these."""
    experiments = {name: f"comparator-{name.lower()}" for name in COMPARATORS}
    experiments |= dict.fromkeys(("NAFNet", "DeMoE"), "ablation-short-start")
    late = {name: one for name, one in experiments.items() if one in profile.leaves_out}
    return not_installed() | {name: f"from profile {trained_from(one)} on" for name, one in late.items()}


def compared(setting: Setting, weights: Sequence[str | Path] = (), tile: int | None = None) -> list[Compared]:
    """All methods of notebook 05, trained if need be: the networks of Table 1 at equal length, the longer trained
    baseline and DeMoE with k = 1 to 5, the baseline trained on for as long as DeMoE, DeMoE* on the set it was tuned
    for, and the networks in the files ``weights``.

    ``absent`` comparators are left out, and what the profile leaves out. ``tile`` is that of ``methods.network``.
    """
    profile, known = setting.profile, specs(setting)
    size = "" if profile.width == comparators.PUBLISHED_FROM else f" (width {profile.width})"
    short, long = f"{profile.ablation_steps} steps", f"{profile.stage1_steps} steps"
    found = [Compared("input", "blurred input", INPUT, "", "", blurred_input)]

    def add(role: str, method: str, group: str, training: str, run: Run, steps: str = "", k: int = 1) -> None:
        make = as_method(run.model, k=k, tile=tile)
        found.append(Compared(role, method, group, training, run.hash, make, run.model, steps or training))

    for name in COMPARATORS:
        if name not in absent(profile):
            run = obtain(known[f"comparator-{name.lower()}"], setting)
            add(name, comparators.label(run.model.config), EQUAL, short, run)
    if "ablation-short-start" not in profile.leaves_out:
        add("NAFNet", f"NAFNet{size}", EQUAL, short, obtain(known["variant-class-loss"], setting))
        run, both = obtain(known["ablation-short-start"], setting), f"{profile.ablation_steps} + {short}"
        add("DeMoE", f"DeMoE k=1{size}", EQUAL, f"{short} of each of two stages", run, both)
    add("NAFNet longer", f"NAFNet{size}, longer trained", LONGER, long, obtain(known["baseline"], setting))
    run, stages = obtain(known["demoe"], setting), f"{profile.stage1_steps} + {profile.stage2_steps} steps"
    for k in range(1, run.model.config.num_experts + 1):
        told = f"{long}, then {profile.stage2_steps}"
        add(f"DeMoE longer k={k}", f"DeMoE k={k}{size}, longer trained", LONGER, told, run, stages, k)
    if "baseline-longer" not in profile.leaves_out:
        on = obtain(known["baseline-longer"], setting)
        add(AS_LONG, f"NAFNet{size}, trained as long as DeMoE", LONGER, told, on, stages)
    tuned = {name: obtain(known[f"task-specific-{name.lower()}"], setting) for name in DATASETS}
    makers = {name: as_method(run.model, tile=tile) for name, run in tuned.items()}

    def on_its_own_set(image: Tensor, pairs: PairedSet) -> Tensor | Made | None:
        return None if pairs.label is None else makers[DATASETS[pairs.label]](image, pairs)

    told, stages = (
        f"{long}, then {profile.specialist_steps} on one set",
        f"{profile.stage1_steps} + {profile.specialist_steps} steps",
    )
    hashes, model = ", ".join(run.hash for run in tuned.values()), tuned[DATASETS[0]].model
    found.append(Compared("DeMoE*", f"DeMoE*{size}", TASK, told, hashes, on_its_own_set, model, stages))
    for one in published.load_all(weights, default_device()):
        make = as_method(one.model, tile=tile)
        found.append(Compared(one.label, one.label, FOREIGN, "by others", one.sha256, make, one.model))
    return found


def short(setting: Setting) -> dict[str, Run]:
    """Networks trained for the ablations' length, trained if need be: ``COMPARATORS`` but those ``absent``, and beside
    them a NAFNet and a DeMoE as short. None where the profile leaves all of the former out."""
    left_out, known = absent(setting.profile), specs(setting)
    wanted = {name: f"comparator-{name.lower()}" for name in COMPARATORS if name not in left_out}
    if wanted:
        wanted |= {"NAFNet": "variant-class-loss", "DeMoE": "ablation-short-start"}
    return {name: obtain(known[spec], setting) for name, spec in wanted.items()}


def short_scores(
    found: Mapping[str, Run], sets: Sequence[PairedSet], profile: Profile, seed: int = 0, device: str = "cpu"
) -> tuple[pd.DataFrame, provenance.Stamp]:
    """The metrics that each set needs (``expert_choice.needed``) of ``short``'s networks, by their names and ``SHORT``,
    and the stamp of these trainings. Without networks a table without rows."""
    hashes = {name: run.hash for name, run in found.items()}
    mark = provenance.stamp(profile.name, aio_blur.kind(sets), seed, provenance.config_hash(hashes))
    if not found:
        columns = ["set", "image", "method", *expert_choice.PUBLISHED]
        return pd.DataFrame(columns=columns), mark
    methods = {name + SHORT: as_method(run.model) for name, run in found.items()}
    tables = []
    for pairs in sets:
        measured = expert_choice.needed(pairs)
        tables.append(benchmark.run("ood", [pairs], methods, hashes, mark, device, measured=measured)[0])
    return pd.concat(tables), mark


def one_expert_apart(seed: int = 0) -> float:
    """Section 3.3, "equivalent to the NAFNet baseline": the largest difference between what a small NAFNet of random
    weights makes of a random picture, and a DeMoE with k = 1 whose experts are copies of its blocks."""
    generator = torch.Generator().manual_seed(seed)
    config = NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=2, decoder_blocks=(2, 2), router=True)
    baseline = NAFNet(config).eval()
    with torch.no_grad():
        for values in baseline.parameters():  # also those that start at zero, with which a block does nothing
            values.copy_(0.1 * torch.randn(values.shape, generator=generator))
        shape = DeMoEConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))
        model = demoe_from_baseline(baseline, shape, "pretrained").eval()
        picture = torch.rand(1, 3, 21, 30, generator=generator)
        return (model(picture, k=1).image - baseline(picture).image).abs().max().item()
