"""Named experiments: what is trained, from what. Asked for one, it is trained; asked again, it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demoe.core.files import alone, clear, results_dir
from demoe.core.profiles import Profile
from demoe.core.tasks import DATASETS
from demoe.data import aio_blur
from demoe.training import distributed

from . import ablations, comparisons, schedule, specialists, two_stages
from .ablations import VARIANTS, variant
from .runs import Experiment, NotTrained, Run, Slice, TimeUp, default_device, looking, until
from .schedule import Say, TrainingFailed
from .specialists import CONTROL, SPECIALISTS, specialist, specialist_name
from .two_stages import baseline, demoe, demoe_start, untrained

__all__ = [
    "CONTROL",
    "EXPERIMENTS",
    "NEEDED_BY",
    "ORDER",
    "SPECIALISTS",
    "VARIANTS",
    "Experiment",
    "NotTrained",
    "Run",
    "Slice",
    "Standing",
    "TimeUp",
    "TrainingFailed",
    "baseline",
    "default_device",
    "demoe",
    "demoe_start",
    "looking",
    "plan",
    "prepare",
    "specialist",
    "specialist_name",
    "train_experiment",
    "train_plan",
    "until",
    "untrained",
    "variant",
    "weights",
]

# The longest trainings stand first: side by side, the short ones fill the gaps at the end.
EXPERIMENTS: dict[str, Experiment] = {**two_stages.NAMED, **ablations.NAMED, **comparisons.NAMED, **specialists.NAMED}
_COMPARATORS = tuple(
    comparisons.comparator_name(one) for one in comparisons.COMPARATORS if one not in comparisons.missing()
)
_TASK_SPECIFIC = tuple(comparisons.task_specific_name(one) for one in DATASETS)
# The most valuable result first, for who has little time: DeMoE, task-specific networks, ablations, comparators.
ORDER: tuple[str, ...] = tuple(
    schedule.order(
        [
            "demoe",
            *_TASK_SPECIFIC,
            *specialists.NAMED,
            "demoe-pretrained-experts",
            "ablation-demoe",
            *ablations.NAMED,
            *_COMPARATORS,
        ],
        EXPERIMENTS,
    )
)
NEEDED_BY: dict[str, tuple[str, ...]] = {  # what each notebook loads, by its number
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
    names: Sequence[str],
    profile: Profile,
    seed: int = 0,
    data_root: aio_blur.Where = None,
    progress: bool = True,
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
        absent = schedule.missing(wanted, EXPERIMENTS, profile, one, data_root)
        jobs += [(name, one) for name in absent]
    if jobs:
        schedule.train_missing(jobs, EXPERIMENTS, profile, data_root, progress, say)
    return [name for name, _ in jobs]


@dataclass(frozen=True)
class Standing:
    """What ``train_plan`` came to: ``done`` of ``total`` networks are trained; ``at`` says where time was up, if so."""

    done: int
    total: int
    at: TimeUp | None = None

    def __str__(self) -> str:
        if self.at is None:
            return f"all {self.total} networks are trained"
        return f"{self.at}; {self.done} of {self.total} networks are trained"


def plan(profile: Profile, seed: int = 0, names: Sequence[str] | None = None) -> list[tuple[str, int]]:
    """All trainings (experiment, seed) of a profile in order of value, ``ORDER``; the further seeds of ablations last.

    With ``names`` only these and what they start from. Raises ``ValueError`` for an unknown name.
    """
    wanted = ORDER if names is None else [one for one in ORDER if one in schedule.order(names, EXPERIMENTS)]
    further = range(seed + 1, seed + profile.ablation_seeds)
    return [
        *((name, seed) for name in wanted),
        *((name, one) for one in further for name in wanted if name in ablations.NAMED),
    ]


def train_plan(
    profile: Profile,
    seed: int = 0,
    data_root: aio_blur.Where = None,
    names: Sequence[str] | None = None,
    part: Slice | None = None,
    progress: bool = True,
    say: Say | None = None,
) -> Standing:
    """Trains ``plan`` in its order, or as much of it as ``part`` has time for; the same call goes on where it stopped.

    ``say`` is called with a line for each network that is done. Raises ``TrainingFailed``, and for one at a time what
    training raises.
    """
    jobs = plan(profile, seed, names)
    missing = []
    for one in dict.fromkeys(one for _, one in jobs):
        wanted = [name for name, of in jobs if of == one]
        absent = schedule.missing(wanted, EXPERIMENTS, profile, one, data_root)
        missing += [(name, one) for name in wanted if name in absent]
    try:
        with until(part):
            if missing:
                schedule.train_missing(missing, EXPERIMENTS, profile, data_root, progress, say)
    except TimeUp as error:
        return Standing(len(jobs) - len(missing) + error.trained, len(jobs), error)
    return Standing(len(jobs), len(jobs))


def weights(names: Sequence[str], profile: Profile, seed: int = 0, data_root: aio_blur.Where = None) -> list[Path]:
    """The files with the weights of ``names``. Raises ``NotTrained`` where one is not there."""
    with looking(load=False):
        runs = [EXPERIMENTS[name].run(profile, seed, data_root, False) for name in names]
    return [file for run in runs for file in run.weights]


def train_experiment(
    name: str,
    profile: Profile,
    seed: int = 0,
    data_root: aio_blur.Where = None,
    fresh: bool = False,
    progress: bool = True,
) -> Run:
    """The experiment called ``name``, trained now or loaded. ``fresh`` forgets earlier runs of that name and seed.

    Raises ``ValueError`` naming the experiments for an unknown name.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}: choose one of {', '.join(EXPERIMENTS)}")
    if fresh:
        if distributed.rank() == 0:
            for folder in (results_dir(profile.name) / "runs").glob(f"{name}-s{seed}-*"):
                with alone(folder / ".lock", f"another process is training {folder.name}: waiting for it"):
                    clear(folder)
        distributed.wait()  # until nothing is left that another process could take for finished
    return EXPERIMENTS[name].run(profile, seed, data_root, progress)
