"""What all recipes share: the result, the options, and the job of making one batch.

Every random number of a sample comes from that sample's own generator, in an order that does not depend on the rest of
the batch; the images are computed for the whole batch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from . import psf, scenes, sensor, sources, trajectories
from .cameras import Camera

MARGIN = 52  # pixels around the frame: the longest path and what roll adds to it
MAX_ROLL = 0.3  # degrees

Made = TypeVar("Made")


@dataclass(frozen=True)
class Pair:
    """A blurred image and its sharp counterpart, (3,H,W) sRGB in [0,1] on the levels of ``Options.bits``, 8 by default.

    ``mask`` (1,H,W) is 1 where a moving object left its trace (ReLoBlur only, else None). ``source`` names the sharp
    picture and ``note`` says in words what was done to it. ``named`` is false where there is too little blur to say of
    which kind it is (``recipes_shared`` only). A batch has (B,3,H,W), (B,1,H,W) and a tuple of each text and truth.
    """

    blurred: Tensor
    sharp: Tensor
    mask: Tensor | None
    source: str | tuple[str, ...]
    note: str | tuple[str, ...]
    named: bool | tuple[bool, ...] = True


@dataclass(frozen=True)
class Options:
    """What an experiment may change in a recipe. The defaults are the sets as they are trained and tested on."""

    blur: float = 1.0  # multiplies every extent, roll and circle of confusion; 0 is no blur
    capture: str = (
        "set"  # whose camera: the set's own, "none", another set's by its name, or "shared", one for all kinds
    )
    cameras: float = 1.0  # share of pictures that the shared camera changes; the others are free of it
    canvas: Callable[..., tuple[Tensor, str]] = sources.sharp_canvas  # where sharp pictures come from
    gamma: bool = False  # GoPro: average with a response of gamma 2.2, as the set's blur_gamma folders do
    bits: int = 8  # levels of the result: 8, or 16 for DPDD's 16-bit protocol


@dataclass(frozen=True)
class Job:
    """What a recipe gets: one random generator per sample, and what is common to the batch."""

    rngs: list[np.random.Generator]
    split: str
    size: tuple[int, int]
    device: torch.device
    options: Options
    camera: Camera

    def each(self, make: Callable[..., Made], *columns: Sequence) -> list[Made]:
        """``make(rng, ...)`` for every sample. Beside a GPU all cores take part, or it would wait for one of them."""
        if self.device.type == "cpu" or len(self.rngs) == 1:
            return list(map(make, self.rngs, *columns))
        workers = min(len(self.rngs), os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(make, self.rngs, *columns))

    def draw(self, sampler: Callable[[np.random.Generator], float]) -> list[float]:
        return [float(sampler(rng)) for rng in self.rngs]

    def uniform(self, low: float, high: float) -> list[float]:
        return self.draw(lambda rng: rng.uniform(low, high))

    def column(self, values: Sequence[float]) -> Tensor:
        """One number per sample, (B,1,1,1)."""
        return torch.tensor(list(values), dtype=torch.float32, device=self.device).view(-1, 1, 1, 1)

    def stack(self, pictures: Sequence[Tensor]) -> Tensor:
        """One picture per sample as a batch on the device: one transfer for all."""
        return torch.stack(list(pictures)).to(self.device)

    def canvas_size(self, margin: int) -> tuple[int, int]:
        height, width = (psf.fft_length(side + 2 * margin) for side in self.size)
        return height, width

    def canvases(self, margin: int = MARGIN, for_defocus: bool = False) -> tuple[Tensor, list[str]]:
        """Sharp pictures (B,3,S,T) with a margin, sRGB, as large as the camera sees them.

        ``for_defocus`` leaves out those that are out of focus themselves.
        """
        # Far from the centre of a large frame roll reaches further than the margin allows for.
        roll = self.options.blur * math.radians(MAX_ROLL) * math.hypot(*self.size) / 2
        height, width = self.canvas_size(margin + max(0, math.ceil(roll - (MARGIN - trajectories.MAX_EXTENT))))
        make, split, scale = self.options.canvas, self.split, self.camera.scale
        drawn = self.each(
            lambda rng: make(rng, split, height, width, scale=rng.uniform(*scale), for_defocus=for_defocus)
        )
        return self.stack([canvas for canvas, _ in drawn]), [name for _, name in drawn]

    def paths(
        self, median: float, log_sd: float, anchor: str, length: float | None, roll: bool = True
    ) -> list[np.ndarray]:
        """One path per sample, with correlation time ``length``; None is the walk. Half of the cameras also roll."""
        paths = []
        for rng in self.rngs:
            reach = min(self.options.blur * trajectories.sample_extent(rng, median, log_sd), trajectories.MAX_EXTENT)
            angle = rng.uniform(0, MAX_ROLL) * (rng.random() < 0.5)
            degrees = self.options.blur * angle if roll else 0.0
            if length is None:
                path = trajectories.walk(rng, reach, roll_degrees=degrees, anchor=anchor)
            else:
                path = trajectories.sample(rng, reach, length=length, roll_degrees=degrees, anchor=anchor)
            paths.append(path)
        return paths

    def blurred(self, canvas: Tensor, paths: list[np.ndarray]) -> Tensor:
        return psf.motion_blur(canvas, paths, frame=self.size)

    def objects(
        self, background: Tensor, names: list[str], present: list[bool], area: list[float], contrast: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Texture (B,3,S,T) and outline (B,1,S,T) of one object each, from another source; both 0 where not present.

        ``area`` is the fraction of the canvas, so that some objects reach out of the frame; ``contrast`` below 1 blends
        the texture with the background's mean colour.
        """
        height, width = background.shape[-2:]
        nothing = torch.zeros(3, height, width), torch.zeros(1, height, width)

        def make(rng: np.random.Generator, name: str, here: bool, fraction: float) -> tuple[Tensor, Tensor]:
            if not here:  # nothing is drawn from the generator, whatever the rest of the batch needs
                return nothing
            scale = rng.uniform(*self.camera.scale)
            texture, _ = self.options.canvas(rng, self.split, height, width, scale=scale, exclude=name)
            return texture, scenes.blob_alpha(rng, height, width, min(fraction, 0.9))

        texture, outline = map(self.stack, zip(*self.each(make, names, present, area), strict=True))
        mean = background.mean((2, 3), keepdim=True)
        return contrast * texture + (1 - contrast) * mean, outline

    def lamps(self, canvas: Tensor, mean_count: float) -> Tensor:
        """Point lights (B,3,S,T) in linear light, on average ``mean_count`` on a canvas."""
        return self.stack(self.each(lambda rng: scenes.point_lights(rng, *canvas.shape[-2:], mean_count)))

    def crop(self, canvas: Tensor, border: int = 0) -> Tensor:
        """The frame, the middle of a canvas, with ``border`` pixels around it."""
        return psf.crop(canvas, (self.size[0] + 2 * border, self.size[1] + 2 * border))

    def pair(
        self,
        blurred: Tensor,
        sharp: Tensor,
        names: list[str],
        notes: list[str],
        mask: Tensor | None = None,
        named: list[bool] | None = None,
    ) -> Pair:
        bits = self.options.bits
        files = sensor.quantise(blurred, bits), sensor.quantise(sharp, bits)
        return Pair(*files, mask, tuple(names), tuple(notes), tuple(named or [True] * len(names)))
