"""The experiments as a list: for people, and as JSON for programs that train them one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping

from demoe.data.setting import Setting

from . import NEEDED_BY, plan
from .runs import WEIGHTS
from .spec import Spec
from .status import shown_path


def as_text(listed: Mapping[str, Spec]) -> str:
    """A line an experiment: its name and what it is."""
    return "\n".join(f"{name:28s} {spec.about}" for name, spec in listed.items())


def as_json(setting: Setting) -> str:
    """A list with every training of ``plan``, in its order.

    Each has name, seed, hash, weights (a file, from the project's root on), starts_from (name and seed, or null) and
    notebooks (numbers of those that load it themselves).
    """
    return json.dumps([_record(spec, setting) for spec in plan(setting)], indent=1)


def _record(spec: Spec, setting: Setting) -> dict:
    start = spec.starts_from
    return {
        "name": spec.name,
        "seed": spec.seed,
        "hash": spec.hash,
        "weights": shown_path(spec.folder(setting) / WEIGHTS),
        "starts_from": {"name": start.name, "seed": start.seed} if start else None,
        "notebooks": [number for number, names in NEEDED_BY.items() if spec.name in names],
    }
