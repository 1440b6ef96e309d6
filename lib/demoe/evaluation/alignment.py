"""The RealBlur benchmark's scores: brightness and position are matched to the sharp picture before comparing.

Protocol and constants are those of the benchmark's evaluation script (Rim et al. 2020): intensity scale, homography by
ECC, masked PSNR and SSIM. Unaligned scores are 1 to 2 dB lower; the two kinds must not stand in one column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from demoe.core.downloads import CannotMeasure

ITERATIONS = 100  # of ECC, all of them: the script's tolerance is 0
SMOOTHING = 5  # pixels, ECC's Gaussian
BORDER = 5  # pixels left out of SSIM on each side: half of its 11-pixel window


@dataclass(frozen=True, eq=False)
class Aligned:
    """Scores of one picture after alignment, and what the alignment was."""

    psnr: float  # dB, over the mask
    ssim: float  # over the mask and inside the border
    scale: float  # what the picture's values were multiplied with
    homography: np.ndarray  # (3, 3) float32: from the reference's pixels (x, y, 1) to the picture's
    image: np.ndarray  # (H, W, 3) float32, scaled and warped; may leave [0, 1]
    mask: np.ndarray  # (H, W) bool: where the warped picture has values of its own


def align(image: Tensor, reference: Tensor) -> Aligned:
    """Scores ``image`` against ``reference``, both (3, H, W) in [0, 1], at least 11 pixels a side.

    The aligned picture is not clamped, as RealBlur's script does not. The mean square error is floored at 1e-10 (100
    dB). Raises ``ValueError`` for other shapes, and ``CannotMeasure`` where OpenCV is missing, the picture is black,
    ECC does not converge (constant pictures) or nothing overlaps.
    """
    if image.shape != reference.shape or image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < 11:
        raise ValueError(
            f"alignment compares two pictures (3, H, W) of at least 11x11 pixels, got {tuple(image.shape)} and "
            f"{tuple(reference.shape)}"
        )
    check_align()
    import cv2

    z, x = (side.detach().cpu().float().permute(1, 2, 0).contiguous().numpy() for side in (image, reference))
    power = float((z.astype(np.float64) ** 2).sum())
    if power == 0:
        raise CannotMeasure("alignment undefined: the picture is black")
    scale = float((x.astype(np.float64) * z).sum()) / power
    z = (z * scale).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, 0.0)
    gray = [cv2.cvtColor(side, cv2.COLOR_RGB2GRAY) for side in (x, z)]  # (H, W)
    identity = np.eye(3, dtype=np.float32)
    try:
        _, homography = cv2.findTransformECC(*gray, identity, cv2.MOTION_HOMOGRAPHY, criteria, None, SMOOTHING)
    except cv2.error as error:
        raise CannotMeasure("alignment did not converge") from error
    if not np.isfinite(homography).all():
        raise CannotMeasure("alignment did not converge")
    size = (z.shape[1], z.shape[0])
    warped = cv2.warpPerspective(
        z, homography, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    mask = cv2.warpPerspective(
        np.ones(z.shape[:2], np.float32),
        homography,
        size,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )  # (H, W), 0 or 1
    return Aligned(*_masked(x, warped, mask), scale, homography, warped, mask > 0)


def check_align() -> None:
    """Raises ``CannotMeasure`` where OpenCV is not installed."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:  # also where a library that it needs is missing
        raise CannotMeasure("OpenCV not installed", f"pip install 'demoe[align]' ({error})") from None


def _masked(x: np.ndarray, z: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """PSNR and SSIM of (H, W, 3) pictures over a mask (H, W) of zeros and ones."""
    inner = mask[BORDER:-BORDER, BORDER:-BORDER]
    if not inner.any():
        raise CannotMeasure("alignment leaves no common area")
    x, z = x * mask[..., None], z * mask[..., None]
    error = ((x.astype(np.float64) - z) ** 2).sum() / (3 * mask.astype(np.float64).sum())
    psnr = -10 * math.log10(max(error, 1e-10))
    from skimage.metrics import structural_similarity  # loads SciPy, for which photographs need not wait

    _, similarity = structural_similarity(
        x, z, channel_axis=2, data_range=1.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )  # (H, W, 3)
    similarity = (similarity.astype(np.float64) * mask[..., None])[BORDER:-BORDER, BORDER:-BORDER]
    return psnr, float((similarity.sum((0, 1)) / inner.astype(np.float64).sum()).mean())
