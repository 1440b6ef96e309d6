"""Which processors compute bfloat16, and what becomes of those who ask for it elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings

import pytest
import torch

from demoe.core import precision
from demoe.inference.optimize import optimize
from demoe.models import fused_block
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training.step import computed_in

SMALL = NAFNetConfig(width=8, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))
CACHED = (precision.native_bfloat16, precision.warn_of_emulation)


@pytest.fixture
def processor(monkeypatch):
    """Has or has no bfloat16 of its own, whatever this machine is."""

    def is_(native: bool) -> None:
        for kept in CACHED:
            kept.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native, "amx_bf16": False})
        for name in precision.ELSEWHERE:
            monkeypatch.delenv(name, raising=False)

    yield is_
    for kept in CACHED:
        kept.cache_clear()


@pytest.mark.parametrize(
    "native, fused, steps, third",
    [
        (True, False, 1000, "bfloat16"),
        (True, False, 999, "float32"),
        (True, True, 1, "bfloat16"),
        (False, False, 1000, "float32"),
    ],
)
def test_trainings_are_computed_in_what_takes_least_time(processor, monkeypatch, native, fused, steps, third):
    monkeypatch.setattr(shutil, "which", lambda _: "c++")
    monkeypatch.setattr(fused_block, "bfloat16", lambda: fused)
    processor(native)
    found = [computed_in(wish, torch.device("cpu"), steps) for wish in (None, "float32", "bfloat16")]
    assert found == ["float32", "float32", third]


@pytest.mark.parametrize("named", ["", *precision.ELSEWHERE])
def test_instructions_for_products_of_bfloat16_are_known_unless_some_are_taken_away(processor, monkeypatch, named):
    for native in (True, False):
        processor(native)
        if named:
            monkeypatch.setenv(named, "AVX512_CORE_BF16")
        assert precision.bfloat16_instructions() == (native and not named)


def test_who_asks_for_emulated_bfloat16_gets_it_and_one_warning(processor, monkeypatch):
    model = NAFNet(SMALL).eval()
    processor(native=False)
    monkeypatch.setattr(precision, "slowdown", lambda: 17.4)
    with pytest.warns(UserWarning, match="emulates bfloat16: it takes about 17 times as long as float32"):
        assert optimize(model, torch.bfloat16).dtype == torch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimize(model, torch.bfloat16)  # said once
        optimize(model)
        processor(native=True)
        optimize(model, torch.bfloat16)


def test_where_instructions_are_taken_away_a_measurement_decides():
    """In a process of its own: PyTorch reads the variable when it starts."""
    code = "from demoe.core.precision import native_bfloat16, slowdown; print(native_bfloat16(), slowdown())"
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    native, factor = shown.stdout.split()
    assert native == str(float(factor) < 1)


def test_what_the_measurement_says_decides(processor, monkeypatch):
    for factor in (0.6, 12.0):
        processor(native=True)
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        monkeypatch.setattr(precision, "slowdown", lambda factor=factor: factor)
        assert precision.native_bfloat16() == (factor < 1)
