"""What the ablations found, against the paper's words: sentences computed from the numbers, noise counted in."""

from __future__ import annotations

import math

import pandas as pd

from demoe.experiments.ablations import BY_HAND, INPUT, ROUTER

from .ablation_tables import ALL_ROWS, BASELINE, REFERENCE, START, TABLE_5_RIGHT, WORDS, interval, published_costs


def _row(row) -> str:
    paper = "" if math.isnan(row.paper_difference) else f"; paper {row.paper_difference:+.2f}"
    over = (
        ""
        if math.isnan(row.low_trainings)
        else (f" over pictures, [{row.low_trainings:+.3f}, {row.high_trainings:+.3f}] over trainings")
    )
    return f"{row.row} ({interval(row)} dB{over}{paper})"


def routing_decides(basis: pd.DataFrame) -> bool:
    """Whether the reference with the router's expert is below the stage 1 that it was made from, so that what is
    compared at k = 1 is how much each row loses by wrong experts. ``basis``: ``ablation_tables.basis``."""
    row = basis[(basis.choice == ROUTER) & (basis.reference == BASELINE)].iloc[0]
    return bool(row.difference < 0)


def basis(table: pd.DataFrame) -> list[str]:
    """``ablation_tables.basis`` in words: the router first, then the reference against its stage 1 and the input."""
    found = [f"The reference's router is right on {table.accuracy.iloc[0]:.0%} of the test pictures."]
    against = {BASELINE: "its own stage 1", INPUT: "the blurred input"}
    for choice, part in table.groupby("choice", sort=False):
        words = [f"{interval(row)} dB against {against[row.reference]}" for row in part.itertuples()]
        found.append(f"The reference with the {WORDS[choice]}: {' and '.join(words)}.")
    if routing_decides(table):
        found.append(
            "With the router's expert the reference is below its own stage 1: at k = 1 routing decides, and "
            "the rows differ by what wrong experts cost them. No verdict is drawn from k = 1."
        )
    return found


def differences(table: pd.DataFrame, name: str, decided_by_routing: bool) -> list[str]:
    """The rows of the table called ``name`` in ``ablation_tables.results`` against their references, each choice.

    "Above" and "below" only from several trainings, where every interval there is, over pictures and over trainings,
    leaves zero out; and with the router's expert only where not ``routing_decides``.
    """
    part = table[(table.table == name) & (table.method != table.reference)]
    return [
        _differences(part[part.choice == choice], f"{name}, {WORDS[choice]}", choice == ROUTER and decided_by_routing)
        for choice in part.choice.unique()
    ]


def _differences(part: pd.DataFrame, name: str, decided_by_routing: bool) -> str:
    if part.trainings.min() < 2 or decided_by_routing:
        listed = ", ".join(_row(row) for row in part.itertuples())
        why = "routing decides" if decided_by_routing else "one training each"
        return f"{name}, without a verdict ({why}): {listed}."
    groups = []
    for sign, words in ((1, "above the reference"), (-1, "below the reference"), (0, "not told from it")):
        chosen = [_row(row) for row in part.itertuples() if row.sign == sign]
        if chosen:
            groups.append(f"{words}: {', '.join(chosen)}")
    said = part[(part.sign != 0) & part.paper_difference.notna()]
    against = [row.row for row in said.itertuples() if row.sign * row.paper_difference < 0]
    verdict = ""
    if part.paper_difference.notna().any():
        if said.empty:
            verdict = " No difference here is beyond noise, so none confirms or contradicts the paper's."
        elif against:
            verdict = f" The other way round than in the paper: {', '.join(against)}."
        else:
            verdict = f" The differences beyond noise have the paper's sign ({len(said)} of {len(part)} rows)."
    return f"{name}: {'; '.join(groups)}.{verdict}"


def noise(table: pd.DataFrame) -> str:
    """What the intervals cover and what they do not, for all rows at once."""
    compared = table[table.method != table.reference].drop_duplicates(["method", "difference"])
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


def order(orders: pd.DataFrame, decided_by_routing: bool) -> list[str]:
    """``ablation_tables.orders`` in words, a sentence a table and choice, and what its p values do not account for."""
    found = []
    for row in orders.itertuples():
        if math.isnan(row.rho):
            found.append(f"{row.table}: fewer than two different values, so there is no order to compare.")
            continue
        verdict = (
            "routing decides this order, so it says nothing of the variants"
            if decided_by_routing and row.choice == ROUTER
            else "the rows stand in the paper's order more than chance would have it"
            if row.p < 0.05
            else "the order cannot be told from a random one"
        )
        kind = "exact" if row.exact else "from random orders"
        choice = ", router's expert" if row.choice == ROUTER else ""
        found.append(
            f"{row.table}{choice}, {row.rows} rows: Spearman's rho {row.rho:+.2f}, one-sided p {row.p:.3f} "
            f"({kind}): {verdict}."
        )
    caution = f"These {len(orders)} values of p are not corrected for their number"
    if any(name.startswith((TABLE_5_RIGHT, ALL_ROWS)) for name in orders.table):
        caution += (
            f"; {TABLE_5_RIGHT} and {ALL_ROWS} rank baselines, which have one stage, among networks of two, "
            "trained twice as long, as the paper does"
        )
    return [*found, f"{caution}."]


def router_noise(plain: float, noisy: float, sigma: float) -> str:
    """Whether noise on the router's logits does what it is for, from ``trainings.experts_in_use`` without and with."""
    more = noisy - plain
    verdict = (
        "as the paper wants it, more experts learn from each picture"
        if more > 0.1
        else "hardly more experts learn from each picture"
        if more >= 0
        else "no more experts learn from each picture"
    )
    return (
        f"Noise of standard deviation {sigma:g} on the router's logits mixes {noisy:.2f} experts a test picture "
        f"instead of {plain:.2f} (exp of the entropy, 1 to 5): {verdict}."
    )


def experts_start(table: pd.DataFrame, decided_by_routing: bool) -> list[str]:
    """Experts that start as copies of the baseline's blocks, against random ones: a sentence a choice."""
    found = []
    for row in table[(table.table == START) & (table.method != table.reference)].itertuples():
        verdicts = {1: "copies end above", -1: "copies end below", 0: "how they start cannot be told from the result"}
        verdict = (
            "no verdict: routing decides"
            if decided_by_routing and row.choice == ROUTER
            else "no verdict from one training"
            if row.trainings < 2
            else verdicts[row.sign]
        )
        found.append(f"Experts started as copies against random ones, {WORDS[row.choice]}: {_row(row)}; {verdict}.")
    return found


def costs(counted: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """What the counts say, and whether what costs more restores better, each with its expert by hand.

    ``counted``: ``costs.counted`` at the published size and here, with the column size, "paper" or "here".
    """
    at = counted[counted["size"] == "here"].set_index("experiment")
    memory, macs = at.activation_bytes + at.state_bytes, at.macs / at.macs[REFERENCE]
    unit, name = (2**30, "GiB") if memory.max() > 2**31 else (2**20, "MiB")
    saved = 1 - memory[REFERENCE] / memory["ablation-finetune-all"]
    size = (memory / unit).map("{:.0f}".format) + f" {name}"
    first = (
        f"A training step keeps {size[memory.idxmin()]} ({memory.idxmin()}) to {size[memory.idxmax()]} "
        f"({memory.idxmax()}), that of DeMoE {size[REFERENCE]}. Freezing encoder and router takes {saved:.0%} off what "
        "fine-tuning everything keeps."
    )
    rows = table[(table.reference == REFERENCE) & (table.choice == BY_HAND) & table.paper_difference.notna()]
    rows = rows.drop_duplicates("method")
    dearer = rows[[macs[method] > 1.01 for method in rows.method]]
    paper = dearer[dearer.paper_difference > 0]
    once = rows.trainings.min() < 2
    better = dearer[dearer.difference > 0] if once else dearer[dearer.sign > 0]
    names = ", ".join(f"{row.row} ({macs[row.method]:.2f} times the MACs)" for row in better.itertuples())
    how = "have a higher average in their one training, which is no verdict" if once else "are above it beyond noise"
    second = (
        f"Of {len(dearer)} variants with more MACs than DeMoE, {len(better)} {how} (expert by hand)"
        f"{': ' + names if names else ''}. In the paper, which gives no noise, {len(paper)} are above it: "
        f"{', '.join(paper.row)}."
    )
    return [first, second, _macs_against_the_paper(counted, table)]


def _macs_against_the_paper(counted: pd.DataFrame, table: pd.DataFrame) -> str:
    ours = counted[counted["size"] == "paper"].set_index("experiment").macs / 1e9
    printed = published_costs().macs_g
    names = dict(zip(table.method, table.row, strict=True))
    names = {name: names.get(name, name) for name in printed.index}
    other = [name for name in printed.index if f"{ours[name]:.2f}" != f"{printed[name]:.2f}"]
    same = f"Of {len(printed)} published MACs, {len(printed) - len(other)} are counted to the printed digit"
    if not other:
        return f"{same}."
    listed = ", ".join(f"{names[name]} ({ours[name]:.2f} G counted, {printed[name]:.2f} G published)" for name in other)
    return f"{same}; not those of {listed}."
