"""Where pictures come from: real datasets in one folder, or in a folder each as a TOML file says; sharp photographs.

root = "/data/deblurring"            # optional: looked through for every set not named below
sharp_images = "/data/DIV2K"         # optional: what synthetic pairs are made from, where no datasets are named
bits = 16                            # optional: 16-bit files (DPDD's) are kept as they are; 8 by default

[datasets]
GoPro = "/ssd/GOPRO_Large"           # relative paths are relative to this file
RealBlur = "../RealBlur"

[variants]
GoPro = "blur_gamma"                 # optional: another choice than the usual one, as `demoe data where` lists them
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from demoe.core.files import project_root

from . import catalog
from .description import Dataset

MADE = "synthetic.json"  # `demoe data build` puts it beside pictures that only have a real set's names


@dataclass(frozen=True)
class Roots:
    """``folder`` for all the sets, ``named`` for single ones; both may be empty. False if there is nothing to look at.

    ``source`` is what a person is shown: the option, the variable or the file that these folders come from.
    ``sharp_images`` is a folder of one's own sharp photographs for the synthetic sets, in place of the bundled ones.
    ``variants`` and ``bits`` are what ``recognition.paired_set`` hands out unless it is asked for something else.
    """

    folder: Path | None = None
    named: Mapping[str, Path] = field(default_factory=dict)
    source: str = ""
    sharp_images: Path | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    bits: int = 8

    def __bool__(self) -> bool:
        return self.folder is not None or bool(self.named)

    @property
    def synthetic(self) -> bool:
        """Whether what lies there was written by `demoe data build`, all or in part."""
        folders = [place.absolute() for place in (self.folder, *self.named.values()) if place]
        return any((above / MADE).is_file() for place in folders for above in (place, *place.parents)) or any(
            any(place.glob(pattern)) for place in folders for pattern in (f"*/{MADE}", f"*/*/{MADE}")
        )

    def find(self, name: str) -> Path | None:
        """Where to look for the dataset called ``name``; None if nothing was said about it."""
        return self.named.get(catalog.get(name).name, self.folder)

    def explicit(self, name: str) -> bool:
        """Whether a person said that this very dataset lies there, so that its folder may have any name."""
        return catalog.get(name).name in self.named

    @classmethod
    def resolve(cls, root: str | Path | Roots | None = None, sharp_images: str | Path | None = None) -> Roots:
        """From a folder or a ``.toml`` file; from None: ``$DEMOE_DATA_ROOT``, else ``data.toml`` in the project's root,
        else nothing. ``sharp_images`` is a folder, or None for ``$DEMOE_SHARP_IMAGES``, else what the file says.

        Raises ``FileNotFoundError`` for a root that does not exist, ``ValueError`` naming what is wrong with a file.
        """
        if isinstance(root, Roots):
            return root
        found = cls._datasets(root)
        sharp = sharp_images or os.environ.get("DEMOE_SHARP_IMAGES") or found.sharp_images
        if sharp and not Path(sharp).expanduser().is_dir():
            raise FileNotFoundError(f"{sharp} is no folder: --sharp-images wants one with sharp photographs")
        return replace(found, sharp_images=Path(sharp).expanduser() if sharp else None)

    @classmethod
    def _datasets(cls, root: str | Path | None) -> Roots:
        source = "--data-root"
        if root is None and os.environ.get("DEMOE_DATA_ROOT"):
            root, source = os.environ["DEMOE_DATA_ROOT"], "$DEMOE_DATA_ROOT"
        if root is None:
            root, source = project_root() / "data.toml", "data.toml"
            if not root.is_file():
                return cls()
        path = Path(root).expanduser()
        if path.is_dir():
            return cls(path, source=f"{source} {path}")
        if not path.exists():
            raise FileNotFoundError(
                f"{source}: {path} does not exist; name the folder that holds the datasets, or a "
                ".toml file that names one for each"
            )
        if path.suffix.lower() != ".toml":
            raise ValueError(f"{source}: {path} is neither a folder nor a .toml file")
        return _from_toml(path)


_TABLES = {"datasets": 'GoPro = "/data/GOPRO_Large"', "variants": 'GoPro = "blur_gamma"'}  # and a line of each


def _from_toml(file: Path) -> Roots:
    try:
        text = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no valid TOML: {error}") from None
    strange = sorted(text.keys() - {"root", "sharp_images", "bits", *_TABLES})
    if strange:
        raise ValueError(
            f"{file}: {strange[0]!r} means nothing here; the file may hold root, sharp_images, bits, a table "
            "[datasets] with a folder for each set and a table [variants]"
        )
    named, variants = (_by_dataset(file, text, key) for key in _TABLES)
    named = {dataset.name: _place(file, f"datasets.{name}", value) for dataset, (name, value) in named.items()}
    for dataset, (name, variant) in variants.items():
        if variant not in dataset.variants:
            raise ValueError(f"{file}: {name} has no variant {variant!r}: choose one of {', '.join(dataset.variants)}")
    chosen = {dataset.name: variant for dataset, (_, variant) in variants.items()}
    folder, sharp = (_place(file, key, text[key]) if key in text else None for key in ("root", "sharp_images"))
    if folder and not folder.is_dir():
        raise FileNotFoundError(f"{file}: root: there is no folder {folder}")
    if text.get("bits", 8) not in (8, 16):
        raise ValueError(f"{file}: bits must be 8 or 16, not {text['bits']!r}")
    return Roots(folder, named, str(file), sharp, chosen, text.get("bits", 8))


def _by_dataset(file: Path, text: dict, key: str) -> dict[Dataset, tuple[str, object]]:
    """Of the table called ``key``: dataset -> its name as it stands there, and the value."""
    if not isinstance(text.get(key, {}), dict):
        raise ValueError(f"{file}: {key} must be a table, [{key}], with lines like {_TABLES[key]}")
    found: dict[Dataset, tuple[str, object]] = {}
    for name, value in text.get(key, {}).items():
        try:
            dataset = catalog.get(name)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        if dataset in found:
            raise ValueError(f"{file}: {dataset.name} is named twice in [{key}]")
        found[dataset] = name, value
    return found


def _place(file: Path, key: str, value: object) -> Path:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{file}: {key} must be the path of a folder in quotes, not {value!r}")
    return file.parent / Path(value).expanduser()  # an absolute path stays as it is
