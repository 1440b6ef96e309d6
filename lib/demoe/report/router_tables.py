"""Tables 2, 8 and 9 and the comparison of rules, laid out: the paper's numbers beside ours, never mixed."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.paper import published
from demoe.data.real import catalog
from demoe.evaluation import expert_choice
from demoe.evaluation.metrics import LABELS
from demoe.evaluation.statistics import MISSING, shown

from .tables import Layout, Read

SHORT = " (short)"  # behind the name of a network that was trained for the ablations' length
NONE = "-"  # no such number: not published, or nothing of ours
# The paper's names of metrics, ours, and the decimals that it prints.
METRICS = {
    "psnr": ("psnr", 2),
    "ssim": ("ssim", 3),
    "lpips": ("lpips_vgg", 3),
    "musiq": ("musiq", 2),
    "nrqm": ("nrqm", 3),
    "niqe": ("niqe", 3),
}
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
)
SETS = {dataset.name: dataset.metrics for dataset in catalog.DATASETS if dataset.metrics}
ABOUT = (
    "Paper: real sets, networks of full size and length. Here: the sets and the profile named below; PromptIR, "
    'Restormer, FFTFormer, SFHFormer (slim ones where the profile is small) and the rows "as short as these" were '
    "trained for the length of an ablation, NAFNet and DeMoE for the whole length of the profile. "
    f"{MISSING}: the metric's package or weights are not on the machine; {NONE}: no such number."
)


def _only_paper(table: str, names: dict[str, str]) -> tuple[Row, ...]:
    """Rows of ``table`` that only the paper has; ``names`` are those written otherwise here."""
    known = {paper for _, paper, _ in (*COMPARED, *MANUAL) if paper} | {"DeMoE_k=realblur", "DeMoE_k=lolblur"}
    methods = published().query("table == @table").method.unique()
    return tuple((names.get(one, one), one, "") for one in methods if one not in known)


MANUAL: tuple[Row, ...] = (
    ("DeMoE k=5", "", expert_choice.SOFT),
    ("DeMoE, expert chosen by hand", "DeMoE_k1_manual", expert_choice.MANUAL),
)
# What the two tables of the appendix call the row with the expert chosen by hand; Table 8 has none for RealDOF.
BY_HAND = {"table8_realdof": "", "table8_rsblur": "DeMoE_k=realblur", "table9_real_lolblur": "DeMoE_k=lolblur"}
OTHERS = {"RUAS->MIMO": "RUAS → MIMO", "MIMO->Zero-DCE": "MIMO → Zero-DCE"}


def ours(read: Read) -> pd.DataFrame:
    """Means over the pictures: index (set, method), a column a metric; of the main networks and of the short ones."""
    both = [read(name) for name in ("06_scores", "06_short")]
    columns = ["set", "method", *(name for name, _ in METRICS.values())]
    every = pd.concat([table[columns].astype({name: float for name, _ in METRICS.values()}) for table in both])
    return every.groupby(["set", "method"], sort=False).mean()


def set_here(means: pd.DataFrame, name: str) -> str:
    """What the set ``name`` of the paper is called among ours: "RealDOF" or, for its stand-in, "RealDOF-syn".

    Raises ``ValueError`` where it is not among them.
    """
    for one in means.index.get_level_values("set").unique():
        if one.removesuffix("-syn") == name:
            return one
    raise ValueError(f"the saved scores have no {name}: run notebook 06 again")


def _paper(table: str, method: str, name: str, metric: str) -> str:
    numbers = published()
    found = numbers[
        (numbers.table == table) & (numbers.method == method) & (numbers.dataset == name) & (numbers.metric == metric)
    ].value
    return f"{found.item():.{METRICS[metric][1]}f}" if len(found) else NONE


def _here(means: pd.DataFrame, method: str, name: str, metric: str) -> str:
    if (name, method) not in means.index:
        return NONE
    column, decimals = METRICS[metric]
    return shown(float(means.loc[(name, method), column]), decimals)


def table_2(read: Read) -> pd.DataFrame:
    """Table 2: the three sets outside AIO-Blur, several metrics in a cell."""
    means = ours(read)
    rows = (*COMPARED, *MANUAL, *_only_paper("table2_ood", {}))
    columns = {}
    for name, names in SETS.items():
        here, what = set_here(means, name), " / ".join(LABELS[METRICS[one][0]].replace(" (dB)", "") for one in names)
        of_paper = [[_paper("table2_ood", paper, name, one) for one in names] for _, paper, _ in rows]
        of_ours = [[_here(means, method, here, one) for one in names] for _, _, method in rows]
        columns[what, f"paper ({name}, real)"] = [_joined(cells) for cells in of_paper]
        columns[what, f"here ({here})"] = [_joined(cells) for cells in of_ours]
    return pd.DataFrame(columns, index=pd.Index([label for label, _, _ in rows], name="method"))


def _joined(cells: list[str]) -> str:
    return NONE if set(cells) == {NONE} else " / ".join(cells)


def of_one_set(read: Read, table: str, name: str) -> pd.DataFrame:
    """Tables 8 and 9: one set outside AIO-Blur, a pair of columns a metric."""
    means = ours(read)
    here = set_here(means, name)
    by_hand = ("DeMoE, expert chosen by hand", BY_HAND[table], expert_choice.MANUAL)
    rows = (*COMPARED, MANUAL[0], by_hand, *_only_paper(table, OTHERS))
    columns = {}
    for metric in SETS[name]:
        head = LABELS[METRICS[metric][0]]
        columns[head, f"paper ({name}, real)"] = [_paper(table, paper, name, metric) for _, paper, _ in rows]
        columns[head, f"here ({here})"] = [_here(means, method, here, metric) for _, _, method in rows]
    return pd.DataFrame(columns, index=pd.Index([label for label, _, _ in rows], name="method"))


def comparison(read: Read) -> pd.DataFrame:
    """The rules beside router, person and oracle, from ``rules.compare``'s rows."""
    table = read("06_comparison")
    methods = [name for name in expert_choice.METHODS if name in set(table.method)]
    columns: dict[tuple[str, str], list[str]] = {
        ("needs", "at inference"): [expert_choice.NEEDS.get(name, "nothing") for name in methods]
    }
    psnr = table[(table.quantity == "psnr") & (table["set"] != "Average")]
    for name in psnr["set"].unique():
        values = psnr[psnr["set"] == name].set_index("method")["mean"].reindex(methods)
        columns["PSNR (dB)", name] = [shown(value, 2) for value in values]
    for group, quantity, head in (
        ("outside", "share", ("gap to the oracle closed", "OOD average")),
        ("outside", "gain", ("dB over k=1", "OOD average")),
        ("inside", "gain", ("dB over k=1", "in-distribution average")),
    ):
        chosen = table[(table.group == group) & (table.quantity == quantity) & (table["set"] == "Average")]
        by = chosen.set_index("method").reindex(methods)
        columns[head] = [
            _with_interval(*row, share=quantity == "share") for row in zip(by["mean"], by.low, by.high, strict=True)
        ]
        if quantity == "gain":
            counts = by.reindex(columns=["changed", "pictures"]).to_numpy(float)
            columns["another choice than k=1", head[1].replace("average", "pictures")] = [
                NONE if math.isnan(changed) else f"{changed:.0f} of {pictures:.0f}" for changed, pictures in counts
            ]
    for group, head in (("inside", "in distribution"), ("outside", "OOD")):
        cost = table[(table.group == group) & table.quantity.isin(["encoder", "decoder", "experts"])]
        by = cost.pivot(index="method", columns="quantity", values="mean").reindex(methods)
        columns["passes of encoder / decoder / experts", head] = [
            " / ".join(f"{value:.3g}" for value in row) for row in by[["encoder", "decoder", "experts"]].to_numpy()
        ]
    return pd.DataFrame(columns, index=pd.Index(methods, name="who chooses"))


def _with_interval(mean: float, low: float, high: float, share: bool) -> str:
    if math.isnan(mean):
        return NONE
    one = (lambda value: f"{100 * value:.0f} %") if share else (lambda value: f"{round(value, 3) + 0.0:+.3f}")
    return one(mean) if math.isnan(low) or low == high else f"{one(mean)} [{one(low)}, {one(high)}]"


LAYOUTS: dict[str, Layout] = {
    "06_table_2": Layout(table_2, "Table 2: sets outside the training distribution (AIO-Blur-OOD). " + ABOUT),
    "06_table_8_realdof": Layout(
        lambda read: of_one_set(read, "table8_realdof", "RealDOF"), "Table 8, first part: RealDOF. " + ABOUT
    ),
    "06_table_8_rsblur": Layout(
        lambda read: of_one_set(read, "table8_rsblur", "RSBlur"), "Table 8, second part: RSBlur. " + ABOUT
    ),
    "06_table_9": Layout(
        lambda read: of_one_set(read, "table9_real_lolblur", "Real-LOLBlur"),
        "Table 9: Real-LOLBlur, which has no sharp pictures. " + ABOUT,
    ),
    "06_rules": Layout(
        comparison,
        "Who chooses the expert. Gap closed: 0 % is the router's k=1, 100 % the oracle (best expert of each picture); "
        "brackets are 95 % intervals of a bootstrap over scenes; beside a gain stands on how many pictures "
        "the choice differs from the router's, because one that differs on a few proves little. "
        "A mixture runs all five experts in one pass of the decoder. Averages are over the "
        "sets that have sharp pictures. The paper has no such table; of its methods, "
        "DeMoE k=1 and DeMoE manual are here.",
    ),
}
