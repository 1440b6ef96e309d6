"""A sharp picture in, a blurred pair out."""

from demoe.core import extras

extras.need("demoe.blur", "data", "scipy")
