"""Published splits (``splits.toml``): they stand in for lost list files and name what is missing.

Names are noted in short: words apart by white space, in which ``{007..123}`` is each of these numbers, as in a shell.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from itertools import product

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def package_table(name: str) -> dict:
    """A TOML file that lies beside this one."""
    return tomllib.loads(resources.files("demoe.data.real").joinpath(name).read_text(encoding="utf-8"))


def expand(text: str) -> list[str]:
    """All names that ``text`` stands for, in its order, the last number running fastest."""
    names = []
    for word in text.split():
        ranges = [(first, range(int(first), int(last) + 1)) for first, last in _RANGE.findall(word)]
        numbers = product(*([f"{n:0{len(first)}d}" for n in some] for first, some in ranges))
        names += [_RANGE.sub("{}", word).format(*some) for some in numbers]
    return names


@cache
def published(name: str) -> dict[str, dict[str, str]]:
    """Split -> key of each pair, as ``Dataset.key_format`` has it -> key of its sharp picture, of the dataset ``name``.

    The two are equal but where a step is noted: "1P0A0890+1" pairs 1P0A0890 with 1P0A0891. {} where none is noted.
    """
    splits: dict[str, dict[str, str]] = {}
    for split, text in package_table("splits.toml").get(name, {}).items():
        pairs = splits[split] = {}
        for word in expand(text):
            key, step = re.fullmatch(r"(.*?)([+-]\d)?", word).groups()
            pairs[key] = f"{key[:-4]}{int(key[-4:]) + int(step):04d}" if step else key
    return splits
