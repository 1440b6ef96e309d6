"""What every file of a split says about itself: whole or not, its size and depth, and whether these fit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from demoe.core.formats import FORMAT_OF

from . import lmdb_files, pixels
from .description import Dataset
from .findings import Split
from .pixels import Header

PATCH = {(512, 512), (256, 256)}  # of Restormer and NAFNet


@dataclass
class Files:
    """Width x height and bits a sample -> blurred pictures, and the files that cannot be read."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    damaged: set[Path] = field(default_factory=set)


def check(dataset: Dataset, split: Split, decode: bool = False, progress: bool = True) -> Files:
    """Looks at head and end of every file of ``split``, or, with ``decode``, at every pixel; adds problems."""
    found = Files()
    paths = [path for pair in split.pairs for path in (pair.blurred, pair.sharp) if path]
    paths += split.alone
    if not lmdb_files.available():
        paths = [path for path in paths if not lmdb_files.split(path)]  # said already
    read = _each(pixels.header, paths, f"headers of {dataset.name} {split.name}", progress)
    headers = dict(zip(paths, read, strict=True))
    faults = {path: header.fault for path, header in headers.items() if header.fault}
    if decode:
        rest = [path for path in paths if path not in faults]
        results = _each(_decoded, rest, f"pixels of {dataset.name} {split.name}", progress)
        faults |= {path: fault for path, fault in zip(rest, results, strict=True) if fault}
    found.damaged = set(faults)
    named = [f"{path} {fault}" for path, fault in faults.items()]
    split.note("error", "damaged", "[file|files] cannot be read", "fetch them again", named)
    good = {path: header for path, header in headers.items() if path not in faults}
    _note_pair_sizes(split, good)
    blurred = {pair.blurred: good[pair.blurred] for pair in split.pairs if pair.blurred in good}
    found.sizes.update((header.width, header.height) for header in blurred.values())
    found.depths.update(header.depth for header in good.values())
    _note_patches(dataset, split, found.sizes)
    if dataset.size and not split.patches and not split.synthetic:
        _note_sizes(dataset, split, blurred)
    if dataset.depth:
        _note_depths(dataset, split, good)
    _note_suffixes(split, headers)
    return found


def _each(work: Callable, paths: list[Path], text: str, progress: bool) -> list:
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        return list(tqdm(pool.map(work, paths), total=len(paths), desc=text, leave=False, disable=not progress))


def _decoded(path: Path) -> str:
    try:
        pixels.read_pixels(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path} ")
    return ""


def _note_pair_sizes(split: Split, good: dict[Path, Header]) -> None:
    odd = []
    for pair in split.pairs:
        both = [good[path] for path in (pair.blurred, pair.sharp) if path in good]
        sizes = [f"{header.width}x{header.height}" for header in both]
        if len(set(sizes)) == 2:
            odd.append(f"{pair.blurred} and {pair.sharp}: {' and '.join(sizes)}")
    message = "[pair has|pairs have] pictures of different sizes"
    split.note("error", "pair_size", message, "fetch them again", odd)


def _note_patches(dataset: Dataset, split: Split, sizes: Counter[tuple[int, int]]) -> None:
    """Training patches are known by their names, or by the sizes that they are cut to."""
    what = "these"
    if not split.patches and not split.synthetic and dataset.size not in PATCH:
        cut = sum(count for size, count in sizes.items() if size in PATCH)
        split.patches = cut > 1 and 2 * cut >= sizes.total()
        what = f"{cut} pictures of 512x512 or 256x256"
    if split.patches:
        message = f"{what} are training patches: usable to train, not to test"
        split.note("warning", "patches", message, "fetch the whole pictures to test on")


def _note_sizes(dataset: Dataset, split: Split, blurred: dict[Path, Header]) -> None:
    usual = f"{dataset.size[0]}x{dataset.size[1]}"
    sizes = {path: (header.width, header.height) for path, header in blurred.items()}
    odd = {path: size for path, size in sizes.items() if size != dataset.size}
    if dataset.upright:
        turned = dataset.size[::-1]
        message = f"[picture is|pictures are] upright, {turned[0]}x{turned[1]}"
        split.note("info", "size", message, files=[path for path, size in odd.items() if size == turned])
        odd = {path: size for path, size in odd.items() if size != turned}
    message = f"[picture is|pictures are] not {usual}, the size of {dataset.name}"
    fix = "their scores are not those of the benchmark"
    if dataset.resized and set(odd.values()) == {dataset.resized}:
        width, height = dataset.resized
        message = f"[picture is|pictures are] {width}x{height}: a resized version, not the benchmark"
        fix = f"fetch the version of {usual}"
    files = [f"{path}: {width}x{height}" for path, (width, height) in odd.items()]
    split.note("warning", "size", message, fix, files)


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
