"""What the similarities of notebook 03 say about the paper's conclusions (appendix A), as rows."""

from __future__ import annotations

import pandas as pd

from demoe.evaluation import similarity_controls as controls
from demoe.evaluation.weight_similarity import HIGH, KINDS

from .claims import Claim, claim
from .tables import number, where

SPATIAL, OTHERS = KINDS[0], list(KINDS[1:])
PAPER = {  # of the correlations between networks for different blurs; appendix A, conclusions
    "3x3 convolution": "high (above 0.7)",
    "1x1 convolution": "not significant",
    "LayerNorm": "not significant",
    "SCA": "not significant",
}
PAPER_CKA = {kind: "great similarity" if kind == SPATIAL else "not stated" for kind in KINDS}


def _means(summary: pd.DataFrame, measure: str = "pearson") -> pd.DataFrame:
    """Mean similarity by comparison (down) and kind of layer (across), from ``similarity_controls``' summary."""
    table = where(summary, measure=measure).pivot(index="comparison", columns="kind", values="mean")
    return table.loc[[name for name in controls.COMPARISONS if name in table.index], list(KINDS)]


def side_by_side(summary: pd.DataFrame, measure: str = "pearson") -> pd.DataFrame:
    """Mean similarity by kind of layer (across) and comparison (down); the last row is what the paper says."""
    shown = _means(summary, measure).map(lambda value: number(value, missing="constant"))
    shown.loc["the paper on different blurs"] = PAPER if measure == "pearson" else PAPER_CKA
    return shown.rename_axis(None).rename_axis(None, axis=1)


def by_kind(values: pd.Series) -> str:
    """ "3x3 convolution 0.97, SCA 1.00"."""
    return ", ".join(f"{kind} {number(value)}" for kind, value in values.items())


def conclusions(summary: pd.DataFrame) -> list[Claim]:
    """The paper's three conclusions, with one start as there and with two, and what is left of the first."""
    r, cka, rows = _means(summary), _means(summary, "cka rbf"), []
    for start, blurs in (("one start", controls.BLURS), ("two starts", controls.OTHER)):
        others = r.loc[blurs, OTHERS]
        rows += [
            claim("demoe-weights-{start}-3x3", r.loc[blurs, SPATIAL], start=start),
            claim("demoe-weights-{start}-others", others.abs().max(), by_kind(others), start=start),
            claim("demoe-weights-{start}-cka", cka.loc[blurs, SPATIAL], start=start),
        ]
    one, two, same = r.loc[[controls.BLURS, controls.OTHER, controls.SAME], SPATIAL]
    survives = two > HIGH if one > HIGH else None
    return [
        *rows,
        claim("demoe-weights-survives", two, holds=survives, one=number(one)),
        claim("demoe-weights-same-blur", same, different=number(two)),
    ]


def start(summary: pd.DataFrame) -> list[Claim]:
    """What the start alone explains."""
    r = _means(summary)
    alone, norms = r.loc[controls.START_ALONE].dropna(), r["LayerNorm"]  # norms start constant: nothing to expect
    apart = (r.loc[controls.BLURS, alone.index] - alone).abs().max()
    different, same = number(norms[controls.OTHER]), number(norms[controls.SAME])
    return [
        claim("demoe-weights-left", r.loc[controls.UNTRAINED, SPATIAL]),
        claim("demoe-weights-start-alone", apart, expected=by_kind(alone)),
        claim("demoe-weights-start-out", abs(r.loc[controls.START_OUT, SPATIAL])),
        claim("demoe-weights-norms", abs(norms[controls.BLURS]), different=different, same=same),
    ]


def low_light(summary: pd.DataFrame, table: pd.DataFrame) -> list[Claim]:
    """The paper's control, a task without blur, and its exception, the pairs with the dark LOLBlur.

    ``table`` is that of ``similarity_controls.Study.measured``.
    """
    r, pearson = _means(summary), table[(table.measure == "pearson") & table.kind.isin(KINDS)]
    dark = pearson["first"].str.startswith("LOLBlur") | pearson["second"].str.startswith("LOLBlur")
    by = ["comparison", "kind"]
    bright, with_dark = (part.groupby(by).value.mean() for part in (pearson[~dark], pearson[dark]))
    low, apart = r.loc[controls.LOW_LIGHT], r.loc[controls.LOW_LIGHT_OTHER, SPATIAL]
    blurs, dark_blurs = bright[controls.BLURS], with_dark[controls.BLURS]
    gap = blurs - bright[controls.LOW_LIGHT]
    return [
        claim("demoe-f8-low-light", low.abs().max(), one=by_kind(low), two=number(apart)),
        claim("demoe-weights-blur-or-low-light", gap[SPATIAL], norms=number(gap["LayerNorm"])),
        claim(
            "demoe-f2-lolblur", blurs[SPATIAL] - dark_blurs[SPATIAL], dark=by_kind(dark_blurs), bright=by_kind(blurs)
        ),
    ]


def limits(summary: pd.DataFrame) -> list[Claim]:
    """What the measures themselves can and cannot tell."""
    cka = _means(summary, "cka rbf").loc[controls.OTHER].dropna()
    reordered = _means(summary).loc[controls.RENAMED, SPATIAL]
    return [claim("demoe-weights-cka-floor", cka.max(), by_kind(cka)), claim("demoe-weights-reordered", reordered)]
