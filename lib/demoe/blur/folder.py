"""A folder of one's own sharp photographs (BSDS500, DIV2K, a camera's) in place of the bundled ones."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from demoe.core import images

from . import sources

SMALLEST = 128  # pixels, the shorter side: from less than that no canvas can be cut
LARGEST = 2048  # pixels, the longer side: larger pictures are reduced, which also takes their noise out
BUNDLED = 0.25  # share of ``MixedCanvas``'s crops that are not from the folder; our choice
_SHARES = (("val", 0.1), ("test", 0.1))  # train has the rest
_CACHE_BYTES = 512 * 2**20


class FolderCanvas:
    """Random sharp crops of the photographs in a folder; called like ``sources.sharp_canvas``.

    ``splits`` has the files of train, val and test: a tenth each, at least one, for val and test, chosen by a hash of
    the relative names, before any crop. ``identity`` is 12 hexadecimal digits that change when a file is added,
    removed, renamed or changes its size: what was made from the folder can be kept under it. Pictures are read when
    they are needed, and the latest 512 MB of them stay in memory.
    """

    def __init__(self, folder: str | os.PathLike):
        """Raises ``NotADirectoryError`` if it is no folder, ``ValueError`` naming the folder or the picture at fault:
        fewer than three pictures, an unreadable one, or one with a side under 128 pixels."""
        self.folder = Path(folder)
        files = images.list_photographs(self.folder)
        if len(files) < 3:
            raise ValueError(
                f"{self.folder} holds {len(files)} pictures: at least 3 are needed, one each for train, val and test"
            )
        for file in files:
            _check(file)
        names = {file.relative_to(self.folder).as_posix(): file for file in files}
        order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        self.splits: dict[str, list[str]] = {}
        for split, share in _SHARES:
            count = max(1, round(share * len(names)))
            self.splits[split], order = sorted(order[:count]), order[count:]
        self.splits = {"train": sorted(order)} | self.splits
        listing = "".join(f"{name}\0{names[name].stat().st_size}\n" for name in sorted(names))
        self.identity = hashlib.sha256(listing.encode()).hexdigest()[:12]
        self._forget()

    def __call__(
        self,
        rng: np.random.Generator,
        split: str,
        height: int,
        width: int,
        *,
        scale: float = 1.0,
        for_defocus: bool = False,
        exclude: str | None = None,
    ) -> tuple[torch.Tensor, str]:
        """A crop ((3,height,width) float32 sRGB in [0,1]) and its file's relative name, as ``sources.sharp_canvas``.

        Colours are left as they are, and every picture is taken to be sharp everywhere, so ``for_defocus`` changes
        nothing. A split with one picture ignores ``exclude``. Raises ``ValueError`` for an unknown split and
        ``images.ImageError`` for a damaged picture.
        """
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(self.splits)}")
        names = [name for name in self.splits[split] if name != exclude] or self.splits[split]
        name = names[rng.integers(len(names))]
        return sources.random_crop(rng, self._picture(name), height, width, scale, recolour=False), name

    def _picture(self, name: str) -> np.ndarray:
        """uint8 (3,H,W), from memory if it was asked for lately."""
        with self._lock:
            if name in self._cache:
                self._cache.move_to_end(name)
                return self._cache[name]
        pixels = images.read_photograph(self.folder / name).pixels
        longest = max(pixels.shape[1:])
        if longest > LARGEST:
            size = [max(1, round(side * LARGEST / longest)) for side in pixels.shape[1:]]
            pixels = F.interpolate(pixels[None], size=size, mode="area")[0]
        picture = (pixels * 255).round().byte().numpy()
        with self._lock:
            self._cache[name] = picture
            while len(self._cache) > 1 and sum(kept.nbytes for kept in self._cache.values()) > _CACHE_BYTES:
                self._cache.popitem(last=False)
        return picture

    def _forget(self) -> None:
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        """For worker processes: without what was read."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_cache", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()


class MixedCanvas:
    """The photographs of a folder and, one crop in ``1 / BUNDLED``, what comes with the package: its photographs and
    dead leaves, whose contrasts are sharper than a lens can be. Called like ``sources.sharp_canvas``."""

    def __init__(self, folder: FolderCanvas):
        self.folder = folder
        self.identity = f"{folder.identity}-mixed"

    def __call__(self, rng: np.random.Generator, split: str, *sizes: int, **options) -> tuple[torch.Tensor, str]:
        return (sources.sharp_canvas if rng.random() < BUNDLED else self.folder)(rng, split, *sizes, **options)


def _check(file: Path) -> None:
    try:
        with Image.open(file) as image:  # the header alone
            width, height = image.size
    except Exception:
        width, height = images.read_photograph(file).size  # some TIFF, or an error with a sentence
    if min(width, height) < SMALLEST:
        raise ValueError(f"{file} has {width}x{height} pixels: sharp pictures need at least {SMALLEST} on each side")


def picture_mark(file: Path) -> str:
    """Twelve digits of a picture's name and size, the same in every folder."""
    return hashlib.sha256(f"{file.name}\0{file.stat().st_size}".encode()).hexdigest()[:12]
