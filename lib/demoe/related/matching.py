"""Feature matching losses: "Task-adaptive Feature Matching Loss for Image Deblurring" (Chang et al.), FMLC and TFMLC.

FMLC compares what a block of a frozen CLIP has of two pictures; TFMLC what an adapter makes of it, which has learnt
from ``triplets`` how blurred a picture is. What the paper and the authors' code leave open is marked as our choice.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core.files import write_text
from demoe.core.provenance import code_hash
from demoe.models import checkpoints, pretrained

from .features import CLIP, Frozen, FrozenViT
from .triplets import Triplet, synthetic_triplets
from .weight_files import fill, label_of, tensors

SIZE = 224  # pixels, to which pictures are resized, and of which crops for the adapter are
Pool = Literal["flatten", "mean", "cls"]


class Embedding(Frozen):
    """The last feature of a CLIP, as Table 2 compares them: (B, 3, 224, 224) in [0, 1] -> (B, channels)."""

    def forward(self, x: Tensor, normalize: bool = True) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.network(self._normalised(x) if normalize else x.to(self.mean.dtype))


def clip_embedding(model: str, weights: str | Path) -> Embedding:
    """One of Table 2's, "RN50", "RN101", "ViT-B-32", "ViT-B-16" or "ViT-L-14" of open_clip, with QuickGELU.

    ``weights``: the whole CLIP in a file. Raises ``CheckpointError`` for that of another.
    """
    import open_clip  # slow to import

    with torch.random.fork_rng(devices=[]):
        network = open_clip.create_model(f"{model}-quickgelu", load_weights=False).visual
    state = {key: value for key, value in tensors(weights).items() if key.startswith("visual.")}
    fill(network, {key.removeprefix("visual."): value for key, value in state.items()}, weights)
    return Embedding(network, label_of(weights), CLIP)


def matched(vit: Frozen, x: Tensor, block: int | None, pool: Pool, normalize: bool = True, size: int = SIZE) -> Tensor:
    """What losses and adapter look at: of (B, 3, H, W), any size, resized bicubically, (B, features) in float32.

    ``block`` from 0; None: ``vit`` is an ``Embedding``. ``pool`` "flatten" takes all tokens in a row (the paper's),
    "mean" the mean of the patches and "cls" the first token, our choices for small machines.
    """
    x = F.interpolate(x, (size, size), mode="bicubic", align_corners=False)
    if block is None:
        return vit(x, normalize).float()
    (tokens,) = vit(x, (block,), normalize=normalize)  # (B, 1 + n, C)
    return {"flatten": tokens.flatten(1), "mean": tokens[:, 1:].mean(1), "cls": tokens[:, 0]}[pool].float()


@dataclass(frozen=True)
class AdapterConfig:
    """Arguments of a ``TripletAdapter``, which ``models.checkpoints`` saves and, as a guest, loads."""

    in_features: int
    width: int = 1024


class TripletAdapter(nn.Sequential):
    """(B, in_features) -> (B, width): three linear layers, the first two with batch normalisation and ReLU.

    The paper's has ``width`` 1024 on the 151,296 features of CLIP ViT-B/16: 157.03 M parameters, 628 MB. On a small
    machine 64 does, on the 98,688 of ViT-S/14 6.3 M (our choice), or another ``pool``.
    """

    def __init__(self, in_features: int, width: int = 1024):
        sizes = (in_features, width, width)
        layers = [[nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU()] for size in sizes]
        super().__init__(*(layer for three in layers for layer in three[: 1 if three is layers[-1] else 3]))
        self.config = AdapterConfig(in_features, width)


class FeatureMatchingLoss(nn.Module):
    """The mean squared difference of the features of two pictures, (B, 3, H, W) in [0, 1]; a scalar in float32.

    Without ``adapter`` FMLC, with it TFMLC; the adapter is frozen, its batch normalisation uses what it has learnt.
    ``block`` and ``pool`` are ``matched``'s: the paper's "third block" is index 3, the fourth, in the authors' code.
    They do not subtract CLIP's mean, though the adapter has learnt with it: ``preset`` "code" does as they do,
    ``clip_normalize`` is our choice. ``half``: the transformer, a copy, is kept and computed in half precision, as
    theirs is, for a GPU's sake (a CPU takes ten times as long). Raises ``ValueError`` for a pool that is not there, and
    for an adapter of other features.
    """

    def __init__(
        self,
        vit: Frozen,
        block: int | None = 3,
        adapter: TripletAdapter | None = None,
        clip_normalize: bool = True,
        pool: Pool = "flatten",
        preset: Literal["paper", "code"] = "paper",
        half: bool = False,
        size: int = SIZE,
    ):
        super().__init__()
        for value, known in ((pool, get_args(Pool)), (preset, ("paper", "code"))):
            if value not in known:
                raise ValueError(f"unknown {value!r}: choose one of {', '.join(known)}")
        self.vit, self.adapter, self.block, self.pool, self.size = vit, adapter, block, pool, size
        self.normalize = clip_normalize and preset != "code"
        if adapter is not None:
            found = self._raw(torch.zeros(1, 3, size, size, device=vit.mean.device)).shape[1]
            given = getattr(adapter, "config", type(adapter).__name__)
            if not isinstance(adapter, TripletAdapter) or given.in_features != found:
                raise ValueError(f"a TripletAdapter of {found} features is wanted, not {given}")
            adapter.requires_grad_(False)
        self.vit = copy.deepcopy(vit).half() if half else vit
        self.train()

    def train(self, mode: bool = True) -> FeatureMatchingLoss:
        """Nothing: it stays in evaluation mode."""
        return super().train(False)

    def _raw(self, x: Tensor) -> Tensor:
        return matched(self.vit, x, self.block, self.pool, self.normalize, self.size)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), any size -> (B, features), or (B, width) of the adapter."""
        return self._raw(x) if self.adapter is None else self.adapter(self._raw(x))

    def forward(self, restored: Tensor, sharp: Tensor) -> Tensor:
        with torch.autocast(restored.device.type, enabled=False):
            with torch.no_grad():
                wanted = self.features(sharp)
            return F.mse_loss(self.features(restored), wanted)


def train_adapter(
    adapter: TripletAdapter,
    vit: Frozen,
    triplets: Sequence[Triplet],
    steps: int,
    generator: torch.Generator,
    *,
    block: int | None = 3,
    pool: Pool = "flatten",
    size: int = SIZE,
    batch: int = 64,
    learning_rate: float = 1e-4,
    patience: int = 5,
    stop_after: int = 30,
    held_out: float = 0.1,
    by_video: bool = True,
    independent: bool = False,
) -> pd.DataFrame:
    """Trains ``adapter`` in place for at most ``steps`` steps to order ``triplets`` by their blur (Equation 1).

    The triplet loss has Euclidean distances and margin 1. After each pass over the triplets it is measured on held-out
    ones; after ``patience`` passes without gain the learning rate falls to a tenth (not below 1e-8), after
    ``stop_after`` training ends, and the best weights are kept. A share ``held_out`` of the videos is held out, or,
    without ``by_video``, of the triplets, as the authors do, whose neighbours in the same video then take part.
    Crops, brightness, hue and flips are drawn once a triplet (our choice), or, ``independent``, for each picture (the
    authors'). Sharp, weak and strong batches are normalised each for itself; a batch of one is left out.

    Returns a row a pass, the first one before training: step, train and validation loss, the share of held-out
    triplets in order, the learning rate. Raises ``ValueError`` for too few triplets or videos, or too small frames.
    """
    if batch < 2:
        raise ValueError(f"batch normalisation learns from batches of two triplets on, not {batch}")
    learn, held = _split(triplets, held_out, by_video, generator)
    adapter.to(vit.mean.device).requires_grad_(True)
    loss = nn.TripletMarginLoss(margin=1.0)
    optimizer = torch.optim.Adam(adapter.parameters(), learning_rate)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=patience, min_lr=1e-8)
    look = {"block": block, "pool": pool, "size": size, "independent": independent}

    def validated() -> tuple[float, float]:
        near, far = distances(adapter.eval(), vit, held, **look)
        return float((near - far + 1).clamp(min=0).mean()), float((near < far).float().mean())

    rows, step, best, since = [(0, math.nan, *validated(), learning_rate)], 0, copy.deepcopy(adapter.state_dict()), 0
    with tqdm(total=steps, desc="adapter", unit="step", leave=False, disable=not sys.stderr.isatty()) as bar:
        while step < steps and since < stop_after:
            adapter.train()
            losses = []
            for chosen in torch.randperm(len(learn), generator=generator).split(batch):
                if len(chosen) == 1 or step == steps:
                    continue
                with torch.enable_grad():
                    sides = _features(vit, [learn[index] for index in chosen], generator, **look)
                    value = loss(*map(adapter, sides))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                losses.append(value.item())
                step += 1
                bar.update()
            rows.append((step, sum(losses) / len(losses), *validated(), optimizer.param_groups[0]["lr"]))
            scheduler.step(rows[-1][2])
            since += 1
            if rows[-1][2] < min((row[2] for row in rows[1:-1]), default=math.inf):
                best, since = copy.deepcopy(adapter.state_dict()), 0
    adapter.load_state_dict(best)
    adapter.eval()
    return pd.DataFrame(rows, columns=["step", "train", "validation", "ordered", "learning_rate"])


@torch.no_grad()
def distances(
    adapter: nn.Module | None,
    vit: Frozen,
    triplets: Sequence[Triplet],
    *,
    block: int | None = 3,
    pool: Pool = "flatten",
    size: int = SIZE,
    independent: bool = False,
) -> tuple[Tensor, Tensor]:
    """Euclidean distances of the sharp picture to the weak and to the strong blur, (n,) each, on the same crops always.

    Of what ``adapter``, in evaluation mode, makes of the features, or, None, of these themselves: the control, for the
    second being larger alone proves nothing.
    """
    same, parts = torch.Generator().manual_seed(1), []
    for at in range(0, len(triplets), 8):
        sides = _features(vit, triplets[at : at + 8], same, block, pool, size, independent)
        sharp, *blurred = sides if adapter is None else map(adapter, sides)
        parts.append(torch.stack([F.pairwise_distance(sharp, side) for side in blurred]))
    near, far = torch.cat(parts, 1)
    return near, far


def _features(
    vit: Frozen,
    part: Sequence[Triplet],
    generator: torch.Generator,
    block: int | None,
    pool: Pool,
    size: int,
    independent: bool,
) -> list[Tensor]:
    """Of sharp, weak and strong crops, (B, features) each."""
    sides = _crops(part, size, generator, independent)
    with torch.no_grad():
        return [matched(vit, side.to(vit.mean.device), block, pool, size=size) for side in sides]


def _split(
    triplets: Sequence[Triplet], share: float, by_video: bool, generator: torch.Generator
) -> tuple[list[Triplet], list[Triplet]]:
    """Those to learn from, and those held out: at least one video, or one triplet."""
    names = [one.video if by_video else index for index, one in enumerate(triplets)]
    known = list(dict.fromkeys(names))
    order = torch.randperm(len(known), generator=generator).tolist()
    chosen = {known[index] for index in order[: math.ceil(share * len(known))]}
    held = [one for one, name in zip(triplets, names, strict=True) if name in chosen]
    learn = [one for one, name in zip(triplets, names, strict=True) if name not in chosen]
    if len(learn) < 2 or not held:
        raise ValueError(
            f"{len(triplets)} triplets of {len({one.video for one in triplets})} videos are too few: two to learn from "
            "and a video that is held out (by_video=False holds out triplets)"
        )
    return learn, held


def _crops(part: Sequence[Triplet], size: int, generator: torch.Generator, independent: bool) -> list[Tensor]:
    """Sharp, weak and strong, (B, 3, size, size) in [0, 1]: cropped, coloured and turned as the authors do it."""
    from torchvision.transforms import functional as pictures

    sides: list[list[Tensor]] = [[], [], []]
    for one in part:
        height, width = one.sharp.shape[:2]
        if min(height, width) < size:
            raise ValueError(f"frames of {width}x{height} pixels are smaller than crops of {size}")
        for number, side in enumerate(sides):
            if not number or independent:
                down, across, brightness, hue, *flips = torch.rand(6, generator=generator).tolist()
            top, left = int(down * (height - size + 1)), int(across * (width - size + 1))
            crop = one[3 + number][top : top + size, left : left + size]
            x = torch.tensor(crop).permute(2, 0, 1) / 255  # (3, size, size)
            x = pictures.adjust_hue(pictures.adjust_brightness(x, 0.5 + brightness), hue - 0.5)
            side.append(x.flip([axis for axis, drawn in zip((2, 1), flips, strict=True) if drawn < 0.85]))
    return [torch.stack(side) for side in sides]


def untrained_adapter(vit: FrozenViT) -> TripletAdapter:
    """Of width 64 on ``vit``: with which ``small_adapter`` starts, and a control of what it learns."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TripletAdapter((1 + (SIZE // vit.patch) ** 2) * vit.width, 64).eval()


def adapter_file(vit: FrozenViT, steps: int = 60, block: int = 3) -> Path:
    """Where ``small_adapter`` keeps it, and beside it, as a CSV, what ``train_adapter`` returned."""
    name = f"adapter-{vit.label}-{block}-{steps}-{code_hash('related', 'blur')}.safetensors"
    return pretrained.get("tfmlc-adapter").home() / name


def small_adapter(vit: FrozenViT, steps: int = 60, block: int = 3) -> TripletAdapter:
    """An adapter of width 64 on ``vit``, trained on synthetic videos in two minutes of a CPU the first time; kept.

    ``steps``, batches of 8 and a learning rate of 1e-3 are our choice.
    """
    path = adapter_file(vit, steps, block)
    if not path.is_file():
        adapter, options = untrained_adapter(vit), {"block": block, "batch": 8, "learning_rate": 1e-3}
        log = train_adapter(adapter, vit, synthetic_triplets(), steps, torch.Generator().manual_seed(0), **options)
        write_text(path.with_suffix(".csv"), log.to_csv(index=False))
        checkpoints.save(adapter, path)
    return checkpoints.load(path, guest=TripletAdapter)
