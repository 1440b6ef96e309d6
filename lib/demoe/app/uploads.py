"""Photographs that came through a page, deblurred into a folder, with pictures for the page and a result in words."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from torch import nn

from demoe.core import images
from demoe.core.files import replacing, write_bytes
from demoe.core.images import Photograph
from demoe.core.tasks import EXPERTS

from . import slider
from .arguments import sentence
from .doubt import UNSURE, without_flags
from .photos import Deblurred, deblur

FAILURES = (ValueError, OSError, RuntimeError, MemoryError)  # of one photograph, which the others do not mind
ONE, ALL = "the router chooses one", "all five, mixed by the router"
BLURS = {
    "defocus": "defocus",
    "global_motion": "camera shake",
    "local_motion": "something that moved",
    "synth_global_motion": "camera shake and something that moved",
    "low_light": "shake in low light",
}
ADVICE = (
    "The router can be sure and wrong: drag the edge, look at 100 %, and choose another expert if the result does not "
    "convince you."
)


@dataclass(frozen=True)
class Restored:
    """A deblurred photograph in files: the result, and the pictures of the page."""

    file: Path  # the result
    shown: dict  # what ``slider.js`` shows
    said: str  # what a person should know, as Markdown


def restore(source: Path, target: Path, model: nn.Module, choice: str, max_memory: int | None) -> Restored:
    """Deblurs the file ``source`` to ``target``, as ``demoe deblur`` does, and writes the page's pictures beside it.

    ``choice``: an expert, ``ONE`` or ``ALL``. Raises as ``photos.deblur`` does.
    """
    photograph = images.read_photograph(source)
    expert, k = (choice, 1) if choice in EXPERTS else (None, len(EXPERTS) if choice == ALL else 1)
    result = deblur(photograph, model=model, expert=expert, k=k, max_memory=max_memory, progress=True)
    images.write_photograph(target, result.photograph)
    shown = _pictures(photograph, result.photograph, target)
    return Restored(target, shown, opinion(result, choice))


def _pictures(before: Photograph, after: Photograph, target: Path) -> dict:
    """Writes what a browser shows of both, and says where; of large ones also the whole, for whoever looks closer."""

    def address(photograph: Photograph, what: str, side: int | None) -> str:
        data, kind = slider.encoded(photograph, side)
        file = target.with_name(f"{target.name}.shown") / f"{what}.{kind.removeprefix('image/')}"
        write_bytes(file, data)
        return f"/gradio_api/file={quote(file.as_posix())}"

    def both(size: str, side: int | None) -> dict[str, str]:
        sides = (("before", before), ("after", after))
        return {name: address(photograph, f"{name}-{size}", side) for name, photograph in sides}

    width, height = before.size
    smaller = slider.reduced(before)
    shown = both("shown", slider.SHOWN) | {"width": width, "height": height, "reduced": smaller, "name": target.name}
    return shown | ({"whole": both("whole", None)} if smaller else {})


def opinion(result: Deblurred, choice: str) -> str:
    """What the router said, what was used, how much changed and what looks wrong, in words, as Markdown."""
    lines = []
    if result.router:
        ranked = sorted(result.router.items(), key=lambda item: -item[1])
        shares = [f"{BLURS.get(name, name)} ({share:.0%})" for name, share in ranked if share >= 0.05]
        if result.guarded == "unsure" or (result.entropy is not None and result.entropy > UNSURE):
            more = "" if result.guarded == "unsure" else ", or all five mixed"
            lines.append(f"The router is unsure: {', '.join(shares)}. Try the experts one by one{more}.")
        elif ranked[0][1] > 0.9:
            lines.append(f"The router is sure: {shares[0]}.")
        else:
            lines.append(f"The router thinks of {', then of '.join(shares)}.")
    if result.weights:
        used = [BLURS.get(name, name) for name, share in result.weights.items() if share > 0]
        asked = " as you chose" if choice in EXPERTS else ""
        mixed = "all experts, mixed" if len(used) == len(EXPERTS) else f"mixed, the experts for {', '.join(used)}"
        lines.append(f"Used{asked}: {mixed if len(used) > 1 else f'the expert for {used[0]}'}.")
    lines.append(f"The picture changed by {result.change.mean:.1f} of 255 levels on average.")
    if result.note:
        lines.append(f"Of the file: {result.note}.")
    warnings = [without_flags(warning) for warning in result.warnings]
    doubts = [f"- **Warning:** {warning}" for warning in warnings if not warning.startswith("the router is unsure")]
    return "\n".join([" ".join(lines), "", *doubts, "", ADVICE])


def restored(
    files: list[tuple[Path, str]], folder: Path, model: nn.Module, choice: str, max_memory: int | None = None
) -> Iterator[Restored | str]:
    """Each of ``files`` (where it lies, its name) deblurred into ``folder``, or a sentence about why it was not."""
    taken: set[str] = set()
    for source, name in files:
        plain = images.result_name(Path(name), source)
        target, number = folder / plain, 1
        while target.name.casefold() in taken:
            number += 1
            target = folder / plain.with_stem(f"{plain.stem}-{number}")
        try:
            if target.suffix.lower() not in images.SUFFIXES:
                raise ValueError(f"{name} is no photograph: its name ends in none of {', '.join(images.READABLE)}")
            result = restore(source, target, model, choice, max_memory)
        except FAILURES as error:
            text = sentence(error).replace(str(source), name).replace(str(target), target.name)
            yield text if name in text else f"{name}: {text}"
            continue
        taken.add(target.name.casefold())
        yield result


def archive(results: list[Restored]) -> Path:
    """All results in one zip beside them, not compressed again."""
    file = results[0].file.with_name("deblurred.zip")
    with replacing(file) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as packed:
        for result in results:
            packed.write(result.file, result.file.name)
    return file
