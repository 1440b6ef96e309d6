"""Tables 1 and 3, DeMoE's k and the sums of section 5, laid out: the paper's numbers beside ours, never mixed."""

from __future__ import annotations

import math

import pandas as pd

from demoe.core.paper import published
from demoe.evaluation.comparison import LONGER_K, MAIN

from .tables import (
    DECIMALS,
    NONE,
    Read,
    bare,
    best,
    interval,
    number,
    our_cell,
    paper,
    paper_cell,
    sets_in_order,
    where,
)

METRICS = ("psnr", "ssim", "lpips")
PAPER_ROWS = {"DeMoE": "DeMoE_k1"}  # role -> method in the published numbers, where they differ
PAPER_PARAMS = {  # table and method of the published numbers of Section 5; DeMoE* is "equivalent to" NAFNet
    "one DeMoE*, a NAFNet": ("table1_aio", "NAFNet"),
    "DeMoE-5, one for each set": ("section5_efficiency", "DeMoE-5 (ensemble of five task-specific networks)"),
    "DeMoE": ("table1_aio", "DeMoE_k1"),
}
SPECIALIST, ALL_IN_ONE = "DeMoE_task_specific_k1", "DeMoE_k1"
REALBLUR = "RealBlur-J"  # what Table 3 calls RealBlur


def _means(summary: pd.DataFrame) -> pd.DataFrame:
    return summary.pivot(index=["method", "set"], columns="metric", values="mean")


def table_1(read: Read) -> pd.DataFrame:
    """Quality: every method, a pair of columns a set, "PSNR / SSIM / LPIPS", the best PSNR of a group in bold."""
    methods, summary = read("05_methods"), read("05_summary")
    elsewhere = methods.role.str.fullmatch(rf"{LONGER_K}[2-5]|DeMoE[*]")  # in the tables of k and of DeMoE*
    methods = methods[~elsewhere].reset_index(drop=True)
    means, columns = _means(summary), {}
    for name in sets_in_order(summary):
        theirs = [PAPER_ROWS.get(role, role) for role in methods.role]
        columns[f"{bare(name)}, paper (real)"] = [paper_cell("table1_aio", row, bare(name), METRICS) for row in theirs]
        here = [our_cell(means, method, name, METRICS, NONE) for method in methods.method]
        psnr = means.psnr.reindex([(method, name) for method in methods.method]).set_axis(methods.index).dropna()
        for _, part in psnr.groupby(methods.group):
            for i, text in zip(part.index, best(part), strict=True):
                here[i] = f"**{here[i]}**" if text.startswith("**") and len(part) > 1 else here[i]
        columns[f"{name}, here"] = here
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
    decimals = 3 if params < 5e5 else 2
    return f"{params / 1e6:.{decimals}f} / {macs / 1e9:.{decimals}f}"


def table_3(read: Read) -> pd.DataFrame:
    """DeMoE* of each set against the one DeMoE; the drop is DeMoE* minus DeMoE, positive where the specialist leads."""
    methods, summary, differences = (read(f"05_{name}") for name in ("methods", "summary", "differences"))
    name_of, means = methods.set_index("role").method, _means(summary)
    drops = where(differences, first="DeMoE*", second=MAIN, metric="psnr").set_index("set")
    rows = {}
    for name in sets_in_order(summary):
        real = REALBLUR if bare(name) == "RealBlur" else bare(name)
        theirs = [(_table_3_source(method, real), method, real) for method in (SPECIALIST, ALL_IN_ONE)]
        specialist, one = (paper(*row, "psnr") for row in theirs)
        rows[real] = {
            "DeMoE*, paper (real)": paper_cell(*theirs[0], METRICS),
            "DeMoE, paper (real)": paper_cell(*theirs[1], METRICS),
            "drop in dB, paper": number(specialist - one, 2, True, NONE),
            "set here": name,
            "DeMoE*, here": our_cell(means, name_of["DeMoE*"], name, METRICS, NONE),
            "DeMoE, here": our_cell(means, name_of[MAIN], name, METRICS, NONE),
            "drop in dB, here [95 % interval]": interval(drops.loc[name], missing=NONE),
        }
    return pd.DataFrame(rows).T.rename_axis("set")


def _table_3_source(method: str, dataset: str) -> str:
    """Averages, which Table 3 has not, are from Section 4.3 (DeMoE*) and Table 1 (DeMoE)."""
    if dataset != "Average":
        return "table3_task_specific"
    return "section4.3_upper_bound" if method == SPECIALIST else "table1_aio"


def table_3_published(read: Read) -> pd.DataFrame:
    """The specialists of Table 3 as published, all on real sets: nothing of this was computed here."""
    read("05_summary")  # for the stamp of the comparison that this stands beside
    rows = where(published(), table="table3_task_specific")
    table = rows.pivot(index=["dataset", "method"], columns="metric", values="value")
    table = table.loc[rows.set_index(["dataset", "method"]).index.unique()]  # in the paper's order
    heads = dict(zip(METRICS, ("PSNR (dB)", "SSIM", "LPIPS"), strict=True))
    cells = {head: [number(value, DECIMALS[one], missing=NONE) for value in table[one]] for one, head in heads.items()}
    names = table.index.get_level_values("method").str.replace(SPECIALIST, "DeMoE*_k1").str.replace("_k1", " k=1")
    sets = table.index.get_level_values("dataset")
    return pd.DataFrame(cells, pd.MultiIndex.from_arrays([sets, names], names=["set (real)", "method, as published"]))


def table_k(read: Read) -> pd.DataFrame:
    """DeMoE with its k best experts: cost at the published size, and PSNR of the longer trained one here."""
    costs, summary = read("05_cost_of_k"), read("05_summary")
    methods, differences = read("05_methods").set_index("role"), read("05_differences")
    average = where(summary, set="Average", metric="psnr").set_index("method")
    changes = where(differences, set="Average", metric="psnr", second=MAIN).set_index("first")
    rows = {}
    for row in costs.itertuples():
        role = f"{LONGER_K}{row.k}"
        rows[str(row.k)] = {
            "MACs (G), published size": f"{row.macs / 1e9:.2f}",
            "MACs (G), size trained here": f"{methods.macs[role] / 1e9:.3f}",
            "PSNR, paper (real)": paper_cell("table1_aio", f"DeMoE_k{row.k}", "Average", ["psnr"]),
            "PSNR (dB), here [95 % interval]": interval(average.loc[methods.method[role]], sign=False, missing=NONE),
            "change from k=1 (dB), here": interval(changes.loc[role], 3) if role in changes.index else NONE,
        }
    return pd.DataFrame(rows).T.rename_axis("k")


def table_ensemble(read: Read) -> pd.DataFrame:
    """The sums of Section 5: parameters of five task-specific networks and of one DeMoE."""
    counted = read("05_ensemble").set_index("what")
    theirs = [paper(*PAPER_PARAMS[what], "-", "params_m") for what in counted.index]
    columns = {
        "networks": counted.networks.astype(str),
        "parameters (M), paper": [f"{value:.2f}" for value in theirs],
        "parameters (M), counted here": [f"{value / 1e6:.2f}" for value in counted.params],
        "times DeMoE": [f"{value / counted.params.iloc[-1]:.2f}" for value in counted.params],
    }
    return pd.DataFrame(columns, index=counted.index)
