"""A folder of photographs with a ``sources.csv``, as ``demoe evaluate --real`` takes it."""

from __future__ import annotations

from pathlib import Path

from demoe.blur import sources
from demoe.blur.shared_camera import gaussian
from demoe.core import images

ROWS = """\
file,set,role,kind_of_blur,paired,licence
cat_blur.png,house,blur,global_motion,yes,CC0
cat_sharp.png,house,sharp,global_motion,yes,CC0
cup.png,house,blur,motion,no,CC0
"""


def make(place: Path, side: int) -> Path:
    """Two blurred photographs, ``side`` pixels high and ten wider, of one of which the sharp one is known."""
    photo = sources.photographs("test")["chelsea"][:, 100 : 100 + side, 100 : 110 + side]
    place.mkdir(exist_ok=True)
    for name, picture in (("cat_sharp", photo), ("cat_blur", gaussian(photo, 1.5)), ("cup", gaussian(photo, 1.0))):
        images.write_photograph(place / f"{name}.png", images.Photograph(picture.clamp(0, 1)))
    (place / "sources.csv").write_text(ROWS)
    return place
