"""The ledger: every claim of the papers with the verdict that the rows of ``claims.csv`` give it (notebook 14)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from .claims import FAILS, HOLDS, UNDECIDED
from .figures import GREEN, RED, legend

NOT_HERE = "not looked at"  # no row of this profile is about it
VERDICTS = {HOLDS: GREEN, FAILS: RED, UNDECIDED: "0.6", NOT_HERE: "0.88"}
GOOD = {  # verdicts of rows that a claim may want
    "better": {"better"},
    "worse": {"worse"},
    "no difference": {"worse", "no difference"},
    "no worse": {"better", "no difference"},
}
PRINTED, HERE = "by its printed numbers", "here"


@lru_cache
def entries() -> tuple[dict[str, dict], dict[str, str]]:
    """The claims by id, with the fields that ``ledger.toml`` explains; and how the paper's versions are numbered."""
    entries = tomllib.loads(Path(__file__).with_name("ledger.toml").read_text(encoding="utf-8"))
    return entries, entries.pop("numbering")


def verdict(words: Iterable[str], wants: str = "better") -> str:
    """What rows with these verdicts say together of a claim that ``wants`` them to be "better", "worse", of what is no
    better "no difference", or "no worse".

    "fails" where one does, else "undecided" where one is or decides nothing, else "holds"; "not looked at" without
    rows. Raises ``ValueError`` for a word that no row has.
    """
    good = GOOD[wants] | {HOLDS}
    known = {"better", "worse", "no difference", HOLDS, FAILS, UNDECIDED, ""}
    found = list(words)
    if unknown := set(found) - known:
        raise ValueError(f"no such verdict: {', '.join(sorted(unknown))}")
    if not found:
        return NOT_HERE
    if any(word not in good | {UNDECIDED, ""} for word in found):
        return FAILS
    return HOLDS if set(found) <= good else UNDECIDED


def table(claims: pd.DataFrame) -> pd.DataFrame:
    """Every claim beside the rows that decide it, of ``claims`` (``claims.read``).

    Columns: id, paper, place, says, "by its printed numbers" and "here" (verdicts; "" where the printed numbers say
    nothing), ours (the rows in words), notebook (where they come from), profile, data and commit of the rows.
    """
    rows = []
    for key, entry in entries()[0].items():
        sides = {
            side: _matching(claims, entry.get(field, ())) for side, field in ((PRINTED, "printed"), (HERE, "rows"))
        }
        turned = {side: _turns(found) for side, found in sides.items()}
        sides = {
            side: found.assign(verdict=found.verdict.mask(turned[side], UNDECIDED)) for side, found in sides.items()
        }
        if "most" in entry:
            sides = {side: found.assign(verdict=_little(found, entry["most"])) for side, found in sides.items()}
        words = {side: verdict(found.verdict, entry.get("wants", "better")) for side, found in sides.items()}
        reason = _open(entry, sides[HERE], words[HERE]) or _too_little(entry, claims, words[HERE])
        if reason and words[HERE] in (HOLDS, FAILS):
            words[HERE] = UNDECIDED
        if not reason and words[HERE] == UNDECIDED and turned[HERE].any():
            reason = "without LOLBlur it is the other way round"
        if not entry.get("rows") and "printed" in entry:
            words[HERE] = ""
        every = pd.concat(sides.values())
        told = [*every.sentence, *([f"Undecided: {reason}."] if reason else [])]
        rows.append(
            {
                "id": key,
                "paper": entry.get("paper", "DeMoE"),
                "place": entry["place"],
                "says": entry["says"],
                PRINTED: words[PRINTED] if "printed" in entry else "",
                HERE: words[HERE],
                "ours": " ".join(told),
                **{name: ", ".join(dict.fromkeys(every[name])) for name in ("notebook", "profile", "data", "commit")},
            }
        )
    return pd.DataFrame(rows)


def _turns(rows: pd.DataFrame) -> pd.Series:
    """Which rows are better on average and worse without LOLBlur, or the other way round: brightness decides those."""
    rest = rows.control.str.extract(r"without LOLBlur [^\[;]*\[[^\]]*\], (better|worse)\b", expand=False)
    return rest.notna() & rows.verdict.isin(["better", "worse"]) & (rest != rows.verdict)


def _too_little(entry: dict, claims: pd.DataFrame, word: str) -> str:
    """Why networks that have learnt too little cannot show or refute an effect; "" where that is not so."""
    if "basis" not in entry or word not in (HOLDS, FAILS):
        return ""
    basis = claims[claims.id == entry["basis"]]
    if len(basis) and float(basis.ours.iloc[0]) < entry["least"]:
        learnt = basis.sentence.iloc[0].partition(". Verdict")[0]
        return f"{learnt}, which is less than the {entry['least']:+.2f} dB of the paper's effect"
    return ""


def _little(rows: pd.DataFrame, most: float) -> list[str]:
    """The rows' verdicts, where "better" by so little counts as no difference: all of the interval at most ``most``;
    undecided where it reaches beyond."""
    ends = zip(rows.verdict, pd.to_numeric(rows.low), pd.to_numeric(rows.high), strict=True)
    return [
        word if word != "better" or low > most else "no difference" if high <= most else UNDECIDED
        for word, low, high in ends
    ]


def _open(entry: dict, rows: pd.DataFrame, word: str) -> str:
    """Why a claim stays undecided whatever its rows say; "" where they decide."""
    if "lacks" in entry:
        return f"not measured is {entry['lacks']}"
    absent = [one for one in entry.get("rows", ()) if not any(fnmatchcase(id, one) for id in rows.id)]
    if word == HOLDS and absent:
        return f"without the rows {', '.join(absent)}, which are not there, it cannot hold"
    if entry.get("real") and len(rows) and "real" not in set(rows.data):
        return "it is about the real sets, and these are synthetic"
    if entry.get("patience") and word == FAILS and set(rows.profile) <= {"test", "smoke"}:
        return "trained for minutes, a network may fail this, and it says nothing of one trained for days"
    return ""


def _matching(claims: pd.DataFrame, patterns: Iterable[str]) -> pd.DataFrame:
    """The rows whose id one of ``patterns`` describes."""
    return claims[claims.id.map(lambda id: any(fnmatchcase(id, pattern) for pattern in patterns)).astype(bool)]


def unused(claims: pd.DataFrame) -> list[str]:
    """Patterns of the ledger that describe no id of ``claims``: a row was renamed, or its notebook has not run."""
    patterns = [
        pattern for entry in entries()[0].values() for side in ("rows", "printed") for pattern in entry.get(side, ())
    ]
    return [pattern for pattern in patterns if not any(fnmatchcase(id, pattern) for id in claims.id)]


def counts(ledger: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each paper (down) have which verdict here (across), those that only print numbers left out."""
    part = ledger[ledger[HERE] != ""]
    table = pd.crosstab(part.paper, part[HERE])
    return table.reindex(index=part.paper.unique(), columns=list(VERDICTS), fill_value=0)


def figure(ledger: pd.DataFrame) -> Figure:
    """``counts`` as bars, one a paper."""
    table = counts(ledger)
    figure, axis = plt.subplots(figsize=(8, 0.45 * len(table) + 1.2))
    left = pd.Series(0, index=table.index)
    for word, colour in VERDICTS.items():
        bars = axis.barh(table.index, table[word], left=left, color=colour, label=word, edgecolor="white")
        axis.bar_label(bars, labels=[str(n) if n else "" for n in table[word]], label_type="center", fontsize=8)
        left = left + table[word]
    axis.invert_yaxis()
    axis.set(xlabel="claims", title="What holds here")
    axis.grid(axis="y", visible=False)
    legend(figure)
    return figure
