"""A notebook's window on the network: choose a photograph, an expert or a mix, and slide between before and after."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import anywidget
from IPython.display import HTML, display
from torch import nn
from traitlets import Int, List, Unicode

from demoe.core import images
from demoe.core.tasks import EXPERTS

from . import slider
from .doubt import without_flags
from .photos import Deblurred, Picture, as_photograph, deblur


class Explorer(anywidget.AnyWidget):
    """``Explorer(model, {"a name": photograph, ...})`` as the last line of a cell.

    A photograph is anything that ``demoe.deblur`` takes; more can be uploaded. ``result`` is the last ``Deblurred``, at
    full size, None where it failed. ``photograph``, ``expert`` ("" for the router) and ``k`` can be set from Python as
    well. The cell also shows a copy with the pictures in it, which the window replaces where it is alive, and which is
    what is left in a page without a kernel. Raises ``ValueError`` without a photograph.
    """

    _esm = slider.SCRIPT + Path(__file__).with_name("explorer.js").read_text(encoding="utf-8")
    _css = slider.STYLE
    photographs = List(Unicode()).tag(sync=True)
    experts = List(Unicode(), list(EXPERTS)).tag(sync=True)
    photograph = Unicode().tag(sync=True)
    expert = Unicode().tag(sync=True)
    k = Int(1).tag(sync=True)
    said = List(Unicode()).tag(sync=True)  # lines about the result
    version = Int().tag(sync=True)  # counts results: the browser asks for the pictures of a new one
    still = Unicode().tag(sync=True)  # the element with the copy

    def __init__(self, model: nn.Module, pictures: Mapping[str, Picture]):
        if not pictures:
            raise ValueError("give at least one photograph to start with")
        self.model = model
        self.pictures = {name: as_photograph(picture) for name, picture in pictures.items()}
        self.result: Deblurred | None = None
        self._uploads: dict[str, bytes] = {}
        super().__init__(photographs=list(self.pictures), photograph=next(iter(self.pictures)))
        self.still = f"demoe-{self.model_id}"
        self._restore()
        self.observe(self._restore, ["photograph", "expert", "k"])
        self.on_msg(self._asked)

    def _ipython_display_(self, **options) -> None:
        display(HTML(self.page()))
        display(*self._repr_mimebundle_()[:1], raw=True)

    def page(self) -> str:
        """The slider with its pictures in it, as HTML that works in any page."""
        return slider.page(*self._sides, self._file_name(), self.said, self.still)

    def _restore(self, change: object = None) -> None:
        if self.photograph not in self.pictures:
            raise ValueError(f"no photograph {self.photograph!r} is here: choose one of {', '.join(self.pictures)}")
        photograph = self.pictures[self.photograph]
        try:
            self.result = deblur(photograph, model=self.model, expert=self.expert or None, k=self.k)
        except (ValueError, RuntimeError, MemoryError) as error:
            self.result = None
            self._sides = photograph, photograph
            said = [str(error), "what is shown is the photograph as it came"]
        else:
            self._sides = photograph, self.result.photograph
            used, router = _percent(self.result.weights), _percent(self.result.router)
            message = f"used: {used or ('none, it is left as it is' if router else 'one network without experts')}"
            message += f"; the router sees {router}" if router else ""
            said = [message, *map(without_flags, self.result.warnings)]
        self.said = said
        self.version += 1

    def _asked(self, widget: object, content: dict, buffers: list) -> None:
        """Answers a message of the browser."""
        answer, sent = {"number": content["number"]}, []
        try:
            if content["kind"] == "upload":
                self._uploaded(content["name"], buffers[0].tobytes(), content["last"])
            elif content["kind"] == "file":
                answer["name"], data = self._file()
                sent = [data]
            else:
                side = slider.SHOWN if content["kind"] == "pictures" else None
                sent, answer["types"] = zip(*(slider.encoded(picture, side) for picture in self._sides), strict=True)
                width, height = self._sides[0].size
                answer |= {"width": width, "height": height, "reduced": slider.reduced(self._sides[0])}
        except (ValueError, OSError, MemoryError) as error:
            answer["error"] = str(error)
        self.send(answer, list(sent))

    def _file_name(self) -> str:
        """The name of the result's file, which the photograph's name in the list may not be."""
        name = self.photograph.replace("\\", "/").rsplit("/", 1)[-1].strip(". ") or "photograph"
        return images.result_name(Path(name if name.lower().endswith(images.READABLE) else f"{name}.png")).name

    def _file(self) -> tuple[str, bytes]:
        """Name and content of the file that ``demoe deblur`` would write."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / self._file_name()
            images.write_photograph(path, self._sides[1])
            return path.name, path.read_bytes()

    def _uploaded(self, name: str, piece: bytes, last: bool) -> None:
        """One piece of an uploaded file; with the last one the photograph is chosen, which restores it."""
        content = self._uploads.pop(name, b"") + piece
        if not last:
            self._uploads[name] = content
            return
        name = name.replace("\\", "/").rsplit("/", 1)[-1] or "photograph"
        with TemporaryDirectory() as folder:
            kept = Path(folder) / "uploaded"  # the content decides what it is, and a name may be anything
            kept.write_bytes(content)
            try:
                photograph = images.read_photograph(kept)
            except images.ImageError as error:
                self.said = [str(error).replace(str(kept), name)]
                return
        names = (f"{name} ({number})" if number > 1 else name for number in count(1))
        unique = next(unused for unused in names if unused not in self.pictures)
        self.pictures[unique] = photograph
        self.photographs = list(self.pictures)
        self.photograph = unique


def _percent(shares: Mapping[str, float]) -> str:
    """The shares worth a mention, largest first."""
    largest = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in largest if share >= 0.005)
