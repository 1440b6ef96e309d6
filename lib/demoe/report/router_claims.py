"""What notebook 06 found about the router and about choosing the expert, against the paper's words, as rows.

The paper's sentences are in Sections 3.2 and 4.2 and in appendix E.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from demoe.core.paper import published
from demoe.data.real import catalog
from demoe.evaluation import expert_choice, statistics
from demoe.evaluation.metrics import LABELS
from demoe.evaluation.statistics import FEWEST_SCENES

from .claims import AVERAGE, FAILS, HOLDS, UNDECIDED, Claim, beside, claim, difference, reverse, told_by_set
from .tables import with_interval

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
    """The router in distribution: ``routing`` has the pictures of AIO-Blur's test sets (``router.look``).

    ``network`` begins the row's id: notebooks look at several.
    """
    share, scenes = float(routing.correct.mean()), _scenes(routing)
    low, high = _share(share, scenes)
    holds = True if low > PUBLISHED_ACCURACY else False if high < PUBLISHED_ACCURACY else None
    by = routing.groupby("set", sort=False).correct.mean().astype(float)
    control = f"{len(routing)} pictures of {scenes} scenes; least on {by.idxmin()}, {by.min():.0%}"
    return claim("{network}-router-accuracy", share, control, holds, low=low, high=high, network=network)


def _scenes(table: pd.DataFrame) -> int:
    """How many scenes the pictures of ``table`` (set, image) show; one that is in two sets counts in each."""
    return len({(name, statistics.scene(name, key)) for name, key in zip(table["set"], table["image"], strict=True)})


def _share(share: float, scenes: int) -> tuple[float, float]:
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
        share, scenes, most = float(part.correct.mean()), _scenes(part), part.predicted.value_counts()
        low, high = _share(share, scenes)
        fails = None if scenes < FEWEST_SCENES else True if high < 0.5 else False if low > 0.5 else None
        theirs = FAILS_THERE.get(name.removesuffix("-syn"))
        words = "" if theirs is None else "it fails there" if theirs else "it does not fail"
        verdict = UNDECIDED if fails is None or theirs is None else HOLDS if fails == theirs else FAILS
        control = f"{len(part)} pictures of {scenes} scenes; most go to {most.index[0]} ({most.iloc[0]})"
        names = {"set": name, "expert": part.label.iloc[0], "words": words}
        rows.append(claim("demoe-t2-router-{set}", share, control, verdict, low=low, high=high, **names))
    return rows


def gains(comparison: pd.DataFrame) -> list[Claim]:
    """On each set outside: k=1 over the untouched input and over the baseline, and the expert chosen by hand over k=1.

    ``comparison`` is that of ``expert_choice.compare_methods``. The paper's differences are those of its real sets.
    """
    pairs = (
        (expert_choice.INPUT, "DeMoE k=1", "the untouched input", None),
        (expert_choice.BASELINE, "DeMoE k=1", "the baseline", ("DeMoE_k1", "NAFNet")),
        (expert_choice.MANUAL, "The expert chosen by hand", "the router's", ("DeMoE_k1_manual", "DeMoE_k1")),
    )
    rows = []
    for method, first, second, theirs in pairs:
        for name, row in _rows(comparison, "outside", "gain", method).drop(AVERAGE, errors="ignore").iterrows():
            names = {"set": name, "other": method, "first": first, "second": second}
            gain = math.nan if theirs is None else _published_difference(name.removesuffix("-syn"), *theirs)
            turned = row if method == expert_choice.MANUAL else reverse(row)
            rows.append(difference("demoe-t2-{set}-{other}", turned, _changed(row), published=gain, **names))
    return rows


def _published_difference(name: str, method: str, other: str) -> float:
    rows = published().query("table == 'table2_ood' and dataset == @name and metric == 'psnr'")
    values = rows.set_index("method").value
    return values.get(method, math.nan) - values.get(other, math.nan)


def choices(comparison: pd.DataFrame) -> list[Claim]:
    """What choosing otherwise than the router gives, in and out of distribution, over its choice and over the input.

    The oracle takes the best expert of each picture, "fixed" that of a whole set; the rules need no labels.
    """
    rows, worth, free = [], [], []
    for method in COMPARED:
        verdicts: dict[str, list[str]] = {}
        for group, words in GROUPS.items():
            by = _rows(comparison, group, "gain", method)
            names = {"group": words, "method": method, "first": NAMES.get(method, method.capitalize())}
            if AVERAGE not in by.index:
                continue
            passes = f"{_rows(comparison, group, 'experts', method)['mean'].iloc[0]:.2g} experts run"
            sets = told_by_set(by.drop(AVERAGE)) if group == "outside" else ""
            control = beside(_changed(by.loc[AVERAGE]), sets, _share_of_gap(comparison, group, method), passes)
            found = [difference("demoe-choice-{group}-{method}", by.loc[AVERAGE], control, **names)]
            if method in WITHOUT_LABELS:
                over = _rows(comparison, group, "over input", method).loc[AVERAGE]
                found.append(difference("demoe-choice-{group}-{method}-input", over, **names))
            verdicts[group] = [row.verdict for row in found]
            rows += found
        if verdicts.get("outside") == ["better", "better"]:
            worth.append(method)
            free += [method] if verdicts.get("inside", [""])[0] != "worse" else []
    costly = f"better outside, but worse in distribution: {', '.join(worth)}" if worth and not free else ""
    control = f"so are: {', '.join(free)}" if free else costly
    return [*rows, claim("demoe-choice-worth", control=control, holds=bool(free))]


def _share_of_gap(comparison: pd.DataFrame, group: str, method: str) -> str:
    shares = _rows(comparison, group, "share", method)
    if method not in WITHOUT_LABELS or AVERAGE not in shares.index or math.isnan(shares.loc[AVERAGE, "mean"]):
        return ""
    row = shares.loc[AVERAGE]
    return f"{with_interval(row['mean'], row.low, row.high, 0, False, '%')} of the gap to the oracle"


def _changed(row: pd.Series) -> str:
    """On how few pictures a gain rests, where that is not all."""
    return f"{row.changed:.0f} of {row.pictures:.0f} pictures changed" if row.changed < row.pictures else ""


def calibration(errors: pd.DataFrame) -> list[Claim]:
    """Is the router as right as it is sure? ``errors`` is ``router.calibration``'s second table."""
    rows = []
    for row in errors.itertuples():
        scaled = row.temperature != 1
        names = {"group": row.group, **({"temperature": f"{row.temperature:.2f}"} if scaled else {})}
        control = f"by chance up to {row.ece_by_chance:.3f}; right on {row.accuracy:.0%}, sure by {row.confidence:.0%}"
        key = "demoe-calibration-{group}" + "-scaled" * scaled
        rows.append(claim(key, row.ece, control, row.ece <= row.ece_by_chance, **names))
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
    inside = detection[detection["set"] == "inside"].set_index("sign").flagged
    rows = []
    for row in detection[detection["set"] != "inside"].itertuples():
        control = f"{row.flagged:.0%} above the limit, in distribution {inside[row.sign]:.0%}; limit from {of}"
        names = {"sign": row.sign.replace("_", " ").capitalize(), "set": row.set}
        rows.append(claim("demoe-doubt-{sign}-{set}", row.auroc, control, **names))
    return rows


def without_sharp(scores: pd.DataFrame, sets: Sequence[str]) -> list[Claim]:
    """The choice by hand on the sets without sharp pictures, by the no-reference metrics that there are."""
    rows = []
    for name in sets:
        part = scores[scores["set"] == name]
        if part.psnr.notna().any():
            continue
        pair = part[part.method.isin((expert_choice.MANUAL, expert_choice.ROUTER))]
        choice = pair.pivot(index="image", columns="method", values="choice")
        others = choice.index[choice[expert_choice.MANUAL] != choice[expert_choice.ROUTER]]
        changed = len({statistics.scene(name, key) for key in others})
        metrics = [metric for metric in ("musiq", "nrqm", "niqe") if metric in pair]
        table = statistics.difference(
            pair[["set", "image", "method", *metrics]], expert_choice.MANUAL, expert_choice.ROUTER
        ).set_index(["set", "metric"])
        for metric in metrics:
            row = pd.concat([table.loc[name, metric], pd.Series({"changed_scenes": changed})])
            why = ", ".join(text for cell in pair.missing.unique() for text in cell.split("; ") if metric in text)
            control = f"missing: {why}" if math.isnan(row["mean"]) else f"{changed} scenes with another expert"
            names = {"set": name, "label": LABELS[metric], "measure": metric}
            rows.append(difference("demoe-choice-{set}-{measure}", row, control, metric, **names))
    return rows


def _rows(comparison: pd.DataFrame, group: str, quantity: str, method: str) -> pd.DataFrame:
    part = comparison[(comparison.group == group) & (comparison.quantity == quantity) & (comparison.method == method)]
    return part.set_index("set")
