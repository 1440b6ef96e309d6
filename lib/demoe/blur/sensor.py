"""From light to an 8-bit file: the camera's side of image formation.

Clip, undo colour correction and white balance, shot and read noise, Bayer mosaic and bilinear demosaic, white balance,
colour correction, clip, response curve, 8 bits and, where asked for, JPEG. Not part of the paper; our choice, with
noise levels and white-balance gains of the order that the datasets' own code gives.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

# Invented: camera RGB to sRGB. Rows sum to 1, so that white stays white; the inverse has no negative entry, so that no
# colour of the scene turns negative on the sensor.
CCM = ((1.62, -0.47, -0.15), (-0.22, 1.47, -0.25), (-0.02, -0.45, 1.47))
DEFAULT_GAINS = (2.0, 1.0, 1.9)  # white balance for red, green, blue


def to_linear(srgb: Tensor) -> Tensor:
    """sRGB code values in [0,1] to linear light in [0,1] (IEC 61966-2-1)."""
    power = srgb.clamp(min=0).add_(0.055).mul_(1 / 1.055).pow_(2.4)  # in place: this is where the time of a sample goes
    return torch.where(srgb <= 0.04045, srgb / 12.92, power)


def to_srgb(linear: Tensor) -> Tensor:
    """Linear light to sRGB code values; the inverse of ``to_linear``. Clips to [0,1] first."""
    linear = linear.clamp(0, 1)
    power = linear.clamp(min=1e-8).pow_(1 / 2.4).mul_(1.055).sub_(0.055)
    return torch.where(linear <= 0.0031308, 12.92 * linear, power)


def contrast_curve(linear: Tensor, amount: float = 0.25) -> Tensor:
    """A camera's response with more contrast than sRGB: s + ``amount`` (smoothstep(s) - s) of the sRGB code s."""
    code = to_srgb(linear)
    return code + amount * (code * code * (3 - 2 * code) - code)


def quantise(image: Tensor, bits: int = 8) -> Tensor:
    """Clip to [0,1] and round to the 256 values of an 8-bit file, or the 65536 of a 16-bit one."""
    peak = 2**bits - 1
    return (image.clamp(0, 1) * peak).round() / peak


def mosaic(image: Tensor) -> Tensor:
    """(B,3,H,W) to the RGGB pattern (B,1,H,W): red at [0,0], green at [0,1] and [1,0], blue at [1,1]."""
    raw = image[:, 1:2].clone()
    raw[..., 0::2, 0::2] = image[:, 0:1, 0::2, 0::2]
    raw[..., 1::2, 1::2] = image[:, 2:3, 1::2, 1::2]
    return raw


def demosaic(raw: Tensor) -> Tensor:
    """Bilinear demosaic of an RGGB pattern (B,1,H,W), any size of at least 2x2, to (B,3,H,W)."""
    batch, _, height, width = raw.shape
    padded = F.pad(raw, (1, 1, 1, 1), mode="reflect")  # reflection about the edge pixel keeps the pattern
    planes = padded.new_zeros(batch, 3, height + 2, width + 2)
    planes[:, 0, 1::2, 1::2] = padded[:, 0, 1::2, 1::2]
    planes[:, 1, 1::2, 0::2] = padded[:, 0, 1::2, 0::2]
    planes[:, 1, 0::2, 1::2] = padded[:, 0, 0::2, 1::2]
    planes[:, 2, 0::2, 0::2] = padded[:, 0, 0::2, 0::2]
    rows = planes[:, ::2, 1:-1] + 0.5 * (planes[:, ::2, :-2] + planes[:, ::2, 2:])  # (B,2,H,W+2), red and blue
    red, blue = (rows[..., 1:-1] + 0.5 * (rows[..., :-2] + rows[..., 2:])).unbind(1)  # the mean of 1, 2 or 4 photosites
    green = planes[:, 1]
    around = green[:, :-2, 1:-1] + green[:, 2:, 1:-1] + green[:, 1:-1, :-2] + green[:, 1:-1, 2:]
    return torch.stack([red, green[:, 1:-1, 1:-1] + 0.25 * around, blue], dim=1)


# Malvar, He and Cutler ("High-quality linear interpolation for demosaicing of Bayer-patterned color images", ICASSP
# 2004), Figure 2, in eighths: green where there is none; a colour between its own photosites in a row, and across.
_GREEN = ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))
_IN_ROW = ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0))
_ACROSS = ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0))


def demosaic_malvar(raw: Tensor) -> Tensor:
    """The same by 5x5 filters that correct each colour by the others' curvature (Malvar et al. 2004): sharper, with
    coloured fringes of another kind. A side has at least 3 pixels."""
    filters = torch.tensor([_GREEN, _IN_ROW, tuple(zip(*_IN_ROW, strict=True)), _ACROSS]) / 8
    padded = F.pad(raw, (2, 2, 2, 2), mode="reflect")
    green, row, column, across = F.conv2d(padded, filters.to(raw)[:, None]).unbind(1)  # (B,H,W) each
    own = raw[:, 0]
    red, green, blue = own.clone(), torch.where(_checkers(own), own, green), own.clone()
    for colour, up, left in ((red, 0, 0), (blue, 1, 1)):  # the first row and column in which its photosites are
        colour[:, up::2, 1 - left :: 2] = row[:, up::2, 1 - left :: 2]
        colour[:, 1 - up :: 2, left::2] = column[:, 1 - up :: 2, left::2]
        colour[:, 1 - up :: 2, 1 - left :: 2] = across[:, 1 - up :: 2, 1 - left :: 2]
    return torch.stack([red, green, blue], dim=1)


def _checkers(plane: Tensor) -> Tensor:
    """(H,W), true at the green photosites of an RGGB pattern."""
    rows, columns = (torch.arange(side, device=plane.device) for side in plane.shape[-2:])
    return (rows[:, None] + columns) % 2 == 1


def expose(
    light: Tensor,
    normal: Tensor | None,
    *,
    shot: Tensor | float = 0.0,
    read: Tensor | float = 0.0,
    gains: Tensor | None = None,
    spare_saturated: bool = False,
    interpolate: Callable[[Tensor], Tensor] = demosaic,
) -> Tensor:
    """What the camera records of ``light`` (B,3,H,W, linear): clipped linear RGB with noise and demosaic, in [0,1].

    ``normal`` (B,1,H,W) are standard normal numbers, one per photosite; the noise has variance ``shot`` * y +
    ``read``**2 at the raw value y (the Gaussian form of shot and read noise), each a number or (B,1,1,1). With one
    number per colour, (B,3,H,W), there is no mosaic: a picture so much reduced that every pixel saw every colour.
    ``gains`` (B,3,1,1) is the white balance. With ``spare_saturated`` there is no noise where a photosite's colour is
    saturated in ``light``. ``interpolate`` makes colours of a mosaic. ``normal=None`` leaves out noise, mosaic and
    demosaic.
    """
    light = light.clamp(0, 1)
    if normal is None:
        return light
    matrix = torch.tensor(CCM, dtype=torch.float64)
    forward, backward = (m.to(light.device, light.dtype) for m in (matrix, matrix.inverse()))
    if gains is None:
        gains = torch.tensor(DEFAULT_GAINS, dtype=light.dtype, device=light.device).view(1, 3, 1, 1)
    bayer = normal.shape[1] == 1
    raw = _mix(light, backward) / gains
    raw = mosaic(raw) if bayer else raw  # (B,1,H,W), (B,3,H,W)
    if spare_saturated:
        normal = normal * ((mosaic(light) if bayer else light) < 1)
    raw = raw + (shot * raw.clamp(min=0) + read**2) ** 0.5 * normal
    return _mix((interpolate(raw) if bayer else raw) * gains, forward).clamp(0, 1)


def _mix(image: Tensor, matrix: Tensor) -> Tensor:
    """A 3x3 matrix on the channels. Written out, because the sums then do not depend on the batch."""
    red, green, blue = image.unbind(1)
    return torch.stack([row[0] * red + row[1] * green + row[2] * blue for row in matrix], dim=1)


def jpeg(image: Tensor, quality: int, subsampling: int = 2) -> Tensor:
    """``image`` (3,H,W) in [0,1] after a JPEG of that quality (Pillow, on the CPU). Returns 8-bit values in [0,1].

    ``subsampling`` of the colours as Pillow numbers it: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
    """
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(quality), subsampling=int(subsampling))
    decoded = np.array(Image.open(buffer))
    return torch.from_numpy(decoded).permute(2, 0, 1).to(image.device).float() / 255
