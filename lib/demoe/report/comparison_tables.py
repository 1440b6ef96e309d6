"""Tables 1 and 3, DeMoE's k and the sums of section 5, laid out: the paper's numbers beside ours, never mixed."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.paper import published
from demoe.core.tasks import PAPER_ORDER

from .tables import Layout, Read, best

METRICS = {"psnr": 2, "ssim": 3, "lpips": 3}  # with the decimals that the paper prints
OURS = {"psnr": "psnr", "ssim": "ssim", "lpips": "lpips_vgg"}  # the paper does not say which LPIPS; see design
NONE = "–"  # no value: not published, or missing for a reason that stands in the CSV
MAIN = "DeMoE longer k=1"
PAPER_ROWS = {"DeMoE": "DeMoE_k1"}  # role -> method in the published numbers, where they differ
PAPER_PARAMS = {  # table and method of the published numbers of Section 5; DeMoE* is "equivalent to" NAFNet
    "one DeMoE*, a NAFNet": ("table1_aio", "NAFNet"),
    "DeMoE-5, one for each set": ("section5_efficiency", "DeMoE-5 (ensemble of five task-specific networks)"),
    "DeMoE": ("table1_aio", "DeMoE_k1"),
}
REALBLUR = "RealBlur-J"  # what Table 3 calls RealBlur


def paper(table: str, method: str, dataset: str, metric: str) -> float:
    """A published number (``demoe_tables.csv``), NaN where there is none."""
    rows = published()
    rows = rows[(rows.table == table) & (rows.method == method) & (rows.dataset == dataset) & (rows.metric == metric)]
    return float(rows.value.iloc[0]) if len(rows) else math.nan


def _number(value: float, decimals: int, sign: bool = False) -> str:
    return NONE if math.isnan(value) else f"{value:{'+' if sign else ''}.{decimals}f}"


def _triple(values: dict[str, float]) -> str:
    """ "29.23 / 0.867 / 0.198", or one dash where there is nothing at all."""
    texts = [_number(values[metric], decimals) for metric, decimals in METRICS.items()]
    return NONE if all(text == NONE for text in texts) else " / ".join(texts)


def _interval(row: pd.Series, decimals: int = 2, sign: bool = True) -> str:
    """ "+0.12 [-0.03, +0.25]"; without scenes enough for an interval the mean alone."""
    text = _number(row["mean"], decimals, sign)
    if text == NONE or math.isnan(row["low"]):
        return text
    return f"{text} [{_number(row['low'], decimals, sign)}, {_number(row['high'], decimals, sign)}]"


def _sets(summary: pd.DataFrame) -> list[str]:
    """Ours in the order of Table 1, then the average."""
    names = list(summary["set"].unique())
    ordered = [f"{name}{suffix}" for name in (*PAPER_ORDER, "Average") for suffix in ("", "-syn")]
    return [name for name in ordered if name in names]


def _real(name: str) -> str:
    return name.removesuffix("-syn")


def _means(summary: pd.DataFrame) -> pd.Series:
    return summary.set_index(["method", "set", "metric"])["mean"]


def table_1(read: Read) -> pd.DataFrame:
    """Quality: every method, a pair of columns a set, "PSNR / SSIM / LPIPS", the best PSNR of a group in bold."""
    methods, summary = read("05_methods"), read("05_summary")
    elsewhere = methods.role.isin([f"DeMoE longer k={k}" for k in range(2, 6)]) | (methods.role == "DeMoE*")
    methods = methods[~elsewhere]  # those stand in the tables of k and of DeMoE*
    means, columns = _means(summary), {}
    for name in _sets(summary):
        theirs, here, psnr = [], [], []
        for row in methods.itertuples():
            key = PAPER_ROWS.get(row.role, row.role)
            theirs.append(_triple({metric: paper("table1_aio", key, _real(name), metric) for metric in METRICS}))
            ours = {metric: means.get((row.method, name, column), math.nan) for metric, column in OURS.items()}
            here.append(_triple(ours))
            psnr.append(ours["psnr"])
        for group in methods.group.unique():
            places = [
                i
                for i, (one, value) in enumerate(zip(methods.group, psnr, strict=True))
                if one == group and not math.isnan(value)
            ]
            for i, text in zip(places, best([psnr[i] for i in places]), strict=True):
                if text.startswith("**") and len(places) > 1:
                    here[i] = f"**{here[i]}**"
        columns[f"{_real(name)}, paper (real)"], columns[f"{name}, here"] = theirs, here
    labels = [f"{row.method} ({row.missing})" if row.missing else row.method for row in methods.itertuples()]
    index = pd.MultiIndex.from_arrays([methods.group, labels], names=["trained", "method"])
    return pd.DataFrame(columns, index=index)


def table_1_cost(read: Read) -> pd.DataFrame:
    """Cost: the paper's numbers, the published size counted here, and the size trained here, at 3x256x256.

    Of runtimes only the paper's: those measured here differ from run to run and stand in ``timings/05_runtime.json``.
    """
    counted, methods = read("05_costs"), read("05_methods").set_index("role")
    rows = []
    for row in counted.itertuples():
        role = "DeMoE" if row.row.startswith("DeMoE") else row.row
        trained = methods.loc[role] if role in methods.index else pd.Series({"params": math.nan, "macs": math.nan})
        rows.append(
            (
                row.row,
                f"{row.paper_params_m:.2f} / {row.paper_macs_g:.2f}",
                _number(row.paper_runtime_ms, 1),
                _cost(row.params, row.macs, row.note),
                _cost(trained["params"], trained["macs"], trained.get("missing", "")),
                trained.get("method", NONE),
            )
        )
    head = [
        "method",
        "paper",
        "runtime in ms, paper (its GPU)",
        "published size, counted here",
        "size trained here",
        "trained here is",
    ]
    return pd.DataFrame(rows, columns=head).set_index("method")


def _cost(params: float, macs: float, note: str) -> str:
    if pd.isna(params):
        return note or NONE
    small = params < 5e5
    return f"{params / 1e6:.{3 if small else 2}f} / {macs / 1e9:.{3 if small else 2}f}"


def table_3(read: Read) -> pd.DataFrame:
    """DeMoE* of each set against the one DeMoE; the drop is DeMoE* minus DeMoE, positive where the specialist leads."""
    methods, summary, differences = (read(f"05_{name}") for name in ("methods", "summary", "differences"))
    name_of = methods.set_index("role").method
    means = _means(summary)
    drops = differences[
        (differences["first"] == "DeMoE*") & (differences["second"] == MAIN) & (differences.metric == "psnr")
    ].set_index("set")
    rows = []
    for name in _sets(summary):
        real = REALBLUR if _real(name) == "RealBlur" else _real(name)
        theirs = [
            _triple({metric: paper_3(method, real, metric) for metric in METRICS})
            for method in ("DeMoE_task_specific_k1", "DeMoE_k1")
        ]
        drop = paper_3("DeMoE_task_specific_k1", real, "psnr") - paper_3("DeMoE_k1", real, "psnr")
        here = [
            _triple({metric: means.get((name_of[role], name, column), math.nan) for metric, column in OURS.items()})
            for role in ("DeMoE*", MAIN)
        ]
        rows.append((real, *theirs, _number(drop, 2, True), name, *here, _interval(drops.loc[name])))
    head = [
        "set",
        "DeMoE*, paper (real)",
        "DeMoE, paper (real)",
        "drop in dB, paper",
        "set here",
        "DeMoE*, here",
        "DeMoE, here",
        "drop in dB, here [95 % interval]",
    ]
    return pd.DataFrame(rows, columns=head).set_index("set")


def paper_3(method: str, dataset: str, metric: str) -> float:
    """From Table 3, and its averages from Section 4.3 (DeMoE*) and Table 1 (DeMoE)."""
    if dataset != "Average":
        return paper("table3_task_specific", method, dataset, metric)
    table = "section4.3_upper_bound" if method == "DeMoE_task_specific_k1" else "table1_aio"
    return paper(table, method, dataset, metric)


def table_3_published(read: Read) -> pd.DataFrame:
    """The specialists of Table 3 as published, all on real sets: nothing of this was computed here."""
    read("05_summary")  # for the stamp of the comparison that this stands beside
    rows = published()
    rows = rows[rows.table == "table3_task_specific"]
    table = rows.pivot(index=["dataset", "method"], columns="metric", values="value")
    order = [(name, method) for name, method in rows[["dataset", "method"]].drop_duplicates().itertuples(index=False)]
    table = table.loc[order]
    shown = {metric: [_number(value, decimals) for value in table[metric]] for metric, decimals in METRICS.items()}
    shown = {"PSNR (dB)": shown["psnr"], "SSIM": shown["ssim"], "LPIPS": shown["lpips"]}
    names = [
        (name, method.replace("DeMoE_task_specific_k1", "DeMoE* k=1").replace("_k1", " k=1")) for name, method in order
    ]
    return pd.DataFrame(shown, index=pd.MultiIndex.from_tuples(names, names=["set (real)", "method, as published"]))


def table_k(read: Read) -> pd.DataFrame:
    """DeMoE with its k best experts: cost at the published size, and PSNR of the longer trained one here."""
    costs, summary = read("05_cost_of_k"), read("05_summary")
    methods, differences = read("05_methods").set_index("role"), read("05_differences")
    average = summary[(summary["set"] == "Average") & (summary.metric == "psnr")].set_index("method")
    rows = []
    for row in costs.itertuples():
        role = f"DeMoE longer k={row.k}"
        change = differences[
            (differences["first"] == role)
            & (differences["second"] == MAIN)
            & (differences["set"] == "Average")
            & (differences.metric == "psnr")
        ]
        rows.append(
            (
                f"{row.k}",
                f"{row.macs / 1e9:.2f}",
                f"{methods.macs[role] / 1e9:.3f}",
                f"{paper('table1_aio', 'DeMoE_k1', 'Average', 'psnr'):.2f}" if row.k == 1 else NONE,
                _interval(average.loc[methods.method[role]], sign=False),
                NONE if change.empty else _interval(change.iloc[0], 3),
            )
        )
    head = [
        "k",
        "MACs (G), published size",
        "MACs (G), size trained here",
        "PSNR, paper (real)",
        "PSNR (dB), here [95 % interval]",
        "change from k=1 (dB), here",
    ]
    return pd.DataFrame(rows, columns=head).set_index("k")


def table_ensemble(read: Read) -> pd.DataFrame:
    """The sums of Section 5: parameters of five task-specific networks and of one DeMoE."""
    counted = read("05_ensemble")
    base = float(counted.params.iloc[-1])
    theirs = {what: paper(*row, "-", "params_m") for what, row in PAPER_PARAMS.items()}
    rows = [
        (row.what, f"{row.networks}", f"{theirs[row.what]:.2f}", f"{row.params / 1e6:.2f}", f"{row.params / base:.2f}")
        for row in counted.itertuples()
    ]
    return pd.DataFrame(
        rows, columns=["what", "networks", "parameters (M), paper", "parameters (M), counted here", "times DeMoE"]
    ).set_index("what")


_TRIPLE = "PSNR (dB) / SSIM / LPIPS (VGG)"
LAYOUTS: dict[str, Layout] = {
    "05_table_1": Layout(
        table_1,
        f"Table 1, quality: {_TRIPLE}. Paper: real sets. Here: sets named -syn are "
        "synthetic, networks are of the size in their name. Compare within a group, which is trained "
        "alike, once each; DeMoE has two stages of that length, as in the paper, and in the longer "
        "group its second stage on top. Bold: best PSNR of its group. "
        "–: not published, or missing for the reason in 05_scores.csv",
    ),
    "05_table_1_cost": Layout(
        table_1_cost,
        "Table 1, cost: parameters (M) / MACs (G) at 3x256x256. Runtimes "
        "measured here stand in timings/05_runtime.json",
    ),
    "05_table_3": Layout(
        table_3,
        f"Table 3, task-specific DeMoE* against the all-in-one DeMoE: {_TRIPLE}. Here both "
        "start from the same baseline; intervals are bootstraps over scenes",
    ),
    "05_table_3_published": Layout(
        table_3_published, "Table 3, as published, for reference: real sets, none of these numbers was computed here"
    ),
    "05_table_k": Layout(
        table_k,
        "DeMoE with its k best experts, which the paper leaves out: average over the five "
        "sets. Intervals are bootstraps over scenes; MACs at 3x256x256",
    ),
    "05_table_ensemble": Layout(
        table_ensemble, "Section 5: five task-specific networks against one DeMoE, at the published size"
    ),
}
