"""A task that a small network can learn in minutes: one and the same blur of every picture, a horizontal one.

On blurs of all lengths and directions small networks hardly leave their start in a short training, and no loss can show
what it does. Not in the papers; our choice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from demoe.blur.sources import SPLITS, sharp_canvas
from demoe.data.pairs import PairedSet, Window
from demoe.data.setting import Setting

NAME = "OneBlur"
LENGTH = 9  # pixels
SIDES = {"train": 128, "test": 112}  # pixels; 112 is a multiple of the patches of both ViT-B/16 and ViT-S/14


def one_blur(setting: Setting, split: str) -> PairedSet:
    """As many pairs as the profile has of every set, of ``SIDES`` pixels, from the bundled photographs and dead leaves.

    Blurred is the mean of ``LENGTH`` neighbours in a row, of the pixels as a file holds them. Training pictures follow
    the setting's seed; test pictures are the same for all.
    """
    train = split == "train"
    return _pairs(split, setting.profile.train_images if train else setting.profile.test_images, train * setting.seed)


@lru_cache(maxsize=4)
def _pairs(split: str, count: int, seed: int) -> PairedSet:
    side, keys = SIDES[split], []
    pixels = torch.empty(count, 2, 3, side, side, dtype=torch.uint8)
    for i in range(count):
        rng = np.random.default_rng([seed, SPLITS.index(split), i])
        canvas, source = sharp_canvas(rng, split, side, side + LENGTH - 1, pool=16)  # (3, H, W + 8)
        sharp = canvas[..., LENGTH // 2 : LENGTH // 2 + side]
        both = torch.stack((F.avg_pool2d(canvas, (1, LENGTH), stride=1), sharp))
        pixels[i] = (255 * both).round().byte()
        keys.append(f"{i:04d}_{source}")

    def read(i: int, window: Window | None = None) -> tuple[Tensor, Tensor]:
        top, left, height, width = window or (0, 0, side, side)
        return tuple(pixels[i, :, :, top : top + height, left : left + width])

    return PairedSet(f"{NAME}-syn", "synthetic", keys, read, lambda i: (side, side))
