"""Figure 3: the network as a drawing, made from a model: its levels, blocks, channels and parameters are read, not
written here."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import nn

from demoe.core.tasks import EXPERTS

from .figures import BLUE, COLOURS, GREEN, GREY, ORANGE, RED

STEP, DROP, ABOVE = 1.95, 1.3, 0.66  # from column to column, level to level, and blocks to the MoEBlock after them
WIDE, HIGH = 1.75, 0.6  # a box


def architecture(model: nn.Module) -> Figure:
    """The U of encoder and decoder of a DeMoE with the router between them, and below it a MoEBlock.

    Every box says what it holds and how many parameters that is; blue learns in stage 1 and is frozen in stage 2, red
    and orange learn in stage 2.
    """
    levels, each = len(model.encoders), model.config.moe_per_level
    groups = [
        [*model.experts][i : i + each] for i in range(0, len(model.experts), each)
    ]  # the middle's, then bottom up
    figure, axis = plt.subplots(figsize=(11, 6.2))
    axis.set(xlim=(-2.9, _across(2 * levels) + 3.1), ylim=(-levels * DROP - 3.2, 1.2), aspect="equal")
    axis.axis("off")
    start, end, bottom = (-2.0, 0.0), (_across(2 * levels) + 2.2, ABOVE), (_across(levels), -levels * DROP)
    _box(axis, start, "blurred,\n3 channels", GREY)
    _box(axis, end, "restored =\nblurred + residual", GREY)
    _across_arrow(axis, start, (_across(0), 0))
    for i, (encoder, down) in enumerate(zip(model.encoders, model.downs, strict=True)):
        place, below = (_across(i), -i * DROP), (_across(i + 1), -(i + 1) * DROP)
        _box(axis, place, _blocks(encoder, encoder, down, model.intro if i == 0 else None), BLUE)
        _arrow(
            axis, (place[0], place[1] - HIGH / 2), (below[0] - WIDE / 2, below[1]), "angle,angleA=-90,angleB=0,rad=6"
        )
    _box(axis, bottom, _blocks(model.middle_blks, model.middle_blks), RED)
    _box(axis, (bottom[0], bottom[1] + ABOVE), _moe(groups[0]), ORANGE)
    for i, (decoder, up) in enumerate(zip(model.decoders, model.ups, strict=True)):
        level, before = levels - 1 - i, (_across(levels + i), -(levels - i) * DROP + ABOVE)
        place = (_across(levels + 1 + i), -level * DROP)
        _box(axis, place, _blocks(decoder, decoder, up, model.ending if level == 0 else None), RED)
        _box(axis, (place[0], place[1] + ABOVE), _moe(groups[i + 1]), ORANGE)
        tail, head = (before[0] + WIDE / 2, before[1]), (place[0], place[1] - HIGH / 2)
        _arrow(axis, tail, head, "angle,angleA=0,angleB=90,rad=6")
        _across_arrow(axis, (_across(level), -level * DROP), place, dashed=True)
    _across_arrow(axis, (_across(2 * levels), ABOVE), end)
    router = (bottom[0], bottom[1] - 0.95)
    _box(axis, router, f"router\n{_count(model.mlp_branch)}", GREEN)
    corner = (_across(levels - 1) + 0.15, bottom[1])  # on the way from the last encoder level to the middle
    _arrow(axis, corner, (router[0] - WIDE / 2, router[1]), "angle,angleA=-90,angleB=0,rad=6")
    _moe_block(axis, router)
    return figure


def _across(column: float) -> float:
    return column * STEP


def _count(*modules: nn.Module | None) -> str:
    number = sum(p.numel() for module in modules if module is not None for p in module.parameters())
    return f"{number / 1e6:.2f} M"


def _channels(blocks: nn.Module) -> int:
    return next(module for module in blocks.modules() if isinstance(module, nn.Conv2d)).in_channels


def _blocks(blocks: nn.Module, *counted: nn.Module | None) -> str:
    """ "2 NAFBlocks, 64 ch.", and the parameters of these and of what leads to or from them."""
    kinds = [type(module).__name__ for module in blocks.modules()]
    return f"{kinds.count('NAFBlock')} NAFBlocks, {_channels(blocks)}\n{_count(*counted)}"


def _moe(blocks: list[nn.Module]) -> str:
    many = f"{len(blocks)} MoEBlocks" if len(blocks) > 1 else "MoEBlock"
    return f"{many}\n{_count(*blocks)}"


def _box(axis: plt.Axes, middle: tuple[float, float], text: str, colour: str, wide: float = WIDE, high: float = HIGH):
    corner = (middle[0] - wide / 2, middle[1] - high / 2)
    style = {"boxstyle": "round,pad=0.01,rounding_size=0.08", "facecolor": colour, "edgecolor": colour}
    axis.add_patch(FancyBboxPatch(corner, wide, high, alpha=0.16, lw=0, **style))
    axis.add_patch(FancyBboxPatch(corner, wide, high, **style | {"facecolor": "none"}, lw=1.1))
    axis.text(*middle, text, ha="center", va="center", fontsize=6.3)


def _across_arrow(axis: plt.Axes, start: tuple[float, float], end: tuple[float, float], dashed: bool = False) -> None:
    """From the right edge of a box to the left edge of another at the same height."""
    _arrow(axis, (start[0] + WIDE / 2, start[1]), (end[0] - WIDE / 2, end[1]), "arc3", dashed)


def _arrow(axis: plt.Axes, tail, head, style: str, dashed: bool = False, colour: str = "0.35") -> None:
    look = {"arrowstyle": "-|>", "color": colour, "lw": 0.9, "ls": "--" if dashed else "-", "connectionstyle": style}
    axis.annotate("", head, tail, arrowprops=look | {"shrinkA": 0, "shrinkB": 0})


def _moe_block(axis: plt.Axes, router: tuple[float, float]) -> None:
    """What is in a MoEBlock, in a row below the router: the experts, weighted by it, summed."""
    y = router[1] - 1.1
    places = [(router[0] + 2.0 * (i - (len(EXPERTS) - 1) / 2), y) for i in range(len(EXPERTS))]
    axis.text(places[0][0] - 1.1, y, "in each\nMoEBlock", ha="right", va="center", fontsize=8)
    for expert, place in zip(EXPERTS, places, strict=True):
        _box(axis, place, expert.replace("_", " "), COLOURS[expert], 1.8)
        _arrow(axis, (router[0], router[1] - HIGH / 2), (place[0], y + HIGH / 2), "arc3", colour=GREEN)
    words = (
        "weights $w_i$ of the router: all while training, the $k$ largest at inference;  output $\\sum_i w_i e_i(h)$"
    )
    colours = "blue and green learn in stage 1 and are frozen in stage 2, in which red and orange learn"
    axis.text(router[0], y - 1.0, colours, ha="center", va="center", fontsize=7, color="0.35")
    axis.text(router[0], y - 0.58, words, ha="center", va="center", fontsize=8)
