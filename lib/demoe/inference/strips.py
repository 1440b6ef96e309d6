"""A NAFNet or DeMoE on a large picture, a strip of rows at a time: the plain forward's result in little memory.

A feature map is a sequence of strips, (1, C, rows, W) each, that runs through the network from top to bottom. All
layers but one look at most one row beyond a strip, so they work strip by strip. The one is the channel attention (SCA),
which needs the average over the whole picture: a first pass over the strips adds it up, a second uses it. The result
is therefore that of the plain forward up to float32 rounding, and there are no seams.

Between the passes a map is either kept or computed anew. ``recompute`` says how much is computed anew. 0: nothing,
which is fastest and keeps about two maps of the full resolution, what the decoder waits for alone being 1 + 1/2 + 1/4 +
1/8. 1: the largest level's map that the decoder waits for, and that level's gated features; one and a half maps, for a
third more time. 2 and 3: all that is between the passes of the largest level, or of the largest two; one map and three
quarters of one, for two and four times the time. The strips in flight come on top; of a narrow network they weigh so
much that only very large pictures gain by 2 or 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from demoe.models.demoe import DeMoE
from demoe.models.layers import UNet, pad_to_multiple
from demoe.models.nafnet import NAFNet
from demoe.models.outputs import Restored

from .fold import FoldedBlock, folded
from .strip_runner import Run

MAX_RECOMPUTE = 3  # the map of the second level has to be kept in any case
STRIP_BYTES = 4 << 20  # of one map's strip where maps are computed anew and strips flow through many layers; our choice
Chooser = Callable[[Tensor], Tensor]  # the router's logits (1, N) -> the experts' weights (1, N)


class Statistics(NamedTuple):
    """What a network takes from the whole of a picture, gathered from parts of it."""

    scales: dict[FoldedBlock, Tensor]  # each block's channel attention, (1, C, 1, 1)
    logits: Tensor | None  # (1, N), the router's
    weights: Tensor | None  # (1, N), what mixed the experts


@torch.no_grad()
def forward(
    model: NAFNet | DeMoE,
    x: Tensor,
    expert: str | Sequence[str | None] | Chooser | None = None,
    k: int | None = 1,
    *,
    rows: int | None = None,
    recompute: int = 0,
    scales: dict[FoldedBlock, Tensor] | None = None,
    progress: Callable[[], object] | None = None,
    fused: bool = True,
) -> Restored:
    """(B, 3, H, W) in [0, 1] -> what ``model(x, expert, k)`` gives; for a NAFNet ``weights`` is None.

    ``expert`` may also be a function that makes the experts' weights (1, N) of the router's logits (1, N), for each
    image. ``rows``: rows of the full resolution in a strip, a multiple of 2^levels; None chooses. ``scales``: use these
    channel attentions instead of the picture's own, as a tile does. ``progress`` is called after each block. ``fused``:
    blocks whose map is kept run as one operation on a CPU, where there is a compiler (``models.fused_block``). Experts
    other than NAFBlocks run on the whole map. Raises ``ValueError`` for another network, one in training mode, and
    bad numbers.
    """
    if not isinstance(model, UNet):
        raise ValueError(f"{type(model).__name__} cannot run in strips: only NAFNet and DeMoE can")
    if model.training:
        raise ValueError("a network in training mode cannot run in strips: call eval() first")
    unit = 2 ** len(model.encoders)
    if rows is not None and (rows < unit or rows % unit):
        raise ValueError(f"a strip has a multiple of {unit} rows, got {rows}")
    if not 0 <= recompute <= MAX_RECOMPUTE:
        raise ValueError(f"recompute must be between 0 and {MAX_RECOMPUTE}, got {recompute}")
    names = [expert] * len(x) if expert is None or isinstance(expert, str) or callable(expert) else list(expert)
    if len(names) != len(x):
        raise ValueError(f"{len(names)} experts named for {len(x)} images: give one name, or one an image")
    model = folded(model)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    found = []
    with _as_asked(x):
        for image, target, name in zip(x.split(1), out.split(1), names, strict=True):
            run = _run(model, image, name, k, recompute, dict(scales or {}), progress, rows, fused)
            residual = run.network(partial(_picture, run, image))
            for strip, *sides in zip(residual, *(side.split(run.rows, dim=2) for side in (image, target)), strict=True):
                torch.add(strip[:, :, : sides[0].shape[2], : sides[0].shape[3]], sides[0], out=sides[1])
            found.append((run.logits, run.weights))
    logits, weights = (None if parts[0] is None else torch.cat(parts) for parts in zip(*found, strict=True))
    return Restored(out, logits, weights)


@torch.no_grad()
def logits(model: DeMoE, x: Tensor, scales: dict[FoldedBlock, Tensor]) -> Tensor:
    """The router's opinion of one tile, (1, N), under given channel attentions; only the encoder runs."""
    run = _run(folded(model), x, None, None, 0, dict(scales))
    with _as_asked(x):
        run.encode(partial(_picture, run, x))
    return run.logits


@torch.no_grad()
def statistics(
    model: NAFNet | DeMoE,
    crops: Sequence[Tensor],
    expert: str | Chooser | None = None,
    k: int | None = 1,
    *,
    margin: int = 0,
    recompute: int = 0,
) -> Statistics:
    """The channel attentions and the router's decision that crops of one picture, taken together, lead to.

    ``crops``: (1, 3, H, W) each, H and W multiples of 2^levels. ``margin`` pixels at each side of a crop are left out
    of the averages, because the zeros around a crop are not in the picture. ``expert`` and ``k`` as for ``forward``.
    """
    unit = 2 ** len(model.encoders)
    if not crops or any(side % unit or side <= 2 * margin for crop in crops for side in crop.shape[-2:]):
        raise ValueError(f"crops need sides that are multiples of {unit} and larger than two margins of {margin}")
    if len(crops) == 1 and not margin:  # a whole picture: in strips, which need far less memory than one large crop
        (crop,) = crops
        run = _run(folded(model), crop, expert, k, recompute, {})
        parts = lambda: _picture(run, crop)  # noqa: E731
    else:
        run = Run(folded(model), expert, k, recompute, {}, margin=margin, alone=True)
        parts = lambda: iter(_nhwc(crop, run.model.intro.weight.dtype) for crop in crops)  # noqa: E731
    with _as_asked(crops[0]):
        for _ in run.network(parts):
            pass
    return Statistics(run.scales, run.logits, run.weights)


def rows_for(model: NAFNet | DeMoE, width: int) -> int:
    """Rows of a strip of a picture ``width`` pixels wide: about ``STRIP_BYTES``, in whole rows of the last level."""
    unit = 2 ** len(model.encoders)
    return max(1, STRIP_BYTES // (4 * model.config.width * max(width, 1)) // unit) * unit


def _as_asked(x: Tensor) -> torch.autocast:
    """Autocast off, whatever the caller's surroundings: the network's own types are what was asked for."""
    return torch.autocast(x.device.type, enabled=False)


def _run(model, x, expert, k, recompute, scales, progress=None, rows=None, fused=True) -> Run:
    """A run of one picture (1, 3, H, W)."""
    height = x.shape[2] + -x.shape[2] % 2 ** len(model.encoders)
    rows = rows or rows_for(model, x.shape[3])
    return Run(model, expert, k, recompute, scales, progress, height=height, rows=rows, fused=fused)


def _picture(run: Run, x: Tensor) -> Iterator[Tensor]:
    """Strips of a picture, (1, 3, rows, W'), with the zeros that ``pad_to_multiple`` adds."""
    for strip in x.split(run.rows, dim=2):
        yield _nhwc(pad_to_multiple(strip, 2 ** len(run.model.encoders)), run.model.intro.weight.dtype)


def _nhwc(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype).contiguous(memory_format=torch.channels_last)
