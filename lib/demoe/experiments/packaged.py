"""Trainings that come with the package: of a profile that says so, its baseline and DeMoE are files, not work of hours.

A run of such a ``Spec`` is the file itself, copied: its origin (commit, hardware, data) is what stands in the file, and
its identity is the file's content, which no change of code makes older. What starts from it is trained here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demoe.core.files import checksum, write_bytes, write_text
from demoe.data import aio_blur
from demoe.data.setting import Setting
from demoe.models import checkpoints
from demoe.models.pretrained import PACKAGED

if TYPE_CHECKING:
    from .spec import Spec

CODE = "packaged"  # begins the place of the code's hash in its configuration


def instead(spec: Spec, setting: Setting) -> Spec:
    """``spec`` as the file of the package that was trained as it says; ``spec`` itself where there is none.

    It has to be of the same name, network, crops, batch and number of steps, and to have learnt from the sharp
    photographs that the setting has, if it has any. Real data, other seeds and ``Setting.anew`` take nothing.
    """
    file = PACKAGED / f"{spec.name}-{setting.profile.name}.safetensors"
    if not setting.profile.packaged or setting.anew or setting.roots or spec.seed or not file.is_file():
        return spec
    if spec.starts_from is not None and not spec.starts_from.packaged:
        return spec
    noted, sharp = _known(file)[0].get("training", {}), setting.roots.sharp_images
    asked = {"network": json.loads(json.dumps(asdict(spec.network)))}
    asked |= {key: getattr(spec, key) for key in ("patch", "batch", "steps")}
    if sharp is not None:
        asked["source"] = aio_blur.sharp_photographs(sharp).identity
    if any(noted.get(key) != value for key, value in asked.items()):
        return spec
    return _as_file(spec, file)


def start(spec: Spec, name: str) -> Spec:
    """The package's baseline called ``name``, whatever data it has learnt from: what ``spec`` trains on from."""
    file = PACKAGED / f"{name}.safetensors"
    noted = _known(file)[0]["training"]
    loss = noted.get("loss") or {"pixel": 1.0, "class": noted["class_weight"]}  # as earlier files note it
    trained = {key: noted[key] for key in ("patch", "batch", "steps")} | {"loss": tuple(loss.items())}
    recipe = tuple((key, noted.get(key, value)) for key, value in spec.recipe)
    return _as_file(replace(spec, name=name, recipe=recipe, **trained), file)


def _as_file(spec: Spec, file: Path) -> Spec:
    origin, digest = _known(file)
    data = {key: origin["training"][key] for key, _ in spec.data if key in origin["training"]}
    about = f"{spec.about[:-1]}; it comes with the package."
    identity = {"data": tuple(data.items()), "code": f"{CODE} {digest[:12]}", "packaged": file.name}
    return replace(spec, about=about, **identity)


def adopt(spec: Spec, folder: Path, weights: str, log: str) -> None:
    """Makes ``folder`` a run of ``spec``: the file as ``weights``, what it says of its training as ``log`` and
    ``config.json``. The log has one line, the last, without losses: no other comes with the package."""
    file = PACKAGED / spec.packaged
    origin, digest = _known(file)
    mark = {key: value for key, value in origin.items() if key not in ("training", "release")}
    mark |= {"config": spec.hash, "packaged": file.name, "sha256": digest}
    record = {"config": spec.configuration(), "provenance": mark}
    write_text(folder / "config.json", json.dumps(record, indent=2) + "\n")
    stage = origin.get("release", {}).get("stages", [{}])[-1]
    last = {"step": spec.steps - 1} | {key: stage[key] for key in ("images", "seconds", "waited") if key in stage}
    write_text(folder / log, json.dumps(last) + "\n")
    write_bytes(folder / weights, file.read_bytes())


@lru_cache(maxsize=8)
def _known(file: Path) -> tuple[dict[str, Any], str]:
    """What a file says of its origin, and its SHA-256."""
    return checkpoints.provenance(file), checksum(file)
