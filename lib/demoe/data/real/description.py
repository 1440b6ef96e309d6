"""How a dataset is described: what it is called on disk, how its blurred and sharp pictures find each other, how many
there must be, where it comes from. ``layouts`` reads these descriptions, ``check`` holds data to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

EXTRA = re.compile(r"[-_ ]")


def loose(name: str) -> str:
    """A folder's name as it is compared: lower case, without ``-``, ``_`` and spaces."""
    return EXTRA.sub("", name).lower()


@dataclass(frozen=True)
class Form:
    """A path below a dataset's folder, a regular expression for every part of it (any letter case), ``**`` = all below.

    ``<split>`` stands for train, val or test, ``<kind>`` for the words for blurred and sharp, ``<name>`` for the
    dataset's folder names. Where the path does not say it: ``role`` "blurred" or "sharp"; ``split``, with "any" for
    sharp pictures that serve all splits.
    """

    path: str
    role: str = ""
    split: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is known about a dataset. Patterns are regular expressions in which letter case does not matter."""

    name: str  # as everywhere in this package
    aliases: tuple[str, ...]  # other names that people type
    folders: tuple[str, ...]  # names of its folder
    marker: str  # its official layout, for people
    official: tuple[Form, ...]
    blurred: Mapping[str, tuple[str, ...]]  # variant -> words for its blurred pictures; the first is the default
    sharp: tuple[str, ...]  # words for its sharp pictures; empty for a set without them
    counts: Mapping[str, int]  # split -> pairs
    size: tuple[int, int] | None  # None: varies
    depth: int | None  # bits a sample; None: 8 or 16
    home: str
    licence: str
    download: str
    not_needed: str
    notes: tuple[str, ...]  # what goes wrong with it, for people
    weak_folders: tuple[str, ...] = ()  # names of its folder that other folders have as well
    foreign: Mapping[str, str] = field(default_factory=dict)  # pattern of a folder's name -> why it is another dataset
    typical: str = ""  # a path that belongs to this dataset wherever it is found
    key: str = ""  # found in the path below the dataset's folder; its groups are the key
    key_format: str = "{0}"
    stem: str = ""  # file names of flat copies; such a name with -N or _sNNN behind it is a training patch
    stray: str = ""  # names of pictures of another kind that people put beside them
    stray_why: str = ""
    group: str = ""  # what must not be in train and test at once: the whole "key", its "first" part, or "" nothing
    inner_suffix: str = ""  # what one side's names may have before the suffix, and the other's not
    pairing: str = "key"  # "key", or "numbers": the names differ by a camera's count
    cause: str = ""  # why pictures are missing, most likely
    known_counts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # split -> {pairs: what that is}
    lists: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)  # split -> alternatives, each united
    list_fields: int = 2  # sharp and blurred picture; 1: a file name
    loose_split: str = "test"  # of a copy without split folders
    split_by_list: bool = False  # the official tree has no folders for train and test
    dark: bool = False  # the blurred side is much darker than the sharp one
    ground_truth: bool = True

    @property
    def variants(self) -> tuple[str, ...]:
        """The choices of blurred pictures, the default first."""
        return tuple(self.blurred)

    def known_folder(self, name: str, weak: bool = True) -> bool:
        """Whether a folder of this name may hold the dataset; without ``weak``, only names that few others have."""
        names = {self.name, *self.aliases, *self.folders, *(self.weak_folders if weak else ())}
        return loose(name) in {loose(one) for one in names}

    def foreign_reason(self, name: str) -> str:
        """Why a folder of this name is not this dataset; "" if nothing speaks against it."""
        return next((why for pattern, why in self.foreign.items() if re.fullmatch(pattern, name, re.I)), "")
