"""The recipes of the sets outside training: AIO-Blur-OOD and the control without blur.

Each differs from its relative among the training sets where the real one does: another camera, another motion, stronger
blur, less light. Every number here is our choice; the medians are set so that the mean PSNR of the blurred input comes
near that of the real set (``calibration``).
"""

from __future__ import annotations

from torch import Tensor

from . import psf, sensor, trajectories
from .cameras import record
from .job import Job, Pair
from .recipes_training import defocused, night_shot


def realdof(job: Job) -> Pair:
    """RealDOF: as DPDD, with a wider aperture, two cameras better matched, and apertures clipped to a cat's eye."""
    return defocused(job, 23.0, max_radius=31.0, cat_eye=0.8)


def rsblur(job: Job) -> Pair:
    """RSBlur: a hand-held camera by day and by dim light, where something may move as well. Sharp: mid-exposure.

    Its camera is the set's own, as far as its code tells (``cameras``): highlights are above white by U(0.25, 1.75), as
    there. Ours: walks of a constant speed, and an object in half of the scenes that moves otherwise than the camera. No
    lamps.
    """
    canvas, names = job.canvases()
    light = _bright(canvas, job.column(job.uniform(0.25, 1.75))) * job.column([2**-u for u in job.uniform(0, 1.5)])
    paths = job.paths(median=3.4, log_sd=0.5, length=None, anchor="mid")
    own = job.paths(median=6, log_sd=0.5, length=None, anchor="mid", roll=False)
    present = [rng.random() < 0.5 for rng in job.rngs]
    blurred, sharp = job.blurred(light, paths), light
    if any(present):
        texture, alpha = job.objects(canvas, names, present, [0.12] * len(names))
        texture = sensor.to_linear(texture)
        both = [trajectories.limited(camera + path) for camera, path in zip(paths, own, strict=True)]
        blurred, _ = psf.moving_object(blurred, texture, alpha, psf.splats(both, canvas.shape[-2:], job.device))
        sharp = alpha * texture + (1 - alpha) * sharp
    notes = [
        f"camera moved over {trajectories.extent(path):.1f} px"
        + (f", an object over {trajectories.extent(other):.1f} px besides" if here else "")
        for path, other, here in zip(paths, own, present, strict=True)
    ]
    return record(job, blurred, sharp, names, notes)


def _bright(canvas: Tensor, boost: Tensor) -> Tensor:
    """A scene in linear light whose highlights an 8-bit picture has clipped; by ``boost`` (B,1,1,1) above white."""
    light = sensor.to_linear(canvas)
    return light + boost * ((light - 0.75) * 4).clamp_(min=0).square_()


def real_lolblur(job: Job) -> Pair:
    """Real-LOLBlur: RealBlur with much less light and a noisier sensor. The real set has no sharp images.

    The sharp image is the dark scene itself, for measurements alone: nobody who is given the set is given it.
    """
    return night_shot(job, (2.5, 5), median=10)


def lolv2_real(job: Job) -> Pair:
    """LOL-v2 real: a short against a long exposure of a scene that does not move. No blur: a control."""
    canvas, names = job.canvases(margin=0)
    part = job.uniform(0.02, 0.11)
    light = sensor.to_linear(canvas)
    notes = [f"exposed to {share:.3f} of the light, nothing moves" for share in part]
    return record(job, light * job.column(part), light, names, notes)
