"""A person's own pairs: DIR/blur and DIR/sharp, equal names."""

from __future__ import annotations

from pathlib import Path

from demoe import images

from ..pairs import PairedSet, folder
from . import pixels


def own_pairs(place: Path) -> PairedSet:
    """The pairs of ``place``/blur and ``place``/sharp, called "own-" and the folder's name: never a dataset's.

    Every pair's sizes are compared, so that a wrong pair is named before a training starts and not in the middle of it.
    Raises ``FileNotFoundError`` and ``ValueError`` as ``pairs.folder`` does, and ``ValueError`` naming the first pair
    of different sizes.
    """
    pairs = folder(f"own-{place.resolve().name}", place / "blur", place / "sharp")
    sides = [
        {file.relative_to(side).with_suffix("").as_posix(): file for file in images.list_photographs(side)}
        for side in (place / "blur", place / "sharp")
    ]
    for key in pairs.keys:
        blurred, sharp = (side[key] for side in sides)
        sizes = [pixels.size(file) for file in (blurred, sharp)]  # (height, width)
        if sizes[0] != sizes[1]:
            both = " and ".join(f"{width}x{height}" for height, width in sizes)
            raise ValueError(f"{blurred} and {sharp} are a pair of different sizes: {both}")
    return pairs
