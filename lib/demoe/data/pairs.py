"""Sets of blurred and sharp pairs, all with one face: a name, a label, a length and ``pair(i)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from .real import pixels
from .real.catalog import expert_label
from .real.folders import pictures
from .real.pixels import Window


@dataclass(frozen=True)
class FilePair:
    """Where one pair lies. A picture inside an LMDB has the virtual path ``.../input.lmdb/KEY``."""

    key: str
    blurred: Path
    sharp: Path | None


@dataclass(frozen=True)
class PairedSet:
    """Pairs of one kind of blur.

    ``name`` is what people are shown ("GoPro" or "GoPro-syn", never the one for the other); ``data`` is "real" or
    "synthetic". ``read(i, window)`` gives pair ``i``, or a window of it, as two integer tensors (3, H, W) from 0 to
    ``peak``, blurred first: uint8, or int32 where ``peak`` is 65535. Sharp is None in a set without ground truth.
    """

    name: str
    data: str
    keys: Sequence[str]  # one readable name a pair
    read: Callable[[int, Window | None], tuple[Tensor, Tensor | None]]
    size: Callable[[int], tuple[int, int]]  # (height, width) of pair i, without decoding it
    peak: int = 255  # 65535 for the 16-bit protocol
    notes: Sequence[str] = ()  # what was done to each picture, in words, where that is known
    entries: Sequence[FilePair] = ()  # where the pictures lie; empty where they are in memory
    named: Sequence[bool] = ()  # whether a pair has blur enough to say of which kind it is; empty: all have

    @property
    def label(self) -> int | None:
        """The index of the expert that this set belongs to; None for a set that belongs to none (LOLv2-real, HIDE)."""
        return expert_label(self.name)

    def label_of(self, i: int) -> int | None:
        """``label``; None also for a pair without a blur that could be named."""
        return self.label if not self.named or self.named[i] else None

    def __len__(self) -> int:
        return len(self.keys)

    def pair(self, i: int) -> tuple[Tensor, Tensor | None]:
        """Pair ``i`` as float32 (3, H, W) in [0, 1]: blurred, and sharp or None."""
        blurred, sharp = self.read(i, None)
        return blurred.float() / self.peak, None if sharp is None else sharp.float() / self.peak


def files(name: str, entries: Sequence[FilePair], bits: int = 8, data: str = "real") -> PairedSet:
    """The pairs of ``entries``, read when they are asked for. ``bits`` is 8 or, to keep 16-bit files as they are, 16.

    Reading raises ``ValueError`` naming the file that is missing or damaged, or the pair of different sizes.
    """
    if bits not in (8, 16):
        raise ValueError(f"{name}: pictures are read with 8 or 16 bits a sample, not {bits}")
    entries = tuple(entries)
    keys = [entry.key for entry in entries]
    # Partial functions rather than closures: worker processes are sent a copy.
    read, size = partial(_read, entries, bits), partial(_size, entries)
    return PairedSet(name, data, keys, read, size, 65535 if bits == 16 else 255, entries=entries)


def _read(
    entries: tuple[FilePair, ...], bits: int, i: int, window: Window | None = None
) -> tuple[Tensor, Tensor | None]:
    entry = entries[i]
    if entry.sharp is None:
        return pixels.read_pixels(entry.blurred, window, bits), None
    sizes = [f"{width}x{height}" for height, width in map(pixels.size, (entry.blurred, entry.sharp))]
    if sizes[0] != sizes[1]:
        text = "are a pair of different sizes"
        raise ValueError(f"{entry.blurred} and {entry.sharp} {text}: {' and '.join(sizes)}")
    return pixels.read_pixels(entry.blurred, window, bits), pixels.read_pixels(entry.sharp, window, bits)


def _size(entries: tuple[FilePair, ...], i: int) -> tuple[int, int]:
    return pixels.size(entries[i].blurred)


def folder(name: str, blurred: Path, sharp: Path) -> PairedSet:
    """One's own pairs: two folders of pictures with equal names, subfolders included (suffixes may differ).

    Raises ``FileNotFoundError`` for a missing or empty folder, ``ValueError`` naming the first picture without a
    partner and two pictures of one name. Reading raises as in ``files``.
    """
    sides = []
    for place in (blurred, sharp):
        if not place.is_dir():
            raise FileNotFoundError(f"{name}: there is no folder {place}")
        found: dict[str, Path] = {}
        for file in pictures(place):
            key = file.relative_to(place).with_suffix("").as_posix()
            if key in found:
                raise ValueError(f"{name}: {found[key]} and {file} have one name; remove one of them")
            found[key] = file
        if not found:
            raise FileNotFoundError(f"{name}: no pictures in {place}")
        sides.append(found)
    inputs, targets = sides
    alone = sorted(inputs.keys() ^ targets.keys())
    if alone:
        has, lacks = (blurred, sharp) if alone[0] in inputs else (sharp, blurred)
        raise ValueError(f"{name}: {alone[0]} in {has} has no partner in {lacks} ({len(alone)} without a partner)")
    return files(name, [FilePair(key, inputs[key], targets[key]) for key in sorted(inputs)])
