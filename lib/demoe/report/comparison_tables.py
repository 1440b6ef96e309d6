"""Tables 1 and 3, DeMoE's k and the sums of section 5, laid out: the paper's numbers beside ours, never mixed."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.paper import published

from .tables import Layout, Read, bare, best, interval, joined, number, sets_in_order

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
PAPER_3 = ("DeMoE_task_specific_k1", "DeMoE_k1")
REALBLUR = "RealBlur-J"  # what Table 3 calls RealBlur


def paper(table: str, method: str, dataset: str, metric: str) -> float:
    """A published number (``demoe_tables.csv``), NaN where there is none."""
    rows = published()
    rows = rows[(rows.table == table) & (rows.method == method) & (rows.dataset == dataset) & (rows.metric == metric)]
    return float(rows.value.iloc[0]) if len(rows) else math.nan


def _triple(values: dict[str, float]) -> str:
    """ "29.23 / 0.867 / 0.198", or one dash where there is nothing at all."""
    return joined(number(values[metric], decimals, missing=NONE) for metric, decimals in METRICS.items())


def _interval(row: pd.Series, decimals: int = 2, sign: bool = True) -> str:
    return interval(row, decimals, sign=sign, missing=NONE)


def _means(summary: pd.DataFrame) -> pd.Series:
    return summary.set_index(["method", "set", "metric"])["mean"]


def table_1(read: Read) -> pd.DataFrame:
    """Quality: every method, a pair of columns a set, "PSNR / SSIM / LPIPS", the best PSNR of a group in bold."""
    methods, summary = read("05_methods"), read("05_summary")
    elsewhere = methods.role.isin([f"DeMoE longer k={k}" for k in range(2, 6)]) | (methods.role == "DeMoE*")
    methods = methods[~elsewhere]  # those stand in the tables of k and of DeMoE*
    means, columns, groups = _means(summary), {}, methods.group.reset_index(drop=True)
    for name in sets_in_order(summary):
        theirs, here, psnr = [], [], []
        for row in methods.itertuples():
            key = PAPER_ROWS.get(row.role, row.role)
            theirs.append(_triple({metric: paper("table1_aio", key, bare(name), metric) for metric in METRICS}))
            ours = {metric: means.get((row.method, name, column), math.nan) for metric, column in OURS.items()}
            here.append(_triple(ours))
            psnr.append(ours["psnr"])
        for _, part in pd.Series(psnr).dropna().groupby(groups):
            for i, text in zip(part.index, best(part), strict=True):
                here[i] = f"**{here[i]}**" if text.startswith("**") and len(part) > 1 else here[i]
        columns[f"{bare(name)}, paper (real)"], columns[f"{name}, here"] = theirs, here
    labels = [f"{row.method} ({row.missing})" if row.missing else row.method for row in methods.itertuples()]
    index = pd.MultiIndex.from_arrays([methods.group, labels], names=["trained", "method"])
    return pd.DataFrame(columns, index=index)


def table_1_cost(read: Read) -> pd.DataFrame:
    """Cost: the paper's numbers, the published size counted here, and the size trained here, at 3x256x256.

    Of runtimes only the paper's: those measured here differ from run to run and stand in ``timings/05_runtime.json``.
    """
    counted, methods = read("05_costs"), read("05_methods").set_index("role")
    rows = {}
    for row in counted.itertuples():
        role = "DeMoE" if row.row.startswith("DeMoE") else row.row
        trained = methods.loc[role] if role in methods.index else pd.Series({"params": math.nan, "macs": math.nan})
        rows[row.row] = {
            "paper": f"{row.paper_params_m:.2f} / {row.paper_macs_g:.2f}",
            "runtime in ms, paper (its GPU)": number(row.paper_runtime_ms, 1, missing=NONE),
            "published size, counted here": _cost(row.params, row.macs, row.note),
            "size trained here": _cost(trained["params"], trained["macs"], trained.get("missing", "")),
            "trained here is": trained.get("method", NONE),
        }
    return pd.DataFrame(rows).T.rename_axis("method")


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
    rows = {}
    for name in sets_in_order(summary):
        real = REALBLUR if bare(name) == "RealBlur" else bare(name)
        of_paper = [{metric: paper_3(method, real, metric) for metric in METRICS} for method in PAPER_3]
        ours = [
            {metric: means.get((name_of[role], name, column), math.nan) for metric, column in OURS.items()}
            for role in ("DeMoE*", MAIN)
        ]
        rows[real] = {
            **{f"{head}, paper (real)": _triple(of) for head, of in zip(("DeMoE*", "DeMoE"), of_paper, strict=True)},
            "drop in dB, paper": number(of_paper[0]["psnr"] - of_paper[1]["psnr"], 2, True, NONE),
            "set here": name,
            **{f"{head}, here": _triple(of) for head, of in zip(("DeMoE*", "DeMoE"), ours, strict=True)},
            "drop in dB, here [95 % interval]": _interval(drops.loc[name]),
        }
    return pd.DataFrame(rows).T.rename_axis("set")


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
    shown = {
        metric: [number(value, decimals, missing=NONE) for value in table[metric]]
        for metric, decimals in METRICS.items()
    }
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
    changes = differences[(differences["set"] == "Average") & (differences.metric == "psnr")]
    changes = changes[changes["second"] == MAIN].set_index("first")
    rows = {}
    for row in costs.itertuples():
        role, known = f"DeMoE longer k={row.k}", row.k == 1
        rows[str(row.k)] = {
            "MACs (G), published size": f"{row.macs / 1e9:.2f}",
            "MACs (G), size trained here": f"{methods.macs[role] / 1e9:.3f}",
            "PSNR, paper (real)": f"{paper('table1_aio', 'DeMoE_k1', 'Average', 'psnr'):.2f}" if known else NONE,
            "PSNR (dB), here [95 % interval]": _interval(average.loc[methods.method[role]], sign=False),
            "change from k=1 (dB), here": _interval(changes.loc[role], 3) if role in changes.index else NONE,
        }
    return pd.DataFrame(rows).T.rename_axis("k")


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
