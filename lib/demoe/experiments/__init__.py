"""Named experiments: what is trained, from what. Asked for one, it is trained; asked again, it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demoe.data import aio
from demoe.paths import alone, clear, results_dir
from demoe.profiles import Profile
from demoe.tasks import DATASETS

from . import ablations, comparisons, side_by_side, specialists, two_stages
from .ablations import VARIANTS, variant
from .runs import Experiment, NotTrained, Run, default_device, looking
from .side_by_side import Say, TrainingFailed
from .specialists import CONTROL, SPECIALISTS, specialist, specialist_name
from .two_stages import baseline, demoe, demoe_start, untrained

__all__ = [
    "CONTROL", "EXPERIMENTS", "NEEDED_BY", "SPECIALISTS", "VARIANTS", "Experiment", "NotTrained", "Run",
    "TrainingFailed", "baseline", "default_device", "demoe", "demoe_start", "looking", "prepare", "specialist",
    "specialist_name", "train_experiment", "untrained", "variant", "weights",
]

# The longest trainings stand first: side by side, the short ones fill the gaps at the end.
EXPERIMENTS: dict[str, Experiment] = {
    **two_stages.NAMED, **ablations.NAMED, **comparisons.NAMED, **specialists.NAMED,
}
_COMPARATORS = tuple(comparisons.comparator_name(one) for one in comparisons.COMPARATORS
                     if one not in comparisons.missing())
_TASK_SPECIFIC = tuple(comparisons.task_specific_name(one) for one in DATASETS)
NEEDED_BY: dict[str, tuple[str, ...]] = {  # what each notebook loads, by its number
    "00": ("demoe",),
    "02": ("baseline",),
    "03": tuple(specialists.NAMED),
    "04": ("demoe", "ablation-demoe", "ablation-from-scratch", "ablation-router-noise", "ablation-finetune-all"),
    "05": ("demoe", "ablation-demoe", *_COMPARATORS, *_TASK_SPECIFIC),
    "06": ("demoe", "ablation-demoe", *_COMPARATORS),
    "07": ("demoe", "demoe-pretrained-experts", "variant-no-class-loss", "variant-class-loss", "variant-original"),
    "08": tuple(ablations.NAMED),
    "09": ("demoe",),
}


def prepare(
    names: Sequence[str], profile: Profile, seed: int = 0, data_root: aio.Where = None, progress: bool = True,
    say: Say | None = None,
) -> list[str]:
    """Trains those of ``names`` (and what they start from) that are not there yet; returns what it trained.

    Ablations are trained from ``profile.ablation_seeds`` seeds, counted up from ``seed``. In the profiles that say so
    (``Profile.threads``) several are trained side by side. ``say`` is called with a line for each that is done. Raises
    ``ValueError`` for an unknown name, ``TrainingFailed``.
    """
    jobs, places = [], list(EXPERIMENTS)
    for one in range(seed, seed + profile.ablation_seeds):
        wanted = [name for name in names if one == seed or name in ablations.NAMED]
        wanted.sort(key=lambda name: places.index(name) if name in places else -1)  # an unknown one is told of below
        absent = side_by_side.missing(wanted, EXPERIMENTS, profile, one, data_root)
        jobs += [(name, one) for name in absent]
    if jobs:
        side_by_side.train_missing(jobs, EXPERIMENTS, profile, data_root, progress, say)
    return [name for name, _ in jobs]


def weights(names: Sequence[str], profile: Profile, seed: int = 0, data_root: aio.Where = None) -> list[Path]:
    """The files with the weights of ``names``. Raises ``NotTrained`` where one is not there."""
    with looking():
        return [EXPERIMENTS[name].run(profile, seed, data_root, False).folder / "model.safetensors" for name in names]


def train_experiment(
    name: str, profile: Profile, seed: int = 0, data_root: aio.Where = None, fresh: bool = False, progress: bool = True
) -> Run:
    """The experiment called ``name``, trained now or loaded. ``fresh`` forgets earlier runs of that name and seed.

    Raises ``ValueError`` naming the experiments for an unknown name.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}: choose one of {', '.join(EXPERIMENTS)}")
    if fresh:
        for folder in (results_dir(profile.name) / "runs").glob(f"{name}-s{seed}-*"):
            with alone(folder / ".lock", f"another process is training {folder.name}: waiting for it"):
                clear(folder)
    return EXPERIMENTS[name].run(profile, seed, data_root, progress)
