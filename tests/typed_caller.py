"""A program that uses the public face, as a type checker sees it: ``mypy`` reads this file, nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import torch
from PIL import Image
from torch import nn

import demoe
from demoe import Deblurred
from demoe.inference.optimize import OptimizedNetwork
from demoe.models.outputs import Restored


def use(photo: Path) -> None:
    network = demoe.load(photo.with_suffix(".safetensors"))
    assert_type(network, nn.Module)
    assert_type(demoe.load(), nn.Module)
    assert_type(demoe.from_pretrained("someone/roses", revision="v1", device="cuda"), nn.Module)
    fast = demoe.optimize(network, torch.bfloat16)
    assert_type(fast, OptimizedNetwork | nn.Module)
    if isinstance(fast, OptimizedNetwork):
        restored = fast(torch.zeros(1, 3, 8, 8), expert="defocus")
        assert_type(restored, Restored)
        assert_type(restored.image, torch.Tensor)
        assert_type(restored.weights, torch.Tensor | None)
    found = demoe.deblur(photo, model=fast, k=None)
    assert_type(found, Deblurred)
    assert_type(found.warnings, tuple[str, ...])
    assert_type(found.save("restored/"), Path)
    assert_type(found.to_pil(), Image.Image)
    assert_type(demoe.__version__, str)
