"""A notebook's window on the network: choose a photograph, an expert or a mix, and slide between before and after."""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image, ImageDraw
from torch import nn

from demoe.core import images
from demoe.core.tasks import EXPERTS

from .photos import Deblurred, Picture, as_photograph, deblur, eight_bit

AUTOMATIC = "automatic (the router chooses)"
SHOWN = 640  # long side of what is shown, pixels; what is computed has the photograph's own size


class Explorer:
    """``Explorer(model, {"a name": photograph, ...})`` as the last line of a cell.

    A photograph is anything that ``demoe.deblur`` takes; more can be uploaded. ``result`` is the last ``Deblurred``, at
    full size. Where widgets do not run (an executed copy, a web page) the cell shows a still picture instead: input on
    the left, result on the right. Raises ``ValueError`` without a photograph.
    """

    def __init__(self, model: nn.Module, pictures: Mapping[str, Picture]):
        import ipywidgets as widgets

        if not pictures:
            raise ValueError("give at least one photograph to start with")
        self.model = model
        self.pictures = {name: as_photograph(picture) for name, picture in pictures.items()}
        self.result: Deblurred | None = None
        wide = {"style": {"description_width": "84px"}, "layout": widgets.Layout(width="380px")}
        self.photograph = widgets.Dropdown(options=list(self.pictures), description="photograph", **wide)
        self.upload = widgets.FileUpload(accept=",".join(images.READABLE), description="upload one")
        self.expert = widgets.Dropdown(options=[AUTOMATIC, *EXPERTS], description="expert", **wide)
        self.k = widgets.IntSlider(1, 1, len(EXPERTS), description="mixed (k)", continuous_update=False, **wide)
        self.edge = widgets.FloatSlider(0.5, min=0, max=1, step=0.01, readout=False)
        hint = widgets.HTML("before on the left of the edge, after on its right: drag the handle")
        self.picture = widgets.Image(format="png")
        self.message = widgets.HTML()
        large = widgets.HTML("a large file: by its path, PHOTO above")  # browsers' messages have a limit
        rows = ([self.photograph, self.upload, large], [self.expert, self.k])
        controls = widgets.VBox([widgets.HBox(row) for row in rows])
        self.box = widgets.VBox([controls, self.picture, self.edge, hint, self.message])
        for control in (self.photograph, self.expert, self.k):
            control.observe(self._restore, "value")
        self.upload.observe(self._uploaded, "value")
        self.edge.observe(self._draw, "value")
        self._restore()

    def _repr_mimebundle_(self, **options) -> dict:
        return self.box._repr_mimebundle_(**options) | {"image/png": self.still()}

    def still(self) -> bytes:
        """Input and result side by side, with what the message says: a PNG."""
        before, after = self._sides
        wide = Image.new("RGB", (2 * before.width + 8, before.height + 34), "white")
        wide.paste(before, (0, 34))
        wide.paste(after, (before.width + 8, 34))
        pen = ImageDraw.Draw(wide)
        pen.text((2, 2), "before", fill="black", font_size=13)
        pen.text((before.width + 10, 2), "after", fill="black", font_size=13)
        pen.text((2, 17), self._said, fill="black", font_size=11)
        return _png(wide)

    def _restore(self, change: object = None) -> None:
        photograph = self.pictures[self.photograph.value]
        expert = None if self.expert.value == AUTOMATIC else self.expert.value
        self.k.disabled = expert is not None  # one expert alone
        self.message.value = "working ..."
        try:
            self.result = deblur(photograph, model=self.model, expert=expert, k=self.k.value)
        except (ValueError, RuntimeError, MemoryError) as error:
            self.result = None
            self._sides = _pictures(photograph.pixels, photograph.pixels)
            self._say(str(error), "what is shown is the photograph as it came")
            self._draw()
            return
        self._sides = _pictures(photograph.pixels, self.result.image)
        self.picture.layout.width = self.edge.layout.width = f"{self._sides[0].width}px"  # the handle below the edge
        self.picture.layout.min_height = f"{self._sides[0].height}px"
        self.edge.layout.margin = "0"
        weights, router = _percent(self.result.weights), _percent(self.result.router)
        width, height = photograph.size
        smaller = "" if max(width, height) <= SHOWN else ", shown smaller"
        message = f"{width} x {height} pixels{smaller}; used: {weights or 'one network without experts'}"
        self._say(message + (f"; the router sees {router}" if router else ""), *self.result.warnings)
        self._draw()

    def _say(self, message: str, *warnings: str) -> None:
        self._said = message
        self.message.value = "<br>".join(escape(line, quote=False) for line in (message, *warnings))

    def _draw(self, change: object = None) -> None:
        before, after = self._sides
        shown = after.copy()
        at = round(self.edge.value * before.width)
        shown.paste(before.crop((0, 0, at, before.height)), (0, 0))
        ImageDraw.Draw(shown).line([(at, 0), (at, before.height)], fill="white", width=2)
        self.picture.value = _png(shown)

    def _uploaded(self, change: object = None) -> None:
        for file in self.upload.value:
            name = file["name"].replace("\\", "/").rsplit("/", 1)[-1] or "photograph"
            with TemporaryDirectory() as folder:
                kept = Path(folder) / "uploaded"  # the content decides what it is, and a name may be anything
                kept.write_bytes(file["content"])
                try:
                    photograph = images.read_photograph(kept)
                except images.ImageError as error:
                    self._say(str(error).replace(str(kept), name))
                    continue
            names = (f"{name} ({number})" if number > 1 else name for number in count(1))
            unique = next(unused for unused in names if unused not in self.pictures)
            self.pictures[unique] = photograph
            self.photograph.options = list(self.pictures)
            self.photograph.value = unique  # which restores it


def _percent(shares: Mapping[str, float]) -> str:
    """The shares worth a mention, largest first."""
    largest = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in largest if share >= 0.005)


def _pictures(before: torch.Tensor, after: torch.Tensor) -> tuple[Image.Image, Image.Image]:
    """Both (3,H,W) as 8-bit pictures, made smaller together where they are larger than what is shown; small ones are
    enlarged by whole pixels, so that there is something to see."""
    made = []
    for pixels in (before, after):
        picture = Image.fromarray(eight_bit(pixels))
        long = max(picture.size)
        if long > SHOWN:
            picture.thumbnail((SHOWN, SHOWN))
        elif times := SHOWN // 2 // long:
            picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
        made.append(picture)
    return made[0], made[1]


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
