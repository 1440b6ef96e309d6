"""Weights that others trained, and those that come with the package: where each is from, and whether it is here.

What is not known is said to be unknown. Nothing here is ever unpacked or executed: networks are read as
``models.checkpoints`` reads them, and the files of metrics by the packages that own them.
"""

from __future__ import annotations

import importlib.util
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from demoe.core.files import checksum, installed_file
from demoe.core.words import meant


@dataclass(frozen=True)
class Item:
    """One file of weights. Those of others stand in ``pretrained.toml``."""

    name: str
    what: str
    file: str
    page: str  # where it comes from, for a person
    licence: str
    size: str  # as published, or "about" if counted from the parameters
    url: str = ""  # where it can be fetched; "" if nobody gives such an address
    sha256: str = ""  # all 64 hexadecimal digits, or as many as are published; "" if unknown
    folder: str = "demoe"  # below torch's hub cache
    network: bool = False  # a file that ``checkpoints.load`` must be able to read
    variable: str = ""  # an environment variable that may name it; a network, which may be any, by its own name only
    owner: str = ""  # the Python package that brings it along, and its path there, as "package/path"
    hub: Sequence[str] = ()  # a repository of Hugging Face, and the names there: who needs it may have fetched it so
    use: str = ""  # what to do with it, if that does not go without saying; {path} is its place

    def home(self) -> Path:
        """The folder in which ``fetch`` puts it by default, and in which whoever needs it looks."""
        return Path(torch.hub.get_dir()) / self.folder

    def find(self) -> Path | None:
        """Where it is on this machine; None if it is not."""
        named = Path(os.environ.get(self.variable, ""))
        places = [named] if not self.network or named.name == self.file else []
        if self.owner:
            places.append(installed_file(self.owner) or Path())
        else:
            places.append(self.home() / self.file)
        if self.hub and importlib.util.find_spec("huggingface_hub"):
            from huggingface_hub import try_to_load_from_cache  # slow to import, and fetching needs none

            cached = (try_to_load_from_cache(self.hub[0], name) for name in self.hub[1:])
            places += [Path(path) for path in cached if isinstance(path, str)]
        return next((place for place in places if place.is_file()), None)


PACKAGED = Path(__file__).parents[1] / "weights"
# Profiles whose networks may come with the package, the best first: the first that is there is the default everywhere.
RELEASES = {
    "quick": "trained on a GPU",
    "cpu": "trained on a CPU for two hours",
    "real": "trained for photographs, an hour on from there: no kind of blur has a camera of its own",
    "smoke": "trained for minutes: shows that everything runs",
}


@dataclass(frozen=True)
class Release:
    """A DeMoE that comes with the package, and the baseline that it was made from."""

    profile: str
    demoe: Path  # the file
    baseline: Path | None = None  # likewise; None where it does not come along

    @property
    def name(self) -> str:
        return f"demoe-{self.profile}"

    @property
    def label(self) -> str:
        """What people are told that they use."""
        return f"{self.name}, {RELEASES[self.profile]}"


def releases(folder: Path = PACKAGED) -> list[Release]:
    """The networks that come with the package, the best first."""
    found = []
    for profile in RELEASES:
        demoe, baseline = (folder / f"{kind}-{profile}.safetensors" for kind in ("demoe", "baseline"))
        if demoe.is_file():
            found.append(Release(profile, demoe, baseline if baseline.is_file() else None))
    return found


def _items() -> Iterator[Item]:
    for release in releases():
        for what, path in (("DeMoE", release.demoe), ("its baseline", release.baseline)):
            if path is not None:
                yield Item(
                    path.stem,
                    f"{what}, {RELEASES[release.profile]}",
                    path.name,
                    "this package (weights/README.md is its model card)",
                    "MIT; the model card says on what it was trained",
                    f"{path.stat().st_size / 2**20:.1f} MiB",
                    owner=f"demoe/weights/{path.name}",
                )
    for name, known in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).items():
        yield Item(name, **known)


ITEMS: tuple[Item, ...] = tuple(_items())


def get(name: str) -> Item:
    """The item of that name. Raises ``ValueError`` naming the choices."""
    for item in ITEMS:
        if item.name == name.lower():
            return item
    names = [item.name for item in ITEMS]
    raise ValueError(f"unknown weights {name!r}{meant(name, names)}: choose one of {', '.join(names)}")


def table(check: bool = False) -> str:
    """What there is, for a person to read; with ``check`` the sums of files that are here are computed and compared."""
    lines = []
    for item in ITEMS:
        place = item.find()
        lines += [
            f"{item.name}: {item.what}",
            f"  {item.file}, {item.size}; licence: {item.licence}",
            f"  from: {item.page}",
            f"  SHA-256: {_published(item)}",
        ]
        if place is None:
            how = "it comes with that package" if item.owner else f"demoe weights fetch {item.name}"
            lines.append(f"  not here: {how}" + ("" if item.url or item.owner else " --from FILE_OR_ADDRESS"))
        else:
            lines.append(f"  here: {place}" + (f" ({verdict(item, place)})" if check else ""))
        lines.append("")
    named = os.environ.get("DEMOE_WEIGHTS")
    if named and Path(named) != get("demoe").find():
        there = "" if Path(named).is_file() else " (not there)"
        lines.append(f"$DEMOE_WEIGHTS, used where no --weights are given: {named}{there}")
    return "\n".join(lines).rstrip()


def _published(item: Item) -> str:
    if not item.sha256:
        return "of each version its own" if item.owner.startswith("demoe/") else "unknown (none is published)"
    return item.sha256 if len(item.sha256) == 64 else f"{item.sha256}... (the file's name has its beginning)"


def verdict(item: Item, path: Path) -> str:
    """In words, whether a file has the sum that is published."""
    found = checksum(path)
    if path.name != item.file:
        return f"another file than {item.file}: SHA-256 {found}"
    if not item.sha256:
        return f"SHA-256 {found}, with nothing to compare"
    return "SHA-256 as expected" if found.startswith(item.sha256) else f"DAMAGED: SHA-256 {found}"
