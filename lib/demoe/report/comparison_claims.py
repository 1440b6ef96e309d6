"""What notebook 05 found, against the paper's words (Sections 4.1, 4.3 and 5): sentences computed from the numbers.

A difference counts only where its 95 % interval, a bootstrap over scenes, does not contain zero. The intervals know
the test pictures' spread, not that of another training: one seed of each network stands behind these sentences.
"""

from __future__ import annotations

import math

import pandas as pd

MAIN = "DeMoE longer k=1"
AVERAGE = "Average"
TRIVIAL = 0.005  # dB; what a table with two decimals would not show is not called a difference


def sign(row: pd.Series) -> int:
    """1 or -1 where the interval lies above or below zero, 0 where it holds zero, is not known or the mean is tiny."""
    if math.isnan(row["low"]) or row["low"] <= 0 <= row["high"] or abs(row["mean"]) < TRIVIAL:
        return 0
    return 1 if row["low"] > 0 else -1


def _db(row: pd.Series, decimals: int = 2) -> str:
    if math.isnan(row["low"]):
        return f"{row['mean']:+.{decimals}f} dB (no interval: too few scenes)"
    return f"{row['mean']:+.{decimals}f} dB [{row['low']:+.{decimals}f}, {row['high']:+.{decimals}f}]"


def _of(differences: pd.DataFrame, first: str, second: str, dataset: str = AVERAGE) -> pd.Series | None:
    rows = differences[(differences["first"] == first) & (differences["second"] == second)
                       & (differences["set"] == dataset) & (differences.metric == "psnr")]
    return None if rows.empty else rows.iloc[0]


def _plain(names: list[str]) -> str:
    return ", ".join(names) if names else "none"


def table_1(differences: pd.DataFrame, methods: pd.DataFrame) -> str:
    """Section 4.1: "DeMoE (based on NAFNet) is the best method overall", judged at equal length."""
    rows = differences[(differences["first"] == "DeMoE") & (differences["set"] == AVERAGE)
                       & (differences.metric == "psnr") & (differences["second"] != "input")].set_index("second")
    signs = rows.apply(sign, axis=1)
    better, worse = list(rows.index[signs > 0]), list(rows.index[signs < 0])
    even = list(rows.index[signs == 0])
    if worse:
        verdict = f"not the best: {_plain(worse)} {'is' if len(worse) == 1 else 'are'} above it"
    elif even:
        verdict = f"not told apart from {_plain(even)}"
    else:
        verdict = "the best, as the paper says"
    numbers = "; ".join(f"{name} {_db(row)}" for name, row in rows.iterrows())
    left_out = methods[methods.missing != ""]
    slim = methods[methods.method.str.contains("(width", regex=False)]
    small = " These are slim networks after a short training: nothing follows for the published ones." * (len(slim) > 0)
    gaps = f" Left out: {', '.join(left_out.role)} ({left_out.missing.iloc[0]})." if len(left_out) else ""
    return (
        f"Trained equally long, but for DeMoE's second stage, which gives it twice the steps, DeMoE k=1 is on average "
        f"{verdict}; clearly below it: {_plain(better)}. DeMoE minus each: {numbers}. The paper, on real sets, at "
        f"width 32 and with full training: +0.07 dB from NAFNet, +0.56 dB from PromptIR.{small}{gaps}"
    )


def longer(differences: pd.DataFrame) -> str:
    """Stage 2 against the baseline that it starts from, both at the profile's full length."""
    row = _of(differences, MAIN, "NAFNet longer")
    verdict = {1: "above", -1: "below", 0: "not told apart from"}[sign(row)]
    agrees = "as in the paper (+0.07 dB)" if sign(row) > 0 else "where the paper has +0.07 dB"
    return f"The longer trained DeMoE k=1 is {verdict} its baseline, {agrees}: {_db(row)}."


def gain(differences: pd.DataFrame) -> str:
    """Whether the longer trained DeMoE restores at all: against the blurred input, set by set."""
    rows = differences[(differences["first"] == MAIN) & (differences["second"] == "input")
                       & (differences.metric == "psnr")].set_index("set")
    signs = rows.drop(index=AVERAGE).apply(sign, axis=1)
    kinds = (("clearly better", 1), ("clearly worse", -1), ("not clearly different", 0))
    parts = [f"{words} on {_plain(list(signs.index[signs == one]))}" for words, one in kinds if (signs == one).any()]
    return f"Against the blurred input it has {_db(rows.loc[AVERAGE])} on average; {'; '.join(parts)}."


def task_specific(differences: pd.DataFrame, summary: pd.DataFrame, methods: pd.DataFrame) -> str:
    """Section 4.3: "the DeMoE performance drop is just 0.3 %" of PSNR from the task-specific networks."""
    row = _of(differences, "DeMoE*", MAIN)
    name = methods.set_index("role").method["DeMoE*"]
    rows = summary[(summary.method == name) & (summary["set"] == AVERAGE) & (summary.metric == "psnr")]
    level = float(rows["mean"].iloc[0])
    verdict = {
        1: "DeMoE loses to the five networks tuned to one set each",
        -1: "DeMoE is above the five networks tuned to one set each, which here are no upper bound",
        0: "one DeMoE and the five networks tuned to one set each are not told apart",
    }[sign(row)]
    per_set = differences[(differences["first"] == "DeMoE*") & (differences["second"] == MAIN)
                          & (differences.metric == "psnr") & (differences["set"] != AVERAGE)].set_index("set")
    signs = per_set.apply(sign, axis=1)
    return (
        f"{verdict}: the drop from DeMoE* is {_db(row)}, {100 * row['mean'] / level:.1f} % of its PSNR (paper: 0.08 "
        f"dB, 0.3 %). DeMoE* is clearly ahead on {_plain(list(signs.index[signs > 0]))} and clearly behind on "
        f"{_plain(list(signs.index[signs < 0]))}."
    )


def experts_k(differences: pd.DataFrame, costs: pd.DataFrame) -> str:
    """Whether mixing more experts at inference helps; the paper reports k = 1 alone."""
    rows = {k: _of(differences, f"DeMoE longer k={k}", MAIN) for k in range(2, 6)}
    signs = {k: sign(row) for k, row in rows.items()}
    better, worse = ([str(k) for k, one in signs.items() if one == side] for side in (1, -1))
    if better and not worse:
        verdict = f"more experts help for k = {_plain(better)}"
    elif worse and not better:
        verdict = f"more experts harm for k = {_plain(worse)}"
    elif not better:
        verdict = f"no k is told apart from k = 1 (by more than {TRIVIAL} dB)"
    else:
        verdict = f"k = {_plain(better)} is above k = 1, k = {_plain(worse)} below"
    macs = costs.set_index("k").macs
    return (
        f"Mixing the five experts instead of one changes the average by {_db(rows[5], 3)}: {verdict}. At the published "
        f"size it costs {macs[5] / macs[1]:.2f} times the multiply-accumulates ({macs[5] / 1e9:.2f} G against "
        f"{macs[1] / 1e9:.2f} G)."
    )


def cost(counted: pd.DataFrame) -> str:
    """Section 4.1: "compared to PromptIR, about 2x fewer parameters, about 15x fewer operations" (counted here)."""
    rows = counted.set_index("row")
    params, macs = rows.params / rows.params["DeMoE k=1"], rows.macs / rows.macs["DeMoE k=1"]
    counted_rows = rows.macs.dropna()
    rank = int((counted_rows < counted_rows["DeMoE k=1"]).sum()) + 1
    place = {1: "the fewest", 2: "the second fewest"}.get(rank, f"place {rank} in")
    says = "as the paper says" if rank == 2 else "unlike in the paper, where it is second"
    return (
        f"Counted at the published size, PromptIR has {params['PromptIR']:.2f} times DeMoE's parameters (paper: about "
        f"2) and {macs['PromptIR']:.1f} times its multiply-accumulates (paper: about 15); DeMoE needs {place} of the "
        f"{len(counted_rows)} networks' operations, {says}."
    )


def ensemble(counted: pd.DataFrame) -> str:
    """Section 5: an ensemble of five has 50.4 M parameters, DeMoE 20.15 M, 2.5 times fewer."""
    params = counted.set_index("what").params
    five, one = params["DeMoE-5, one for each set"], params["DeMoE"]
    same = f"{five / 1e6:.1f}" == "50.4" and f"{one / 1e6:.2f}" == "20.15"
    return (
        f"Five task-specific networks have {five / 1e6:.2f} M parameters, one DeMoE {one / 1e6:.2f} M, "
        f"{five / one:.2f} times fewer: {'the' if same else 'not the'} numbers of Section 5 (50.4 M, 20.15 M, 2.5)."
    )
