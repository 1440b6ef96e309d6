"""A claim is a row: what is compared, with what beside it, what the paper says, what came out, and by which rule.

What is claimed stands in ``claims.toml``; notebooks fill in the numbers. Every one ends with its claims: ``keep``
writes them to ``results/<profile>/tables/claims.csv``, which has those of all notebooks, and returns a table to show.
"""

from __future__ import annotations

import io
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd

from demoe.core.files import alone, published_dir, results_dir, write_text
from demoe.core.markdown import markdown_table
from demoe.core.provenance import Stamp
from demoe.evaluation.statistics import AVERAGE, WITHOUT, Verdict, judge

from .tables import interval, where

FILE = "claims.csv"
HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"  # beside the words of ``Verdict``, of differences
COLUMNS = (
    *("id", "notebook", "paper", "place", "words", "published", "what", "ours", "low", "high", "unit", "trainings"),
    *("control", "criterion", "verdict", "sentence", "profile", "data", "seed", "commit"),
)


@dataclass(frozen=True)
class Claim:
    """One comparison or count, beside what the paper says of it.

    ``ours``, its 95 % interval ``low`` to ``high`` and ``published`` are in ``unit`` ("dB": a difference, shown with
    its sign; "%": a share, 0 to 1; "": none), NaN where there is none.
    """

    id: str  # stable: "demoe-t1-restormer"
    what: str  # is compared or counted: "DeMoE k=1 over Restormer, average PSNR"
    ours: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = "dB"
    decimals: int = 2
    published: float = math.nan
    place: str = ""  # in the paper: "Table 1"; "" for what it does not have
    words: str = ""  # what it says there, where that is no number
    control: str = ""  # what has to be known beside the number: a control, another condition, a limit
    verdict: str = ""  # "better", "worse", "no difference", "undecided"; "holds", "fails"; "" where no rule decides
    criterion: str = ""  # the rule behind the verdict
    trainings: int = 1  # of every network compared
    paper: str = "DeMoE"
    needs: str = ""  # the id of a row of the same notebook that has to hold before this one can be decided

    @property
    def here(self) -> str:
        """ "+0.12 dB [+0.03, +0.25]", "78.3 %", "2.5 times"; "" without a number."""
        return self._text(self.ours, self.low, self.high)

    @property
    def there(self) -> str:
        """ "Table 1: +0.56 dB", "Section 4.1: the best method overall": what the paper has; "" for nothing."""
        text = ", ".join(filter(None, (self._text(self.published), self.words)))
        return f"{self.place}: {text}" if text and self.place else text

    def _text(self, value: float, low: float = math.nan, high: float = math.nan) -> str:
        if math.isnan(value):
            return ""
        row = {"mean": value, "low": low, "high": high}
        return interval(row, self.decimals, self.unit == "dB", self.unit)

    @property
    def sentence(self) -> str:
        """The row in one line."""
        parts = [f"{self.what}: {self.here}" if self.here else self.what]
        parts += [f"paper, {self.there}"] if self.there else []
        parts += [self.control] if self.control else []
        return "; ".join(parts) + (f". Verdict: {self.verdict}." if self.verdict else ".")


@lru_cache
def ledger() -> dict[str, dict]:
    """What is claimed, by id: fields of ``Claim``, and ``above`` or ``below`` with ``fails`` where a limit decides.

    Ids, texts and ``needs`` hold names in braces, which ``claim`` fills in: "demoe-t1-{other}" stands for a row a
    network, and "{share:.0%} of them" in ``control`` for a number.
    """
    return tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))


def claim(key: str, ours: float = math.nan, control: str = "", holds: bool | str | None = "", **more) -> Claim:
    """A row of the ledger with its numbers. ``more`` are fields of ``Claim``, and the names that its texts hold.

    ``control`` stands before that of the ledger.

    The verdict: by the row's limit, if it has one: "holds" beyond it, "fails" on the other side of ``fails`` (or of the
    limit), "undecided" between. Else ``holds``: True, False, None for undecided, or a verdict in words.
    """
    row = dict(ledger()[key])
    for side, sign in (("above", 1), ("below", -1)):
        if side in row:
            limit = row.pop(side)
            fails = row.pop("fails", limit)
            holds = True if sign * (ours - limit) > 0 else None if sign * (ours - fails) > 0 else False
            row["criterion"] = f"{side} {limit:g}" + (f"; fails at {fails:g}" if fails != limit else "")
    names = {name: more.pop(name) for name in list(more) if name not in Claim.__dataclass_fields__}
    texts = {name: value.format(**names) for name, value in row.items() if isinstance(value, str)}
    verdict = {True: HOLDS, False: FAILS, None: UNDECIDED}.get(holds, holds)
    slugs = {name: slug(str(value)) for name, value in names.items()}
    texts |= {"id": key.format(**slugs), "needs": row.get("needs", "").format(**slugs)}
    texts["control"] = beside(control, texts.get("control", ""))
    return Claim(**{"ours": float(ours), "verdict": verdict, **row, **texts, **more})


def difference(key: str, row: pd.Series, control: str = "", metric: str = "psnr", **more) -> Claim:
    """A row of the ledger that is a difference, judged by ``statistics.judge``.

    ``row`` has mean, low, high and scenes, as ``statistics.difference`` gives them, and, where only some pictures can
    differ, changed_scenes, those in which they do.
    """
    verdict = judged(row, metric)
    fields = {"low": row["low"], "high": row["high"], "criterion": verdict.reason}
    return claim(key, row["mean"], control, verdict.word, **fields | more)


def judged(row: pd.Series, metric: str = "psnr") -> Verdict:
    """``statistics.judge`` of a row as ``difference`` takes it. Where no picture changes at all, all scenes say so."""
    changed = row.get("changed_scenes", math.nan)
    scenes = min(row["scenes"], changed) if changed > 0 else row["scenes"]
    return judge(row["mean"], row["low"], row["high"], scenes, metric=metric)


def pair(differences: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The rows of PSNR of ``statistics.differences`` for two methods, by set."""
    return where(differences, first=first, second=second, metric="psnr").set_index("set")


def averaged(key: str, rows: pd.DataFrame, control: str = "", **more) -> Claim:
    """``difference`` of the average in ``rows``, by set; beside it that ``without``, ``control``, and what each set
    says."""
    return difference(key, rows.loc[AVERAGE], beside(without(rows), control, told_by_set(rows)), **more)


def without(rows: pd.DataFrame, decimals: int = 2) -> str:
    """ "without LOLBlur -0.03 dB [-0.09, +0.02], undecided", of rows by set; "" where there is no such average."""
    if WITHOUT not in rows.index:
        return ""
    rest = rows.loc[WITHOUT]
    return f"without LOLBlur {interval(rest, decimals, unit='dB')}, {judged(rest)}"


def of_sets(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, indexed by set, of the sets alone: without averages."""
    return rows[~rows.index.str.startswith(AVERAGE)]


def every(verdicts: Iterable[str]) -> bool | None:
    """Whether all are better; False where one is worse, None where that cannot be told."""
    words = set(verdicts)
    return False if "worse" in words else True if words == {"better"} else None


def reverse(row: pd.Series) -> pd.Series:
    """The row of the opposite difference."""
    turned = row.copy()
    turned[["mean", "low", "high"]] = [-row["mean"], -row["high"], -row["low"]]
    return turned


def beside(*texts: str) -> str:
    """Texts for ``Claim.control``, those that are not empty, behind each other."""
    return "; ".join(filter(None, texts))


def told_by_set(rows: pd.DataFrame) -> str:
    """ "better on A, B; undecided on C": ``judged`` for every set in the index of ``rows``, averages left out."""
    words = pd.Series({name: judged(row).word for name, row in of_sets(rows).iterrows()}, dtype=object)
    kinds = [word for word in ("better", "worse", "no difference", "undecided") if (words == word).any()]
    return "; ".join(f"{word} on {', '.join(words.index[words == word])}" for word in kinds)


def slug(text: str) -> str:
    """A name as a part of an id: "DeMoE k=1 manual" becomes "demoe-k-1-manual"."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())


def settled(claims: Iterable[Claim]) -> list[Claim]:
    """The claims, undecided where what they need does not hold: networks that have not left their start, or do not
    restore, decide nothing. Raises ``ValueError`` where a row is needed that is not among them."""
    claims = list(claims)
    by_id, found = {claim.id: claim for claim in claims}, []
    for one in claims:
        if one.needs and one.verdict not in ("", UNDECIDED):
            if one.needs not in by_id:
                raise ValueError(f"claim {one.id} needs {one.needs}, which is not among the notebook's claims")
            if (basis := by_id[one.needs]).verdict not in (HOLDS, "better"):
                reason = f"{one.verdict} by itself, but nothing follows without this: {basis.what}, {basis.here}"
                one = replace(one, verdict=UNDECIDED, control=beside(one.control, reason))
        found.append(one)
    return found


def table(claims: Sequence[Claim]) -> pd.DataFrame:
    """Claims for a reader: what, here, paper, beside it, verdict."""
    rows = [(claim.what, claim.here, claim.there, claim.control, claim.verdict) for claim in claims]
    return pd.DataFrame(rows, columns=["claim", "here [95 % interval]", "paper", "beside it", "verdict"])


def keep(claims: Iterable[Claim], notebook: str, mark: Stamp) -> str:
    """Writes the claims of a notebook to ``claims.csv`` in place of its earlier ones, and returns them as Markdown.

    The rows of other notebooks stay; notebooks can run in any order and at once. Raises ``ValueError`` where an id
    stands twice, also in another notebook.
    """
    claims = settled(claims)
    common = {"notebook": notebook, **mark.columns()}
    new = pd.DataFrame(
        [{**vars(claim), "sentence": claim.sentence, **common} for claim in claims], columns=list(COLUMNS)
    )
    numbers = ["published", "ours", "low", "high"]
    new.loc[new.unit == "%", numbers] *= 100  # for whoever reads the file alone
    new[numbers] = new[numbers].map(lambda value: "" if math.isnan(value) else f"{value:.5f}")
    new = new.astype(str)
    file = results_dir(mark.profile) / "tables" / FILE
    with alone(file.with_name(f".{FILE}.lock")):
        earlier = _rows(file)
        kept = pd.concat([earlier[earlier.notebook != notebook], new]).sort_values("notebook", kind="stable")
        if twice := sorted(kept.id[kept.id.duplicated()].unique()):
            raise ValueError(f"{file} would have two claims named {', '.join(twice)}: each needs an id of its own")
        write_text(file, kept.to_csv(index=False, lineterminator="\n"))
    return markdown_table(table(claims), index=False)


def read(profile_name: str) -> pd.DataFrame:
    """All claims of a profile as text, an empty cell where there is nothing; no rows where none were written.

    A notebook that has not run here is there with its published rows, of another ``commit``: ``published`` names them.
    """
    own, rest = _own_and_rest(profile_name)
    return pd.concat([own, rest]).sort_values("notebook", kind="stable", ignore_index=True)


def published(profile_name: str) -> str:
    """Which rows of ``read`` were not made here but are the published ones, in a sentence."""
    _, rest = _own_and_rest(profile_name)
    notebooks, commits = (", ".join(sorted(rest[column].unique())) for column in ("notebook", "commit"))
    made = f"those of notebooks {notebooks}, made by commit {commits}" if len(rest) else "none"
    return f"Rows that are the published ones, for their notebooks have not run here: {made}"


def _own_and_rest(profile_name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows written here, and the published ones of notebooks that wrote none."""
    own, shown = (_rows(folder(profile_name) / "tables" / FILE) for folder in (results_dir, published_dir))
    return own, shown[~shown.notebook.isin(own.notebook) & ~shown.id.isin(own.id)]


def _rows(file: Path) -> pd.DataFrame:
    text = file.read_text(encoding="utf-8") if file.is_file() else ",".join(COLUMNS)
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).reindex(columns=COLUMNS, fill_value="")
