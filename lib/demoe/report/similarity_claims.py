"""What similarities of weights (notebook 03), experts and encoders (07) say about the paper's conclusions, as rows."""

from __future__ import annotations

import math

import pandas as pd
from scipy import stats

from demoe.core.tasks import EXPERTS, expert_index
from demoe.evaluation import similarity_controls as controls
from demoe.evaluation import statistics
from demoe.evaluation.embedding import NO_NETWORK, POOLED
from demoe.evaluation.weight_similarity import HIGH, KINDS, SCALES

from .claims import Claim, beside, claim, every, judged, told_by_set
from .tables import number, where

SPATIAL, OTHERS = KINDS[0], list(KINDS[1:])
PAPER = {  # of the correlations between networks for different blurs; appendix A, conclusions
    "3x3 convolution": "high (above 0.7)",
    "1x1 convolution": "not significant",
    "LayerNorm": "not significant",
    "SCA": "not significant",
}
MARGIN = 0.1  # of accuracy and of CKA: less is not called a difference; our choice
CLUSTERS, MIXED = 0.1, 0.0  # silhouettes above which there are clusters, and below which there are none
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


def weights(start: str, correlations: pd.DataFrame, at_start: pd.DataFrame) -> list[Claim]:
    """Figure 11 for experts that started ``start``: ``weight_similarity.correlations``, trained and before it."""
    r, before = (table.groupby("kind").value.mean().reindex(list(KINDS)) for table in (correlations, at_start))
    norm, others = before["LayerNorm"], r.drop("LayerNorm")
    started = before[others.index].mean()
    same = ", so that it says nothing about what they learnt" if abs(started - others.mean()) < 0.1 else ""
    constant = "constant before training" if pd.isna(norm) else f"{norm:.2f} before training"
    names = {"start": start, "kinds": by_kind(others), "started": started, "same": same}
    return [
        claim("demoe-f11-{start}-norms", r["LayerNorm"], constant, start=start),
        claim("demoe-f11-{start}-others", others.abs().max(), **names),
    ]


def specialisation(start: str, matrix: pd.DataFrame, scores: pd.DataFrame, seed: int = 0) -> Claim:
    """Whether every expert that started ``start`` is the best at its own blur: PSNR beside the best of the others.

    ``matrix`` is ``weight_similarity.matrix`` of ``scores``.
    """
    by, leads, worse = matrix[list(EXPERTS)], {}, []
    for name, means in by.iterrows():
        own = EXPERTS[expert_index(name)]
        part = where(scores, set=name)[["set", "image", "method", "psnr"]]
        leads[name] = statistics.difference(part, own, means.drop(own).idxmax(), seed).iloc[0]
        worse += [name] if means[own] < matrix.loc[name, "input"] else []
    rows = pd.DataFrame(leads).T
    matters = f"the choice matters by {(by.max(axis=1) - by.min(axis=1)).mean():.2f} dB a set"
    below = f"below the untouched input even so: {', '.join(worse)}" if worse else ""
    holds = every(judged(row).word for _, row in rows.iterrows())
    control = beside(told_by_set(rows), matters, below)
    return claim("demoe-experts-{start}", rows["mean"].mean(), control, holds, start=start)


def movement(start: str, moved: pd.DataFrame) -> Claim:
    """How far the experts that started ``start`` went (``weight_similarity.moved``)."""
    filters, scales = moved[moved.kind != SCALES], where(moved, kind=SCALES).change.mean()
    by = filters.groupby("expert", sort=False).change.mean()
    names = {"least": by.min(), "last": by.idxmin(), "most": by.max(), "first": by.idxmax()}
    names |= {"start": start, "correlation": filters.correlation.mean(), "scales": scales}
    return claim("demoe-experts-{start}-moved", by.mean(), **names)


def encoders(pictures: pd.DataFrame, numbers: pd.DataFrame, alike: pd.DataFrame, random: str) -> list[Claim]:
    """Figure 13, of the averaged features: do trained encoders separate the sets, and are they alike?

    ``pictures``, ``numbers`` and ``alike`` are those of ``encoder_views``, ``random`` names the untrained baseline
    among them. The same pictures are named by all, so that intervals are those of differences, over scenes.
    """
    pooled = where(numbers, reading=POOLED).set_index("baseline")
    knn, silhouette, chance = pooled.knn, pooled.silhouette, pooled.knn_shuffled[random]
    trained = knn.index.drop([random, NO_NETWORK])
    wide = pictures.pivot(index=["set", "image"], columns="baseline", values=["right", "silhouette"]).astype(float)
    right, apart = wide["right"], wide["silhouette"]
    rows = []
    for name in trained:
        more, clear = _mean(right[name] - right[random]), _mean(apart[name])
        names = {"encoder": name, "trained": knn[name], "random": knn[random], "silhouette": silhouette[name]}
        names |= {"low": more["low"], "high": more["high"], "least": clear["low"], "most": clear["high"]}
        both = _beyond(more, MARGIN), _beyond(clear, CLUSTERS, MIXED)
        holds = False if False in both else True if set(both) == {True} else None
        rows.append(claim("demoe-f13-{encoder}", more["mean"], holds=holds, **names))
    nothing = ((random, "Random weights", "no clusters"), (NO_NETWORK, "Mean colour and contrast alone", ""))
    for name, subject, words in nothing:
        above = _mean(right[name] - chance)
        names = {"encoder": name, "subject": subject, "words": words, "chance": chance, "best": knn[trained].max()}
        names |= {"low": above["low"], "high": above["high"], "named": knn[name]}
        some = _beyond(above, MARGIN)
        holds = None if some is None else not some
        rows.append(claim("demoe-f13-{encoder}-nothing", above["mean"], holds=holds, **names))
    return [*rows, _alike(alike, trained, random)]


def _alike(alike: pd.DataFrame, trained: pd.Index, random: str) -> Claim:
    """Whether trained encoders are more alike than any is to random weights: Welch's interval, a trial a pair, as if
    pairs that share an encoder were independent."""
    among = alike[alike["first"].isin(trained) & alike["second"].isin(trained)].cka
    against = alike[(alike["first"] == random) | (alike["second"] == random)].cka
    row = {"mean": among.mean() - against.mean(), "low": math.nan, "high": math.nan, "scenes": 0}
    if min(len(among), len(against)) > 1:
        ends = stats.ttest_ind(among, against, equal_var=False).confidence_interval(statistics.LEVEL)
        row |= {"low": ends.low, "high": ends.high, "scenes": statistics.FEWEST_SCENES}
    names = {"low": row["low"], "high": row["high"], "inside": among.mean(), "least": among.min(), "most": among.max()}
    names |= {"random": against.mean(), "pairs": len(among), "others": len(against)}
    return claim("demoe-f13-alike", row["mean"], holds=_beyond(row, MARGIN), **names)


def _mean(values: pd.Series) -> dict[str, float]:
    """The mean of pictures, (set, image), with its bootstrap interval over scenes: mean, low, high, scenes."""
    keys = [f"{name} {statistics.scene(name, key)}/" for name, key in values.index]
    numbers, draws = statistics.scene_draws("Figure 13", keys, 0)
    scenes = draws.shape[1]
    low, high = statistics.percentiles(statistics.resampled_means(values.to_numpy(), numbers, draws), scenes)
    return {"mean": values.mean(), "low": low, "high": high, "scenes": scenes}


def _beyond(row: dict[str, float], limit: float, fails: float | None = None) -> bool | None:
    """Whether all of an interval is above ``limit``; False where all is below ``fails`` (or the limit), None between,
    and of too few scenes."""
    if row["scenes"] < statistics.FEWEST_SCENES:
        return None
    return True if row["low"] > limit else False if row["high"] < (limit if fails is None else fails) else None
