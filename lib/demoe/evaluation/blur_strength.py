"""How blurred the synthetic inputs are, beside how blurred the real ones are.

The targets come from several places, not all of them certain; ``Target.source`` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
        options = Options(canvas=canvases[kind])
        samples = (synthesize(name, split, index, size=size, options=options) for index in range(count))
        rows.append(_row(name, kind, split, ((made.blurred, made.sharp) for made in samples)))
    return pd.DataFrame(rows)


def input_quality(sets: Sequence[PairedSet], progress: bool = True) -> pd.DataFrame:
    """The same columns for the blurred pictures of test sets at hand, real ones above all.

    Sets without sharp pictures, and those that no target is known for, are left out.
    """
    rows = []
    for pairs in tqdm(sets, desc="input PSNR", unit="set", leave=False, disable=not progress):
        name = pairs.name.removesuffix("-syn")
        if name in TARGETS and len(pairs) and pairs.pair(0)[1] is not None:
            rows.append(_row(name, pairs.data, "test", map(pairs.pair, range(len(pairs)))))
    return pd.DataFrame(rows)


def _row(name: str, kind: str, split: str, samples: Iterable[tuple[Tensor, Tensor]]) -> dict:
    """The row of pairs (3, H, W), blurred and sharp."""
    both = ((blurred[None], sharp[None]) for blurred, sharp in samples)
    scores = pd.DataFrame([(psnr(*pair).item(), ssim(*pair).item()) for pair in both], columns=["psnr", "ssim"])
    target = TARGETS[name]
    difference = scores.psnr.mean() - target.psnr
    facts = {"set": name, "pictures": kind, "split": split, "count": len(scores)}
    facts |= {"target_psnr": target.psnr, "psnr": scores.psnr.mean(), "difference": difference}
    facts |= {"tolerance": TOLERANCE, "within": abs(difference) <= TOLERANCE}
    facts |= {"target_ssim": target.ssim, "ssim": scores.ssim.mean(), "psnr_sd": scores.psnr.std()}
    return facts | {"target_source": target.source}
