"""What the runner tells a person: which cell runs, and what became of each notebook."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field

from tqdm import tqdm

HEARTBEAT = 60  # seconds between signs of life where there is no terminal


@dataclass
class Outcome:
    """What became of one notebook. Paths are relative to the project's root."""

    notebook: str
    seconds: float
    skipped: bool = False
    tables: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)


class Progress:
    """Which cell runs, and for how long: a bar on a terminal, otherwise a line a minute."""

    def __init__(self, name: str):
        self.name, self.at, self.start = name, (0, 0), time.monotonic()
        self.bar = tqdm(desc=name, unit="cell", leave=False, disable=not sys.stderr.isatty())
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self.bar.disable:
            print(f"{self.name}: running", flush=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()
        self.bar.close()

    def cell(self, number: int, count: int) -> None:
        """A cell begins."""
        self.at = (number, count)
        self.bar.total, self.bar.n = count, max(number - 1, 0)
        self.bar.set_postfix_str(f"in cell {number}")

    def _tick(self) -> None:
        while not self.over.wait(HEARTBEAT if self.bar.disable else 1):
            if self.bar.disable:
                number, count = self.at
                print(f"{self.name}: cell {number} of {count}, {clock(time.monotonic() - self.start)}", flush=True)
            else:
                self.bar.refresh()


def clock(seconds: float) -> str:
    """Seconds as "3:07" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def summary(outcomes: list[Outcome]) -> str:
    """A table for people: notebook, time, and the tables and figures it wrote."""
    width = max(len(outcome.notebook) for outcome in outcomes)
    lines = ["", f"{'notebook':<{width}}  {'time':>8}  tables and figures"]
    for outcome in outcomes:
        spent = "kept" if outcome.skipped else clock(outcome.seconds)
        files = [*outcome.tables, *(name for name in outcome.figures if not name.endswith(".pdf"))]  # a PNG beside each
        lines.append(f"{outcome.notebook:<{width}}  {spent:>8}  {files[0] if files else '-'}")
        lines += [f"{'':<{width}}  {'':>8}  {name}" for name in files[1:]]
    total = sum(outcome.seconds for outcome in outcomes if not outcome.skipped)
    return "\n".join([*lines, f"{'total':<{width}}  {clock(total):>8}"])
