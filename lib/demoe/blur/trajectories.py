"""Random camera and object motion: the path that an image point draws on the sensor while the shutter is open.

A path is a smooth zero-mean Gaussian process in time with a Matern-5/2 kernel, for x, y and roll. It is scaled to a
chosen extent and anchored where the dataset puts its sharp image: in the middle of the exposure, at the centroid of the
path or at its start. Not part of the paper, which trains on real pairs; our choice for the synthetic stand-ins.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

POINTS = 129  # odd, so that one sample lies exactly at mid-exposure
MAX_EXTENT = 48.0  # pixels; also what the margin of a canvas has to cover
ANCHORS = ("mid", "centroid", "start")


def matern52(distance: np.ndarray, length: float) -> np.ndarray:
    """Matern-5/2 covariance at time differences ``distance``; ``length`` in units of the exposure. 1 at distance 0."""
    scaled = np.sqrt(5.0) * np.abs(distance) / length
    return (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)


@lru_cache(maxsize=32)
def _factor(length: float, points: int) -> np.ndarray:
    time = np.linspace(0.0, 1.0, points)
    covariance = matern52(time[:, None] - time[None, :], length)
    return np.linalg.cholesky(covariance + 1e-9 * np.eye(points))  # the jitter only keeps the factorisation stable


def extent(path: np.ndarray) -> float:
    """Diagonal of the bounding box of the translation, pixels. ``path`` (N, 2 or 3)."""
    return float(np.linalg.norm(np.ptp(path[:, :2], axis=0)))


def anchored(path: np.ndarray, anchor: str) -> np.ndarray:
    """``path`` (N, C) moved so that its middle, centroid or start, where the sharp image is, lies at the origin.

    ``anchor`` is ``"mid"``, ``"centroid"`` or ``"start"``. Raises ``ValueError`` for another.
    """
    if anchor not in ANCHORS:
        raise ValueError(f"unknown anchor {anchor!r}: choose one of {', '.join(ANCHORS)}")
    origins = {"mid": path[(len(path) - 1) // 2], "centroid": path.mean(axis=0), "start": path[0]}
    return path - origins[anchor]


def sample_extent(rng: np.random.Generator, median: float, log_sd: float = 0.5) -> float:
    """An extent in pixels, log-normal around ``median``, at most ``MAX_EXTENT``. One draw, whatever the values."""
    return min(float(median * np.exp(log_sd * rng.standard_normal())), MAX_EXTENT)


def sample(
    rng: np.random.Generator,
    extent_px: float,
    *,
    length: float = 0.6,
    roll_degrees: float = 0.0,
    anchor: str = "mid",
    points: int = POINTS,
) -> np.ndarray:
    """A path (``points``, 3): x and y in pixels, roll in radians, in float64.

    ``extent_px`` is the diagonal of the bounding box of x and y, ``roll_degrees`` the range that the roll covers, and
    ``length`` the correlation time in units of the exposure (small: a shaky hand, large: nearly straight).
    What is drawn from ``rng`` does not depend on these values. Raises ``ValueError`` for an unknown anchor.
    """
    path = _factor(float(length), points) @ rng.standard_normal((points, 3))
    return anchored(_scaled(path, extent_px, roll_degrees), anchor)


def walk(
    rng: np.random.Generator, extent_px: float, *, roll_degrees: float = 0.0, anchor: str = "mid", points: int = POINTS
) -> np.ndarray:
    """As ``sample``, by another law of motion: a walk at constant speed (Boracchi and Foi, "Modeling the performance of
    image restoration from motion blur", 2012), so that a set outside training shifts the motion, too.

    The velocity gets a random push, is pulled back to where the walk began, and now and then, in a jerk, turns about;
    then it is brought back to its length. How strong each is varies from path to path (our choice of ranges). Roll is
    the Gaussian process of ``sample``.
    """
    shake, pull, jerk = rng.uniform(0.03, 0.3), rng.uniform(0, 0.7), rng.uniform(0, 0.03)  # per step; jerk: probability
    push = rng.standard_normal((points - 1, 2)) @ (1, 1j)
    jerks, turns = rng.random(points - 1) < jerk, np.exp(1j * rng.uniform(-0.5, 0.5, points - 1))
    velocity = np.exp(2j * np.pi * rng.random())
    place, places = 0j, [0j]
    for impulse, jerks_now, turn in zip(push, jerks, turns, strict=True):
        velocity += shake * impulse - pull * place / points
        if jerks_now:
            velocity -= 2 * velocity * turn
        velocity /= abs(velocity) + 1e-12
        place += velocity
        places.append(place)
    steps = np.array(places)
    path = np.stack([steps.real, steps.imag, _factor(0.5, points) @ rng.standard_normal(points)], axis=1)
    return anchored(_scaled(path, extent_px, roll_degrees), anchor)


def _scaled(path: np.ndarray, extent_px: float, roll_degrees: float) -> np.ndarray:
    """``path`` (N,3) with the extent and the range of roll asked for."""
    path[:, :2] *= extent_px / max(extent(path), 1e-12)
    path[:, 2] *= np.deg2rad(roll_degrees) / max(np.ptp(path[:, 2]), 1e-12)
    return path


def limited(path: np.ndarray, maximum: float = MAX_EXTENT) -> np.ndarray:
    """``path`` shrunk about its anchor where its extent is above ``maximum`` (the sum of two motions can be)."""
    return path * min(1.0, maximum / max(extent(path), 1e-12))
