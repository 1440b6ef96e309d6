"""What AIO-Blur is made of (Appendix B, Table 4): which pairs of each set are trained on, and how often in an epoch.

The paper brings the sets to about RealBlur's size: LOLBlur is thinned out by the histogram of its errors, the small
sets are repeated. The rules below give Table 4's counts on the real sets, and the same proportions on sets of any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.contrib.concurrent import thread_map

from demoe.core.files import write_text

from .pairs import PairedSet, Window

BINS = 4  # of the error histogram; the last one is left out
PER_BIN = 1400  # pairs taken from each of the others, for a RealBlur of ...
REFERENCE = 3758  # ... this many pairs, the set whose size the others are brought to
# 4018 is not twice 2010, and the paper does not say why. We keep every pair and leave two of them unrepeated.
RELOBLUR, UNREPEATED = 2010, 2


def select(pairs: PairedSet, indices: Sequence[int]) -> PairedSet:
    """The pairs of ``indices``, in that order; an index may come more than once."""
    indices = tuple(int(i) for i in indices)
    return replace(
        pairs,
        keys=[pairs.keys[i] for i in indices],
        read=partial(_selected, pairs.read, indices),
        size=partial(_selected, pairs.size, indices),
        notes=[pairs.notes[i] for i in indices] if pairs.notes else (),
        entries=[pairs.entries[i] for i in indices] if pairs.entries else (),
        named=[pairs.named[i] for i in indices] if pairs.named else (),
    )


def _selected(function: Callable, indices: tuple[int, ...], i: int, *window: Window | None):
    return function(indices[i], *window)


def errors(pairs: PairedSet, file: Path | None = None, progress: bool = True) -> np.ndarray:
    """Mean squared error of every blurred picture against its sharp one, both in [0, 1]: (N,) float64.

    With ``file``, a CSV, the errors are kept there; they are computed again when the pairs are others.
    """
    if file and file.exists():
        known = pd.read_csv(file, dtype={"pair": str})
        if list(known.pair) == list(pairs.keys):
            return known.mse.to_numpy()

    def one(i: int) -> float:
        blurred, sharp = pairs.pair(i)
        return float((blurred.double() - sharp.double()).square().mean())

    # Threads: decoding and arithmetic both release the interpreter.
    text = f"errors of {pairs.name}"
    values = np.array(thread_map(one, range(len(pairs)), desc=text, leave=False, disable=not progress))
    if file:
        table = pd.DataFrame({"pair": list(pairs.keys), "mse": values})
        write_text(file, table.to_csv(index=False, float_format="%.17g", lineterminator="\n"))
    return values


def histogram(values: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """(edges (bins + 1,), bin 0 .. bins - 1 of every value) of equal bins from the smallest to the largest value."""
    edges = np.histogram_bin_edges(values, bins)
    return edges, np.clip(np.digitize(values, edges[1:-1]), 0, bins - 1)


def subsample(values: np.ndarray, per_bin: int, seed: int = 0) -> list[int]:
    """The pairs of LOLBlur to train on: ``per_bin`` drawn from each of the three lowest of four bins (Figure 10).

    A bin that has fewer gives all it has. Indices in ascending order.
    """
    _, place = histogram(values)
    rng = np.random.default_rng([seed, 10])
    chosen = []
    for b in range(BINS - 1):
        members = np.flatnonzero(place == b)
        chosen += rng.permutation(members)[:per_bin].tolist()
    return sorted(chosen)


def repeats(pairs: PairedSet, reference: int, seed: int = 0) -> list[int]:
    """Indices of ``pairs`` as often as an epoch shows them: so many whole times that the set comes near ``reference``.

    At ReLoBlur's 2010 pairs, two drawn at random are left unrepeated, which gives Table 4's 4018.
    """
    times = max(1, round(reference / len(pairs)))
    entries = [i for _ in range(times) for i in range(len(pairs))]
    if pairs.name == "ReLoBlur" and len(pairs) == RELOBLUR and times == 2:
        once = set(np.random.default_rng([seed, 4018]).permutation(RELOBLUR)[:UNREPEATED].tolist())
        entries = [i for n, i in enumerate(entries) if n < RELOBLUR or i not in once]
    return entries


def compose(
    sets: Sequence[PairedSet], seed: int = 0, cache: Path | None = None, progress: bool = True
) -> list[PairedSet]:
    """The training sets of AIO-Blur with each pair as often as an epoch shows it, in the order given.

    On the real sets: 3758 RealBlur, 4018 ReLoBlur, 4200 LOLBlur, 4206 GoPro and 3850 DPDD pairs. The same seed gives
    the same pairs. ``cache`` is a folder where the errors of LOLBlur are kept.
    """
    reference = next((len(pairs) for pairs in sets if pairs.name.startswith("RealBlur")), max(map(len, sets)))
    composed = []
    for pairs in sets:
        if pairs.name.startswith("LOLBlur"):
            per_bin = max(1, round(PER_BIN * reference / REFERENCE))
            file = cache / f"{pairs.name}-errors-{len(pairs)}.csv" if cache and pairs.data == "real" else None
            pairs = select(pairs, subsample(errors(pairs, file, progress), per_bin, seed))
        composed.append(select(pairs, repeats(pairs, reference, seed)))
    return composed


def manifest(sets: Sequence[PairedSet], split: str = "train") -> pd.DataFrame:
    """One row an entry: set, split, pair, repeat (0 for the first time that a pair appears)."""
    entries = [(pairs.name, split, key) for pairs in sets for key in pairs.keys]
    table = pd.DataFrame(entries, columns=["set", "split", "pair"])
    return table.assign(repeat=table.groupby(["set", "pair"]).cumcount())


def in_proportion(sets: Sequence[PairedSet], counts: dict[str, int]) -> list[PairedSet]:
    """``sets`` cut down so that their sizes stand to each other as ``counts`` do: Table 4 in miniature.

    ``counts`` has a number for every set's name without "-syn". At least two pairs remain of each.
    """
    wanted = [counts[pairs.name.removesuffix("-syn")] for pairs in sets]
    scale = min(len(pairs) / count for pairs, count in zip(sets, wanted, strict=True))
    return [
        select(pairs, range(min(len(pairs), max(2, round(count * scale)))))
        for pairs, count in zip(sets, wanted, strict=True)
    ]


def published_sizes(counts: dict[str, int], seed: int = 0) -> pd.DataFrame:
    """What ``compose`` makes of sets with ``counts`` pairs, by name: columns original, final, drawn once.

    LOLBlur's errors are made up, many small and few large; the counts do not depend on them as long as no bin runs out.
    """
    skewed = 0.1 * np.random.default_rng(seed).beta(2, 3, counts["LOLBlur"])
    rows = {}
    for name, count in counts.items():
        entries = PairedSet(name, "real", range(count), None, None)
        if name == "LOLBlur":
            chosen = subsample(skewed, round(PER_BIN * counts["RealBlur"] / REFERENCE), seed)
            entries = replace(entries, keys=chosen)
        shown = Counter(repeats(entries, counts["RealBlur"], seed))
        rows[name] = {"original": count, "final": shown.total(), "once": sum(n == 1 for n in shown.values())}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.loc["AIO-Blur"] = table.sum()
    return table
