"""The setting of a reproduction: how much is computed, from which seed, on whose pictures. Made once, then carried."""

from __future__ import annotations

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

        Raises ``ValueError`` for an unknown profile, and as ``Roots.resolve`` does.
        """
        profile = profile if isinstance(profile, Profile) else profiles.get(profile)
        return cls(profile, seed, Roots.resolve(data_root, sharp_images), progress)

    @property
    def cache(self) -> Path:
        """The folder where synthetic pictures and what is counted on pictures are kept."""
        return results_dir(self.profile.name) / "cache"

    @property
    def ablation_seeds(self) -> range:
        """The seeds that every ablation is trained from: ``Profile.ablation_seeds`` of them, from ``seed`` on."""
        return range(self.seed, self.seed + self.profile.ablation_seeds)

    def with_seed(self, seed: int) -> Setting:
        """The same with another seed."""
        return replace(self, seed=seed)
