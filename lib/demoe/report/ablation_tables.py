"""Figure 6 right, Tables 5 and 7: which experiment stands for which published row, and both side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from demoe.core.paper import published
from demoe.core.profiles import PROFILES
from demoe.data.setting import Setting
from demoe.evaluation import statistics
from demoe.evaluation.statistics import MISSING
from demoe.experiments.ablations import BY_HAND, CHOICES, INPUT, ROUTER
from demoe.experiments.spec import FIGURE_6, PUBLISHED, START, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7, specs

from .tables import Layout, Read, best, number, with_interval

REFERENCE = "ablation-demoe"
BASELINE = "variant-class-loss"
TABLES = (FIGURE_6, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7, START)
ALL_ROWS = "all rows"
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
    known = specs(Setting(PROFILES["paper"])).values()  # rows are the same in every profile
    found = []
    for spec in known:
        reference = BASELINE if spec.name.startswith("variant-") else REFERENCE
        for row in spec.rows:
            source = (PUBLISHED[row.table], row.method) if row.method else ("", "")
            found.append(Row(row.table, row.label, spec.name, source, reference))
    return sorted(found, key=lambda row: TABLES.index(row.table))


ROWS: tuple[Row, ...] = tuple(_rows())


def rows(*tables: str) -> list[Row]:
    """The rows of these tables, in their order there."""
    return [row for row in ROWS if row.table in tables]


def experiments_of(*tables: str) -> list[str]:
    """The experiments that these tables need, each once: those that they are compared with, and the reference and its
    stage 1 (``basis``), are among them."""
    named = [name for row in rows(*tables) for name in (row.experiment, row.reference)]
    return list(dict.fromkeys((*named, REFERENCE, BASELINE)))


def results(scores: pd.DataFrame, *tables: str, seed: int = 0) -> pd.DataFrame:
    """A row a row of these tables and a choice of the expert: ``trainings.compare`` beside the published averages.

    ``scores`` are ``ablations.score``'s. Columns: table, row, choice, those of ``compare``, accuracy (of the router;
    NaN without experts), paper_psnr, paper_ssim, paper_lpips, paper_difference (dB, of the paper's averages over the
    real sets; all NaN where the paper has none).
    """
    wanted = rows(*tables)
    numbers = published()
    numbers = numbers[numbers["dataset"] == "Average"].set_index(["table", "method", "metric"])["value"]

    def paper(row: Row, metric: str) -> float:
        return float(numbers.get((*row.source, metric), math.nan))

    # The published PSNR of what a row is compared with: that experiment's first row in the paper.
    reference = {
        name: paper(next(row for row in ROWS if row.experiment == name), "psnr")
        for name in {row.reference for row in wanted}
    }
    records = []
    for choice in CHOICES:
        part = scores[scores.choice == choice]
        found = statistics.compare(part, {row.experiment: row.reference for row in wanted}, seed).set_index("method")
        accuracy = part.groupby("method").right.mean()
        for row in wanted:
            gap = paper(row, "psnr") - reference[row.reference]
            records.append(
                {
                    "table": row.table,
                    "row": row.label,
                    "choice": choice,
                    "method": row.experiment,
                    **found.loc[row.experiment].to_dict(),
                    "accuracy": accuracy[row.experiment],
                    **{f"paper_{m}": paper(row, m) for m in ("psnr", "ssim", "lpips")},
                    "paper_difference": round(gap, 5),
                }
            )
    return pd.DataFrame(records)


def basis(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Whether the reference is worth comparing with: against its own stage 1 and the blurred input, for each choice.

    ``scores`` are ``ablations.score``'s. Columns: choice, those of ``trainings.compare``, accuracy (of the router).
    """
    found = []
    for choice in CHOICES:
        part = scores[scores.choice == choice]
        accuracy = part[part.method == REFERENCE].right.mean()
        found += [
            statistics.compare(part, {REFERENCE: other}, seed).assign(choice=choice, accuracy=accuracy)
            for other in (BASELINE, INPUT)
        ]
    table = pd.concat(found, ignore_index=True)
    return table[["choice", *(column for column in table.columns if column != "choice")]]


def orders(table: pd.DataFrame) -> pd.DataFrame:
    """``trainings.order`` of every table's PSNR, and of all published rows together, each experiment once.

    ``table`` is ``results``'. Columns: table (ending in ", expert by hand" where it was so chosen), choice, rows, rho,
    p (one-sided, not corrected for how many there are), exact.
    """
    known, found = table[table.paper_psnr.notna()], []
    for choice, chosen in known.groupby("choice", sort=False):
        groups = [(name, part) for name, part in chosen.groupby("table", sort=False)]
        if len(groups) > 1:
            groups.append((ALL_ROWS, chosen.drop_duplicates("method")))
        for name, part in groups:
            one = statistics.order(part.paper_psnr, part.psnr)
            label = name if choice == ROUTER else f"{name}, expert by hand"
            found.append(
                {"table": label, "choice": choice, "rows": one.rows, "rho": one.rho, "p": one.p, "exact": one.exact}
            )
    return pd.DataFrame(found)


def published_costs() -> pd.DataFrame:
    """What Tables 5 and 7 print: params_m (millions), macs_g (10^9), runtime_ms, by experiment, NaN for none."""
    numbers = published()
    numbers = numbers[
        (numbers["dataset"] == "-")
        & numbers["table"].isin([PUBLISHED[table] for table in (TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7)])
    ]
    wide = numbers.pivot(index=["table", "method"], columns="metric", values="value")
    sources = {row.experiment: row.source for row in ROWS if row.source in wide.index}
    return pd.DataFrame(
        {name: wide.loc[source, ["params_m", "macs_g", "runtime_ms"]] for name, source in sources.items()}
    ).T.astype(float)


def runtimes(timed: pd.DataFrame) -> pd.DataFrame:
    """``costs.timed`` beside the published times, for display only: no two runs measure the same."""
    paper = published_costs().runtime_ms.reindex(timed.experiment)
    sides = ", ".join(f"{side}x{side}" for side in timed.side.unique())
    return pd.DataFrame(
        {
            "paper, width 32, its GPU (ms)": [_or_dash(value, 1) for value in paper],
            f"here, {sides} (ms)": [f"{value:.1f}" for value in timed.runtime_ms],
        },
        index=pd.Index([_names()[name] for name in timed.experiment], name=""),
    )


def _names() -> dict[str, str]:
    return {row.experiment: row.label for row in reversed(ROWS)} | {
        REFERENCE: "DeMoE",
        "variant-wide": "stage 1 of twice the width",
        "variant-more-middle": "stage 1 of more middle NAFBlocks",
    }


def _or_dash(value: float, decimals: int) -> str:
    return number(value, decimals, missing="-")


def interval(row, over: str = "") -> str:
    """ "+0.120 [+0.010, +0.230]": the difference with its interval over pictures, or ``over`` "trainings".

    "-" for what the others are compared with, and over a single training.
    """
    low, high = (row.low_trainings, row.high_trainings) if over == "trainings" else (row.low, row.high)
    if row.method == row.reference or (over == "trainings" and math.isnan(low)):
        return "-"
    return with_interval(row.difference, low, high, 3, missing=MISSING)


def _comparison(tables: Sequence[str], csv: str, read: Read) -> pd.DataFrame:
    every = read(csv)
    every = every[every.table.isin(tables)]
    table, columns = every[every.choice == ROUTER], {}
    if table.paper_psnr.notna().any():
        columns |= {
            ("paper (real)", "PSNR (dB) ↑"): best(table.paper_psnr),
            ("paper (real)", "SSIM ↑"): best(table.paper_ssim, 3),
            ("paper (real)", "LPIPS ↓"): best(table.paper_lpips, 3, lowest=True),
            ("paper (real)", "difference (dB)"): [number(value, 2, True, MISSING) for value in table.paper_difference],
        }
    for choice, part in ((choice, every[every.choice == choice]) for choice in CHOICES):
        ours = f"here ({_kind(table)}), {WORDS[choice]}"
        columns |= {(ours, "PSNR (dB) ↑"): best(part.psnr), (ours, "SSIM ↑"): best(part.ssim, 3)}
        if "lpips_vgg" in part:
            columns[ours, "LPIPS ↓"] = best(part.lpips_vgg, 3, lowest=True)
        columns[ours, "difference (dB) [95 % over pictures]"] = [interval(row) for row in part.itertuples()]
        if part.trainings.max() > 1:
            columns[ours, "[95 % over trainings]"] = [interval(row, "trainings") for row in part.itertuples()]
            columns[ours, "standard deviation over trainings (dB)"] = [
                number(value, 3, missing=MISSING) for value in part.spread
            ]
    columns["here", "router is right"] = ["-" if math.isnan(value) else f"{value:.0%}" for value in table.accuracy]
    return pd.DataFrame(columns, index=pd.Index(table.row, name=""))


def _basis(csv: str, read: Read) -> pd.DataFrame:
    table = read(csv)
    against = {BASELINE: "its stage 1", INPUT: "the blurred input"}
    return pd.DataFrame(
        {
            "PSNR (dB)": [f"{row.psnr:.2f}" for row in table.itertuples()],
            "difference (dB) [95 % over pictures]": [interval(row) for row in table.itertuples()],
            "router is right": [f"{value:.0%}" for value in table.accuracy],
        },
        index=pd.Index(
            [f"DeMoE, {WORDS[row.choice]}, against {against[row.reference]}" for row in table.itertuples()], name=""
        ),
    )


def _kind(table: pd.DataFrame) -> str:
    """ "real" or "-syn", from the stamp of the CSV."""
    return "real" if "data" in table and set(table["data"]) == {"real"} else "-syn"


_SETS = "averages over the five test sets of AIO-Blur, the paper's of the real ones"
_AGAINST = (
    "differences are to DeMoE trained as long, those of baselines to the baseline with classification loss; "
    "k = 1, the expert chosen by the router or by hand; baselines have no experts"
)


def _layout(csv: str, title: str, *tables: str) -> Layout:
    build: Callable[[Read], pd.DataFrame] = partial(_comparison, tables, csv)
    return Layout(build, f"{title}: {_SETS}; {_AGAINST}")


def _costs(read: Read) -> pd.DataFrame:
    table = read("08_costs")
    at = {size: part.set_index("experiment") for size, part in table.groupby("size", sort=False)}
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
    cells = {
        head: [_or_dash(value / unit, decimals) for value in values]
        for head, (values, unit, decimals) in columns.items()
    }
    return pd.DataFrame(cells, index=pd.Index([_names()[name] for name in paper.index], name=""))


def _basis_layout(csv: str) -> Layout:
    return Layout(
        partial(_basis, csv),
        "What every difference rests on: DeMoE trained as shortly as the ablations, "
        "average over the five test sets of AIO-Blur",
    )


LAYOUTS: dict[str, Layout] = {
    "04_figure_6_basis": _basis_layout("04_figure_6_basis"),
    "08_basis": _basis_layout("08_basis"),
    "04_figure_6_right": _layout("04_figure_6", "Training variants (Figure 6 right)", FIGURE_6),
    "08_table_5_left": _layout("08_ablations", "Fusion and width (Table 5 left)", TABLE_5_LEFT),
    "08_table_5_right": _layout("08_ablations", "Baselines and depth (Table 5 right)", TABLE_5_RIGHT),
    "08_table_7": _layout("08_ablations", "Expert blocks (Table 7)", TABLE_7),
    "08_start": _layout("08_ablations", "How the experts start (not stated in the paper)", START),
    "08_costs": Layout(
        _costs,
        "What each ablation costs: as printed in Tables 5 and 7, counted at the published size "
        "(MACs at 3x256x256, memory of a training step of 32 crops of 384x384 in float32) and counted "
        "as trained here",
    ),
}
