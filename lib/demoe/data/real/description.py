"""How a dataset is described: what it is called on disk, how its blurred and sharp pictures find each other, how many
there must be, how blurred they are, where it comes from.

One table in ``datasets.toml`` is all that a new one needs; synthetic pairs in its manner need a recipe of its name in
``blur.sets`` besides. All other code reads these descriptions and knows no dataset by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


def loose(name: str) -> str:
    """A folder's name as it is compared: lower case, without ``-``, ``_`` and spaces."""
    return re.sub("[-_ ]", "", name).lower()


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


@dataclass(frozen=True)
class Target:
    """Mean PSNR (dB) and SSIM of the real set's blurred input; ``ssim`` is None where nobody tells.

    ``source``: "measured" by others on the real pictures, "published" (recalled from the set's paper, not checked
    again), "bound" (no figure exists; what networks trained elsewhere reach bounds it), "none" (the real set has no
    sharp images, and the stand-in is held against its hidden ones).
    """

    psnr: float
    ssim: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Part:
    """Pictures of one origin in a set without sharp ones, told by their names, else by their size."""

    title: str
    count: int
    names: str  # pattern of a path; its groups are the key
    key_format: str
    shape: str  # of the names, for people
    size: tuple[int, int] | None = None  # width, height of its pictures
    narrower: int = 0  # where they have no one size: they are upright, and less wide than this

    def fits(self, height: int, width: int) -> bool:
        """Whether a picture of this size, in pixels, may be one of them."""
        return (width, height) == self.size if self.size else width < min(height, self.narrower)


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is known about a dataset. Patterns are regular expressions in which letter case does not matter."""

    name: str  # as everywhere in this package
    aliases: tuple[str, ...] = ()  # other names that people type
    folders: tuple[str, ...] = ()  # names of its folder; the first is the official download's
    marker: str = ""  # its official layout, for people
    official: tuple[Form, ...] = ()
    blurred: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # variant -> words for its blurred pictures
    sharp: tuple[str, ...] = ()  # words for its sharp pictures
    counts: Mapping[str, int] = field(default_factory=dict)  # split -> pairs
    size: tuple[int, int] | None = None  # width, height; None: varies
    depth: int | None = None  # bits a sample; None: 8 or 16
    home: str = ""
    licence: str = ""
    download: str = ""
    not_needed: str = ""
    notes: tuple[str, ...] = ()  # what goes wrong with it, for people

    # What the paper does with it, and how blurred it is.
    expert: str = ""  # the expert that it belongs to; "" for a set that belongs to none
    target: Target | None = None  # of its blurred input
    metrics: tuple[str, ...] = ()  # that the paper scores it with outside AIO-Blur (Table 2)
    router_fails: bool | None = None  # whether the paper's router does on it (Section 4.2); None where it says nothing

    # Its folder, found by name or by what is in it.
    weak_folders: tuple[str, ...] = ()  # names of its folder that other folders have as well
    foreign: Mapping[str, str] = field(default_factory=dict)  # pattern of a folder's name -> why it is another dataset
    typical: str = ""  # a path that belongs to this dataset wherever it is found

    # Names of pictures, and which two are a pair.
    key: str = ""  # found in the path below the dataset's folder; its groups are the key
    key_format: str = "{0}"
    any_name: bool = False  # ``key`` fits any name, so that it tells nothing
    stem: str = ""  # file names of flat copies; such a name with -N or _sNNN behind it is a training patch
    stray: str = ""  # names of pictures of another kind that people put beside them
    stray_why: str = ""
    inner_suffix: str = ""  # what one side's names may have before the suffix, and the other's not
    pairing: str = "key"  # "key", or "numbers": the names differ by a camera's count
    parts: Mapping[str, Part] = field(default_factory=dict)  # of a set without sharp pictures, by variant

    # Splits.
    # Split -> key of each pair -> key of its sharp picture, from ``splits.toml``: a published split stands in for lost
    # list files and names what is missing. Empty where folders alone tell.
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    lists: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)  # split -> alternatives, each united
    list_fields: int = 2  # sharp and blurred picture; 1: a file name
    loose_split: str = "test"  # of a copy without split folders
    split_by_list: bool = False  # the official tree has no folders for train and test
    group: str = ""  # what must not be in train and test at once: the whole "key", its "first" part, or "" nothing
    group_word: str = "picture"  # what such a group is
    group_size: int = 0  # pictures of each, where all have the same number and no names are published
    known_counts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # split -> {pairs: what that is}
    cause: str = ""  # why pictures are missing, most likely

    # What its pictures look like.
    dark: bool = False  # the blurred side is much darker than the sharp one
    brighter: str = ""  # the variant whose blurred side is brighter than the sharp one
    upright: bool = False  # its pictures may be turned
    resized: tuple[int, int] | None = None  # width, height of a smaller version that goes round
    variant_notes: tuple[str, str] = ("", "")  # where the folders tell which variant is there, and where they do not

    # How synthetic pairs are written to disk in its layout; "{0}", "{1}" are the parts of the key.
    files: Mapping[str, str] = field(default_factory=dict)  # role -> path; {split}, {Split}, {sharp}: key of the sharp
    made: Mapping[str, str] = field(default_factory=dict)  # split -> keys, where none are published; ``catalog.expand``
    list_line: str = ""  # of its list files; {sharp} and {blurred} are paths
    list_break: str = "\n"  # between two lines
    second: Mapping[str, object] = field(default_factory=dict)  # options of the recipe for the role "second"

    @property
    def variants(self) -> tuple[str, ...]:
        """The choices of blurred pictures; the first is the default."""
        return tuple(self.blurred)

    @property
    def ground_truth(self) -> bool:
        """Whether it has sharp pictures."""
        return not self.parts

    def known_folder(self, name: str, weak: bool = True) -> bool:
        """Whether a folder of this name may hold the dataset; without ``weak``, only names that few others have."""
        names = {self.name, *self.aliases, *self.folders, *(self.weak_folders if weak else ())}
        return loose(name) in {loose(known) for known in names}

    def foreign_reason(self, name: str) -> str:
        """Why a folder of this name is not this dataset; "" if nothing speaks against it."""
        return next((why for pattern, why in self.foreign.items() if re.fullmatch(pattern, name, re.I)), "")

    def key_of(self, path: str) -> str | None:
        """The key in a path below the dataset's folder; None where the dataset's pattern does not fit."""
        match = re.search(self.key, path, re.IGNORECASE) if self.key else None
        return self.key_format.format(*match.groups()) if match else None

    def group_of(self, key: str) -> str:
        """The sequence, scene or picture that must be in one split only."""
        return key.split("/")[0] if self.group == "first" else key
