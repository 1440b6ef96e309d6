"""What is in a scene besides its texture: object outlines, depth, and lights."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import minimum_filter

from demoe.core.files import installed_file

from . import sources


def blob_alpha(rng: np.random.Generator, height: int, width: int, area_fraction: float) -> torch.Tensor:
    """The outline of one object: (1,height,width) float32, 1 inside, 0 outside, an edge 1.5 px wide.

    A harmonic blob, R(t) = R0 (1 + sum_k a_k cos(k t + p_k)) with k = 2, 3, 5, at a random place inside the picture.
    Its area is ``area_fraction`` (0 to 1, exclusive) of the picture's. Amplitudes are our choice. Raises
    ``ValueError`` on another fraction.
    """
    if not 0 < area_fraction < 1:
        raise ValueError(f"area_fraction must lie between 0 and 1, not {area_fraction}")
    target = area_fraction * height * width
    amplitude = rng.uniform(0.3, 1, 3) * (0.25, 0.15, 0.08)
    phase = rng.uniform(0, 2 * math.pi, 3)
    radius = math.sqrt(target / (math.pi * (1 + 0.5 * float(np.sum(amplitude**2)))))
    margin = [min(1.2 * radius, extent / 2) for extent in (height, width)]
    cy, cx = (rng.uniform(m, extent - m) for m, extent in zip(margin, (height, width), strict=True))

    y = np.arange(height, dtype=np.float32)[:, None] + 0.5 - np.float32(cy)
    x = np.arange(width, dtype=np.float32)[None] + 0.5 - np.float32(cx)
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    shape = np.ones_like(distance)
    for order, a, p in zip((2, 3, 5), amplitude, phase, strict=True):
        shape += np.float32(a) * np.cos(order * angle + np.float32(p))
    alpha = np.clip((radius * shape - distance) / 1.5 + 0.5, 0, 1)
    for _ in range(6):  # where the picture cuts the blob off, a larger one has the wanted area
        area = float(alpha.sum())
        if abs(area - target) <= 0.02 * target:
            break
        radius *= math.sqrt(target / max(area, 0.25 * target))
        alpha = np.clip((radius * shape - distance) / 1.5 + 0.5, 0, 1)
    return torch.from_numpy(alpha[None].astype(np.float32))


def disparity(rng: np.random.Generator, height: int, width: int) -> torch.Tensor:
    """A made-up disparity map, (1,height,width) float32 in [0,1], larger is nearer.

    A slanted plane and four slanted blobs, each nearer than what it covers, with sharp edges.
    """
    y, x = np.linspace(-0.5, 0.5, height)[:, None], np.linspace(-0.5, 0.5, width)[None]

    def slant(steepest: float) -> np.ndarray:
        return rng.uniform(-steepest, steepest) * y + rng.uniform(-steepest, steepest) * x

    depth = rng.uniform(0.15, 0.4) + slant(0.48)
    for _ in range(4):
        inside = blob_alpha(rng, height, width, rng.uniform(0.02, 0.15))[0].numpy() > 0.5
        if inside.any():
            plane = slant(0.3)
            gap = (depth - plane)[inside].max() + rng.uniform(0.02, 0.24)  # nearer everywhere
            depth = np.where(inside, plane + gap, depth)
    return torch.from_numpy(depth[None].astype(np.float32)).clamp_(0, 1)


def motorcycle_crop(rng: np.random.Generator, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random crop of the one measured scene, recoloured as ``sources.sharp_canvas`` does, and its disparity.

    (3,height,width) sRGB and (1,height,width), larger is nearer, float32 in [0,1]. The left view of scikit-image's
    motorcycle pair (test split). The 7 % of pixels without a measurement take the farthest value measured nearby, since
    they are mostly background hidden from the other camera. Raises ``ValueError`` if scikit-image's file is missing.
    """
    crop = sources.random_crop(rng, _motorcycle(), height, width, scale=1.0)
    return crop[:3], crop[3:]


@lru_cache(maxsize=1)
def _motorcycle() -> np.ndarray:
    """Picture and disparity of the measured scene, (4,500,741) float32."""
    path = installed_file("skimage/data/motorcycle_disp.npz")
    picture = sources.photographs("test").get("motorcycle_left")
    if path is None or picture is None:
        raise ValueError("motorcycle_disp.npz was not found: pip install 'demoe[data]'")
    with np.load(path) as archive:
        values = archive[archive.files[0]].astype(np.float32)
    values[~np.isfinite(values)] = np.inf
    while not (valid := np.isfinite(values)).all():
        values = np.where(valid, values, minimum_filter(values, size=9, mode="nearest"))
    values = (values - values.min()) / (values.max() - values.min())
    return np.concatenate([picture.numpy(), values[None]])


def point_lights(
    rng: np.random.Generator,
    height: int,
    width: int,
    mean_count: float,
    *,
    radius_median: float = 1.8,
    radius_sigma: float = 0.5,
    peak: tuple[float, float] = (2.0, 40.0),
) -> torch.Tensor:
    """Small lamps to add to a picture in linear light: (3,height,width) float32, >= 0.

    Their number is Poisson with mean ``mean_count``. Each is a Gaussian whose standard deviation is log-normal
    (median ``radius_median`` pixels, log-deviation ``radius_sigma``) and whose peak is log-uniform in ``peak`` (1 =
    the sensor's white). The tint is warm: red strongest, blue weakest. Log-uniform peaks and the tint are our choice.
    """
    light = np.zeros((3, height, width), np.float32)
    for _ in range(rng.poisson(mean_count)):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        sigma = radius_median * math.exp(radius_sigma * rng.standard_normal())
        top = math.exp(rng.uniform(math.log(peak[0]), math.log(peak[1])))
        green = rng.uniform(0.7, 1.0)
        tint = top * np.array([1.0, green, green * rng.uniform(0.5, 1.0)])
        reach = sigma * math.sqrt(2 * math.log(max(top, 1) / 1e-3))  # beyond it the light is below 0.001
        y0, y1 = max(0, math.floor(cy - reach)), min(height, math.ceil(cy + reach) + 1)
        x0, x1 = max(0, math.floor(cx - reach)), min(width, math.ceil(cx + reach) + 1)
        rows = np.exp(-((np.arange(y0, y1) + 0.5 - cy) ** 2) / (2 * sigma**2))
        columns = np.exp(-((np.arange(x0, x1) + 0.5 - cx) ** 2) / (2 * sigma**2))
        light[:, y0:y1, x0:x1] += tint[:, None, None] * rows[:, None] * columns
    return torch.from_numpy(light)
