"""What longer training gives on real photographs: whole trainings of several lengths, each measured on such a folder.

    python scripts/gain_by_hours.py --real DIR --sharp-images DIR --steps 220,440,880,1750

Each length is a training of its own, both stages so many steps long and the learning rate falling to its end: a long
one stopped early would say less than a short one. DIR is that of ``demoe evaluate --real``. A training that is there
already is loaded; one that is stopped goes on. Writes ``results/<profile>/tables/gain_by_hours.csv``, a row a length,
set and way to choose the expert, and ``figures/<profile>/gain_by_hours.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from demoe import experiments
from demoe.core import profiles, provenance
from demoe.core.markdown import markdown_table
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.evaluation import photo_sources, real_benchmark
from demoe.evaluation.benchmark import score
from demoe.report import figures, tables

TABLE = "gain_by_hours"
COLUMNS = ("steps", "hours", "megapixels", "set", "method", "pictures", "gain", "right")
WAYS = {"DeMoE": "router's expert", real_benchmark.GUARDED: "guarded", real_benchmark.BY_HAND: "expert by hand"}
Sets = Mapping[str, tuple[str, PairedSet]]  # kind of blur and photographs, by the set's name


def trained(setting: Setting, deadline: float | None) -> tuple[experiments.Run, dict[str, float]]:
    """DeMoE of the setting, trained if need be, and what both of its stages took: hours, and megapixels of crops.

    Raises ``TimeUp`` at ``deadline``.
    """
    last = experiments.named("demoe", setting)
    runs = [experiments.obtain(spec, setting, deadline) for spec in (last.starts_from, last)]
    spent = {"hours": 0.0, "megapixels": 0.0}
    for run in runs:
        end = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
        spent["hours"] += end["seconds"] / 3600
        spent["megapixels"] += end["images"] * run.spec.patch**2 / 1e6
    return runs[-1], spent


def gains(run: experiments.Run, sets: Sets, device: str, progress: bool = True) -> pd.DataFrame:
    """Columns: set, method (of ``WAYS``), pictures, gain (dB of PSNR over the photograph, mean), right (share of the
    set for which the router names a right expert; NaN where none is known)."""
    kinds = {name: kind for name, (kind, _) in sets.items()}
    every = real_benchmark.compared(run.model, "DeMoE", kinds)
    compared = {name: every[name] for name in (real_benchmark.INPUT, *WAYS)}
    scores = score([pairs for _, pairs in sets.values()], compared, device, progress, measured=("psnr",))
    wide = scores.pivot_table(index=["set", "image"], columns="method", values="psnr", sort=False)
    wide = wide.reindex(columns=[real_benchmark.INPUT, *WAYS])  # by hand nobody chooses where several are right
    gain = wide[list(WAYS)].sub(wide[real_benchmark.INPUT], axis=0).groupby("set", sort=False)
    means = gain.mean().melt(ignore_index=False, var_name="method", value_name="gain").dropna().reset_index()
    routing = real_benchmark.routed(run.model, sets, device)
    right = routing.assign(right=routing.right.astype(float)).groupby("set").right.mean()
    counts = gain.size()
    return means.assign(pictures=means["set"].map(counts), right=means["set"].map(right))


def curves(table: pd.DataFrame) -> Figure:
    """Gain against hours, a panel a set, a line a way to choose the expert."""
    shown = table.assign(method=table.method.map(WAYS))
    looks = {"kind": "line", "markers": True, "dashes": False, "height": 1.9, "aspect": 1.15}
    with plt.rc_context({"figure.constrained_layout.use": False}):  # the grid has its own
        grid = sns.relplot(
            shown,
            x="hours",
            y="gain",
            hue="method",
            style="method",
            col="set",
            col_wrap=min(4, shown["set"].nunique()),
            facet_kws={"sharey": False},
            **looks,
        )
    counts = shown.groupby("set").pictures.first()
    for name, axis in grid.axes_dict.items():
        axis.axhline(0, color="0.4", ls="--", lw=1)
        axis.set(xscale="log", title=f"{name} ({counts[name]})")
        axis.set_xticks(hours := sorted(shown.hours.unique()), [f"{one:.2g}" for one in hours])
        axis.minorticks_off()
    grid.set_axis_labels("hours", "gain (dB)")
    sns.move_legend(grid, "lower center", bbox_to_anchor=(0.5, 1), ncol=len(WAYS), title=None)
    return grid.figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 a wrong request, 3 time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", required=True, type=Path, metavar="DIR", help="photographs with a sources.csv")
    parser.add_argument("--steps", required=True, metavar="N,N", help="lengths of each of the two stages")
    parser.add_argument("--profile", default="real")
    parser.add_argument("--sharp-images", metavar="DIR", help="sharp photographs to train on (default: bundled ones)")
    parser.add_argument("--crop", type=int, default=192, metavar="PIXELS", help="the middle of each photograph (192)")
    parser.add_argument("--minutes", type=float, help="stop after that long; the same command goes on")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        lengths = [int(steps) for steps in options.steps.split(",")]
        known = [profiles.get(options.profile, stage1_steps=steps, stage2_steps=steps) for steps in lengths]
        settings = [Setting.of(one, options.seed, sharp_images=options.sharp_images) for one in known]
        sources = photo_sources.read_sources(options.real)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    if min(lengths) < 1:
        parser.error("a training has one step at least")
    sets = {
        name: (kind, real_benchmark.middle(pairs, options.crop))
        for name, (kind, pairs) in photo_sources.blurred_sets(sources, paired=True).items()
    }
    if not sets:
        parser.error(f"no photograph of {options.real} has a sharp one")
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else None
    mark = provenance.stamp(options.profile, "real", options.seed)
    rows = []
    for steps, setting in zip(lengths, settings, strict=True):
        try:
            run, spent = trained(setting, deadline)
        except experiments.TimeUp as error:
            print(f"{error}; the same command goes on from there")
            return 3
        found = gains(run, sets, experiments.default_device(), setting.progress)
        rows.append(found.assign(steps=steps, **spent)[list(COLUMNS)])
        print(markdown_table(rows[-1].round(3), index=False), flush=True)
    table = pd.concat(rows, ignore_index=True)
    print(tables.save(table, TABLE, mark))
    print(figures.save(curves(table), TABLE, mark))
    return 0


if __name__ == "__main__":
    sys.exit(main())
