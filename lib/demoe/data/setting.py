"""The setting of a reproduction: how much is computed, from which seed, on whose pictures. Made once, then carried."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from demoe.core import profiles
from demoe.core.files import results_dir
from demoe.core.profiles import Profile

from .real.roots import Roots


@dataclass(frozen=True)
class Setting:
    """What every training, data set and score of one reproduction has in common."""

    profile: Profile
    seed: int = 0  # of trainings and synthetic training pictures; test pictures are the same for all seeds
    roots: Roots = field(default_factory=Roots)  # of the real datasets; false where the data are synthetic
    progress: bool = True  # whether bars are shown
    start_seed: int | None = None  # of the baseline that ablations start from; None: ``seed``
    anew: bool = False  # whether also what comes with the package is trained (``Profile.packaged``)

    @classmethod
    def of(
        cls,
        profile: str | Profile | None = None,
        seed: int = 0,
        data_root: str | Path | Roots | None = None,
        progress: bool = True,
        sharp_images: str | Path | None = None,
    ) -> Setting:
        """From what a person says: a profile's name (None: ``profiles.get``'s), and what ``Roots.resolve`` takes.

        With ``$DEMOE_ANEW`` set, to anything, nothing is taken from the package instead of being trained.

        Raises ``ValueError`` for an unknown profile, and as ``Roots.resolve`` does.
        """
        profile = profile if isinstance(profile, Profile) else profiles.get(profile)
        anew = bool(os.environ.get("DEMOE_ANEW"))
        return cls(profile, seed, Roots.resolve(data_root, sharp_images), progress, anew=anew)

    @property
    def cache(self) -> Path:
        """The folder where synthetic pictures and what is counted on pictures are kept."""
        return results_dir(self.profile.name) / "cache"

    @property
    def ablation_seeds(self) -> range:
        """The seeds that every ablation is trained from: ``Profile.ablation_seeds`` of them, from ``seed`` on."""
        return range(self.seed, self.seed + self.profile.ablation_seeds)

    def with_seed(self, seed: int) -> Setting:
        """The same with another seed. Ablations of all seeds start from one baseline, this one's."""
        return replace(self, seed=seed, start_seed=self.seed if self.start_seed is None else self.start_seed)
