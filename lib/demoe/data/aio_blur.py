"""AIO-Blur, AIO-Blur-OOD and the low-light control: real where a root is given, synthetic stand-ins otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from demoe.blur.folder import FolderCanvas, MixedCanvas
from demoe.blur.job import Options
from demoe.core.files import results_dir
from demoe.core.profiles import Profile
from demoe.core.tasks import DATASETS
from demoe.data.real.roots import Roots

from .batches import Fresh
from .composition import compose
from .pairs import PairedSet
from .real import recognition
from .real.catalog import OOD_EXPERT
from .synthetic import synthetic

Where = str | Path | Roots | None  # a folder, a TOML file, what they say, or nothing: synthetic data


def one_set(
    name: str, profile: Profile, split: str, seed: int = 0, data_root: Where = None, progress: bool = True
) -> PairedSet:
    """The set called ``name`` ("GoPro", "RealDOF", "LOLv2-real", ...), ``split`` "train" or "test", as it is.

    With ``data_root`` the real one, as ``demoe data check`` finds it. Without,
    ``profile`` says how many synthetic pairs of what size; they are made from the bundled photographs or those of
    ``Roots.sharp_images``, to which the training split adds some of the bundled. Raises ``ValueError`` where the paper
    profile has no real data, ``FileNotFoundError`` naming the set that is not there.
    """
    roots = Roots.resolve(data_root)
    if roots:
        return recognition.paired_set(name, split, roots)
    if profile.name == "paper":
        raise ValueError(
            "the paper profile trains on the real datasets: use --data-root (a folder, or a TOML file) for "
            f"{', '.join(DATASETS)}, as `demoe data where` says; or choose the quick profile"
        )
    count = profile.train_images if split == "train" else profile.test_images
    seed = seed if split == "train" else 0  # one test set for all seeds, so that runs can be compared
    cache = results_dir(profile.name) / "cache"
    if roots.sharp_images is None:
        return synthetic(name, split, count, profile.image_size, seed, cache, progress)
    canvas = _canvas(roots.sharp_images, split)
    options = Options(canvas=canvas)
    return synthetic(name, split, count, profile.image_size, seed, cache, progress, options, canvas.identity)


def training_data(
    profile: Profile,
    patch: int,
    seed: int = 0,
    data_root: Where = None,
    progress: bool = True,
    names: Sequence[str] = DATASETS,
) -> list[PairedSet] | Fresh:
    """What a network is trained on: all of AIO-Blur, composed, or the sets of ``names`` as they are.

    Profiles that say ``fresh`` have synthetic batches of ``patch`` pixels made as they are needed, on the GPU if there
    is one. Errors as for ``one_set``.
    """
    roots = Roots.resolve(data_root)
    if roots or not profile.fresh:
        if tuple(names) == DATASETS:
            return aio_blur(profile, "train", seed, roots, progress)
        return [one_set(name, profile, "train", seed, roots, progress) for name in names]
    options = Options(canvas=_canvas(roots.sharp_images, "train")) if roots.sharp_images else None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Fresh(names, patch, profile.batch, seed, device, options)


@lru_cache(maxsize=4)
def sharp_photographs(folder: Path) -> FolderCanvas:
    """The sharp photographs of ``folder``, looked through once."""
    return FolderCanvas(folder)


def _canvas(folder: Path, split: str) -> FolderCanvas | MixedCanvas:
    photographs = sharp_photographs(folder)
    return MixedCanvas(photographs) if split == "train" else photographs


def aio_blur(
    profile: Profile, split: str, seed: int = 0, data_root: Where = None, progress: bool = True
) -> list[PairedSet]:
    """The five sets of AIO-Blur in expert order. The training sets are composed as Table 4 says
    (``composition.compose``), the test sets are as they are. Errors as for ``one_set``."""
    sets = [one_set(name, profile, split, seed, data_root, progress) for name in DATASETS]
    return compose(sets, seed, results_dir(profile.name) / "cache", progress) if split == "train" else sets


def aio_blur_ood(profile: Profile, seed: int = 0, data_root: Where = None, progress: bool = True) -> list[PairedSet]:
    """The test sets of AIO-Blur-OOD: RealDOF, RSBlur, Real-LOLBlur (which has no sharp pictures)."""
    return [one_set(name, profile, "test", seed, data_root, progress) for name in OOD_EXPERT]


def kind(sets: list[PairedSet]) -> str:
    """ "real" or "synthetic", for the stamp of a result."""
    return "+".join(sorted({one.data for one in sets}))
