"""A profile's trained DeMoE and its baseline, put into the package in half precision, with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demoe.blur.folder import FolderCanvas, picture_mark
from demoe.experiments.status import RunProgress, all_runs
from demoe.models import checkpoints
from demoe.models.pretrained import PACKAGED, RELEASES


@dataclass(frozen=True)
class Photographs:
    """A folder of sharp photographs that networks are trained on, and its terms."""

    what: str  # of it training sees
    identity: str  # ``FolderCanvas.identity``, which is the ``source`` of a run's configuration
    terms: str


PHOTOGRAPHS = {
    "bsds500": Photographs(
        "160 of the 200 training photographs of BSDS500",  # ``FolderCanvas`` keeps 20 each for validation and tests
        "f2917182b82c",
        'BSDS500 is given "for non-commercial research and educational purposes" (its page); cite Arbelaez et al., '
        "*Contour detection and hierarchical image segmentation*, PAMI 2011",
    )
}


def package(
    profile: str,
    photographs: str | None = None,
    folder: Path = PACKAGED,
    seed: int = 0,
    sharp_images: Path | None = None,
) -> list[Path]:
    """Writes ``demoe-<profile>`` and ``baseline-<profile>`` to ``folder`` in place of earlier ones; returns the files.

    ``photographs`` names, in ``PHOTOGRAPHS``, the folder that they were trained on; None for the bundled ones. What a
    file holds is read from the runs, never trained: of those of these photographs, the latest code's. With
    ``sharp_images``, that folder, the files also note which pictures were trained on. Raises ``ValueError`` for a
    profile whose networks are not released or not trained, where several runs could be meant, and where the
    photographs do not fit the training.
    """
    if profile not in RELEASES:
        raise ValueError(f"networks of the profile {profile!r} are not released: choose one of {', '.join(RELEASES)}")
    if photographs is not None and photographs not in PHOTOGRAPHS:
        raise ValueError(f"unknown photographs {photographs!r}: choose one of {', '.join(PHOTOGRAPHS)}")
    source = PHOTOGRAPHS[photographs].identity if photographs else "bundled"
    runs = [one for one in all_runs(profile) if one.seed == seed and one.done and not one.config.get("packaged")]
    demoe = _only([one for one in runs if one.name == "demoe"], source, profile, photographs)
    first = next((one for one in runs if one.config == demoe.config.get("starts_from")), None)
    if first is None:
        raise ValueError(f"the baseline that {demoe.folder.name} was made from is not here")
    seen = _seen(sharp_images, source) if sharp_images else {}
    written = []
    for kind, stages in (("baseline", [first]), ("demoe", [first, demoe])):
        weights = stages[-1].weights
        record = {"profile": profile, "photographs": photographs or "bundled", "stages": [*map(_stage, stages)], **seen}
        origin = checkpoints.provenance(weights) | {"release": record}
        file = folder / f"{kind}-{profile}.safetensors"
        written.append(checkpoints.save(checkpoints.load(weights), file, origin, half=True))
    return written


def _only(demoes: Sequence[RunProgress], source: str, profile: str, photographs: str | None) -> RunProgress:
    """The one of ``demoes`` that is meant."""
    if not demoes:
        raise ValueError(f"no DeMoE of the profile {profile} is trained here: `demoe status --profile {profile}`")
    fitting = [one for one in demoes if one.config["source"] == source]
    if not fitting:
        others = ", ".join(f"{one.folder.name} on {_named(one.config['source'])}" for one in demoes)
        raise ValueError(
            f"no DeMoE of the profile {profile} was trained on {_named(source)}, but {others}: "
            + (
                "leave the name of others out"
                if photographs
                else f"say which photographs these are, one of {', '.join(PHOTOGRAPHS)}"
            )
        )
    fitting = [one for one in fitting if one.this_code] or fitting
    if len(fitting) > 1:
        raise ValueError(
            f"several runs could be meant: {', '.join(one.folder.name for one in fitting)}; move those "
            f"that are not out of {fitting[0].folder.parent.name}/"
        )
    return fitting[0]


def _named(source: str) -> str:
    if source == "bundled":
        return "the bundled photographs"
    return next(
        (f"those called {name}" for name, known in PHOTOGRAPHS.items() if known.identity == source),
        f"photographs {source}",
    )


def _seen(folder: Path, source: str) -> dict[str, list[str]]:
    """Marks of the pictures of ``folder`` that training saw. Raises ``ValueError`` for another folder."""
    canvas = FolderCanvas(folder)
    if canvas.identity != source:
        raise ValueError(f"{folder} does not hold the photographs of that training ({source}), but {canvas.identity}")
    return {"pictures": [picture_mark(canvas.folder / name) for name in canvas.splits["train"]]}


def _stage(run: RunProgress) -> dict:
    crops = {"steps": run.steps, "patch": run.config["patch"], "batch": run.config["batch"], "images": run.images}
    time = {"seconds": round(run.seconds), "waited": round(run.waited)}
    return crops | time | {"hardware": run.hardware, "commit": run.commit, "run": run.hash}
