"""What the ablations found, against the paper's words: sentences computed from the numbers, noise counted in."""

from __future__ import annotations

import math

import pandas as pd

from .ablation_tables import REFERENCE, START, interval


def _row(row) -> str:
    paper = "" if math.isnan(row.paper_difference) else f"; paper {row.paper_difference:+.2f}"
    over = "" if math.isnan(row.low_trainings) else (
        f" over pictures, [{row.low_trainings:+.3f}, {row.high_trainings:+.3f}] over trainings")
    return f"{row.row} ({interval(row)} dB{over}{paper})"


def differences(table: pd.DataFrame, name: str) -> str:
    """The rows of the table called ``name`` in ``ablation_tables.results``, against what they are compared with.

    "Above" and "below" only where every interval there is, over pictures and over trainings, leaves zero out.
    """
    part = table[(table.table == name) & (table.method != table.reference)]
    groups = []
    for sign, words in ((1, "above the reference"), (-1, "below the reference"), (0, "not told from it")):
        chosen = [_row(row) for row in part.itertuples() if row.sign == sign]
        if chosen:
            groups.append(f"{words}: {', '.join(chosen)}")
    said = part[(part.sign != 0) & part.paper_difference.notna()]
    against = [row.row for row in said.itertuples() if row.sign * row.paper_difference < 0]
    once = "In this one training, the" if part.trainings.min() < 2 else "The"
    verdict = ""
    if part.paper_difference.notna().any():
        if said.empty:
            verdict = " No difference here is beyond noise, so none confirms or contradicts the paper's."
        elif against:
            verdict = f" {once} other way round than in the paper: {', '.join(against)}."
        else:
            verdict = f" {once} differences beyond noise have the paper's sign ({len(said)} of {len(part)} rows)."
    return f"{name}: {'; '.join(groups)}.{verdict}"


def noise(table: pd.DataFrame) -> str:
    """What the intervals cover and what they do not, for all rows at once."""
    compared = table[table.method != table.reference].drop_duplicates("method")
    chance = f"Of {len(compared)} intervals at 95 %, about {len(compared) / 20:.1f} leave zero out by chance alone."
    if table.trainings.min() < 2:
        return (
            "Each row is one training. The intervals tell what other pictures would change, not what another training "
            "would: the spread over trainings is unknown here, so that no difference can be put down to the variant. "
            + chance
        )
    return (
        f"Each row is the mean of {table.trainings.min()} trainings, whose PSNR has a standard deviation of "
        f"{table.spread.min():.3f} to {table.spread.max():.3f} dB; a difference counts only where neither other "
        f"pictures nor other trainings explain it. {chance}"
    )


def order(orders: pd.DataFrame) -> list[str]:
    """``ablation_tables.orders`` in words, one sentence a table."""
    found = []
    for row in orders.itertuples():
        if math.isnan(row.rho):
            found.append(f"{row.table}: fewer than two different values, so there is no order to compare.")
            continue
        verdict = (
            "the rows stand in the paper's order more than chance would have it" if row.p < 0.05
            else "the order cannot be told from a random one"
        )
        kind = "exact" if row.exact else "from random orders"
        found.append(f"{row.table}, {row.rows} rows: Spearman's rho {row.rho:+.2f}, one-sided p {row.p:.3f} ({kind}): "
                     f"{verdict}.")
    return found


def router_noise(plain: float, noisy: float, sigma: float) -> str:
    """Whether noise on the router's logits does what it is for, from ``trainings.experts_in_use`` without and with."""
    more = noisy - plain
    verdict = (
        "as the paper wants it, more experts learn from each picture" if more > 0.1
        else "hardly more experts learn from each picture" if more >= 0 else "no more experts learn from each picture")
    return (f"Noise of standard deviation {sigma:g} on the router's logits mixes {noisy:.2f} experts a test picture "
            f"instead of {plain:.2f} (exp of the entropy, 1 to 5): {verdict}.")


def experts_start(table: pd.DataFrame) -> str:
    """Experts that start as copies of the baseline's blocks, against random ones."""
    row = next(row for row in table[table.table == START].itertuples() if row.method != row.reference)
    verdicts = {1: "copies end above", -1: "copies end below", 0: "how they start cannot be told from the result"}
    caution = " in this one training" if row.trainings < 2 and row.sign else ""
    return f"Experts started as copies against random ones: {_row(row)}; {verdicts[row.sign]}{caution}."


def costs(counted: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """What the counts say, and whether what costs more restores better. ``counted``: ``costs.counted`` of one size."""
    at = counted.set_index("experiment")
    memory, macs = at.activation_bytes + at.state_bytes, at.macs / at.macs[REFERENCE]
    unit, name = (2**30, "GiB") if memory.max() > 2**31 else (2**20, "MiB")
    saved = 1 - memory[REFERENCE] / memory["ablation-finetune-all"]
    size = (memory / unit).map("{:.0f}".format) + f" {name}"
    first = (
        f"A training step keeps {size[memory.idxmin()]} ({memory.idxmin()}) to {size[memory.idxmax()]} "
        f"({memory.idxmax()}), that of DeMoE {size[REFERENCE]}. Freezing encoder and router takes {saved:.0%} off what "
        "fine-tuning everything keeps."
    )
    rows = table[(table.reference == REFERENCE) & table.paper_difference.notna()].drop_duplicates("method")
    dearer = rows[[macs[method] > 1.01 for method in rows.method]]
    better, paper = dearer[dearer.sign > 0], dearer[dearer.paper_difference > 0]
    names = ", ".join(f"{row.row} ({macs[row.method]:.2f} times the MACs)" for row in better.itertuples())
    second = (
        f"Of {len(dearer)} variants with more MACs than DeMoE, {len(better)} are above it here beyond noise"
        f"{': ' + names if names else ''}. In the paper, which gives no noise, {len(paper)} are: "
        f"{', '.join(paper.row)}."
    )
    return [first, second]
