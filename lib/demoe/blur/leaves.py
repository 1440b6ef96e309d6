"""Dead-leaves scenes: opaque shapes painted front to back until the canvas is covered.

The radius density is r^-3 (Achddou et al., "Synthetic images as a regularity prior for image restoration neural
networks"); shapes and textures follow VibrantLeaves. Sizes and proportions are our choice, set so that gradients and
spectrum resemble those of photographs.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MIN_RADIUS, _MAX_RADIUS = 10.0, 500 / 1024  # pixels of the double-size canvas; fraction of its side


def paint(rng: np.random.Generator, photo: np.ndarray, size: int) -> np.ndarray:
    """One scene, uint8 (3,size,size), in the colours of ``photo``, uint8 (3,H,W).

    It is painted at twice the size and averaged down, which smooths the edges. Every colour is one of ``photo`` or lies
    between two of them.
    """
    owner, radius = _owners(rng, 2 * size)
    canvas = _colour(rng, owner, radius, photo)  # (3, 2 size, 2 size) float32, 0 .. 255
    canvas = _write_text(rng, canvas, photo)
    small = canvas.reshape(3, size, 2, size, 2).mean(axis=(2, 4))
    return (small + 0.5).astype(np.uint8)


def _owners(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Which leaf is seen at each pixel (side,side) int32, and the radius in pixels of every leaf."""
    largest = _MAX_RADIUS * side
    smallest = min(_MIN_RADIUS, largest / 2)
    owner = np.full((side, side), -1, np.int32)
    bare = np.ones((side, side), bool)
    axis = np.arange(side, dtype=np.float32)
    radii: list[np.ndarray] = []
    count = 0
    while bare.any():
        # Inverse distribution function of r^-3 on [smallest, largest]; centres reach beyond the borders.
        r = (smallest**-2 - rng.random(8192) * (smallest**-2 - largest**-2)) ** -0.5
        centre = rng.uniform(-largest, side + largest, (8192, 2))
        inside = ((centre > -r[:, None]) & (centre < side + r[:, None])).all(axis=1)
        r, centre = r[inside], centre[inside]
        low = np.clip(np.floor(centre - r[:, None]), 0, side).astype(int)
        high = np.clip(np.ceil(centre + r[:, None]) + 1, 0, side).astype(int)
        kind = rng.integers(4, size=len(r))  # ellipse, rectangle, wobble, disk
        angle = rng.uniform(0, 2 * np.pi, len(r))
        aspect = rng.uniform(0.3, 1, len(r))
        radii.append(r)
        columns = low, high, centre, kind, aspect, np.cos(angle) / r, np.sin(angle) / r
        parts = zip(*(column.tolist() for column in columns), strict=True)
        for (y0, x0), (y1, x1), (cy, cx), shape, thin, cosine, sine in parts:
            count += 1
            view = bare[y0:y1, x0:x1]
            if not view.any():
                continue
            dy, dx = axis[y0:y1, None] - np.float32(cy), axis[None, x0:x1] - np.float32(cx)
            hit = _inside(shape, np.float32(thin), np.float32(cosine), np.float32(sine), dy, dx)
            hit &= view
            np.copyto(owner[y0:y1, x0:x1], count - 1, where=hit)
            view ^= hit
    return owner, np.concatenate(radii)


def _inside(shape: int, thin: float, cosine: float, sine: float, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Where a leaf covers its box: offsets ``dy`` (h,1), ``dx`` (1,w) from its centre -> (h,w) bool."""
    u = cosine * dx + sine * dy
    v = cosine * dy - sine * dx  # (u, v): turned, in units of the radius
    if shape == 0:
        return u * u + (v / thin) ** 2 < 1
    if shape == 1:
        half = 1 / np.sqrt(1 + thin * thin)  # the corners touch the unit circle
        return (np.abs(u) < half) & (np.abs(v) < half * thin)
    square = u * u + v * v
    if shape == 2:
        # Radius 0.75 + waves of orders 2 and 3, written with cos 2t = (u^2 - v^2) / rho^2 to avoid angles.
        rho = np.sqrt(square) + np.float32(1e-6)
        wave = (u * u - v * v) / square.clip(1e-12)
        wave3 = u * (u * u - 3 * v * v) / (rho * rho * rho)
        return rho < 0.75 + 0.15 * thin * wave + 0.25 * (1 - thin) * wave3
    return square < 1


def _colour(rng: np.random.Generator, owner: np.ndarray, radius: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Colour every leaf with one colour of ``photo`` or a blend of two: (3,side,side) float32 in 0 .. 255.

    Being a blend, no colour leaves the range of the photograph. 60 % of the leaves are textured: 16 % of these with
    waves, 67 % with 1/f^s noise, 17 % with both (VibrantLeaves); up to five large leaves carry a linear gradient.
    """
    side = len(owner)
    seen, flat = np.unique(owner, return_inverse=True)
    flat = flat.reshape(-1).astype(np.int32)
    count = len(seen)
    first, second = _colours(rng, photo, count), _colours(rng, photo, count)  # (count,3) each
    textured = rng.random(count) < 0.6
    waves, both = rng.random(count) < 0.33, rng.random(count) < 0.5
    wave_share = np.where(waves, np.where(both, 0.5, 1.0), 0.0).astype(np.float32)

    # Texture fields tile without seams, so that a leaf reads one at any offset.
    tile = 256
    fields = _noise_fields(rng, 6, tile)
    y, x = np.divmod(np.arange(side * side, dtype=np.int32), np.int32(side))
    shift = rng.integers(tile, size=(count, 2), dtype=np.int32)
    which = rng.integers(len(fields), size=count, dtype=np.int32)
    index = ((y + shift[flat, 0]) & (tile - 1)) * tile + ((x + shift[flat, 1]) & (tile - 1)) + which[flat] * tile**2
    blend = (1 - wave_share)[flat] * fields.reshape(-1)[index]
    turn, wavelength = rng.uniform(0, np.pi, count), np.exp(rng.uniform(np.log(6), np.log(60), count))
    frequency = (2 * np.pi / wavelength * np.stack([np.cos(turn), np.sin(turn)])).astype(np.float32)
    wavy = np.flatnonzero((wave_share > 0)[flat])
    at = flat[wavy]
    blend[wavy] += wave_share[at] * (0.5 + 0.5 * np.sin(frequency[0, at] * x[wavy] + frequency[1, at] * y[wavy]))
    blend *= textured[flat]

    area = np.bincount(flat, minlength=count)
    large = np.flatnonzero((radius[seen] > 0.1 * side) & (area > 2000))
    for leaf in large[: rng.integers(6)]:
        here = np.flatnonzero(flat == leaf)
        angle = rng.uniform(0, 2 * np.pi)
        ramp = np.cos(angle) * x[here] + np.sin(angle) * y[here]
        blend[here] = (ramp - ramp.min()) / max(np.ptp(ramp), 1)
        second[leaf] = _colours(rng, photo, 1)

    step = second - first
    return np.stack([first[flat, c] + blend * step[flat, c] for c in range(3)]).reshape(3, side, side)


def _colours(rng: np.random.Generator, photo: np.ndarray, count: int) -> np.ndarray:
    """The colours of ``count`` random pixels, (count,3) float32 in 0 .. 255."""
    y, x = rng.integers(np.array(photo.shape[1:])[:, None], size=(2, count))
    return photo[:, y, x].T.astype(np.float32)


def _noise_fields(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Periodic noise with power spectrum 1/f^s, s ~ U(0.5, 2.5) (VibrantLeaves), in [0,1]: (count,side,side)."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    f[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((count, side, side)))
    noise = np.fft.irfft2(spectrum * f ** (-0.5 * rng.uniform(0.5, 2.5, (count, 1, 1))), s=(side, side))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    return np.clip(0.5 + noise / 3, 0, 1).astype(np.float32)


_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))


def _write_text(rng: np.random.Generator, canvas: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Write up to three slightly turned strings on (3,side,side), in colours of ``photo``."""
    side = canvas.shape[1]
    for _ in range(rng.integers(4)):
        text = " ".join("".join(rng.choice(_LETTERS, rng.integers(2, 8))) for _ in range(rng.integers(1, 4)))
        font = ImageFont.load_default(size=float(np.exp(rng.uniform(np.log(24), np.log(120)))) * side / 1024)
        left, top, right, bottom = map(int, font.getbbox(text))
        mask = Image.new("L", (right - left + 8, bottom - top + 8))
        ImageDraw.Draw(mask).text((4 - left, 4 - top), text, fill=255, font=font)
        mask = mask.rotate(rng.uniform(-30, 30), expand=True, resample=Image.Resampling.BILINEAR)
        alpha = np.asarray(mask, np.float32)[:side, :side] / 255
        y, x = (int(rng.integers(max(1, side - extent + 1))) for extent in alpha.shape)
        colour = _colours(rng, photo, 1)[0]
        region = canvas[:, y : y + alpha.shape[0], x : x + alpha.shape[1]]
        region += alpha * (colour[:, None, None] - region)
    return canvas
