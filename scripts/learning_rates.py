"""Which learning rate suits the length of a training: the same experiment at several, scored on validation pictures.

    python scripts/learning_rates.py --profile smoke --experiments specialist-gopro,ablation-demoe --rates 1e-3,4e-3

The rates of the profiles (``core/profiles.toml``) were chosen so. Nothing is chosen on test pictures: a "val" split is
made from other photographs than those trained and tested on. A training that is there already is loaded; one that is
stopped goes on. Writes ``results/<profile>/tables/learning_rates.csv``: a row an experiment, rate and set, beside those
that earlier calls of the same commit, data and seed wrote.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from demoe import experiments
from demoe.core import provenance
from demoe.core.files import results_dir
from demoe.core.markdown import markdown_table
from demoe.data import aio_blur
from demoe.data.setting import Setting
from demoe.evaluation import benchmark, methods
from demoe.experiments import Spec
from demoe.report import tables

TABLE = "learning_rates"
KEY = ["experiment", "rate", "steps", "set"]


def swept(spec: Spec, rate: float, steps: int | None = None) -> Spec:
    """``spec`` at another learning rate, of another length where ``steps`` are given, under a name of its own."""
    recipe = tuple((dict(spec.recipe) | {"learning_rate": rate}).items())
    return replace(spec, name=f"sweep-{spec.name}", recipe=recipe, steps=steps or spec.steps)


def gains(spec: Spec, setting: Setting, deadline: float | None = None) -> pd.DataFrame:
    """The experiment, trained if need be, on the validation pictures of the sets that it learns from.

    Columns: set, pictures, input (PSNR of the blurred pictures, dB), gain (of the restored ones over that, the mean),
    one row a set. Raises ``TimeUp`` at ``deadline``, as ``obtain`` does.
    """
    model = experiments.obtain(spec, setting, deadline).model
    compared = {"input": methods.blurred_input, "network": methods.network(model)}
    sets = [aio_blur.one_set(name, setting, "val") for name in spec.sets]
    scores = benchmark.score(sets, compared, experiments.default_device(), setting.progress, measured=("psnr",))
    wide = scores.pivot_table(index=["set", "image"], columns="method", values="psnr", sort=False)
    by_set = wide.assign(gain=wide.network - wide.input).groupby("set", sort=False)
    found = by_set[["input", "gain"]].mean()
    return found.assign(pictures=by_set.size()).reset_index()[["set", "pictures", "input", "gain"]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something failed, 2 a wrong request, 3 time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--experiments", required=True, metavar="NAME,NAME")
    parser.add_argument("--rates", required=True, metavar="RATE,RATE")
    parser.add_argument("--steps", type=int, help="another length than the experiment's")
    parser.add_argument("--minutes", type=float, help="stop after that long; the same command goes on")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        rates = [float(rate) for rate in options.rates.split(",")]
        setting = Setting.of(options.profile, options.seed)
        wanted = [experiments.named(name, setting) for name in options.experiments.split(",")]
    except ValueError as error:
        parser.error(str(error))
    if min(rates) <= 0:
        parser.error("a learning rate is above 0")
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else None
    mark = provenance.stamp(setting.profile.name, "real" if setting.roots else "synthetic", setting.seed)
    for spec in wanted:
        for rate in rates:
            one = swept(spec, rate, options.steps)
            try:
                found = gains(one, setting, deadline)
            except experiments.TimeUp as error:
                print(f"{error}; the same command goes on from there")
                return 3
            found.insert(0, "steps", one.steps)
            found.insert(0, "rate", rate)
            found.insert(0, "experiment", spec.name)
            file = results_dir(setting.profile.name) / "tables" / f"{TABLE}.csv"
            known = tables.read(TABLE, setting.profile.name) if file.is_file() else found.assign(**mark.columns())
            alike = tables.where(known, **mark.columns())[list(found)]  # a table has one stamp
            both = pd.concat([alike, found]).drop_duplicates(KEY, keep="last").sort_values(KEY, kind="stable")
            tables.save(both.assign(rate=both.rate.map("{:g}".format)), TABLE, mark, decimals=3)  # a rate is whole
            print(markdown_table(found.round(3), index=False), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
