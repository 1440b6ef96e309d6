"""What a benchmark compares: networks as functions from a blurred picture to a restored one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from demoe.core.tasks import EXPERTS
from demoe.data.pairs import PairedSet
from demoe.inference.restore import restore
from demoe.inference.tiles import restore_large
from demoe.models.demoe import DeMoE
from demoe.models.layers import UNet


class Made(NamedTuple):
    """A restored picture that the network did not see as a whole, or saw as a whole although tiles were asked for."""

    image: Tensor  # (1, 3, H, W)
    how: str  # "tiles of 1024", or ``UNTILED``


# (1, 3, H, W) blurred -> restored, given the set it is from; None where the method does not apply to that set
Method = Callable[[Tensor, PairedSet], Tensor | Made | None]
WHOLE = 1 << 20  # pixels; larger pictures go strip by strip, which is exact and needs far less memory
UNTILED = "whole: only NAFNet and DeMoE can be tiled"

INPUT, EQUAL, LONGER, TASK, FOREIGN = "input", "equal length", "longer", "task-specific", "published weights"  # groups


@dataclass(frozen=True)
class Compared:
    """One method of the comparison. ``role`` is what tables and claims look for, ``method`` what they show."""

    role: str  # "input", "PromptIR", ..., "NAFNet", "DeMoE", "NAFNet longer", "DeMoE longer k=3", "DeMoE*"
    method: str  # with the size where it is not the published one: "NAFNet (width 8)"
    group: str
    training: str  # in words; empty for the input
    trained: str  # what tells the weights apart: hashes of trainings, or of a file
    make: Method
    model: nn.Module | None = None  # for counting; None for the input
    steps: str = ""  # the training in a few characters, for the head of a column: "180 + 180 steps"


def blurred_input(image: Tensor, pairs: PairedSet) -> Tensor:
    """The picture as it came: the score that restoration has to beat."""
    return image


def network(
    model: nn.Module,
    *,
    k: int | None = 1,
    manual: bool = False,
    expert: str | None = None,
    tile: int | None = None,
    max_memory: int | None = None,
) -> Method:
    """A network as a method. ``manual``: a DeMoE with the expert of the set's blur (None for a set of no expert), else
    ``expert`` names the one that it uses for all.

    Pictures over ``WHOLE`` pixels go through ``tiles.restore_large``: whole where the memory allows, else in tiles, and
    the row says which. ``tile``, a side in pixels, cuts every larger picture into tiles, on every machine alike;
    ``max_memory`` is that of ``restore_large``. Only NAFNet and DeMoE can be tiled: others always see the whole picture
    at once, and where ``tile`` would have cut it, the row says so (``UNTILED``).
    """

    def method(image: Tensor, pairs: PairedSet) -> Tensor | Made | None:
        if manual and pairs.label is None:
            return None
        chosen = EXPERTS[pairs.label] if manual else expert
        height, width = image.shape[-2:]
        side = tile if tile and max(height, width) > tile else None
        if side is None and height * width <= WHOLE:
            return restore(model, image, expert=chosen, k=k).image
        large = restore_large(model, image[0], expert=chosen, k=k, tile=side, max_memory=max_memory)
        image = large.image[None]
        if side is not None and not isinstance(model, UNet):
            return Made(image, UNTILED)
        return image if large.plan.tile is None else Made(image, f"tiles of {large.plan.tile}")

    return method


def methods(baseline: nn.Module | None, demoe: DeMoE | None, **large) -> dict[str, Method]:
    """The columns of the comparison: input, baseline, DeMoE with the router's one best expert, mixing all five, and
    with the expert of the set's blur chosen by hand (which sets of no expert do not have). ``large``: ``tile`` and
    ``max_memory`` of ``network``."""
    found: dict[str, Method] = {"input": blurred_input}
    if baseline is not None:
        found["baseline"] = network(baseline, **large)
    if demoe is not None:
        found |= {f"DeMoE k={k}": network(demoe, k=k, **large) for k in (1, 5)}
        found["DeMoE manual"] = network(demoe, manual=True, **large)
    return found


def restorations(networks: Mapping[str, nn.Module]) -> dict[str, Method]:
    """Networks that see every picture as a whole, however large: those with local statistics (TLC) must. DeMoE with the
    router's best expert."""
    return {name: lambda image, pairs, model=model: restore(model, image).image for name, model in networks.items()}
