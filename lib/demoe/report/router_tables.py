"""Tables 2, 8 and 9 and the comparison of rules, laid out: the paper's numbers beside ours, never mixed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from demoe.core.paper import published
from demoe.data.real import catalog
from demoe.evaluation import expert_choice
from demoe.evaluation.metrics import LABELS
from demoe.experiments.comparisons import SHORT

from .tables import NONE, OURS, Read, bare, harm, interval, number, our_cell, paper_cell, where

REFIT = "niqe_refit"  # what the paper has not: its NIQE is by the published parameters
# A row each: label, the paper's name for it, ours. "" where there is none.
Row = tuple[str, str, str]
COMPARED: tuple[Row, ...] = (
    ("input", "", expert_choice.INPUT),
    ("PromptIR", "", "PromptIR" + SHORT),
    ("Restormer", "Restormer", "Restormer" + SHORT),
    ("FFTFormer", "FFTFormer", "FFTFormer" + SHORT),
    ("SFHFormer", "SFHFormer", "SFHFormer" + SHORT),
    ("NAFNet, as short as these", "", "NAFNet" + SHORT),
    ("DeMoE k=1, as short as these", "", "DeMoE" + SHORT),
    ("NAFNet", "NAFNet", expert_choice.BASELINE),
    ("DeMoE k=1", "DeMoE_k1", expert_choice.ROUTER),
    ("DeMoE k=5", "", expert_choice.SOFT),
)
SETS = {dataset.name: dataset.metrics for dataset in catalog.DATASETS if dataset.metrics}
# What the tables call the row with the expert chosen by hand; Table 8 has none for RealDOF.
BY_HAND = {
    "table2_ood": "DeMoE_k1_manual",
    "table8_realdof": "",
    "table8_rsblur": "DeMoE_k=realblur",
    "table9_real_lolblur": "DeMoE_k=lolblur",
}
OTHERS = {"RUAS->MIMO": "RUAS → MIMO", "MIMO->Zero-DCE": "MIMO → Zero-DCE"}  # names written otherwise here


def accuracy(routing: pd.DataFrame) -> pd.Series:
    """The share of pictures of ``router_view``'s table whose expert is right, by set and of "all"."""
    return pd.concat([routing.groupby("set", sort=False).correct.mean(), pd.Series({"all": routing.correct.mean()})])


def paper_by_hand() -> pd.DataFrame:
    """Of Table 2 as published NAFNet, and DeMoE by its router and by hand: (set, metric) down, methods across."""
    rows = where(published(), table="table2_ood")
    rows = rows[rows.method.isin(["NAFNet", "DeMoE_k1", BY_HAND["table2_ood"]])]
    return rows.pivot(index=["dataset", "metric"], columns="method", values="value").loc[list(SETS)]


def _rows(table: str) -> list[Row]:
    """The rows of a table of the paper: those that are here, then those that only the paper has."""
    rows = [*COMPARED, ("DeMoE, expert chosen by hand", BY_HAND[table], expert_choice.MANUAL)]
    known = {theirs for _, theirs, _ in rows}
    methods = where(published(), table=table).method.unique()
    return rows + [(OTHERS.get(name, name), name, "") for name in methods if name not in known]


def ours(read: Read) -> pd.DataFrame:
    """Means over the pictures: index (method, set), a column a metric; of the main networks and of the short ones."""
    columns = [*OURS.values(), REFIT]
    both = [read(name).reindex(columns=["method", "set", *columns]) for name in ("06_scores", "06_short")]
    every = pd.concat([table.astype(dict.fromkeys(columns, float)) for table in both])
    return every.groupby(["method", "set"], sort=False).mean()


def set_here(means: pd.DataFrame, name: str) -> str:
    """What the set ``name`` of the paper is called among ours: "RealDOF" or, for its stand-in, "RealDOF-syn".

    Raises ``ValueError`` where it is not among them.
    """
    for one in means.index.get_level_values("set").unique():
        if bare(one) == name:
            return one
    raise ValueError(f"the saved scores have no {name}: run notebook 06 again")


def paper_table(table: str, shown: Sequence[tuple[str, Sequence[str]]], read: Read) -> pd.DataFrame:
    """Tables 2, 8 and 9: for each set and metrics of ``shown`` a pair of columns, several metrics in a cell."""
    means, rows, columns = ours(read), _rows(table), {}
    for name, metrics in shown:
        here, labels = set_here(means, name), [LABELS[OURS[one]] for one in metrics]
        head = " / ".join(label.replace(" (dB)", "") for label in labels) if len(labels) > 1 else labels[0]
        columns[head, f"paper ({name}, real)"] = [paper_cell(table, theirs, name, metrics) for _, theirs, _ in rows]
        columns[head, f"here ({here})"] = [
            our_cell(means, method, here, metrics, expert_choice.INPUT) for _, _, method in rows
        ]
        if "niqe" in metrics and means[REFIT].notna().any():
            refit = means[REFIT].reindex([(method, here) for _, _, method in rows])
            columns[LABELS[REFIT], f"here ({here})"] = [number(value, 3, missing=NONE) for value in refit]
    trained = set(means.index.get_level_values("method"))
    late = [" (not trained here)" * (method.endswith(SHORT) and method not in trained) for _, _, method in rows]
    labels = [label + note for (label, _, _), note in zip(rows, late, strict=True)]
    return pd.DataFrame(columns, index=pd.Index(labels, name="method"))


def of_one_set(table: str, name: str, read: Read) -> pd.DataFrame:
    """Tables 8 and 9: one set outside AIO-Blur, a pair of columns a metric."""
    return paper_table(table, [(name, (metric,)) for metric in SETS[name]], read)


def rules(read: Read) -> pd.DataFrame:
    """The rules beside router, person and oracle, from ``expert_choice.compare_methods``'s rows."""
    table = read("06_comparison")
    methods = [name for name in expert_choice.METHODS if name in set(table.method)]

    def average(group: str, quantity: str) -> pd.DataFrame:
        rows = where(table, set="Average", group=group, quantity=quantity)
        return rows.set_index("method").reindex(methods)

    columns = {("needs", "at inference"): [expert_choice.NEEDS.get(name, "nothing") for name in methods]}
    of_sets = table[(table.quantity == "psnr") & (table["set"] != "Average")]
    for name, part in of_sets.groupby("set", sort=False):
        values = part.set_index("method")["mean"].reindex(methods)
        columns["PSNR (dB)", name] = [number(value) + harm(value, values[expert_choice.INPUT]) for value in values]
    shares = average("outside", "share").iterrows()
    columns["gap to the oracle closed", "OOD average"] = [interval(row, 0, sign=False, unit="%") for _, row in shares]
    for group, words in (("outside", "OOD"), ("inside", "in-distribution")):
        gains = average(group, "gain")
        columns["dB over k=1", f"{words} average"] = [interval(row, 3) for _, row in gains.iterrows()]
        counts = gains[["changed", "pictures"]].to_numpy(float)
        columns["another choice than k=1", f"{words} pictures"] = [
            NONE if math.isnan(changed) else f"{changed:.0f} of {pictures:.0f}" for changed, pictures in counts
        ]
    for group, head in (("inside", "in distribution"), ("outside", "OOD")):
        passes = [average(group, one)["mean"] for one in ("encoder", "decoder", "experts")]
        columns["passes of encoder / decoder / experts", head] = [
            " / ".join(f"{value:.3g}" for value in row) for row in zip(*passes, strict=True)
        ]
    return pd.DataFrame(columns, index=pd.Index(methods, name="who chooses"))
