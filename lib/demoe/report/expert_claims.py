"""What notebook 07 found, against the paper's words (appendices D and F), as rows."""

from __future__ import annotations

import pandas as pd

from demoe.core.tasks import EXPERTS, expert_index
from demoe.evaluation import statistics
from demoe.evaluation.embedding import NO_NETWORK, POOLED
from demoe.evaluation.expert_specialisation import SCALES
from demoe.evaluation.weight_similarity import KINDS

from .claims import Claim, beside, claim, every, judged, told_by_set
from .similarity_claims import by_kind
from .tables import where

MARGIN = 0.1  # of accuracy, about two standard errors for 120 pictures; less is not called a difference


def weights(start: str, correlations: pd.DataFrame, at_start: pd.DataFrame) -> list[Claim]:
    """Figure 11 for experts that started ``start``: ``expert_specialisation.correlations``, trained and before it."""
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

    ``matrix`` is ``expert_specialisation.matrix`` of ``scores``.
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
    """How far the experts that started ``start`` went (``expert_specialisation.moved``)."""
    filters, scales = moved[moved.kind != SCALES], where(moved, kind=SCALES).change.mean()
    by = filters.groupby("expert", sort=False).change.mean()
    names = {"least": by.min(), "last": by.idxmin(), "most": by.max(), "first": by.idxmax()}
    names |= {"start": start, "correlation": filters.correlation.mean(), "scales": scales}
    return claim("demoe-experts-{start}-moved", by.mean(), **names)


def encoders(numbers: pd.DataFrame, alike: pd.DataFrame, random: str) -> list[Claim]:
    """Figure 13, of the averaged features: do trained encoders separate the sets, and are they alike?

    ``numbers`` and ``alike`` are those of ``encoder_views``, ``random`` names the untrained baseline among them.
    """
    pooled = where(numbers, reading=POOLED).set_index("baseline")
    knn, silhouette, chance = pooled.knn, pooled.silhouette, pooled.knn_shuffled[random]
    trained = knn.index.drop([random, NO_NETWORK])
    rows = []
    for name in trained:
        names = {"encoder": name, "random": knn[random], "silhouette": silhouette[name]}
        rows.append(claim("demoe-f13-{encoder}", knn[name], holds=knn[name] > knn[random] + MARGIN, **names))
    nothing = ((random, "Random weights", "no clusters"), (NO_NETWORK, "Mean colour and contrast alone", ""))
    for name, subject, words in nothing:
        names = {"encoder": name, "subject": subject, "words": words, "chance": chance, "best": knn[trained].max()}
        rows.append(claim("demoe-f13-{encoder}-nothing", knn[name], holds=knn[name] <= chance + MARGIN, **names))
    inside = alike["first"].isin(trained) & alike["second"].isin(trained)
    among, against = alike[inside].cka, alike[(alike["first"] == random) | (alike["second"] == random)].cka.mean()
    names = {"least": among.min(), "most": among.max(), "random": against}
    return [*rows, claim("demoe-f13-alike", among.mean(), holds=among.mean() - against > MARGIN, **names)]
