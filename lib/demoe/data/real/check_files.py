"""What every file of a split says about itself: whole or not, its size and depth, and whether these fit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from demoe.core.formats import FORMAT_OF

from . import lmdb_files, pixels
from .description import Dataset
from .findings import Split, many
from .pixels import Header

PATCH = {(512, 512), (256, 256)}  # of Restormer and NAFNet
RESIZED = {"ReLoBlur": (538, 359)}  # a version at a quarter of the size
PORTRAIT = {"DPDD"}  # DPDNet turns upright pictures: both are fine


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
    if faults:
        split.note(
            "error",
            "damaged",
            many(len(faults), "file", "files") + " cannot be read",
            "fetch them again",
            [f"{path} {fault}" for path, fault in faults.items()],
        )
    _pair_sizes(split, headers, found.damaged)
    good = {path: headers[path] for pair in split.pairs for path in [pair.blurred] if path in headers}
    good = {path: header for path, header in good.items() if path not in faults}
    found.sizes.update((header.width, header.height) for header in good.values())
    found.depths.update(header.depth for path, header in headers.items() if path not in faults)
    _sizes(dataset, split, good, found)
    _depths(dataset, split, {path: header for path, header in headers.items() if path not in faults})
    _suffixes(split, headers)
    return found


def _each(work: Callable, paths: list[Path], text: str, progress: bool) -> list:
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        return list(tqdm(pool.map(work, paths), total=len(paths), desc=text, leave=False, disable=not progress))


def _decoded(path: Path) -> str:
    try:
        pixels.read(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path} ")
    return ""


def _pair_sizes(split: Split, headers: dict[Path, Header], damaged: set[Path]) -> None:
    odd = []
    for pair in split.pairs:
        if pair.sharp is None or not {pair.blurred, pair.sharp} <= headers.keys() - damaged:
            continue
        one, other = headers[pair.blurred], headers[pair.sharp]
        if (one.width, one.height) != (other.width, other.height):
            sizes = f"{one.width}x{one.height} and {other.width}x{other.height}"
            odd.append(f"{pair.blurred} and {pair.sharp}: {sizes}")
    if odd:
        split.note(
            "error",
            "pair_size",
            many(len(odd), "pair has", "pairs have") + " pictures of different sizes",
            "fetch them again",
            odd,
        )


def _sizes(dataset: Dataset, split: Split, good: dict[Path, Header], found: Files) -> None:
    if split.patches or split.synthetic or not good:
        if split.patches:
            split.note(
                "warning",
                "patches",
                "these are training patches: usable to train, not to test",
                "fetch the whole pictures to test on",
            )
        return
    cut = sum(count for size, count in found.sizes.items() if size in PATCH)
    if cut > 1 and 2 * cut >= len(good) and dataset.size not in PATCH:
        split.patches = True
        split.note(
            "warning",
            "patches",
            f"{cut} pictures of 512x512 or 256x256 are training patches: usable to train, not to test",
            "fetch the whole pictures to test on",
        )
        return
    if dataset.size is None:
        return
    allowed = {dataset.size} | ({dataset.size[::-1]} if dataset.name in PORTRAIT else set())
    upright = found.sizes[dataset.size[::-1]]
    if upright and dataset.name in PORTRAIT:
        split.note(
            "info",
            "size",
            many(upright, "picture is", "pictures are") + f" upright, {dataset.size[1]}x{dataset.size[0]}",
        )
    odd = {path: header for path, header in good.items() if (header.width, header.height) not in allowed}
    if not odd:
        return
    usual = f"{dataset.size[0]}x{dataset.size[1]}"
    small = RESIZED.get(dataset.name)
    if small and all((header.width, header.height) == small for header in odd.values()):
        name = f"{small[0]}x{small[1]}"
        split.note(
            "warning",
            "size",
            many(len(odd), "picture is", "pictures are") + f" {name}: a resized version, not the benchmark",
            f"fetch the version of {usual}",
            odd,
        )
        return
    split.note(
        "warning",
        "size",
        many(len(odd), "picture is", "pictures are") + f" not {usual}, the size of {dataset.name}",
        "their scores are not those of the benchmark",
        [f"{path}: {header.width}x{header.height}" for path, header in odd.items()],
    )


def _depths(dataset: Dataset, split: Split, headers: dict[Path, Header]) -> None:
    if dataset.depth is None:
        return
    odd = [f"{path}: {header.depth}" for path, header in headers.items() if header.depth != dataset.depth]
    if odd and dataset.depth == 16:
        split.note(
            "warning",
            "depth",
            many(len(odd), "file has", "files have") + " 8 bits a sample instead of 16",
            "fine for the single-image protocol, which reads 8 bits",
            odd,
        )
    elif odd:
        split.note(
            "warning",
            "depth",
            many(len(odd), "file has", "files have") + f" not {dataset.depth} bits a sample",
            "they are read as 8 bits; find out where they come from",
            odd,
        )


def _suffixes(split: Split, headers: Iterable[Path]) -> None:
    odd = []
    for path, header in headers.items():
        named = FORMAT_OF.get(path.suffix.lower())
        if header.format and named and not lmdb_files.split(path) and header.format.upper() != named.upper():
            odd.append(f"{path}: {header.format}")
    if odd:
        split.note(
            "warning",
            "suffix",
            many(len(odd), "file is", "files are") + " of another format than the name says",
            "they are read as what they are; a JPEG is not what the authors published",
            odd,
        )
