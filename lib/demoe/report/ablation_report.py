"""What the ablations found: their differences as a figure; differences, orders and costs against the paper, as rows."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from demoe.experiments.ablations import BY_HAND, INPUT, ROUTER

from .ablation_tables import (
    ALL_ROWS,
    ALL_SETS,
    BASELINE,
    BRIGHT,
    REFERENCE,
    SHORT_REFERENCE,
    STAGE_1,
    TABLE_5_LEFT,
    TABLE_5_RIGHT,
    TABLE_7,
    WORDS,
    dearer_and_better,
    published_costs,
)
from .claims import UNDECIDED, Claim, beside, claim
from .figures import BLUE, GREEN, RED, intervals, legend, scales_differ
from .tables import interval, number, where

AGAINST = {
    STAGE_1: "its own stage 1",
    BASELINE: "the short stage 1",
    INPUT: "the blurred input",
    REFERENCE: "DeMoE",
    SHORT_REFERENCE: "DeMoE on a short stage 1",
}
ROUTED = "the router's mistakes decide this, not the variants"
STYLES = {ROUTER: ("o", BLUE, -0.14), BY_HAND: ("s", GREEN, 0.14)}
FOOTNOTE = "* against the short baseline with classification loss, or DeMoE on it; the others against DeMoE"


def difference_figure(table: pd.DataFrame) -> Figure:
    """The PSNR of every row against its reference: here for both choices of the expert, with the interval over pictures
    (and, thin, over trainings), beside the paper's in a panel of its own, because the scales differ.

    ``table``: ``ablation_tables.results``."""
    every = table[table.method != table.reference].rename(columns={"difference": "mean"})
    part = every[every.choice == ROUTER].reset_index(drop=True)
    known, several = part.paper_difference.notna().any(), every.low_trainings.notna().any()
    size, places = (8, 0.34 * len(part) + 1.5), np.arange(len(part))
    figure, axes = plt.subplots(1, 2 if known else 1, figsize=size, sharey=True, squeeze=False)
    ours = axes[0, 0]
    for choice, (marker, colour, shift) in STYLES.items():
        rows = every[every.choice == choice]
        intervals(ours, places + shift, rows, fmt=marker, color=colour, ms=4, lw=2, label=WORDS[choice])
        if several:
            over = rows.assign(low=rows.low_trainings, high=rows.high_trainings)
            intervals(ours, places + shift, over, fmt="none", color="0.35", lw=0.8, capsize=3)
    title = "bar: 95 % over pictures" + ("; thin: over trainings" if several else "")
    ours.set(title=title, xlabel="difference in PSNR (dB), here")
    ours.set_yticks(places, [row.row + (" *" if row.reference != REFERENCE else "") for row in part.itertuples()])
    if known:
        axes[0, 1].plot(part.paper_difference, places, "D", color=RED, ms=5)
        label = "difference in PSNR (dB), paper (real sets)"
        axes[0, 1].set(title="paper: no intervals published", xlabel=label)
    for axis in axes[0]:
        axis.axvline(0, color="0.3", lw=0.9)
        axis.margins(x=0.08)
        axis.xaxis.set_major_locator(MaxNLocator(5))
    if known:
        scales_differ(axes[0, 1].xaxis, ours.xaxis)
    ours.set_ylim(len(part) - 0.5, -0.5)
    legend(figure)
    if any(part.reference != REFERENCE):
        figure.text(0.01, -0.04, FOOTNOTE, fontsize=7, va="top")
    return figure


def routing_decides(basis: pd.DataFrame) -> bool:
    """Whether the reference with the router's expert is below the stage 1 that it was made from, and that mostly by
    wrong experts, so that what is compared at k = 1 is how much each row loses by these. ``basis``:
    ``ablation_tables.basis``."""
    by_router, by_hand = (
        where(basis, choice=choice, reference=STAGE_1).difference.iloc[0] for choice in (ROUTER, BY_HAND)
    )
    return bool(by_router < 0 and by_hand - by_router > -by_router / 2)


def _claim(key: str, row, control: str, routed: bool, **more) -> Claim:
    """A row of ``trainings.compare_trainings``, which has judged it; undecided where routing decides."""
    over = ""
    if not math.isnan(row.low_trainings):
        over = f"over trainings [{row.low_trainings:+.3f}, {row.high_trainings:+.3f}]"
    verdict, reason = (UNDECIDED, ROUTED) if routed else (row.verdict, row.reason)
    fields = {"low": row.low, "high": row.high, "trainings": int(row.trainings), "criterion": reason}
    names = {"choice": WORDS[row.choice], "reference": AGAINST.get(row.reference, row.reference), **more}
    control = beside(over, control, ROUTED if routed else "")
    return claim(key, row.difference, control, verdict, **fields, **names)


def basis(table: pd.DataFrame, name: str) -> list[Claim]:
    """``ablation_tables.basis``: the reference against its stage 1 and the input, for a notebook's table ``name``."""
    right = f"the router is right on {table.accuracy.iloc[0]:.0%} of the test pictures"
    bright = where(table, sets=BRIGHT).set_index(["choice", "reference"])
    rows = []
    for row in table.itertuples():
        other = bright.loc[(row.choice, row.reference)]
        rest = _without(other.difference, other.low, other.high, other.verdict) if row.sets == ALL_SETS else ""
        control = beside(rest, right if row.choice == ROUTER else "")
        names = {"table": name, "sets": row.sets}
        rows.append(_claim("demoe-{table}-basis-{choice}-{reference}-{sets}", row, control, False, **names))
    return rows


def _without(difference: float, low: float, high: float, verdict: str) -> str:
    """ "without LOLBlur -0.030 dB [-0.090, +0.020], undecided"."""
    row = {"mean": difference, "low": low, "high": high}
    return f"without LOLBlur {interval(row, 3, unit='dB')}, {verdict}"


def differences(table: pd.DataFrame, routed: bool, name: str) -> list[Claim]:
    """The rows of ``ablation_tables.results`` against their references, for each choice of the expert.

    With the router's expert nothing is judged where ``routing_decides``, and nothing at all where the reference of the
    notebook's table ``name`` (``basis``) does not restore.
    """
    rows = []
    for row in table[table.method != table.reference].itertuples():
        once = "one training each: what another would change is unknown" if row.trainings < 2 else ""
        rest = _without(row.difference_bright, row.low_bright, row.high_bright, row.verdict_bright)
        place = "" if math.isnan(row.paper_difference) else row.table
        names = {"table": row.table, "variant": row.row, "published": row.paper_difference, "place": place}
        names["basis"] = name
        control, decided = beside(rest, once), routed and row.choice == ROUTER
        rows.append(_claim("demoe-{table}-{variant}-{choice}", row, control, decided, **names))
    return rows


def noise(table: pd.DataFrame, name: str) -> Claim:
    """What the intervals do not cover, for all rows at once."""
    count = len(table[table.method != table.reference].drop_duplicates(["method", "difference"]))
    names = {"table": name, "count": count, "chance": count / 20}
    if table.trainings.min() < 2:
        unknown = "one training each: unknown, so that no difference can be put down to the variant alone"
        return claim("demoe-{table}-noise", control=unknown, holds=None, **names)
    return claim("demoe-{table}-noise", table.spread.max(), trainings=int(table.trainings.min()), **names)


def noise_in_use(plain: float, noisy: dict[str, float], sigma: dict[str, float]) -> list[Claim]:
    """Whether the router's noise has more experts in use than ``plain``, by reading: on the logits, on the weights.

    ``noisy`` (``router.experts_in_use``) and ``sigma``, the standard deviation, are by what the noise is on."""
    key = "demoe-f6-noise-on-{on}"
    return [claim(key, count - plain, on=on, noisy=count, plain=plain, sigma=sigma[on]) for on, count in noisy.items()]


def order(orders: pd.DataFrame, routed: bool, name: str) -> list[Claim]:
    """``ablation_tables.orders``: whether the rows stand in the paper's order. ``name`` as for ``differences``."""
    rows = []
    for row in orders.itertuples():
        decided = routed and row.choice == ROUTER
        table = row.table.removesuffix(", expert by hand")
        mixed = "ranks baselines, of one stage, among networks of two, as the paper does"
        control = beside(
            f"{row.rows} rows, p {row.p:.3f} ({'exact' if row.exact else 'from random orders'})",
            f"without LOLBlur {number(row.rho_bright, 2, True)}, p {row.p_bright:.3f}",
            mixed if table in (TABLE_5_RIGHT, ALL_ROWS) else "",
            ROUTED if decided else "",
        )
        holds = True if max(row.p, row.p_bright) < 0.05 else False if max(row.rho, row.rho_bright) <= 0 else None
        holds = None if decided else holds
        names = {"table": table, "choice": WORDS[row.choice], "basis": name}
        rows.append(claim("demoe-{table}-order-{choice}", row.rho, control, holds, **names))
    return rows


def costs(counted: pd.DataFrame, table: pd.DataFrame) -> list[Claim]:
    """What the counts say, and whether what costs more restores better, each with its expert by hand.

    ``counted``: ``ablations.counted`` at the published size and here, with the column size, "paper" or "here".
    """
    at = where(counted, size="here").set_index("experiment")
    memory, macs = at.activation_bytes + at.state_bytes, at.macs / at.macs[REFERENCE]
    least, most = (f"{memory[name] / 2**20:.0f} MiB ({name})" for name in (memory.idxmin(), memory.idxmax()))
    rows = where(table, choice=BY_HAND)
    rows = rows[rows.reference.isin([REFERENCE, SHORT_REFERENCE])]
    rows = rows[rows.paper_difference.notna()].drop_duplicates("method")
    dearer = rows[[macs[method] > 1.01 for method in rows.method]]
    better, theirs = where(dearer, verdict="better"), dearer_and_better(TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7)
    names = ", ".join(f"{row.row} ({macs[row.method]:.2f} times)" for row in better.itertuples())
    words = f"{len(theirs)}: {', '.join(theirs)}"
    ours = where(counted, size="paper").set_index("experiment").macs / 1e9
    printed = published_costs().macs_g
    other = [name for name in printed.index if f"{ours[name]:.2f}" != f"{printed[name]:.2f}"]
    off = ", ".join(f"{name} {ours[name]:.2f} G counted, {printed[name]:.2f} G published" for name in other)
    pays = claim("demoe-t7-cost-pays", len(better), names, unit=f"of {len(dearer)}", words=words)
    return [
        claim("demoe-t5-memory", 1 - memory[REFERENCE] / memory["ablation-finetune-all"], f"{least} to {most}"),
        *([pays] if len(dearer) else []),
        claim("demoe-t5-macs", len(printed) - len(other), off, not other, unit=f"of {len(printed)}"),
    ]
