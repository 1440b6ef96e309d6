"""RealBlur's alignment on pictures that are shifted, warped and dimmed here."""

import sys

import numpy as np
import pytest
import torch
from skimage import data

from demoe.core.downloads import CannotMeasure
from demoe.evaluation import alignment, metrics
from demoe.evaluation.alignment import align
from demoe.evaluation.metrics import psnr

cv2 = pytest.importorskip("cv2")


def photograph(height=97, width=123):
    pixels = data.chelsea()[60 : 60 + height, 100 : 100 + width]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def warped(picture, homography, strength=1.0):
    """The picture (3, H, W) as another camera would see it."""
    height, width = picture.shape[1:]
    moved = cv2.warpPerspective(
        picture.permute(1, 2, 0).numpy(),
        homography,
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    return torch.from_numpy(moved).permute(2, 0, 1) * strength


WARP = np.array([[1.01, 0.01, 1.6], [-0.008, 0.99, -1.2], [1e-5, 2e-5, 1]], np.float32)


def test_alignment_finds_the_homography_and_the_brightness():
    sharp = photograph()
    moved = warped(sharp, WARP, 0.8)
    found = align(moved, sharp)
    # It maps the reference's pixels to the picture's: just what the picture was made with.
    corners = np.array([[0, 0, 1], [122, 0, 1], [0, 96, 1], [122, 96, 1]], np.float32).T
    places = [side[:2] / side[2] for side in (found.homography @ corners, WARP @ corners)]
    np.testing.assert_allclose(*places, atol=0.1)
    least_squares = (sharp.double() * moved).sum() / moved.double().square().sum()
    assert found.scale == pytest.approx(least_squares.item(), rel=1e-6)  # before the alignment, so under 1.25
    unaligned = psnr(moved[None], sharp[None]).item()
    assert found.psnr > 35 > 25 > unaligned and found.ssim > 0.98
    assert 0.9 < found.mask.mean() < 1 and found.image.shape == (97, 123, 3)


def test_aligned_scores_by_their_definition():
    """PSNR and SSIM written out pixel by pixel over the mask, from the warped picture that came back."""
    sharp = photograph(41, 52)
    moved = warped(sharp, WARP, 0.9) + 0.03 * torch.randn(3, 41, 52, generator=torch.Generator().manual_seed(0))
    found = align(moved, sharp)
    x, z, mask = sharp.permute(1, 2, 0).double().numpy(), found.image.astype(float), found.mask
    squares = [(x[i, j, c] - z[i, j, c]) ** 2 for i, j in np.argwhere(mask) for c in range(3)]
    assert found.psnr == pytest.approx(10 * np.log10(1 / np.mean(squares)), abs=1e-4)
    x, z = x * mask[..., None], z * mask[..., None]
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    channels = []
    for c in range(3):
        values = []
        for i, j in np.argwhere(mask):
            if not (5 <= i < 41 - 5 and 5 <= j < 52 - 5):
                continue
            a, b = (side[i - 5 : i + 6, j - 5 : j + 6, c] for side in (x, z))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2
            cov = (window * a * b).sum() - ma * mb
            values.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
        channels.append(np.mean(values))
    assert found.ssim == pytest.approx(np.mean(channels), abs=1e-4)


def test_a_dimmed_picture_is_the_same_picture():
    sharp = photograph()
    found = align(sharp * 0.5, sharp)
    assert found.scale == pytest.approx(2, rel=1e-5) and found.psnr > 60 and found.ssim > 0.999
    again = align(sharp * 0.5, sharp)
    assert (found.psnr, found.ssim) == (again.psnr, again.ssim) and np.array_equal(found.image, again.image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [(torch.full((3, 24, 31), 0.4), "did not converge"), (torch.zeros(3, 24, 31), "the picture is black")],
)
def test_what_cannot_be_aligned_is_missing(image, reason):
    sharp = photograph(24, 31)
    with pytest.raises(CannotMeasure, match=reason):
        align(image, sharp)
    found = metrics.measure(image[None], sharp[None], ["psnr", "aligned"])
    assert np.isfinite(found.values["psnr"]) and np.isnan(found.values["psnr_aligned"])
    assert np.isnan(found.values["ssim_aligned"]) and reason in found.reasons and found.reasons.startswith("aligned:")


def test_nothing_in_common(monkeypatch):
    monkeypatch.setattr(cv2, "findTransformECC", lambda *_: (0.0, np.array([[1, 0, 99], [0, 1, 0], [0, 0, 1]], float)))
    with pytest.raises(CannotMeasure, match="no common area"):
        align(photograph(40, 50), photograph(40, 50))


def test_errors(monkeypatch):
    for shapes in (((3, 10, 30), (3, 10, 30)), ((3, 20, 20), (3, 20, 21)), ((1, 20, 20), (1, 20, 20))):
        with pytest.raises(ValueError, match="alignment compares"):
            align(*map(torch.rand, shapes))
    monkeypatch.setitem(sys.modules, "cv2", None)  # as if it were not installed
    with pytest.raises(CannotMeasure, match="OpenCV not installed"):
        align(photograph(), photograph())
    assert "aligned" in metrics.missing(["psnr", "aligned"]) and alignment.ITERATIONS == 100
