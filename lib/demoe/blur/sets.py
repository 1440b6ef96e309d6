"""Synthetic stand-ins for the nine datasets: the five that AIO-Blur trains on, three outside it, a control.

They imitate how the blur of each set comes about and how strong it is, not what its pictures show, so a score on them
is never a score on the set of that name. A sample depends on (seed, set, split, index), its size and the options alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from . import recipes_ood, recipes_shared, recipes_training
from .cameras import camera_of
from .job import Job, Options, Pair
from .shared_camera import SCENES

# The number is part of the random key: a set keeps its samples when others are added.
_RECIPES: dict[str, tuple[int, Callable[[Job], Pair]]] = {
    "RealBlur": (1, recipes_training.realblur),
    "ReLoBlur": (2, recipes_training.reloblur),
    "LOLBlur": (3, recipes_training.lolblur),
    "GoPro": (4, recipes_training.gopro),
    "DPDD": (5, recipes_training.dpdd),
    "RealDOF": (6, recipes_ood.realdof),
    "RSBlur": (7, recipes_ood.rsblur),
    "Real-LOLBlur": (8, recipes_ood.real_lolblur),
    "LOLv2-real": (9, recipes_ood.lolv2_real),
}
SETS = tuple(_RECIPES)
_SHARED: dict[str, Callable[[Job], Pair]] = {  # with ``Options.capture`` "shared": what the sets of these names show
    "RealBlur": recipes_shared.global_motion,
    "ReLoBlur": recipes_shared.local_motion,
    "LOLBlur": recipes_shared.low_light,
    "GoPro": recipes_shared.synth_global_motion,
    "DPDD": recipes_shared.defocus,
}
_SPLITS = ("train", "val", "test")


def synthesize_batch(
    name: str,
    split: str,
    indices: Sequence[int],
    *,
    size: int | tuple[int, int],
    seed: int = 0,
    device: torch.device | str = "cpu",
    options: Options | None = None,
) -> Pair:
    """Samples ``indices`` of the stand-in for set ``name`` as one batch: images (B,3,H,W), mask (B,1,H,W) or None.

    On the CPU it equals the single samples bit for bit; on a GPU, where the batch is computed at once, to rounding.
    Raises ``ValueError`` on an unknown set or split, no indices, a negative seed or index, or a side under 8 pixels.
    """
    if name not in _RECIPES:
        raise ValueError(f"no synthetic set {name!r}: choose one of {', '.join(SETS)}")
    if split not in _SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(_SPLITS)}")
    indices = [int(index) for index in indices]
    height, width = (size, size) if isinstance(size, int) else (int(side) for side in size)
    if not indices or min(indices) < 0 or seed < 0:
        raise ValueError(f"need at least one index, and indices and seed of 0 or more: {indices}, seed {seed}")
    if min(height, width) < 8:
        raise ValueError(f"a synthetic image has at least 8x8 pixels, not {height}x{width}")
    number, recipe = _RECIPES[name]
    device, options = torch.device(device), options or Options()
    if options.capture == "shared":
        if name not in _SHARED:
            raise ValueError(f"{name} has a camera of its own only: choose one of {', '.join(_SHARED)}")
        recipe, camera = _SHARED[name], SCENES
    else:
        camera = camera_of(name, options.capture)
    rngs = [
        np.random.default_rng(np.random.SeedSequence([seed, number, _SPLITS.index(split), index])) for index in indices
    ]
    # One sample at a time on the CPU: as fast there, small enough for its caches, and no result depends on the batch.
    groups = [[rng] for rng in rngs] if device.type == "cpu" else [rngs]
    with torch.no_grad():
        parts = [recipe(Job(group, split, (height, width), device, options, camera)) for group in groups]
    return Pair(
        torch.cat([part.blurred for part in parts]),
        torch.cat([part.sharp for part in parts]),
        None if parts[0].mask is None else torch.cat([part.mask for part in parts]),
        sum((part.source for part in parts), ()),
        sum((part.note for part in parts), ()),
        sum((part.named for part in parts), ()),
    )


def synthesize(
    name: str,
    split: str,
    index: int,
    *,
    size: int | tuple[int, int],
    seed: int = 0,
    device: torch.device | str = "cpu",
    options: Options | None = None,
) -> Pair:
    """Sample ``index`` of the stand-in for set ``name``, one of ``SETS``.

    ``split`` is "train", "val" or "test" (by source of the sharp picture), ``size`` (H,W) or one side in pixels.
    Errors as for ``synthesize_batch``.
    """
    batch = synthesize_batch(name, split, [index], size=size, seed=seed, device=device, options=options)
    mask = None if batch.mask is None else batch.mask[0]
    return Pair(batch.blurred[0], batch.sharp[0], mask, batch.source[0], batch.note[0], batch.named[0])
