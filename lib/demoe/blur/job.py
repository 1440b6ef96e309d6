"""What the recipes of ``sets`` share: the result, the options, and the job of making one batch.

Every random number of a sample comes from that sample's own generator, in an order that does not depend on the rest of
the batch; the images are computed for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import psf, scenes, sensor, sources, trajectories

MARGIN = 52  # pixels around the frame: the longest path and what roll adds to it


@dataclass(frozen=True)
class Pair:
    """A blurred image and its sharp counterpart, (3,H,W) sRGB on 8-bit levels in [0,1], or (B,3,H,W) for a batch.

    ``mask`` (1,H,W) is 1 where a moving object left its trace (ReLoBlur only, else None). ``source`` names the sharp
    picture and ``note`` says in words what was done to it; a batch has a tuple of each.
    """

    blurred: Tensor
    sharp: Tensor
    mask: Tensor | None
    source: str | tuple[str, ...]
    note: str | tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """What an experiment may change in a recipe. The defaults are the sets as they are trained and tested on."""

    blur: float = 1.0  # multiplies every extent and every circle of confusion; 0 is no blur
    capture: bool = True  # False: no noise, mosaic, JPEG, misregistration or change of gain
    exact: bool = False  # camera motion by averaging warped frames instead of convolution: slow, for comparison
    canvas: Callable[..., tuple[Tensor, str]] = sources.sharp_canvas  # where sharp pictures come from


@dataclass(frozen=True)
class Job:
    """What a recipe gets: one random generator per sample, and what is common to the batch."""

    rngs: list[np.random.Generator]
    split: str
    size: tuple[int, int]
    device: torch.device
    options: Options

    def draw(self, sampler: Callable[[np.random.Generator], float]) -> list[float]:
        return [float(sampler(rng)) for rng in self.rngs]

    def uniform(self, low: float, high: float) -> list[float]:
        return self.draw(lambda rng: rng.uniform(low, high))

    def column(self, values: Sequence[float]) -> Tensor:
        """One number per sample, (B,1,1,1)."""
        return torch.tensor(list(values), dtype=torch.float32, device=self.device).view(-1, 1, 1, 1)

    def canvases(
        self, margin: int = MARGIN, scale: tuple[float, float] = (1.25, 1.75), for_defocus: bool = False
    ) -> tuple[Tensor, list[str]]:
        """Sharp pictures (B,3,S,T) with a margin, sRGB. Motion sets enlarge the source: real frames are softer."""
        height, width = (psf.fft_length(side + 2 * margin) for side in self.size)
        drawn = [
            self.options.canvas(rng, self.split, height, width, scale=rng.uniform(*scale), for_defocus=for_defocus)
            for rng in self.rngs
        ]
        return torch.stack([canvas for canvas, _ in drawn]).to(self.device), [name for _, name in drawn]

    def paths(self, median: float, log_sd: float, length: float, anchor: str, roll: bool = True) -> list[np.ndarray]:
        """One path per sample. Half of the cameras also roll, by up to 0.3 degrees."""
        paths = []
        for rng in self.rngs:
            reach = self.options.blur * trajectories.sample_extent(rng, median, log_sd)
            angle = rng.uniform(0, 0.3) * (rng.random() < 0.5)
            degrees = self.options.blur * angle if roll else 0.0
            paths.append(
                trajectories.sample(
                    rng, min(reach, trajectories.MAX_EXTENT), length=length, roll_degrees=degrees, anchor=anchor
                )
            )
        return paths

    def blurred(self, canvas: Tensor, paths: list[np.ndarray]) -> Tensor:
        return psf.motion_blur(canvas, paths, exact=self.options.exact)

    def objects(
        self, background: Tensor, names: list[str], present: list[bool], area: list[float], contrast: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Texture (B,3,S,T) and outline (B,1,S,T) of one object each, from another source; both 0 where not present.

        ``area`` is the fraction of the canvas, so that some objects reach out of the frame; ``contrast`` below 1 blends
        the texture with the background's mean colour.
        """
        height, width = background.shape[-2:]
        texture = torch.zeros(background.shape)
        outline = torch.zeros(len(names), 1, height, width)
        for i, (rng, name, here, fraction) in enumerate(zip(self.rngs, names, present, area, strict=True)):
            if here:  # otherwise nothing is drawn from the generator, whatever the rest of the batch needs
                scale = rng.uniform(1.25, 1.75)
                texture[i], _ = self.options.canvas(rng, self.split, height, width, scale=scale, exclude=name)
                outline[i] = scenes.blob_alpha(rng, height, width, min(fraction, 0.9))
        mean = background.mean((2, 3), keepdim=True)
        return contrast * texture.to(self.device) + (1 - contrast) * mean, outline.to(self.device)

    def crop(self, canvas: Tensor) -> Tensor:
        return psf.crop(canvas, self.size)

    def camera(self, light: Tensor, shot: Tensor | float, read: Tensor | float, gains: Tensor) -> Tensor:
        """Linear light (B,3,H,W) as recorded by a noisy sensor, linear in [0,1]."""
        if not self.options.capture:
            return sensor.expose(light, None)
        normal = torch.stack(
            [torch.from_numpy(rng.standard_normal((1, *self.size), dtype=np.float32)) for rng in self.rngs]
        ).to(self.device)
        return sensor.expose(light, normal, shot=shot, read=read, gains=gains)

    def gains(self) -> Tensor:
        """White balance (B,3,1,1) with red and blue in the range found in RealBlur's raw files."""
        drawn = [(rng.uniform(1.51, 2.66), 1.0, rng.uniform(1.46, 2.92)) for rng in self.rngs]
        return torch.tensor(drawn, dtype=torch.float32, device=self.device)[:, :, None, None]

    def pair(self, blurred: Tensor, sharp: Tensor, names: list[str], notes: list[str], mask: Tensor | None = None):
        return Pair(sensor.quantise(blurred), sensor.quantise(sharp), mask, tuple(names), tuple(notes))
