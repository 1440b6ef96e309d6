"""Sharp pictures that every machine already has: bundled photographs and dead-leaves scenes.

The photographs are files inside the scikit-image wheel (always) and the scikit-learn and matplotlib wheels (where
installed); they are read from disk, so nothing is ever downloaded. They are split by source before any crop, and a
dead-leaves scene takes its colours from photographs of its own split only.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from demoe.core.files import installed_file

from . import leaves

_KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
SCENES: dict[str, dict[str, list[str]]] = _KNOWN["scenes"]  # by split and scene, the files inside an installed package
CREDITS: dict[str, str] = _KNOWN["credits"]  # by scene
SPLITS = tuple(SCENES)
OUT_OF_FOCUS = frozenset({"coffee", "flower"})  # their backgrounds are really blurred: no use as all-in-focus pictures

SEEDS_PER_SPLIT = 500_000  # train 0 .. 499 999, val 500 000 .. 999 999, test 1 000 000 .. 1 499 999


def photographs(split: str) -> dict[str, torch.Tensor]:
    """The bundled photographs of ``split`` ("train", "val", "test"): name -> (3,H,W) float32 sRGB in [0,1].

    Gray pictures have three equal channels. The names are file stems: "motorcycle_left" and "motorcycle_right" are two
    views of one scene. Pictures of packages that are not installed are absent. Raises ``ValueError`` on another split.
    """
    return {
        name: torch.from_numpy(pixels.copy()).float() / 255
        for views in _scenes(split).values()
        for name, pixels in views.items()
    }


def dead_leaves(split: str, seed: int, size: int = 512) -> torch.Tensor:
    """One dead-leaves scene, (3,size,size) float32 sRGB in [0,1], on 8-bit levels as a photograph is.

    ``seed`` is 0 .. 499 999 within each split; the splits use disjoint random streams and each takes its colours from
    its own photographs. Recent scenes stay in memory (at most 256). Raises ``ValueError`` on a seed or size outside
    its range.
    """
    return torch.from_numpy(_leaves(split, int(seed), int(size)).copy()).float() / 255


def sharp_canvas(
    rng: np.random.Generator,
    split: str,
    height: int,
    width: int,
    *,
    scale: float = 1.0,
    for_defocus: bool = False,
    dead_leaves: float = 0.5,
    exclude: str | None = None,
    pool: int = 64,
) -> tuple[torch.Tensor, str]:
    """A random sharp crop of ``split``: ((3,height,width) float32 sRGB in [0,1], contiguous; name of its source).

    With probability ``dead_leaves`` it comes from one of ``pool`` dead-leaves scenes ("dead_leaves_17"), else from a
    photograph; the name of a photograph is its scene's ("motorcycle" for either view). The source is scaled up by
    ``scale``, and by up to 1.5 times more where it is too small for the crop; only what is missing then is filled by
    reflection at the borders. Half of the crops are mirrored left to right; the channels change places and some colour
    is taken out at random, because so few photographs would let a network know the picture by its colours.
    ``for_defocus`` leaves out photographs with real out-of-focus blur, and ``exclude`` the source of that name (a
    moving object takes its texture from another source than its background). The result depends on ``rng`` and the
    arguments alone.

    Raises ``ValueError`` if no source is left or a size is not positive.
    """
    if height < 1 or width < 1 or scale <= 0 or pool < 1:
        raise ValueError(f"height, width, scale and pool must be positive: {height}, {width}, {scale}, {pool}")
    scenes = {
        name: list(views.values())
        for name, views in _scenes(split).items()
        if name != exclude and not (for_defocus and name in OUT_OF_FOCUS)
    }
    seeds = [seed for seed in range(pool) if exclude != f"dead_leaves_{seed}"] if dead_leaves > 0 else []
    if not scenes and not seeds:
        raise ValueError(f"no sharp source is left in split {split!r} without {exclude!r}: allow dead leaves")
    if seeds and (rng.random() < dead_leaves or not scenes):
        seed = seeds[rng.integers(len(seeds))]
        name, source = f"dead_leaves_{seed}", _leaves(split, seed, 512)
    else:
        name = list(scenes)[rng.integers(len(scenes))]
        source = scenes[name][rng.integers(len(scenes[name]))]
    return random_crop(rng, source, height, width, scale), name


def one_photograph(name: str) -> Callable[..., tuple[torch.Tensor, str]]:
    """A canvas for ``Options.canvas`` that always gives the middle of the bundled photograph ``name``, as it is.

    The photograph is scaled so that the crop fills it. Raises ``ValueError`` for a name that ``photographs`` lacks.
    """
    every = {key: picture for split in SPLITS for key, picture in photographs(split).items()}
    if name not in every:
        raise ValueError(f"there is no photograph {name!r}: choose one of {', '.join(sorted(every))}")

    def canvas(rng: np.random.Generator, split: str, height: int, width: int, **_) -> tuple[torch.Tensor, str]:
        source = every[name]  # (3,H,W)
        scale = max(height / source.shape[1], width / source.shape[2])
        size = [math.ceil(side * scale) for side in source.shape[1:]]
        whole = F.interpolate(source[None], size=size, mode="bicubic", antialias=scale < 1)[0]
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return whole[:, top : top + height, left : left + width].clamp(0, 1).contiguous(), name

    return canvas


def random_crop(
    rng: np.random.Generator, source: np.ndarray, height: int, width: int, scale: float, recolour: bool = True
) -> torch.Tensor:
    """Random crop of ``source`` (C,H,W), enlarged by at least ``scale``, half of the time mirrored: (C,height,width).

    uint8 becomes float32 in [0,1]; float32 is taken to be in that range. ``recolour`` lets the first three channels
    change places and takes some of their colour out.
    """
    source_height, source_width = source.shape[1:]
    needed = max(height / source_height, width / source_width)
    scale = max(scale, min(needed, 1.5 * scale))
    rows, columns = int(np.ceil(height / scale - 1e-6)), int(np.ceil(width / scale - 1e-6))
    y, x = (rng.integers(max(0, have - need) + 1) for have, need in ((source_height, rows), (source_width, columns)))
    crop = source[:, y : y + rows, x : x + columns]
    if rng.random() < 0.5:
        crop = crop[:, :, ::-1]
    missing = (rows - crop.shape[1], columns - crop.shape[2])
    if any(missing):
        before = [int(rng.integers(m + 1)) for m in missing]
        crop = np.pad(crop, ((0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))), mode="reflect")
    if recolour:
        crop = crop[[*rng.permutation(3), *range(3, len(crop))]]
    pixels = torch.from_numpy(np.array(crop, order="C"))  # a copy: callers may write into it
    pixels = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
    if recolour:
        gray = pixels[:3].mean(0, keepdim=True)
        colour = gray + float(rng.uniform(0.2, 1)) * (pixels[:3] - gray)
        pixels = torch.cat([colour, pixels[3:]]) if len(pixels) > 3 else colour
    if (rows, columns) == (height, width):
        return pixels
    # One scale for both axes, so that the fraction of a pixel that rounding added is cut off, not squeezed in.
    enlarged = F.interpolate(
        pixels[None], scale_factor=scale, mode="bicubic", antialias=scale < 1, recompute_scale_factor=False
    )[0]  # (C, >= height - 1, >= width - 1)
    if enlarged.shape[1] < height or enlarged.shape[2] < width:
        enlarged = F.interpolate(pixels[None], size=(height, width), mode="bicubic", antialias=scale < 1)[0]
    return enlarged[:, :height, :width].clamp(0, 1).contiguous()


@lru_cache(maxsize=len(SPLITS))
def _scenes(split: str) -> dict[str, dict[str, np.ndarray]]:
    """Scene -> view (file stem) -> uint8 (3,H,W), for the files of ``split`` that are installed."""
    if split not in SCENES:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    found = {}
    for scene, files in SCENES[split].items():
        paths = [path for path in map(installed_file, files) if path is not None]
        if paths:
            found[scene] = {path.stem: _read(path) for path in paths}
    if not found:
        raise ValueError("no bundled photograph was found: pip install 'demoe[data]'")
    return found


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


@lru_cache(maxsize=256)  # 0.8 MB each
def _leaves(split: str, seed: int, size: int) -> np.ndarray:
    """``dead_leaves`` as uint8 (3,size,size)."""
    views = _scenes(split)
    if not 0 <= seed < SEEDS_PER_SPLIT:
        raise ValueError(f"dead-leaves seed {seed} is outside 0 .. {SEEDS_PER_SPLIT - 1}")
    if not 32 <= size <= 2048:
        raise ValueError(f"dead-leaves size {size} is outside 32 .. 2048")
    rng = np.random.default_rng([SPLITS.index(split) * SEEDS_PER_SPLIT + seed, size])
    names = list(views)
    photo = next(iter(views[names[rng.integers(len(names))]].values()))  # one picture colours the whole scene
    return leaves.paint(rng, photo, size)
