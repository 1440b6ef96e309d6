"""Freed memory is kept for speed, and given back where it counts."""

import platform
import subprocess
import sys

import pytest

from demoe.inference import allocator


def test_thresholds_are_raised_where_glibc_is(monkeypatch):
    code = "from demoe.inference.allocator import raise_thresholds; print(raise_thresholds())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    libc = subprocess.run(
        [sys.executable, "-c", "import platform; print(platform.libc_ver()[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert said == str(libc == "glibc")
    monkeypatch.setattr(allocator.sys, "platform", "win32")
    assert allocator.raise_thresholds() is False


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_part_of_the_next_budget():
    code = """
import torch
from demoe.inference.allocator import raise_thresholds
from demoe.inference.memory import budget
raise_thresholds()
place = torch.device("cpu")
before = budget(8 << 30, place)
blocks = [torch.ones(1 << 24) for _ in range(4)]
taken = budget(8 << 30, place)
del blocks
import psutil
kept = (8 << 30) - psutil.Process().memory_info().rss
print(before - taken >> 20, before - kept >> 20, before - budget(8 << 30, place) >> 20)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    taken, kept, after = map(int, said.split())  # MiB
    assert taken >= 250 and kept >= 100 and after < 30
