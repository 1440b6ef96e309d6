"""AIO-Blur: the five sets together, real where a root is given, synthetic stand-ins otherwise."""

from __future__ import annotations

from pathlib import Path

from demoe.paths import results_dir
from demoe.profiles import Profile
from demoe.tasks import DATASETS

from .pairs import PairedSet, folder, synthetic


def aio_blur(
    profile: Profile, split: str, seed: int = 0, data_root: str | Path | None = None, progress: bool = True
) -> list[PairedSet]:
    """The five sets of AIO-Blur in expert order, ``split`` "train" or "test".

    With ``data_root``, pairs are read from ``<data_root>/<set>/<split>/{blur,sharp}``, equal names in both folders.
    Without, ``profile`` says how many synthetic pairs of what size. Raises ``ValueError`` where the paper profile has
    no real data, ``FileNotFoundError`` naming the folder that a real set lacks.
    """
    if data_root:
        root = Path(data_root)
        return [folder(name, root / name / split / "blur", root / name / split / "sharp") for name in DATASETS]
    if profile.name == "paper":
        raise ValueError(
            "the paper profile trains on the real datasets: use --data-root DIR with <set>/<train|test>/{blur,sharp} "
            f"for {', '.join(DATASETS)}; or choose the quick profile"
        )
    count = profile.train_images if split == "train" else profile.test_images
    cache = results_dir(profile.name) / "cache"
    seed = seed if split == "train" else 0  # one test set for all seeds, so that runs can be compared
    return [synthetic(name, split, count, profile.image_size, seed, cache, progress) for name in DATASETS]


def kind(sets: list[PairedSet]) -> str:
    """ "real" or "synthetic", for the stamp of a result."""
    kinds = sorted({one.data for one in sets})
    return "+".join(kinds)
