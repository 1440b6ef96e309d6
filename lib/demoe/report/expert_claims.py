"""What notebook 07 found, against the paper's words (appendices D and F): sentences computed from the numbers."""

from __future__ import annotations

import pandas as pd

from demoe.core.tasks import EXPERTS, expert_index
from demoe.evaluation.embedding import NO_NETWORK, POOLED
from demoe.evaluation.expert_specialisation import SCALES
from demoe.evaluation.weight_similarity import HIGH, KINDS

from .similarity_claims import LITTLE, strength


def weights(name: str, correlations: pd.DataFrame, at_start: pd.DataFrame) -> str:
    """Figure 11 for experts that started ``name``: ``experts.correlations`` after training and before it."""
    r, before = (table.groupby("kind").value.mean().reindex(list(KINDS)) for table in (correlations, at_start))
    others = [kind for kind in KINDS if kind != "LayerNorm"]
    norm = r["LayerNorm"]
    norms = "very similar, as the paper says" if norm > HIGH else f"not very similar ({strength(norm)})"
    if pd.notna(before["LayerNorm"]):
        norms += f" ({before['LayerNorm']:.2f} before training)"
    apart = all(abs(r[kind]) < LITTLE for kind in others)
    said = "show no significant correlation, as the paper says" if apart else "are correlated, unlike in the paper"
    started, now = before[others].mean(), r[others].mean()
    reason = (
        f"It was {started:.2f} there before training: the experts are as {'un' if apart else ''}alike as they started, "
        "so that it says nothing about what they learnt"
        if abs(started - now) < 0.1
        else f"It was {started:.2f} there before training, which has changed it to {now:.2f}"
    )
    numbers = ", ".join(f"{kind} {value:.2f}" for kind, value in r.items())
    return f"Experts started {name}: {numbers}. Layer norms are {norms}; the other layers {said}. {reason}."


def specialisation(name: str, matrix: pd.DataFrame, scores: pd.DataFrame) -> str:
    """The expert-by-set matrix (``experts.matrix``) of experts that started ``name``, in words.

    ``scores`` are those that the matrix is made of, with columns set, image, method, psnr. An expert leads where its
    mean over the pictures is above the next best expert's by more than two standard errors of their difference.
    """
    by = matrix[list(EXPERTS)]
    own = pd.Series({one: by.loc[one].iloc[expert_index(one)] for one in by.index})
    others = pd.Series({one: by.loc[one].drop(EXPERTS[expert_index(one)]).max() for one in by.index})
    lead = own - others
    best = [one for one in lead.index if lead[one] > 2 * _standard_error(scores, one, by.loc[one])]
    worse = [one for one in own.index if own[one] < matrix.loc[one, "input"]]
    harm = f" Worse than the untouched input even with their own expert: {', '.join(worse)}." if worse else ""
    spread = (by.max(axis=1) - by.min(axis=1)).mean()
    if spread < 0.05:
        verdict = "in practice the experts are interchangeable"
    elif len(best) == len(by):
        verdict = "every expert is the best at its own blur: they have specialised"
    elif len(best) > len(by) / 2:
        verdict = "most experts are the best at their own blur, not all"
    else:
        verdict = "for most blurs the own expert is not clearly the best"
    which = f" ({', '.join(best)})" if 0 < len(best) < len(by) else ""
    return (
        f"Experts started {name}: the blur's own expert leads by more than two standard errors on {len(best)} of "
        f"{len(by)} sets{which}; its mean is {lead.mean():+.2f} dB from the best of the others; the choice matters by "
        f"{spread:.2f} dB a set: {verdict}.{harm}"
    )


def _standard_error(scores: pd.DataFrame, one: str, means: pd.Series) -> float:
    """Of the difference between a set's own expert and the best of the others, over the pictures of the set."""
    own = EXPERTS[expert_index(one)]
    psnr = scores[scores.set == one].pivot(index="image", columns="method", values="psnr")
    return float((psnr[own] - psnr[means.drop(own).idxmax()]).sem())


def movement(name: str, moved: pd.DataFrame) -> str:
    """How far the experts that started ``name`` went (``experts.moved``), in words."""
    filters = moved[moved.kind != SCALES].groupby("expert", sort=False).change.mean()
    scales = moved[moved.kind == SCALES].change.mean()
    r = moved[moved.kind != SCALES].correlation.mean()
    ratio = filters.max() / filters.min()
    spread = "about as far as each other" if ratio < 1.25 else f"{filters.idxmax()} farthest, {filters.idxmin()} least"
    return (
        f"Experts started {name}: their filters changed by {filters.min():.1%} to {filters.max():.1%} of their length "
        f"({spread}) and correlate with their start at {r:.2f}; beta and gamma are {scales:.3f} (root mean square)."
    )


def encoders(numbers: pd.DataFrame, alike: pd.DataFrame, random: str) -> list[str]:
    """Figure 13 in words, of the averaged features.

    ``numbers`` and ``alike`` are those of ``encoders.look``, ``random`` names the untrained baseline among them.
    """
    here = numbers[numbers.reading == POOLED].set_index("baseline")
    trained = [name for name in here.index if name not in (random, NO_NETWORK)]
    untrained, chance, plain = here.knn[random], here.knn_shuffled[random], here.knn[NO_NETWORK]
    best = here.knn[trained]
    margin = 0.1  # of accuracy, about two standard errors for 120 pictures; less is not called a difference
    clusters = here.silhouette[trained].min() > 0.1
    better = [name for name in trained if best[name] > untrained + margin]
    if len(better) == len(trained):
        distinct = "better than random ones" + (
            ", in distinct clusters as the paper says"
            if clusters
            else (", but not in distinct clusters as the paper has it")
        )
    elif better:
        distinct = f"better than random ones in some cases only ({', '.join(better)})"
    else:
        distinct = "no better than random ones"
    seen = "nothing, as in the paper" if untrained <= chance + margin else "them too, unlike in the paper"
    first = (
        f"The five nearest neighbours name a picture's set with an accuracy of {untrained:.2f} in the features of "
        f"random weights (chance {chance:.2f}), {', '.join(f'{best[name]:.2f} {name}' for name in trained)}. Trained "
        f"weights separate the sets {distinct}; random weights separate {seen}."
    )
    shows = (
        "brightness and contrast tell sets apart, no encoder is needed for that"
        if plain > chance + margin
        else ("brightness and contrast do not tell the sets apart")
    )
    second = (
        f"Mean colour and contrast alone reach {plain:.2f}, {'more' if plain > best.max() else 'less'} than the best "
        f"encoder: {shows}."
    )
    among = alike[alike["first"].isin(trained) & alike["second"].isin(trained)].cka
    against = alike[(alike["first"] == random) | (alike["second"] == random)].cka
    more = among.mean() - against.mean()
    than = "more alike than" if more > 0.1 else "less alike than" if more < -0.05 else "about as alike as"
    third = (
        f"The paper finds the point clouds of all trained encoders alike. Their features have a linear CKA of "
        f"{among.min():.2f} to {among.max():.2f} with each other and {against.mean():.2f} with those of random "
        f"weights: {than} any is to an encoder that learnt nothing."
    )
    return [first, second, third]
