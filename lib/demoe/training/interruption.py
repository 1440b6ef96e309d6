"""Ctrl-C during a training: the step at work is finished and the state saved, so that nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """While the block runs, the first Ctrl-C is only noted: the value of the block says whether there was one.

    The second one raises ``KeyboardInterrupt`` at once, as usual. Outside the main thread, and where somebody else
    looks after interrupts (or a shell has turned them off), nothing is changed.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        print("\ninterrupted: saving the state (once more to stop at once)", file=sys.stderr, flush=True)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
