"""How cost grows: with picture size and with experts (measured), with processors (computed from what was measured)."""

from __future__ import annotations

import pandas as pd

from demoe.models.demoe import DeMoE, DeMoEConfig

from .inference import pictures, restoring, sides, warm_up
from .machine import H200, STAGE1_FLOPS, TRAINING_FLOPS
from .options import Options, has_bfloat16
from .timing import interleaved, summary
from .weights import shaken

GPUS = (1, 4, 8, 64)
STEPS, BATCH, PATCH = 250_400, 32, 384  # of each of the two stages; paper: 400 epochs of 20 032 pairs, 384 pixels


def sizes(options: Options) -> pd.DataFrame:
    """Pictures of more sizes than ``inference`` has: case, batch, height, width, side, precision, ``summary``'s."""
    rows = []
    made = sides(shaken(DeMoE(options.demoe)), options.device, has_bfloat16(options.device))
    for case in options.growth:
        x = pictures(case, options.device)
        calls = {
            f"{side} {precision}": restoring(network, "DeMoE", side, case, 1, x)
            for (side, precision), network in made.items()
        }
        taken = interleaved(
            calls,
            options.rounds,
            warm_up=warm_up(options),
            seconds=options.seconds / 2,
            device=options.device,
            label=case.name,
            progress=options.progress,
        )
        for name, seconds in taken.items():
            side, precision = name.split()
            rows.append(
                {
                    "case": case.name,
                    "batch": case.batch,
                    "height": case.height,
                    "width": case.width,
                    "side": side,
                    "precision": precision,
                    **summary(seconds),
                }
            )
    return pd.DataFrame(rows)


def experts(options: Options) -> pd.DataFrame:
    """One expert of 5, 10, 20: num_experts, parameters, side, precision, ``summary``'s, at the first case's size."""
    calls, parameters = {}, {}
    case = options.cases[0]
    x = pictures(case, options.device)
    for number in options.experts:
        model = shaken(DeMoE(DeMoEConfig(width=options.width, num_experts=number)))
        parameters[number] = sum(p.numel() for p in model.parameters())
        for (side, precision), network in sides(model, options.device, False).items():
            if side != "ours":
                calls[f"{number} {side} {precision}"] = restoring(network, "DeMoE", side, case, 1, x)
    taken = interleaved(
        calls,
        options.rounds,
        warm_up=warm_up(options),
        seconds=options.seconds / 2,
        device=options.device,
        label="one expert of more",
        progress=options.progress,
    )
    rows = []
    for name, seconds in taken.items():
        number, side, precision = name.split()
        rows.append(
            {
                "num_experts": int(number),
                "parameters": parameters[int(number)],
                "side": side,
                "precision": precision,
                **summary(seconds),
            }
        )
    return pd.DataFrame(rows)


def training_hours(training: pd.DataFrame, device: str) -> pd.DataFrame:
    """The paper's two trainings on 1, 4, 8 and 64 devices: on, gpus, images_per_second, hours, how.

    ``training`` is ``training.measure``'s table. What it measured holds for one device of this machine and for its
    patch size; larger patches are scaled by their pixels, more devices by their number, as if they cost nothing. Both
    are said in ``how``. Without a GPU here, it is computed for an H200 from the operations counted at width 32, at
    its peak rate: real trainings take several times as long.
    """
    rows = []
    for precision in training.precision.unique():
        best = training[(training.side == "ours") & ~training.checkpointed & (training.precision == precision)]
        both = [patch for patch, part in best.groupby("patch") if {"DeMoE", "NAFNet"} <= set(part.network)]
        if not both:
            continue
        patch = min(PATCH, max(both))
        best = best[best.patch == patch].set_index("network").images_per_second * (patch / PATCH) ** 2
        seconds = STEPS * BATCH * (1 / best["DeMoE"] + 1 / best["NAFNet"])
        how = "measured" if patch == PATCH else f"computed from crops of {patch} pixels"
        for number in GPUS if device != "cpu" else (1,):
            rows.append(
                {
                    "on": f"this machine, {precision}",
                    "gpus": number if device != "cpu" else 0,
                    "images_per_second": number * 2 * STEPS * BATCH / seconds,
                    "hours": seconds / number / 3600,
                    "how": how if number == 1 else how.replace("measured", "computed") + ", perfect scaling",
                }
            )
    if device == "cpu":
        seconds = STEPS * BATCH * PATCH**2 * (STAGE1_FLOPS + TRAINING_FLOPS) / H200["bfloat16"]
        for number in GPUS:
            rate = number * 2 * STEPS * BATCH / seconds
            rows.append(
                {
                    "on": "H200, bfloat16",
                    "gpus": number,
                    "images_per_second": rate,
                    "hours": seconds / number / 3600,
                    "how": "computed: counted operations at peak rate",
                }
            )
    return pd.DataFrame(rows)
