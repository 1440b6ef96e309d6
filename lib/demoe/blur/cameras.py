"""How a picture is recorded once the shutter has closed: the camera of each set, by which its pictures can be told.

A recipe makes light, blurred and sharp; a camera makes files of it. The two are apart so that any blur can be seen
through any camera (``Options.capture``): what a network takes for a kind of blur may be the noise of one camera.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from . import psf, sensor

if TYPE_CHECKING:
    from .job import Job, Pair

SHIFT = 3  # pixels around the frame that a shift between two captures may bring in


@dataclass(frozen=True)
class Camera:
    """What a set's pictures went through, and how large their scenes are. Every number is our choice, of the order that
    the sets' own code gives. Noise levels are those of raw values in [0,1] (``sensor.expose``)."""

    scale: tuple[float, float] = (1.25, 1.75)  # sources are enlarged by this: real frames are softer than they are
    shot: float = 0.0
    read: float = 0.0
    spread: tuple[float, float] = (1.0, 1.0)  # both levels times a number from this range, drawn for each
    spare_saturated: bool = False  # no noise where a photosite is saturated
    sharp_noise: float = 0.0  # light of the blurred exposure over that of the sharp one, which then is noisy, too
    mosaic: bool = False  # one colour a photosite; False: a picture so much reduced that every pixel saw every colour
    interpolate: Callable[[Tensor], Tensor] = sensor.demosaic  # makes colours of the mosaic
    shift: float = 0.0  # pixels, standard deviation of how far the two captures are apart
    gain: float = 0.0  # log, standard deviation of the light of one over that of the other
    contrast: float = 0.0  # of the response (``sensor.contrast_curve``)
    jpeg: bool = False  # half of the pictures through a JPEG of quality 90 to 98


# The pictures of ReLoBlur, LOLBlur and DPDD were reduced in size after demosaicing, and they are sharp in part: a
# mosaic at this scale would draw coloured fringes that the real ones have not, so these three are recorded without.
# ReLoBlur's noise: in a camera with bilinear demosaicing, which averages, and without colour correction, which
# amplifies, these would be about 1e-4 and 3e-4, with four times the shot noise in the shorter sharp exposure.
# RSBlur's, as its own code has it: noise K = 1e-4, sigma = 9.15e-4, none where a photosite is saturated, colours
# interpolated as by Malvar et al., the plain sRGB response.
_RSBLUR = {"spare_saturated": True, "mosaic": True, "interpolate": sensor.demosaic_malvar}
CAMERAS: dict[str, Camera] = {
    "RealBlur": Camera(shot=8.9e-5, read=2.9e-5, mosaic=True, contrast=0.25, jpeg=True),
    "ReLoBlur": Camera(shot=2e-5, read=1.4e-4, sharp_noise=4.0),
    "LOLBlur": Camera(shot=2.4e-4, read=1.5e-3, spread=(0.1, 1.0)),
    "GoPro": Camera(),
    "DPDD": Camera(scale=(1.0, 1.0), shot=2e-5, read=1e-4, shift=0.35, gain=0.05),
    "RealDOF": Camera(scale=(1.0, 1.0), shot=2e-5, read=1e-4, shift=0.3, gain=0.03),
    "RSBlur": Camera(shot=1e-4, read=9.15e-4, spread=(0.5, 1.5), **_RSBLUR),
    "Real-LOLBlur": Camera(shot=4e-4, read=1.5e-3, mosaic=True, contrast=0.25, jpeg=True),
    "LOLv2-real": Camera(shot=2.5e-3, read=2e-3, spread=(0.3, 1.5), mosaic=True),
}


def camera_of(name: str, capture: str) -> Camera:
    """The camera of set ``name`` where ``capture`` is "set"; with "none" one that changes nothing, of the same scale;
    with a set's name that set's camera. Raises ``ValueError`` for another word."""
    if capture == "set":
        return CAMERAS[name]
    if capture == "none":
        return Camera(scale=CAMERAS[name].scale)
    if capture not in CAMERAS:
        raise ValueError(f"unknown capture {capture!r}: choose set, none, shared, or one of {', '.join(CAMERAS)}")
    return CAMERAS[capture]


def record(
    job: Job, exposed: Tensor, sharp: Tensor, names: list[str], notes: list[str], mask: Tensor | None = None
) -> Pair:
    """The pair of files that the job's camera makes of what it saw: canvases (B,3,S,T) in linear light.

    Of what is blurred the frame and ``SHIFT`` pixels around it are needed, of what is sharp the frame alone.
    """
    camera = job.camera
    if camera.shift or camera.gain:
        offsets = np.stack([rng.normal(0, camera.shift, 2).clip(1 - SHIFT, SHIFT - 1) for rng in job.rngs])
        gains = job.draw(lambda rng: np.exp(camera.gain * rng.standard_normal()))
        exposed = psf.shift(exposed, offsets) * job.column(gains)
    exposed, sharp = job.crop(exposed), job.crop(sharp)
    balance = white_balance(job)
    if camera.sharp_noise:
        shorter = replace(
            camera, shot=camera.shot * camera.sharp_noise, read=camera.read * camera.sharp_noise**0.5, mosaic=False
        )
        sharp = _exposed(job, shorter, sharp, balance)
    blurred = sensor.contrast_curve(_exposed(job, camera, exposed, balance), camera.contrast)
    sharp = sensor.contrast_curve(sharp.clamp(0, 1), camera.contrast)
    return job.pair(_jpeg(job, blurred) if camera.jpeg else blurred, sharp, names, notes, mask)


def white_balance(job: Job) -> Tensor:
    """Gains (B,3,1,1) of red and blue in the range found in RealBlur's raw files."""
    drawn = [(rng.uniform(1.51, 2.66), 1.0, rng.uniform(1.46, 2.92)) for rng in job.rngs]
    return torch.tensor(drawn, dtype=torch.float32, device=job.device)[:, :, None, None]


def normal(job: Job, mosaic: bool) -> Tensor:
    """Standard normal numbers, one a photosite (B,1,H,W) or one a colour (B,3,H,W)."""
    shape = (1 if mosaic else 3, *job.size)
    return job.stack(job.each(lambda rng: torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))))


def _exposed(job: Job, camera: Camera, light: Tensor, balance: Tensor) -> Tensor:
    """Linear light (B,3,H,W) as recorded by the camera's noisy sensor, linear in [0,1]; see ``sensor.expose``."""
    if not (camera.shot or camera.read or camera.mosaic):
        return sensor.expose(light, None)
    shot, read = (job.column([level * u for u in job.uniform(*camera.spread)]) for level in (camera.shot, camera.read))
    more = {"spare_saturated": camera.spare_saturated, "interpolate": camera.interpolate}
    return sensor.expose(light, normal(job, camera.mosaic), shot=shot, read=read, gains=balance, **more)


def _jpeg(job: Job, images: Tensor) -> Tensor:
    qualities = [int(rng.integers(90, 99)) if rng.random() < 0.5 else None for rng in job.rngs]
    if not any(qualities):
        return images
    return job.stack(
        [
            image if quality is None else sensor.jpeg(image, quality)
            for image, quality in zip(images.cpu(), qualities, strict=True)
        ]
    )
