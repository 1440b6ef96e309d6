"""One random camera for all kinds of blur, so that nothing in a file but the blur itself says which kind it is.

Noise or none, a mosaic or none, colour casts, tone, smoothing, sharpening, resizing, gray, JPEG once or twice: each is
drawn without a look at the blur or at the light there is. Not part of the paper; all shares and ranges are our choice,
set so that gradients, noise and blockiness come near those of real photographs (``evaluation.capture_statistics``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import sensor
from .cameras import Camera
from .job import Job, Pair

SCENES = Camera(scale=(0.7, 1.6))  # one range of scales for all kinds; the recording itself is below


@dataclass(frozen=True)
class Recording:
    """What happens to one picture between the light and the file. The blurred picture has all of it, the sharp one what
    a camera means to do: casts, tone, sharpening and gray, but no noise, smoothing, resizing or JPEG."""

    noise: float = 0.0  # 8-bit levels, standard deviation at the picture's mean brightness; 0: none
    shot: float = 0.0  # share of its variance that grows with the light
    noise_colours: tuple[float, float] = (1.0, 1.0)  # noise of red and blue over that of green
    mosaic: bool = False
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)  # gains of the colours, in light
    gamma: float = 1.0  # of the response, beside sRGB's
    contrast: float = 0.0  # as in ``sensor.contrast_curve``
    smooth: float = 0.0  # pixels, sigma of a Gaussian: what a camera does against noise
    resize: float = 1.0  # the picture was this times as large, and was enlarged
    sharpen: tuple[float, float] = (0.0, 1.0)  # amount and sigma, pixels, of an unsharp mask
    jpegs: tuple[tuple[int, int, int, int], ...] = ()  # of each: quality, subsampling (Pillow's), rows and columns cut
    gray: bool = False


def draw(rng: np.random.Generator, cameras: float = 1.0) -> Recording:
    """A recording; ``cameras`` is the share of those that change anything but colour to gray. What is drawn from
    ``rng`` does not depend on it, so that two shares give the same scenes."""
    kept, gray = rng.random() < cameras, bool(rng.random() < 0.08)
    kind, level = rng.random(), rng.random()
    noise = 0.0  # a fifth of all: light or dark
    if kind > 0.8:
        noise = 2.5 + 5.5 * level
    elif kind > 0.2:
        noise = 0.25 * 10**level
    blue, red, shot = rng.uniform(1, 1.8), rng.uniform(1, 1.8), rng.random()
    mosaic = bool(rng.random() < 0.35)
    r, g, b = (float(gain) for gain in np.exp(0.06 * rng.standard_normal(3)))
    gamma = math.exp(0.1 * rng.standard_normal())
    contrast = _or_none(rng, 0.5, 0.05, 0.35)
    smooth = _or_none(rng, 0.2, 0.3, 0.8)
    resize = _or_none(rng, 0.25, 0.5, 0.95) or 1.0
    sharpen = (_or_none(rng, 0.25, 0.2, 1.0), rng.uniform(0.6, 1.4))
    files = rng.choice(3, p=(0.35, 0.45, 0.2))
    jpegs = tuple((int(rng.integers(60, 99)), int(rng.choice(3, p=(0.3, 0.1, 0.6))), *_cut(rng)) for _ in range(2))
    if not kept:
        return Recording(gray=gray)
    return Recording(
        noise, shot, (red, blue), mosaic, (r, g, b), gamma, contrast, smooth, resize, sharpen, jpegs[:files], gray
    )


def _or_none(rng: np.random.Generator, share: float, low: float, high: float) -> float:
    """A number of the range in ``share`` of the cases, else 0."""
    present, value = rng.random() < share, rng.uniform(low, high)
    return float(value) if present else 0.0


def _cut(rng: np.random.Generator) -> tuple[int, int]:
    """Where the grid of 8x8 blocks lies: a training crop begins anywhere in it."""
    return int(rng.integers(8)), int(rng.integers(8))


def record(
    job: Job,
    exposed: Tensor,
    sharp: Tensor,
    names: list[str],
    notes: list[str],
    mask: Tensor | None = None,
    named: list[bool] | None = None,
) -> Pair:
    """The pair of files that random cameras make of canvases (B,3,S,T) in linear light; ``named`` as in ``Pair``."""
    pairs = []
    for rng, light, target in zip(job.rngs, job.crop(exposed), job.crop(sharp), strict=True):
        recording = draw(rng, job.options.cameras)
        pairs.append((blurred_file(recording, light, rng), sharp_file(recording, target)))
    blurred, clear = (torch.stack(side) for side in zip(*pairs, strict=True))
    return job.pair(blurred, clear, names, notes, mask, named)


def sharp_file(recording: Recording, light: Tensor) -> Tensor:
    """Linear light (3,H,W) as the camera would show it without noise and without loss, in [0,1]."""
    code = _tone(recording, _cast(recording, light))
    return _gray(recording, _sharpen(recording, code)).clamp(0, 1)


def blurred_file(recording: Recording, light: Tensor, rng: np.random.Generator) -> Tensor:
    """Linear light (3,H,W) as it is in the file, in [0,1]."""
    light = _cast(recording, light)
    if recording.noise:
        light = light + _noise(recording, light, rng)
    if recording.mosaic:
        light = sensor.demosaic(sensor.mosaic(light[None]))[0]
    code = _tone(recording, light.clamp(0, 1))
    if recording.smooth:
        code = gaussian(code, recording.smooth)
    if recording.resize < 1:
        code = _enlarged(code, recording.resize)
    code = _gray(recording, _sharpen(recording, code)).clamp(0, 1)
    for quality, subsampling, rows, columns in recording.jpegs:
        code = _jpeg(code, quality, subsampling, rows, columns)
    return _gray(recording, code)


def _cast(recording: Recording, light: Tensor) -> Tensor:
    return (light * torch.tensor(recording.cast, device=light.device)[:, None, None]).clamp(0, 1)


def _noise(recording: Recording, light: Tensor, rng: np.random.Generator) -> Tensor:
    """Shot and read noise whose strength is given for the finished picture: a camera in the dark amplifies more, and
    darkness would otherwise be known by its noise."""
    mean = sensor.to_linear(sensor.to_srgb(light).mean()).clamp(min=2e-3)  # the light of the mean code value
    slope = 1.055 / 2.4 * mean ** (1 / 2.4 - 1)  # code values per light there
    variance = (recording.noise / 255 / slope) ** 2
    spread = (variance * (1 - recording.shot + recording.shot * light / mean)) ** 0.5
    red, blue = recording.noise_colours
    colours = torch.tensor([red, 1.0, blue], device=light.device)[:, None, None]
    normal = torch.from_numpy(rng.standard_normal(light.shape, dtype=np.float32)).to(light.device)
    return spread * colours / colours.mean() * normal


def _tone(recording: Recording, light: Tensor) -> Tensor:
    return sensor.contrast_curve(light, recording.contrast).clamp(min=0) ** recording.gamma


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """``image`` (C,H,W) after a Gaussian of ``sigma`` pixels, mirrored at the borders."""
    reach = min(math.ceil(3 * sigma), min(image.shape[1:]) - 1)
    at = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    weights = torch.exp(-0.5 * (at / sigma) ** 2)
    weights = (weights / weights.sum()).view(1, 1, -1)
    padded = F.pad(image[:, None], (reach, reach, reach, reach), mode="reflect")  # (C,1,H,W)
    return F.conv2d(F.conv2d(padded, weights[:, :, None]), weights[..., None])[:, 0]


def _sharpen(recording: Recording, code: Tensor) -> Tensor:
    amount, sigma = recording.sharpen
    return code + amount * (code - gaussian(code, sigma)) if amount else code


def _enlarged(code: Tensor, factor: float) -> Tensor:
    size = code.shape[1:]
    small = [max(2, round(side * factor)) for side in size]
    reduced = F.interpolate(code[None], size=small, mode="bicubic", antialias=True)
    return F.interpolate(reduced, size=size, mode="bicubic")[0].clamp(0, 1)


def _gray(recording: Recording, code: Tensor) -> Tensor:
    return code.mean(0, keepdim=True).expand(3, -1, -1) if recording.gray else code


def _jpeg(code: Tensor, quality: int, subsampling: int, rows: int, columns: int) -> Tensor:
    """A JPEG of which the picture is a part: ``rows`` and ``columns`` of it were above and left."""
    whole = F.pad(code[None], (columns, 0, rows, 0), mode="reflect")[0]
    return sensor.jpeg(whole, quality, subsampling)[:, rows:, columns:]
