"""What the similarities of notebook 03 say about the paper's conclusions (appendix A), as rows."""

from __future__ import annotations

import pandas as pd

from demoe.evaluation import similarity_controls as controls
from demoe.evaluation.weight_similarity import HIGH, KINDS

from .claims import Claim, claim
from .tables import number

SPATIAL, OTHERS = KINDS[0], list(KINDS[1:])
PAPER = {  # of the correlations between networks for different blurs; appendix A, conclusions
    "3x3 convolution": "high (above 0.7)",
    "1x1 convolution": "not significant",
    "LayerNorm": "not significant",
    "SCA": "not significant",
}
PAPER_CKA = {kind: "great similarity" if kind == SPATIAL else "not stated" for kind in KINDS}


def side_by_side(summary: pd.DataFrame, measure: str = "pearson") -> pd.DataFrame:
    """Mean similarity by kind of layer (across) and comparison (down); the last row is what the paper says."""
    here = summary[summary.measure == measure]
    table = here.pivot(index="comparison", columns="kind", values="mean")
    table = table.reindex(index=[c for c in controls.COMPARISONS if c in set(here.comparison)], columns=list(KINDS))
    shown = table.map(lambda value: number(value, missing="constant"))
    shown.loc["the paper on different blurs"] = PAPER if measure == "pearson" else PAPER_CKA
    return shown.rename_axis(None).rename_axis(None, axis=1)


def by_kind(values: pd.Series) -> str:
    """ "3x3 convolution 0.97, SCA 1.00"."""
    return ", ".join(f"{kind} {number(value)}" for kind, value in values.items())


def conclusions(summary: pd.DataFrame) -> list[Claim]:
    """The paper's three conclusions, with one start as there and with two, and what is left of the first.

    ``summary`` is ``similarity_controls``'.
    """
    one = _conclusions(summary, "one start", controls.BLURS)
    two = _conclusions(summary, "two starts", controls.OTHER)
    left, same = two[0].ours, _means(summary, controls.SAME)[SPATIAL]
    survives = left > HIGH if one[0].ours > HIGH else None
    return [
        *one,
        *two,
        claim("demoe-weights-survives", left, f"with it {number(one[0].ours)}", survives),
        claim("demoe-weights-same-blur", same, f"different blurs {number(left)}"),
    ]


def _conclusions(summary: pd.DataFrame, start: str, comparison: str) -> list[Claim]:
    r, cka = _means(summary, comparison), _means(summary, comparison, "cka rbf")
    return [
        claim("demoe-weights-{start}-3x3", r[SPATIAL], start=start),
        claim("demoe-weights-{start}-others", r[OTHERS].abs().max(), by_kind(r[OTHERS]), start=start),
        claim("demoe-weights-{start}-cka", cka[SPATIAL], start=start),
    ]


def _means(summary: pd.DataFrame, comparison: str, measure: str = "pearson") -> pd.Series:
    here = summary[(summary.measure == measure) & (summary.comparison == comparison)]
    return here.set_index("kind")["mean"]


def start(summary: pd.DataFrame) -> list[Claim]:
    """What the start alone explains."""
    names = (
        controls.UNTRAINED,
        controls.START_ALONE,
        controls.BLURS,
        controls.START_OUT,
        controls.OTHER,
        controls.SAME,
    )
    before, alone, r, taken_out, other, same = (_means(summary, name) for name in names)
    alone = alone.dropna()  # layer norms start constant: nothing can be expected of them
    norms = f"two starts: {number(other['LayerNorm'])} for different blurs, {number(same['LayerNorm'])} for one"
    expected = f"expected {by_kind(alone)}, without the last convolution, which starts at zero"
    return [
        claim("demoe-weights-left", before[SPATIAL]),
        claim("demoe-weights-start-alone", (r[alone.index] - alone).abs().max(), expected),
        claim("demoe-weights-start-out", abs(taken_out[SPATIAL])),
        claim("demoe-weights-norms", abs(r["LayerNorm"]), norms),
    ]


def low_light(summary: pd.DataFrame, table: pd.DataFrame) -> list[Claim]:
    """The paper's control, a task without blur, and its exception, the pairs with the dark LOLBlur.

    ``table`` is that of ``similarity_controls.Study.measured``.
    """
    r, apart = (_means(summary, name) for name in (controls.LOW_LIGHT, controls.LOW_LIGHT_OTHER))
    pearson = table[(table.measure == "pearson") & table.kind.isin(KINDS)]
    dark = (pearson["first"].str.startswith("LOLBlur") | pearson["second"].str.startswith("LOLBlur")).to_numpy()
    bright, with_dark = (part.groupby(["comparison", "kind"]).value.mean() for part in (pearson[~dark], pearson[dark]))
    gap = bright[controls.BLURS] - bright[controls.LOW_LIGHT]
    lower = bright[controls.BLURS][SPATIAL] - with_dark[controls.BLURS][SPATIAL]
    beside = f"{by_kind(r)}; two starts, 3x3 convolutions {number(apart[SPATIAL])}"
    with_lolblur = f"with LOLBlur {by_kind(with_dark[controls.BLURS])}; without {by_kind(bright[controls.BLURS])}"
    return [
        claim("demoe-f8-low-light", r.abs().max(), beside),
        claim("demoe-weights-blur-or-low-light", gap[SPATIAL], f"layer norms {number(gap['LayerNorm'])}"),
        claim("demoe-f2-lolblur", lower, with_lolblur),
    ]


def limits(summary: pd.DataFrame) -> list[Claim]:
    """What the measures themselves can and cannot tell."""
    cka = _means(summary, controls.OTHER, "cka rbf").reindex(list(KINDS)).dropna()
    renamed = _means(summary, controls.RENAMED)[SPATIAL]
    return [claim("demoe-weights-cka-floor", cka.max(), by_kind(cka)), claim("demoe-weights-reordered", renamed)]
