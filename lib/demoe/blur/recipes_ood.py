"""The recipes of the sets outside training: AIO-Blur-OOD and the control without blur.

Each differs from its relative among the training sets where the real one does: another camera, another motion, stronger
blur, less light. Every number here is our choice; the medians are set so that the mean PSNR of the blurred input comes
near that of the real set (``calibration``).
"""

from __future__ import annotations

from . import sensor
from .cameras import record
from .job import Job, Pair
from .recipes_training import defocused, night, night_notes, night_shot


def realdof(job: Job) -> Pair:
    """RealDOF: as DPDD, with a wider aperture, two cameras better matched, and apertures clipped to a cat's eye."""
    return defocused(job, 23.0, max_radius=31.0, cat_eye=0.8)


def rsblur(job: Job) -> Pair:
    """RSBlur: a hand-held camera in dim light that moves by another law than in training. Sharp: mid-exposure.

    Noise as the set's own code has it: none where a photosite is saturated.
    """
    canvas, names = job.canvases()
    light, budget = night(job, canvas, (0, 1), lamps=1)
    paths = job.paths(median=3.4, log_sd=0.5, length=None, anchor="mid")
    return record(job, job.blurred(light, paths), light, names, night_notes(paths, budget))


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
