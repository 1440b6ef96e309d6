"""The published numbers, in tidy form: what every table here stands beside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# The rows of Table 6.
NAFNET, NAFNET_TLC = "NAFNet", "NAFNet with TLC"
DEMOE, DEMOE_TLC, DEMOE_PARTIAL = "DeMoE", "DeMoE with TLC", "DeMoE with partial TLC"
DEMOE_EXPERTS = "DeMoE with TLC in three experts only"  # another reading of "partial"


def published() -> pd.DataFrame:
    """Every number of the paper's tables: columns table, method, dataset, metric (all text) and value (float).

    ``dataset`` is ``-`` where a number belongs to no data set. The metrics say their unit: ``params_m`` are millions,
    ``macs_g`` 10^9 multiply-accumulates at 3x256x256, ``runtime_ms`` milliseconds on the authors' GPU.
    """
    import pandas as pd  # the names of rows are wanted where no table is

    return pd.read_csv(Path(__file__).with_name("demoe_tables.csv"))
