"""Every table for a reader, by name: what builds it from the CSVs that the notebooks saved, and its caption."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from . import (
    ablation_tables,
    comparison_report,
    counterfactual_report,
    release_report,
    router_tables,
    tables,
    tlc_report,
)
from .ablation_tables import FIGURE_6, START, TABLE_5_LEFT, TABLE_5_RIGHT, TABLE_7
from .tables import Build

TABLES: dict[str, Build] = {
    "04_figure_6_right": partial(ablation_tables.comparison, "04_figure_6", FIGURE_6),
    "05_table_1": comparison_report.table_1,
    "05_table_1_cost": comparison_report.table_1_cost,
    "05_table_3": comparison_report.table_3,
    "06_rules": router_tables.rules,
    "06_table_2": partial(router_tables.paper_table, "table2_ood", list(router_tables.SETS.items())),
    "06_table_8_realdof": partial(router_tables.of_one_set, "table8_realdof", "RealDOF"),
    "06_table_8_rsblur": partial(router_tables.of_one_set, "table8_rsblur", "RSBlur"),
    "06_table_9": partial(router_tables.of_one_set, "table9_real_lolblur", "Real-LOLBlur"),
    "08_table_5_left": partial(ablation_tables.comparison, "08_ablations", TABLE_5_LEFT),
    "08_table_5_right": partial(ablation_tables.comparison, "08_ablations", TABLE_5_RIGHT),
    "08_table_7": partial(ablation_tables.comparison, "08_ablations", TABLE_7),
    "08_start": partial(ablation_tables.comparison, "08_ablations", START),
    "08_costs": ablation_tables.costs,
    "09_table_6": tlc_report.table_6,
    "09_gains": tlc_report.gains,
    "10_quality": release_report.quality,
    "10_differences": release_report.differences,
    "15_accuracy": counterfactual_report.accuracy_table,
    "15_matrix": counterfactual_report.matrix_table,
    "15_information": counterfactual_report.information_table,
    "15_clusters": counterfactual_report.clusters_table,
}
_TEXTS = tomllib.loads(Path(__file__).with_name("captions.toml").read_text(encoding="utf-8"))
CAPTIONS: dict[str, str] = {name: text.format(**_TEXTS["shared"]) for name, text in _TEXTS["captions"].items()}


def write(name: str, profile_name: str) -> tables.Table:
    """``tables.write`` of one of ``TABLES``."""
    return tables.write(name, TABLES[name], CAPTIONS[name], profile_name)


def write_all(
    profile_name: str, others: Mapping[str, Callable[[str], tables.Table]] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Writes every table whose CSVs are there, without any network; ``others``, by name, are given the profile's.

    Returns the names written, and why for each that was not.
    """
    written, left_out = [], {}
    for name, writing in ({name: partial(write, name) for name in TABLES} | dict(others or {})).items():
        try:
            writing(profile_name)
        except FileNotFoundError as error:
            left_out[name] = str(error)
        else:
            written.append(name)
    return written, left_out
