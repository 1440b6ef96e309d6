"""Pictures about a deblurred photograph: input, result and the five experts side by side; which tile had which expert.

They are made smaller where a photograph is large, and say so in their captions. Files appear whole or not at all.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from tqdm.auto import tqdm

from demoe.core.files import write_bytes, write_text
from demoe.core.tasks import EXPERTS
from demoe.evaluation.metrics import busiest_window
from demoe.inference.restore import NotFinite
from demoe.inference.tiles import TileMap, restore_large
from demoe.models.moe import normalised_entropy
from demoe.report.figures import COLOURS

from .doubt import change
from .photos import Deblurred

PANEL, GAP, LINE = 320, 8, 18  # pixels: side of a panel, space between them, height of a line of text
MAP_SIDE = 1600  # pixels: longest side of a map of experts


def comparison(
    photo: Tensor, result: Deblurred, model: nn.Module, max_memory: int | None = None, progress: bool = False
) -> Image.Image:
    """Input, result and each expert alone, for a photograph (3, H, W) in [0, 1]; the first two for other networks.

    Above, the whole at no more than ``PANEL`` pixels; below, where the result changed most, ``PANEL`` pixels at their
    own size. Each expert runs on the whole photograph, within ``max_memory`` as ``deblur`` does.
    """
    size = min(PANEL, photo.shape[1]), min(PANEL, photo.shape[2])
    corner = busiest_window(result.image - photo, size, step=8)  # where most was changed
    panels = [
        (["input", f"{photo.shape[2]}x{photo.shape[1]} pixels"], _views(photo, corner)),
        (["result", _distance(photo, result.image)], _views(result.image, corner)),
    ]
    names = [name for name in EXPERTS if name in result.weights]
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for name in tqdm(names, desc="comparing", unit="expert", leave=False, disable=not progress):
        lines = [f"{name}, router {result.router[name]:.2f}"]
        try:
            if result.weights[name] == 1 and result.expert_map is None:
                alone = result.image
            else:
                alone = restore_large(model, photo.to(place), expert=name, max_memory=max_memory)
                alone = alone.image.float().cpu()
                if result.photograph.gray:  # as in the result
                    alone = alone.mean(0, keepdim=True).expand(3, -1, -1)
            panels.append(([*lines, _distance(photo, alone)], _views(alone, corner)))
        except NotFinite:
            panels.append(([*lines, "not finite"], _views(torch.zeros(1).expand(photo.shape), corner)))
        alone = None  # its memory is needed for the next one
    smaller = max(photo.shape[1:]) > PANEL
    caption = "Changes are the mean absolute difference from the input, in 8-bit levels. "
    caption += (
        f"Above: the whole, made smaller to {PANEL} pixels. Below: {PANEL} pixels at their own size, from row "
        f"{corner[0]}, column {corner[1]}, where the result changed most."
        if smaller
        else ""
    )
    height = max(sum(view.height + GAP for view in views) for _, views in panels)
    sheet = Image.new("RGB", (len(panels) * (PANEL + GAP) + GAP, GAP + 2 * LINE + height + LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (lines, views) in enumerate(panels):
        left, top = GAP + i * (PANEL + GAP), GAP
        for line in lines:
            draw.text((left, top), line, "black", _font(14))
            top += LINE
        for view in views:
            sheet.paste(view, (left, top))
            top += view.height + GAP
    draw.text((GAP, sheet.height - LINE), caption, "black", _font(12))
    return sheet


def _distance(photo: Tensor, result: Tensor) -> str:
    found = change(photo, result)
    return f"change {found.mean:.1f} levels, {found.psnr:.1f} dB to the input"


def _views(image: Tensor, corner: tuple[int, int]) -> list[Image.Image]:
    """The whole within ``PANEL`` pixels, and where that made it smaller a detail at its own size."""
    if max(image.shape[1:]) <= PANEL:
        return [_picture(image)]
    top, left = corner
    return [_within(_picture(image), PANEL), _picture(image[:, top : top + PANEL, left : left + PANEL])]


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray((image.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8))


def _within(picture: Image.Image, side: int) -> Image.Image:
    scale = min(1, side / max(picture.size))
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    return picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def expert_map(photo: Tensor, decisions: TileMap) -> Image.Image:
    """The photograph (3, H, W), tiles tinted by their strongest expert and numbered, with a legend below.

    In each tile: the number of the expert and the router's share for it.
    """
    picture = _within(_picture(photo), MAP_SIDE)
    scale = picture.width / photo.shape[2]
    tint = Image.new("RGB", picture.size)
    share = decisions.router.gather(2, decisions.experts[..., None])[..., 0]  # (R, C)
    draw = ImageDraw.Draw(tint)
    rows, columns = decisions.regions()
    boxes = {
        (i, j): tuple(round(edge * scale) for edge in (left, top, right - 1, bottom - 1))
        for i, (top, bottom) in enumerate(rows)
        for j, (left, right) in enumerate(columns)
    }
    for (i, j), box in boxes.items():
        draw.rectangle(box, fill=COLOURS[EXPERTS[decisions.experts[i, j]]])
    gray = picture.convert("L").convert("RGB")  # colours of the photograph would pass for tints
    picture = Image.blend(gray, tint, 0.45)
    draw = ImageDraw.Draw(picture)
    for (i, j), box in boxes.items():
        draw.rectangle(box, outline="white")
        text = f"{decisions.experts[i, j]}: {share[i, j]:.2f}"
        at = (box[0] + 5, box[1] + 3)
        if draw.textlength(text, _font(16)) < box[2] - box[0] - 8 and box[3] - box[1] > 22:
            draw.text(at, text, "white", _font(16), stroke_width=2, stroke_fill="black")
    counts = torch.bincount(decisions.experts.flatten(), minlength=len(EXPERTS)).tolist()
    sheet = Image.new("RGB", (max(picture.width, 640), picture.height + GAP + LINE * (len(EXPERTS) + 1) + GAP), "white")
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    top = picture.height + GAP
    shown = f"shown at {100 * scale:.0f} % of its size" if scale < 1 else "shown at its size"
    caption = f"{share.numel()} tiles, in each its expert and the router's share for it; photograph {shown}"
    draw.text((GAP, top), caption, "black", _font(13))
    for index, name in enumerate(EXPERTS):
        y = top + LINE * (index + 1)
        draw.rectangle((GAP, y + 2, GAP + 14, y + 14), fill=COLOURS[name])
        draw.text((GAP + 22, y), f"{index}  {name}: {counts[index]} tiles", "black", _font(13))
    return sheet


def expert_table(decisions: TileMap) -> pd.DataFrame:
    """One row a tile: row, column, top, left, height, width (pixels of the region where it has the most to say), expert
    (the strongest), normalised_entropy (of the router, 0..1), then router_NAME and weight_NAME for each expert."""
    rows, columns = decisions.regions()
    table = []
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            router, weights = decisions.router[i, j].tolist(), decisions.weights[i, j].tolist()
            table.append(
                {
                    "row": i,
                    "column": j,
                    "top": top,
                    "left": left,
                    "height": bottom - top,
                    "width": right - left,
                    "expert": EXPERTS[decisions.experts[i, j]],
                    "normalised_entropy": round(normalised_entropy(router).item(), 6),
                }
                | {f"router_{name}": round(p, 6) for name, p in zip(EXPERTS, router, strict=True)}
                | {f"weight_{name}": round(p, 6) for name, p in zip(EXPERTS, weights, strict=True)}
            )
    return pd.DataFrame(table)


def save_picture(path: Path, picture: Image.Image) -> Path:
    """Writes a PNG."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    write_bytes(path, file.getvalue())
    return path


def save_table(path: Path, table: pd.DataFrame) -> Path:
    """Writes a CSV."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return path
