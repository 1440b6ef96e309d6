"""A photograph before and after in a browser: pictures that it can read, and a page around ``slider.js``."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path

from PIL import Image

from demoe.core.images import Photograph

from .photos import eight_bit

SHOWN = 2048  # pixels: longest side of what is shown before somebody looks closer
LOSSLESS = 2**18  # pixels: up to here PNG, beyond it JPEG
SCRIPT = Path(__file__).with_name("slider.js").read_text(encoding="utf-8")
STYLE = Path(__file__).with_name("slider.css").read_text(encoding="utf-8")


def encoded(photograph: Photograph, side: int | None = SHOWN) -> tuple[bytes, str]:
    """A photograph as a file for a browser and the file's type, made smaller to ``side`` pixels if it is larger.

    8 bit, without alpha, in the photograph's own colours: its profile goes along. None: at its own size.
    """
    picture = Image.fromarray(eight_bit(photograph.pixels))
    if side is not None:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3)
    profile = None if photograph.gray else photograph.metadata.icc_profile  # a gray one does not fit three channels
    stream = io.BytesIO()
    if picture.width * picture.height <= LOSSLESS or max(picture.size) > 65535:  # JPEG's longest side
        picture.save(stream, "PNG", icc_profile=profile)
        return stream.getvalue(), "image/png"
    picture.save(stream, "JPEG", quality=92, subsampling=0, icc_profile=profile)
    return stream.getvalue(), "image/jpeg"


def reduced(photograph: Photograph) -> bool:
    """Whether ``encoded`` makes it smaller."""
    return max(photograph.size) > SHOWN


def page(before: Photograph, after: Photograph, name: str, said: list[str], identity: str) -> str:
    """HTML with the slider and its pictures in it, which needs nothing else: no kernel, no network.

    ``name``: of the file that its button saves, which gets the suffix of the picture in the page; ``said``: lines below
    it; ``identity``: of the element. Where scripts are not run, the pictures stand side by side.
    """
    images = ""
    for photograph, alt in ((before, "before"), (after, "after")):
        data, kind = encoded(photograph)
        images += f'<img src="data:{kind};base64,{base64.b64encode(data).decode()}" alt="{alt}">'
    width, height = before.size
    name = str(Path(name).with_suffix(".png" if kind == "image/png" else ".jpg"))  # what is in the page, not the file
    about = {"width": width, "height": height, "reduced": reduced(before), "name": name}
    about = json.dumps(about).replace("<", "\\u003c")  # a name may hold "</script>"
    lines = "".join(f"<div>{escape(line)}</div>" for line in said)
    return (
        f'<div id="{identity}"><style>{STYLE}</style><div class="demoe-still">{images}</div>'
        f'<div class="demoe-said">{lines}</div><script>(() => {{\n{SCRIPT}\n'
        f'const root = document.querySelector("#{identity} > .demoe-still");\n'
        "const [before, after] = [...root.children].map((image) => image.src);\n"
        f"demoeCompare(root).show({{ before, after, ...{about} }});\n}})();</script></div>"
    )
