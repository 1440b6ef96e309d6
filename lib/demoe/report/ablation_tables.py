"""Figure 6 right, Tables 5 and 7: which experiment stands for which published row, and both side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from demoe.core.profiles import PROFILES, Profile, trained_from
from demoe.data.setting import Setting
from demoe.evaluation import trainings
from demoe.evaluation.statistics import without_lolblur
from demoe.experiments.ablations import BY_HAND, CHOICES, INPUT, ROUTER
from demoe.experiments.spec import FIGURE_6, PUBLISHED, START, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7, specs

from .tables import NONE, Read, best, interval, number, paper, where

# Why a profile leaves out what a smaller one trains. Five products of features with themselves are their 32nd power:
# from a baseline that was trained for hours the first loss is 1e26, in whatever precision and at whatever rate. PLK
# blocks end far below their input (demoe train --profile cpu --experiment ablation-plk).
IN_VAIN = {
    "ablation-attention": "diverges at its first step from a baseline trained this long",
    "ablation-plk": "learns nothing in so few steps",
}
REFERENCE = "ablation-demoe"
SHORT_REFERENCE = "ablation-short-start"  # for those that have a short stage 1 of their own
STAGE_1 = "baseline"  # that the reference starts from
BASELINE = "variant-class-loss"  # the reference of the other variants
TABLES = (FIGURE_6, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7, START)
ALL_ROWS = "all rows"
ALL_SETS, BRIGHT = "all sets", "without LOLBlur"
WITHOUT_LOLBLUR = ("difference", "low", "high", "verdict")  # columns that are there twice, then as "..._bright"
UNPUBLISHED = {
    "variant-wide": "stage 1 of twice the width",
    "variant-more-middle": "stage 1 of more middle NAFBlocks",
    SHORT_REFERENCE: "DeMoE on a short stage 1",
}
WORDS = {ROUTER: "router's expert", BY_HAND: "expert by hand"}


@dataclass(frozen=True)
class Row:
    """A row of the paper, the experiment that stands for it, and the one that it is compared with."""

    table: str
    label: str
    experiment: str
    source: tuple[str, str]  # table and method in ``published()``; none: not in the paper
    reference: str


def _rows() -> list[Row]:
    """The rows of all experiments, table by table."""
    found = []
    for spec in specs(Setting(PROFILES["paper"])).values():  # rows are the same in every profile
        short = spec.starts_from is not None and spec.starts_from.name.startswith("variant-")
        reference = BASELINE if spec.name.startswith("variant-") else SHORT_REFERENCE if short else REFERENCE
        for row in spec.rows:
            source = (PUBLISHED[row.table], row.method) if row.method else ("", "")
            found.append(Row(row.table, row.label, spec.name, source, reference))
    return sorted(found, key=lambda row: TABLES.index(row.table))


ROWS: tuple[Row, ...] = tuple(_rows())


def rows(*tables: str) -> list[Row]:
    """The rows of these tables, in their order there."""
    return [row for row in ROWS if row.table in tables]


def experiments_of(*tables: str, profile: Profile | None = None) -> list[str]:
    """The experiments that these tables need, each once: those that they are compared with, and the reference and its
    stage 1 (``basis``), are among them. Without what ``profile`` leaves out."""
    named = [name for row in rows(*tables) for name in (row.experiment, row.reference)]
    every = dict.fromkeys((*named, REFERENCE, STAGE_1))
    return [name for name in every if profile is None or name not in profile.leaves_out]


def results(scores: pd.DataFrame, *tables: str, seed: int = 0) -> pd.DataFrame:
    """A row a row of these tables and a choice of the expert: ``compare_trainings`` beside the published averages.

    ``scores`` are ``score_ablations``'s. Columns: table, row, choice, those of ``compare_trainings``, accuracy (of the
    router; NaN without experts), psnr_bright (dB, the average without LOLBlur), those of ``WITHOUT_LOLBLUR``,
    paper_psnr, paper_ssim, paper_lpips, paper_difference (dB, of the paper's averages over the real sets; all NaN where
    the paper has none). Rows whose experiment has no scores are left out.
    """
    scored, records = set(scores.method), []
    wanted = [row for row in rows(*tables) if row.experiment in scored]
    for choice in CHOICES:
        part = scores[scores.choice == choice]
        references = {row.experiment: row.reference for row in wanted}
        found = trainings.compare_trainings(part, references, seed).set_index("method")
        accuracy = part.groupby("method").right.mean()
        rest = without_lolblur(part)
        bright = rest.groupby(["method", "set"]).psnr.mean().groupby("method").mean()
        again = trainings.compare_trainings(rest if len(rest) else part, references, seed).set_index("method")
        for row in wanted:
            records.append(
                {"table": row.table, "row": row.label, "choice": choice, "method": row.experiment}
                | found.loc[row.experiment].to_dict()
                | {"accuracy": accuracy[row.experiment], "psnr_bright": bright.get(row.experiment, math.nan)}
                | {f"{name}_bright": again.loc[row.experiment, name] for name in WITHOUT_LOLBLUR}
                | _published(row)
            )
    return pd.DataFrame(records)


def _published(row: Row) -> dict[str, float]:
    """The paper's averages of a row, and the difference to those of the experiment that it is compared with, whose
    first row in the paper counts."""
    theirs = {f"paper_{metric}": paper(*row.source, "Average", metric) for metric in ("psnr", "ssim", "lpips")}
    compared = REFERENCE if row.reference == SHORT_REFERENCE else row.reference
    reference = next(paper(*one.source, "Average", "psnr") for one in ROWS if one.experiment == compared)
    return theirs | {"paper_difference": round(theirs["paper_psnr"] - reference, 5)}


def _why(experiment: str) -> str:
    return IN_VAIN.get(experiment) or f"from profile {trained_from(experiment)} on"


def _left_out(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the paper's table ``name`` that this profile does not train, with its numbers and why."""
    missing = [row for row in rows(name) if row.experiment not in set(table.method)]
    found = [
        {"row": f"{row.label} ({_why(row.experiment)})", "method": row.experiment}
        | {"reference": row.reference, "choice": choice, "trainings": 0}
        | _published(row)
        for row in missing
        for choice in CHOICES
    ]
    return pd.DataFrame(found)


def basis(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Whether the reference is worth comparing with: against its own stage 1 and the blurred input, for each choice,
    on all sets and on those without LOLBlur.

    ``scores`` are ``score_ablations``'s. Columns: choice, sets, those of ``compare_trainings``, accuracy (of the
    router).
    """
    found = []
    for choice in CHOICES:
        every = scores[scores.choice == choice]
        right = where(every, method=REFERENCE).right.mean()
        bright = without_lolblur(every)
        for sets, part in ((ALL_SETS, every), (BRIGHT, bright if len(bright) else every)):
            for other in (STAGE_1, INPUT):
                rows = trainings.compare_trainings(part, {REFERENCE: other}, seed).assign(accuracy=right)
                rows.insert(0, "choice", choice)
                rows.insert(1, "sets", sets)
                found.append(rows)
    return pd.concat(found, ignore_index=True)


def readable(basis: pd.DataFrame) -> pd.DataFrame:
    """``basis`` for the eye: dB and shares to three digits, without what a reader need not see."""
    shown = ["choice", "sets", "reference", "psnr", "difference", "low", "high", "accuracy"]
    return basis[shown].round(3)


def orders(table: pd.DataFrame) -> pd.DataFrame:
    """``trainings.order`` of every table's PSNR, and of all published rows together, each experiment once. Tables of
    which fewer than three rows are there have no order.

    ``table`` is ``results``'. Columns: table (ending in ", expert by hand" where it was so chosen), choice, rows, rho,
    p (one-sided, not corrected for how many there are), exact; rho_bright and p_bright without LOLBlur.
    """
    known, found = table[table.paper_psnr.notna()], []
    for choice, chosen in known.groupby("choice", sort=False):
        groups = [(name, part) for name, part in chosen.groupby("table", sort=False) if len(part) > 2]
        if len(groups) > 1:
            groups.append((ALL_ROWS, chosen.drop_duplicates("method")))
        for name, part in groups:
            label = name if choice == ROUTER else f"{name}, expert by hand"
            every, bright = (trainings.order(part.paper_psnr, ours) for ours in (part.psnr, part.psnr_bright))
            without = {"rho_bright": bright.rho, "p_bright": bright.p}
            found.append({"table": label, "choice": choice} | vars(every) | without)
    columns = ["table", "choice", "rows", "rho", "p", "exact", "rho_bright", "p_bright"]
    return pd.DataFrame(found, columns=columns)


def published_costs() -> pd.DataFrame:
    """What Tables 5 and 7 print: params_m (millions), macs_g (10^9), runtime_ms, by experiment, NaN for none."""
    metrics = ("params_m", "macs_g", "runtime_ms")
    sources = {row.experiment: row.source for row in ROWS if row.table in (TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7)}
    found = {name: [paper(*source, "-", metric) for metric in metrics] for name, source in sources.items()}
    return pd.DataFrame(found, index=metrics).T.dropna(how="all")


def dearer_and_better(*tables: str) -> list[str]:
    """The rows of these tables that the paper prints with more operations and a higher average PSNR than DeMoE's."""
    macs, found = published_costs().macs_g, {}
    for row in rows(*tables):
        of_demoe = row.reference in (REFERENCE, SHORT_REFERENCE) and row.experiment in macs.index
        if of_demoe and macs[row.experiment] > 1.01 * macs[REFERENCE] and _published(row)["paper_difference"] > 0:
            found[row.experiment] = row.label
    return list(found.values())


def runtimes(timed: pd.DataFrame) -> pd.DataFrame:
    """``comparison.runtimes`` beside the published times, for display only: no two runs measure the same."""
    printed = published_costs().runtime_ms.reindex(timed.network)
    sides = ", ".join(f"{side}x{side}" for side in timed.side.unique())
    columns = {"paper, width 32, its GPU (ms)": printed, f"here, {sides} (ms)": timed.runtime_ms}
    return _numbered({head: (values, 1, 1) for head, values in columns.items()}, timed.network)


def _numbered(columns: dict[str, tuple[pd.Series, float, int]], experiments: Iterable[str]) -> pd.DataFrame:
    """A table for a reader: numbers, the unit that they are counted in, and their decimals, by head of the column."""
    names = {row.experiment: row.label for row in reversed(ROWS)}
    names |= {REFERENCE: "DeMoE"} | UNPUBLISHED
    cells = {
        head: [number(value / unit, decimals) for value in values] for head, (values, unit, decimals) in columns.items()
    }
    return pd.DataFrame(cells, index=pd.Index([names[name] for name in experiments], name=""))


def difference(row, over: str = "") -> str:
    """ "+0.120 [+0.010, +0.230]": the difference with its interval over pictures, or ``over`` "trainings".

    A dash for what the others are compared with, and over a single training.
    """
    low, high = (row.low_trainings, row.high_trainings) if over == "trainings" else (row.low, row.high)
    if row.method == row.reference or (over == "trainings" and math.isnan(low)):
        return NONE
    return interval({"mean": row.difference, "low": low, "high": high}, 3)


def comparison(csv: str, name: str, read: Read) -> pd.DataFrame:
    """The rows of the paper's table ``name`` from ``results``: its numbers, and ours for both choices of the expert."""
    every = where(read(csv), table=name)
    kind = "real" if "data" in every and set(every["data"]) == {"real"} else "-syn"  # by the stamp of the CSV
    late = _left_out(name, every)
    every = pd.concat([every, late], ignore_index=True) if len(late) else every
    table, columns = every[every.choice == ROUTER], {}
    if table.paper_psnr.notna().any():
        gaps = [number(value, 2, True) for value in table.paper_difference]
        columns |= _quality("paper (real)", table, "paper_psnr", "paper_ssim", "paper_lpips")
        columns["paper (real)", "difference (dB)"] = gaps
    for choice in CHOICES:
        ours, part = f"here ({kind}), {WORDS[choice]}", every[every.choice == choice]
        columns |= _quality(ours, part, "psnr", "ssim", "lpips_vgg")
        columns[ours, "difference (dB) [95 % over pictures]"] = [difference(row) for row in part.itertuples()]
        if part.trainings.max() > 1:
            columns[ours, "[95 % over trainings]"] = [difference(row, "trainings") for row in part.itertuples()]
            spread = [number(value, 3) for value in part.spread]
            columns[ours, "standard deviation over trainings (dB)"] = spread
    columns["here", "router is right"] = [NONE if math.isnan(value) else f"{value:.0%}" for value in table.accuracy]
    laid = pd.DataFrame(columns, index=pd.Index(table.row, name=""))
    laid.loc[list(dict.fromkeys(late.get("row", ()))), [head for head in laid if head[0].startswith("here")]] = NONE
    return laid


def _quality(group: str, part: pd.DataFrame, psnr: str, ssim: str, lpips: str) -> dict[tuple[str, str], list[str]]:
    heads = {psnr: ("PSNR (dB) ↑", 2), ssim: ("SSIM ↑", 3), lpips: ("LPIPS ↓", 3)}
    known = {column: of for column, of in heads.items() if column in part}
    return {(group, head): best(part[one], decimals, one == lpips) for one, (head, decimals) in known.items()}


def costs(read: Read) -> pd.DataFrame:
    """What each ablation costs: printed, counted at the published size, and counted as trained here."""
    at = {size: part.set_index("experiment") for size, part in read("08_costs").groupby("size", sort=False)}
    paper, here = at["paper"], at["here"].loc[at["paper"].index]
    printed = published_costs().reindex(paper.index)
    columns = {  # head: numbers, their unit, decimals
        "paper: parameters (M)": (printed.params_m, 1, 2),
        "paper: MACs (G)": (printed.macs_g, 1, 2),
        "paper: runtime (ms)": (printed.runtime_ms, 1, 1),
        "counted: parameters (M)": (paper.params, 1e6, 2),
        "counted: MACs (G)": (paper.macs, 1e9, 2),
        "activations kept (GiB)": (paper.activation_bytes, 2**30, 1),
        "weights, gradients, AdamW (GiB)": (paper.state_bytes, 2**30, 2),
        "here: parameters (M)": (here.params, 1e6, 2),
        "here: MACs (G)": (here.macs, 1e9, 2),
        "here: activations kept (MiB)": (here.activation_bytes, 2**20, 0),
        "here: weights, gradients, AdamW (MiB)": (here.state_bytes, 2**20, 0),
        "here: steps of all stages": (here.steps, 1, 0),
    }
    return _numbered(columns, paper.index)
