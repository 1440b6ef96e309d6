"""Synthetic sets written to disk as the real ones lie there, so that other people's code can train and test on them.

Folders and file names are those of the official downloads; what is in the pictures is not. Each set's folder says so:
``README.txt`` for people, ``synthetic.json`` with everything the pictures depend on, ``manifest.csv`` with a line a
pair."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from demoe.blur import sets
from demoe.blur.folder import FolderCanvas
from demoe.blur.job import Options
from demoe.core import images
from demoe.core.files import Journal, alone, write_text
from demoe.core.provenance import code_hash

from .real import catalog, pixels
from .real.description import Dataset
from .real.roots import MADE

COLUMNS = ("pair", "split", "index", "blurred", "sharp", "mask", "second", "source", "note")
Files = dict[str, str]  # "blurred", "sharp", "mask" or "second" -> path below the set's folder


def build(
    destination: str | Path,
    names: Sequence[str] | None,
    split: str,
    count: int,
    size: int | tuple[int, int],
    seed: int = 0,
    sharp_images: str | Path | None = None,
    progress: bool = True,
) -> list[Path]:
    """Write ``count`` synthetic pairs of each set in ``names`` below ``destination``; returns the sets' folders.

    ``names`` None is every set that has this split, each with as many of ``count`` pairs as the real one has names for.
    ``split`` is "train", "val" or "test", as far as the real set has it; ``size`` (H,W) or one side in pixels;
    ``sharp_images`` a folder of sharp photographs in place of the bundled ones. Each set gets the real one's folders,
    names and list files, ReLoBlur its masks, GoPro ``blur_gamma`` and LOLBlur ``low_blur`` besides, DPDD 16 bits;
    Real-LOLBlur is written without sharp pictures.

    A picture appears whole or not at all. Called again with the same arguments (a larger ``count``, another split), it
    continues; pictures that cannot be read any more are written again. Raises ``ValueError`` before anything is
    written: for an unknown set or split, a count that the real set has no names for, a folder that holds
    something else or pictures made otherwise, and one that another process builds in.
    """
    destination = Path(destination)
    height, width = (size, size) if isinstance(size, int) else size
    if split not in ("train", "val", "test"):
        raise ValueError(f"unknown split {split!r}: choose one of train, val, test")
    if count < 1:
        raise ValueError(f"count is the number of pairs of each set, at least 1, not {count}")
    if min(height, width) < 8 or seed < 0:
        raise ValueError(f"pictures need at least 8x8 pixels and a seed of 0 or more, not {width}x{height}, {seed}")
    options, source = Options(), "bundled"
    if sharp_images is not None:
        canvas = FolderCanvas(sharp_images)
        options, source = replace(options, canvas=canvas), f"{canvas.folder.name} ({canvas.identity})"
    plans = []
    for dataset in map(catalog.get, sets.SETS if names is None else names):
        if names is None and split not in dataset.counts:
            continue
        if dataset.name not in sets.SETS:
            raise ValueError(f"there is no synthetic {dataset.name}: choose from {', '.join(sets.SETS)}")
        chosen = replace(options, bits=dataset.depth or 8)
        facts = {
            "synthetic": True,
            "set": dataset.name,
            "size": [int(height), int(width)],
            "seed": int(seed),
            "options": {key: value for key, value in vars(chosen).items() if key != "canvas"},
            "sharp_images": source,
            "recipes": code_hash("blur"),
        }
        _claim(destination / dataset.folders[0], facts)
        wanted = count if names else min(count, dataset.counts[split])
        plans.append((dataset, destination / dataset.folders[0], facts, chosen, named_files(dataset, split, wanted)))
    for dataset, root, facts, chosen, files in plans:
        busy = f"another process is building in {root}: wait for it to end, or choose another folder"
        with alone(destination / f".{root.name}.lock", busy, wait=False):
            _claim(root, facts)  # it may have been free before
            _write_set(dataset, root, split, facts, chosen, files, progress)
    return [root for _, root, *_ in plans]


def named_files(dataset: Dataset, split: str, count: int) -> dict[str, Files]:
    """Key -> files of the first ``count`` pairs. Raises ``ValueError`` for a split or count that the set has not."""
    name, counts = dataset.name, dataset.counts
    if split not in counts:
        raise ValueError(f"{name} has no {split} split on disk: choose one of {', '.join(counts)}")
    if count > counts[split]:
        raise ValueError(f"{name} has {counts[split]} pairs in its {split} split: names for {count} do not exist")
    keys = {key: key for key in catalog.expand(dataset.made.get(split, ""))} or dataset.published.get(split, {})
    named = {}
    for key, sharp in islice(keys.items(), count):
        words = {"split": split, "Split": split.capitalize(), "sharp": sharp}
        named[key] = {role: path.format(*key.split("/"), **words) for role, path in dataset.files.items()}
    return named


def _claim(root: Path, facts: dict) -> None:
    """Raises ``ValueError`` unless ``root`` is free or holds pictures made in just this way."""
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file: choose another folder to build in")
    if (root / MADE).is_file():
        try:
            found = dict(json.loads((root / MADE).read_text()))
        except (ValueError, TypeError):
            text = f"{root} holds a set that was built differently, or its {MADE} is damaged"
            raise ValueError(f"{text}: choose another folder, or remove this one") from None
        other = [
            f"{key} is {found.get(key)!r} there and {facts[key]!r} here"
            for key in facts
            if found.get(key) != facts[key]
        ]
        if other:
            text = f"{root} holds a set that was built differently ({'; '.join(other)})"
            raise ValueError(f"{text}: choose another folder")
    elif root.is_dir() and (inside := sorted(root.iterdir())):
        raise ValueError(f"{root} already holds something else ({inside[0].name}): choose another folder to build in")


def _write_set(
    dataset: Dataset, root: Path, split: str, facts: dict, options: Options, files: dict[str, Files], progress: bool
) -> None:
    write_text(root / MADE, json.dumps(facts, indent=2) + "\n")
    write_text(root / "README.txt", _readme(dataset, facts))
    journal = Journal(root / "manifest.csv", COLUMNS)  # without what an interrupted build left of a line
    rows = {(row["split"], row["pair"]): row for row in journal.rows if row["index"].isdecimal()}
    bar = tqdm(files.items(), desc=f"building {dataset.name} ({split})", leave=False, disable=not progress)
    for index, (key, places) in enumerate(bar):
        whole = {**places, "index": str(index)}.items() <= rows.get((split, key), {}).items()
        if whole and not any(pixels.fault(root / place) for place in places.values()):
            continue
        make = partial(sets.synthesize, dataset.name, split, index, size=tuple(facts["size"]), seed=facts["seed"])
        made = make(options=options)
        pictures = {"blurred": made.blurred, "sharp": made.sharp, "mask": made.mask}
        if "second" in places:  # another blurred picture of the scene, beside the one that benchmarks use
            pictures["second"] = make(options=replace(options, **dataset.second)).blurred
        for role, place in places.items():
            gray = len(pictures[role]) == 1
            photograph = images.Photograph(pictures[role].expand(3, -1, -1), bit_depth=options.bits, gray=gray)
            images.write_photograph(root / place, photograph)
        row = {"pair": key, "split": split, "index": index, "source": made.source, "note": made.note} | places
        journal.append([dict.fromkeys(COLUMNS, "") | row])
        rows[split, key] = journal.rows[-1]
    ordered = sorted(rows.values(), key=lambda row: (row["split"], int(row["index"])))
    table = pd.DataFrame(ordered, columns=list(COLUMNS))
    write_text(journal.file, table.to_csv(index=False, lineterminator="\n"))
    if dataset.list_line:
        # All pairs that there are, also when fewer were asked for this time than before.
        lines = [dataset.list_line.format_map(row) for row in ordered if row["split"] == split]
        write_text(root / dataset.lists[split][0][0], dataset.list_break.join(lines))


def _readme(dataset: Dataset, facts: dict) -> str:
    options = ", ".join(f"{key} {value}" for key, value in facts["options"].items())
    name, pairs = dataset.name, "As in the real set there are no sharp pictures."
    if dataset.ground_truth:
        pairs = "Pictures of one sequence or scene are not related: every pair was made on its own."
    return (
        f"SYNTHETIC stand-in for {name}. These are not the pictures of {name}, only its folders and file names.\n"
        "A score on them is not a score on the real set and must not be reported as one.\n\n"
        f"Made by demoe data build: {facts['size'][1]}x{facts['size'][0]} pixels, seed {facts['seed']}, "
        f"sharp pictures: {facts['sharp_images']}.\n"
        f"Options: {options}.\n{pairs}\n"
        "Every picture follows from synthetic.json, its split and its index; manifest.csv says what was done to each.\n"
    )
