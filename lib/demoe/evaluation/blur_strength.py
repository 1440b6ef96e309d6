"""How blurred the synthetic inputs are, beside how blurred the real ones are.

The targets come from several places, not all of them certain; ``Target.source`` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
from torch import Tensor
from tqdm.auto import tqdm

from demoe.blur import sources
from demoe.blur.job import Options
from demoe.blur.sets import SETS, synthesize
from demoe.data.pairs import PairedSet
from demoe.data.real import catalog
from demoe.data.real.description import Target

from .metrics import psnr, ssim

TOLERANCE = 1.5  # dB; the mean over 64 patches is itself known to about 0.4 dB


TARGETS: dict[str, Target] = {dataset.name: dataset.target for dataset in catalog.DATASETS if dataset.target}


def calibrate(
    count: int = 64,
    size: int | tuple[int, int] = 256,
    *,
    names: Sequence[str] = SETS,
    splits: Sequence[str] = ("train", "test"),
    canvases: dict[str, Callable[..., tuple[Tensor, str]]] | None = None,
    seed: int = 0,
    options: Options | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Mean PSNR and SSIM of the blurred input of ``count`` samples for every set, split and kind of sharp pictures.

    ``canvases`` names kinds of sharp pictures (default: the bundled ones). One row each, with columns set, pictures
    (the kind), split, count, target_psnr, psnr, difference, tolerance, within, target_ssim, ssim, psnr_sd (of single
    samples), target_source. Deterministic.
    """
    canvases = canvases or {"bundled": sources.sharp_canvas}
    todo = [(name, kind, split) for name in names for kind in canvases for split in splits]
    rows = []
    for name, kind, split in tqdm(todo, desc="calibrating", unit="set", leave=False, disable=not progress):
        chosen = replace(options or Options(), canvas=canvases[kind])
        scores = []
        for index in range(count):
            made = synthesize(name, split, index, size=size, seed=seed, options=chosen)
            both = made.blurred[None], made.sharp[None]
            scores.append((psnr(*both).item(), ssim(*both).item()))
        rows.append(_row(name, kind, split, pd.DataFrame(scores, columns=["psnr", "ssim"])))
    return pd.DataFrame(rows)


def measure(sets: Sequence[PairedSet], progress: bool = True) -> pd.DataFrame:
    """The same columns for the blurred pictures of test sets at hand, real ones above all.

    Sets without sharp pictures, and those that no target is known for, are left out.
    """
    rows = []
    for pairs in tqdm(sets, desc="input PSNR", unit="set", leave=False, disable=not progress):
        every = map(pairs.pair, range(len(pairs)))
        both = ((blurred[None], sharp[None]) for blurred, sharp in every if sharp is not None)
        scores = pd.DataFrame([(psnr(*pair).item(), ssim(*pair).item()) for pair in both], columns=["psnr", "ssim"])
        name = pairs.name.removesuffix("-syn")
        if name in TARGETS and len(scores):
            rows.append(_row(name, pairs.data, "test", scores))
    return pd.DataFrame(rows)


def _row(name: str, kind: str, split: str, scores: pd.DataFrame) -> dict:
    target = TARGETS[name]
    difference = scores.psnr.mean() - target.psnr
    facts = {"set": name, "pictures": kind, "split": split, "count": len(scores)}
    facts |= {"target_psnr": target.psnr, "psnr": scores.psnr.mean(), "difference": difference}
    facts |= {"tolerance": TOLERANCE, "within": abs(difference) <= TOLERANCE}
    facts |= {"target_ssim": target.ssim, "ssim": scores.ssim.mean(), "psnr_sd": scores.psnr.std()}
    return facts | {"target_source": target.source}
