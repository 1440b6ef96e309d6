"""Blur by motion and by defocus, as convolutions on a canvas with a margin.

Every function here takes and returns whole canvases, (B,C,S,T). Convolution is circular, so a border as wide as the
longest blur is wrong; ``crop`` takes it away. Images may be sRGB or linear light: that is the caller's business.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS_STEP = 0.25  # pixels; defocus radii are rounded to this


def fft_length(minimum: int) -> int:
    """The smallest even length of at least ``minimum`` with no prime factor above 5, for which the FFT is fast."""
    length = minimum + minimum % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def crop(canvas: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle (..., H, W) of a canvas."""
    top, left = (canvas.shape[-2] - size[0]) // 2, (canvas.shape[-1] - size[1]) // 2
    return canvas[..., top : top + size[0], left : left + size[1]]


def splat(points: np.ndarray, size: tuple[int, int]) -> Tensor:
    """The PSF of a path: each of its points (N,2), x and y in pixels, is shared between its four neighbours bilinearly.

    Returns (H,W) float32, nonnegative, with sum 1. The origin is at [0, 0] and negative offsets wrap, as the FFT
    wants it; ``torch.fft.fftshift`` centres it for the eye.
    """
    height, width = size
    corner = np.floor(points).astype(np.int64)
    fraction = points - corner
    kernel = np.zeros(height * width)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1])
            cell = (corner[:, 1] + dy) % height * width + (corner[:, 0] + dx) % width
            np.add.at(kernel, cell, weight)
    return torch.from_numpy((kernel / len(points)).astype(np.float32)).view(height, width)


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """Circular convolution of ``image`` (B,C,H,W) with ``kernel`` (B,1 or C,H,W), whose origin is at [0, 0]."""
    return torch.fft.irfft2(torch.fft.rfft2(image) * torch.fft.rfft2(kernel), s=image.shape[-2:])


def path_kernels(paths: list[np.ndarray], size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """PSFs (B,1,H,W) of the translation of each path (N,3)."""
    return torch.stack([splat(path[:, :2], size) for path in paths])[:, None].to(device)


def _hat(length: int, nodes: int, device: torch.device | str) -> Tensor:
    """Linear interpolation weights (nodes, length); they sum to 1 at every pixel."""
    position = torch.linspace(0, nodes - 1, length, device=device)
    return (1 - (position - torch.arange(nodes, device=device)[:, None]).abs()).clamp(min=0)


def _displacements(path: np.ndarray, x: float, y: float) -> np.ndarray:
    """Where a point at (x, y) pixels from the centre goes, relative to itself, along a path with roll. (N,2)."""
    cosine, sine = np.cos(path[:, 2]), np.sin(path[:, 2])
    return np.stack([cosine * x - sine * y - x, sine * x + cosine * y - y], axis=1) + path[:, :2]


def motion_blur(
    image: Tensor, paths: list[np.ndarray], *, nodes: int | None = None, exact: bool = False
) -> Tensor:
    """``image`` (B,C,H,W) blurred by one path (N,3) per image: x and y in pixels, roll in radians about the centre.

    The light of each pixel is spread along the path of that pixel. Without roll this is one convolution. With roll
    the PSFs at ``nodes`` x ``nodes`` points of the canvas (its four corners by default, 3x3 for frames above 384
    pixels) are blended bilinearly, and the weights multiply the image *before* the convolution: no light is lost.
    ``exact=True`` averages one warped image per point of the path instead, for comparison; it is many times slower.
    On a photograph of 200x256 pixels, a path of 12 pixels and 0.2, 0.5, 1 degree of roll the two agree to 56, 44, 36 dB
    with 2x2 and to 70, 55, 46 dB with 3x3 nodes.
    """
    if exact:
        return torch.cat([_average_of_warps(one[None], path) for one, path in zip(image, paths, strict=True)])
    size = tuple(image.shape[-2:])
    if not any(path[:, 2].any() for path in paths):
        return convolve(image, path_kernels(paths, size, image.device))
    nodes = nodes or (2 if max(size) <= 384 + 2 * 64 else 3)
    rows, columns = _hat(size[0], nodes, image.device), _hat(size[1], nodes, image.device)
    ys, xs = ((np.linspace(0, length - 1, nodes) - (length - 1) / 2) for length in size)
    spectrum = 0
    for i in range(nodes):
        for j in range(nodes):
            kernel = torch.stack([splat(_displacements(path, xs[j], ys[i]), size) for path in paths])[:, None]
            weighted = image * (rows[i][:, None] * columns[j])
            spectrum = spectrum + torch.fft.rfft2(weighted) * torch.fft.rfft2(kernel.to(image.device))
    return torch.fft.irfft2(spectrum, s=size)


def _average_of_warps(image: Tensor, path: np.ndarray) -> Tensor:
    """The exposure as the mean of one warp of ``image`` (1,C,H,W) per point of ``path``; black beyond the border."""
    height, width = image.shape[-2:]
    total = torch.zeros_like(image)
    for x, y, roll in path:
        # grid_sample asks where an output pixel comes from: undo the translation, then the rotation, in units of half a
        # frame from the centre of the first to the centre of the last pixel.
        half_w, half_h = max(width - 1, 1) / 2, max(height - 1, 1) / 2
        cosine, sine = float(np.cos(roll)), float(np.sin(roll))
        theta = torch.tensor([[
            [cosine, sine * half_h / half_w, (-cosine * x - sine * y) / half_w],
            [-sine * half_w / half_h, cosine, (sine * x - cosine * y) / half_h],
        ]], dtype=image.dtype, device=image.device)
        grid = F.affine_grid(theta, list(image.shape), align_corners=True)
        total += F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return total / len(path)


def moving_object(background: Tensor, texture: Tensor, alpha: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """An object that moves in front of an (already blurred) background: B = k*(aT) + (1 - k*a) background.

    ``background`` and ``texture`` (B,3,H,W), ``alpha`` (B,1,H,W) in [0,1], ``kernel`` (B,1,H,W). Returns the composite
    and the blurred alpha. Exact for a static background; for a moving one it ignores which part was hidden when.
    """
    smeared = convolve(torch.cat([alpha * texture, alpha], dim=1), kernel)  # (B,4,H,W), colour premultiplied
    cover = smeared[:, 3:].clamp(0, 1)
    return smeared[:, :3] + (1 - cover) * background, cover


@lru_cache(maxsize=1024)
def disk(radius: float, blades: int = 0, angle: int = 0) -> np.ndarray:
    """The PSF of defocus, (2n+1, 2n+1) float32 with sum 1: a disk of ``radius`` pixels with an edge one pixel wide.

    ``blades`` of 3 or more makes it a regular polygon with that many sides (radius to the corners), turned by
    ``angle`` degrees. A radius of up to half a pixel is no blur.
    """
    reach = int(np.ceil(radius + 0.5))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    distance = np.hypot(x, y)
    if blades >= 3:
        sector = 2 * np.pi / blades
        within = (np.arctan2(y, x) - np.deg2rad(angle)) % sector - sector / 2
        distance = distance * np.cos(within) / np.cos(sector / 2)  # now constant along the sides
    kernel = np.clip(radius + 0.5 - distance, 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def embed(kernel: np.ndarray, size: tuple[int, int]) -> Tensor:
    """A small odd-sized kernel on an (H,W) canvas with its centre at [0, 0]."""
    height, width = size
    reach = kernel.shape[0] // 2
    steps = np.arange(-reach, reach + 1)
    canvas = np.zeros(size, np.float32)
    canvas[np.ix_(steps % height, steps % width)] = kernel
    return torch.from_numpy(canvas)


def defocus_blur(
    image: Tensor,
    disparity: Tensor,
    focus: list[float],
    strength: list[float],
    *,
    max_radius: float = 21.0,
    slices: int = 10,
    blades: list[int] | None = None,
    angle: list[int] | None = None,
) -> Tensor:
    """``image`` (B,3,H,W) seen through a wide aperture, by layered compositing.

    ``disparity`` (B,1,H,W) is larger where the scene is nearer. A point at disparity d is spread over a disk of radius
    ``strength`` * abs(d - ``focus``) pixels, at most ``max_radius``. The disparity range is cut into ``slices``, one of
    them centred on the focus; colour and opacity of a slice are blurred by the same disk, slices are laid over one
    another from far to near, and the sum is divided by the opacity reached, which fills what no slice had seen.
    """
    batch, _, *size = image.shape
    blades, angle = blades or [0] * batch, angle or [0] * batch
    low, high = disparity.amin((1, 2, 3), keepdim=True), disparity.amax((1, 2, 3), keepdim=True)
    step = ((high - low) / (slices - 1)).clamp(min=1e-6)
    focus_column = torch.tensor(focus, dtype=image.dtype, device=image.device).view(-1, 1, 1, 1)
    level = ((disparity - focus_column) / step).round()  # (B,1,H,W), 0 in focus
    first = level.amin((1, 2, 3), keepdim=True)
    colour, opacity = torch.zeros_like(image), torch.zeros_like(disparity)
    firsts, steps = first.flatten().tolist(), step.flatten().tolist()
    for index in range(slices + 1):  # rounding both ends may need one more slice
        layer = (level == first + index).to(image.dtype)
        if not layer.any():
            continue
        radii = [
            min(k * abs(start + index) * width, max_radius)
            for k, start, width in zip(strength, firsts, steps, strict=True)
        ]
        kernels = torch.stack([
            embed(disk(round(radius / RADIUS_STEP) * RADIUS_STEP, sides, turn), tuple(size))
            for radius, sides, turn in zip(radii, blades, angle, strict=True)
        ])[:, None].to(image.device)
        spread = convolve(torch.cat([layer * image, layer], dim=1), kernels)  # (B,4,H,W)
        passed = 1 - spread[:, 3:].clamp(0, 1)
        colour = spread[:, :3] + passed * colour
        opacity = spread[:, 3:] + passed * opacity
    return colour / opacity.clamp(min=1e-4)


def shift(canvas: Tensor, offsets: np.ndarray) -> Tensor:
    """``canvas`` (B,C,H,W) moved by ``offsets`` (B,2), x and y in pixels, bilinearly; wraps at the border."""
    moved = []
    for one, (x, y) in zip(canvas, offsets, strict=True):
        left, top = int(np.floor(x)), int(np.floor(y))
        along = torch.lerp(one.roll(left, -1), one.roll(left + 1, -1), float(x - left))
        moved.append(torch.lerp(along.roll(top, -2), along.roll(top + 1, -2), float(y - top)))
    return torch.stack(moved)
