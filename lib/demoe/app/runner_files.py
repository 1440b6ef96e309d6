"""When is a notebook up to date? What its run depends on, what it wrote, and where both are noted."""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import lru_cache
from pathlib import Path

from demoe.core import provenance
from demoe.core.files import checksum, figures_dir, project_root, results_dir

from .runner_report import Outcome

SHARP_IMAGES = "DEMOE_SHARP_IMAGES"  # the variable that the notebooks' kernels get it by
RELEASED = r"default_model|pretrained\.releases"  # in a notebook that uses a network which comes with the package,
RELEASED_FOLDERS = ("DEMOE_WEIGHTS", "DEMOE_HELD_OUT", "DEMOE_PHOTOS")  # and what these name


def identify(path: Path, parameters: dict[str, str]) -> str:
    """A hash of all that a notebook's results depend on: its source, the package, its parameters, the libraries,
    the pretrained weights that are here, and where it uses them, the networks that come with the package."""
    digest = hashlib.sha256()
    for file in [path, *package_files()]:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    named = project_root() / "data.toml"  # where the datasets are, if nothing else says so
    places = [os.environ.get(SHARP_IMAGES), named.read_text(encoding="utf-8") if named.is_file() else None]
    more = weights_here()
    if re.search(RELEASED, path.read_text(encoding="utf-8")):
        more = [*more, *networks_here(), *map(os.environ.get, RELEASED_FOLDERS)]
    digest.update(json.dumps([parameters, places, provenance.versions(), more], sort_keys=True).encode())
    return digest.hexdigest()


@lru_cache
def networks_here() -> list[str]:
    """The networks that come with the package, with their check sums."""
    folder = Path(__file__).parents[1] / "weights"
    return [f"{file.name} {checksum(file)}" for file in sorted(folder.glob("*.safetensors"))]


@lru_cache
def weights_here() -> list[str]:
    """Which pretrained weights are on this machine: with them, what was missing in a table can be measured."""
    from demoe.models import pretrained

    return [item.name for item in pretrained.ITEMS if item.find() and not item.owner.startswith("demoe:")]


def package_files() -> list[Path]:
    """The package's sources and data tables."""
    folder = Path(__file__).parents[1]
    return sorted([*folder.rglob("*.py"), *folder.rglob("*.csv"), *folder.rglob("*.toml")])


def executed(path: Path, profile: str) -> Path:
    """Where the executed copy of a notebook lies."""
    return results_dir(profile) / "notebooks" / path.name


def stamp_file(path: Path, profile: str) -> Path:
    """Where it is noted what a notebook was run from. Not beside the executed copy: those are committed, and a fresh
    clone has none of the trained networks."""
    return results_dir(profile) / "cache" / "notebooks" / f"{path.stem}.json"


def up_to_date(path: Path, profile: str, identity: str) -> Outcome | None:
    """The earlier outcome, if it still stands."""
    output = executed(path, profile)
    try:
        record = json.loads(stamp_file(path, profile).read_text(encoding="utf-8"))
        same, sums = record.pop("identity") == identity, dict(record.pop("sums"))
        outcome = Outcome(**{**record, "skipped": True})
        names = written(outcome, output)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # never run, or not written by this version
        return None
    known = same and all(sums.get(name) == (checksum(project_root() / name) or None) for name in names)
    return outcome if known else None


def written(outcome: Outcome, output: Path) -> list[str]:
    """All that a notebook wrote (its executed copy is ``output``) or loads, relative to the root."""
    return [str(output.relative_to(project_root())), *outcome.tables, *outcome.figures, *outcome.networks]


def products(profile: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Tables, figures and networks of a profile: name relative to the root -> (time of change, size)."""
    places = {
        "tables": (results_dir(profile) / "tables", "*"),
        "figures": (figures_dir(profile), "*"),
        "networks": (results_dir(profile) / "runs", "*.safetensors"),
    }
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for kind, (folder, pattern) in places.items():
        files = [file for file in sorted(folder.rglob(pattern)) if file.is_file() and not file.name.startswith(".")]
        found[kind] = {
            str(file.relative_to(project_root())): (file.stat().st_mtime_ns, file.stat().st_size) for file in files
        }
    return found
