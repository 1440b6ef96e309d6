"""How cost grows: with picture size and with experts (measured), with processors (computed from what was measured)."""

from __future__ import annotations

import pandas as pd

from demoe.core import provenance
from demoe.models.demoe import DeMoE, DeMoEConfig

from . import inference
from .options import Options
from .timing import interleaved, summary
from .weights import shaken

GPUS = (1, 4, 8, 64)
STEPS, BATCH, PATCH = 250_400, 32, 384  # of each of the two stages; paper: 400 epochs of 20 032 pairs, 384 pixels


def sizes(options: Options) -> pd.DataFrame:
    """Pictures of more sizes than ``inference`` has: case, batch, height, width, side, precision, ``summary``'s."""
    table = inference.measure(options, options.growth)
    return table[["case", "batch", "height", "width", "side", "precision", "rounds", "ms", "low", "high"]]


def experts(options: Options) -> pd.DataFrame:
    """One expert of 5, 10, 20: num_experts, parameters, side, precision, ``summary``'s, at the first case's size."""
    calls, case = {}, options.cases[0]
    x = inference.pictures(case, options.device)
    for number in options.experts:
        model = shaken(DeMoE(DeMoEConfig(width=options.width, num_experts=number)))
        parameters = sum(p.numel() for p in model.parameters())
        for (side, precision), network in inference.sides(model, options.device, False).items():
            if side != "ours":
                key = (number, parameters, side, precision)
                calls[key] = inference.restoring(network, "DeMoE", side, case, 1, x)
    settings = options.clock | {"seconds": options.seconds / 2, "label": "one expert of more"}
    taken = interleaved(calls, options.rounds, **settings)
    columns = ("num_experts", "parameters", "side", "precision")
    return pd.DataFrame([dict(zip(columns, key, strict=True)) | summary(taken[key]) for key in taken])


def hours(options: Options) -> pd.DataFrame:
    """``training_hours`` of the steps that were measured on this machine; empty where none were."""
    file = options.folder / "training.csv"
    if not file.is_file():
        return pd.DataFrame()
    table = pd.read_csv(file)
    same = (table.channels == options.width) & (table.hardware == provenance.hardware())
    return training_hours(table[(table.allocator == options.allocator) & same], options.device)


def training_hours(training: pd.DataFrame, device: str) -> pd.DataFrame:
    """The paper's two trainings: on, gpus (1, 4, 8 and 64 on a GPU, 0 on a CPU), images_per_second, hours, how.

    ``training`` is ``training.measure``'s table. What it measured holds for one device of this machine and for its
    patch size; larger patches are scaled by their pixels, more devices by their number, as if they cost nothing. Both
    are said in ``how``.
    """
    rows, images = [], STEPS * BATCH
    for precision in training.precision.unique():
        best = training[(training.side == "ours") & ~training.checkpointed & (training.precision == precision)]
        both = [patch for patch, part in best.groupby("patch") if {"DeMoE", "NAFNet"} <= set(part.network)]
        if not both:
            continue
        patch = min(PATCH, max(both))
        best = best[best.patch == patch].set_index("network").images_per_second * (patch / PATCH) ** 2
        seconds = images * (1 / best["DeMoE"] + 1 / best["NAFNet"])
        how = "measured" if patch == PATCH else f"computed from crops of {patch} pixels"
        several = how.replace("measured", "computed") + ", perfect scaling"
        for number in GPUS if device != "cpu" else (0,):
            each = seconds / max(1, number)
            row = {"on": f"this machine, {precision}", "gpus": number, "images_per_second": 2 * images / each}
            rows.append(row | {"hours": each / 3600, "how": several if number > 1 else how})
    return pd.DataFrame(rows, columns=["on", "gpus", "images_per_second", "hours", "how"])
