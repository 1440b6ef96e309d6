"""What notebook 06 found about the router and about choosing the expert, against the paper's words, as rows.

The paper's sentences are in Sections 3.2 and 4.2 and in appendix E.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from demoe.data.real import catalog
from demoe.evaluation import expert_choice, statistics
from demoe.evaluation.metrics import LABELS
from demoe.evaluation.statistics import AVERAGE, FEWEST_SCENES, WITHOUT

from .claims import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    beside,
    claim,
    difference,
    of_sets,
    reverse,
    slug,
    told_by_set,
    without,
)
from .tables import bare, interval, paper, where

PUBLISHED_ACCURACY = 0.95  # "perfect classification accuracy i.e., > 95 %", Section 3.2
FAILS_THERE = {dataset.name: dataset.router_fails for dataset in catalog.DATASETS}  # whether the paper's router does
WITHOUT_LABELS = (expert_choice.SOFT, expert_choice.EQUAL, *expert_choice.LABEL_FREE)
COMPARED = (  # with the router's choice, for scale: what could be had, what is had blindly, and without choosing
    *(expert_choice.ORACLE, expert_choice.FIXED, expert_choice.RANDOM, expert_choice.INPUT, expert_choice.BASELINE),
    *WITHOUT_LABELS,
)
NAMES = {
    **{expert_choice.INPUT: "The untouched input", expert_choice.BASELINE: "The baseline"},
    expert_choice.SOFT: expert_choice.SOFT,
}
GROUPS = {"outside": "outside the training sets", "inside": "in distribution"}


def accuracy(routing: pd.DataFrame, network: str = "demoe") -> Claim:
    """The router in distribution: ``routing`` has the pictures of AIO-Blur's test sets (``router.router_view``).

    ``network`` begins the row's id: notebooks look at several.
    """
    found, names = _right(routing)
    low, high = found["low"], found["high"]
    holds = True if low > PUBLISHED_ACCURACY else False if high < PUBLISHED_ACCURACY else None
    by = routing.groupby("set", sort=False).correct.mean().astype(float)
    names |= {"network": network, "worst": by.idxmin(), "least": by.min()}
    return claim("{network}-router-accuracy", holds=holds, **found, **names)


def usage(routing: pd.DataFrame) -> Claim:
    """Figure 12, in distribution: the sets whose own expert is the router's most frequent answer (``router_view``)."""
    most = {name: part.predicted.value_counts().index[0] for name, part in routing.groupby("set", sort=False)}
    own = routing.groupby("set").label.first()
    other = [f"{name} to {expert}" for name, expert in most.items() if expert != own[name]]
    return claim("demoe-f12-usage", len(most) - len(other), ", ".join(other), not other, unit=f"of {len(most)}")


def _right(routing: pd.DataFrame) -> tuple[dict[str, float], dict[str, int]]:
    """The share of the pictures on which the router is right, with its interval, and how many pictures and scenes."""
    share, scenes = float(routing.correct.mean()), _scenes(routing)
    low, high = share_interval(share, scenes)
    return {"ours": share, "low": low, "high": high}, {"pictures": len(routing), "scenes": scenes}


def _scenes(table: pd.DataFrame) -> int:
    """How many scenes the pictures of ``table`` (set, image) show; one that is in two sets counts in each."""
    return len({(name, statistics.scene(name, key)) for name, key in zip(table["set"], table["image"], strict=True)})


def share_interval(share: float, scenes: int) -> tuple[float, float]:
    """Wilson's 95 % interval with a trial a scene: as if further pictures of one told nothing new, so rather too wide.

    Not a bootstrap over scenes, which would be certain of a share of 0 or 1.
    """
    z2 = 1.96**2
    middle, half = share + z2 / (2 * scenes), math.sqrt(z2 * (share * (1 - share) + z2 / (4 * scenes)) / scenes)
    return (middle - half) / (1 + z2 / scenes), (middle + half) / (1 + z2 / scenes)


def outside(routing: pd.DataFrame) -> list[Claim]:
    """The router on each set outside AIO-Blur: whether it fails there, or finds the expert, as the paper's does.

    Undecided where the interval of the share has the half in it, or comes from fewer than ``FEWEST_SCENES`` scenes.
    """
    rows = []
    for name, part in routing.groupby("set", sort=False):
        found, names = _right(part)
        fails = True if found["high"] < 0.5 else False if found["low"] > 0.5 else None
        theirs, most = FAILS_THERE.get(bare(name)), part.predicted.value_counts()
        verdict = HOLDS if fails == theirs else FAILS
        if fails is None or theirs is None or names["scenes"] < FEWEST_SCENES:
            verdict = UNDECIDED
        names |= {"set": name, "expert": part.label.iloc[0], "most": most.index[0], "times": most.iloc[0]}
        names["words"] = {None: "", True: "it fails there", False: "it does not fail"}[theirs]
        rows.append(claim("demoe-t2-router-{set}", holds=verdict, **found, **names))
    return rows


def gains(comparison: pd.DataFrame) -> list[Claim]:
    """On each set outside: k=1 over the untouched input and over the baseline, and the expert chosen by hand over k=1,
    which says something where it restores.

    ``comparison`` is that of ``expert_choice.compare_methods``. The paper's differences are those of its real sets.
    """
    pairs = (
        (expert_choice.INPUT, "DeMoE k=1", "the untouched input", ("DeMoE_k1", "")),
        (expert_choice.BASELINE, "DeMoE k=1", "the baseline", ("DeMoE_k1", "NAFNet")),
        (expert_choice.MANUAL, "The expert chosen by hand", "the router's", ("DeMoE_k1_manual", "DeMoE_k1")),
    )
    rows = []
    over = where(comparison, group="outside", quantity="over input", method=expert_choice.MANUAL).set_index("set")
    rows += [difference("demoe-t2-{set}-restores", row, set=name) for name, row in of_sets(over).iterrows()]
    for method, first, second, theirs in pairs:
        gains = where(comparison, group="outside", quantity="gain", method=method).set_index("set")
        for name, row in of_sets(gains).iterrows():
            names = {"set": name, "other": method, "first": first, "second": second}
            above, below = (paper("table2_ood", one, bare(name), "psnr") for one in theirs)
            by_hand = method == expert_choice.MANUAL
            restoring = method != expert_choice.INPUT  # what compares with the input needs no other row
            names["needs"] = f"demoe-t2-{slug(name)}-restores" if restoring else ""
            turned = row if by_hand else reverse(row)
            rows.append(difference("demoe-t2-{set}-{other}", turned, _changed(row), published=above - below, **names))
    return rows


def choices(comparison: pd.DataFrame) -> list[Claim]:
    """What choosing otherwise than the router gives, in and out of distribution, over its choice and over the input.

    The oracle takes the best expert of each picture, "fixed" that of a whole set; the rules need no labels. Where not
    even the oracle beats the input, no choice says anything.
    """
    rows, worth, free = [], [], []
    for group, in_words in GROUPS.items():
        of = where(comparison, group=group, method=expert_choice.ORACLE, quantity="over input").set_index("set")
        if AVERAGE in of.index:
            bright = of.loc[WITHOUT if WITHOUT in of.index else AVERAGE]
            rows.append(difference("demoe-choice-{group}-basis", bright, told_by_set(of), group=in_words))
    for method in COMPARED:
        words: dict[str, list[str]] = {}
        for group, in_words in GROUPS.items():
            of = where(comparison, group=group, method=method).set_index("set")
            by, average = where(of, quantity="gain"), of.loc[of.index == AVERAGE].set_index("quantity")
            if AVERAGE not in by.index:
                continue
            names = {"group": in_words, "method": method, "first": NAMES.get(method, method.capitalize())}
            gap = ""
            if method in WITHOUT_LABELS and not math.isnan(average["mean"].get("share", math.nan)):
                gap = f"{interval(average.loc['share'], 0, sign=False, unit='%')} of the gap to the oracle"
            sets, passes = told_by_set(by) if group == "outside" else "", average.loc["experts", "mean"]
            control = beside(without(by, 3), _changed(by.loc[AVERAGE]), sets, gap, f"{passes:.2g} experts run")
            needs = {"needs": ""} if method == expert_choice.INPUT else {}  # it is what the others are held against
            found = [difference("demoe-choice-{group}-{method}", by.loc[AVERAGE], control, **names, **needs)]
            if method in WITHOUT_LABELS:
                over, key = where(of, quantity="over input"), "demoe-choice-{group}-{method}-input"
                found.append(difference(key, over.loc[AVERAGE], without(over, 3), **names))
            words[group] = [row.verdict for row in found]
            rows += found
        if words.get("outside") == ["better", "better"]:
            worth.append(method)
            free += [method] if words.get("inside", [""])[0] != "worse" else []
    costly = f"better outside, but worse in distribution: {', '.join(worth)}" if worth and not free else ""
    control = f"so are: {', '.join(free)}" if free else costly
    return [*rows, claim("demoe-choice-worth", control=control, holds=bool(free))]


def _changed(row: pd.Series) -> str:
    """On how few pictures a gain rests, where that is not all."""
    return f"{row.changed:.0f} of {row.pictures:.0f} pictures changed" if row.changed < row.pictures else ""


def calibration(errors: pd.DataFrame) -> list[Claim]:
    """Is the router as right as it is sure? ``errors`` is ``router.calibration``'s second table."""
    rows = []
    for row in errors.itertuples():
        key = "demoe-calibration-{group}" + ("-scaled" if row.temperature != 1 else "")
        rows.append(claim(key, row.ece, holds=row.verdict, **row._asdict()))
    return rows


def doubt(detection: pd.DataFrame, held_out: pd.DataFrame, name: str) -> list[Claim]:
    """Do the signs tell the unknown? ``detection`` is ``router.detection``'s.

    ``held_out`` are the pictures that limits and temperature come from, ``name`` is ``router.reference_name``.
    """
    scenes = {statistics.scene(*keys) for keys in zip(held_out["set"], held_out["image"], strict=True)}
    photographs = sum(not scene.startswith("dead_leaves") for scene in scenes)
    synthetic = held_out["set"].str.endswith("-syn").all()
    kind = f"{photographs} of them photographs" if synthetic else "which the network was trained on"
    of = f"{len(held_out)} {name} pictures of {len(scenes)} scenes, {kind}"
    inside = where(detection, set="inside").set_index("sign").flagged
    rows = []
    for row in detection[detection["set"] != "inside"].itertuples():
        names = {"sign": row.sign.replace("_", " ").capitalize(), "set": row.set, "of": of}
        names |= {"above": row.flagged, "inside": inside[row.sign]}
        rows.append(claim("demoe-doubt-{sign}-{set}", row.auroc, **names))
    return rows


def without_sharp(scores: pd.DataFrame, sets: Sequence[str]) -> list[Claim]:
    """The choice by hand on the sets without sharp pictures, by the no-reference metrics that there are."""
    rows = []
    for name in sets:
        part = where(scores, set=name)
        if part.psnr.notna().any():
            continue
        both = part[part.method.isin((expert_choice.MANUAL, expert_choice.ROUTER))]
        choice = both.pivot(index="image", columns="method", values="choice")
        others = choice.index[choice[expert_choice.MANUAL] != choice[expert_choice.ROUTER]]
        changed = len({statistics.scene(name, key) for key in others})
        metrics = [metric for metric in ("musiq", "nrqm", "niqe", "niqe_refit") if metric in both]
        both = both[["set", "image", "method", "missing", *metrics]]
        table = statistics.difference(both, expert_choice.MANUAL, expert_choice.ROUTER).set_index(["set", "metric"])
        for metric in metrics:
            row = table.loc[name, metric].copy()
            row["changed_scenes"] = changed
            told = [text for cell in both.missing.unique() for text in cell.split("; ")]
            why = ", ".join(text for text in told if text.startswith(f"{metric}:"))
            control = f"missing: {why}" if math.isnan(row["mean"]) else f"{changed} scenes with another expert"
            printed = [paper("table9_real_lolblur", one, bare(name), metric) for one in ("DeMoE_k=lolblur", "DeMoE_k1")]
            names = {"set": name, "label": LABELS[metric], "measure": metric, "published": printed[0] - printed[1]}
            rows.append(difference("demoe-choice-{set}-{measure}", row, control, metric, **names))
    return rows
