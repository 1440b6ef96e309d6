"""What the similarities of notebook 03 say about the paper's conclusions: sentences computed from the numbers."""

from __future__ import annotations

import re

import pandas as pd

from demoe.evaluation import similarity_controls
from demoe.evaluation.weight_similarity import HIGH, KINDS

LITTLE = 0.3  # below it there is "little if any" correlation, in the words that the paper's limit of 0.7 comes from
SPATIAL, OTHERS = KINDS[0], KINDS[1:]
PAPER = {  # of the correlations between networks for different blurs; appendix A, conclusions
    "3x3 convolution": "high (above 0.7)",
    "1x1 convolution": "not significant",
    "LayerNorm": "not significant",
    "SCA": "not significant",
}
PAPER_CKA = {kind: "great similarity" if kind == SPATIAL else "not stated" for kind in KINDS}


def strength(r: float) -> str:
    """A correlation in words, after Asuero et al. (2006), from which the paper takes the limit of 0.7."""
    for limit, word in ((0.9, "very high"), (HIGH, "high"), (0.5, "moderate"), (LITTLE, "low")):
        if abs(r) >= limit:
            return word
    return "little if any"


def side_by_side(summary: pd.DataFrame, measure: str = "pearson") -> pd.DataFrame:
    """Mean similarity by kind of layer (across) and comparison (down); the last row is what the paper says."""
    here = summary[summary.measure == measure]
    table = here.pivot(index="comparison", columns="kind", values="mean")
    table = table.reindex(
        index=[c for c in similarity_controls.COMPARISONS if c in set(here.comparison)], columns=list(KINDS)
    )
    shown = table.map(lambda value: "constant" if pd.isna(value) else f"{round(value, 2) + 0.0:.2f}")  # no "-0.00"
    shown.loc["the paper on different blurs"] = PAPER if measure == "pearson" else PAPER_CKA
    return shown.rename_axis(None).rename_axis(None, axis=1)


def verdicts(summary: pd.DataFrame) -> pd.DataFrame:
    """The paper's three conclusions (appendix A) with one start and with two: conclusion, one start, two starts.

    "holds" or "fails", between networks for different blurs. A correlation is significant from 0.3 up; a CKA is high
    above 0.7, for which the paper has no limit.
    """
    held = {
        name: _held(summary, comparison)
        for name, comparison in (("one start", similarity_controls.BLURS), ("two starts", similarity_controls.OTHER))
    }
    conclusions = (
        "3x3 convolutions are highly correlated",
        "the other layers are not correlated",
        "3x3 convolutions have a high CKA",
    )
    rows = [
        {"conclusion": text} | {name: "holds" if held[name][i] else "fails" for name in held}
        for i, text in enumerate(conclusions)
    ]
    return pd.DataFrame(rows)


def _held(summary: pd.DataFrame, comparison: str) -> tuple[bool, bool, bool]:
    r, alike = _means(summary, comparison), _means(summary, comparison, "cka rbf")
    return r[SPATIAL] > HIGH, all(abs(r[kind]) < LITTLE for kind in OTHERS), alike[SPATIAL] > HIGH


def _means(summary: pd.DataFrame, comparison: str, measure: str = "pearson") -> pd.Series:
    here = summary[(summary.measure == measure) & (summary.comparison == comparison)]
    return here.set_index("kind")["mean"]


def paragraph(summary: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """The conclusions of notebook 03, a sentence or two each. ``summary`` and ``table`` are ``controls``'."""
    sentences = [
        _one_start(summary),
        _two_starts(summary),
        _left_of_the_start(summary),
        _layer_norm(summary),
        _low_light(summary, table),
        _lolblur(table),
        _cka(summary),
        _order(summary),
        _altogether(summary),
    ]
    return [re.sub(r"[+-]0\.00(?!\d)", "0.00", sentence) for sentence in sentences]  # nothing has no sign


def _list(r: pd.Series) -> str:
    return ", ".join(f"{kind} {value:.2f}" for kind, value in r.items())


def _one_start(summary: pd.DataFrame) -> str:
    r = _means(summary, similarity_controls.BLURS)
    high, quiet, _ = _held(summary, similarity_controls.BLURS)
    loud = [f"{kind} ({strength(r[kind])})" for kind in OTHERS if abs(r[kind]) >= LITTLE]
    second = "is so here" if quiet else f"is not so here, as {', '.join(loud)} {'show' if len(loud) > 1 else 'shows'}"
    return (
        f"From one start, networks for different blurs correlate at: {_list(r)}. That 3x3 convolutions are highly "
        f"correlated {'is so here' if high else 'is not so here'}; that the other layers are not correlated {second}."
    )


def _two_starts(summary: pd.DataFrame) -> str:
    one, other, same = (
        _means(summary, c)[SPATIAL]
        for c in (similarity_controls.BLURS, similarity_controls.OTHER, similarity_controls.SAME)
    )
    numbers = f"From two starts the 3x3 convolutions correlate at {other:.2f} for different blurs, {same:.2f} for one"
    if one <= HIGH:
        verdict = f"with one start it was {one:.2f}, so there was no high correlation to explain"
    elif max(other, same) < LITTLE:
        verdict = f"the {one:.2f} from one start is the start's doing, and neither the blur's nor the task's"
    elif other > HIGH:
        verdict = f"the high correlation stays without the shared start ({one:.2f} with it), as the paper has it"
    elif same - other > LITTLE:
        verdict = f"networks for the same blur find each other again, those for different blurs fall from {one:.2f}"
    else:
        verdict = f"of the {one:.2f} from one start some is left, but no high correlation"
    return f"{numbers}: {verdict}."


def _left_of_the_start(summary: pd.DataFrame) -> str:
    before, alone, found, taken_out = (
        _means(summary, c)
        for c in (
            similarity_controls.UNTRAINED,
            similarity_controls.START_ALONE,
            similarity_controls.BLURS,
            similarity_controls.START_OUT,
        )
    )
    left = before[SPATIAL]
    moved = (
        "have hardly left their start"
        if left > 0.9
        else "still resemble their start"
        if left > HIGH
        else ("have partly left their start" if left >= LITTLE else "have left their start behind")
    )
    alone = alone.dropna()  # layer norms start constant: nothing can be expected of them
    explained = [kind for kind in alone.index if abs(found[kind] - alone[kind]) < 0.1]
    which = "every kind of layer" if len(explained) == len(alone) else ", ".join(explained) or "no kind of layer"
    alike = f"are alike ({strength(taken_out[SPATIAL])})" if abs(taken_out[SPATIAL]) >= LITTLE else "are not alike"
    return (
        f"Before and after training the 3x3 convolutions of a network correlate at {left:.2f}: they {moved}. Had "
        "training moved two networks of one start in unrelated directions, they would correlate at: "
        f"{_list(alone)} (without the last convolution, which starts at zero). That explains what was found, to 0.1, "
        f"in {which}. With the start taken out, "
        f"{taken_out[SPATIAL]:.2f} is left in the 3x3 convolutions: the changes that trainings for different blurs "
        f"make {alike}."
    )


def _layer_norm(summary: pd.DataFrame) -> str:
    one, other, same = (
        _means(summary, c)["LayerNorm"]
        for c in (similarity_controls.BLURS, similarity_controls.OTHER, similarity_controls.SAME)
    )
    if max(abs(one), abs(other), abs(same)) < LITTLE:
        learnt = "there is little anywhere"
    elif one - max(other, same) > 0.1:
        learnt = "the rest of the start decides what is learnt there, too"
    else:
        learnt = "the start makes no difference above 0.1 there"
    return (
        f"Layer norms start at one everywhere, so no correlation of theirs can be inherited: {one:.2f} from one start, "
        f"{other:.2f} from two for different blurs and {same:.2f} for one; {learnt}."
    )


def _low_light(summary: pd.DataFrame, table: pd.DataFrame) -> str:
    r = _means(summary, similarity_controls.LOW_LIGHT)
    apart = _means(summary, similarity_controls.LOW_LIGHT_OTHER)[SPATIAL]
    quiet = all(abs(value) < LITTLE for value in r)
    bright = table[(table.measure == "pearson") & ~_with_lolblur(table)].groupby(["comparison", "kind"]).value.mean()
    gap, norm_gap = (
        bright[similarity_controls.BLURS][kind] - bright[similarity_controls.LOW_LIGHT][kind]
        for kind in (SPATIAL, "LayerNorm")
    )
    told = (
        "tells blur from low light"
        if gap > 0.1
        else "hardly tells blur from low light"
        if gap > 0.02
        else ("does not tell blur from low light")
    )
    return (
        f"Against the low-light network from the same start: {_list(r)}. The paper finds no correlation in any layer; "
        f"here {'there is none either' if quiet else 'there is'}. Networks for blur by daylight (LOLBlur left out) "
        f"correlate with each other by {gap:+.2f} more than with it in the 3x3 convolutions, which {told}, and by "
        f"{norm_gap:+.2f} more in the layer norms; from two starts {apart:.2f} is left in the 3x3 convolutions."
    )


def _with_lolblur(table: pd.DataFrame) -> pd.Series:
    return table["first"].str.startswith("LOLBlur") | table["second"].str.startswith("LOLBlur")


def _lolblur(table: pd.DataFrame) -> str:
    here = table[
        (table.comparison == similarity_controls.BLURS) & (table.measure == "pearson") & table.kind.isin(KINDS)
    ]
    means = here.groupby([_with_lolblur(here).map({True: "dark", False: "bright"}), "kind"]).value.mean()
    gap = means["bright"] - means["dark"]
    found = (
        "lower, as in the paper"
        if gap[SPATIAL] > 0.02
        else "hardly lower"
        if gap[SPATIAL] > 0.005
        else ("not lower, unlike in the paper")
    )
    each = ", ".join(
        f"{kind} {means['dark'][kind]:.2f} against {means['bright'][kind]:.2f}"
        for kind in KINDS
        if kind in means["dark"].index
    )
    return f"Pairs with LOLBlur against the others: {each}; in the 3x3 convolutions they are {found}."


def _cka(summary: pd.DataFrame) -> str:
    one, other = (_means(summary, c, "cka rbf") for c in (similarity_controls.BLURS, similarity_controls.OTHER))
    fooled = [f"{kind} {other[kind]:.2f}" for kind in KINDS if other[kind] > HIGH]
    floor = (
        f"networks with neither start nor task in common already reach {', '.join(fooled)}, so there a high CKA says "
        "nothing"
        if fooled
        else "no kind of layer gets above 0.7 without a shared start"
    )
    return (
        f"CKA (RBF) of the 3x3 convolutions is {one[SPATIAL]:.2f} from one start and {other[SPATIAL]:.2f} from two; "
        f"{floor}."
    )


def _order(summary: pd.DataFrame) -> str:
    r = _means(summary, similarity_controls.RENAMED)[SPATIAL]
    means = (
        "a low value does not say that two networks do different things, and a high one points to a start in common"
        if abs(r) < LITTLE
        else "the order of the channels matters less than it could"
    )
    return (
        f"A network and its copy with reordered channels compute the same function and correlate at {r:.2f} in the 3x3 "
        f"convolutions: {means}."
    )


def _altogether(summary: pd.DataFrame) -> str:
    table = verdicts(summary)
    one, two = table["one start"] == "holds", table["two starts"] == "holds"
    parts = [
        f"{verb}: {'; '.join(table.conclusion[rows])}."
        for verb, rows in (
            ("Hold with one start only", one & ~two),
            ("Hold with one start and with two", one & two),
            ("Hold with two starts only", ~one & two),
            ("Hold with neither", ~one & ~two),
        )
        if rows.any()
    ]
    # That layers are not alike needs no explanation: what can be lost is likeness, of the 3x3 convolutions.
    likeness = [0, 2] if _means(summary, similarity_controls.OTHER, "cka rbf")[SPATIAL] <= HIGH else [0]
    found, kept = one.iloc[likeness], (one & two).iloc[likeness]
    if not found.any():
        answer = "no likeness is found with one start, so none could be lost without it"
    elif kept.sum() == found.sum():
        answer = "the likeness found with one start survives"
    else:
        answer = (
            "some of the likeness found with one start survives"
            if kept.any()
            else ("nothing of the likeness found with one start survives")
        )
    floor = "" if len(likeness) == 2 else " A high CKA is no likeness here: unrelated networks have it too."
    return f"With the shared start taken away, {answer}.{floor} {' '.join(parts)}"
