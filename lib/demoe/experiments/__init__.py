"""Named experiments: what is trained, from what. Asked for one, it is trained; asked again, it is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from demoe.core import extras

extras.need("demoe.experiments", "training", "scipy", "pandas", "pytorch_msssim")  # before what they are needed for

from demoe.core.files import project_root
from demoe.core.profiles import PROFILES, Profile
from demoe.core.words import meant
from demoe.data.setting import Setting

from .runs import WEIGHTS, Run, TimeUp, default_device, forget, initial_network, obtain, trained, untrained
from .spec import COMPARATORS, CONTROL, Spec, not_installed, specs

__all__ = [
    "CONTROL",
    "NAMES",
    "NEEDED_BY",
    "Run",
    "Spec",
    "TimeUp",
    "default_device",
    "forget",
    "initial_network",
    "list_as_json",
    "list_as_text",
    "missing",
    "named",
    "needed_by",
    "obtain",
    "plan",
    "specs",
    "trained",
    "untrained",
]

_ALL = specs(Setting(PROFILES["paper"]))  # for the names, which are the same in every profile


def _kind(*kinds: str) -> tuple[str, ...]:
    return tuple(name for name in _ALL if name.startswith(kinds))


_COMPARATORS = tuple(f"comparator-{name.lower()}" for name in COMPARATORS if name not in not_installed())
NEEDED_BY: dict[str, tuple[str, ...]] = {  # what each notebook loads, by its number
    "02": ("baseline",),
    "03": _kind("specialist-"),
    "04": (
        "demoe",
        "ablation-demoe",
        "ablation-from-scratch",
        "ablation-router-noise",
        "ablation-weight-noise",
        "ablation-finetune-all",
    ),
    "05": ("demoe", "baseline-longer", "ablation-short-start", *_COMPARATORS, *_kind("task-specific-")),
    "06": ("demoe", "ablation-short-start", *_COMPARATORS),
    "07": ("demoe", "ablation-pretrained-experts", "variant-no-class-loss", "variant-class-loss", "variant-original"),
    "08": _kind("variant-", "ablation-"),
    "09": ("demoe",),
    "15": ("demoe",),
}


def needed_by(profile: Profile) -> dict[str, tuple[str, ...]]:
    """``NEEDED_BY`` without what the profile leaves out."""
    return {
        number: tuple(name for name in names if name not in profile.leaves_out) for number, names in NEEDED_BY.items()
    }


def _in_order(names: Sequence[str]) -> tuple[str, ...]:
    """``names`` and all that they start from, once each, every one after what it starts from."""
    ordered: dict[str, None] = {}
    for name in names:
        chain = [_ALL[name]]
        while chain[-1].starts_from:
            chain.append(chain[-1].starts_from)
        ordered |= dict.fromkeys(spec.name for spec in reversed(chain))
    return tuple(ordered)


# The most valuable result first, for who has little time: DeMoE, task-specific networks, ablations, comparators.
NAMES: tuple[str, ...] = _in_order(
    (
        "demoe",
        *_kind("task-specific-", "specialist-"),
        "ablation-demoe",
        "baseline-longer",
        *_kind("variant-", "ablation-"),
        *_COMPARATORS,
    )
)


def named(name: str, setting: Setting) -> Spec:
    """The experiment called ``name``. Raises ``ValueError`` naming the experiments for an unknown one."""
    if name not in _ALL:
        raise ValueError(f"unknown experiment {name!r}{meant(name, _ALL)}: choose one of {', '.join(_ALL)}")
    return specs(setting)[name]


def plan(setting: Setting, names: Sequence[str] | None = None) -> list[Spec]:
    """Every training that ``names`` and what they start from need, in order of value, each after what it starts from.

    Without ``names`` all but those that the profile leaves out. Ablations are trained from ``profile.ablation_seeds``
    seeds, counted up from the setting's; the further ones stand last. Raises ``ValueError`` for an unknown name.
    """
    if names is None:
        names = [name for name in NAMES if name not in setting.profile.leaves_out]
    for name in names:
        named(name, setting)
    wanted = {*_in_order(names)}
    ordered = [name for name in (*NAMES, *_ALL) if name in wanted]
    first, *others = (specs(setting.with_seed(seed)) for seed in setting.ablation_seeds)
    trainings = [first[name] for name in ordered] + [more[name] for more in others for name in ordered]
    trainings = [spec for spec in trainings if spec.seed == setting.seed or spec.is_ablation]
    return list({(spec.name, spec.seed): spec for spec in trainings}.values())


def missing(setting: Setting, names: Sequence[str] | None = None) -> list[Spec]:
    """Those of ``plan`` whose weights are not there, by files and check sums alone."""
    return [spec for spec in plan(setting, names) if not trained(spec, setting)]


def list_as_text(known: Mapping[str, Spec]) -> str:
    """A line an experiment, for people: its name and what it is."""
    return "\n".join(f"{name:28s} {spec.about}" for name, spec in known.items())


def list_as_json(setting: Setting) -> str:
    """Every training of ``plan``, in its order, for programs that train them one by one.

    Each has name, seed, start_seed (of the baseline that ablations start from), hash, weights (a file, from the
    project's root on), starts_from (name and seed, or null) and notebooks (numbers of those that load it themselves).
    """
    needed = needed_by(setting.profile)
    records = [
        {
            "name": spec.name,
            "seed": spec.seed,
            "start_seed": setting.seed,
            "hash": spec.hash,
            "weights": str((spec.folder(setting) / WEIGHTS).relative_to(project_root())),
            "starts_from": {"name": start.name, "seed": start.seed} if (start := spec.starts_from) else None,
            "notebooks": [number for number, names in needed.items() if spec.name in names],
        }
        for spec in plan(setting)
    ]
    return json.dumps(records, indent=1)
