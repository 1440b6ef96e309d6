"""How the C library gives memory back: for feature maps, keeping it is far faster."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
MMAP = (1 << 27, 32 << 20)  # bytes; older glibc takes no more than the second
TRIM = (1 << 31) - 1  # the largest int


def raise_thresholds() -> bool:
    """Let this process keep freed memory for its next request, where glibc is; whether that was done.

    By default glibc maps each large block anew and returns it when freed, so that every feature map is faulted in page
    by page and cleared by the kernel. Blocks under 128 MiB now come from memory that is kept: all maps of a picture of
    a megapixel at width 32. Larger ones would leave holes that raise the peak, and are still returned.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is None:
        return False
    return any(mallopt(M_MMAP_THRESHOLD, size) for size in MMAP) and bool(mallopt(M_TRIM_THRESHOLD, TRIM))


def give_back() -> bool:
    """Return all freed memory to the system, where glibc is; whether there was any."""
    malloc_trim = getattr(_libc(), "malloc_trim", None)
    return malloc_trim is not None and bool(malloc_trim(ctypes.c_size_t(0)))


def _libc() -> ctypes.CDLL | None:
    """The C library that this process runs with, on Linux."""
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None
