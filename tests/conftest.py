"""Shared by all tests: one thread (small pictures, and cores that others use), no display, no downloads."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_finish():
    """What importing all tests has made stays until the end: no collection of garbage needs to look at it again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project root of its own for tests that write results."""
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path))
    return tmp_path


def shake(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random weights everywhere, with beta, gamma and the BatchNorm statistics away from their neutral values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
            elif name == "ending.weight":
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return model.eval()


@pytest.fixture
def call(capsys):
    """``call(words...)``: the exit status, stdout and stderr of ``demoe words...``."""
    from demoe.app import cli

    def called(*words):
        try:
            status = cli.main([*map(str, words)])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return called
