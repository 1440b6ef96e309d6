"""Notebook 12: what came out of the semantic prior, as rows of the table of claims."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pandas as pd

from demoe.evaluation import trainings
from demoe.report import claims
from demoe.report.claims import Claim, beside, judged
from demoe.report.tables import bare, interval, where

from .prior_report import FIGURE_7, NET0, NET6, NETWORKS, ORDER, RANDOM, SAME, SP, TABLE_4, WIDE, theirs
from .prior_study import PIXELS

claim = partial(claims.claim, paper="Semantic prior")
difference = partial(claims.difference, paper="Semantic prior")


def premise_claims(summary: pd.DataFrame) -> list[Claim]:
    """B1: whether blurred and sharp are closer by features than by pixels, the mean over all blurs."""
    found = []
    for row in where(summary, blur="all").itertuples():
        if row.features != PIXELS:
            holds = {"better": True, "worse": False}.get(row.verdict)
            fields = {"low": row.low, "high": row.high, "features": row.features}
            control = f"share {row.share:.2f}, of pixels {row.share + row.mean:.2f}; {row.scenes} scenes"
            found.append(claim("prior-premise-{features}", row.mean, control, holds, **fields))
    return found


def gains(differences: pd.DataFrame, steadiness: float) -> list[Claim]:
    """B2, B3, B4, B5 from ``12_differences`` (PSNR on GoPro). Where Net0 does not beat its input, nothing is judged.

    ``steadiness``: how much more the losses of Net0* jump than those of Net6 (``unsteady``)."""
    table = where(differences, metric="psnr").set_index(["first", "second"])
    learnt = judged(table.loc[(NET0, "input")]).word == "better"
    start = "" if learnt else "Net0 does not beat its input: no difference between networks is judged"

    def one(key: str, first: str, second: str, **more) -> list[Claim]:
        if (first, second) not in table.index:
            return []
        row, once = table.loc[(first, second)], "one training each: what another seed would change is unknown"
        found = difference(key, row, beside(start or once), **more)
        return [found if learnt else replace(found, verdict=claims.UNDECIDED)]

    found = [difference("prior-basis", table.loc[(NET0, "input")])]
    for label, pair in NETWORKS.items():
        published = theirs(1, pair[1], "PSNR") - theirs(1, pair[0], "PSNR")
        both = (SAME.get(name, name) for name in (label + SP, label))
        found += one("prior-t1-{network}", *both, network=_spelt(label), published=published)
    for label in TABLE_4.values():
        published = theirs(4, label, "PSNR") - theirs(4, NET0, "PSNR")
        place = "" if math.isnan(published) else "Table 4"
        found += one("prior-t4-{network}", label, NET0, network=_spelt(label), published=published, place=place)
    words = [judged(table.loc[(NET6, other)]).word for other in (RANDOM, WIDE) if (NET6, other) in table.index]
    found += one("prior-control-random", NET6, RANDOM) + one("prior-control-wide", NET6, WIDE)
    if len(words) == 2:
        over = judged(table.loc[(NET6, NET0)]).word
        told = f"over Net0 {over}, over the random teacher {words[0]}, over the wide Net0 {words[1]}"
        found.append(
            claim("prior-survives", control=beside(told, start), holds=claims.every([over, *words]) if learnt else None)
        )
    rows = [label for label in ORDER if (label, NET0) in table.index or label == NET0]
    ours = [0.0 if label == NET0 else table.loc[(label, NET0)]["mean"] for label in rows]
    order = trainings.order([theirs(4, label, "PSNR") for label in rows], ours)
    told = f"{order.rows} rows, p {order.p:.3f}"
    found.append(claim("prior-t4-order", order.rho, beside(told, start), ordered(order) if learnt else None))
    found.append(claim("prior-t4-unstable", steadiness))
    for label in FIGURE_7.values():
        found += one("prior-f7-{other}", NET6, label, other=label) if label != NET6 else []
    return found


def ordered(order: trainings.Order) -> bool | None:
    """Whether an order is the expected one, as ``ablation_report.order`` has it: False where the ranks do not agree at
    all (rho not above 0), None between, where so few rows neither confirm nor refute it."""
    return True if order.p < 0.05 else False if order.rho <= 0 else None


def _spelt(label: str) -> str:
    """A label whose sign survives in the id of a claim."""
    return " ".join(label.replace("*", " star").replace("+", " plus").split())


def unsteady(log: pd.DataFrame) -> float:
    """The largest pixel loss of the second half of a training, in medians of that half."""
    half = log.pixel[len(log) // 2 :]
    return float(half.max() / half.median())


def severe_claims(scores: pd.DataFrame, ranges: pd.DataFrame) -> list[Claim]:
    """Whether the prior gains more the longer the motion is: ``by_strength`` and its differences."""
    wide = scores.pivot(index=["strength", "image"], columns="method", values="psnr").reset_index()
    order = trainings.order(wide.strength, wide[NET6] - wide[NET0])
    own = where(ranges, first=NET6, second=NET0, metric="psnr").set_index("set")
    told = "; ".join(f"{bare(name)} {interval(row)}" for name, row in own.iterrows() if name != claims.AVERAGE)
    learnt = judged(where(ranges, first=NET0, second="input", metric="psnr").set_index("set").loc[claims.AVERAGE])
    holds = ordered(order) if learnt.word == "better" else None
    last = own.drop(index=claims.AVERAGE).iloc[-1]
    severe = difference("prior-severe", last, f"motion of {bare(last.name)}")
    return [
        claim("prior-severe-trend", order.rho, f"{told}; p {order.p:.3f}, {order.rows} pictures", holds),
        severe if learnt.word == "better" else replace(severe, verdict=claims.UNDECIDED),
    ]


def cost_claims(costs: pd.DataFrame) -> list[Claim]:
    """What the prior costs at inference, in MACs of the network without it."""
    table = costs.set_index("network")
    found = []
    for label, pair in NETWORKS.items():
        if label + SP in table.index:
            one, other = table.loc[label + SP], table.loc[label]
            seconds = theirs(1, pair[1], "Time") / theirs(1, pair[0], "Time")
            control = f"{one.params / 1e6:.1f} M parameters for {other.params / 1e6:.1f} M"
            found.append(
                claim("prior-cost-{network}", one.macs / other.macs, control, network=_spelt(label), published=seconds)
            )
    return found
