"""The recipes of the five training sets of AIO-Blur.

They imitate how the blur of each set comes about and how strong it is, not what its pictures show. Every number here is
our choice; the medians are set so that the mean PSNR of the blurred input comes near that of the real set
(``calibration``). The camera that records it is of ``cameras``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from . import psf, scenes, sensor, sources, trajectories
from .cameras import SHIFT, record
from .job import Job, Pair

MEASURED = 0.125  # share of the defocus sets' test samples that are the one scene with a measured depth


def realblur(job: Job) -> Pair:
    """RealBlur-J: a hand-held camera at night with lamps. The sharp image lies at the centroid of the path."""
    # Between the medians that give the target of 27 dB on the bundled photographs and on a busier collection.
    return night_shot(job, (0.5, 3), median=9.5)


def night_shot(job: Job, dimming: tuple[float, float], median: float) -> Pair:
    """What RealBlur and Real-LOLBlur share. ``median``: extent of the shake, pixels."""
    canvas, names = job.canvases()
    light, budget = night(job, canvas, dimming, lamps=4)
    paths = job.paths(median=median, log_sd=0.5, length=0.25, anchor="centroid")
    return record(job, job.blurred(light, paths), light, names, night_notes(paths, budget))


def night(job: Job, canvas: Tensor, dimming: tuple[float, float], lamps: float) -> tuple[Tensor, list[float]]:
    """A night scene in linear light (B,3,S,T), and its share of the light of day, 2^-U(``dimming``).

    Highlights are boosted before that, since an 8-bit picture has clipped them: smoothly, or a sky would get contours.
    There are ``lamps`` point lights on average.
    """
    light = sensor.to_linear(canvas)
    budget, boost = [2**-u for u in job.uniform(*dimming)], job.uniform(0.25, 1.75)
    highlight = ((light - 0.75) * 4).clamp_(min=0).square_()
    light = (light + job.column(boost) * highlight) * job.column(budget)
    return light + job.lamps(canvas, lamps), budget


def night_notes(paths: list[np.ndarray], budget: list[float]) -> list[str]:
    return [
        f"camera shake over {trajectories.extent(path):.1f} px at night, light budget {part:.2f}"
        for path, part in zip(paths, budget, strict=True)
    ]


def reloblur(job: Job) -> Pair:
    """ReLoBlur: a camera that stands still and up to two moving objects. Sharp: the start of the exposure."""
    canvas, names = job.canvases(margin=64)
    sharp = sensor.to_linear(canvas)
    blurred, mask = sharp, torch.zeros_like(sharp[:, :1])
    lengths: list[list[float]] = [[] for _ in names]
    for absent in (0.25, 0.5):
        present = [rng.random() >= absent for rng in job.rngs]
        area = job.draw(lambda rng: 0.04 * np.exp(0.6 * rng.standard_normal()))
        paths = job.paths(median=7, log_sd=0.6, length=1.0, anchor="start", roll=False)
        if not any(present):
            continue
        texture, alpha = job.objects(canvas, names, present, area, contrast=0.5)
        texture = sensor.to_linear(texture)
        kernel = psf.splats(paths, alpha.shape[-2:], job.device)
        blurred, cover = psf.moving_object(blurred, texture, alpha, kernel)
        sharp = alpha * texture + (1 - alpha) * sharp
        # 0.001, not 0.02: on a dark ground a trace of 2 % of the light is still a change of several code values.
        mask = torch.maximum(mask, ((cover > 1e-3) | (alpha > 1e-3)).to(mask.dtype))
        for found, here, path in zip(lengths, present, paths, strict=True):
            found += [trajectories.extent(path)] * here
    notes = [
        "nothing moves" if not found else "objects moving over " + " and ".join(f"{e:.1f} px" for e in found)
        for found in lengths
    ]
    return record(job, blurred, sharp, names, notes, mask=job.crop(mask))


def lolblur(job: Job) -> Pair:
    """LOLBlur: a darkened scene whose lamps stay bright, then camera motion. Sharp: the bright scene, mid-exposure."""
    canvas, names = job.canvases()
    bright = _exposed(job, canvas, job.draw(lambda rng: 0.24 + 0.36 * rng.random() ** 1.25))
    lamps = job.lamps(canvas, 5 * canvas.shape[-2] * canvas.shape[-1] / 512**2)
    lit = lamps > 0
    bright[lit] = sensor.to_srgb(sensor.to_linear(bright[lit]) + lamps[lit])
    wanted = job.uniform(0.05, 0.25)
    light, lightness, targets = darkened(bright, wanted)
    # Lamps keep their light; where much of the picture is that bright it is a sky, which would be posterised.
    lamp = lightness > 0.97
    lamp = lamp & (lamp.float().mean((1, 2, 3), keepdim=True) < 0.05)
    light = torch.where(lamp, job.column(job.uniform(0.6, 4)), light)
    paths = job.paths(median=9, log_sd=0.5, length=0.6, anchor="mid")
    notes = [
        f"darkened to a mean lightness of {target:.2f}, camera motion over {trajectories.extent(path):.1f} px"
        for target, path in zip(targets, paths, strict=True)
    ]
    return record(job, job.blurred(light, paths), sensor.to_linear(job.crop(bright)), names, notes)


def darkened(bright: Tensor, wanted: list[float]) -> tuple[Tensor, Tensor, list[float]]:
    """``bright`` (B,3,H,W) sRGB, darkened to ``wanted`` mean lightness, or 0.4 of its own where that is less: linear
    light; the lightness (B,1,H,W) that it had; and what its mean became."""
    lightness = _lightness(bright)
    means = lightness.mean((1, 2, 3)).tolist()
    targets = [min(e, 0.4 * mean) for e, mean in zip(wanted, means, strict=True)]
    sampled = lightness[:, 0, ::8, ::8].double().cpu().numpy()
    strength = [_darkening(one, target) for one, target in zip(sampled, targets, strict=True)]
    column = torch.tensor(strength, dtype=lightness.dtype, device=lightness.device).view(-1, 1, 1, 1)
    darker = _darken(lightness, column)
    return sensor.to_linear((bright * (darker / lightness.clamp(min=1e-3))).clamp(0, 1)), lightness, targets


def _exposed(job: Job, canvas: Tensor, means: list[float]) -> Tensor:
    """``canvas`` (B,3,S,T) by daylight, as a camera exposes it that measures the light: as dark or bright a scene as it
    may be, its mean code value comes near one of ``means``, by a curve that keeps black and white.

    Without, a few pictures of white walls or skies hold the largest errors alone, and the third of the four bins of
    Figure 10 has 2 % of the pairs; LOLBlur's has 14 % at least, since 1400 of 10,200 are drawn from it.
    """
    found = canvas.mean((1, 2, 3)).clamp(0.02, 0.98).tolist()
    return canvas ** job.column([math.log(mean) / math.log(one) for mean, one in zip(means, found, strict=True)])


def _lightness(image: Tensor) -> Tensor:
    """Lab lightness (B,1,H,W) in [0,1] of a gray with the luma of ``image``: one channel to convert, not three."""
    luma = 0.2126 * image[:, :1] + 0.7152 * image[:, 1:2] + 0.0722 * image[:, 2:]
    luminance = sensor.to_linear(luma)
    return torch.where(luminance > 0.008856, 1.16 * luminance.clamp(min=1e-6) ** (1 / 3) - 0.16, 9.033 * luminance)


def _darken(lightness: Tensor | np.ndarray, strength: Tensor | float) -> Tensor | np.ndarray:
    """Ten rounds of L + r (L^2 - L), the curve of Zero-DCE turned round: black and white stay where they are."""
    for _ in range(10):
        lightness = lightness + strength * (lightness * lightness - lightness)
    return lightness


def _darkening(lightness: np.ndarray, target: float) -> float:
    """The strength in [0,1] at which the mean of ``lightness`` becomes ``target``, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if _darken(lightness, middle).mean() > target else (low, middle)
    return (low + high) / 2


def gopro(job: Job) -> Pair:
    """GoPro: averaged gamma-encoded video frames, moving camera, in half of them a moving object. Sharp: the middle."""
    response = 2.2 if job.options.gamma else 1.0  # the average is of light in the one case, of code values in the other
    canvas, names = job.canvases()
    paths = job.paths(median=9, log_sd=0.5, length=0.6, anchor="mid")
    blurred, sharp = job.blurred(canvas**response, paths), canvas
    present = [rng.random() < 0.5 for rng in job.rngs]
    own = job.paths(median=9, log_sd=0.5, length=0.6, anchor="mid", roll=False)
    if any(present):
        texture, alpha = job.objects(canvas, names, present, [0.06] * len(names))
        both = [trajectories.limited(camera + path) for camera, path in zip(paths, own, strict=True)]
        kernel = psf.splats(both, canvas.shape[-2:], job.device)
        blurred, _ = psf.moving_object(blurred, texture**response, alpha, kernel)
        sharp = alpha * texture + (1 - alpha) * canvas
    blurred = job.crop(blurred, SHIFT).clamp(min=0) ** (1 / response)
    notes = [
        f"camera motion over {trajectories.extent(path):.1f} px"
        + (f", an object moving over {trajectories.extent(other):.1f} px besides" if here else "")
        for path, other, here in zip(paths, own, present, strict=True)
    ]
    return record(job, sensor.to_linear(blurred), sensor.to_linear(job.crop(sharp)), names, notes)


def dpdd(job: Job) -> Pair:
    """DPDD: a wide against a narrow aperture, with the small differences between two separate captures."""
    return defocused(job, 13.0, max_radius=21.0)


def defocused(job: Job, kappa: float, max_radius: float, cat_eye: float = 0.0) -> Pair:
    """What DPDD and RealDOF share. ``kappa``: median radius of the disk, pixels, per unit of disparity off the focus.

    Up to ``cat_eye`` of the aperture's radius is clipped off. Some of the bundled test samples are the scene with
    measured disparity; it is contrasty and has much depth, so half of ``kappa`` gives it its share of blur.
    """
    size = job.canvas_size(3 + int(max_radius))
    bundled = job.split == "test" and job.options.canvas is sources.sharp_canvas

    def scene(rng: np.random.Generator) -> tuple[Tensor, Tensor, str, float]:
        if bundled and rng.random() < MEASURED:
            return *scenes.motorcycle_crop(rng, *size), "motorcycle", 0.5
        canvas, name = job.options.canvas(
            rng,
            job.split,
            *size,
            scale=rng.uniform(*job.camera.scale),
            for_defocus=True,
            exclude="motorcycle" if bundled else None,
        )
        return canvas, scenes.disparity(rng, *size), name, 1.0

    pictures, disparity, names, shares = zip(*job.each(scene), strict=True)
    canvas = job.stack(pictures)
    focus = [
        float(rng.uniform(*np.quantile(one[0, ::4, ::4].numpy(), (0.05, 0.95))))
        for rng, one in zip(job.rngs, disparity, strict=True)
    ]
    strength = [
        job.options.blur * share * kappa * float(np.exp(0.35 * rng.standard_normal()))
        for rng, share in zip(job.rngs, shares, strict=True)
    ]
    # Half of the apertures are round, half polygons of 7 to 9 blades.
    blades = [int(rng.integers(7, 10)) if rng.random() < 0.5 else 0 for rng in job.rngs]
    angle = [5 * int(rng.integers(0, 12)) for rng in job.rngs]
    clip = [0.0] * len(angle)
    if cat_eye:
        angle = [5 * int(rng.integers(0, 72)) for rng in job.rngs]
        clip = [round(float(rng.uniform(0, cat_eye)), 1) for rng in job.rngs]
    exposed = psf.defocus_blur(
        sensor.to_linear(canvas),
        job.stack(disparity),
        focus,
        strength,
        max_radius=max_radius,
        blades=blades,
        angle=angle,
        clip=clip,
    )
    radii = [
        min(k * float((one - at).abs().max()), max_radius)
        for k, one, at in zip(strength, disparity, focus, strict=True)
    ]
    notes = [
        f"out of focus by up to {radius:.1f} px (radius of the disk)" + (", depth measured" if share < 1 else "")
        for radius, share in zip(radii, shares, strict=True)
    ]
    return record(job, exposed, sensor.to_linear(job.crop(canvas)), list(names), notes)
