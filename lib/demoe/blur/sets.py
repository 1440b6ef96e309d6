"""Synthetic stand-ins for the five training sets of AIO-Blur, one recipe per set.

They imitate how the blur of each set comes about and how strong it is, not what its pictures show, so a score on them
is never a score on the set of that name. Every number here is our choice; the medians are set so that the mean PSNR of
the blurred input comes near that of the real set. A sample depends on (seed, set, split, index) and its size alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from . import psf, scenes, sensor, trajectories
from .job import Job, Options, Pair


def _realblur(job: Job) -> Pair:
    """RealBlur-J: a hand-held camera at night with lamps. The sharp image lies at the centroid of the path."""
    canvas, names = job.canvases()
    light = sensor.to_linear(canvas)
    budget, boost = [2**-u for u in job.uniform(0.5, 3)], job.uniform(0.25, 1.75)
    light = (light + job.column(boost) * (light > 0.93)) * job.column(budget)
    lamps = torch.stack([scenes.point_lights(rng, *canvas.shape[-2:], 4.0) for rng in job.rngs])
    light = light + lamps.to(job.device)
    # A median of 10 px gives 28.3 dB on the bundled photographs; the target is 27.
    paths = job.paths(median=10.5, log_sd=0.5, length=0.25, anchor="centroid")
    exposed = job.crop(job.blurred(light, paths))
    exposed = job.camera(exposed, 8.9e-5, 2.9e-5, job.gains())
    blurred = sensor.contrast_curve(exposed)
    qualities = [int(rng.integers(90, 99)) if rng.random() < 0.5 else None for rng in job.rngs]
    if job.options.capture:
        blurred = torch.stack([
            image if quality is None else sensor.jpeg(image, quality)
            for image, quality in zip(blurred, qualities, strict=True)
        ])
    sharp = sensor.contrast_curve(job.crop(light))
    notes = [
        f"camera shake over {trajectories.extent(path):.1f} px at night, light budget {part:.2f}"
        for path, part in zip(paths, budget, strict=True)
    ]
    return job.pair(blurred, sharp, names, notes)


def _reloblur(job: Job) -> Pair:
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
        kernel = psf.path_kernels(paths, alpha.shape[-2:], job.device)
        blurred, cover = psf.moving_object(blurred, texture, alpha, kernel)
        sharp = alpha * texture + (1 - alpha) * sharp
        # 0.001, not 0.02: on a dark ground a trace of 2 % of the light is still a change of several code values.
        mask = torch.maximum(mask, ((cover > 1e-3) | (alpha > 1e-3)).to(mask.dtype))
        for found, here, path in zip(lengths, present, paths, strict=True):
            found += [trajectories.extent(path)] * here
    # Noise: K = 4e-5, sigma = 1.9e-4, and 4 K, 2 sigma in the shorter sharp exposure. In a camera without colour
    # correction, which raises the variance about 2.5 times, these would be 1e-4 and 3e-4.
    gains = job.gains()
    sharp = job.camera(job.crop(sharp), 1.6e-4, 3.8e-4, gains)
    blurred = job.camera(job.crop(blurred), 4e-5, 1.9e-4, gains)
    notes = [
        "nothing moves" if not found else "objects moving over " + " and ".join(f"{e:.1f} px" for e in found)
        for found in lengths
    ]
    return job.pair(sensor.to_srgb(blurred), sensor.to_srgb(sharp), names, notes, mask=job.crop(mask))


def _lolblur(job: Job) -> Pair:
    """LOLBlur: a darkened scene whose lamps stay bright, then camera motion. Sharp: the bright scene, mid-exposure."""
    canvas, names = job.canvases()
    # U(0.75, 1) gives 12.1 dB on the bundled photographs, which are dark; the target is 11.
    bright = canvas * job.column(job.uniform(0.85, 1))
    wanted = job.uniform(0.05, 0.25)
    lightness = _lightness(bright)
    targets = [min(e, 0.4 * float(mean)) for e, mean in zip(wanted, lightness.mean((1, 2, 3)), strict=True)]
    strength = [
        _darkening(one[0, ::8, ::8].double().cpu().numpy(), target)
        for one, target in zip(lightness, targets, strict=True)
    ]
    darker = _darken(lightness, job.column(strength))
    light = sensor.to_linear((bright * (darker / lightness.clamp(min=1e-3))).clamp(0, 1))
    # Lamps keep their light; where much of the picture is that bright it is a sky, which would be posterised.
    lamp = lightness > 0.97
    lamp = lamp & (lamp.float().mean((1, 2, 3), keepdim=True) < 0.05)
    light = torch.where(lamp, job.column(job.uniform(0.6, 4)), light)
    paths = job.paths(median=9, log_sd=0.5, length=0.6, anchor="mid")
    exposed = job.crop(job.blurred(light, paths))
    shot, read = (job.column(job.uniform(0.1 * top, top)) for top in (4e-4, 2e-3))
    blurred = sensor.to_srgb(job.camera(exposed, shot, read, job.gains()))
    notes = [
        f"darkened to a mean lightness of {target:.2f}, camera motion over {trajectories.extent(path):.1f} px"
        for target, path in zip(targets, paths, strict=True)
    ]
    return job.pair(blurred, job.crop(bright), names, notes)


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


def _gopro(job: Job) -> Pair:
    """GoPro: averaged gamma-encoded video frames, moving camera, in half of them a moving object. Sharp: the middle."""
    canvas, names = job.canvases()
    paths = job.paths(median=9, log_sd=0.5, length=0.6, anchor="mid")
    blurred, sharp = job.blurred(canvas, paths), canvas
    present = [rng.random() < 0.5 for rng in job.rngs]
    own = job.paths(median=9, log_sd=0.5, length=0.6, anchor="mid", roll=False)
    if any(present):
        texture, alpha = job.objects(canvas, names, present, [0.06] * len(names))
        both = [trajectories.limited(camera + path) for camera, path in zip(paths, own, strict=True)]
        kernel = psf.path_kernels(both, canvas.shape[-2:], job.device)
        blurred, _ = psf.moving_object(blurred, texture, alpha, kernel)
        sharp = alpha * texture + (1 - alpha) * canvas
    notes = [
        f"camera motion over {trajectories.extent(path):.1f} px"
        + (f", an object moving over {trajectories.extent(other):.1f} px besides" if here else "")
        for path, other, here in zip(paths, own, present, strict=True)
    ]
    return job.pair(job.crop(blurred), job.crop(sharp), names, notes)


def _dpdd(job: Job) -> Pair:
    """DPDD: a wide against a narrow aperture, with the small differences between two separate captures."""
    canvas, names = job.canvases(margin=24, scale=(1.0, 1.0), for_defocus=True)
    light = sensor.to_linear(canvas)
    disparity = torch.stack([scenes.disparity(rng, *canvas.shape[-2:]) for rng in job.rngs])
    focus = [
        float(rng.uniform(*np.quantile(one[0, ::4, ::4].numpy(), (0.05, 0.95))))
        for rng, one in zip(job.rngs, disparity, strict=True)
    ]
    # A median of 13 px gives 22.8 dB with these disparity maps; the target is 23.9.
    strength = job.draw(lambda rng: job.options.blur * 11.5 * np.exp(0.35 * rng.standard_normal()))
    # Half of the apertures are round, half polygons of 7 to 9 blades.
    blades = [int(rng.integers(7, 10)) if rng.random() < 0.5 else 0 for rng in job.rngs]
    angle = [5 * int(rng.integers(0, 12)) for _, rng in zip(blades, job.rngs, strict=True)]
    exposed = psf.defocus_blur(
        light, disparity.to(job.device), focus, strength, max_radius=21.0, blades=blades, angle=angle
    )
    offsets = np.stack([rng.normal(0, 0.35, 2) for rng in job.rngs])
    gain = job.draw(lambda rng: np.exp(0.05 * rng.standard_normal()))
    if job.options.capture:
        exposed = psf.shift(exposed, offsets) * job.column(gain)
    exposed = job.camera(job.crop(exposed), 2e-5, 1e-4, job.gains())
    radii = [
        min(k * float((one - at).abs().max()), 21.0) for k, one, at in zip(strength, disparity, focus, strict=True)
    ]
    notes = [f"out of focus by up to {radius:.1f} px (radius of the disk)" for radius in radii]
    return job.pair(sensor.to_srgb(exposed), job.crop(canvas), names, notes)


# The number is part of the random key: a set keeps its samples when others are added.
_RECIPES: dict[str, tuple[int, Callable[[Job], Pair]]] = {
    "RealBlur": (1, _realblur),
    "ReLoBlur": (2, _reloblur),
    "LOLBlur": (3, _lolblur),
    "GoPro": (4, _gopro),
    "DPDD": (5, _dpdd),
}
SETS = tuple(_RECIPES)
_SPLITS = ("train", "val", "test")


def synthesize_batch(
    name: str,
    split: str,
    indices: Sequence[int],
    *,
    size: int | tuple[int, int],
    seed: int = 0,
    device: torch.device | str = "cpu",
    options: Options | None = None,
) -> Pair:
    """Samples ``indices`` of the stand-in for set ``name`` as one batch: images (B,3,H,W), mask (B,1,H,W) or None.

    On the CPU it equals the single samples bit for bit; on a GPU, where the batch is computed at once, to rounding.
    Raises ``ValueError`` on an unknown set or split, no indices, a negative seed or index, or a side under 8 pixels.
    """
    if name not in _RECIPES:
        raise ValueError(f"no synthetic set {name!r}: choose one of {', '.join(SETS)}")
    if split not in _SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(_SPLITS)}")
    indices = [int(index) for index in indices]
    height, width = (size, size) if isinstance(size, int) else (int(side) for side in size)
    if not indices or min(indices) < 0 or seed < 0:
        raise ValueError(f"need at least one index, and indices and seed of 0 or more: {indices}, seed {seed}")
    if min(height, width) < 8:
        raise ValueError(f"a synthetic image has at least 8x8 pixels, not {height}x{width}")
    number, recipe = _RECIPES[name]
    device = torch.device(device)
    rngs = [
        np.random.default_rng(np.random.SeedSequence([seed, number, _SPLITS.index(split), index])) for index in indices
    ]
    # One sample at a time on the CPU: as fast there, small enough for its caches, and no result depends on the batch.
    groups = [[rng] for rng in rngs] if device.type == "cpu" else [rngs]
    with torch.no_grad():
        parts = [recipe(Job(group, split, (height, width), device, options or Options())) for group in groups]
    return Pair(
        torch.cat([part.blurred for part in parts]),
        torch.cat([part.sharp for part in parts]),
        None if parts[0].mask is None else torch.cat([part.mask for part in parts]),
        sum((part.source for part in parts), ()),
        sum((part.note for part in parts), ()),
    )


def synthesize(
    name: str,
    split: str,
    index: int,
    *,
    size: int | tuple[int, int],
    seed: int = 0,
    device: torch.device | str = "cpu",
    options: Options | None = None,
) -> Pair:
    """Sample ``index`` of the stand-in for set ``name``: "RealBlur", "ReLoBlur", "LOLBlur", "GoPro" or "DPDD".

    ``split`` is "train", "val" or "test" (by source of the sharp picture), ``size`` (H,W) or one side in pixels.
    Errors as for ``synthesize_batch``.
    """
    batch = synthesize_batch(name, split, [index], size=size, seed=seed, device=device, options=options)
    mask = None if batch.mask is None else batch.mask[0]
    return Pair(batch.blurred[0], batch.sharp[0], mask, batch.source[0], batch.note[0])
