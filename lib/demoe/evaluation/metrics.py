"""Image quality of RGB pictures in [0, 1]: functions for tensors, and the table of metrics that can be asked for.

A metric that cannot be had for a picture or on a machine is NaN with a reason, never a stand-in and never a stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from demoe.core import extras
from demoe.core.downloads import CannotMeasure
from demoe.core.words import meant

from .alignment import align, check_align
from .learned_metrics import LPIPS_SMALLEST, check_iqa, check_lpips, iqa, lpips, quantise
from .niqe import SMALLEST as NIQE_SMALLEST
from .niqe import check_niqe_refit, niqe_refit

PATCH = 8  # side in pixels of Metric Q's patches; the publication's
SIGNIFICANCE = 0.001  # of "this patch has a direction", against white noise; the publication's


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each of (B, 3, H, W), peak 1, over all pixels and channels: (B,).

    The mean square error is floored at 1e-10 (100 dB), so that equal images give a number. Raises ``ValueError`` for
    different shapes.
    """
    _same_shape(image, reference)
    error = (image.double() - reference.double()).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp(min=1e-10))


def psnr_8bit(image: Tensor, reference: Tensor) -> Tensor:
    """``psnr`` of the two as 8-bit files hold them, which is how most benchmarks score saved pictures: (B,)."""
    return psnr(quantise(image), quantise(reference))


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of each of (B, 3, H, W), data range 1, 11-pixel Gaussian window (Wang et al. 2004): (B,).

    pytorch-msssim's, as design and authors have it. Raises ``ValueError`` for different shapes or sides under 11.
    """
    _same_shape(image, reference)
    if min(image.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs at least 11x11 pixels, got {image.shape[-1]}x{image.shape[-2]}")
    extras.need("SSIM", "metrics", "pytorch_msssim")
    from pytorch_msssim import ssim as structural_similarity  # photographs are deblurred without it

    return structural_similarity(image.double(), reference.double(), data_range=1.0, size_average=False)


def _same_shape(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"cannot compare images of shapes {tuple(image.shape)} and {tuple(reference.shape)}")


def fitted(image: Tensor, reference: Tensor) -> Tensor:
    """Each of (B, 3, H, W) with the gain and offset, alike for all pixels and colours, that bring it nearest to its
    reference by least squares: (B, 3, H, W). What remains is not a matter of brightness or contrast."""
    _same_shape(image, reference)
    x, y = image.double().flatten(1), reference.double().flatten(1)  # (B, N)
    dx, dy = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    gain = (dx * dy).sum(1, keepdim=True) / dx.square().sum(1, keepdim=True).clamp(min=1e-12)
    return (y.mean(1, keepdim=True) + gain * dx).clamp(0, 1).view_as(image).to(image.dtype)


def mae(image: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute error of each of (B, 3, H, W), over all pixels and channels: (B,). Shapes as for ``psnr``."""
    _same_shape(image, reference)
    return (image.double() - reference.double()).abs().flatten(1).mean(1)


def gradient_energy(image: Tensor, reference: Tensor) -> Tensor:
    """The energy of the gradients of each of (B, 3, H, W) as a share of the reference's: (B,); below 1 is blurred.

    Of the squared differences of neighbours, down and across. NaN where the reference has none.
    """
    _same_shape(image, reference)

    def energy(x: Tensor) -> Tensor:
        return sum(x.double().diff(dim=axis).square().flatten(1).sum(1) for axis in (-1, -2))

    return energy(image) / energy(reference)


def direction_threshold(patch: int = PATCH, significance: float = SIGNIFICANCE) -> float:
    """The coherence that a ``patch`` x ``patch`` piece of white noise exceeds with that probability."""
    root = significance ** (1 / (patch**2 - 1))
    return math.sqrt((1 - root) / (1 + root))


def metric_q(image: Tensor) -> Tensor:
    """Metric Q of each of (B, 3, H, W) in [0, 1], at least 8 pixels a side: (B,) float64, higher is better.

    Zhu and Milanfar 2010, IEEE Trans. Image Processing 19(12): the luma is cut into patches; of the gradients in each,
    s1 >= s2 are the singular values and R = (s1 - s2) / (s1 + s2) the coherence. Q is the sum of s1 R over the patches
    whose R passes ``direction_threshold``, over the number of all patches. Our change: luma is divided by its mean, or
    the brighter of two equally sharp pictures would win. Raises ``ValueError`` for another shape.
    """
    if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < PATCH:
        raise ValueError(
            f"Metric Q takes pictures (B, 3, H, W) of {PATCH} pixels a side or more, got {tuple(image.shape)}"
        )
    luma = (image.double() * image.new_tensor([0.299, 0.587, 0.114]).double().view(1, 3, 1, 1)).sum(1)  # (B, H, W)
    luma = luma / luma.mean((1, 2), keepdim=True).clamp(min=1e-3)
    gy, gx = torch.gradient(luma, dim=(1, 2))
    xx, yy, xy = (_patch_sums(product) for product in (gx * gx, gy * gy, gx * gy))  # (B, h, w) each
    # Squared singular values of the (64, 2) gradients are the eigenvalues of their 2x2 Gram matrix.
    half, apart = (xx + yy) / 2, torch.sqrt(((xx - yy) / 2).square() + xy.square())
    s1, s2 = (half + apart).sqrt(), (half - apart).clamp(min=0).sqrt()
    coherence = (s1 - s2) / (s1 + s2).clamp(min=1e-12)
    return (s1 * coherence * (coherence >= direction_threshold())).mean((1, 2))


def _patch_sums(values: Tensor) -> Tensor:
    """Sums over whole patches, (B, H, W) -> (B, H // 8, W // 8); what is left at the right and below is not used."""
    return F.avg_pool2d(values.unsqueeze(1), PATCH).squeeze(1) * PATCH**2


def busiest_window(values: Tensor, size: tuple[int, int], step: int = 1) -> tuple[int, int]:
    """Top and left, in pixels, of the window of ``size`` (rows, columns) in which (C, H, W) varies most.

    That is by its variance, summed over the channels, so that a mere change of brightness does not count; of equal ones
    the first in reading order. ``step`` looks at every ``step``-th place alone, in a fraction of the memory. ``size``
    must not be larger than the picture. Not in the paper; our choice of what figures enlarge.
    """
    step = min(step, *size)
    rows, columns = (side // step for side in size)
    spread = 0.0
    for channel in values:  # (H, W)
        channel = channel.double()
        mean, square = (_window_means(x, rows, columns, step) for x in (channel, channel.square()))
        spread = spread + square - mean.square()
    spread = spread.round(decimals=9)  # rounding errors decide between no two windows
    top, left = divmod(int(spread.flatten().argmax()), spread.shape[1])
    return min(step * top, values.shape[-2] - size[0]), min(step * left, values.shape[-1] - size[1])


def _window_means(x: Tensor, rows: int, columns: int, step: int) -> Tensor:
    """The mean of (H, W) in every window of ``rows`` x ``columns`` blocks of ``step`` pixels, however large in the same
    time: from running sums, four of which make one window."""
    blocks = F.avg_pool2d(x[None], step)[0]  # (H / step, W / step)
    total = F.pad(blocks.cumsum(0).cumsum(1), (1, 0, 1, 0))
    below, above = total[rows:], total[:-rows]
    sums = below[:, columns:] - below[:, :-columns] - above[:, columns:] + above[:, :-columns]
    return sums / (rows * columns)


@dataclass(frozen=True)
class Metric:
    """One thing to measure. ``function`` takes a picture and its reference, (1, 3, H, W): one value a column."""

    columns: Mapping[str, str]  # of the CSV, with what a table's head says
    function: Callable[[Tensor, Tensor | None], Iterable[Tensor | float]]
    reference: bool = True  # whether a sharp picture is needed
    smallest: int = 1  # side in pixels
    check: Callable[[], None] | None = None  # raises CannotMeasure where this machine lacks what is needed


def _aligned(image: Tensor, reference: Tensor) -> tuple[float, float]:
    found = align(image[0], reference[0])
    return found.psnr, found.ssim


def _fitted(image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    brought = fitted(image, reference)
    return psnr(brought, reference), ssim(brought, reference)


def _iqa(name: str, head: str, reference: bool = False) -> Metric:
    def function(image: Tensor, sharp: Tensor | None) -> Tensor:
        return iqa(name, image, sharp if reference else None)

    return Metric({name: head}, function, reference, check=partial(check_iqa, name))


def _lpips(head: str, net: str, authors: bool = False) -> Metric:
    column = f"lpips_{net}" + ("_authors" if authors else "")
    function, check = partial(lpips, net=net, authors=authors), partial(check_lpips, net)
    return Metric({column: head}, function, smallest=LPIPS_SMALLEST[net], check=check)


METRICS: dict[str, Metric] = {
    "psnr": Metric({"psnr": "PSNR (dB) ↑"}, psnr),
    "psnr_8bit": Metric({"psnr_8bit": "PSNR of 8-bit files (dB) ↑"}, psnr_8bit),
    "ssim": Metric({"ssim": "SSIM ↑"}, ssim, smallest=11),
    "fitted": Metric(
        {"psnr_fitted": "PSNR, brightness fitted (dB) ↑", "ssim_fitted": "SSIM, brightness fitted ↑"},
        _fitted,
        smallest=11,
    ),
    "mae": Metric({"mae": "MAE ↓"}, mae),
    "gradient_energy": Metric({"gradient_energy": "gradient energy, share of the sharp picture's ↑"}, gradient_energy),
    "lpips_vgg": _lpips("LPIPS VGG ↓", "vgg"),
    "lpips_vgg_authors": _lpips("LPIPS VGG, authors' convention ↓", "vgg", authors=True),
    "lpips_alex": _lpips("LPIPS Alex ↓", "alex"),
    "lpips_alex_authors": _lpips("LPIPS Alex, authors' convention ↓", "alex", authors=True),
    "aligned": Metric(
        {"psnr_aligned": "PSNR, RealBlur's alignment (dB) ↑", "ssim_aligned": "SSIM, RealBlur's alignment ↑"},
        _aligned,
        smallest=11,
        check=check_align,
    ),
    "musiq": _iqa("musiq", "MUSIQ ↑"),
    "nrqm": _iqa("nrqm", "NRQM ↑"),
    "niqe": _iqa("niqe", "NIQE ↓"),
    "niqe_refit": Metric(
        {"niqe_refit": "NIQE, re-fit ↓"},
        lambda image, _: niqe_refit(image),
        reference=False,
        smallest=NIQE_SMALLEST,
        check=check_niqe_refit,
    ),
    "brisque": _iqa("brisque", "BRISQUE ↓"),
    "pi": _iqa("pi", "PI ↓"),
    "pieapp": _iqa("pieapp", "PieAPP ↓", reference=True),
    "sharpness": Metric({"sharpness": "Metric Q ↑"}, lambda image, _: metric_q(image), reference=False, smallest=PATCH),
}
DEFAULT = ("psnr", "ssim")
# What rooms downstream measure by networks of theirs (``benchmark.Further``), and hand to ``statistics``.
ELSEWHERE = {"cnn_distance": "CNN feature distance ↓", "vit_distance": "ViT feature distance ↓"}
LABELS: dict[str, str] = {name: head for one in METRICS.values() for name, head in one.columns.items()} | ELSEWHERE


def columns(names: Sequence[str]) -> list[str]:
    """The CSV's columns for these metrics, in order. ``ValueError`` for an unknown or repeated name, or none."""
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names or len(set(names)) != len(names):
        raise ValueError(
            f"metrics {', '.join(names) or '(none)'}: choose each at most once from {', '.join(METRICS)}"
            + ("; unknown: " + ", ".join(name + meant(name, METRICS) for name in unknown) if unknown else "")
        )
    return [column for name in names for column in METRICS[name].columns]


def missing(names: Sequence[str]) -> dict[str, CannotMeasure]:
    """Which of these metrics cannot be had on this machine at all, and why. Within seconds; loads no network."""
    found = {}
    for name in names:
        if check := METRICS[name].check:
            try:
                check()
            except CannotMeasure as error:
                found[name] = error
    return found


@dataclass
class Measured:
    """A picture's values by column, NaN where there is none, and for these why."""

    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, CannotMeasure] = field(default_factory=dict)  # by the metric's name

    @property
    def reasons(self) -> str:
        """One cell of a CSV: "" or "psnr: no ground truth; niqe: pyiqa not installed"."""
        return "; ".join(f"{name}: {error.reason}" for name, error in self.missing.items())


def measure(image: Tensor | None, reference: Tensor | None, names: Sequence[str] = DEFAULT) -> Measured:
    """The metrics called ``names`` of one picture (1, 3, H, W) in [0, 1], and its sharp one if there is one.

    Without ``image`` (a method that does not apply) all are missing. Raises ``ValueError`` for an unknown metric, and
    for a picture and a reference of different shapes.
    """
    found = Measured(dict.fromkeys(columns(names), math.nan))
    if image is not None and reference is not None:
        _same_shape(image, reference)
    for name in names:
        metric = METRICS[name]
        try:
            if image is None:
                raise CannotMeasure("method does not apply to this set")
            if metric.reference and reference is None:
                raise CannotMeasure("no ground truth")
            if min(image.shape[-2:]) < metric.smallest:
                raise CannotMeasure(f"picture under {metric.smallest}x{metric.smallest} pixels")
            values = [float(value) for value in metric.function(image, reference)]
            if not all(map(math.isfinite, values)):
                raise CannotMeasure("the result is not a finite number")
        except CannotMeasure as error:
            found.missing[name] = error
        else:
            found.values |= dict(zip(metric.columns, values, strict=True))
    return found
