"""Guests: related papers whole."""

from demoe.core import extras

extras.need("demoe.related", "training", "scipy", "pandas", "pytorch_msssim", "torchvision", "timm")
