"""What there is to do, for the Snakefile: the networks of a profile, the notebooks, and what each depends on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path

from demoe.core import provenance
from demoe.core.files import checksum, project_root

PACKAGE = Path(provenance.__file__).parents[1]
RELEASED = r"default_model|pretrained\.releases"  # in a notebook that uses a network which comes with the package,
RELEASED_FOLDERS = ("DEMOE_WEIGHTS", "DEMOE_HELD_OUT", "DEMOE_PHOTOS")  # and what these name
SHARP_IMAGES = "DEMOE_SHARP_IMAGES"


def notebooks() -> list[Path]:
    """The notebooks in order."""
    return sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def basis(profile: str, data_root: str | None) -> dict:
    """All that the plan depends on, gathered without PyTorch, which takes seconds to load."""
    package = [file for kind in ("py", "csv", "toml") for file in sorted(PACKAGE.rglob(f"*.{kind}"))]
    code = hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in package)).hexdigest()
    named, sharp = project_root() / "data.toml", os.environ.get(SHARP_IMAGES)
    hub = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch") / "hub"
    clip = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
    return {
        "profile": profile,
        "data_root": data_root,
        "data": [Path(file).read_text(encoding="utf-8") for file in (named, data_root or "") if Path(file).is_file()],
        "sharp_images": [sharp, *(f"{one} {one.stat().st_size}" for one in sorted(Path(sharp).rglob("*")))]
        if sharp
        else [],
        "weights": sorted(file.name for folder in (hub, clip) for file in folder.glob("*/*")),
        "notebooks": [path.name for path in notebooks()],
        "code": code,
        "versions": provenance.versions(),
    }


def identity(path: Path, found: dict) -> str:
    """A hash of what a notebook's results depend on beside its own source and the networks that it loads."""
    more = {key: value for key, value in found.items() if key not in ("notebooks",)}
    if re.search(RELEASED, path.read_text(encoding="utf-8")):
        more["released"] = [checksum(file) for file in sorted((PACKAGE / "weights").glob("*.safetensors"))]
        more["folders"] = [os.environ.get(name) for name in RELEASED_FOLDERS]
    return provenance.config_hash(more)


def plan(profile: str, data_root: str | None) -> dict:
    """The networks and notebooks of a profile. Raises ``ValueError`` for data that cannot be used."""
    from demoe import experiments
    from demoe.data.setting import Setting

    setting = Setting.of(profile, data_root=data_root)

    def folder(spec: experiments.Spec) -> str:
        return spec.folder(setting).name

    networks = {
        folder(spec): {
            "experiment": spec.name,
            "seed": spec.seed,
            "starts_from": [folder(spec.starts_from)] if spec.starts_from else [],
        }
        for spec in experiments.plan(setting)
    }
    needed = {path.stem: experiments.NEEDED_BY.get(path.name[:2], ()) for path in notebooks()}
    runs = {name: [folder(spec) for spec in experiments.plan(setting, names)] for name, names in needed.items()}
    return {"threads": setting.profile.threads, "networks": networks, "needed": runs}


if __name__ == "__main__":
    try:
        json.dump(plan(sys.argv[1], sys.argv[2] or None), sys.stdout)
    except ValueError as error:
        sys.exit(str(error))
