"""Pictures about a deblurred photograph: input, result and the five experts side by side; which tile had which expert.

They are made smaller where a photograph is large, and say so in their captions. Files appear whole or not at all.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core.files import csv_line, replacing
from demoe.core.tasks import COLOURS, EXPERTS
from demoe.evaluation.metrics import busiest_window
from demoe.inference.restore import NotFinite
from demoe.inference.tiles import TileMap
from demoe.models.moe import normalised_entropy

from .photos import Deblurred, deblur, eight_bit

PANEL, GAP, LINE = 304, 8, 20  # pixels: side of a panel, space between them, height of a line of text
COLUMNS = 4  # panels beside each other: so many fill a screen of 1280 pixels, at their own size
MAP_SIDE = 1600  # pixels: longest side of a map of experts


def comparison(
    photo: Tensor, result: Deblurred, model: nn.Module, max_memory: int | None = None, progress: bool = False
) -> Image.Image:
    """Input, result and each expert alone, for a photograph (3, H, W) in [0, 1]; the first two for other networks.

    ``COLUMNS`` panels a row. In each, above, the whole at no more than ``PANEL`` pixels; below, where the result
    changed most, ``PANEL`` pixels at their own size. Each expert runs on the whole photograph, within ``max_memory`` as
    ``deblur`` does.
    """
    height, width = photo.shape[1:]
    corner = busiest_window(result.image - photo, (min(PANEL, height), min(PANEL, width)), step=8)
    panels = [
        (["input", f"{width}x{height} pixels"], _views(photo, corner)),
        (["result", _distance(result)], _views(result.image, corner)),
    ]
    source = replace(result.photograph, pixels=photo)
    names = [name for name in EXPERTS if name in result.router]
    for name in tqdm(names, desc="comparing", unit="expert", leave=False, disable=not progress):
        said = [f"{name}, router {result.router[name]:.2f}"]
        alone = None  # the memory of the one before is needed
        try:
            if result.weights.get(name) == 1 and result.expert_map is None:
                alone = result
            else:
                alone = deblur(source, model=model, expert=name, max_memory=max_memory)
            panels.append(([*said, _distance(alone)], _views(alone.image, corner)))
        except NotFinite:
            panels.append(([*said, "not finite"], _views(torch.zeros(1).expand(photo.shape), corner)))
    caption = "Changes are the mean absolute difference from the input, in 8-bit levels. "
    if max(height, width) > PANEL:
        caption += (
            f"Above: the whole, made smaller to {PANEL} pixels. Below: {PANEL} pixels at their own size, from row "
            f"{corner[0]}, column {corner[1]}, where the result changed most."
        )
    tallest = max(sum(view.height + GAP for view in views) for _, views in panels)
    columns, across, down = min(len(panels), COLUMNS), PANEL + GAP, 2 * LINE + tallest
    lines = wrap(caption, columns * across // 8)  # 8 pixels a letter: they are narrower
    rows = -(-len(panels) // columns)
    sheet = Image.new("RGB", (columns * across + GAP, GAP + rows * down + LINE * len(lines) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (said, views) in enumerate(panels):
        left, top = GAP + i % columns * across, GAP + i // columns * down
        for line, colour in zip(said, ("black", "#444444"), strict=True):
            draw.text((left, top), line, colour, font_size=16)
            top += LINE
        for view in views:
            sheet.paste(view, (left, top))
            top += view.height + GAP
    for i, line in enumerate(lines):
        draw.text((GAP, GAP + rows * down + i * LINE), line, "black", font_size=15)
    return sheet


def _distance(result: Deblurred) -> str:
    return f"change {result.change.mean:.1f} levels, {result.change.psnr:.1f} dB to input"


def _views(image: Tensor, corner: tuple[int, int]) -> list[Image.Image]:
    """The whole within ``PANEL`` pixels, and where that made it smaller a detail at its own size."""
    whole = Image.fromarray(eight_bit(image))
    if max(whole.size) <= PANEL:
        return [whole]
    top, left = corner
    return [_within(whole, PANEL), whole.crop((left, top, *np.minimum((left + PANEL, top + PANEL), whole.size)))]


def _within(picture: Image.Image, side: int) -> Image.Image:
    scale = min(1, side / max(picture.size))
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    return picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def expert_map(photo: Tensor, decisions: TileMap) -> Image.Image:
    """The photograph (3, H, W), tiles tinted by their strongest expert and numbered, with a legend below.

    In each tile: the number of the expert, a plus where others took part, and the router's share for it.
    """
    picture = _within(Image.fromarray(eight_bit(photo)), MAP_SIDE)
    scale = picture.width / photo.shape[2]
    shares = decisions.router.gather(2, decisions.experts[..., None]).flatten().tolist()
    experts = decisions.experts.flatten().tolist()
    mixed = (decisions.weights.count_nonzero(2) > 1).flatten().tolist()
    boxes = [
        tuple(round(edge * scale) for edge in (left, top, right - 1, bottom - 1))
        for (top, bottom), (left, right) in product(*decisions.regions())
    ]
    tint = Image.new("RGB", picture.size)
    draw = ImageDraw.Draw(tint)
    for box, expert in zip(boxes, experts, strict=True):
        draw.rectangle(box, fill=COLOURS[EXPERTS[expert]])
    picture = Image.blend(picture.convert("L").convert("RGB"), tint, 0.45)  # its own colours would pass for tints
    draw = ImageDraw.Draw(picture)
    for box, expert, several, share in zip(boxes, experts, mixed, shares, strict=True):
        draw.rectangle(box, outline="white")
        text = f"{expert}{'+' * several}: {share:.2f}"
        if draw.textlength(text, font_size=16) < box[2] - box[0] - 8 and box[3] - box[1] > 22:
            at = (box[0] + 5, box[1] + 3)
            draw.text(at, text, "white", font_size=16, stroke_width=2, stroke_fill="black")
    sheet = Image.new("RGB", (max(picture.width, 640), picture.height + GAP + LINE * (len(EXPERTS) + 1) + GAP), "white")
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    top = picture.height + GAP
    shown = f"shown at {100 * scale:.0f} % of its size" if scale < 1 else "shown at its size"
    more = " (+: others took part)" if any(mixed) else ""
    caption = (
        f"{len(boxes)} tiles, in each its strongest expert{more} and the router's share for it; photograph {shown}"
    )
    draw.text((GAP, top), caption, "black", font_size=13)
    for index, name in enumerate(EXPERTS):
        y = top + LINE * (index + 1)
        draw.rectangle((GAP, y + 2, GAP + 14, y + 14), fill=COLOURS[name])
        draw.text((GAP + 22, y), f"{index}  {name}: {experts.count(index)} tiles", "black", font_size=13)
    return sheet


def expert_table(decisions: TileMap) -> str:
    """A CSV with a row a tile: row, column, top, left, height, width (pixels of the region where it has the most to
    say), expert (the strongest), normalised_entropy (of the router, 0..1), then router_NAME and weight_NAME for each
    expert."""
    rows, columns = decisions.regions()
    places = product(enumerate(rows), enumerate(columns))
    numbers = torch.cat([normalised_entropy(decisions.router)[..., None], decisions.router, decisions.weights], dim=-1)
    shares = numbers.double().flatten(0, 1).numpy().round(6).tolist()  # (tiles, 1 + 2 N)
    names = [f"{kind}_{name}" for kind in ("router", "weight") for name in EXPERTS]
    head = ["row", "column", "top", "left", "height", "width", "expert", "normalised_entropy", *names]
    lines = [
        [i, j, top, left, bottom - top, right - left, EXPERTS[expert], *share]
        for ((i, (top, bottom)), (j, (left, right))), expert, share in zip(
            places, decisions.experts.flatten().tolist(), shares, strict=True
        )
    ]
    return "".join(map(csv_line, [head, *lines]))


def save_picture(path: Path, picture: Image.Image) -> None:
    """Writes a PNG."""
    with replacing(path) as partial:
        picture.save(partial, format="PNG")
