"""Deblurring a person's photograph: anything that is a picture in, a picture that can be written to a file out."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import nn

from demoe.core import images
from demoe.core.images import Photograph
from demoe.core.tasks import EXPERTS, expert_index
from demoe.evaluation.metrics import PATCH, metric_q
from demoe.inference.guard import LEFT, NOTHING, Before, Guard, guardable, limit_of
from demoe.inference.optimize import OptimizedNetwork
from demoe.inference.strips import Chooser
from demoe.inference.tiles import Large, Route, TileMap, restore_large
from demoe.models.moe import normalised_entropy, top_k_weights

from .doubt import BRIGHTENING, NO_GUARD, Change, change, warnings
from .networks import PACKAGED_WEIGHTS as PACKAGED_WEIGHTS
from .networks import default_label as default_label
from .networks import default_model as default_model
from .networks import default_path as default_path

if TYPE_CHECKING:
    import pandas as pd

Picture = str | os.PathLike | Photograph | Image.Image | torch.Tensor | np.ndarray
PREVIEW = 1024  # pixels of the longer side of a result shown in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Deblurred:
    """A deblurred photograph and how the network came to it. Expert names are those of ``tasks.EXPERTS``."""

    image: torch.Tensor  # (3,H,W) float32 in [0,1], on the CPU; a gray photograph's channels are equal
    photograph: Photograph  # with the file's bit depth, alpha, profile and EXIF, for ``images.write_photograph``
    weights: dict[str, float]  # what mixed the experts; sums to 1. Empty for a network without experts
    router: dict[str, float]  # the router's softmax, whatever expert was asked for. Empty for a network without router
    expert: str | None  # the expert with the largest weight; None without experts, or where the guard left it as it is
    note: str  # what a person should be told about the photograph; mostly empty
    change: Change  # how far the result lies from the photograph
    entropy: float | None  # of the router, 0 sure to 1 undecided; the mean over tiles with one decision a tile
    warnings: tuple[str, ...]  # a sentence for each thing that looks wrong; mostly none
    expert_map: TileMap | None = None  # None: one decision for the photograph
    tile: int | None = None  # side of the tiles in pixels; None: the photograph went through whole, which is exact
    guarded: str | None = None  # why the router was not followed (``inference.guard.Reason``)
    bright: bool | None = None  # too bright for low light; None where there was no guard
    unsure: bool | None = None  # whether the router was, by the guard; None where there was none
    source: Path | None = None  # the photograph's file, which ``save`` does not replace; None where it was no file

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the result as ``demoe deblur`` does, with the photograph's EXIF, XMP, ICC profile and resolution.

        ``path``: a file, whose suffix says the format (``images.SUFFIXES``) and whose place it takes, or a folder (one
        that is there, or a name that ends in "/"), in which it is called as the photograph. Returns the file. Raises
        ``ValueError`` where it would replace the photograph itself, and as ``images.write_photograph``.
        """
        file = Path(path)
        if file.is_dir() or os.fspath(path).endswith(("/", os.sep)):
            if self.source is None:
                raise ValueError(
                    f"{file} is a folder, and the photograph has no name: give a file, {file / 'name.png'}"
                )
            file = file / images.result_name(Path(self.source.name), self.source)
        if self.source is not None and file.exists() and self.source.exists() and file.samefile(self.source):
            raise ValueError(f"{file} is the photograph itself, which is never replaced: choose another name")
        images.write_photograph(file, self.photograph)
        return file

    def to_pil(self) -> Image.Image:
        """A Pillow image of 8 bits, L or RGB, with A where the photograph has alpha; its ICC profile is in ``info``."""
        pixels = self.photograph.pixels if self.photograph.alpha is None else self._with_alpha()  # (3 or 4,H,W)
        picture = Image.fromarray(eight_bit(pixels))
        if self.photograph.gray:
            picture = picture.convert("L" if self.photograph.alpha is None else "LA")
        if self.photograph.metadata.icc_profile:
            picture.info["icc_profile"] = self.photograph.metadata.icc_profile
        return picture

    def _with_alpha(self) -> torch.Tensor:
        assert self.photograph.alpha is not None
        return torch.cat((self.photograph.pixels, self.photograph.alpha))

    def __repr__(self) -> str:
        width, height = self.photograph.size
        name = f"{self.source.name}, " if self.source else ""
        expert = f", {self.expert} {self.weights[self.expert]:.2f}" if self.expert else ""
        warned = f", {len(self.warnings)} warning{'s' * (len(self.warnings) > 1)}" if self.warnings else ""
        return f"Deblurred({name}{width}x{height}{expert}, changed by {self.change.mean:.1f} of 255 levels{warned})"

    def _repr_png_(self) -> bytes:
        """The picture in a notebook: at most ``PREVIEW`` pixels wide and high."""
        picture, stream = self.to_pil(), io.BytesIO()
        picture.thumbnail((PREVIEW, PREVIEW), Image.Resampling.LANCZOS)
        picture.save(stream, "PNG")
        return stream.getvalue()


def deblur(
    photo: Picture,
    *,
    model: nn.Module | OptimizedNetwork | None = None,
    weights: str | os.PathLike | None = None,
    expert: str | Chooser | None = None,
    k: int | None = 1,
    device: str | None = None,
    max_memory: int | None = None,
    route: Route = "image",
    tile: int | None = None,
    bf16: bool = False,
    guard: bool = True,
    shares: Chooser | None = None,
    before: Before = NOTHING,
    progress: bool = False,
) -> Deblurred:
    """Deblur one photograph at its own size.

    ``photo``: the path of an image file; a ``Photograph``; a Pillow image; a tensor (3,H,W) or an array (H,W) or
    (H,W,3), of uint8, uint16 or floats in [0,1]. ``model``: a loaded network, used on the device where it is, or what
    ``optimize`` made of one for a CPU; otherwise ``default_model(weights, device)``. ``expert``: a name of ``tasks``
    ("defocus", "GoPro", ...); None or "auto" lets the router choose; a function makes the experts' weights (1,N) of its
    logits (1,N). ``k``: how many experts mix, 1..5.

    ``max_memory``: bytes for the whole process, None for four fifths of what is free; within it the photograph goes
    through whole and exact if it can, else in tiles. ``route``: "image" for one decision of the router, "tile" for one
    a tile. ``tile``: cut into tiles of this many pixels a side in any case. ``bf16``: compute in bfloat16, faster where
    the processor has it and in half the memory, more than 50 dB from float32. ``guard``: the router is not followed
    where it takes a bright photograph for low light, or the photograph is sharp already, which then comes back as it
    is, nor where JPEG has left blocks that the network has not seen in training, nor where it is unsure, when all
    experts take part (``inference.guard``), and ``warnings`` says so; an expert that is named is never replaced.
    In a video ``shares`` makes the router's shares (1,N) of its logits, in place of their softmax, and ``before`` is
    what became of the frame before. ``progress`` shows a bar.

    Gray photographs run as three equal channels and the output's channels are averaged. Alpha is not touched.
    Raises ``images.ImageError`` for a file that is no readable image, ``ValueError`` for a picture, expert or ``k``
    that cannot be used, ``TypeError`` for what is no picture, ``FileNotFoundError`` without weights, ``RuntimeError``
    if the output is not finite, not even when computed again in float32, and ``MemoryError`` for a photograph that does
    not fit even in tiles.
    """
    if model is not None and (weights is not None or device is not None):
        raise ValueError("give either a model, which stays on its device, or weights and device")
    if expert == "auto":
        expert = None
    if isinstance(expert, str):
        expert_index(expert)  # a misspelt name is told before anything is read or loaded
    photograph = as_photograph(photo)
    if model is None:
        model = default_model(weights, device)
    if isinstance(model, OptimizedNetwork):
        place = model.device
    else:
        place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    pixels = photograph.pixels.to(place)
    watch = None
    if guard and not isinstance(expert, str) and guardable(model):
        watch = Guard(pixels, None if expert else k, limit_of(model), expert or shares, before)
        route = "image" if watch.alike else route

    elif shares is not None and expert is None:
        expert = lambda logits: top_k_weights(shares(logits), k)  # noqa: E731

    def restored(chosen: str | Chooser | None) -> Large:
        return restore_large(
            model,
            pixels,
            expert=chosen,
            k=k,
            max_memory=max_memory,
            route=route,
            tile=tile,
            bf16=bf16,
            progress=progress,
        )

    if watch is None or shares or place.type == "cpu" or route == "tile":
        out = restored(watch or expert)
    else:  # a GPU is fast where no function weighs the experts
        out = restored(expert)
        if out.logits is not None and out.weights is not None:
            wanted, given = watch(out.logits[None])[0].float(), out.weights.float()
            followed = torch.allclose(wanted, given, atol=0.01) and torch.equal(wanted > 0, given > 0)
            out = out if followed or watch.reason in LEFT else restored(watch)
    if watch and out.map is not None:
        watch.look(out.map.router)
    image = (watch.checked(out.image) if watch else out.image).float().cpu()  # (3,H,W)
    if photograph.gray:
        image = image.mean(0, keepdim=True).repeat(3, 1, 1)
    used = {} if out.weights is None else _by_name(out.weights)
    router = {} if out.logits is None else _by_name(out.logits.float().softmax(0))
    entropy = normalised_entropy(list(router.values())).item() if router else None
    if out.map is not None:
        entropy = normalised_entropy(out.map.router).mean().item()
    difference = change(photograph.pixels, image)
    told = isinstance(expert, str) or (watch is not None and watch.k == 1)  # the guard tells it by itself
    doubts = warnings(difference, None if told else entropy, used.get("low_light", 0) >= BRIGHTENING, k)
    if watch and watch.reason and out.weights is not None:
        doubts = [watch.sentence(out.weights) + NO_GUARD, *([] if watch.reason in LEFT else doubts)]
        used = {} if watch.reason in LEFT else used
    if out.recomputed:
        doubts.insert(0, "the first result was not finite and was computed anew in float32")
    return Deblurred(
        image=image,
        photograph=replace(photograph, pixels=image),
        weights=used,
        router=router,
        expert=max(used, key=used.__getitem__) if used else None,
        note=photograph.note,
        change=difference,
        entropy=entropy,
        warnings=tuple(doubts),
        expert_map=out.map,
        tile=out.plan.tile,
        guarded=watch.reason if watch else None,
        bright=watch.bright if watch else None,
        unsure=watch.unsure if watch else None,
        source=Path(photo) if isinstance(photo, (str, os.PathLike)) else None,
    )


def as_photograph(photo: Picture) -> Photograph:
    """A ``Photograph`` of whatever ``deblur`` accepts. Raises as ``deblur`` does, ``TypeError`` for other things."""
    if isinstance(photo, Photograph):
        return photo
    if isinstance(photo, (str, os.PathLike)):
        return images.read_photograph(photo)
    if isinstance(photo, Image.Image):
        return images.from_pillow(photo)
    if isinstance(photo, np.ndarray):
        return images.from_array(photo)
    if isinstance(photo, torch.Tensor):
        if photo.ndim != 3 or photo.shape[0] != 3:
            remedy = ""
            if photo.ndim == 4:
                remedy = ": one picture at a time, batch[0], or a batch through demoe.load()"
            elif photo.ndim == 3 and photo.shape[2] == 3:
                remedy = ": channels come first, photo.permute(2, 0, 1)"
            raise ValueError(f"expected a tensor (3, H, W), got {photo.dtype} {tuple(photo.shape)}{remedy}")
        array = photo.detach().cpu().permute(1, 2, 0)  # (H,W,3)
        return images.from_array((array.float() if array.is_floating_point() else array).numpy())
    raise TypeError(f"a photograph is a path, Photograph, Pillow image, tensor or array, not {type(photo).__name__}")


def eight_bit(pixels: torch.Tensor) -> np.ndarray:
    """(C,H,W) in [0,1] as (H,W,C) uint8, rounded."""
    return np.ascontiguousarray((pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def _by_name(values: torch.Tensor) -> dict[str, float]:
    """(N,) as name -> number; a network with another number of experts has no names for them but these."""
    names = EXPERTS if len(values) == len(EXPERTS) else [f"expert_{i}" for i in range(len(values))]
    return dict(zip(names, values.tolist(), strict=True))


def deblur_folder(model: nn.Module, folder: str | Path, out: Path) -> pd.DataFrame:
    """Every photograph of ``folder`` deblurred; before and after side by side go to ``out``, as PNG.

    Columns: photograph (its number, with which the PNG's name begins: names are people's own), height, width, expert
    (None where the guard left the photograph as it is),
    normalised_entropy (of the router, 0 sure to 1 undecided), change (mean absolute difference, 8-bit levels),
    psnr_to_input (dB), brightness (8-bit levels), sharpness (Metric Q of the result over that of the photograph: above
    1 is sharper), warnings.
    """
    rows = []
    for number, file in enumerate(images.list_photographs(Path(folder)), 1):
        photo = images.read_photograph(file)
        result = deblur(photo, model=model)
        both = torch.cat([photo.pixels, result.image], dim=2)  # (3, H, 2 W)
        images.write_photograph(out / f"{number:03d}_{file.stem}.png", Photograph(both))
        change, (height, width) = result.change, photo.pixels.shape[1:]
        row: dict[str, object] = {"photograph": number, "height": height, "width": width, "expert": result.expert}
        row |= {"normalised_entropy": result.entropy, "change": change.mean, "psnr_to_input": change.psnr}
        row |= {"brightness": change.brightness, "sharpness": _sharper(photo.pixels, result.image)}
        rows.append(row | {"warnings": "; ".join(result.warnings)})
    import pandas as pd  # half a second, for which `demoe deblur` need not wait

    return pd.DataFrame(rows)


def _sharper(before: torch.Tensor, after: torch.Tensor) -> float:
    """Metric Q of the second of two (3, H, W) over that of the first; NaN for pictures too small for it, or without a
    direction anywhere."""
    if min(before.shape[1:]) < PATCH:
        return math.nan
    first, second = (float(metric_q(image[None])) for image in (before, after))
    return second / first if first else math.nan
