"""AIO-Blur, AIO-Blur-OOD and the low-light control: real where a root is given, synthetic stand-ins otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from demoe.blur.folder import FolderCanvas, MixedCanvas
from demoe.blur.job import Options
from demoe.core.profiles import Profile
from demoe.core.tasks import DATASETS

from .batches import Fresh
from .composition import compose
from .pairs import PairedSet
from .real import recognition
from .real.catalog import OOD_EXPERT
from .setting import Setting
from .synthetic import synthetic


def one_set(name: str, setting: Setting, split: str) -> PairedSet:
    """The set called ``name`` ("GoPro", "RealDOF", "LOLv2-real", ...), ``split`` "train" or "test", as it is.

    Where ``setting`` has roots the real one, as ``demoe data check`` finds it. Otherwise its profile says how many
    synthetic pairs of what size; they are made from the bundled photographs or those of ``Roots.sharp_images``, to
    which the training split adds some of the bundled. Raises ``ValueError`` where the paper profile has no real data,
    ``FileNotFoundError`` naming the set that is not there.
    """
    profile, roots = setting.profile, setting.roots
    if roots:
        return recognition.paired_set(name, split, roots)
    if profile.name == "paper":
        raise ValueError(
            "the paper profile trains on the real datasets: use --data-root (a folder, or a TOML file) for "
            f"{', '.join(DATASETS)}, as `demoe data where` says; or choose the quick profile"
        )
    count = profile.train_images if split == "train" else profile.test_images
    seed = setting.seed if split == "train" else 0  # one test set for all seeds, so that runs can be compared
    options, source = _options(profile, [name]), "bundled"
    if roots.sharp_images:
        canvas = _canvas(roots.sharp_images, split)
        options, source = replace(options, canvas=canvas), canvas.identity
    size = profile.image_size
    return synthetic(name, split, count, size, seed, setting.cache, setting.progress, options, source)


def training_data(setting: Setting, patch: int, names: Sequence[str] = DATASETS) -> list[PairedSet] | Fresh:
    """What a network is trained on: all of AIO-Blur, composed, or the sets of ``names`` as they are.

    Profiles that say ``fresh`` have synthetic batches of ``patch`` pixels made as they are needed, on the GPU if there
    is one. Errors as for ``one_set``.
    """
    roots, profile = setting.roots, setting.profile
    if roots or not profile.fresh:
        if tuple(names) == DATASETS:
            return aio_blur(setting, "train")
        return [one_set(name, setting, "train") for name in names]
    options = _options(profile, names)
    if roots.sharp_images:
        options = replace(options, canvas=_canvas(roots.sharp_images, "train"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Fresh(names, patch, profile.batch, setting.seed, device, options)


def _options(profile: Profile, names: Sequence[str]) -> Options:
    """A set without a shared recipe, as the control of Figure 8 or one outside training, keeps its own camera."""
    return Options(capture=profile.capture if set(names) <= set(DATASETS) else "set")


@lru_cache(maxsize=4)
def sharp_photographs(folder: Path) -> FolderCanvas:
    """The sharp photographs of ``folder``, looked through once."""
    return FolderCanvas(folder)


def _canvas(folder: Path, split: str) -> FolderCanvas | MixedCanvas:
    photographs = sharp_photographs(folder)
    return MixedCanvas(photographs) if split == "train" else photographs


def aio_blur(setting: Setting, split: str) -> list[PairedSet]:
    """The five sets of AIO-Blur in expert order. The training sets are composed as Table 4 says
    (``composition.compose``), the test sets are as they are. Errors as for ``one_set``."""
    sets = [one_set(name, setting, split) for name in DATASETS]
    return compose(sets, setting.seed, setting.cache, setting.progress) if split == "train" else sets


def aio_blur_ood(setting: Setting) -> list[PairedSet]:
    """The test sets of AIO-Blur-OOD: RealDOF, RSBlur, Real-LOLBlur (which has no sharp pictures)."""
    return [one_set(name, setting, "test") for name in OOD_EXPERT]


def kind(sets: list[PairedSet]) -> str:
    """ "real" or "synthetic", for the stamp of a result."""
    return "+".join(sorted({one.data for one in sets}))
