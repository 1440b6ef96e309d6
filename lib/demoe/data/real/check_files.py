"""What every file of a split says about itself: whole or not, its size and depth, and whether these fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tqdm.contrib.concurrent import thread_map

from demoe.core.formats import FORMAT_OF

from . import lmdb_files, pixels
from .description import Dataset
from .findings import Split
from .pixels import Header

PATCH = {(512, 512), (256, 256)}  # of Restormer and NAFNet


def check(dataset: Dataset, split: Split, decode: bool = False, progress: bool = True) -> dict[Path, Header]:
    """Looks at head and end of every file of ``split``, or, with ``decode``, at every pixel, and adds problems.

    Returns the headers of the files that can be read.
    """
    paths = [path for pair in split.pairs for path in (pair.blurred, pair.sharp) if path] + split.alone
    title = f"{dataset.name} {split.name}"
    headers = _each(pixels.header, paths, f"headers of {title}", progress)
    faults = {path: header.fault for path, header in headers.items() if header.fault}
    if decode:
        decoded = _each(pixels.fault, [path for path in paths if path not in faults], f"pixels of {title}", progress)
        faults |= {path: fault for path, fault in decoded.items() if fault}
    named = [f"{path} {fault}" for path, fault in faults.items()]
    split.note("error", "damaged", "[file|files] cannot be read", "fetch them again", named)
    good = {path: header for path, header in headers.items() if path not in faults}
    blurred = {pair.blurred: good[pair.blurred].size for pair in split.pairs if pair.blurred in good}
    _note_pair_sizes(split, good)
    _note_patches(dataset, split, blurred)
    if dataset.size and not split.patches and not split.synthetic:
        _note_sizes(dataset, split, blurred)
    if dataset.depth:
        _note_depths(dataset, split, good)
    _note_suffixes(split, headers)
    return good


def _each(work: Callable, paths: list[Path], text: str, progress: bool) -> dict:
    return dict(zip(paths, thread_map(work, paths, desc=text, leave=False, disable=not progress), strict=True))


def _note_pair_sizes(split: Split, good: dict[Path, Header]) -> None:
    odd = []
    for pair in split.pairs:
        sizes = [by(good[path].size) for path in (pair.blurred, pair.sharp) if path in good]
        if len(set(sizes)) == 2:
            odd.append(f"{pair.blurred} and {pair.sharp}: {' and '.join(sizes)}")
    message = "[pair has|pairs have] pictures of different sizes"
    split.note("error", "pair_size", message, "fetch them again", odd)


def by(size: tuple[int, int]) -> str:
    """Width and height as people write them: "1280x720"."""
    return f"{size[0]}x{size[1]}"


def _note_patches(dataset: Dataset, split: Split, sizes: dict[Path, tuple[int, int]]) -> None:
    """Training patches are known by their names, or by the sizes that they are cut to."""
    what = "these"
    if not split.patches and not split.synthetic and dataset.size not in PATCH:
        cut = sum(size in PATCH for size in sizes.values())
        split.patches = cut > 1 and 2 * cut >= len(sizes)
        what = f"{cut} pictures of 512x512 or 256x256"
    if split.patches:
        message = f"{what} are training patches: usable to train, not to test"
        split.note("warning", "patches", message, "fetch the whole pictures to test on")


def _note_sizes(dataset: Dataset, split: Split, sizes: dict[Path, tuple[int, int]]) -> None:
    odd = {path: size for path, size in sizes.items() if size != dataset.size}
    if dataset.upright:
        turned = [path for path, size in odd.items() if size == dataset.size[::-1]]
        message = f"[picture is|pictures are] upright, {by(dataset.size[::-1])}"
        split.note("info", "size", message, files=turned)
        odd = {path: size for path, size in odd.items() if path not in set(turned)}
    message = f"[picture is|pictures are] not {by(dataset.size)}, the size of {dataset.name}"
    fix = "their scores are not those of the benchmark"
    if set(odd.values()) == {dataset.resized}:
        message = f"[picture is|pictures are] {by(dataset.resized)}: a resized version, not the benchmark"
        fix = f"fetch the version of {by(dataset.size)}"
    split.note("warning", "size", message, fix, [f"{path}: {by(size)}" for path, size in odd.items()])


def _note_depths(dataset: Dataset, split: Split, good: dict[Path, Header]) -> None:
    odd = [f"{path}: {header.depth}" for path, header in good.items() if header.depth != dataset.depth]
    message = f"[file has|files have] not {dataset.depth} bits a sample"
    fix = "they are read as 8 bits; find out where they come from"
    if dataset.depth == 16:
        message = "[file has|files have] 8 bits a sample instead of 16"
        fix = "fine for the single-image protocol, which reads 8 bits"
    split.note("warning", "depth", message, fix, odd)


def _note_suffixes(split: Split, headers: dict[Path, Header]) -> None:
    odd = []
    for path, header in headers.items():
        named = FORMAT_OF.get(path.suffix.lower())
        if header.format and named and not lmdb_files.split(path) and header.format.upper() != named.upper():
            odd.append(f"{path}: {header.format}")
    message = "[file is|files are] of another format than the name says"
    fix = "they are read as what they are; a JPEG is not what the authors published"
    split.note("warning", "suffix", message, fix, odd)
