"""What notebook 05 found, against the paper's words (Sections 4.1, 4.3 and 5): sentences computed from the numbers.

A difference counts only where its 95 % interval, a bootstrap over scenes, does not contain zero. The intervals know
the test pictures' spread, not that of another training: one seed of each network stands behind these sentences.
What the paper measured is read from the published numbers; "about 2x" and "0.3 %" are its words.
"""

from __future__ import annotations

import math

import pandas as pd

from demoe.evaluation.comparison import WITHOUT
from demoe.evaluation.methods import EQUAL

from .comparison_tables import PAPER_PARAMS, paper, paper_3

MAIN = "DeMoE longer k=1"
AVERAGE = "Average"
FIVE = "DeMoE-5, one for each set"
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
    rows = differences[
        (differences["first"] == first)
        & (differences["second"] == second)
        & (differences["set"] == dataset)
        & (differences.metric == "psnr")
    ]
    return None if rows.empty else rows.iloc[0]


def _plain(names: list[str]) -> str:
    return ", ".join(names) if names else "none"


def _without(differences: pd.DataFrame, first: str, second: str) -> str:
    """ "; without LOLBlur -0.03 dB [...]": whether the average says more than who made a dark set brighter."""
    row = _of(differences, first, second, WITHOUT)
    return "" if row is None else f"; without LOLBlur {_db(row)}"


def _sets(differences: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The PSNR differences of each set, no averages, by the set's name."""
    rows = differences[
        (differences["first"] == first)
        & (differences["second"] == second)
        & (differences.metric == "psnr")
        & ~differences["set"].isin((AVERAGE, WITHOUT))
    ]
    return rows.set_index("set")


def _over(role: str) -> str:
    """By how much the paper's DeMoE is above another row of Table 1 on average, as it would be printed."""
    gap = paper("table1_aio", "DeMoE_k1", AVERAGE, "psnr") - paper("table1_aio", role, AVERAGE, "psnr")
    return f"{gap:+.2f} dB"


def table_1(differences: pd.DataFrame, methods: pd.DataFrame) -> str:
    """Section 4.1: "DeMoE (based on NAFNet) is the best method overall", judged at equal length."""
    rows = differences[
        (differences["first"] == "DeMoE")
        & (differences["set"] == AVERAGE)
        & (differences.metric == "psnr")
        & (differences["second"] != "input")
    ].set_index("second")
    signs = rows.apply(sign, axis=1)
    better, worse = list(rows.index[signs > 0]), list(rows.index[signs < 0])
    even = list(rows.index[signs == 0])
    if worse:
        verdict = f"not the best: {_plain(worse)} {'is' if len(worse) == 1 else 'are'} above it"
    elif even:
        verdict = f"not told apart from {_plain(even)}"
    else:
        verdict = "the best of these trainings, in the paper's direction"
    numbers = "; ".join(f"{name} {_db(row)}" for name, row in rows.iterrows())
    rest = differences[
        (differences["first"] == "DeMoE")
        & (differences["set"] == WITHOUT)
        & (differences.metric == "psnr")
        & (differences["second"] != "input")
    ].set_index("second")
    without = ""
    if len(rest):
        signs = rest.apply(sign, axis=1)
        kinds = ((-1, "above it"), (1, "below it"), (0, "not told apart"))
        without = (
            " Without LOLBlur: "
            + "; ".join(f"{words} {_plain(list(signs.index[signs == one]))}" for one, words in kinds)
            + "."
        )
    left_out = methods[methods.missing != ""]
    slim = methods[methods.method.str.contains("(width", regex=False)]
    macs = methods[methods.group == EQUAL].macs.dropna() / 1e9
    small = (
        f" These are slim networks of uneven cost ({macs.min():.2f} to {macs.max():.2f} G multiply-accumulates) "
        "after a short training: nothing follows for the published ones."
    ) * (len(slim) > 0)
    gaps = f" Left out: {', '.join(left_out.role)} ({left_out.missing.iloc[0]})." if len(left_out) else ""
    return (
        f"Trained once each and equally long, but for DeMoE's second stage, which gives it twice the steps, DeMoE k=1 "
        f"is on average {verdict}; clearly below it: {_plain(better)}. DeMoE minus each: {numbers}.{without} The "
        f"paper, on real sets, at width 32 and with full training: {_over('NAFNet')} from NAFNet, "
        f"{_over('PromptIR')} from PromptIR.{small}{gaps}"
    )


def brightness(summary: pd.DataFrame, methods: pd.DataFrame) -> str:
    """Whether one dark set decides Table 1's average, and what each set alone says at equal length."""
    psnr, dark, others = _at_equal_length(summary, methods)
    reach = psnr.max() - psnr.min()
    least, most = psnr[dark].min(), psnr[dark].max()
    if reach[dark] > reach[others].max():
        text = (
            f"The average hangs most on {dark}, where a network gains by making the picture brighter, deblurred or "
            f"not: at equal length the networks lie between {least:.2f} and {most:.2f} dB there, {reach[dark]:.2f} "
            f"dB apart, and at most {reach[others].max():.2f} dB apart on any other set."
        )
    else:
        wide = reach[others].idxmax()
        text = (
            f"The average does not hang on {dark}, the dark set: at equal length the networks lie "
            f"{reach[dark]:.2f} dB apart there, and {reach[wide]:.2f} dB apart on {wide}."
        )
    means = {"of all sets": psnr.mean(axis=1), f"without {dark}": psnr[others].mean(axis=1)}
    lists = [
        f"{name}: " + ", ".join(f"{role} {value:.2f}" for role, value in mean.sort_values(ascending=False).items())
        for name, mean in means.items()
    ]
    return f"{text} Mean PSNR in dB {'; '.join(lists)} (means alone: no interval says which of them differ)."


def places(summary: pd.DataFrame, methods: pd.DataFrame) -> str:
    """Each network's place by mean PSNR, set by set, at equal length, and where leaving the picture alone is better."""
    psnr, _, _ = _at_equal_length(summary, methods)
    place = psnr.rank(ascending=False, method="min").astype(int)
    texts = [f"{role} {', '.join(map(str, row))}" for role, row in zip(place.index, place.to_numpy(), strict=True)]
    wide = _psnr(summary)
    untouched = wide.loc[methods.set_index("role").method["input"], psnr.columns]
    above = list(psnr.columns[untouched > psnr.max()])
    left = (
        f"The blurred input has a higher mean than every one of them on {_plain(above)}."
        if above
        else "On every set at least one of them has a higher mean than the blurred input."
    )
    return f"Places by mean PSNR at equal length on {', '.join(psnr.columns)}: {'; '.join(texts)}. {left}"


def _psnr(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean PSNR, a row a method and a column a set or "Average", in the order in which they come."""
    rows = summary[summary.metric == "psnr"]
    return rows.pivot(index="method", columns="set", values="mean")[list(rows["set"].unique())]


def _at_equal_length(summary: pd.DataFrame, methods: pd.DataFrame) -> tuple[pd.DataFrame, str, list[str]]:
    """Mean PSNR of the networks of the group by role (rows) and set (columns); LOLBlur's name, and the other sets."""
    wide = _psnr(summary).drop(columns=AVERAGE)
    rows = methods[(methods.group == EQUAL) & methods.method.isin(wide.index)]
    psnr = wide.loc[list(rows.method)].set_axis(list(rows.role))
    dark = next(name for name in psnr if name.removesuffix("-syn") == "LOLBlur")
    return psnr, dark, [name for name in psnr if name != dark]


def longer(differences: pd.DataFrame, methods: pd.DataFrame) -> str:
    """Stage 2 against the baseline that it starts from, which stops there: the steps are not equal."""
    row = _of(differences, MAIN, "NAFNet longer")
    verdict = {1: "above", -1: "below", 0: "not told apart from"}[sign(row)]
    trained = methods.set_index("role").training
    agrees = "the paper's direction" if sign(row) > 0 else "unlike in the paper"
    return (
        f"The longer trained DeMoE k=1 is {verdict} its baseline, {agrees} ({_over('NAFNet')}): {_db(row)}"
        f"{_without(differences, MAIN, 'NAFNet longer')}. It learned longer: {trained[MAIN]}; its baseline "
        f"{trained['NAFNet longer']}. What these further steps alone would have brought the baseline is not measured."
    )


def gain(differences: pd.DataFrame) -> str:
    """Whether the longer trained DeMoE restores at all: against the blurred input, set by set."""
    signs = _sets(differences, MAIN, "input").apply(sign, axis=1)
    kinds = (("clearly better", 1), ("clearly worse", -1), ("not clearly different", 0))
    parts = [f"{words} on {_plain(list(signs.index[signs == one]))}" for words, one in kinds if (signs == one).any()]
    return (
        f"Against the blurred input it has {_db(_of(differences, MAIN, 'input'))} on average"
        f"{_without(differences, MAIN, 'input')}; {'; '.join(parts)}."
    )


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
    signs = _sets(differences, "DeMoE*", MAIN).apply(sign, axis=1)
    trained = methods.set_index("role").training
    drop = paper_3("DeMoE_task_specific_k1", AVERAGE, "psnr") - paper_3("DeMoE_k1", AVERAGE, "psnr")
    return (
        f"{verdict}: the drop from DeMoE* is {_db(row)}{_without(differences, 'DeMoE*', MAIN)}; "
        f"{100 * row['mean'] / level:.1f} % of its average PSNR (paper: {drop:.2f} dB, 0.3 %). DeMoE* learned for "
        f"{trained['DeMoE*']}, DeMoE for {trained[MAIN]} on all. DeMoE* is "
        f"clearly ahead on {_plain(list(signs.index[signs > 0]))} and clearly behind on "
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
    five, one = params[FIVE], params["DeMoE"]
    five_paper, one_paper = (f"{paper(*PAPER_PARAMS[what], '-', 'params_m'):g}" for what in (FIVE, "DeMoE"))
    same = f"{five / 1e6:.1f}" == five_paper and f"{one / 1e6:.2f}" == one_paper
    return (
        f"Five task-specific networks have {five / 1e6:.2f} M parameters, one DeMoE {one / 1e6:.2f} M, "
        f"{five / one:.2f} times fewer: {'the' if same else 'not the'} numbers of Section 5 "
        f"({five_paper} M, {one_paper} M, 2.5)."
    )
