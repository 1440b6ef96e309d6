"""A misspelt word and the one that was meant."""

from __future__ import annotations

from collections.abc import Iterable


def meant(word: str, known: Iterable[str]) -> str:
    """' (did you mean 'defocus'?)' behind an unknown word, where one of the known ones is near; else ''."""
    from difflib import get_close_matches  # slow to import, and needed after a slip only

    spelt = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), spelt, n=1, cutoff=0.6)
    return f" (did you mean {spelt[near[0]]!r}?)" if near else ""
