"""How the real sets lie on disk: the folders, names and list files of the official downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demoe.blur import sets

from .real import catalog

Files = dict[str, str]  # "blurred", "sharp", "mask" or "second" -> path below the set's folder


@dataclass(frozen=True)
class Official:
    """How a set lies on disk: the name of its folder, and ``files(split, key)`` of a pair.

    ``key(split, i)`` names pair ``i`` where no published split does. ``lists(split, files)`` are the set's list files.
    """

    folder: str
    files: Callable[[str, str], Files]
    key: Callable[[str, int], str] | None = None
    lists: Callable[[str, list[Files]], dict[str, str]] = lambda split, files: {}


def _gopro(split: str, key: str) -> Files:
    sequence, frame = key.split("/")
    kinds = {"blurred": "blur", "sharp": "sharp", "second": "blur_gamma"}
    return {role: f"{split}/{sequence}/{kind}/{frame}.png" for role, kind in kinds.items()}


def _realblur(split: str, key: str) -> Files:
    scene, number = key.split("/")
    place = f"RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene{scene}"  # spelt as in the download
    return {"blurred": f"{place}/blur/blur_{number}.png", "sharp": f"{place}/gt/gt_{number}.png"}


def _realblur_lists(split: str, files: list[Files]) -> dict[str, str]:
    # As published: sharp first, a space at the end of every line but the last, which has no line feed.
    return {f"RealBlur_J_{split}_list.txt": " \n".join(f"{one['sharp']} {one['blurred']}" for one in files)}


def _reloblur_key(split: str, i: int) -> str:
    scene = i // 100 + 1
    return f"{f's{scene:02d}' if split == 'train' else f'scene{scene}'}/{i // 20 % 5:02d}/{i % 20:02d}"


def _reloblur(split: str, key: str) -> Files:
    kinds = {role: f"{split}/{key}_{word}.png" for role, word in (("blurred", "blur"), ("sharp", "sharp"))}
    return kinds | {"mask": f"masks/{split}/{key}.png"}


def _lolblur(split: str, key: str) -> Files:
    kinds = {"blurred": "low_blur_noise", "sharp": "high_sharp_scaled", "second": "low_blur"}
    return {role: f"{split}/{kind}/{key}.png" for role, kind in kinds.items()}


def _dpdd(split: str, key: str) -> Files:
    target = catalog.dpdd_targets(split)[int(key.removeprefix("1P0A"))]
    return {"blurred": f"{split}_c/source/{key}.png", "sharp": f"{split}_c/target/1P0A{target:04d}.png"}


def _rsblur_key(split: str, i: int) -> str:
    days = [day for day in range(1, 20) if day != 4]  # each day is spread over all splits, so only the number tells
    first = {"train": 1, "val": 10_001, "test": 20_001}[split]
    return f"{days[i % len(days)]:04d}/{first + i:06d}"


def _rsblur_lists(split: str, files: list[Files]) -> dict[str, str]:
    lines = "".join(f"RSBlur/{one['sharp']} RSBlur/{one['blurred']}\n" for one in files)
    return {f"RSBlur_real_{split}.txt": lines}


OFFICIAL: dict[str, Official] = {
    "RealBlur": Official("RealBlur", _realblur, lists=_realblur_lists),
    "ReLoBlur": Official("ReLoBlur", _reloblur, _reloblur_key),
    "LOLBlur": Official(
        "LOLBlur", _lolblur, lambda split, i: f"{i // 60 + (1 if split == 'train' else 201):04d}/{i % 60 + 30:04d}"
    ),
    "GoPro": Official("GOPRO_Large", _gopro),
    "DPDD": Official("dd_dp_dataset_canon", _dpdd),
    "RealDOF": Official(
        "RealDOF",
        lambda split, key: {"blurred": f"source/{key}.png", "sharp": f"target/{key}.png"},
        lambda split, i: f"{i + 1:02d}",
    ),
    "RSBlur": Official(
        "RSBlur",
        lambda split, key: {"blurred": f"{key}/real_blur/real_blur.png", "sharp": f"{key}/gt/gt_sharp.png"},
        _rsblur_key,
        _rsblur_lists,
    ),
    "Real-LOLBlur": Official(
        "Real-LOLBlur", lambda split, key: {"blurred": f"{key}.png"}, lambda split, i: f"{i // 30:04d}_{i % 30 + 1:04d}"
    ),
    "LOLv2-real": Official(
        "LOL-v2",
        lambda split, key: {
            role: f"Real_captured/{split.capitalize()}/{kind}/{kind.lower()}{key}.png"
            for role, kind in (("blurred", "Low"), ("sharp", "Normal"))
        },
    ),
}


def names(name: str, split: str, layout: str, count: int) -> dict[str, Files]:
    """Key -> files of the first ``count`` pairs. Raises ``ValueError`` for a split or count that the set has not."""
    counts = catalog.get(name).counts
    if split not in counts:
        raise ValueError(f"{name} has no {split} split on disk: choose one of {', '.join(counts)}")
    if count > counts[split]:
        raise ValueError(f"{name} has {counts[split]} pairs in its {split} split: names for {count} do not exist")
    official = OFFICIAL[name]
    if official.key:
        keys = [official.key(split, i) for i in range(count)]
    else:
        keys = list(catalog.published(name)[split][:count])
    if layout == "flat":
        stems = {key: key.replace("/", "_") for key in keys}
        roles = {"blurred": "input"} | ({} if name in sets.WITHOUT_GROUND_TRUTH else {"sharp": "target"})
        return {
            key: {role: f"{split}/{folder}/{stem}.png" for role, folder in roles.items()} for key, stem in stems.items()
        }
    return {key: official.files(split, key) for key in keys}
