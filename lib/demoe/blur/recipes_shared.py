"""The five kinds of blur in scenes and through cameras that are the same for all (``Options.capture`` "shared").

Sources, scales, light, lamps and the camera are drawn from one distribution; only what makes a blur of its kind
differs. Its strength goes from none, where the sharp picture is the answer and no kind can be named, to beyond that of
the sets.
Some blurs are composed with a weak one of another kind. Low light is known by its darkness and by nothing else; it is
named also where nothing moves, since there is light to be restored. Not part of the paper; our choice.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from . import psf, scenes, sensor, trajectories
from .job import Job, Pair
from .recipes_training import darkened
from .shared_camera import record

NONE = 0.08  # share of training pictures without blur
SECOND = 0.12  # share with a second, weak blur
STRENGTH = {"train": (0.3, 2.2), "val": (0.5, 1.6), "test": (0.5, 1.6)}  # times the sets' medians, log-uniform
NAMED = 1.5  # pixels of motion, or of a disk's diameter, below which a blur is not seen
MAX_RADIUS = 21.0


def _strengths(job: Job) -> list[float]:
    """Blurs of the samples over those of the sets. Test pictures all have a kind that can be named."""
    low, high = STRENGTH[job.split]
    drawn = [(rng.random(), math.exp(rng.uniform(math.log(low), math.log(high)))) for rng in job.rngs]
    return [0.0 if job.split == "train" and none < NONE else job.options.blur * value for none, value in drawn]


def _scene(job: Job) -> tuple[Tensor, list[str]]:
    """Sharp canvases (B,3,S,T), sRGB, whose colours change places: no kind of blur has colours of its own."""
    canvas, names = job.canvases(for_defocus=True)
    order = torch.tensor(np.stack([rng.permutation(3) for rng in job.rngs]), device=canvas.device)
    return torch.gather(canvas, 1, order[:, :, None, None].expand_as(canvas)), names


def _light(job: Job, canvas: Tensor, dim: bool = True) -> Tensor:
    """A scene in linear light: some of it in dim light, highlights above white, lamps in some."""
    light = sensor.to_linear(canvas)
    budget = [2 ** -(stops if share < 0.3 and dim else 0) for share, stops in _two(job, 0, 1.5)]
    boost = [amount if share < 0.5 else 0.0 for share, amount in _two(job, 0.25, 1.75)]
    lamps = job.lamps(canvas, 4) * job.column([float(rng.random() < 0.25) for rng in job.rngs])
    highlight = ((light - 0.75) * 4).clamp_(min=0).square_()
    return (light + job.column(boost) * highlight) * job.column(budget) + lamps


def _two(job: Job, low: float, high: float) -> list[tuple[float, float]]:
    return [(rng.random(), rng.uniform(low, high)) for rng in job.rngs]


def _paths(
    job: Job, strengths: list[float], median: float, lengths: tuple[float, float], anchor: str, roll: bool = True
) -> list[np.ndarray]:
    """A path a sample; ``lengths`` is the range of its correlation time."""
    paths = []
    for rng, strength in zip(job.rngs, strengths, strict=True):
        reach = min(strength * trajectories.sample_extent(rng, median, 0.4), trajectories.MAX_EXTENT)
        length = round(math.exp(rng.uniform(*np.log(lengths))), 2)
        rolls, angle = rng.random() < 0.5, rng.uniform(0, 0.3)
        degrees = angle * min(strength, 1.0) if rolls and roll else 0.0
        paths.append(trajectories.sample(rng, reach, length=length, roll_degrees=degrees, anchor=anchor))
    return paths


def _disks(radii: list[float], size: tuple[int, int], device: torch.device) -> Tensor:
    kernels = [psf.disk(round(radius / psf.RADIUS_STEP) * psf.RADIUS_STEP) for radius in radii]
    widest = max(map(len, kernels))
    padded = np.stack([np.pad(kernel, (widest - len(kernel)) // 2) for kernel in kernels])
    return psf.embed(torch.from_numpy(padded), size, device)


def _composed(job: Job, light: Tensor, strengths: list[float], moving: bool) -> Tensor:
    """``light`` with a second, weak blur in some samples: motion where ``moving``, else a little out of focus."""
    second = [(rng.random() < SECOND) * (strength > 0) for rng, strength in zip(job.rngs, strengths, strict=True)]
    amount = job.uniform(0.6, 1.5)
    if moving:
        paths = _paths(job, [here * a for here, a in zip(second, amount, strict=True)], 3.0, (0.2, 1.0), "mid", False)
        kernels = psf.splats(paths, light.shape[-2:], job.device) if any(second) else None
    else:
        radii = [here * a for here, a in zip(second, amount, strict=True)]
        kernels = _disks(radii, light.shape[-2:], job.device) if any(second) else None
    if kernels is None:
        return light
    return torch.where(job.column(second) > 0, psf.convolve(light, kernels), light)


def global_motion(job: Job) -> Pair:
    """A shaking camera, light averaged. Sharp: at the centroid of the path."""
    strengths = _strengths(job)
    canvas, names = _scene(job)
    light = _light(job, canvas)
    paths = _paths(job, strengths, 9.5, (0.15, 0.4), "centroid")
    exposed = _composed(job, job.blurred(light, paths), strengths, moving=False)
    reach = [trajectories.extent(path) for path in paths]
    notes = [f"camera shake over {extent:.1f} px" for extent in reach]
    return record(job, exposed, light, names, notes, named=[extent >= NAMED for extent in reach])


def synth_global_motion(job: Job) -> Pair:
    """Averaged frames, code values and not light: a camera moves smoothly, often an object, too. Sharp: the middle."""
    strengths = _strengths(job)
    canvas, names = _scene(job)
    code = sensor.to_srgb(_light(job, canvas))
    paths = _paths(job, strengths, 9.0, (0.4, 1.0), "mid")
    own = _paths(job, strengths, 9.0, (0.4, 1.0), "mid", roll=False)
    blurred, sharp, moved = job.blurred(code, paths), code, [0.0] * len(names)
    present = [rng.random() < 0.5 for rng in job.rngs]
    if any(present):
        texture, alpha = job.objects(code, names, present, [0.06] * len(names))
        both = [trajectories.limited(camera + path) for camera, path in zip(paths, own, strict=True)]
        blurred, _ = psf.moving_object(blurred, texture, alpha, psf.splats(both, code.shape[-2:], job.device))
        sharp = alpha * texture + (1 - alpha) * code
        moved = [here * trajectories.extent(path) for here, path in zip(present, own, strict=True)]
    reach = [trajectories.extent(path) for path in paths]
    notes = [
        f"camera motion over {extent:.1f} px" + (f", an object moving over {other:.1f} px besides" if other else "")
        for extent, other in zip(reach, moved, strict=True)
    ]
    exposed = _composed(job, sensor.to_linear(blurred), strengths, moving=False)
    return record(job, exposed, sensor.to_linear(sharp), names, notes, named=[extent >= NAMED for extent in reach])


def local_motion(job: Job) -> Pair:
    """A camera that stands still, one or two moving objects. Sharp: the start of the exposure."""
    strengths = _strengths(job)
    canvas, names = _scene(job)
    sharp = _light(job, canvas)
    blurred, mask = sharp, torch.zeros_like(sharp[:, :1])
    reach = [0.0] * len(names)
    for absent in (0.0, 0.5):
        present = [rng.random() >= absent for rng in job.rngs]
        area = job.draw(lambda rng: 0.05 * np.exp(0.6 * rng.standard_normal()))
        paths = _paths(job, strengths, 9.0, (0.6, 1.5), "start", roll=False)
        texture, alpha = job.objects(canvas, names, present, area, contrast=0.6)
        texture = sensor.to_linear(texture)
        kernel = psf.splats(paths, alpha.shape[-2:], job.device)
        blurred, cover = psf.moving_object(blurred, texture, alpha, kernel)
        sharp = alpha * texture + (1 - alpha) * sharp
        mask = torch.maximum(mask, ((cover > 1e-3) | (alpha > 1e-3)).to(mask.dtype))
        found = [here * trajectories.extent(path) for here, path in zip(present, paths, strict=True)]
        reach = [max(pair) for pair in zip(reach, found, strict=True)]
    mask = job.crop(mask)
    seen = (mask.mean((1, 2, 3)) > 0.01).tolist()
    named = [inside and extent >= NAMED for inside, extent in zip(seen, reach, strict=True)]
    notes = [f"objects moving over up to {extent:.1f} px" for extent in reach]
    return record(job, blurred, sharp, names, notes, mask=mask, named=named)


def defocus(job: Job) -> Pair:
    """A wide aperture: depths out of focus, in three of ten the whole scene alike. Sharp: all of it in focus."""
    strengths = _strengths(job)
    canvas, names = _scene(job)
    light = _light(job, canvas)
    size = canvas.shape[-2:]
    disparity = job.stack(job.each(lambda rng: scenes.disparity(rng, *size)))
    flat = job.column([float(rng.random() < 0.3) for rng in job.rngs])
    disparity = disparity * (1 - flat) + flat * job.column(job.uniform(0.15, 0.6))
    focus = [
        float(rng.uniform(*np.quantile(one[0, ::4, ::4].cpu().numpy(), (0.05, 0.95)))) * (1 - alike)
        for rng, one, alike in zip(job.rngs, disparity, flat.flatten().tolist(), strict=True)
    ]
    kappa = [
        13.0 * strength * float(np.exp(0.35 * rng.standard_normal()))
        for rng, strength in zip(job.rngs, strengths, strict=True)
    ]
    blades = [int(rng.integers(7, 10)) if rng.random() < 0.5 else 0 for rng in job.rngs]
    angle = [5 * int(rng.integers(0, 12)) for rng in job.rngs]
    exposed = psf.defocus_blur(light, disparity, focus, kappa, max_radius=MAX_RADIUS, blades=blades, angle=angle)
    exposed = _composed(job, exposed, strengths, moving=True)
    away = job.crop((disparity - job.column(focus)).abs()).flatten(1).quantile(0.8, dim=1).tolist()
    radii = [min(k * one, MAX_RADIUS) for k, one in zip(kappa, away, strict=True)]
    notes = [f"out of focus, a fifth of it by {radius:.1f} px (radius of the disk) or more" for radius in radii]
    return record(job, exposed, light, names, notes, named=[2 * radius >= NAMED for radius in radii])


def low_light(job: Job) -> Pair:
    """A scene in the dark, blurred by motion or not. Sharp: the scene in good light, in the middle of the exposure.

    Half of them by the curve of LOLBlur, which leaves lamps bright, half by a short exposure.
    """
    strengths = _strengths(job)
    canvas, names = _scene(job)
    bright = _light(job, canvas, dim=False).clamp(max=1)
    code = sensor.to_srgb(bright) * job.column(job.uniform(0.85, 1))
    curved, lightness, targets = darkened(code, job.uniform(0.05, 0.22))
    means = lightness.mean((1, 2, 3)).tolist()
    exposures = [(target / max(mean, 0.05)) ** 2.4 for target, mean in zip(targets, means, strict=True)]
    short = sensor.to_linear(code) * job.column(exposures)
    dark = torch.where(job.column([float(rng.random() < 0.5) for rng in job.rngs]) > 0, curved, short)
    paths = _paths(job, strengths, 9.0, (0.4, 1.0), "mid")
    exposed = _composed(job, job.blurred(dark, paths), strengths, moving=False)
    notes = [
        f"darkened to a mean lightness of {target:.2f}, camera motion over {trajectories.extent(path):.1f} px"
        for target, path in zip(targets, paths, strict=True)
    ]
    return record(job, exposed, sensor.to_linear(code), names, notes)
