"""``demoe cost``: parameters and MACs beside the paper's."""

from __future__ import annotations

import argparse

from demoe.core.files import write_text
from demoe.models.complexity import cost_table, print_costs


def cost(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Prints the table, and writes it where ``--csv`` says."""
    table = cost_table()
    print_costs(table)
    if args.csv:
        columns = ["table", "row", "params", "macs", "paper_params_m", "paper_macs_g"]
        write_text(args.csv, table[columns].to_csv(index=False, lineterminator="\n"))
    return 0
