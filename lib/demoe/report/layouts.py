"""Every table for a reader, by name: what ``demoe report`` writes from the CSVs that the notebooks saved."""

from __future__ import annotations

from . import ablation_tables, comparison_tables, release_tables, router_tables, tlc_tables
from .tables import Layout

LAYOUTS: dict[str, Layout] = {
    **comparison_tables.LAYOUTS,
    **router_tables.LAYOUTS,
    **ablation_tables.LAYOUTS,
    **tlc_tables.LAYOUTS,
    **release_tables.LAYOUTS,
}
