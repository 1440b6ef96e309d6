"""What a person should know about a result: how sure the router was, how much changed, and what looks wrong.

None of it needs the sharp picture, so none of it can prove a result good. In particular a router can be sure and wrong:
a low entropy on a kind of picture it has never seen says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from demoe.core.tasks import EXPERTS
from demoe.inference.guard import UNSURE

# The limits are ours. That of the entropy (``inference.guard.UNSURE``) was chosen on the smoke profile's test pictures
# (its 06_routing.csv has the router's weights for each): above it, the router is wrong about twice as often as below.
# The others leave room around what a picture and its sharp version differ by in the sets without low light.
UNCHANGED = 0.5  # 8-bit levels on average: below it most pixels come out of rounding as they went in
BRIGHTNESS = 16.0  # 8-bit levels, of the mean
DISTANT = 16.0  # dB between input and result
BRIGHTENING = 0.1  # share of the low-light expert from which a brighter result is its work: a trace brightens nothing
NO_GUARD = ": try --expert, or --no-guard to follow the router"


@dataclass(frozen=True)
class Change:
    """How far a result (3, H, W) lies from its input, in 8-bit levels (0..255), over all pixels and colours."""

    mean: float  # of the absolute differences
    psnr: float  # dB to the input; infinite for equal pictures
    brightness: float  # of the mean: positive is brighter


def change(before: Tensor, after: Tensor) -> Change:
    """``before`` and ``after``: (3, H, W) in [0, 1]. Works on bands of rows, so that it needs no memory to speak of."""
    absolute = squared = signed = 0.0
    for old, new in zip(before.split(256, dim=1), after.split(256, dim=1), strict=True):
        difference = (new - old).double()  # (3, rows, W)
        absolute += difference.abs().sum().item()
        squared += difference.square().sum().item()
        signed += difference.sum().item()
    count = before.numel()
    psnr = -10 * math.log10(squared / count) if squared else math.inf
    return Change(255 * absolute / count, psnr, 255 * signed / count)


def warnings(found: Change, undecided: float | None, brightening: bool, k: int | None = 1) -> list[str]:
    """A sentence for each thing that looks wrong.

    ``undecided``: the router's entropy, None if it was not asked. ``brightening``: a low-light expert took part, whose
    work is to make a picture brighter; then only a darker one is suspicious. ``k``: experts that were mixed; None: all.
    """
    said = []
    if undecided is not None and undecided > UNSURE:
        more = "" if k is None or k >= len(EXPERTS) else f", or --k {len(EXPERTS)}"
        said.append(f"the router is unsure (entropy {undecided:.2f} of 1, above {UNSURE:g}): try --expert{more}")
    if found.mean < UNCHANGED:
        said.append(
            f"nearly unchanged ({found.mean:.2f} of 255 levels on average): sharp already, or a blur that this "
            "network does not know"
        )
    if found.brightness < -BRIGHTNESS or (found.brightness > BRIGHTNESS and not brightening):
        said.append(
            f"the mean brightness moved by {found.brightness:+.0f} of 255 levels, which deblurring does not "
            "do: the result may be wrong"
        )
    elif found.psnr < DISTANT and not brightening:
        said.append(f"very far from the photograph ({found.psnr:.1f} dB): the result may be wrong")
    return said


def without_flags(warning: str) -> str:
    """A warning for people in a window, to whom options of the command say nothing."""
    return warning.partition(": try --expert")[0]
