"""What there is to do, for the Snakefile: the networks of a profile, the notebooks, and what each depends on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

from demoe.core import provenance
from demoe.core.files import checksum, project_root
from demoe.data.real.roots import Roots

PACKAGE = Path(provenance.__file__).parents[1]
RELEASED = r"default_model|pretrained\.releases"  # in a notebook that uses a network which comes with the package,
# and what these name:
RELEASED_FOLDERS = ("DEMOE_WEIGHTS", "DEMOE_HELD_OUT", "DEMOE_PHOTOS", "DEMOE_REAL", "DEMOE_ROUTERS")
GATHERS = r"ledger\.table"  # in a notebook that shows what all others found
GUESTS = "demoe.related"  # in a notebook of a related paper, whose rows may be filled by weights that variables name
SHARP_IMAGES = "DEMOE_SHARP_IMAGES"
ANEW = "DEMOE_ANEW"  # train also what comes with the package


def notebooks() -> list[Path]:
    """The notebooks in order."""
    return sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def basis(profile: str, data_root: str | None) -> dict:
    """What networks and notebooks depend on beside their own numbers and source, gathered without loading PyTorch."""
    package = [file for kind in ("py", "cpp", "csv", "toml") for file in sorted(PACKAGE.rglob(f"*.{kind}"))]
    code = hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in package)).hexdigest()
    named, sharp = project_root() / "data.toml", None
    with suppress(OSError, ValueError):  # what cannot be used is told by whoever lists the networks
        sharp = Roots.resolve(data_root).sharp_images
    hub = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch") / "hub"
    clip = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
    return {
        "profile": profile,
        "data_root": data_root,
        "data": [Path(file).read_text(encoding="utf-8") for file in (named, data_root or "") if Path(file).is_file()],
        "sharp_images": [f"{file} {file.stat().st_size}" for file in sorted(sharp.rglob("*"))] if sharp else None,
        "packaged": [checksum(file) for file in sorted((PACKAGE / "weights").glob("*.safetensors"))],
        "anew": os.environ.get(ANEW),
        "weights": sorted(file.name for folder in (hub, clip) for file in folder.glob("*/*")),
        "code": code,
        "versions": provenance.versions(),
    }


def identity(path: Path, known: dict) -> str:
    """A hash of what a notebook's results depend on beside its own source and its networks: the ``basis`` and more."""
    more = dict(known)
    if re.search(RELEASED, path.read_text(encoding="utf-8")):
        more["folders"] = [os.environ.get(name) for name in RELEASED_FOLDERS]
    if GUESTS in path.read_text(encoding="utf-8"):
        items = tomllib.loads((PACKAGE / "models" / "pretrained.toml").read_text(encoding="utf-8")).values()
        more["named"] = [os.environ.get(item["variable"]) for item in items if "variable" in item]
    return provenance.config_hash(more)


def after(path: Path, selected: list[str]) -> list[str]:
    """The notebooks that one which shows their claims has to wait for: all others of ``selected``."""
    gathers = re.search(GATHERS, path.read_text(encoding="utf-8"))
    return [name for name in selected if name != path.stem] if gathers else []


def networks(profile: str, data_root: str | None) -> dict[str, dict]:
    """Every training of a profile by the name of its folder: its experiment and seeds, the folders of the networks that
    it starts from, the numbers of the notebooks that load it. Raises ``ValueError`` for data that cannot be used."""
    command = [sys.executable, "-m", "demoe", "train", "--list", "--json", "--profile", profile]
    listed = subprocess.run(
        [*command, *(["--data-root", data_root] if data_root else [])], capture_output=True, text=True
    )
    if listed.returncode:
        raise ValueError((listed.stderr.strip() or f"{' '.join(command[1:])} failed").splitlines()[-1])
    rows = json.loads(listed.stdout)
    folder = {(row["name"], row["seed"]): Path(row["weights"]).parent.name for row in rows}
    return {
        run: {
            "experiment": row["name"],
            "seed": row["seed"],
            "start_seed": row["start_seed"],
            # What comes with the package and is no experiment of the profile (a warm start) is loaded, not waited for.
            "starts_from": [
                folder[start["name"], start["seed"]]
                for start in [row["starts_from"]]
                if start and (start["name"], start["seed"]) in folder
            ],
            "notebooks": row["notebooks"],
        }
        for run, row in zip(folder.values(), rows, strict=True)
    }
