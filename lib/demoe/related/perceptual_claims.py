"""Notebook 11: what came out of the perceptual losses, as rows."""

from __future__ import annotations

import math

import pandas as pd
from scipy import stats

from demoe.report.claims import UNDECIDED, Claim, beside, claim
from demoe.report.tables import where

from .perceptual_report import BY_HAND, INPUT, NOTHING, RANDOM, START, looks_through, published_counts
from .perceptual_study import BLOCK, PIXELS
from .tolerance import KEPT, keeps

KEEPING = ("local", "global")  # losses that the paper says keep the PSNR
SURE = 0.05  # of the exact tests


def found(compared: pd.DataFrame, changes: pd.DataFrame, choices: pd.DataFrame) -> list[Claim]:
    """What came out, as rows; ``compared`` is ``perceptual_report.compare``'s, ``changes`` and ``choices`` are
    ``perceptual_study``'s."""
    return [*trained(compared), *similarities(changes), *retrievals(choices)]


def trained(compared: pd.DataFrame) -> list[Claim]:
    """The trainings. Nothing is judged where the network without a perceptual loss beats not both input and start."""
    counts = published_counts().set_index("loss")
    bases = [_row(compared, NOTHING, other) for other in (INPUT, START)]
    failing = ", ".join(f"{BY_HAND[row.reference]} ({row.verdict})" for row in bases if row.verdict != "better")
    doubt = (
        f"nothing is judged: without a perceptual loss the network is not shown to beat {failing}" if failing else ""
    )
    rows = [_claim("mae-basis-{other}", row, _over(row), other=BY_HAND[row.reference]) for row in bases]
    for row in compared.itertuples():
        if row.method in (START, INPUT) or row.reference in (START, INPUT):
            continue
        if row.reference == RANDOM and looks_through(row.method) != "vit_distance":
            continue
        if row.metric == looks_through(row.method):
            continue
        names = {"row": row.method, "other": row.reference, "metric": row.metric}
        over_none = row.metric == "psnr" and row.reference == NOTHING
        if over_none and row.method in counts.index:
            theirs = counts.loc[row.method]
            words = f"higher in {theirs.higher:.0f} of {theirs.cells:.0f}; LPIPS lower in {theirs.lpips:.0f}"
            names |= {"published": theirs.gain, "place": "Tables I to III", "words": words}
        once = "one training each: what another would change is unknown" if row.trainings < 2 else ""
        key = "mae-psnr-{row}-{other}" if row.metric == "psnr" else "mae-{metric}-{row}-{other}"
        undecided = {"verdict": UNDECIDED, "criterion": doubt} if doubt else {}
        says = f"trainings say {row.verdict}: {row.reason}" if doubt else ""
        rows.append(_claim(key, row, beside(doubt, once, says, _over(row)), **names | undecided))
        if over_none and row.method in KEEPING:
            fields = ("difference", "low", "high", "scenes", "trainings", "low_trainings", "high_trainings")
            holds = None if doubt else keeps(KEPT, **{name: getattr(row, name) for name in fields})
            more = {"low": row.low, "high": row.high, "trainings": row.trainings, "row": row.method, "limit": KEPT}
            rows.append(claim("mae-kept-{row}", row.difference, beside(doubt, once, _over(row)), holds, **more))
    return rows


def similarities(changes: pd.DataFrame) -> list[Claim]:
    """Whether blur changes the self-similarity more in each transformer than in random weights: a sign test."""
    wide, rows = changes.pivot(index="image", columns="features", values="change"), []
    for name in changes.features.unique():
        if name in (PIXELS, RANDOM):
            continue
        more, less = int((wide[name] > wide[RANDOM]).sum()), int((wide[name] < wide[RANDOM]).sum())
        fields, p = _share(more, len(wide)), signs(more, less)
        names = {"name": name, "pixels": (wide[PIXELS] > wide[RANDOM]).mean(), "p": p, "count": len(wide)}
        holds = bool(more > less) if p < SURE else None
        rows.append(claim("mae-similarity-{name}", more / len(wide), holds=holds, more=more, **names, **fields))
    return rows


def retrievals(choices: pd.DataFrame) -> list[Claim]:
    """Whether each transformer finds more halves than random weights do: McNemar's exact test, of the photographs that
    only one of the two finds."""
    of, rows = choices.set_index("features"), []
    ending = f", block {BLOCK}, mean of patches"
    kinds = [one.removeprefix("ViT ").removesuffix(ending) for one in of.index if one.endswith(ending)]
    for name in kinds:
        if name == RANDOM:
            continue
        row, count = of.loc[f"ViT {name}{ending}"], int(of.photographs.iloc[0])
        hits, p = round(row.colour * count), signs(int(row.gained), int(row.lost))
        by_chance = stats.binomtest(hits, count, row.chance, "greater").pvalue
        holds = bool(row.gained > row.lost) if p < SURE else None
        if holds and by_chance >= SURE:
            holds = None
        names = {"name": name, "random": of.colour[f"ViT {RANDOM}{ending}"], "chance": row.chance, "p": p}
        names |= {"gained": int(row.gained), "lost": int(row.lost), "count": count}
        rows.append(claim("mae-retrieval-{name}", row.colour, holds=holds, **names, **_share(hits, count)))
    return rows


def signs(more: int, less: int) -> float:
    """Two-sided p of the exact sign test, and of McNemar's; 1 where nothing differs."""
    return float(stats.binomtest(more, more + less).pvalue) if more + less else 1.0


def _share(hits: int, count: int) -> dict[str, float]:
    """The ends of the exact (Clopper and Pearson) 95 % interval of a share."""
    interval = stats.binomtest(hits, count).proportion_ci()
    return {"low": interval.low, "high": interval.high}


def _claim(key: str, row, control: str, /, **more) -> Claim:
    """A row of ``trainings.compare_trainings``, which has judged it over scenes and over trainings."""
    fields = {"low": row.low, "high": row.high, "trainings": row.trainings, "criterion": row.reason}
    return claim(key, row.difference, control, row.verdict, **fields | more)


def _over(row) -> str:
    """The interval over trainings, "" of one."""
    decimals = 3 if row.metric == "psnr" else 4
    ends = (f"{end:+.{decimals}f}" for end in (row.low_trainings, row.high_trainings))
    return "" if math.isnan(row.low_trainings) else f"over trainings [{', '.join(ends)}]"


def _row(compared: pd.DataFrame, method: str, reference: str):
    return next(where(compared, method=method, reference=reference, metric="psnr").itertuples())
